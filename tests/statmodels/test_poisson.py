"""One region in closed form, against SciPy and finite differences."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy import optimize

from jaxlik.statmodels import poisson

# mean, observed, background error; signals are set so that mu = 1 gives the mean
CASES = {
    "ordinary": (7.0, 5.0, 1.5),
    "empty": (3.0, 0.0, 1.0),
    "empty at its wall": (1.0, 0.0, 1.5),
    "certain background": (7.0, 5.0, 0.0),
    "many": (178470.0, 191829.0, 3615.0),
    "Asimov": (4.1, 3.7, 2.0),
    "hopeless": (60.0, 1.0, 3.0),
}


def scipy_profile(mean, observed, error):
    def twice_nll(rate):
        spread = ((rate - mean) / error) ** 2
        ratio = observed * np.log(observed / rate) if observed > 0 else 0.0
        return 2 * (rate - observed + ratio) + spread

    reach = 12 * error + 4 * np.sqrt(observed + 1)
    bounds = (max(mean - reach, 1e-12), mean + reach)
    return optimize.minimize_scalar(
        twice_nll, bounds=bounds, method="bounded", options={"xatol": 1e-11 * mean}
    )


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name][2] > 0])
def test_profile_matches_scipys_minimiser(case):
    mean, observed, error = CASES[case]
    best = scipy_profile(mean, observed, error)
    actual = poisson.profiled_twice_nll(1.0, 0.4 * mean, observed, 0.6 * mean, error)
    np.testing.assert_allclose(actual, best.fun, rtol=1e-9, atol=1e-9)


def test_empty_region_follows_the_wall_where_the_free_optimum_is_negative():
    # V = 2.25: for mean 2 < V the rate is 0 and -2 ln L = mean^2/V; for mean 3 it is 2 mean - V
    actual = poisson.profiled_twice_nll(np.array([0.0, 1.0]), 1.0, 0.0, np.array([2.0, 2.0]), 1.5)
    np.testing.assert_allclose(actual, [4 / 2.25, 6 - 2.25], rtol=1e-14)
    np.testing.assert_allclose(poisson.profiled_region(0.0, 1.0, 0.0, 2.0, 1.5).rate, 0.0)
    # SModelS' box theta = 0 gives 4.3244 for the second; the profile is 3.1994
    absolute = 0.5 * actual[1] + poisson.nll_constant(0.0, 1.5)
    np.testing.assert_allclose(absolute, 3.1994, atol=5e-5)


def test_without_uncertainty_it_is_plain_poisson():
    actual = poisson.profiled_twice_nll(1.0, 2.0, 5.0, 4.0, 0.0)
    np.testing.assert_allclose(actual, 2 * (6 - 5 + 5 * np.log(5 / 6)), rtol=1e-13)
    tiny = poisson.profiled_twice_nll(1.0, 2.0, 5.0, 4.0, 1e-9)
    np.testing.assert_allclose(tiny, actual, rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_derivatives_of_two_orders_match_finite_differences(case):
    mean, observed, error = CASES[case]
    background = 0.6 * mean

    def fn(mu, signal, background):
        return poisson.profiled_twice_nll(mu, signal, observed, background, error)

    arguments = (jnp.asarray(1.0), jnp.asarray(0.4 * mean), jnp.asarray(background))
    check_grads(fn, arguments, order=2, rtol=2e-4, atol=2e-4, eps=1e-5 if mean > 1e4 else 1e-4)


def test_slope_is_the_derivative():
    arguments = (jnp.array([2.0, 1.0, 5.0]), jnp.array([5.0, 0.0, 9.0]))
    background, error = jnp.array([3.0, 2.0, 8.0]), jnp.array([1.0, 1.5, 0.0])

    def total(mu):
        return jnp.sum(poisson.profiled_twice_nll(mu, *arguments, background, error))

    slope = jnp.sum(poisson.profiled_slope(0.8, *arguments, background, error))
    np.testing.assert_allclose(jax.grad(total)(0.8), slope, rtol=1e-14)


def test_nothing_is_ever_undefined():
    signals = (0.0, 1e-8, 2.0)
    observed = (0.0, 0.3, 5.0, 2e5)
    grid = itertools.product(
        (0.0, 1.0, 3.0), signals, observed, (1e-6, 0.5, 2.0, 2e5), (0.0, 1e-9, 0.5, 1.5, 2.0, 4e3)
    )
    points = jnp.array(list(grid))

    def fn(point):
        return poisson.profiled_twice_nll(*point)

    assert jnp.isfinite(jax.vmap(fn)(points)).all()
    assert jnp.isfinite(jax.vmap(jax.grad(fn))(points)).all()
    assert jnp.isfinite(jax.vmap(jax.hessian(fn))(points)).all()


def test_impossible_mean_is_infinite_with_finite_derivatives():
    def fn(mu):
        return poisson.profiled_twice_nll(mu, -1.0, 3.0, 2.0, 0.0)

    value, slope = jax.value_and_grad(fn)(3.0)
    assert value == jnp.inf
    assert jnp.isfinite(slope)
    assert jnp.isfinite(jax.grad(jax.grad(fn))(3.0))


@given(st.lists(st.floats(0.0, 50.0), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_profile_is_convex_in_mu_and_lowest_at_mu_hat(values):
    observed, background, error, signal = jnp.array(values) + jnp.array([0.0, 0.1, 0.0, 0.1])
    best = poisson.mu_hat(signal, observed, background, lower=-background / signal * 0.9)
    mu = best + jnp.array([-0.05, 0.0, 0.05]) * background / signal
    below, centre, above = poisson.profiled_twice_nll(mu, signal, observed, background, error)
    assert below + above - 2 * centre >= -1e-9
    inside = best > -background / signal * 0.89
    assert not inside or (centre <= below + 1e-10 and centre <= above + 1e-10)


def test_mu_hat_and_log_ratio_know_signals_without_power():
    np.testing.assert_allclose(
        poisson.mu_hat(np.array([2.0, 2.0, 0.0]), np.array([9.0, 3.0, 9.0]), 5.0), [2.0, 0.0, 0.0]
    )
    assert poisson.log_ratio(1.0, 0.0, 9.0, 5.0, 1.0) == 0.0
    assert poisson.log_ratio(1.0, 2.0, 9.0, 5.0, 1.0) > 0


def test_excesses_of_the_protomodels_paper():
    # Golden numbers G2: 2 ln[L(1)/L(0)] of arXiv:2012.12246, table 3
    regions = np.array([[0.25, 6, 4.9, 1.6], [44.18, 611, 526, 31], [3.93, 8, 3.8, 1]]).T
    actual = 2 * poisson.log_ratio(1.0, *regions)
    np.testing.assert_allclose(actual, [0.0617, 3.5928, 2.6832], atol=5e-5)


def test_model_agrees_with_the_functions_and_its_own_nuisances():
    model = poisson.PoissonCounting(
        np.array([5.0, 0.0]), np.array([4.0, 2.0]), np.array([1.5, 1.5]), ("A", "B")
    )
    signal = jnp.array([1.0, 0.2])
    fit = model.profile(jnp.asarray(0.5), signal)
    np.testing.assert_allclose(
        fit.twice_nll, model.twice_nll(jnp.asarray(0.5), signal, fit.nuisances), rtol=1e-12
    )
    alone = model.single(0).profiled_twice_nll(jnp.asarray(0.5), signal[:1])
    other = model.single(1).profiled_twice_nll(jnp.asarray(0.5), signal[1:])
    np.testing.assert_allclose(alone + other, fit.twice_nll, rtol=1e-14)


def test_new_numbers_do_not_compile_again():
    fn = jax.jit(eqx.debug.assert_max_traces(poisson.profiled_twice_nll, max_traces=1))
    for mu in (0.0, 1.0, 2.5):
        fn(mu, 1.0, 3.0, 2.0, 0.5)
