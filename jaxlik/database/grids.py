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
        simplices = _intervals(points[:, 0])
    else:
        simplices = Delaunay(points).simplices.astype(np.int32)
    return Grid(centre, rotation, points, simplices)


def _intervals(positions: np.ndarray) -> np.ndarray:
    order = np.argsort(positions, kind="stable")
    pairs = np.stack([order[1:], order[:-1]], axis=1)
    lengths = positions[pairs[:, 0]] - positions[pairs[:, 1]]
    return pairs[lengths > 0].astype(np.int32)
