import json

import numpy as np
import pytest
from grid_cases import CASES
from scipy.spatial import ConvexHull, Delaunay
from smodels.experiment.txnameDataObj import TxNameData

from jaxlik.database import grids
from jaxlik.errors import DatabaseError


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    return CASES[request.param], grids.triangulate(CASES[request.param], request.param)


def volumes(grid):
    corners = grid.points[grid.simplices]
    edges = corners[:, 1:] - corners[:, :1]
    return np.abs(np.linalg.det(edges)) / [1, 1, 2, 6][grid.dimension]


def test_rotation_and_simplices_are_those_of_smodels(case):
    coordinates, grid = case
    oracle = TxNameData(coordinates.tolist(), [1.0] * len(coordinates), "test")
    assert oracle.dimensionality == grid.dimension
    np.testing.assert_array_equal(np.ravel(oracle.delta_x), grid.centre)
    np.testing.assert_array_equal(oracle._V, grid.rotation)
    if grid.dimension == 1:
        return
    np.testing.assert_array_equal(oracle.tri.points, grid.points)
    flat = np.isnan(oracle.tri.transform[:, 0, 0])
    np.testing.assert_array_equal(oracle.tri.simplices[~flat], grid.simplices)


def test_simplices_fill_the_hull(case):
    _, grid = case
    hull = np.ptp(grid.points) if grid.dimension == 1 else ConvexHull(grid.points).volume
    np.testing.assert_allclose(volumes(grid).sum(), hull, rtol=1e-9)
    assert volumes(grid).min() > 0


def test_neighbours_share_a_face_or_lie_behind_flat_simplices(case):
    _, grid = case
    sets = [set(simplex) for simplex in grid.simplices.tolist()]
    mesh = Delaunay(grid.points) if grid.dimension > 1 else None
    flat = 0 if mesh is None else int(np.isnan(mesh.transform[:, 0, 0]).sum())
    unshared = 0
    for number, links in enumerate(grid.neighbours.tolist()):
        for face, other in enumerate(links):
            if other >= 0:
                shared = sets[number] & sets[other]
                unshared += shared != sets[number] - {int(grid.simplices[number, face])}
    assert unshared <= 4 * flat


def test_faces_without_neighbour_lie_on_the_hull(case):
    _, grid = case
    if grid.dimension == 1:
        assert (grid.neighbours < 0).sum() == 2
        return
    mesh = Delaunay(grid.points)
    number, face = np.nonzero(grid.neighbours < 0)
    corners = grid.points[grid.simplices[number]]
    apex = corners[np.arange(len(number)), face]
    middle = (corners.sum(axis=1) - apex) / grid.dimension
    outside = middle + 0.01 * (middle - apex)
    assert (mesh.find_simplex(outside) < 0).all()


def test_one_dimensional_grids_hold_their_intervals():
    coordinates = np.array([[100.0, 40.0], [300.0, 40.0], [200.0, 40.0], [300.0, 40.0]])
    grid = grids.triangulate(coordinates, "line")
    assert grid.dimension == 1
    lengths = np.sort(np.abs(np.diff(grid.points[grid.simplices][:, :, 0], axis=1)).ravel())
    np.testing.assert_allclose(lengths, [100, 100], rtol=1e-12)
    np.testing.assert_array_equal(grid.neighbours, [[-1, 1], [0, -1]])
    position = grid.points[grid.simplices[:, 0], 0] - grid.points[grid.simplices[:, 1], 0]
    assert (position > 0).all()


@pytest.mark.parametrize("count", [1, 3])
def test_coinciding_points_are_refused(count):
    with pytest.raises(DatabaseError, match="all grid points coincide"):
        grids.triangulate(np.full((count, 4), 100.0), "map")


@pytest.mark.parametrize("dimension", [2, 3])
def test_volume_test_agrees_with_scipy(dimension):
    """Simplices from good to flat; SciPy marks those it cannot invert."""
    rng = np.random.default_rng(3)
    points = CASES["lattice-2d" if dimension == 2 else "lattice-3d"][:, :dimension]
    points = points + rng.normal(0, 1, points.shape) * 10.0 ** rng.uniform(-14, 0, (len(points), 1))
    mesh = Delaunay(points)
    found = grids._is_degenerate(points, mesh.simplices)
    np.testing.assert_array_equal(found, np.isnan(mesh.transform[:, 0, 0]))


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_determinants_agree_with_numpy(dimension):
    matrices = np.random.default_rng(0).normal(size=(50, dimension, dimension))
    np.testing.assert_allclose(grids._determinant(matrices), np.linalg.det(matrices), rtol=1e-11)


@pytest.mark.reference
def test_simplices_of_database_300_are_counted_as_smodels_does(snapshot, reference):
    """The golden counts include flat simplices, which are dropped here."""
    golden = json.loads((reference / "golden" / "smodels" / "interp" / "maps.json").read_text())
    kinds = {"obs": "upper_limit", "exp": "upper_limit_expected"}
    index = {(m.folder, m.region or "UL", m.txname, m.quantity): m for m in snapshot.maps}
    offsets = np.searchsorted(
        snapshot.array("grids.simplices").min(axis=1), snapshot.array("grids.point_start")
    )
    number = {name: i for i, name in enumerate(golden["columns"])}
    exact = 0
    for row in golden["maps"]:
        quantity = "efficiency" if row[1] != "UL" else kinds[row[3]]
        header = index[row[0], row[1], row[2], quantity]
        count = offsets[header.grid + 1] - offsets[header.grid]
        wanted = row[number["nsimplices"]]
        assert count <= wanted
        exact += count == wanted
    assert exact > 0.5 * len(golden["maps"])
