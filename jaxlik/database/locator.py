"""Flat arrays in which the simplex around a point is found by walking (host side).

All grids share flat arrays, so that a grid is a number and looking into one is a
gather. A coarse table of starting simplices makes walks short. Grids of lower
dimension are lifted to three dimensions with apex points, so that one formula
serves all.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from jaxlik.database.records import Grid

DIMENSIONS = 3
COORDINATES = 6
CELLS_PER_SIMPLEX = 0.5


class LocatorArrays(NamedTuple):
    """Flat arrays of all grids; see `jaxlik.yields.interpolation.Grids`."""

    centre: np.ndarray  # grid 6
    rotation: np.ndarray  # grid 6 6
    dimension: np.ndarray  # grid
    lower: np.ndarray  # grid 3
    upper: np.ndarray  # grid 3
    cells: np.ndarray  # grid 3: cells of the starting table along each axis
    start: np.ndarray  # grid + 1: offsets into the starting table
    first: np.ndarray  # cell: simplex to start from
    points: np.ndarray  # vertex 3
    point_start: np.ndarray  # grid + 1
    simplices: np.ndarray  # simplex 4, vertex numbers over all grids
    neighbours: np.ndarray  # simplex 4, simplex numbers over all grids, -1 at the hull
    broad: np.ndarray  # simplex: bit mask of hull faces with the wide tolerance


def build_locator(grids: Sequence[Grid], *, consume: bool = False) -> LocatorArrays:
    """Lay out many grids for walking.

    Args:
        grids: Rotated and triangulated grids of one to three dimensions.
        consume: Empty the list on the way, so that no more than one copy is in memory.

    Returns:
        Arrays whose vertex numbers count the points of all grids, apexes included.
    """
    count = len(grids)
    centre = np.zeros((count, COORDINATES))
    rotation = np.zeros((count, COORDINATES, COORDINATES))
    lower = np.zeros((count, DIMENSIONS))
    upper = np.zeros((count, DIMENSIONS))
    cells = np.ones((count, DIMENSIONS), dtype=np.int32)
    dimensions = np.array([grid.dimension for grid in grids], dtype=np.int32)
    point_starts = _offsets(len(grid.points) + DIMENSIONS - grid.dimension for grid in grids)
    simplex_starts = _offsets(len(grid.simplices) for grid in grids)
    points = np.zeros((point_starts[-1], DIMENSIONS))
    simplices = np.zeros((simplex_starts[-1], DIMENSIONS + 1), dtype=np.int32)
    neighbours = np.full((simplex_starts[-1], DIMENSIONS + 1), -1, dtype=np.int32)
    broad = np.zeros(simplex_starts[-1], dtype=np.uint8)
    first = []
    waiting = grids if consume and isinstance(grids, list) else list(grids)
    waiting.reverse()
    for g in range(count):
        grid = waiting.pop()
        size, dimension = len(grid.centre), grid.dimension
        if size > COORDINATES or dimension > DIMENSIONS:
            raise ValueError(
                f"grid {g} has {size} coordinates in {dimension} dimensions; at most 6, 3"
            )
        centre[g, :size] = grid.centre
        rotation[g, :size, :size] = grid.rotation
        lower[g, :dimension] = grid.points.min(axis=0)
        upper[g, :dimension] = grid.points.max(axis=0)
        table = _starting_table(grid)
        cells[g, :dimension] = table.shape
        first.append((table.ravel() + simplex_starts[g]).astype(np.int32))
        lifted_points, lifted = _lift(grid)
        points[point_starts[g] : point_starts[g + 1]] = lifted_points
        own = slice(simplex_starts[g], simplex_starts[g + 1])
        simplices[own] = lifted + point_starts[g]
        linked = grid.neighbours >= 0
        neighbours[own, : dimension + 1] = np.where(linked, grid.neighbours + simplex_starts[g], -1)
        broad[own] = grid.broad
    return LocatorArrays(
        centre,
        rotation,
        dimensions,
        lower,
        upper,
        cells,
        _offsets(len(table) for table in first),
        np.concatenate(first),
        points,
        point_starts,
        simplices,
        neighbours,
        broad,
    )


def _offsets(lengths: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(lengths))]).astype(np.int32)


def _lift(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Points and simplices in three dimensions; apexes stand off the extra axes."""
    num_points, dimension = grid.points.shape
    missing = DIMENSIONS - dimension
    scale = max(float(np.ptp(grid.points, axis=0).max()), 1.0)
    points = np.zeros((num_points + missing, DIMENSIONS))
    points[:num_points, :dimension] = grid.points
    points[num_points:] = scale * np.eye(DIMENSIONS)[dimension:]
    extra = np.broadcast_to(num_points + np.arange(missing), (len(grid.simplices), missing))
    return points, np.concatenate([grid.simplices, extra], axis=1)


def _starting_table(grid: Grid) -> np.ndarray:
    """For every cell of a coarse mesh over the box of a grid the simplex nearest to its middle."""
    dimension = grid.dimension
    per_axis = max(2, round((CELLS_PER_SIMPLEX * len(grid.simplices)) ** (1 / dimension)))
    lower, upper = grid.points.min(axis=0), grid.points.max(axis=0)
    size = np.where(upper > lower, upper - lower, 1.0)
    middles = (np.indices((per_axis,) * dimension).reshape(dimension, -1).T + 0.5) / per_axis
    centroids = (grid.points[grid.simplices].mean(axis=1) - lower) / size
    _, nearest = KDTree(centroids).query(middles)
    return np.asarray(nearest).reshape((per_axis,) * dimension)
