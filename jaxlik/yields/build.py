"""From a snapshot to yields on the device (host side)."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxlik.database.locator import LocatorArrays
from jaxlik.database.records import MapHeader
from jaxlik.database.snapshot import HULLS_ONLY, Snapshot
from jaxlik.database.table import ChannelTable
from jaxlik.database.text_format import PROMPT_COORDINATE
from jaxlik.errors import DatabaseError
from jaxlik.physics.model import ModelSpace
from jaxlik.yields.channels import Channels
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.interpolation import Grids
from jaxlik.yields.reader import MapReader
from jaxlik.yields.signals import Maps

ENERGIES = (8.0, 13.0)
"""TeV; the energy axis of cross sections."""


@dataclass(frozen=True)
class LimitKey:
    """One upper-limit result and topology.

    Attributes:
        folder: Result.
        txname: Topology.
        observed: Index of the map of observed limits.
        expected: Index of the map of expected limits, or -1.
    """

    folder: str
    txname: str
    observed: int
    expected: int


@dataclass(frozen=True)
class RegionAxis:
    """Meaning of the axes of `Signals`.

    Attributes:
        regions: (folder, region) of each signal region.
        limits: Result and topology of each upper-limit map.
    """

    regions: tuple[tuple[str, str], ...]
    limits: tuple[LimitKey, ...]

    def offset(self, folder: str) -> int:
        """Position of the first region of a result."""
        return next(i for i, (name, _) in enumerate(self.regions) if name == folder)


def load_grids(snapshot: Snapshot) -> Grids:
    """All grids of a snapshot."""
    arrays = snapshot.group("grids")
    return Grids.from_arrays(
        LocatorArrays(**{name: arrays[name] for name in LocatorArrays._fields})
    )


def load_reader(snapshot: Snapshot) -> MapReader:
    """All maps of a snapshot, to be looked up at any point."""
    starts = snapshot.array("grids.point_start")
    dimension = snapshot.array("grids.dimension")
    return MapReader(
        load_grids(snapshot),
        jnp.asarray(starts[:-1]),
        jnp.asarray(np.diff(starts) - (3 - dimension)),
        jnp.asarray(snapshot.array("values")),
    )


def load_table(snapshot: Snapshot) -> ChannelTable:
    """The channel table of a snapshot."""
    return ChannelTable(**snapshot.group("channels"), **snapshot.manifest["channels"])


def region_axis(snapshot: Snapshot) -> RegionAxis:
    """The region and limit axes of a snapshot."""
    regions = tuple(
        (result.provenance.folder, name)
        for result in snapshot.results
        if result.counting is not None
        for name in result.counting.region_ids
    )
    expected = {
        (header.folder, header.txname): index
        for index, header in enumerate(snapshot.maps)
        if header.quantity == "upper_limit_expected"
    }
    limits = tuple(
        LimitKey(h.folder, h.txname, index, expected.get((h.folder, h.txname), -1))
        for index, h in enumerate(snapshot.maps)
        if h.quantity == "upper_limit"
    )
    return RegionAxis(regions, limits)


def build_yields(
    snapshot: Snapshot,
    space: ModelSpace,
    axis: RegionAxis,
    table: ChannelTable | None = None,
    *,
    limits_only: bool = False,
) -> EfficiencyYields:
    """Exact yields of all results of a snapshot.

    Args:
        snapshot: Compiled database.
        space: Particles, channels, production modes.
        axis: From `region_axis`.
        table: Channel table of the space; the snapshot's own by default.
        limits_only: Only upper-limit maps will be asked.

    Raises:
        DatabaseError: the snapshot holds no efficiencies.
        ValueError: the table is that of another space.
    """
    if snapshot.manifest.get(HULLS_ONLY) and not limits_only:
        raise DatabaseError(
            f"{snapshot.path}: holds efficiency maps only as hulls; take yields from trained "
            "networks, or give a full database"
        )
    table = table or load_table(snapshot)
    expected = (table.num_particles, table.num_channels, table.num_productions)
    found = (space.num_particles, space.num_channels, space.num_productions)
    if expected != found:
        raise ValueError(
            f"the channel table is for {expected} particles, channels and productions, the model "
            f"space has {found}; make one with jaxlik.database.retable.channel_table"
        )
    energy = {r.provenance.folder: ENERGIES.index(r.provenance.sqrts) for r in snapshot.results}
    headers = snapshot.maps
    region_number = {key: i for i, key in enumerate(axis.regions)}
    limit_number = {key.observed: i for i, key in enumerate(axis.limits)}
    first = [headers[table.target_map[start]] for start in table.target_start[:-1]]
    entries = [headers[index] for index in table.target_map]
    reader = load_reader(snapshot)
    luminosity = {r.provenance.folder: r.provenance.luminosity for r in snapshot.results}
    maps = Maps(
        class_start=jnp.asarray(table.class_start),
        match_target=jnp.asarray(table.match_target),
        match_coordinates=jnp.asarray(table.match_coordinates, dtype=jnp.int32),
        match_swapped=jnp.asarray(table.match_swapped, dtype=jnp.int32),
        target_grid=jnp.asarray(table.target_grid),
        target_factor=jnp.asarray(table.target_factor),
        target_energy=jnp.asarray([energy[h.folder] for h in first], dtype=jnp.int32),
        target_limit=jnp.asarray(
            [
                limit_number.get(int(table.target_map[start]), len(axis.limits))
                for start in table.target_start[:-1]
            ],
            dtype=jnp.int32,
        ),
        target_start=jnp.asarray(table.target_start),
        entry_value=jnp.asarray([h.start for h in entries], dtype=jnp.int32),
        entry_region=jnp.asarray(
            [_region_of(h, region_number, len(axis.regions)) for h in entries], dtype=jnp.int32
        ),
        grid_points=reader.first_vertex,
        grid_size=reader.num_vertices,
        values=reader.values,
        luminosity=jnp.asarray([luminosity[folder] for folder, _ in axis.regions]),
        constant_slots=jnp.asarray([PROMPT_COORDINATE, 0.0]),
    )
    channels = Channels.from_table(
        table, np.asarray(space.channel_parent), np.asarray(space.channel_daughter)
    )
    return EfficiencyYields(channels, reader.grids, maps)


def _region_of(header: MapHeader, numbers: dict, missing: int) -> int:
    if header.region is None:
        return missing
    return numbers[(header.folder, header.region)]
