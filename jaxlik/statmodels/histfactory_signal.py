"""Signals as data of packed HistFactory models: another signal compiles nothing new."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.database.records import SignalCells
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Float, Int, Scalar


class SignalInput(eqx.Module):
    """Where signals enter a packed model; one cell for each bin at most, padded.

    Attributes:
        cells: Cells that hold signal; padding is one past the last cell.
        region: Signal region of each of them.
        relative_uncertainty: Of the signal, common to all regions.
        pull: Its parameter; one past the last pull where there is none.
    """

    cells: Int[Array, " bin"]
    region: Int[Array, " bin"]
    relative_uncertainty: Scalar
    pull: Int[Array, ""]


def pack_signal(where: SignalCells, model: HistFactory) -> SignalInput:
    """Where signals enter, for a model packed from the same record.

    Args:
        where: Cells of the record; packing keeps their order, and that of the pulls.
        model: The packed record.
    """
    num_bins, num_cells = model.cell_bin.shape
    more = num_bins - len(where.cells)
    pull = where.pull if where.pull >= 0 else model.num_pulls
    return SignalInput(
        jnp.asarray(np.pad(where.cells, (0, more), constant_values=num_cells)),
        jnp.asarray(np.pad(where.region, (0, more))),
        jnp.asarray(where.relative_uncertainty, model.nominal.dtype),
        jnp.asarray(pull, jnp.int32),
    )


def with_signal(
    model: HistFactory, where: SignalInput, signal: Float[Array, " region"]
) -> HistFactory:
    """The model with another signal.

    Args:
        model: Packed from a workspace with places for signal.
        where: Its signal regions.
        signal: Events at mu = 1 in each of them, in the order of `SignalCells.region_ids`.
    """
    events = signal[where.region]
    shift = where.relative_uncertainty * events
    at = (where.cells, where.pull)
    return eqx.tree_at(
        lambda m: (m.nominal, m.up, m.down),
        model,
        (
            model.nominal.at[where.cells].set(events, mode="drop"),
            model.up.at[at].set(shift, mode="drop"),
            model.down.at[at].set(shift, mode="drop"),
        ),
    )


def background_data(model: HistFactory, where: SignalInput) -> Data:
    """Nominal background as observed events, auxiliary data unchanged.

    These are the data behind what SModelS calls a-priori expected.
    """
    background = model.nominal.at[where.cells].set(0.0, mode="drop")
    return Data(model.cell_bin @ background + ~model.real_bins, model.data.centre)
