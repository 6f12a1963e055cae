"""Fewer points for published maps, at a known interpolation error.

Points are added one batch at a time where linear interpolation on the points
chosen so far is worst for any map of the group, starting from the hull. The hull
is kept whole, so a thinned map answers exactly where the full one does.
"""

import numpy as np
from scipy.spatial import ConvexHull, Delaunay

SENSITIVE_SHARE = 0.1
"""Errors are relative to the value plus this share of the efficiency that matters."""

SMALLEST_SHARE = 0.003
"""The same, of the largest efficiency of a map, below which nothing matters."""

BATCH = 0.08
"""New points per round, relative to those chosen."""

EDGE = 1e-6
"""A point this far outside a simplex, in barycentric coordinates, is inside."""


def principal_coordinates(coordinates: np.ndarray, zero: float = 1e-4) -> np.ndarray:
    """Coordinates along the axes a grid extends in, ``point dimension``."""
    centred = coordinates - coordinates.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    rotated = centred @ axes.T
    return rotated[:, np.abs(rotated).max(axis=0) > zero]


def hull_corners(points: np.ndarray) -> np.ndarray:
    """Numbers of the points that span the convex hull.

    Args:
        points: Principal coordinates, ``point dimension``.
    """
    if points.shape[1] < 2:
        return np.unique([points[:, :1].argmin(), points[:, :1].argmax()])
    return np.sort(ConvexHull(points).vertices)


def error_scale(values: np.ndarray, sensitive: np.ndarray | None = None) -> np.ndarray:
    """What errors of ``point map`` values are relative to.

    For limits the value itself. For efficiencies the value, plus a share of the
    efficiency at which a region would become sensitive.

    Args:
        values: Axes ``point map``.
        sensitive: Efficiencies at which the expected signal equals the expected
            limit, ``point map``; `None` for limits.
    """
    if sensitive is None:
        return np.where(values > 0, values, 1.0)
    largest = np.abs(values).max(axis=0)
    floor = np.maximum(SENSITIVE_SHARE * sensitive, SMALLEST_SHARE * largest)
    scale = np.abs(values) + floor
    return np.where(scale > 0, scale, 1.0)


def thin(
    points: np.ndarray, values: np.ndarray, scale: np.ndarray, *, limit: int, tolerance: float
) -> np.ndarray:
    """Choose points on which linear interpolation reproduces all maps of a group.

    Args:
        points: Principal coordinates, ``point dimension``.
        values: Axes ``point map``.
        scale: What errors are relative to, `error_scale`.
        limit: Points to keep at most, hull apart.
        tolerance: Scaled error at which to stop.

    Returns:
        Indices of the points kept, ascending.
    """
    count, dimension = points.shape
    if dimension == 1 or count <= limit:
        return np.arange(count)
    chosen = np.zeros(count, dtype=bool)
    chosen[ConvexHull(points).vertices] = True
    if chosen.sum() < dimension + 2:
        chosen[values.sum(axis=1).argmax()] = True
    while True:
        errors, simplex = _errors(points, values, scale, chosen)
        room = limit - int(chosen.sum())
        if room <= 0 or errors.max() <= tolerance:
            return np.flatnonzero(chosen)
        order = np.argsort(-errors, kind="stable")
        order = order[errors[order] > tolerance]
        _, first = np.unique(simplex[order], return_index=True)
        worst = order[np.sort(first)]  # one point per simplex, the worst first
        chosen[worst[: min(room, max(2, int(BATCH * chosen.sum())))]] = True


def interpolate(
    points: np.ndarray, values: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation on scattered points.

    Args:
        points: Principal coordinates, ``point dimension``.
        values: Axes ``point map``.
        wanted: Where to interpolate, ``place dimension``.

    Returns:
        Values, ``nan`` outside the hull, and the simplex of each place.
    """
    if points.shape[1] == 1:
        order = np.argsort(points[:, 0])
        axis = points[order, 0]
        columns = [
            np.interp(wanted[:, 0], axis, column[order], left=np.nan, right=np.nan)
            for column in values.T
        ]
        return np.stack(columns, axis=1), np.searchsorted(axis, wanted[:, 0])
    mesh = Delaunay(points)
    simplex = mesh.find_simplex(wanted, tol=EDGE)
    transform = mesh.transform[simplex]
    dimension = points.shape[1]
    first = np.einsum("pij,pj->pi", transform[:, :dimension], wanted - transform[:, dimension])
    weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
    found = np.einsum("pv,pvm->pm", weights, values[mesh.simplices[simplex]])
    return np.where((simplex >= 0)[:, None], found, np.nan), simplex


def _errors(
    points: np.ndarray, values: np.ndarray, scale: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    errors = np.zeros(len(points))
    simplices = np.full(len(points), -1)
    rest = ~chosen
    found, simplex = interpolate(points[chosen], values[chosen], points[rest])
    difference = (np.abs(found - values[rest]) / scale[rest]).max(axis=1)
    errors[rest] = np.where(np.isfinite(difference), difference, np.inf)
    simplices[rest] = simplex
    return errors, simplices
