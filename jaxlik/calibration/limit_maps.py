"""Upper-limit maps of a snapshot, as pseudo-databases change them."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.combination.overlap import base_id
from jaxlik.database.snapshot import Snapshot
from jaxlik.typing import Float, Int
from jaxlik.yields.build import RegionAxis, load_reader, region_axis
from jaxlik.yields.reader import MapReader


@dataclass(frozen=True)
class LimitMaps:
    """Where the observed upper limits are, and what they should be without fluctuations.

    Attributes:
        region: Region that fluctuates like each map; -1 for none.
        slots: Position of each number in the array of all maps.
        map: Map of each number.
        expected: Expected limit there [fb]; the observed one where none is published.
        flat: Coordinates of each number [GeV, or ln width].
    """

    region: Int[np.ndarray, " limit"]
    slots: Int[np.ndarray, " slot"]
    map: Int[np.ndarray, " slot"]
    expected: Float[np.ndarray, " slot"]
    flat: Float[np.ndarray, "slot 6"]

    def changed(
        self,
        values: Float[np.ndarray, " value"],
        factors: Float[np.ndarray, " limit"],
        added: Float[np.ndarray, " slot"],
    ) -> Float[np.ndarray, " value"]:
        """All maps, with observed limits = expected limits times factors, plus signal [fb]."""
        found = np.array(values)
        found[self.slots] = self.expected * factors[self.map] + added
        return found


def make_limit_maps(snapshot: Snapshot) -> LimitMaps:
    """Upper-limit maps of a snapshot, on the grids of their observed limits."""
    axis = region_axis(snapshot)
    reader = load_reader(snapshot)
    headers = snapshot.maps
    slots, number, expected, flat = [], [], [], []
    for position, key in enumerate(axis.limits):
        header = headers[key.observed]
        places = _vertices(snapshot, header.grid)
        own = header.start + np.arange(len(places))
        values = np.asarray(reader.values)[own]
        if key.expected >= 0:
            other = headers[key.expected]
            values = _expected_at(reader, (other.grid, other.start), header.grid, places, values)
        slots.append(own)
        number.append(np.full(len(own), position))
        expected.append(values)
        flat.append(places)
    return LimitMaps(
        _regions_of(snapshot, axis),
        np.concatenate(slots),
        np.concatenate(number),
        np.concatenate(expected),
        np.concatenate(flat),
    )


def _vertices(snapshot: Snapshot, grid: int) -> np.ndarray:
    """Flat coordinates of the vertices of a grid."""
    start, stop = snapshot.array("grids.point_start")[grid : grid + 2]
    dimension = int(snapshot.array("grids.dimension")[grid])
    points = snapshot.array("grids.points")[start : stop - (3 - dimension)]
    rotation = snapshot.array("grids.rotation")[grid][:, :dimension]
    return points[:, :dimension] @ rotation.T + snapshot.array("grids.centre")[grid]


def _expected_at(
    reader: MapReader, other: tuple[int, int], grid: int, places: np.ndarray, observed: np.ndarray
) -> np.ndarray:
    """Expected limits at the vertices of the observed ones; these beyond the other's hull."""
    if other[0] == grid:
        return np.asarray(reader.values)[other[1] + np.arange(len(places))]
    size = 1 << (len(places) - 1).bit_length()
    padded = jnp.asarray(np.resize(places, (size, 6)))
    found = np.asarray(_look_up(reader, *map(jnp.int32, other), padded))[: len(places)]
    return np.where(found > 0, found, observed)


@jax.jit
def _look_up(reader: MapReader, grid: jax.Array, offset: jax.Array, flat: jax.Array) -> jax.Array:
    rows = jnp.ones(len(flat), jnp.int32)
    return reader.look_up(grid * rows, offset * rows, flat, rows > 0, None)


def _regions_of(snapshot: Snapshot, axis: RegionAxis) -> Int[np.ndarray, " limit"]:
    """The region with the lowest expected limit, of those of the analysis that see the topology."""
    analysis = {r.provenance.folder: base_id(r.provenance.analysis) for r in snapshot.results}
    place = {key: i for i, key in enumerate(axis.regions)}
    lowest = np.concatenate(
        [r.counting.upper_limit_expected for r in snapshot.results if r.counting is not None]
    )
    seen: dict[tuple[str, str], set[int]] = {}
    for header in snapshot.maps:
        if header.region is not None:
            names = analysis[header.folder], header.txname
            seen.setdefault(names, set()).add(place[header.folder, header.region])

    def best(regions: Sequence[int]) -> int:
        known = [i for i in regions if np.isfinite(lowest[i])]
        return min(known, key=lambda i: lowest[i], default=-1)

    keys = [(analysis[key.folder], key.txname) for key in axis.limits]
    return np.array([best(sorted(seen.get(key, ()))) for key in keys])
