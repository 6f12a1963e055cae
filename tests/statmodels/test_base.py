"""Poisson terms and Asimov data, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlik.statmodels.base import EMPTY, asimov, poisson_deviance, poisson_nll_constant
from jaxlik.statmodels.poisson import PoissonCounting


@pytest.mark.parametrize("observed", [[0.0], [3.0, 0.0, 250.0], [2e5]])
def test_deviance_and_constant_add_up_to_scipys_nll(observed):
    observed = np.asarray(observed)
    rate = observed + 1.5
    expected = -stats.poisson.logpmf(observed, rate)
    actual = 0.5 * poisson_deviance(rate, observed) + poisson_nll_constant(observed)
    # SciPy subtracts numbers of 2e6 at 2e5 events.
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-9)


def test_deviance_keeps_its_precision_at_many_events():
    # d = 1e-3: n (d^2 - 2/3 d^3 + d^4/2 - ...), summed by hand
    expected = 2e5 * (1e-6 - 2e-9 / 3 + 1e-12 / 2 - 0.4e-15)
    np.testing.assert_allclose(poisson_deviance(2e5 + 200.0, 2e5), expected, rtol=1e-11)


@pytest.mark.parametrize(("rate", "observed"), [(0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0)])
def test_impossible_rates_are_infinite_with_finite_derivatives(rate, observed):
    fn = lambda rate: poisson_deviance(rate, jnp.asarray(observed))  # noqa: E731
    value, gradient = jax.value_and_grad(fn)(jnp.asarray(rate))
    assert value == jnp.inf
    assert jnp.isfinite(gradient)
    assert jnp.isfinite(jax.hessian(fn)(jnp.asarray(rate)))


def test_empty_region_is_a_straight_line():
    value, slope = jax.value_and_grad(poisson_deviance)(jnp.asarray(1.5), jnp.asarray(0.0))
    assert (value, slope) == (3.0, 2.0)


def test_asimov_data_are_their_own_best_fit():
    model = PoissonCounting(np.array([9.0, 0.0]), np.array([5.0, 2.0]), np.array([1.0, 0.3]))
    signal, nuisances = jnp.array([2.0, 1.0]), jnp.zeros(2)
    data = asimov(model, jnp.asarray(0.7), signal, nuisances)
    np.testing.assert_allclose(data.observed, [6.4, 2.7], rtol=1e-15)
    assert abs(data.profiled_twice_nll(jnp.asarray(0.7), signal)) < 1e-14


@pytest.mark.parametrize("rounding", [-1e-15, 0.0, 1e-18, 1.3e-16, 0.9 * EMPTY])
def test_what_rounding_leaves_of_an_empty_region_is_no_event(rounding):
    model = PoissonCounting(np.array([0.0]), np.array([2.4]), np.array([1.6]))
    wall = -2.4 / 1.6 + rounding / 1.6
    data = asimov(model, jnp.asarray(0.0), jnp.zeros(1), jnp.array([wall]))
    assert data.observed[0] == 0.0
    value, slope = jax.value_and_grad(data.profiled_twice_nll)(jnp.asarray(0.0), jnp.ones(1))
    assert value == pytest.approx((2.4 / 1.6) ** 2)
    assert np.isfinite(slope)


def test_few_expected_events_stay_events():
    model = PoissonCounting(np.array([0.0]), np.array([1e-9]), np.array([1e-10]))
    data = asimov(model, jnp.asarray(0.0), jnp.zeros(1), jnp.zeros(1))
    assert data.observed[0] == 1e-9
