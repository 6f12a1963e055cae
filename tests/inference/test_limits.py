"""Upper limits, against closed forms of a Gaussian measurement."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from jaxlik.errors import Status
from jaxlik.inference.limits import expected_band, find_upper_limit, upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.poisson import PoissonCounting


def gaussian(centre, width=1.0):
    return lambda mu: ((mu - centre) / width) ** 2


@pytest.mark.parametrize("centre", [0.0, 0.8, 2.5])
def test_gaussian_limit_solves_the_cls_equation(centre):
    # q = (mu - c)^2, q_A = mu^2: CL_sb = 1 - Phi(mu - c), CL_b = Phi(c)
    expected = centre - stats.norm.ppf(0.05 * stats.norm.cdf(centre))
    limit = jax.jit(lambda c: upper_limit(gaussian(c), gaussian(0.0), throw=False))(centre)
    np.testing.assert_allclose(limit, expected, rtol=1e-9)


def test_gaussian_limit_of_a_deficit():
    # Best mu bounded at zero: q = mu^2 + 2 mu |c| exceeds q_A
    def excess(mu, centre=-1.5):
        q, q_asimov = (mu - centre) ** 2 - centre**2, mu**2
        cls = stats.norm.sf((q + q_asimov) / (2 * mu)) / stats.norm.sf((q - q_asimov) / (2 * mu))
        return cls - 0.05

    expected = optimize.brentq(excess, 0.1, 5)
    limit = upper_limit(gaussian(-1.5), gaussian(0.0), throw=False)
    np.testing.assert_allclose(limit, expected, rtol=1e-9)


@pytest.mark.slow
def test_limit_is_differentiable_to_second_order():
    def limit(centre):
        return upper_limit(gaussian(centre), gaussian(0.0), throw=False)

    def exact(centre):
        return centre - jax.scipy.special.ndtri(0.05 * jax.scipy.special.ndtr(centre))

    centre = jnp.asarray(0.8)
    np.testing.assert_allclose(jax.grad(limit)(centre), jax.grad(exact)(centre), rtol=1e-8)
    second = jax.grad(jax.grad(exact))(centre)
    np.testing.assert_allclose(jax.grad(jax.grad(limit))(centre), second, rtol=1e-6)


def test_limit_scales_inversely_with_the_signal():
    model = PoissonCounting(np.array([11.0]), np.array([9.0]), np.array([2.0]))

    @jax.jit
    def limit(signal):
        pair = likelihood_pair(model, signal)
        return upper_limit(*pair, throw=False)

    one = limit(jnp.array([1.0]))
    for size in (1e-4, 0.3, 1e3):
        np.testing.assert_allclose(limit(jnp.array([size])), one / size, rtol=1e-9)
    gradient = jax.grad(limit)(jnp.array([1.0]))
    np.testing.assert_allclose(gradient, [-one], rtol=1e-8)


def test_band_of_a_gaussian_grows_and_has_its_median():
    limits, status = jax.jit(lambda width: expected_band(gaussian(0.0, width)))(2.0)
    assert status == Status.success
    expected = [2 * (n - stats.norm.ppf(0.05 * stats.norm.cdf(n))) for n in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(limits, expected, rtol=1e-9)


def test_without_sensitivity_the_limit_is_infinite_and_says_so():
    flat = lambda mu: 0.0 * mu  # noqa: E731
    found = find_upper_limit(flat, flat)
    assert jnp.isinf(found.mu)
    assert found.status == Status.no_bracket
    with pytest.raises(eqx.EquinoxRuntimeError, match="no sign change"):
        upper_limit(flat, flat).block_until_ready()


def test_limits_of_other_levels():
    ninety = upper_limit(gaussian(0.0), gaussian(0.0), level=0.9, throw=False)
    np.testing.assert_allclose(ninety, stats.norm.isf(0.05), rtol=1e-9)


def test_new_numbers_do_not_compile_again():
    fn = jax.jit(
        eqx.debug.assert_max_traces(
            lambda c: upper_limit(gaussian(c), gaussian(0.0), throw=False), max_traces=1
        )
    )
    for centre in (0.0, 1.0, 2.0):
        fn(centre)
