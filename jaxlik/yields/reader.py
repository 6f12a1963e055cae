"""Values of published maps at given points: the part of yields that knows no models.

Maps of one grid share where a point lies; what differs are the values at the vertices.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int
from jaxlik.yields.compaction import pack
from jaxlik.yields.interpolation import MAX_EXTRAPOLATION_ERROR, Grids, locate
from jaxlik.yields.sums import MIN_EFFICIENCY


class MapReader(eqx.Module):
    """Grids, and the values of all maps at their vertices.

    Attributes:
        grids: All grids of a snapshot.
        first_vertex: Offset of the first vertex of each grid.
        num_vertices: Vertices of each grid, apexes excluded.
        values: All maps, one after the other; efficiencies, or limits [fb].
    """

    grids: Grids
    first_vertex: Int[Array, " grid"]
    num_vertices: Int[Array, " grid"]
    values: Float[Array, " value"]

    def vertices_at(
        self,
        grid: Int[Array, " place"],
        simplex: Int[Array, " place"],
        point: Float[Array, "place 3"],
    ) -> tuple[Int[Array, "place 4"], Float[Array, "place 4"]]:
        """Vertex numbers within their grids, and weights; apexes get weight zero."""
        weights = jax.vmap(self.grids.barycentric)(simplex, point)
        local = self.grids.simplices[simplex] - self.first_vertex[grid][:, None]
        real = local < self.num_vertices[grid][:, None]
        return jnp.where(real, local, local[:, :1]), jnp.where(real, weights, 0.0)

    def values_of(
        self,
        offset: Int[Array, " entry"],
        vertices: Int[Array, "entry 4"],
        weights: Float[Array, "entry 4"],
    ) -> Float[Array, " entry"]:
        """Interpolated map values, not below the smallest vertex value (SModelS)."""
        corner = self.values[offset[:, None] + vertices]
        return jnp.maximum(jnp.sum(weights * corner, axis=1), jnp.min(corner, axis=1))

    def look_up(
        self,
        grid: Int[Array, " entry"],
        offset: Int[Array, " entry"],
        flat: Float[Array, "entry 6"],
        wanted: Bool[Array, " entry"],
        off_plane_bucket: int | None,
    ) -> Float[Array, " entry"]:
        """Value of one map at flat coordinates [GeV]; 0 where it has none.

        Args:
            grid: Grid of each map.
            offset: Offset of each map in `values`.
            flat: Where to look.
            wanted: Entries to look up at all.
            off_plane_bucket: Room for points that need a projection; `None` where
                projections are known to be reliable.
        """
        rotated = jax.vmap(self.grids.rotate)(grid, flat)
        point = jax.vmap(self.grids.in_plane)(grid, rotated)
        simplex, found = locate(self.grids, grid, point, wanted, stragglers=0)
        vertices, weights = self.vertices_at(grid, simplex, point)
        value = jnp.where(found, self.values_of(offset, vertices, weights), 0.0)
        if off_plane_bucket is None:
            return value
        off_plane = found & jax.vmap(self.grids.is_off_plane)(grid, rotated)
        every = jnp.arange(grid.shape[0])
        return self.drop_unreliable(
            value, offset, every, off_plane, grid, rotated, simplex, off_plane_bucket
        )[0]

    def drop_unreliable(
        self,
        value: Float[Array, " entry"],
        offset: Int[Array, " entry"],
        place: Int[Array, " entry"],
        off_plane: Bool[Array, " entry"],
        grid: Int[Array, " place"],
        rotated: Float[Array, "place 6"],
        simplex: Int[Array, " place"],
        bucket: int,
    ) -> tuple[Float[Array, " entry"], Int[Array, ""]]:
        """Zero values whose projection on the plane of the grid is too uncertain.

        The estimate is SModelS's: a gradient from one step per axis, then a step
        along the last axis by the sum of its normalised components either way.

        Args:
            value: Interpolated values of maps.
            offset: Offset of each map in `values`.
            place: Where each map is looked up.
            off_plane: Entries whose place lies off the plane of its grid.
            grid: Grid of each place.
            rotated: Principal coordinates of each place [GeV].
            simplex: Simplex around each place.
            bucket: Room for entries off the plane.

        Returns:
            The values, and how many needed the estimate. Beyond the bucket all are zero.
        """
        doubtful = off_plane & (jax.lax.stop_gradient(value) >= MIN_EFFICIENCY)
        chosen = pack(doubtful, min(bucket, value.shape[0]))
        index, num_places = chosen.index, grid.shape[0]
        visited = jnp.zeros(num_places, bool).at[place].max(doubtful)
        spots = pack(visited, min(bucket, num_places))
        spot = (jnp.cumsum(visited) - 1)[place[index]]
        spot = jnp.clip(spot, 0, spots.index.shape[0] - 1)
        grid, simplex = grid[spots.index], simplex[spots.index]
        frozen = jax.lax.stop_gradient(rotated[spots.index])
        point = jax.vmap(self.grids.in_plane)(grid, frozen)
        distance = jax.vmap(self.grids.off_plane)(grid, frozen)
        dimension = self.grids.dimension[grid]
        axes = jnp.arange(3)[:, None]

        def probe(moved: Float[Array, "probe place 3"], at: Array, wanted: Array) -> tuple:
            """Vertices and weights around moved points, all found in one walk."""
            count, size = moved.shape[:2]
            many = jnp.tile(grid[at], count)
            found = locate(
                self.grids,
                many,
                moved.reshape(-1, 3),
                wanted.reshape(-1),
                begin=jnp.tile(simplex[at], count),
            )
            corners = self.vertices_at(many, found[0], moved.reshape(-1, 3))
            shape = (count, size)
            return *(a.reshape(*shape, 4) for a in corners), found[1].reshape(shape)

        def rounded(vertices: Array, weights: Array, found: Array) -> Float[Array, " entry"]:
            """Values of the chosen maps there; nan off the grid."""
            values = self.values_of(offset[index], vertices, weights)
            return jnp.where(found, _six_digits(values), jnp.nan)

        everywhere = jnp.arange(spots.index.shape[0])
        used = spots.live[None] & (axes < dimension[None])
        shifts = jnp.eye(3)[:, None, :] * distance[None, :, None]
        vertices, weights, found = probe(point[None] + shifts, everywhere, used)
        ahead = jax.vmap(rounded)(vertices[:, spot], weights[:, spot], found[:, spot])
        projected = _six_digits(value[index])
        size, extent = distance[spot], dimension[spot]
        safe = jnp.where(size > 0, size, 1.0)
        along = chosen.live[None] & (axes < extent[None])
        gradient = jnp.where(along, (ahead - projected[None]) / safe[None], 0.0)
        norm = jnp.sqrt(jnp.sum(gradient**2, axis=0))
        total = jnp.sum(gradient, axis=0) / jnp.where(norm > 0, norm, 1.0) * size
        step = jnp.where((extent - 1)[:, None] == axes.T, total[:, None], 0.0)
        known = chosen.live & jnp.isfinite(norm) & (norm > 0)
        both = point[spot][None] + jnp.stack([step, -step])
        above, below = jax.vmap(rounded)(*probe(both, spot, jnp.stack([known, known])))
        up, down = _change(above, projected), _change(below, projected)
        # SModelS rejects a point whose upper step leaves the grid, not the lower.
        error = jnp.maximum(up, jnp.where(jnp.isnan(down), -jnp.inf, down))
        reliable = (norm == 0) | (jnp.isfinite(norm) & (error < MAX_EXTRAPOLATION_ERROR))
        kept = jnp.where(reliable, value[index], 0.0)
        target = jnp.where(chosen.live, index, value.shape[0])
        fallback = jnp.where(off_plane, 0.0, value)
        return fallback.at[target].set(kept, mode="drop"), chosen.count


def _six_digits(value: Float[Array, " entry"]) -> Float[Array, " entry"]:
    """Rounded as SModelS rounds interpolated values, so that flat maps have no slope."""
    value = jax.lax.stop_gradient(value)
    size = jnp.abs(jnp.where(value == 0, 1.0, value))
    scale = 10.0 ** (5 - jnp.floor(jnp.log10(size)))
    return jnp.round(value * scale) / scale


def _change(
    value: Float[Array, " entry"], projected: Float[Array, " entry"]
) -> Float[Array, " entry"]:
    """Relative change; 1 where the reference vanishes and the value does not."""
    relative = jnp.abs(value - projected) / jnp.where(projected == 0, 1.0, projected)
    return jnp.where(projected == 0, jnp.where(value != 0, 1.0, 0.0), relative)
