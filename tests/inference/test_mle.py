"""The best mu, its error and its derivatives, against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import Status
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.test_statistics import q0, q_mu, q_mu_tilde, t_mu
from jaxlik.statmodels import poisson


def gaussian(centre, width):
    return lambda mu: ((mu - centre) / width) ** 2


def region(signal, observed=20.0, background=12.0, error=2.0):
    return lambda mu: poisson.profiled_twice_nll(mu, signal, observed, background, error)


def test_parabola_gives_its_centre_and_width():
    best = fit_mu(gaussian(3.0, 0.7))
    np.testing.assert_allclose([best.mu_hat, best.mu_error], [3.0, 0.7], rtol=1e-12)
    assert best.twice_nll < 1e-20
    assert best.status == Status.success


def test_one_region_has_its_closed_form():
    best = jax.jit(lambda s: fit_mu(region(s)))(4.0)
    np.testing.assert_allclose(best.mu_hat, 2.0, rtol=1e-10)
    # At mu_hat the curvature is that of variance n + V
    np.testing.assert_allclose(best.mu_error, np.sqrt(20.0 + 4.0) / 4, rtol=1e-8)


def test_bounds_hold_and_an_upper_one_is_reported():
    below = fit_mu(gaussian(-1.0, 1.0))
    assert (below.mu_hat, below.status == Status.success) == (0.0, True)
    np.testing.assert_allclose(fit_mu(gaussian(-1.0, 1.0), lower=-5.0).mu_hat, -1.0, rtol=1e-10)
    above = fit_mu(gaussian(300.0, 1.0))
    assert (above.mu_hat, above.status == Status.no_bracket) == (100.0, True)


def test_mu_of_any_size_is_found():
    for size in (1e-8, 1e-3, 1e4):
        best = fit_mu(region(4.0 / size), upper=1e6)
        np.testing.assert_allclose(best.mu_hat, 2.0 * size, rtol=1e-4)


def test_no_signal_means_no_information():
    best = fit_mu(region(0.0))
    assert best.mu_hat == 0.0
    assert jnp.isinf(best.mu_error)


def test_derivatives_of_mu_hat_are_implicit_and_exact():
    # mu_hat = (n - b)/s: -(n - b)/s^2 and 2 (n - b)/s^3
    mu_hat = lambda signal: fit_mu(region(signal)).mu_hat  # noqa: E731
    np.testing.assert_allclose(jax.grad(mu_hat)(4.0), -8 / 16, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(jax.grad(mu_hat))(4.0), 16 / 64, rtol=1e-9)
    at_bound = jax.grad(lambda signal: fit_mu(region(signal, observed=5.0)).mu_hat)(4.0)
    assert at_bound == 0.0


def test_envelope_of_the_minimum():
    lowest = lambda signal: fit_mu(region(signal, observed=5.0)).twice_nll  # noqa: E731
    assert jax.grad(lowest)(4.0) == 0.0  # at mu = 0 the signal does not matter
    shifted = lambda centre: fit_mu(gaussian(centre, 1.0)).twice_nll  # noqa: E731
    np.testing.assert_allclose(jax.grad(shifted)(3.0), 0.0, atol=1e-12)


def test_test_statistics_of_a_parabola():
    fn = gaussian(2.0, 0.5)
    best = fit_mu(fn)
    mu = jnp.asarray(3.0)
    for statistic in (t_mu, q_mu, q_mu_tilde):
        np.testing.assert_allclose(statistic(mu, fn, best), 4.0, rtol=1e-10)
    np.testing.assert_allclose(q0(fn, best), 16.0, rtol=1e-10)
    low = jnp.asarray(1.0)
    assert q_mu_tilde(low, fn, best) == 0.0
    np.testing.assert_allclose(t_mu(low, fn, best), 4.0, rtol=1e-10)


def test_deficits_count_for_exclusion_from_zero_and_not_for_discovery():
    fn = gaussian(-1.0, 1.0)
    best, free = fit_mu(fn), fit_mu(fn, lower=-10.0)
    np.testing.assert_allclose(q_mu_tilde(jnp.asarray(1.0), fn, best), 3.0, rtol=1e-10)
    np.testing.assert_allclose(q_mu(jnp.asarray(1.0), fn, free), 4.0, rtol=1e-10)
    assert q0(fn, best) == 0.0


def test_new_numbers_do_not_compile_again():
    fn = jax.jit(eqx.debug.assert_max_traces(lambda s: fit_mu(region(s)), max_traces=1))
    for signal in (1.0, 2.0, 30.0):
        fn(signal)
