import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from combination_graphs import random_overlap
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import minimize_scalar

from jaxlik.combination.cliques import make_clique_table
from jaxlik.combination.joint import best_joint, hermite, maximise_hermite, maximise_mu
from jaxlik.combination.selection import maximal_cliques
from jaxlik.errors import Status

NODES = jnp.array([0.0, 0.1, 0.3, 0.6, 1.0, 1.6, 2.5, 4.0])
joint_jit = eqx.filter_jit(best_joint)


def counting_gain(mu, signal, background, observed):
    """2 ln[L(mu)/L(0)] of counting experiments with a known background; concave in mu."""
    return 2 * (observed * jnp.log1p(mu * signal / background) - mu * signal)


def random_counting(rng, count):
    background = rng.uniform(2.0, 30.0, count)
    signal = rng.uniform(0.1, 1.5, count) * np.sqrt(background)
    observed = rng.poisson(background + rng.binomial(1, 0.4, count) * signal)
    return jnp.asarray(signal), jnp.asarray(background), jnp.asarray(observed, dtype=float)


def on_nodes(model, nodes=NODES):
    """Values and slopes of all results at the nodes, shape (node, result)."""

    def gain_fn(mu):
        return counting_gain(mu, *model)

    return jax.vmap(lambda mu: jax.jvp(gain_fn, (mu,), (jnp.ones_like(mu),)))(nodes)


def test_hermite_equals_scipy():
    rng = np.random.default_rng(1)
    values, slopes = rng.normal(size=(2, 8, 3))
    points = np.linspace(0.0, 4.0, 57)
    expected = CubicHermiteSpline(np.asarray(NODES), values, slopes)(points)
    actual = hermite(NODES, jnp.asarray(values), jnp.asarray(slopes), jnp.asarray(points))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_maximise_hermite_is_global_for_any_curve():
    rng = np.random.default_rng(2)
    grid = jnp.linspace(0.0, 1.0, 4001)
    maximise = jax.jit(maximise_hermite)
    for mu_max in (0.0, 0.05, 0.3, 1.7, 4.0, 9.0, np.inf):
        for scale in (0.0, 1.0):
            values, slopes = jnp.asarray(rng.normal(size=(2, 8)))
            values = scale * values
            best = maximise(NODES, values, slopes, jnp.asarray(mu_max))
            points = grid * min(mu_max, 4.0)
            dense = hermite(NODES, values[:, None], slopes[:, None], points).max()
            assert dense - 1e-12 <= best.value <= dense + 1e-4
            assert 0.0 <= best.mu_hat <= min(mu_max, 4.0)
            beyond = best.mu_hat == 4.0 and mu_max > 4.0
            assert best.status == (Status.no_bracket if beyond else Status.success)


def test_flat_curve_has_value_zero_and_finite_gradient():
    zeros = jnp.zeros(8)
    gradient = jax.jit(
        jax.grad(lambda v, m: maximise_hermite(NODES, v, zeros, m).value, argnums=(0, 1))
    )
    for_values, for_bound = gradient(zeros, jnp.asarray(2.0))
    assert jnp.isfinite(for_values).all()
    assert for_bound == 0.0


@pytest.mark.parametrize("mu_max", [0.2, 50.0, np.inf])
def test_maximise_mu_equals_scipy(mu_max):
    rng = np.random.default_rng(3)
    maximise = jax.jit(
        lambda model, bound: maximise_mu(lambda mu: counting_gain(mu, *model).sum(), bound)
    )
    for _ in range(20):
        model = random_counting(rng, 4)
        best = maximise(model, jnp.asarray(mu_max))
        upper = min(mu_max, 100.0)
        expected = minimize_scalar(
            lambda mu, m=model: -float(counting_gain(mu, *m).sum()),
            bounds=(0.0, upper),
            method="bounded",
            options={"xatol": 1e-9},
        )
        expected_value = max(-expected.fun, 0.0, float(counting_gain(upper, *model).sum()))
        np.testing.assert_allclose(best.value, expected_value, rtol=1e-8, atol=1e-8)
        assert best.status == Status.success


def central_difference(value_fn, theta, step=1e-5):
    steps = step * jnp.eye(len(theta))
    return jnp.stack([(value_fn(theta + s) - value_fn(theta - s)) / (2 * step) for s in steps])


@pytest.mark.parametrize("bound_scale", [0.3, 100.0], ids=["at mu_max", "inside"])
def test_gradient_of_maximise_mu_follows_the_bound(bound_scale):
    signal, background = jnp.array([3.0, 2.0]), jnp.array([9.0, 4.0])
    observed = jnp.array([14.0, 7.0])

    def value_fn(theta):
        scaled = signal * theta
        bound = bound_scale / theta.sum()
        total = maximise_mu(lambda mu: counting_gain(mu, scaled, background, observed).sum(), bound)
        return total.value

    theta = jnp.array([1.1, 0.8])
    gradient = jax.jit(jax.grad(value_fn))(theta)
    expected = central_difference(jax.jit(value_fn), theta)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    assert jnp.abs(gradient).max() > 1e-3


def test_gradient_of_the_joint_maximum_equals_finite_differences():
    rng = np.random.default_rng(4)
    overlap = random_overlap(rng, 12, 0.5)
    table = make_clique_table(overlap)
    live = jnp.arange(12) < 10
    signal, background, observed = random_counting(rng, 12)
    observed = observed + signal
    mixing = jnp.asarray(rng.uniform(0.5, 1.5, (12, 3)))

    @jax.jit
    def value_fn(theta, bound_scale):
        scaled = signal * (mixing @ theta) / 3
        values, slopes = on_nodes((scaled, background, observed))
        return best_joint(table, live, NODES, values, slopes, bound_scale / jnp.sum(theta**2)).value

    theta = jnp.array([1.0, 0.9, 1.2])
    gradient_fn = jax.jit(jax.grad(value_fn))
    for bound_scale in (0.5, 300.0):
        scale = jnp.asarray(bound_scale)
        expected = central_difference(lambda x, scale=scale: value_fn(x, scale), theta)
        np.testing.assert_allclose(gradient_fn(theta, scale), expected, rtol=1e-5, atol=1e-7)
        assert value_fn(theta, scale) > 0


def test_joint_maximum_equals_dense_grid_times_enumeration():
    rng = np.random.default_rng(5)
    grid = jnp.linspace(0.0, 1.0, 2001)
    overlap = random_overlap(rng, 14, 0.5)
    table = make_clique_table(overlap, [range(14)])
    gain_fn = jax.jit(jax.vmap(counting_gain, in_axes=(0, None, None, None)))
    hermite_fn, nodes_fn = jax.jit(hermite), jax.jit(on_nodes)
    for trial in range(20):
        model = random_counting(rng, 14)
        mu_max = float(rng.choice([0.4, 1.5, 4.0]))
        cliques = maximal_cliques(overlap.compatible)
        cliques = cliques[cliques.sum(axis=1) >= 2]
        live = jnp.ones(14, dtype=bool)
        best = joint_jit(table, live, NODES, *nodes_fn(model), jnp.asarray(mu_max))
        exact = gain_fn(grid * mu_max, *model)
        interpolated = hermite_fn(NODES, *nodes_fn(model), grid * mu_max)
        dense = float((np.asarray(interpolated) @ cliques.T).max())
        np.testing.assert_allclose(best.value, dense, atol=2e-3, err_msg=str(trial))
        # Eight nodes interpolate the gains themselves to a few permille of ln L.
        np.testing.assert_allclose(best.value, (np.asarray(exact) @ cliques.T).max(), atol=2e-2)
        assert cliques[:, np.asarray(best.members)].all(axis=1).any()
        at_mu = hermite_fn(NODES, *nodes_fn(model), best.mu_hat[None])[0]
        np.testing.assert_allclose(at_mu[best.members].sum(), best.value, rtol=1e-10, atol=1e-10)


def test_joint_is_one_trace_and_batches():
    rng = np.random.default_rng(6)
    table = make_clique_table(random_overlap(rng, 12, 0.5))
    traced = eqx.debug.assert_max_traces(best_joint, max_traces=1)
    batched = jax.jit(jax.vmap(traced, in_axes=(None, 0, None, 0, 0, 0)))
    for _ in range(2):
        values, slopes = jax.vmap(lambda s: on_nodes((s, 9 * s, 9 * s + 3.0)))(
            jnp.asarray(rng.uniform(0.5, 2.0, (5, 12)))
        )
        live = jnp.asarray(rng.random((5, 12)) < 0.6)
        best = batched(table, live, NODES, values, slopes, jnp.full(5, 2.0))
        assert best.value.shape == (5,)
        assert not (best.members & ~live).any()


def joint_inputs(values=None):
    table = make_clique_table(random_overlap(np.random.default_rng(7), 3, 1.0))
    given, slopes = on_nodes((jnp.ones(3), jnp.full(3, 4.0), jnp.array([6.0, 5.0, 2.0])))
    return table, NODES, given if values is None else values, slopes


def test_joint_without_combination_has_no_value_and_zero_gradient():
    table, nodes, values, slopes = joint_inputs()
    two = jnp.asarray(2.0)

    @jax.jit
    def gradient_fn(live):
        return jax.grad(
            lambda v, m: best_joint(table, live, nodes, v, slopes, m).value, argnums=(0, 1)
        )(values, two)

    for live in (jnp.zeros(3, dtype=bool), jnp.arange(3) < 1):
        best = joint_jit(table, live, nodes, values, slopes, two)
        assert best.value == -jnp.inf
        assert best.mu_hat == 0.0
        assert not best.members.any()
        assert all((g == 0).all() for g in gradient_fn(live))


def test_joint_accepts_an_unlimited_mu_and_reports_the_cap():
    table, nodes, values, slopes = joint_inputs()
    live = jnp.ones(3, dtype=bool)
    inside = joint_jit(table, live, nodes, values, slopes, jnp.asarray(jnp.inf))
    assert inside.status == Status.success
    rising = jnp.broadcast_to(nodes[:, None], values.shape)
    capped = joint_jit(table, live, nodes, rising, jnp.ones_like(rising), jnp.asarray(jnp.inf))
    assert capped.status == Status.no_bracket
    assert capped.mu_hat == nodes[-1]
    assert not capped.at_bound


def test_joint_ignores_undefined_dead_results_and_reports_live_ones():
    table, nodes, values, slopes = joint_inputs()
    undefined = values.at[3, 0].set(jnp.nan)
    dead = joint_jit(table, jnp.arange(3) > 0, nodes, undefined, slopes, jnp.asarray(2.0))
    assert dead.status == Status.success
    assert jnp.isfinite(dead.value)
    live = joint_jit(table, jnp.ones(3, dtype=bool), nodes, undefined, slopes, jnp.asarray(2.0))
    assert live.status == Status.not_finite
    gradient = jax.jit(
        jax.grad(
            lambda v: best_joint(table, jnp.arange(3) > 0, nodes, v, slopes, jnp.asarray(2.0)).value
        )
    )(undefined)
    assert jnp.isfinite(gradient).all()
