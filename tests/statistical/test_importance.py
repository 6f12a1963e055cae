"""The importance sampler of the coverage study, against closed forms."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.importance import importance, quantiles

DIMENSION = 4


def test_gaussian_posteriors_have_their_evidence_and_quantiles():
    """Likelihood N(x; 1.5, 0.3^2) in each coordinate: the posterior is Gaussian as well."""
    place, width = 1.5, 0.3

    def log_likelihood(rows):
        return stats.norm.logpdf(rows, place, width).sum(axis=1)

    found = importance(
        log_likelihood, DIMENSION, np.random.default_rng(1), first=2048, later=1024, rounds=3
    )
    evidence = DIMENSION * stats.norm.logpdf(place, 0, np.hypot(1, width))
    # Standard error of ln Z is about 1/sqrt(effective draws).
    assert found.effective > 500
    assert found.log_evidence == pytest.approx(evidence, abs=5 / np.sqrt(found.effective))
    deviation = width / np.hypot(1, width)
    mean = place * deviation**2 / width**2
    at = np.array([0.16, 0.5, 0.84])
    for column in found.places.T:
        expected = stats.norm.ppf(at, mean, deviation)
        tolerance = 6 * deviation / np.sqrt(found.effective)
        np.testing.assert_allclose(quantiles(column, found.weights, at), expected, atol=tolerance)


def test_two_peaks_keep_their_shares():
    def log_likelihood(rows):
        peaks = [stats.norm.logpdf(rows, at, 0.2).sum(axis=1) for at in (-1.2, 1.2)]
        return np.logaddexp(peaks[0], np.log(3) + peaks[1])

    found = importance(
        log_likelihood, 2, np.random.default_rng(2), first=2048, later=1024, rounds=3
    )
    share = found.weights[found.places[:, 0] > 0].sum()
    assert share == pytest.approx(0.75, abs=5 * 0.43 / np.sqrt(found.effective))


def test_a_likelihood_without_support_is_an_error():
    with pytest.raises(ValueError, match="none of 64 draws"):
        importance(
            lambda rows: np.full(len(rows), -np.inf),
            2,
            np.random.default_rng(3),
            first=64,
            later=8,
            rounds=1,
        )
