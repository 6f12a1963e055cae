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


SURELY_REGULAR = 1e-9
"""Simplices whose volume is this large relative to their size need no closer look."""

THICKNESS = 1e-9
"""How far, relative to its height, a simplex must lie beyond a face to be behind it."""

MAX_CLUSTER = 200
"""Simplices looked at behind one face."""


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
    found = np.zeros(len(simplices), dtype=bool)
    size = np.abs(edges).sum(axis=1).max(axis=1)
    # |det| bounds the condition number by about 6 size**dimension / |det|.
    thick = np.abs(_determinant(edges)) > SURELY_REGULAR * size ** edges.shape[1]
    (doubtful,) = np.nonzero(~thick)
    edges, size = edges[doubtful], size[doubtful]
    inverse = np.full_like(edges, np.inf)
    regular = np.linalg.det(edges) != 0
    inverse[regular] = np.linalg.inv(edges[regular])
    with np.errstate(invalid="ignore"):
        condition = size * np.abs(inverse).sum(axis=1).max(axis=1)
        found[doubtful] = ~(1.0 / condition >= 1000 * np.finfo(float).eps)
    return found


def _determinant(matrices: np.ndarray) -> np.ndarray:
    """Determinants of many small matrices, up to 3x3 faster than by LU."""
    m = np.moveaxis(matrices, 0, -1)
    if len(m) > 3:
        return np.linalg.det(matrices)
    if len(m) == 2:
        return m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        + m[0, 1] * (m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


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
    rows, faces = np.nonzero((neighbours >= 0) & degenerate[neighbours] & ~degenerate[:, None])
    if len(rows):
        nearest = _behind(points, simplices, neighbours, degenerate, rows, faces)
        links[rows, faces] = nearest
        np.bitwise_or.at(broad, rows, np.where(nearest < 0, 1 << faces, 0).astype(np.uint8))
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


def _behind(
    points: np.ndarray,
    simplices: np.ndarray,
    neighbours: np.ndarray,
    degenerate: np.ndarray,
    rows: np.ndarray,
    faces: np.ndarray,
) -> np.ndarray:
    """For faces that border flat simplices the simplex with volume farthest beyond the face.

    It is sought among the neighbours of the flat simplex, then among all that touch
    the cluster of flat simplices; -1 where none lies beyond.
    """
    slope, origin = _face_planes(points, simplices[rows], faces)

    def deepest(face: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """The deepest of a padded list of candidates for each face, or -1."""
        usable = (candidates >= 0) & ~degenerate[candidates] & (candidates != rows[face, None])
        middle = points[simplices[candidates]].mean(axis=2)
        beyond = np.einsum("rd,rcd->rc", slope[face], middle - origin[face, None])
        beyond = np.where(usable, beyond, np.inf)
        best = beyond.argmin(axis=1)
        every = np.arange(len(face))
        return np.where(beyond[every, best] < -THICKNESS, candidates[every, best], -1)

    adjacent = neighbours[neighbours[rows, faces]]
    nearest = deepest(np.arange(len(rows)), adjacent)
    more = ((adjacent >= 0) & degenerate[adjacent]).any(axis=1)
    (open_faces,) = np.nonzero((nearest < 0) & more)
    if len(open_faces):
        flat = np.flatnonzero(degenerate)
        links = dict(zip(flat.tolist(), neighbours[flat].tolist(), strict=True))
        touching = [
            _touching(links, int(rows[f]), int(neighbours[rows[f], faces[f]])) for f in open_faces
        ]
        padded = np.full((len(touching), max(map(len, touching), default=0) or 1), -1)
        for row, found in zip(padded, touching, strict=True):
            row[: len(found)] = found
        nearest[open_faces] = deepest(open_faces, padded)
    return nearest


def _touching(links: dict[int, list[int]], row: int, start: int) -> list[int]:
    """Simplices with volume that touch the cluster of flat ones around `start`."""
    seen, queue, found = {row}, [start], []
    while queue and len(seen) < MAX_CLUSTER:
        current = queue.pop()
        if current < 0 or current in seen:
            continue
        seen.add(current)
        if current in links:
            queue.extend(links[current])
        else:
            found.append(current)
    return found
