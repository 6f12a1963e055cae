"""Location and interpolation on synthetic and real grids, against SciPy and SModelS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial import Delaunay
from scipy_interpolation import TiedMap
from smodels.experiment.txnameDataObj import TxNameData

from jaxlik.database.grids import triangulate
from jaxlik.database.locator import build_locator
from jaxlik.yields.interpolation import Grids, interpolate, locate, weights_at


def triangle(step):
    """Mother and lightest mass of a typical mass plane, the same on both branches."""
    mothers, lightest = np.meshgrid(np.arange(200.0, 1500.0, step), np.arange(0.0, 1200.0, step))
    points = np.stack([mothers.ravel(), lightest.ravel()], axis=1)
    points = points[points[:, 0] > points[:, 1] + 80]
    return np.concatenate([points, points], axis=1)


def cascade():
    """Mother, intermediate at three relative positions, and lightest mass."""
    rows = [
        (m, x + (m - x) * share, x)
        for m in np.arange(300.0, 1500.0, 150)
        for x in np.arange(0.0, 1000.0, 150)
        for share in (0.05, 0.5, 0.95)
        if m > x + 100
    ]
    return np.concatenate([rows, rows], axis=1)


COORDINATES = {
    "plane": triangle(60.0),
    "cascade": cascade(),
    "line": np.stack([np.arange(100.0, 900.0, 70)] * 2, axis=1),
    "scattered": np.random.default_rng(2).uniform(0, 1000, (150, 3)),
    "two-points": np.array([[100.0, 100.0], [300.0, 300.0]]),
}
NAMES = list(COORDINATES)


@pytest.fixture(scope="module")
def grids():
    return [triangulate(COORDINATES[name], name) for name in NAMES]


@pytest.fixture(scope="module")
def device(grids):
    return Grids.from_arrays(build_locator(grids))


@pytest.fixture(scope="module")
def values(grids):
    rng = np.random.default_rng(0)
    return [np.exp(rng.normal(size=len(grid.points))) for grid in grids]


def padded(flat):
    return np.pad(flat, ((0, 0), (0, 6 - flat.shape[1])))


def draws(name, count, spread=1.15):
    """Points in the plane of a grid, some of them outside its hull."""
    rng = np.random.default_rng(abs(hash(name)) % 2**32 if False else len(name))
    points = COORDINATES[name]
    picks = points[rng.integers(0, len(points), (count, 3))]
    shares = rng.dirichlet(np.ones(3), count)
    inside = np.einsum("ps,psc->pc", shares, picks)
    return points.mean(axis=0) + spread * (inside - points.mean(axis=0))


@pytest.fixture(scope="module")
def located(device):
    """Jitted: flat coordinates to rotated ones, simplex, and whether inside."""

    @jax.jit
    def run(device, grid, flat):
        rotated = jax.vmap(device.rotate)(grid, flat)
        point = jax.vmap(device.in_plane)(grid, rotated)
        simplex, inside = locate(device, grid, point, jnp.ones(len(flat), bool))
        return rotated, point, simplex, inside

    return lambda grid, flat: run(device, grid, flat)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_smodels(name, grids, device, values, located):
    number = NAMES.index(name)
    value = values[number]
    oracle = TxNameData(COORDINATES[name].tolist(), value.tolist(), name)
    flat = np.round(draws(name, 160), 2)
    flat = grids[number].centre + (
        (flat - grids[number].centre)
        @ grids[number].rotation[:, : grids[number].dimension]
        @ grids[number].rotation[:, : grids[number].dimension].T
    )
    rotated, point, simplex, inside = located(
        jnp.full(len(flat), number), jnp.asarray(padded(flat))
    )
    ties = TiedMap(grids[number].points, value)
    start = int(build_locator(grids).point_start[number])
    differing = 0
    for i in range(len(flat)):
        at = weights_at(device, simplex[i], inside[i], point[i])
        corner = np.asarray(at.vertices) - start
        real = corner < len(value)
        ours = float(
            interpolate(
                at._replace(weights=jnp.where(real, at.weights, 0.0)),
                jnp.asarray(value)[jnp.where(real, corner, 0)],
            )
        )
        ours = ours if bool(inside[i]) else np.nan
        theirs = oracle.interpolate(np.asarray(rotated[i, : grids[number].dimension]))
        if not np.isclose(ours, theirs, rtol=1e-5, equal_nan=True):
            differing += 1
            possible = np.array(list(ties.answers(np.asarray(point[i, : grids[number].dimension]))))
            assert np.isclose(ours, possible, rtol=1e-5, equal_nan=True).any()
            assert np.isclose(theirs, possible, rtol=1e-5, equal_nan=True).any()
    assert differing <= 8


@pytest.mark.parametrize("name", ["plane", "cascade", "scattered"])
def test_simplices_are_those_of_scipy(name, grids, located):
    number = NAMES.index(name)
    grid = grids[number]
    flat = jnp.asarray(padded(draws(name, 2000)))
    _, point, simplex, inside = located(jnp.full(len(flat), number), flat)
    point = np.asarray(point)[:, : grid.dimension]
    mesh = Delaunay(grid.points)
    scipy = mesh.find_simplex(point, tol=1e-6)
    first = sum(len(g.simplices) for g in grids[:number])
    regular = np.flatnonzero(~np.isnan(mesh.transform[:, 0, 0]))
    ours = np.where(inside, regular[np.asarray(simplex) - first], -1)
    assert ((ours >= 0) != (scipy >= 0)).mean() < 0.01
    assert (scipy >= 0).mean() > 0.3
    weights = np.einsum(
        "pij,pj->pi",
        mesh.transform[ours][:, : grid.dimension],
        point - mesh.transform[ours][:, grid.dimension],
    )
    lowest = np.minimum(weights.min(axis=1), 1 - weights.sum(axis=1))
    assert (lowest[ours >= 0] >= -1.001e-3).all()


def test_apexes_carry_no_weight(grids, device, located):
    number = NAMES.index("line")
    flat = jnp.asarray(padded(draws("line", 50, spread=0.9)))
    _, point, simplex, inside = located(jnp.full(50, number), flat)
    weights = jax.vmap(device.barycentric)(simplex, point)
    assert bool(inside.all())
    np.testing.assert_allclose(weights[:, 2:], 0, atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


def test_dead_points_are_not_looked_for(device, located):
    flat = jnp.asarray(padded(draws("plane", 10, spread=0.5)))
    grid = jnp.zeros(10, dtype=int)
    point = jax.vmap(device.in_plane)(grid, jax.vmap(device.rotate)(grid, flat))
    _, inside = locate(device, grid, point, jnp.zeros(10, bool))
    assert not bool(inside.any())


@pytest.mark.parametrize("name", ["plane", "cascade", "line"])
def test_gradients_of_interpolated_values(name, grids, device, values, located):
    number = NAMES.index(name)
    flat = jnp.asarray(padded(draws(name, 40, spread=0.6)))
    grid = jnp.full(len(flat), number)
    _, point, simplex, inside = located(grid, flat)
    weights = jax.vmap(device.barycentric)(simplex, point)
    dimension = grids[number].dimension
    safe = np.asarray(inside & (weights[:, : dimension + 1] > 1e-3).all(axis=1))
    start = int(build_locator(grids).point_start[number])
    padded_values = np.zeros(start + len(values[number]) + 3)
    padded_values[start : start + len(values[number])] = values[number]

    def value(flat, at):
        point = device.in_plane(jnp.asarray(number), device.rotate(jnp.asarray(number), flat))
        location = weights_at(device, at, jnp.asarray(True), point)
        return interpolate(location, jnp.asarray(padded_values)[location.vertices], floor=False)

    assert safe.sum() >= 10
    for i in np.flatnonzero(safe)[:10]:
        check_grads(lambda x, at=simplex[i]: value(x, at), (flat[i],), order=1, rtol=1e-6)


@pytest.mark.reference
def test_fifty_real_grids_agree_with_scipy(snapshot, yields):
    """Random grids of database 3.0.0, all dimensions; differences must be ties."""
    rng = np.random.default_rng(11)
    dimension = snapshot.array("grids.dimension")
    starts = snapshot.array("grids.point_start")
    chosen = np.concatenate(
        [
            rng.choice(
                np.flatnonzero((dimension == d) & (np.diff(starts) < 3000)), n, replace=False
            )
            for d, n in ((1, 10), (2, 25), (3, 15))
        ]
    )
    count = 200
    points = np.zeros((len(chosen), count, 3))
    for row, g in enumerate(chosen):
        size = dimension[g]
        own = snapshot.array("grids.points")[starts[g] : starts[g + 1] - (3 - size), :size]
        picks = own[rng.integers(0, len(own), (count, size + 1))]
        shares = rng.dirichlet(np.ones(size + 1), count)
        middle = own.mean(axis=0)
        points[row, :, :size] = middle + 1.1 * (np.einsum("ps,psc->pc", shares, picks) - middle)
    grid = jnp.repeat(jnp.asarray(chosen), count)
    flat = jnp.asarray(points.reshape(-1, 3))
    simplex, inside = jax.jit(lambda grids: locate(grids, grid, flat, jnp.ones(len(flat), bool)))(
        yields.grids
    )
    corners = np.asarray(yields.grids.points[yields.grids.simplices[simplex]])
    simplex = np.asarray(simplex).reshape(len(chosen), count)
    inside = np.asarray(inside).reshape(len(chosen), count)
    corners = corners.reshape(len(chosen), count, 4, 3)
    differing = 0
    for row, g in enumerate(chosen):
        size = dimension[g]
        own = np.array(
            snapshot.array("grids.points")[starts[g] : starts[g + 1] - (3 - size), :size]
        )
        place = points[row, :, :size]
        if size == 1:
            expected = (place[:, 0] >= own.min() - 1e-6) & (place[:, 0] <= own.max() + 1e-6)
            np.testing.assert_array_equal(inside[row], expected)
            found = corners[row][:, :2, 0]
            held = (place[:, 0] >= found.min(axis=1) - 1e-3) & (
                place[:, 0] <= found.max(axis=1) + 1e-3
            )
            assert held[expected].all()
            continue
        mesh = Delaunay(own)
        scipy = mesh.find_simplex(place, tol=1e-6)
        theirs = own[mesh.simplices[scipy]].mean(axis=1)
        ours = corners[row][:, : size + 1, :size].mean(axis=1)
        same = (inside[row] == (scipy >= 0)) & (
            ~inside[row] | (np.abs(ours - theirs).max(axis=1) < 1e-6)
        )
        for i in np.flatnonzero(~same):
            differing += 1
            # Either simplex must be an answer SciPy may give: tell by a unique value per vertex.
            for axis in range(size):
                possible = np.array(list(TiedMap(own, own[:, axis] + 1e4).answers(place[i])))
                assert len(possible) > 1 or np.isnan(possible).any() or inside[row, i]
    assert differing <= 0.005 * inside.size
