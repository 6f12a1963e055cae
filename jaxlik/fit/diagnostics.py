r"""How far chains have converged, and how many independent draws they are worth.

Rank-normalised, split-chain statistics, for any function of the state: a coordinate, a
prediction, or the indicator of a content. With M chains of N draws (after splitting), W the
mean of their variances and B/N the variance of their means,

$$ \hat R = \sqrt{\frac{\frac{N-1}{N} W + \frac BN}{W}}, \qquad
   \mathrm{ESS} = \frac{M N}{1 + 2 \sum_t \rho_t}, $$

where the sum ends as Geyer's initial monotone sequence does.

References:
    A. Vehtari et al., Bayesian Anal. 16 (2021) 667, arXiv:1903.08008.
    C. J. Geyer, Stat. Sci. 7 (1992) 473.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from jaxlik.typing import Float

TAIL = 0.05
"""Probability of each tail whose quantile has to be resolved."""


class Diagnosis(NamedTuple):
    """One number per quantity; `nan` for one that never changed.

    Attributes:
        mean: Of all draws.
        deviation: Standard deviation of all draws.
        error: Monte-Carlo standard error of the mean.
        r_hat: Larger of the statistics for location and for scale; 1 when converged.
        bulk: Effective number of draws for the location.
        tail: Smaller of the effective numbers for the quantiles 5 and 95 per cent.
    """

    mean: Float[np.ndarray, " quantity"]
    deviation: Float[np.ndarray, " quantity"]
    error: Float[np.ndarray, " quantity"]
    r_hat: Float[np.ndarray, " quantity"]
    bulk: Float[np.ndarray, " quantity"]
    tail: Float[np.ndarray, " quantity"]


def diagnose(draws: Float[np.ndarray, "chain draw quantity"]) -> Diagnosis:
    """All statistics of several quantities.

    Args:
        draws: Real numbers or truth values; at least four draws per chain.
    """
    values = np.asarray(draws, dtype=float)
    columns = [values[:, :, index] for index in range(values.shape[2])]
    functions = (r_hat, bulk_ess, tail_ess)
    found = [np.array([function(one) for one in columns]) for function in functions]
    errors = np.array([mean_error(one) for one in columns])
    deviation = values.std(axis=(0, 1), ddof=1)
    return Diagnosis(values.mean(axis=(0, 1)), deviation, errors, *found)


def r_hat(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Rank-normalised split R-hat; `nan` for a constant (reference, section 4.1).

    The larger of that of the draws and that of their distances from the median, so that
    chains of equal location but different scale are seen.
    """
    split = _split(np.asarray(draws, dtype=float))
    if _constant(split):
        return np.nan
    folded = np.abs(split - np.median(split))
    plain, scale = _r_hat(_normal_scores(split)), np.nan
    if not _constant(folded):
        scale = _r_hat(_normal_scores(folded))
    return float(np.fmax(plain, scale))


def bulk_ess(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Effective number of draws after rank normalisation; `nan` for a constant."""
    return _ess(_normal_scores(_split(np.asarray(draws, dtype=float))))


def tail_ess(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Smaller effective number of draws of both tails; `nan` for a constant.

    A tail that holds all draws, as one of an indicator may, does not count.
    """
    split = _split(np.asarray(draws, dtype=float))
    lower, upper = np.quantile(split, [TAIL, 1 - TAIL], method="inverted_cdf")
    below, above = _ess((split <= lower).astype(float)), _ess((split >= upper).astype(float))
    return float(np.fmin(below, above))


def mean_ess(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Effective number of draws for the mean of the values as they are."""
    return _ess(_split(np.asarray(draws, dtype=float)))


def mean_error(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Monte-Carlo standard error of the mean; `nan` for a constant."""
    return float(np.std(draws, ddof=1) / np.sqrt(mean_ess(draws)))


def _split(draws: np.ndarray) -> np.ndarray:
    """Halves of all chains; the middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) == 0)


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks among all draws (reference, eq. 14)."""
    ranks = rankdata(values).reshape(values.shape)
    return ndtri((ranks - 0.375) / (values.size + 0.25))


def _r_hat(values: np.ndarray) -> float:
    """R-hat of chains as they are (reference, eq. 4)."""
    count = values.shape[1]
    within = np.mean(np.var(values, axis=1, ddof=1))
    between = np.var(np.mean(values, axis=1), ddof=1)
    # Not from the variance: that of equal numbers need not be zero after rounding.
    if not np.ptp(values, axis=1).any():
        return np.inf
    return float(np.sqrt(((count - 1) / count * within + between) / within))


def _ess(values: np.ndarray) -> float:
    """Effective number of draws of chains as they are (reference, eqs. 8 to 11)."""
    if _constant(values):
        return np.nan
    chains, count = values.shape
    covariances = _autocovariances(values).mean(axis=0)
    within = covariances[0] * count / (count - 1)
    total = covariances[0]
    if chains > 1:
        total = total + np.var(np.mean(values, axis=1), ddof=1)
    correlations = 1 - (within - covariances) / total
    correlations[0] = 1.0
    pairs = correlations[: count - count % 2].reshape(-1, 2).sum(axis=1)
    # Pairs are positive until noise wins; from there on they tell nothing.
    negative = np.flatnonzero(pairs <= 0)
    kept = int(negative[0]) if negative.size else len(pairs)
    tail = max(correlations[2 * kept], 0.0) if 2 * kept < count else 0.0
    time = -1 + 2 * np.sum(np.minimum.accumulate(pairs[:kept])) + tail
    # Anticorrelated draws are worth more than independent ones, within reason.
    size = values.size
    return float(size / max(time, 1 / np.log10(size)))


def _autocovariances(values: np.ndarray) -> np.ndarray:
    """Of each chain at all lags, divided by the number of draws, by Fourier transform."""
    count = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * count, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :count] / count
