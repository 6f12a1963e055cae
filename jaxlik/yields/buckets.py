"""Static sizes of the packed tables of a model."""

from collections.abc import Sequence
from typing import NamedTuple


class Buckets(NamedTuple):
    """Static sizes of the packed tables; `Signals.demand` says what a model needs.

    Attributes:
        branches: Sides of topologies with a noticeable branching ratio.
        feeds: Production modes times the pairs that soft decays make of them.
        levels: Pairs of particles with a soft decay between them.
        rows: Cascades above the weight cut.
        sites: Distinct places in maps they fill.
        places: Sites times grids.
        entries: Maps at these places: regions and upper limits.
        off_plane: Entries off the plane of their grid with a value.
        families: Sites that hold compressed cascades seen uncompressed elsewhere.
        network_places: Sites times the networks that know their topology.
        network_entries: Regions of these networks, where the sites lie in their domains.
        limits: Entries that are upper limits.
        groups: Upper-limit maps with a prediction.
        members: Distinct topologies in one of them.
    """

    branches: int = 48
    feeds: int = 64
    levels: int = 2
    rows: int = 96
    sites: int = 48
    places: int = 256
    entries: int = 768
    off_plane: int = 128
    families: int = 4
    network_places: int = 192
    network_entries: int = 640
    limits: int = 112
    groups: int = 64
    members: int = 6

    def holding(self, demand: Sequence[int], margin: float = 1.25) -> "Buckets":
        """Buckets large enough for `Signals.demand`, rounded up so that few sizes occur.

        Args:
            demand: Largest need of each table over the models in view.
            margin: Room for models that need a little more.
        """
        wanted = [_round_up(int(margin * need)) for need in demand]
        return Buckets(*(max(size, need) for size, need in zip(self, wanted, strict=True)))


DEFAULT_BUCKETS = Buckets()

NETWORK_BUCKETS = Buckets(places=128, entries=128, off_plane=48)
"""For learned yields: places and entries are those of upper limits alone."""


def _round_up(need: int) -> int:
    """The next of 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    size = 2
    while size < need:
        size += size // 2 if size & (size - 1) == 0 else size // 3
    return size
