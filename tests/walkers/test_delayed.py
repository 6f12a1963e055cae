"""Delayed acceptance leaves the exact density invariant, whatever the surrogate says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from walkers.delayed import Densities, delayed_accept, second_stage


def exact(x):
    return -0.5 * (x - 1.0) ** 2


def learned(x):
    """Wrong in mean and width."""
    return -0.5 * ((x - 0.3) / 1.4) ** 2


def one_step(key, x, ratio_forgotten=False):
    move, accept = jax.random.split(key)
    # A proposal that is not symmetric: it prefers small x.
    y = 0.5 * x + jax.random.normal(move)
    log_ratio = -0.5 * (x - 0.5 * y) ** 2 + 0.5 * (y - 0.5 * x) ** 2
    current = Densities(learned(x), exact(x))
    if ratio_forgotten:
        current = Densities(learned(x), learned(x))
        fn = lambda: learned(y)  # noqa: E731
    else:
        fn = lambda: exact(y)  # noqa: E731
    accepted, _ = delayed_accept(accept, current, learned(y), log_ratio, fn)
    return jnp.where(accepted, y, x), accepted


@pytest.mark.statistical
def test_one_step_keeps_the_exact_density():
    """False alarm once in 10^5 runs; the key is fixed."""
    start = 1.0 + jax.random.normal(jax.random.key(0), (20_000,))
    keys = jax.random.split(jax.random.key(1), 20_000)
    after, accepted = jax.vmap(one_step)(keys, start)
    assert 0.2 < float(accepted.mean()) < 0.9
    assert stats.kstest(np.asarray(after) - 1.0, "norm").pvalue > 1e-5
    wrong, _ = jax.vmap(lambda k, x: one_step(k, x, True))(keys, start)
    assert stats.kstest(np.asarray(wrong) - 1.0, "norm").pvalue < 1e-5


def test_the_walker_knows_where_it_stands():
    current = Densities(jnp.asarray(-1.0), jnp.asarray(-2.0))
    key = jax.random.key(3)
    accepted, found = delayed_accept(
        key, current, jnp.asarray(50.0), jnp.asarray(0.0), lambda: jnp.asarray(60.0)
    )
    assert bool(accepted)
    assert (float(found.learned), float(found.exact)) == (50.0, 60.0)
    accepted, found = delayed_accept(
        key, current, jnp.asarray(-1e9), jnp.asarray(0.0), lambda: jnp.asarray(60.0)
    )
    assert not bool(accepted)
    assert (float(found.learned), float(found.exact)) == (-1.0, -2.0)


def test_impossible_points_are_never_kept():
    current = Densities(jnp.asarray(0.0), jnp.asarray(0.0))
    impossible = Densities(jnp.asarray(5.0), jnp.asarray(-jnp.inf))
    assert float(second_stage(current, impossible)) == -np.inf
    better = Densities(jnp.asarray(5.0), jnp.asarray(9.0))
    assert float(second_stage(current, better)) == 0.0


def test_exact_scores_are_paid_only_after_the_first_stage():
    calls = []

    def slow():
        jax.debug.callback(lambda: calls.append(1))
        return jnp.asarray(0.0)

    current = Densities(jnp.asarray(0.0), jnp.asarray(0.0))

    @jax.jit
    def run(proposed):
        return delayed_accept(jax.random.key(0), current, proposed, jnp.asarray(0.0), slow)

    run(jnp.asarray(-1e9))
    jax.effects_barrier()
    assert calls == []
    run(jnp.asarray(1e9))
    jax.effects_barrier()
    assert calls == [1]
