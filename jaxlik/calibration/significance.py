r"""Significances of event counts: how far observations lie from expected backgrounds.

All are standard normal, or nearly, where backgrounds are right; positive means an excess.

$$ p = P(N > n) + \tfrac12 P(N = n), \quad N \sim \mathrm{Pois}(\lambda), \;
   \lambda \sim N(b, \delta^2), \lambda \ge 0; \qquad z = \Phi^{-1}(1 - p) $$

The half of the observed count keeps the mean of p at 1/2 for discrete data (H. O. Lancaster,
J. Am. Stat. Assoc. 56 (1961) 223); the plain tail P(N >= n) is biased where counts are small.
"""

import jax.numpy as jnp
import numpy as np
from scipy import special

from jaxlik.statmodels import poisson
from jaxlik.typing import Float

NODES = 1000
"""Of the midpoint rule over the background; twice as many change no z by 1e-4."""

REACH = 8.0
"""Standard deviations of the background that the integral covers."""


def mid_p(
    observed: Float[np.ndarray, " region"],
    background: Float[np.ndarray, " region"],
    error: Float[np.ndarray, " region"],
) -> tuple[Float[np.ndarray, " region"], Float[np.ndarray, " region"]]:
    """Upper and lower mid-p values of Poisson counts with a truncated Gaussian background.

    Args:
        observed: Events, whole numbers of at least zero.
        background: Expected events.
        error: Standard deviation of the background [events].

    Returns:
        P(N > n) + P(N = n)/2 and P(N < n) + P(N = n)/2; their sum is 1.
    """
    spread = np.where(error > 0, error, 1.0)[:, None]
    low = np.maximum(background - REACH * error, 0.0)[:, None]
    high = np.maximum(background + REACH * error, 0.0)[:, None]
    rates = low + (np.arange(NODES) + 0.5) / NODES * (high - low)
    weights = np.exp(-0.5 * ((rates - background[:, None]) / spread) ** 2)
    count = np.broadcast_to(observed[:, None], rates.shape)
    equal = np.exp(special.xlogy(count, rates) - rates - special.gammaln(count + 1))
    more, fewer = special.gammainc(count + 1, rates), special.gammaincc(count + 1, rates)
    total = weights.sum(axis=1)
    upper = np.sum(weights * (more + 0.5 * equal), axis=1) / total
    lower = np.sum(weights * (fewer - 0.5 * equal), axis=1) / total
    return upper, lower


def mid_p_significance(
    observed: Float[np.ndarray, " region"],
    background: Float[np.ndarray, " region"],
    error: Float[np.ndarray, " region"],
) -> Float[np.ndarray, " region"]:
    """Normal quantiles of `mid_p`, from the smaller of both tails; arguments as there.

    Examples:
        >>> observed, background = np.array([9.0, 9.0]), np.array([6.5, 6.5])
        >>> mid_p_significance(observed, background, np.array([0.0, 1.3])).round(4)
        array([0.972 , 0.8845])
    """
    upper, lower = mid_p(observed, background, error)
    smaller = np.minimum(upper, lower)
    size = -special.ndtri(np.maximum(smaller, np.finfo(float).tiny))
    return np.where(upper < lower, size, -size)


def root_significance(
    observed: Float[np.ndarray, " region"],
    background: Float[np.ndarray, " region"],
    error: Float[np.ndarray, " region"],
) -> Float[np.ndarray, " region"]:
    """Signed root of the likelihood ratio of the best rate to the background, profiled.

    Args:
        observed: Events.
        background: Expected events.
        error: Standard deviation of the background [events].
    """
    arrays = [jnp.asarray(a, dtype=jnp.float64) for a in (observed, background, error)]
    deviance = np.asarray(poisson.profiled_twice_nll(0.0, 0.0, *arrays))
    return np.sign(observed - background) * np.sqrt(np.maximum(deviance, 0.0))


def whitened_significance(
    observed: Float[np.ndarray, " region"],
    background: Float[np.ndarray, " region"],
    covariance: Float[np.ndarray, "region region"],
) -> Float[np.ndarray, " region"]:
    r"""Independent deviations of correlated regions in the Gaussian approximation.

    $$ z = L^{-1}(n - b), \qquad L L^T = V + \mathrm{diag}(b). $$

    Their mean and spread depend on the order of regions, the sum of squares does not.

    Args:
        observed: Events.
        background: Expected events.
        covariance: Of the backgrounds [events^2].
    """
    total = covariance + np.diag(np.maximum(background, 0.0))
    return np.linalg.solve(np.linalg.cholesky(total), observed - background)
