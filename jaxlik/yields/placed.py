"""Values of maps at given places, with their slopes, for any number of models at once.

Where `EfficiencyYields` finds the places of a model of the pool itself, these come from a
decomposition of an arbitrary model (`jaxlik.topologies`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.typing import Array, Bool, Float, Int
from jaxlik.yields.interpolation import locate
from jaxlik.yields.reader import MapReader

SMALLEST_BUCKET = 64
"""Places and entries are padded to powers of two from here on."""


class Values(NamedTuple):
    """Values of maps at places.

    Attributes:
        value: Of each entry; 0 where the map has none.
        slope: Derivative with respect to the coordinates of its place.
    """

    value: Float[np.ndarray, " entry"]
    slope: Float[np.ndarray, "entry 6"]


def read_maps(
    reader: MapReader,
    grid: Int[np.ndarray, " place"],
    flat: Float[np.ndarray, "place 6"],
    entry_place: Int[np.ndarray, " entry"],
    entry_offset: Int[np.ndarray, " entry"],
) -> Values:
    """Look maps up at places; one compiled function serves all sizes up to a power of two.

    Args:
        reader: All maps.
        grid: Grid of each place.
        flat: Coordinates [GeV, or rescaled widths].
        entry_place: Place each map is looked up at.
        entry_offset: Offset of each map in `MapReader.values`.
    """
    count = len(entry_place)
    if not count:
        return Values(np.zeros(0), np.zeros((0, flat.shape[1])))
    places, entries = bucket(len(grid)), bucket(count)
    live = jnp.arange(places) < len(grid)
    found = _read(
        reader,
        padded(grid, places),
        padded(flat, places),
        live,
        padded(entry_place, entries),
        padded(entry_offset, entries),
        jnp.arange(entries) < count,
    )
    value, slope = np.array(found.value[:count]), np.asarray(found.slope[:count])
    doubtful = np.flatnonzero(np.asarray(found.doubtful[:count]))
    if len(doubtful):
        value[doubtful] = _reliable(reader, grid, found, value, entry_place, entry_offset, doubtful)
    return Values(value, np.where(value[:, None] > 0, slope, 0.0))


def _reliable(
    reader: MapReader,
    grid: np.ndarray,
    found: "_Found",
    value: np.ndarray,
    entry_place: np.ndarray,
    entry_offset: np.ndarray,
    doubtful: np.ndarray,
) -> np.ndarray:
    """Values at points off the plane of their grid; 0 where the projection is too uncertain."""
    spots, place = np.unique(entry_place[doubtful], return_inverse=True)
    places, entries = bucket(len(spots)), bucket(len(doubtful))
    kept = _keep_reliable(
        reader,
        padded(value[doubtful], entries),
        padded(entry_offset[doubtful], entries),
        padded(place.reshape(-1), entries),
        jnp.arange(entries) < len(doubtful),
        padded(grid[spots], places),
        padded(np.asarray(found.rotated)[spots], places),
        padded(np.asarray(found.simplex)[spots], places),
    )
    return np.asarray(kept)[: len(doubtful)]


def bucket(count: int) -> int:
    """The power of two that holds so many."""
    return max(SMALLEST_BUCKET, 1 << (count - 1).bit_length())


def padded(values: np.ndarray, size: int) -> Array:
    """Values followed by zeros."""
    missing = size - len(values)
    return jnp.asarray(
        np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])
    )


class _Found(NamedTuple):
    value: Float[Array, " entry"]
    slope: Float[Array, "entry 6"]
    doubtful: Bool[Array, " entry"]
    rotated: Float[Array, "place 6"]
    simplex: Int[Array, " place"]


@eqx.filter_jit
def _read(
    reader: MapReader,
    grid: Int[Array, " place"],
    flat: Float[Array, "place 6"],
    live: Bool[Array, " place"],
    entry_place: Int[Array, " entry"],
    entry_offset: Int[Array, " entry"],
    entry_live: Bool[Array, " entry"],
) -> _Found:
    """Interpolated values, and which of them lie off the plane of their grid."""
    grids = reader.grids
    rotated = jax.vmap(grids.rotate)(grid, flat)
    point = jax.vmap(grids.in_plane)(grid, rotated)
    off_plane = jax.vmap(grids.is_off_plane)(grid, rotated)
    simplex, found = locate(grids, grid, point, live)
    vertices, weights = reader.vertices_at(grid, simplex, point)

    def weights_of(grid: Array, simplex: Array, flat: Array) -> Array:
        place = grids.in_plane(grid, grids.rotate(grid, flat))
        return reader.vertices_at(grid[None], simplex[None], place[None])[1][0]

    turn = jax.vmap(jax.jacfwd(weights_of, argnums=2))(grid, simplex, flat)
    corner = reader.values[entry_offset[:, None] + vertices[entry_place]]
    mean = jnp.sum(weights[entry_place] * corner, axis=1)
    lowest = jnp.min(corner, axis=1)
    slope = jnp.einsum("ev,evc->ec", corner, turn[entry_place])
    inside = entry_live & found[entry_place]
    value = jnp.where(inside, jnp.maximum(mean, lowest), 0.0)
    slope = jnp.where((mean > lowest)[:, None], slope, 0.0)
    return _Found(value, slope, inside & off_plane[entry_place], rotated, simplex)


@eqx.filter_jit
def _keep_reliable(
    reader: MapReader,
    value: Float[Array, " entry"],
    offset: Int[Array, " entry"],
    place: Int[Array, " entry"],
    live: Bool[Array, " entry"],
    grid: Int[Array, " place"],
    rotated: Float[Array, "place 6"],
    simplex: Int[Array, " place"],
) -> Float[Array, " entry"]:
    """`MapReader.drop_unreliable` with room for all."""
    kept, _ = reader.drop_unreliable(
        value, offset, place, live, grid, rotated, simplex, value.shape[0]
    )
    return kept
