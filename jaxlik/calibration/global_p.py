r"""The global p-value: how often a search of pseudo-data of the Standard Model finds as much.

$$ p = \frac{\#\{K_i \ge K\}}{N}, \qquad p_{kde} = \int_K^\infty \rho(K')\,dK' $$

with rho a Gaussian kernel density estimate of the K_i, as in arXiv:2012.12246, section 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from jaxlik.errors import ConfigError
from jaxlik.typing import Float

LEVEL = 0.68
"""Confidence level of intervals on p."""

FEWEST = 3
"""Different values a density estimate is made from, at least."""


@dataclass(frozen=True)
class GlobalP:
    """A p-value from pseudo-experiments.

    Attributes:
        observed: The statistic on the data.
        number: Pseudo-experiments.
        above: Those that reach it.
        p: Their share.
        interval: Of p, Clopper-Pearson at `LEVEL`.
        p_kde: From a kernel density estimate; nan for too few values.
        significance: Normal quantile of p; that of its upper bound where none reaches it.
        is_bound: Whether none does.
    """

    observed: float
    number: int
    above: int
    p: float
    interval: tuple[float, float]
    p_kde: float
    significance: float
    is_bound: bool


@dataclass(frozen=True)
class Summary:
    """Distribution of a statistic.

    Attributes:
        number: Values, infinite ones (no model at all) included.
        mean: Of the finite ones.
        deviation: Standard deviation of the finite ones.
        low: Smallest finite value.
        high: Largest.
    """

    number: int
    mean: float
    deviation: float
    low: float
    high: float


def global_p(observed: float, found: Sequence[float]) -> GlobalP:
    """p-value of a statistic.

    Args:
        observed: On the data.
        found: On pseudo-data; -inf where a search found nothing.

    Raises:
        ConfigError: no pseudo-experiments.

    Examples:
        >>> found = global_p(13.2, [7.1] * 187 + [14.0] * 13)
        >>> print(f"p = {found.p:.3f}, {found.interval[0]:.3f} to {found.interval[1]:.3f}")
        p = 0.065, 0.048 to 0.087
    """
    values = np.asarray(found, dtype=float)
    if not len(values):
        raise ConfigError("a p-value needs at least one pseudo-experiment")
    number, above = len(values), int(np.sum(values >= observed))
    interval = clopper_pearson(above, number)
    p = above / number
    return GlobalP(
        observed=float(observed),
        number=number,
        above=above,
        p=p,
        interval=interval,
        p_kde=_kde_tail(observed, values),
        significance=float(stats.norm.isf(p if above else interval[1])),
        is_bound=above == 0,
    )


def clopper_pearson(count: int, number: int) -> tuple[float, float]:
    """Central interval of a binomial probability (Biometrika 26 (1934) 404)."""
    tail = (1 - LEVEL) / 2
    low = stats.beta.ppf(tail, count, number - count + 1) if count else 0.0
    high = stats.beta.isf(tail, count + 1, number - count) if count < number else 1.0
    return float(low), float(high)


def summary(found: Sequence[float]) -> Summary:
    """Moments and range."""
    values = np.asarray(found, dtype=float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Summary(len(values), *(float("nan"),) * 4)
    deviation = float(np.std(finite, ddof=1)) if len(finite) > 1 else 0.0
    return Summary(
        len(values), float(finite.mean()), deviation, float(finite.min()), float(finite.max())
    )


def split_uniformity(found: Sequence[float]) -> tuple[Float[np.ndarray, " half"], float]:
    """p-values of the second half of pseudo-experiments among the first, and whether uniform.

    Returns:
        The p-values, none where there are too few pseudo-experiments, and the p-value of a
        two-sample Kolmogorov-Smirnov test of both halves, of which p-values are a function.
    """
    values = np.asarray(found, dtype=float)
    first, second = values[: len(values) // 2], values[len(values) // 2 :]
    if len(first) < FEWEST:
        return np.zeros(0), float("nan")
    p = np.array([np.mean(first >= one) for one in second])
    return p, float(stats.ks_2samp(first, second)[1])  # type: ignore[reportArgumentType]


def trials_factor(local_z: float, p: float) -> float:
    """How many independent searches would give the global p-value from the local one."""
    local = float(stats.norm.sf(local_z))
    if not (0 < local < 1 and 0 < p < 1):
        return float("nan")
    return float(np.log1p(-p) / np.log1p(-local))


def _kde_tail(observed: float, values: np.ndarray) -> float:
    """Scott's rule; pseudo-experiments without a model count as below everything."""
    finite = values[np.isfinite(values)]
    if len(np.unique(finite)) < FEWEST:
        return float("nan")
    density = stats.gaussian_kde(finite)
    tail = float(density.integrate_box_1d(observed, np.inf))
    return tail * len(finite) / len(values)
