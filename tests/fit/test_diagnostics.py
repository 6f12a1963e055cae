"""Effective numbers of draws agree with closed forms, and with arviz where it is installed.

Tolerances are several standard deviations of the estimates; keys are fixed.
"""

import warnings

import numpy as np
import pytest
from scipy import stats

from jaxlik.fit.diagnostics import bulk_ess, diagnose, mean_error, r_hat, tail_ess

pytestmark = pytest.mark.statistical

SHAPE = (8, 4000)


def autoregressive(correlation, shape=SHAPE, seed=0):
    """Stationary Gaussian AR(1) chains of unit variance."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=shape)
    values = np.empty(shape)
    values[:, 0] = noise[:, 0]
    for step in range(1, shape[1]):
        fresh = np.sqrt(1 - correlation**2) * noise[:, step]
        values[:, step] = correlation * values[:, step - 1] + fresh
    return values


def two_states(stay_on, stay_off, shape=SHAPE, seed=1):
    """Stationary Markov chains of indicators."""
    rng = np.random.default_rng(seed)
    on = (1 - stay_off) / (2 - stay_on - stay_off)
    values = np.empty(shape, bool)
    values[:, 0] = rng.uniform(size=shape[0]) < on
    for step in range(1, shape[1]):
        probability = np.where(values[:, step - 1], stay_on, 1 - stay_off)
        values[:, step] = rng.uniform(size=shape[0]) < probability
    return values


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.5, 0.9])
def test_effective_draws_of_an_autoregressive_process(correlation):
    draws = autoregressive(correlation)
    expected = draws.size * (1 - correlation) / (1 + correlation)
    assert bulk_ess(draws) == pytest.approx(expected, rel=0.12)
    assert mean_error(draws) == pytest.approx(expected**-0.5, rel=0.06)
    assert r_hat(draws) < 1.01


def test_effective_draws_of_tails():
    correlation = 0.7
    draws = autoregressive(correlation)
    # Autocorrelation of the indicator of a tail, from the bivariate normal distribution.
    cut, tail = stats.norm.ppf(0.05), 0.05
    total = 0.0
    for lag in range(1, 40):
        rho = correlation**lag
        both = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([cut, cut])
        total += (both - tail**2) / (tail * (1 - tail))
    expected = draws.size / (1 + 2 * total)
    assert tail_ess(draws) == pytest.approx(expected, rel=0.15)
    assert tail_ess(draws) > bulk_ess(draws)


@pytest.mark.parametrize(("stay_on", "stay_off"), [(0.9, 0.8), (0.5, 0.99), (0.998, 0.9)])
def test_effective_draws_of_indicators(stay_on, stay_off):
    draws = two_states(stay_on, stay_off)
    correlation = stay_on + stay_off - 1
    expected = draws.size * (1 - correlation) / (1 + correlation)
    on = (1 - stay_off) / (2 - stay_on - stay_off)
    # A rare state is seen in few visits.
    tolerance = 0.15 if min(on, 1 - on) > 0.05 else 0.3
    assert bulk_ess(draws) == pytest.approx(expected, rel=tolerance)
    assert tail_ess(draws) == pytest.approx(expected, rel=tolerance)
    error = np.sqrt(on * (1 - on) / expected)
    assert mean_error(draws) == pytest.approx(error, rel=tolerance)
    assert abs(draws.mean() - on) < 4 * error


def test_r_hat_sees_location_and_scale():
    draws = autoregressive(0.3, (4, 500))
    shifted, stretched = draws.copy(), draws.copy()
    shifted[0] += 1.0
    stretched[0] *= 3.0
    trending = draws + np.linspace(0, 2, 500)
    assert r_hat(draws) < 1.02
    assert min(r_hat(shifted), r_hat(stretched), r_hat(trending)) > 1.05
    # Chains that never meet.
    assert r_hat(np.repeat([[0.0], [1.0]], 100, axis=1)) > 1e6


def test_ranks_make_monotone_maps_and_heavy_tails_harmless():
    draws = autoregressive(0.5, (4, 1001))
    assert bulk_ess(draws) == pytest.approx(bulk_ess(np.exp(3 * draws)), rel=1e-12)
    cauchy = stats.cauchy.ppf(stats.norm.cdf(draws))
    assert bulk_ess(draws) == pytest.approx(bulk_ess(cauchy), rel=1e-12)
    assert tail_ess(draws) == pytest.approx(tail_ess(cauchy), rel=1e-12)


def test_constants_have_no_answer():
    draws = np.stack([np.ones((4, 50)), autoregressive(0.0, (4, 50))], axis=2)
    found = diagnose(draws)
    for name in ("error", "r_hat", "bulk", "tail"):
        first, second = getattr(found, name)
        assert np.isnan(first)
        assert np.isfinite(second)
    np.testing.assert_allclose(found.mean, draws.mean(axis=(0, 1)))


def test_arviz_agrees():
    with warnings.catch_warnings():
        # It announces its successor on import.
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz")
    for draws in (autoregressive(0.6, (4, 1000)), two_states(0.9, 0.8, (4, 1000)).astype(float)):
        np.testing.assert_allclose(bulk_ess(draws), arviz.ess(draws, method="bulk"), rtol=1e-3)
        np.testing.assert_allclose(r_hat(draws), arviz.rhat(draws), rtol=1e-6)
    draws = autoregressive(0.6, (4, 1000))
    np.testing.assert_allclose(tail_ess(draws), arviz.ess(draws, method="tail"), rtol=1e-2)
    np.testing.assert_allclose(mean_error(draws), arviz.mcse(draws, method="mean"), rtol=1e-3)
