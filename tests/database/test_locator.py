import numpy as np
import pytest
from grid_cases import CASES

from jaxlik.database.grids import triangulate
from jaxlik.database.locator import CELLS_PER_SIMPLEX, build_locator


@pytest.fixture(scope="module")
def laid_out():
    grids = [triangulate(coordinates, name) for name, coordinates in CASES.items()]
    return grids, build_locator(grids)


def test_grids_keep_their_points_and_simplices(laid_out):
    grids, arrays = laid_out
    for g, grid in enumerate(grids):
        start, stop = arrays.point_start[g : g + 2]
        dimension = grid.dimension
        assert stop - start == len(grid.points) + 3 - dimension
        own = arrays.points[start : start + len(grid.points)]
        np.testing.assert_array_equal(own[:, :dimension], grid.points)
        assert not own[:, dimension:].any()


def test_lifted_simplices_have_the_same_proportions(laid_out):
    grids, arrays = laid_out
    corners = arrays.points[arrays.simplices]
    volume = np.abs(np.linalg.det(corners[:, :3] - corners[:, 3:])) / 6
    first = 0
    for grid in grids:
        own = volume[first : first + len(grid.simplices)]
        flat = grid.points[grid.simplices]
        size = np.abs(np.linalg.det(flat[:, 1:] - flat[:, :1]))
        np.testing.assert_allclose(own / own.sum(), size / size.sum(), rtol=1e-6)
        first += len(grid.simplices)


def test_links_stay_within_a_grid(laid_out):
    grids, arrays = laid_out
    first = 0
    for grid in grids:
        stop = first + len(grid.simplices)
        links = arrays.neighbours[first:stop]
        dimension = grid.dimension
        assert (links[:, dimension + 1 :] == -1).all()
        inner = links[:, : dimension + 1]
        assert ((inner == -1) | ((inner >= first) & (inner < stop))).all()
        np.testing.assert_array_equal(inner >= 0, grid.neighbours >= 0)
        np.testing.assert_array_equal(arrays.broad[first:stop], grid.broad)
        first = stop


def test_starting_tables_cover_the_box(laid_out):
    grids, arrays = laid_out
    first = 0
    for g, grid in enumerate(grids):
        table = arrays.first[arrays.start[g] : arrays.start[g + 1]]
        cells = arrays.cells[g]
        assert len(table) == np.prod(cells)
        assert (cells[grid.dimension :] == 1).all()
        assert len(table) < 4 * max(8, CELLS_PER_SIMPLEX * len(grid.simplices))
        assert table.min() >= first
        assert table.max() < first + len(grid.simplices)
        first += len(grid.simplices)


def test_unused_axes_are_padded_with_zeros(laid_out):
    grids, arrays = laid_out
    for g, grid in enumerate(grids):
        size = len(grid.centre)
        assert not arrays.centre[g, size:].any()
        assert not arrays.rotation[g, size:].any()
        assert not arrays.rotation[g, :, size:].any()
        np.testing.assert_array_equal(arrays.upper[g, grid.dimension :], 0)


def test_too_many_coordinates_are_refused():
    grid = triangulate(np.random.default_rng(0).uniform(0, 1, (30, 4)), "four-dimensional")
    with pytest.raises(ValueError, match="at most 6, 3"):
        build_locator([grid])


def test_a_list_that_is_consumed_gives_the_same(laid_out):
    grids, arrays = laid_out
    waiting = list(grids)
    again = build_locator(waiting, consume=True)
    assert waiting == []
    for one, other in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(one, other)
