"""The limit of the most sensitive combination, against limits found by root-finding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.combination.cliques import make_clique_table
from jaxlik.combination.joint import Heights
from jaxlik.combination.overlap import Overlap
from jaxlik.combination.sensitive import combined_limit, moving_limit
from jaxlik.inference.limits import upper_limit
from jaxlik.statmodels import poisson

NODES = jnp.asarray([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.75, 1.0]) * 4.0
SIGNAL = jnp.asarray([4.0, 9.0, 2.0])
OBSERVED = jnp.asarray([6.0, 31.0, 9.0])
BACKGROUND = jnp.asarray([5.0, 28.0, 3.0])
ERROR = jnp.asarray([1.0, 4.0, 0.7])
COMPATIBLE = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)


def gains(mu, signal, observed):
    arguments = (mu[:, None], signal[None], observed[None], BACKGROUND[None], ERROR[None])
    return 2 * poisson.log_ratio(*arguments), -poisson.profiled_slope(*arguments)


def limit_of(signal, table, nodes=NODES):
    sensitivity = 2 * poisson.log_ratio(1.0, signal, signal + BACKGROUND, BACKGROUND, ERROR)
    values, slopes = gains(nodes, signal, OBSERVED)
    expected, expected_slopes = gains(nodes, signal, BACKGROUND)
    live = jnp.ones(3, dtype=bool)
    return combined_limit(
        table, live, sensitivity, nodes, values, slopes, -expected, -expected_slopes
    )


def members_limit(signal):
    """Limit of the first two regions together, by `jaxlik.inference`."""

    def twice_nll(observed):
        return lambda mu: jnp.sum(
            poisson.profiled_twice_nll(mu, signal, observed, BACKGROUND, ERROR)[:2]
        )

    return upper_limit(twice_nll(OBSERVED), twice_nll(BACKGROUND))


@pytest.fixture(scope="module")
def table():
    return make_clique_table(Overlap(COMPATIBLE, ("a", "b", "c")))


def test_the_most_sensitive_combination_is_taken_and_limits_agree(table):
    limit = jax.jit(limit_of)(SIGNAL, table)
    assert limit.members.tolist() == [True, True, False]
    wanted = float(members_limit(SIGNAL))
    assert float(limit.mu_max) == pytest.approx(wanted, rel=1e-3)
    assert float(limit.cls(jnp.asarray(wanted))) == pytest.approx(0.05, rel=5e-3)
    assert float(limit.cls(jnp.asarray(0.0))) == pytest.approx(1.0)


def test_nothing_is_excluded_by_weak_signals(table):
    limit = jax.jit(limit_of)(0.01 * SIGNAL, table)
    assert np.isinf(limit.mu_max)


@pytest.mark.slow
def test_derivative_of_the_limit_is_that_of_root_finding(table):
    def moving(signal):
        limit = jax.lax.stop_gradient(limit_of(signal, table))
        mu = jnp.stack([limit.mu_best, limit.mu_max])
        values, slopes = gains(mu, signal, OBSERVED)
        asimov, asimov_slopes = gains(mu, signal, BACKGROUND)
        heights = [Heights(*row) for row in zip(values, slopes, strict=True)]
        return moving_limit(limit, *heights, Heights(-asimov[1], -asimov_slopes[1]))

    value, slope = jax.value_and_grad(moving)(SIGNAL)
    assert float(value) == pytest.approx(float(members_limit(SIGNAL)), rel=1e-6)
    wanted = jax.grad(members_limit)(SIGNAL)
    np.testing.assert_allclose(slope, wanted, rtol=2e-4, atol=1e-12)
