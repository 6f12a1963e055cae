import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from combination_graphs import all_maximal_cliques, random_overlap
from jax.test_util import check_grads
from scipy.special import logsumexp

from jaxlik.combination.cliques import best_cliques, make_clique_table
from jaxlik.combination.overlap import Overlap
from jaxlik.combination.soft import soft_cliques

soft_jit = eqx.filter_jit(soft_cliques)


@pytest.mark.parametrize("max_rows", [1, 8192], ids=["subsets", "rows"])
def test_log_sum_counts_every_maximal_clique_once(max_rows):
    rng = np.random.default_rng(1)
    overlap = random_overlap(rng, 12, 0.5)
    # A twin of vertex 0, to be counted as a clique of its own.
    compatible = np.pad(overlap.compatible, ((0, 1), (0, 1)))
    compatible[12, :12] = compatible[:12, 12] = compatible[0, :12]
    table = make_clique_table(
        Overlap(compatible, (*overlap.analysis_ids, "twin")), max_rows=max_rows
    )
    for _ in range(20):
        live = rng.random(13) < 0.6
        live[[1, 2]] = True
        weights = rng.normal(size=(1, 13))
        index = np.flatnonzero(live)
        cliques = all_maximal_cliques(compatible[np.ix_(index, index)])
        soft = soft_jit(table, jnp.asarray(live), jnp.asarray(weights), 0.7, min_members=1)
        expected = 0.7 * logsumexp(cliques @ weights[0, index] / 0.7)
        np.testing.assert_allclose(soft.value[0], expected, rtol=1e-10)
        np.testing.assert_allclose(soft.log_num_cliques, np.log(len(cliques)), atol=1e-10)


def test_soft_value_keeps_its_bound_and_converges(real_overlap):
    rng = np.random.default_rng(2)
    count = len(real_overlap.analysis_ids)
    table = make_clique_table(real_overlap)
    live = jnp.asarray(np.isin(np.arange(count), rng.permutation(count)[:50]))
    weights = jnp.asarray(rng.normal(0.1, 1.0, (4, count)))
    exact = eqx.filter_jit(best_cliques)(table, live, weights).value
    for temperature in (2.0, 0.5, 0.01):
        soft = soft_jit(table, live, weights, jnp.asarray(temperature))
        excess = soft.value - exact
        assert (excess >= -1e-9).all()
        assert (excess <= temperature * soft.log_num_cliques + 1e-9).all()
    assert soft.log_num_cliques > 0
    np.testing.assert_allclose(soft.value, exact, atol=0.1)


def test_soft_gradient_is_checked_and_ignores_dead_results():
    rng = np.random.default_rng(3)
    count = 14
    table = make_clique_table(random_overlap(rng, count, 0.5))
    live = np.isin(np.arange(count), rng.permutation(count)[:9])
    weights = jnp.asarray(np.where(live, rng.normal(size=(1, count)), np.nan))

    @jax.jit
    def value_fn(live_weights):
        full = weights.at[:, np.flatnonzero(live)].set(live_weights)
        return soft_cliques(table, jnp.asarray(live), full, 1.0).value.sum()

    check_grads(value_fn, (weights[:, np.flatnonzero(live)],), order=1, modes=["rev"], rtol=1e-6)
    gradient = jax.jit(
        jax.grad(lambda w: soft_cliques(table, jnp.asarray(live), w, 1.0).value.sum())
    )(weights)
    assert (gradient[:, ~live] == 0).all()
    assert (gradient[:, live] >= 0).all()


def test_soft_without_combination_is_minus_infinity_with_zero_gradient():
    table = make_clique_table(Overlap(np.zeros((2, 2), dtype=bool), ("a", "b")))
    live, weights = jnp.ones(2, dtype=bool), jnp.ones((1, 2))
    assert soft_jit(table, live, weights, 1.0).value[0] == -jnp.inf
    gradient = jax.jit(jax.grad(lambda w: soft_cliques(table, live, w, 1.0).value.sum()))(weights)
    np.testing.assert_array_equal(gradient, jnp.zeros((1, 2)))
