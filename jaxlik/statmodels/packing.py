"""HistFactory workspaces to padded arrays in few shapes, so that few programs serve all."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.records import HistFactoryRecord
from jaxlik.precision import require_x64
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.interpolation import code4_coefficients
from jaxlik.typing import Array


class Shape(NamedTuple):
    """Padded sizes of a workspace; programs are compiled once for each.

    Attributes:
        bins: Of all channels.
        cells: Samples times bins.
        parameters: Padding included.
        pulls: Leading parameters that may be of normsys and histosys.
        normsys: The first of these, that may be of normsys.
        entries: normsys modifiers.
        factors: Largest number of parameters that multiply one cell.
        normalisations: Free factors of whole samples.
    """

    bins: int
    cells: int
    parameters: int
    pulls: int
    normsys: int
    entries: int
    factors: int
    normalisations: int


def shape_of(record: HistFactoryRecord) -> Shape:
    """The bucket of a workspace: sizes rounded up, large ones by less than a quarter."""
    parameters = _round_up(len(record.parameters))
    pulls = min(parameters, _round_up(record.up.shape[1]))
    return Shape(
        _round_up(len(record.observed)),
        _round_up(len(record.nominal)),
        parameters,
        pulls,
        min(pulls, _round_up(int(record.entry_parameter.max(initial=-1)) + 1)),
        _round_up(len(record.entry_block)),
        max(2, record.factors.shape[1]),
        _round_up(len(record.normalisations)),
    )


def stack_workspaces(records: Sequence[HistFactoryRecord]) -> tuple[HistFactory, Array]:
    """Different workspaces as one, with a leading axis `model`, for `jax.vmap`.

    Args:
        records: Any number, best of similar size: all are padded to the largest.

    Returns:
        The models, and the position of each one's parameter of interest.
    """
    shapes = [shape_of(record) for record in records]
    largest = Shape(*map(max, zip(*shapes, strict=True)))
    models = [pack_workspace(record, largest) for record in records]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    return stacked, jnp.asarray([record.poi for record in records])


def pack_workspace(
    record: HistFactoryRecord,
    shape: Shape | None = None,
    *,
    additive_code: str = "code4p",
    multiplicative_code: str = "code4",
) -> HistFactory:
    """The device model of a workspace.

    Args:
        record: Flattened workspace.
        shape: Padded sizes, at least as large as the workspace; `shape_of` by default.
        additive_code: Interpolation of histosys.
        multiplicative_code: Interpolation of normsys.

    Raises:
        PrecisionError: JAX is set to 32-bit floats.
    """
    require_x64()
    shape = shape_of(record) if shape is None else shape
    bins, cells, size = len(record.observed), len(record.nominal), len(record.parameters)
    more_bins, more_cells = shape.bins - bins, shape.cells - cells
    more_pulls = shape.pulls - record.up.shape[1]
    more, more_entries = shape.parameters - size, shape.entries - len(record.entry_block)
    more_norms = shape.normalisations - len(record.normalisations)
    belongs = np.zeros((shape.bins, shape.cells))
    belongs[record.cell_bin, np.arange(cells)] = 1.0
    factors = np.full((shape.cells, shape.factors), shape.parameters, dtype=np.int32)
    given = np.where(record.factors == size, shape.parameters, record.factors)
    factors[:cells, : given.shape[1]] = given
    kinds = np.array(record.kinds)
    normal, poisson = (np.pad(kinds == kind, (0, more)) for kind in ("normal", "poisson"))
    width = _pad(record.width, more, 1.0)
    scale = np.where(normal, width, np.where(poisson, 1 / np.sqrt(np.maximum(width, 1e-12)), 1.0))
    coefficients = code4_coefficients(record.entry_high, record.entry_low)
    return HistFactory(
        nominal=jnp.asarray(_pad(record.nominal, more_cells, 0.0)),
        cell_bin=jnp.asarray(belongs),
        bin_of_cell=jnp.asarray(_pad(record.cell_bin, more_cells, 0.0).astype(np.int32)),
        cell_block=jnp.asarray(_pad(record.cell_block, more_cells, 0.0).astype(np.int32)),
        up=jnp.asarray(np.pad(record.up, ((0, more_cells), (0, more_pulls)))),
        down=jnp.asarray(np.pad(record.down, ((0, more_cells), (0, more_pulls)))),
        # Beyond the last block: dropped.
        entry_block=jnp.asarray(
            _pad(record.entry_block, more_entries, float(shape.cells)).astype(np.int32)
        ),
        entry_parameter=jnp.asarray(
            _pad(record.entry_parameter, more_entries, 0.0).astype(np.int32)
        ),
        log_high=jnp.asarray(_pad(np.log(record.entry_high), more_entries, 0.0)),
        log_low=jnp.asarray(_pad(np.log(record.entry_low), more_entries, 0.0)),
        coefficients=jnp.asarray(np.pad(coefficients, ((0, more_entries), (0, 0)))),
        factors=jnp.asarray(factors),
        normal=jnp.asarray(normal),
        poisson=jnp.asarray(poisson),
        width=jnp.asarray(width),
        lower=jnp.asarray(_pad(record.lower, more, 0.0)),
        upper=jnp.asarray(_pad(record.upper, more, 0.0)),
        fixed=jnp.asarray(_pad(record.fixed, more, 1.0).astype(bool)),
        normalisations=jnp.asarray(
            _pad(record.normalisations, more_norms, float(shape.parameters)).astype(np.int32)
        ),
        init=jnp.asarray(_pad(record.init, more, 0.0)),
        scale=jnp.asarray(scale),
        real_bins=jnp.asarray(np.arange(shape.bins) < bins),
        data=Data(
            jnp.asarray(_pad(record.observed, more_bins, 1.0)),
            jnp.asarray(_pad(record.centre, more, 0.0)),
        ),
        num_normsys=shape.normsys,
        additive_code=additive_code,
        multiplicative_code=multiplicative_code,
    )


def _pad(values: np.ndarray, more: int, fill: float) -> np.ndarray:
    return np.pad(values, (0, more), constant_values=fill)


def _round_up(need: int) -> int:
    """The next of 8, 16, 32, 40, 48, 56, 64, 80, 96, ...: few sizes where they cost little."""
    if need <= 32:
        return max(8, 1 << max(need - 1, 0).bit_length())
    step = 8
    while need > 8 * step:
        step *= 2
    return -(-need // step) * step
