"""Hulls of grids: gates against geometry done by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import Delaunay

from jaxlik.yields.domains import (
    EDGE,
    Domains,
    hull_facets,
    project,
    reach_gate,
    smooth_step,
    stack_facets,
)

RNG = np.random.default_rng(5)
TRIANGLE = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 50.0]])
CLOUD = RNG.normal(size=(40, 3)) * [100.0, 30.0, 5.0]


def domains_of(*clouds):
    return Domains(
        jnp.zeros((len(clouds), 6)),
        jnp.broadcast_to(jnp.eye(6), (len(clouds), 6, 6)),
        jnp.asarray([cloud.shape[1] for cloud in clouds]),
        jnp.asarray(stack_facets([hull_facets(cloud) for cloud in clouds])),
    )


def flat(points):
    padded = np.zeros((len(points), 6))
    padded[:, : points.shape[1]] = points
    return jnp.asarray(padded)


@pytest.mark.parametrize("cloud", [TRIANGLE, CLOUD, np.array([[3.0], [7.0], [4.0]])])
def test_points_are_inside_where_the_hull_holds_them(cloud):
    points = RNG.uniform(1.2 * cloud.min(axis=0), 1.2 * cloud.max(axis=0), (4000, cloud.shape[1]))
    if cloud.shape[1] == 1:
        inside = (points[:, 0] >= cloud.min()) & (points[:, 0] <= cloud.max())
    else:
        inside = Delaunay(cloud).find_simplex(points) >= 0
    seen = project(domains_of(cloud), jnp.zeros(len(points), jnp.int32), flat(points))
    np.testing.assert_array_equal(seen.inside, inside)
    np.testing.assert_array_equal(seen.gate[inside], 1.0)
    outside = np.asarray(seen.gate)[~inside]
    assert (outside < 1).any()
    assert (outside >= 0).all()


def test_facets_of_one_face_are_joined():
    cube = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(float)
    assert len(hull_facets(cube)) == 6


def test_rim_is_a_share_of_the_extent():
    height = 50.0 * EDGE
    points = np.array([[10.0, -0.25 * height], [10.0, -0.999 * height], [10.0, -1.01 * height]])
    seen = project(domains_of(TRIANGLE), jnp.zeros(3, jnp.int32), flat(points))
    assert float(seen.gate[0]) == pytest.approx(float(smooth_step(1 - 0.25**2)), rel=1e-9)
    assert 0 < float(seen.gate[1]) < 1e-6
    assert float(seen.gate[2]) == 0.0


def test_gates_have_two_continuous_derivatives():
    domains = domains_of(TRIANGLE)

    def gate(y):
        point = jnp.zeros((1, 6)).at[0, :2].set(jnp.stack([jnp.asarray(10.0), y]))
        return project(domains, jnp.zeros(1, jnp.int32), point).gate[0]

    width = 50.0 * EDGE
    for edge in (0.0, -width):
        for order, function in enumerate((gate, jax.grad(gate), jax.grad(jax.grad(gate)))):
            ends = [float(function(jnp.asarray(edge + sign * 1e-9 * width))) for sign in (1, -1)]
            assert ends[0] == pytest.approx(ends[1], abs=1e-6 / width**order)
    step = 1e-6 * width
    for share in (0.2, 0.5, 0.8):
        y = -share * width
        wanted = (gate(jnp.asarray(y + step)) - gate(jnp.asarray(y - step))) / (2 * step)
        assert float(jax.grad(gate)(jnp.asarray(y))) == pytest.approx(float(wanted), rel=1e-6)


def test_distance_to_the_plane_and_its_slope():
    domains = domains_of(TRIANGLE)
    point = np.array([[10.0, 10.0, 3.0, 0.0, 4.0, 0.0]])
    seen = project(domains, jnp.zeros(1, jnp.int32), jnp.asarray(point))
    assert float(seen.distance[0]) == pytest.approx(5.0)
    np.testing.assert_allclose(seen.point, [[10.0, 10.0, 0.0]])

    def distance(p):
        return project(domains, jnp.zeros(1, jnp.int32), p).distance[0]

    np.testing.assert_allclose(jax.grad(distance)(jnp.asarray(point))[0, [2, 4]], [0.6, 0.8])
    assert np.isfinite(jax.grad(distance)(jnp.zeros((1, 6)))).all()


def test_maps_fade_at_their_reach():
    distance = jnp.asarray([0.0, 7.9, 10.0, 12.6])
    gate = np.asarray(reach_gate(distance, jnp.full(4, 10.0)))
    np.testing.assert_array_equal(gate[[0, 1, 3]], [1.0, 1.0, 0.0])
    assert 0.3 < gate[2] < 0.8
