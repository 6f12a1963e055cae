"""Likelihoods from two limits: defining equation, published numbers, derivatives."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import optimize, special

from jaxlik.statmodels import truncated_gaussian as tg


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3, 2.0])
def test_centre_solves_the_published_equation(ratio):
    upper_limit, expected = 3.0 * ratio, 3.0
    centre, width = tg.gaussian_from_limits(upper_limit, expected, "smodels")

    def covered(centre):
        tail = special.erf(centre / (np.sqrt(2) * width))
        return (special.erf((upper_limit - centre) / (np.sqrt(2) * width)) + tail) / (1 + tail)

    assert abs(covered(float(centre)) - 0.95) < 1e-10
    widened = expected / (1 - 0.6 * max(upper_limit - expected, 0) / (upper_limit + expected))
    np.testing.assert_allclose(width, widened / 1.96, rtol=1e-15)


def test_centre_is_found_for_limits_of_any_strength():
    limits = np.geomspace(1e-2, 60, 50)
    centres = tg._centre(jnp.asarray(limits))
    for limit, centre in zip(limits, np.asarray(centres), strict=True):
        expected = optimize.brentq(
            lambda x, t=limit: special.log_ndtr(x - t) - special.log_ndtr(x) - np.log(0.05),
            -3.1 / limit,
            limit - 1.6,
            xtol=1e-13,
            rtol=1e-13,
        )
        assert abs(centre - expected) < 1e-8 * max(1.0, abs(expected))


def test_excesses_of_the_protomodels_paper():
    # Golden numbers G2, inputs as printed in table 3 of arXiv:2012.12246
    limits = np.array([30.8, 4.5]), np.array([19.6, 2.5])
    centre = tg.gaussian_from_limits(*limits).centre
    np.testing.assert_allclose(centre, [13.94, 2.383], atol=3e-3)
    actual = 2 * tg.log_ratio(1.0, np.array([2.66, 2.62]), *limits)
    np.testing.assert_allclose(actual, [0.6711, 3.4547], atol=3e-4)


def test_protomodels_form_caps_excesses_and_centres_deficits_at_zero():
    capped = tg.gaussian_from_limits(np.array([9.0, 90.0]), 3.0)
    np.testing.assert_allclose(capped.centre[0], capped.centre[1])
    assert tg.gaussian_from_limits(2.0, 3.0).centre == 0.0
    assert tg.gaussian_from_limits(2.0, 3.0, "smodels").centre < 0.0


@pytest.mark.parametrize("form", ["protomodels", "smodels"])
def test_derivatives_in_limits_and_signal_match_finite_differences(form):
    def fn(mu, signal, upper_limit, expected):
        return tg.log_ratio(mu, signal, upper_limit, expected, form)

    arguments = tuple(jnp.asarray(x) for x in (0.7, 1.3, 3.6, 2.4))
    check_grads(fn, arguments, order=2, rtol=1e-4, atol=1e-4)


def test_log_ratio_is_half_the_difference_of_twice_nll():
    arguments = (np.array([1.0, 2.0]), np.array([4.0, 3.0]), np.array([3.0, 3.5]))
    difference = tg.twice_nll(0.0, *arguments) - tg.twice_nll(0.8, *arguments)
    np.testing.assert_allclose(tg.log_ratio(0.8, *arguments), 0.5 * difference, rtol=1e-12)


def test_model_equals_the_functions_and_expected_data_sit_at_zero():
    model = tg.truncated_gaussian(np.array([4.0]), np.array([3.0]))
    signal = jnp.array([1.5])
    twice_nll = model.profiled_twice_nll(jnp.asarray(0.5), signal)
    np.testing.assert_allclose(twice_nll, tg.twice_nll(0.5, 1.5, 4.0, 3.0), rtol=1e-14)
    expected = model.with_observed(model.nominal)
    assert expected.profiled_twice_nll(jnp.asarray(0.0), signal) == 0.0
