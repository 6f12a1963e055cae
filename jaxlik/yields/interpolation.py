"""Piecewise-linear interpolation on published grids, as SModelS does it.

A point is rotated to the principal axes of its grid; a walk across simplices
finds the one that holds it; its barycentric coordinates weight the values at the
vertices. Values are continuous, gradients jump at the faces.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from jaxlik.database.locator import LocatorArrays
from jaxlik.typing import Array, Bool, Float, Int, Scalar

TOLERANCE = 1e-6
"""A point this far outside a simplex, in barycentric coordinates, is inside (SModelS)."""

BROAD_TOLERANCE = 1e-3
"""The same across faces behind which only flat simplices lie (SciPy: square root)."""

PLANE_TOLERANCE = 1e-4
"""Principal coordinates below this count as zero (SModelS ``countNonZeros``)."""

MAX_EXTRAPOLATION_ERROR = 0.05
"""Relative change above which a point off the plane of a grid has no value (SModelS)."""

FAST_STEPS = 12
MAX_STEPS = 400


class Location(NamedTuple):
    """Where a point lies in a grid.

    Attributes:
        vertices: Numbers of the vertices around the point.
        weights: Their barycentric weights.
        inside: Whether the point lies in the hull of the grid.
    """

    vertices: Int[Array, " 4"]
    weights: Float[Array, " 4"]
    inside: Bool[Array, ""]


class Grids(eqx.Module):
    """All grids of a snapshot as flat arrays; a grid is an index."""

    centre: Float[Array, "grid 6"]
    rotation: Float[Array, "grid 6 6"]
    dimension: Int[Array, " grid"]
    lower: Float[Array, "grid 3"]
    upper: Float[Array, "grid 3"]
    cells: Int[Array, "grid 3"]
    start: Int[Array, " grid_bounds"]
    first: Int[Array, " cell"]
    points: Float[Array, "vertex 3"]
    simplices: Int[Array, "simplex 4"]
    neighbours: Int[Array, "simplex 4"]
    broad: Int[Array, " simplex"]

    @classmethod
    def from_arrays(cls, arrays: LocatorArrays) -> "Grids":
        """Put the host arrays of `build_locator` on the device."""
        return cls(
            **{
                name: jnp.asarray(getattr(arrays, name))
                for name in (
                    "centre rotation dimension lower upper cells start first points "
                    "simplices neighbours"
                ).split()
            },
            broad=jnp.asarray(arrays.broad, dtype=jnp.int32),
        )

    def rotate(self, grid: Int[Array, ""], point: Float[Array, " 6"]) -> Float[Array, " 6"]:
        """Principal coordinates [GeV] of a flat point; padding must equal the centre's zeros."""
        return (point - self.centre[grid]) @ self.rotation[grid]

    def in_plane(self, grid: Int[Array, ""], rotated: Float[Array, " 6"]) -> Float[Array, " 3"]:
        """The coordinates a grid extends in, zeros behind them."""
        return jnp.where(jnp.arange(3) < self.dimension[grid], rotated[:3], 0.0)

    def off_plane(self, grid: Int[Array, ""], rotated: Float[Array, " 6"]) -> Scalar:
        """Distance [GeV] of a rotated point to the plane of its grid."""
        beyond = jnp.where(jnp.arange(6) >= self.dimension[grid], rotated, 0.0)
        square = jnp.sum(beyond**2)
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)

    def is_off_plane(self, grid: Int[Array, ""], rotated: Float[Array, " 6"]) -> Bool[Array, ""]:
        """Whether more principal coordinates are non-zero than the grid has dimensions."""
        return jnp.sum(jnp.abs(rotated) > PLANE_TOLERANCE) > self.dimension[grid]

    def starting_simplex(self, grid: Int[Array, ""], point: Float[Array, " 3"]) -> Int[Array, ""]:
        """A simplex near an in-plane point, from the coarse table."""
        lower, upper, cells = self.lower[grid], self.upper[grid], self.cells[grid]
        size = jnp.where(upper > lower, upper - lower, 1.0)
        cell = jnp.floor((point - lower) / size * cells).astype(jnp.int32)
        cell = jnp.clip(cell, 0, cells - 1)
        dimension = self.dimension[grid]
        flat = cell[0]
        flat = jnp.where(dimension > 1, flat * cells[1] + cell[1], flat)
        flat = jnp.where(dimension > 2, flat * cells[2] + cell[2], flat)
        return self.first[self.start[grid] + flat]

    def barycentric(self, simplex: Int[Array, ""], point: Float[Array, " 3"]) -> Float[Array, " 4"]:
        """Barycentric coordinates of a point in a simplex, by Cramer's rule."""
        return barycentric_coordinates(self.points[self.simplices[simplex]], point)


def barycentric_coordinates(
    corners: Float[Array, "4 3"], point: Float[Array, " 3"]
) -> Float[Array, " 4"]:
    """Weights that write a point as a mean of four corners."""
    a, b, c = corners[0] - corners[3], corners[1] - corners[3], corners[2] - corners[3]
    p = point - corners[3]
    bc, ca, ab = _cross(b, c), _cross(c, a), _cross(a, b)
    volume = jnp.dot(a, bc)
    w0, w1, w2 = jnp.dot(p, bc) / volume, jnp.dot(p, ca) / volume, jnp.dot(p, ab) / volume
    return jnp.stack([w0, w1, w2, 1.0 - w0 - w1 - w2])


def _cross(a: Float[Array, " 3"], b: Float[Array, " 3"]) -> Float[Array, " 3"]:
    return jnp.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


class _Walk(NamedTuple):
    simplex: Int[Array, " point"]
    found: Bool[Array, " point"]
    outside: Bool[Array, " point"]
    step: Int[Array, ""]


def locate(
    grids: Grids,
    grid: Int[Array, " point"],
    points: Float[Array, "point 3"],
    live: Bool[Array, " point"],
    *,
    begin: Int[Array, " point"] | None = None,
    stragglers: int | None = None,
) -> tuple[Int[Array, " point"], Bool[Array, " point"]]:
    """Find the simplex around each in-plane point.

    Walks cross the face with the most negative barycentric coordinate; once few points
    are left they go on in a small batch. After `FAST_STEPS` steps a walk crosses a face
    chosen in turn, which ends every cycle.

    Args:
        grids: All grids.
        grid: Grid of each point.
        points: Principal coordinates [GeV], `Grids.in_plane`.
        live: Points worth looking for; the others are answered `inside = False`.
        begin: Simplices to start from; from the coarse table by default.
        stragglers: Size of the second batch; an eighth of the points by default, 0
            for one long walk of all points (less to compile; for few points).

    Returns:
        Simplex of each point, and whether it holds the point.
    """
    points = lax.stop_gradient(points)
    slack = TOLERANCE
    inside_box = jnp.all(
        (points >= grids.lower[grid] - slack) & (points <= grids.upper[grid] + slack), axis=-1
    )
    live = live & inside_box
    if begin is None:
        begin = jax.vmap(grids.starting_simplex)(grid, points)
    count = points.shape[0]
    walk = _Walk(begin, jnp.zeros(count, bool), ~live, jnp.zeros((), jnp.int32))
    size = min(count, max(8, count // 8) if stragglers is None else stragglers)
    walk = _run(grids, points, walk, size)
    if size == 0:
        return walk.simplex, walk.found
    waiting = ~(walk.found | walk.outside)
    (index,) = jnp.nonzero(waiting, size=size, fill_value=count)
    slow = _Walk(
        walk.simplex.at[index].get(mode="clip"),
        jnp.zeros(size, bool),
        index >= count,
        walk.step,
    )
    slow = _run(grids, points.at[index].get(mode="clip"), slow, 0)
    simplex = walk.simplex.at[index].set(slow.simplex, mode="drop")
    found = walk.found.at[index].set(slow.found, mode="drop")
    return simplex, found


def _run(grids: Grids, points: Float[Array, "point 3"], walk: _Walk, left: int) -> _Walk:
    """Walk until no more than `left` points are on their way."""
    bits = jnp.arange(4)[None, :]

    def step(walk: _Walk) -> _Walk:
        weights = jax.vmap(grids.barycentric)(walk.simplex, points)
        links = grids.neighbours[walk.simplex]
        broad = ((grids.broad[walk.simplex][:, None] >> bits) & 1) == 1
        negative = weights < -jnp.where(broad, BROAD_TOLERANCE, TOLERANCE)
        done = walk.found | walk.outside
        found = walk.found | (~done & ~jnp.any(negative, axis=1))
        # Beyond the fast steps prefer another face each time, to leave any cycle.
        turn = (walk.step * 7 + walk.simplex[:, None] + bits) % 4
        keys = jnp.where(walk.step < FAST_STEPS, weights, turn - 4.0)
        face = jnp.argmin(jnp.where(negative, keys, jnp.inf), axis=1)
        following = jnp.take_along_axis(links, face[:, None], axis=1)[:, 0]
        leaves = jnp.any(negative & (links < 0), axis=1)
        outside = walk.outside | (~done & ~found & leaves)
        moves = ~(found | outside)
        return _Walk(jnp.where(moves, following, walk.simplex), found, outside, walk.step + 1)

    def unfinished(walk: _Walk) -> Bool[Array, ""]:
        return (walk.step < MAX_STEPS) & (jnp.sum(~(walk.found | walk.outside)) > left)

    return lax.while_loop(unfinished, step, walk)


def weights_at(
    grids: Grids, simplex: Int[Array, ""], inside: Bool[Array, ""], point: Float[Array, " 3"]
) -> Location:
    """Vertices and differentiable weights of a located in-plane point."""
    return Location(grids.simplices[simplex], grids.barycentric(simplex, point), inside)


def interpolate(location: Location, values: Float[Array, " 4"], *, floor: bool = True) -> Scalar:
    """Weighted mean of vertex values, not below the smallest (SModelS).

    Args:
        location: From `weights_at`.
        values: At the vertices; apex vertices carry weight zero.
        floor: Whether to apply SModelS's floor.
    """
    mean = jnp.dot(location.weights, values)
    if not floor:
        return mean
    real = jnp.abs(location.weights) > 0
    return jnp.maximum(mean, jnp.min(jnp.where(real, values, jnp.inf)))
