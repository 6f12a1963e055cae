"""One padded shape for all small workspaces, so that tests compile once for them."""

from jaxlik.statmodels.packing import Shape, pack_workspace, shape_of

SMALL = Shape(
    bins=48, cells=96, parameters=8, pulls=8, normsys=8, entries=8, factors=2, normalisations=8
)


def pack_shared(record):
    """The packed workspace, in the shape of all small ones if it is small."""
    own = shape_of(record)
    fits = all(need <= size for need, size in zip(own, SMALL, strict=True))
    return pack_workspace(record, SMALL if fits else own)
