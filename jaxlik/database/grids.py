"""Rotation and triangulation of published grids, as SModelS makes them.

Regular mass grids have no unique Delaunay triangulation: the diagonal of each
cell depends on the last bits of the rotated coordinates. The operations below
therefore keep the order of floating-point operations of SModelS
(``txnameDataObj.TxNameData.computeV``), so that the simplices are the same.
"""

import math

import numpy as np
from scipy.linalg import svd
from scipy.spatial import Delaunay

from jaxlik.database.records import Grid
from jaxlik.errors import DatabaseError

ZERO = 1e-4
"""Principal coordinates below this count as zero (SModelS ``countNonZeros``)."""


def triangulate(coordinates: np.ndarray, label: str) -> Grid:
    """Rotate a grid to its principal axes and triangulate it.

    Args:
        coordinates: Grid points, ``point coordinate``.
        label: Name of the map, for messages.

    Returns:
        The grid; one-dimensional grids hold their sorted intervals as simplices.

    Raises:
        DatabaseError: fewer points than a simplex needs, or coinciding points.
    """
    total = np.cumsum(coordinates, axis=0)[-1]  # summed in order, as Python's sum does
    centre = total / len(coordinates)
    centred = coordinates - centre
    step = math.ceil(len(centred) / 2000.0)
    rotation = svd(centred[::step], full_matrices=centred[::step].shape[0] <= centred.shape[1])[2].T
    rotated = np.array([np.dot(point, rotation) for point in centred])
    dimension = int((np.abs(rotated) > ZERO).sum(axis=1).max(initial=0))
    if dimension == 0:
        raise DatabaseError(f"{label}: all grid points coincide; a map needs at least two")
    points = np.ascontiguousarray(rotated[:, :dimension])
    if dimension == 1:
        simplices, neighbours = _intervals(points[:, 0])
        broad = np.zeros(len(simplices), dtype=np.uint8)
    else:
        mesh = Delaunay(points)
        simplices, neighbours, broad = _drop_degenerate(points, mesh.simplices, mesh.neighbors)
    if len(simplices) == 0:
        raise DatabaseError(f"{label}: the grid has no simplex with volume")
    return Grid(centre, rotation, points, simplices, neighbours, broad)


UNSEARCHED = -2


def _intervals(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals between sorted distinct positions, and the next one on either side."""
    order = np.argsort(positions, kind="stable")
    pairs = np.stack([order[1:], order[:-1]], axis=1)
    lengths = positions[pairs[:, 0]] - positions[pairs[:, 1]]
    simplices = pairs[lengths > 0].astype(np.int32)
    count = len(simplices)
    left, right = np.arange(count) - 1, np.arange(count) + 1
    right[-1:] = -1
    return simplices, np.stack([left, right], axis=1).astype(np.int32)


def _is_degenerate(points: np.ndarray, simplices: np.ndarray) -> np.ndarray:
    """Simplices without volume, by SciPy's rule.

    The reciprocal condition number of their edges is below 1000 machine epsilons.
    """
    corners = points[simplices]
    edges = np.swapaxes(corners[:, :-1] - corners[:, -1:], 1, 2)
    inverse = np.full_like(edges, np.inf)
    regular = np.linalg.det(edges) != 0
    inverse[regular] = np.linalg.inv(edges[regular])
    with np.errstate(invalid="ignore"):
        condition = np.abs(edges).sum(axis=1).max(axis=1) * np.abs(inverse).sum(axis=1).max(axis=1)
        return ~(1.0 / condition >= 1000 * np.finfo(float).eps)


def _drop_degenerate(
    points: np.ndarray, simplices: np.ndarray, neighbours: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Remove simplices without volume and join what lies on their two sides.

    Returns:
        Simplices, neighbours, and the mask of faces across which only simplices
        without volume lie; SciPy looks points up there with a wider tolerance.
    """
    degenerate = _is_degenerate(points, simplices)
    links = neighbours.copy()
    broad = np.zeros(len(simplices), dtype=np.uint8)
    borders = (neighbours >= 0) & degenerate[neighbours] & ~degenerate[:, None]
    behind = _just_behind(points, simplices, neighbours, degenerate, *np.nonzero(borders))
    for (simplex, face), nearest in zip(np.argwhere(borders), behind, strict=True):
        if nearest == UNSEARCHED:
            nearest = _behind_cluster(points, simplices, neighbours, degenerate, simplex, face)
        links[simplex, face] = nearest
        if nearest < 0:
            broad[simplex] |= 1 << face
    number = np.cumsum(~degenerate) - 1
    kept = links[~degenerate]
    return (
        simplices[~degenerate].astype(np.int32),
        np.where(kept >= 0, number[kept], -1).astype(np.int32),
        broad[~degenerate],
    )


def _face_planes(
    points: np.ndarray, simplices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inward slope of each simplex across one of its faces, and a point on that face."""
    corners = points[simplices]
    slopes = np.linalg.inv(np.swapaxes(corners[:, :-1] - corners[:, -1:], 1, 2))
    slopes = np.concatenate([slopes, -slopes.sum(axis=1, keepdims=True)], axis=1)
    rows = np.arange(len(simplices))
    return slopes[rows, faces], corners[rows, (faces + 1) % corners.shape[1]]


def _just_behind(
    points: np.ndarray,
    simplices: np.ndarray,
    neighbours: np.ndarray,
    degenerate: np.ndarray,
    rows: np.ndarray,
    faces: np.ndarray,
) -> np.ndarray:
    """For faces that border a flat simplex its neighbour farthest beyond the face.

    -1 where nothing lies beyond, `UNSEARCHED` where more flat simplices do.
    """
    if len(rows) == 0:
        return np.zeros(0, dtype=np.int64)
    slope, origin = _face_planes(points, simplices[rows], faces)
    candidates = neighbours[neighbours[rows, faces]]
    middle = points[simplices[candidates]].mean(axis=2)
    beyond = np.einsum("rd,rcd->rc", slope, middle - origin[:, None])
    usable = (candidates >= 0) & ~degenerate[candidates] & (candidates != rows[:, None])
    beyond = np.where(usable, beyond, np.inf)
    best = beyond.argmin(axis=1)
    every = np.arange(len(rows))
    searched = ~((candidates >= 0) & degenerate[candidates]).any(axis=1)
    nothing = np.where(searched, -1, UNSEARCHED)
    return np.where(beyond[every, best] < -1e-9, candidates[every, best], nothing)


def _behind_cluster(
    points: np.ndarray,
    simplices: np.ndarray,
    neighbours: np.ndarray,
    degenerate: np.ndarray,
    simplex: int,
    face: int,
) -> int:
    """The simplex with volume behind a cluster of flat ones, farthest beyond the face."""
    slope, origin = _face_planes(points, simplices[[simplex]], np.array([face]))
    seen, queue = {int(simplex)}, [int(neighbours[simplex, face])]
    best, depth = -1, -1e-9
    while queue and len(seen) < 200:
        current = queue.pop()
        if current < 0 or current in seen:
            continue
        seen.add(current)
        if degenerate[current]:
            queue.extend(int(n) for n in neighbours[current])
            continue
        beyond = float(slope[0] @ (points[simplices[current]].mean(axis=0) - origin[0]))
        if beyond < depth:
            best, depth = current, beyond
    return best
