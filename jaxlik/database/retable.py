"""The channel table of another model space, from a compiled snapshot."""

from collections.abc import Callable

import numpy as np

from jaxlik.database.records import Grid, MapRecord
from jaxlik.database.snapshot import Snapshot
from jaxlik.database.table import ChannelTable
from jaxlik.database.topologies import build_channel_table
from jaxlik.physics.model import ModelSpace


def channel_table(
    snapshot: Snapshot,
    space: ModelSpace,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> ChannelTable:
    """Match the topologies of a model space to the maps of a snapshot.

    Needed for spaces other than the protomodel pool, for example with extra
    production modes; takes seconds.

    Args:
        snapshot: Compiled database.
        space: Particles, channels and production modes.
        on_progress: Called with (pairs of particles done, all pairs).
    """
    values = snapshot.array("values")
    maps = [
        MapRecord(
            h.folder,
            h.region,
            h.txname,
            h.quantity,
            h.constraint,
            h.coordinates,
            h.grid,
            values[h.start : h.start + h.size],
            h.final_state,
            h.intermediate_state,
        )
        for h in snapshot.maps
    ]
    widths = np.zeros(len(snapshot.array("grids.dimension")), dtype=int)
    for header in snapshot.maps:
        widths[header.grid] = len(header.coordinates)
    return build_channel_table(space, maps, _grids(snapshot, widths), on_progress=on_progress)


def _grids(snapshot: Snapshot, widths: np.ndarray) -> list[Grid]:
    """Grids without their simplices, which matching does not need."""
    centre, rotation = snapshot.array("grids.centre"), snapshot.array("grids.rotation")
    starts, dimension = snapshot.array("grids.point_start"), snapshot.array("grids.dimension")
    points = snapshot.array("grids.points")
    none = np.zeros((0, 4), dtype=np.int32)
    grids = []
    for g, (size, extent) in enumerate(zip(widths, dimension, strict=True)):
        stop = starts[g + 1] - (3 - extent)  # apexes stand behind the points
        inside = points[starts[g] : stop, :extent]
        grids.append(
            Grid(centre[g, :size], rotation[g, :size, :size], inside, none, none, none[:, 0])
        )
    return grids
