r"""Which signal regions may be combined: their correlation from events that pass both.

Regions that select the same events count them twice. In a Poisson bootstrap an event k of
weight w enters each replica m ~ Pois(1) times, and so do the counts of all regions it passes:

$$ N_i = \sum_k m_k w_k e_{ki}, \qquad \mathrm{cov}(N_i, N_j) = \sum_k w_k^2 e_{ki} e_{kj}
   = S_{ij}, \qquad \rho_{ij} = S_{ij} / \sqrt{S_{ii} S_{jj}} $$

(J. Y. Araz et al., SciPost Phys. 14 (2023) 077, arXiv:2209.00025). The sum on the right is what
infinitely many replicas give; it is the default here, the bootstrap is its check. A pair is
combinable if its correlation lies below a threshold, with confidence: an estimate of zero from
a few events says nothing.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse, special

from jaxlik.calibration.event_tables import EventTable
from jaxlik.errors import ConfigError
from jaxlik.typing import Bool, Float

Method = Literal["exact", "bootstrap"]

THRESHOLD = 0.01
"""Largest correlation of combinable regions: one per cent is taken as none."""

CONFIDENCE = 0.95
"""Of the bounds on each correlation."""

REPLICAS = 100_000
"""Of a bootstrap; of ten uncorrelated pairs nine are then found to be below `THRESHOLD`."""

CHUNK_NUMBERS = 1 << 22
"""Multiplicities drawn at once if no chunk size is given: 32 MB."""


@dataclass(frozen=True)
class OverlapEstimate:
    """Correlations of regions, how well they are known, and what may be combined.

    Attributes:
        names: Of the regions, ``ANALYSIS:REGION``.
        correlation: Of their counts; nan where a region has no events, or replicas no spread.
        error: Standard error of the correlation: finite number of events and of replicas.
        lower: Lower confidence bound of the correlation.
        upper: Upper confidence bound; 1 where nothing is known.
        region_events: Effective number of events in each region.
        num_events: Events of the table, with those that pass no region.
        threshold: Largest correlation of combinable regions.
        confidence: Of each of both bounds, one-sided, for one pair.
        method: ``exact`` or ``bootstrap``.
        num_replicas: Of the bootstrap; 0 for the exact sum.
        seed: Of the bootstrap.
    """

    names: tuple[str, ...]
    correlation: Float[np.ndarray, "region region"]
    error: Float[np.ndarray, "region region"]
    lower: Float[np.ndarray, "region region"]
    upper: Float[np.ndarray, "region region"]
    region_events: Float[np.ndarray, " region"]
    num_events: int
    threshold: float = THRESHOLD
    confidence: float = CONFIDENCE
    method: Method = "exact"
    num_replicas: int = 0
    seed: int = 0

    @property
    def combinable(self) -> Bool[np.ndarray, "region region"]:
        """Pairs whose correlation is below the threshold, with confidence."""
        return self._pairs & (self.upper < self.threshold)

    @property
    def unknown(self) -> Bool[np.ndarray, "region region"]:
        """Pairs with too few events for a statement; not combinable."""
        return self._pairs & (self.upper >= self.threshold) & (self.lower < self.threshold)

    @property
    def _pairs(self) -> Bool[np.ndarray, "region region"]:
        return ~np.eye(len(self.names), dtype=bool)


class _Groups(NamedTuple):
    """Events alike: a sum of Poisson multiplicities is a Poisson multiplicity."""

    patterns: Bool[np.ndarray, "group region"]
    weights: Float[np.ndarray, " group"]
    sizes: Float[np.ndarray, " group"]


def estimate_overlaps(
    table: EventTable,
    *,
    method: Method = "exact",
    threshold: float = THRESHOLD,
    confidence: float = CONFIDENCE,
    num_replicas: int = REPLICAS,
    seed: int = 0,
    chunk_size: int | None = None,
) -> OverlapEstimate:
    r"""Correlations of all pairs of regions with standard errors and confidence bounds.

    Events are a sample: influence functions give the error of a correlation,

    $$ \sigma^2_\rho = \frac{V_{ij}}{S_{ii} S_{jj}}
       \left(1 - \frac{S_{ij}}{2 S_{ii}} - \frac{S_{ij}}{2 S_{jj}}\right)^2 + \frac{\rho^2}{4}
       \left(\frac{V_{ii} - V_{ij}}{S_{ii}^2} + \frac{V_{jj} - V_{ij}}{S_{jj}^2}\right), \quad
       V_{ij} = \sum_k w_k^4 e_{ki} e_{kj}, $$

    which vanishes where no event is shared. The bounds do not: with x = S_ij/S_ii, the part of
    region i that j shares, rho^2 = x_ij x_ji, and both have Clopper-Pearson bounds. Their
    product covers at least as often as stated: the spread of ln(x_ij x_ji) is at most the sum
    of spreads, and bounds of few counts are conservative. Weighted events count as
    effective numbers, which is approximate. A bootstrap adds its own variance,
    [(1 - rho^2)^2 + sigma_rho^2] / replicas.

    Args:
        table: Events and regions.
        method: ``exact``, or ``bootstrap`` for replicas of the counts.
        threshold: Largest correlation of combinable regions, in (0, 1].
        confidence: Of each bound for one pair, at least 0.5 and below 1.
        num_replicas: Of the bootstrap, at least 2.
        seed: Of the bootstrap, at least 0.
        chunk_size: Replicas held at once; no influence on the result.

    Returns:
        The estimate; regions without events have correlation nan and bounds 0 and 1.

    Raises:
        ConfigError: If an argument is out of range.

    Examples:
        >>> from jaxlik.calibration.event_tables import event_table
        >>> events = np.zeros((1000, 2), dtype=int)
        >>> events[:400, 0], events[300:700, 1] = 1, 1
        >>> found = estimate_overlaps(event_table(events, ["A-1:high", "A-2:low"]))
        >>> print(found.correlation, found.combinable[0, 1])
        [[1.   0.25]
         [0.25 1.  ]] False

    References:
        C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404 (bounds); A. Stuart, K. Ord,
        Kendall's Advanced Theory of Statistics 1, chapter 10 (variance of correlations).
    """
    _check_options(method, threshold, confidence)
    weights = table.weights / table.weights.max()
    shared = _shared_sum(table, weights)
    fourth = shared if np.all(weights == 1) else _shared_sum(table, weights**2)
    own, own_fourth = np.diagonal(shared), np.diagonal(fourth)
    with np.errstate(invalid="ignore", divide="ignore"):
        exact = shared / np.sqrt(np.outer(own, own))
        variance = _variance(shared, fourth, exact)
        effective = own**2 / own_fourth
    lower, upper = _bounds(shared, fourth, confidence)
    correlation, error, replicas = exact, np.sqrt(variance), 0
    if method == "bootstrap":
        correlation = bootstrap_correlation(
            table, num_replicas=num_replicas, seed=seed, chunk_size=chunk_size
        )
        noise = np.sqrt(((1 - exact**2) ** 2 + variance) / num_replicas)
        reach = special.ndtri(confidence) * noise
        lower = np.clip(correlation - np.hypot(exact - lower, reach), 0.0, 1.0)
        upper = np.clip(correlation + np.hypot(upper - exact, reach), 0.0, 1.0)
        error, replicas = np.hypot(error, noise), num_replicas
    missing = np.isnan(exact) | np.isnan(correlation)
    return OverlapEstimate(
        names=table.names,
        correlation=np.where(missing, np.nan, correlation),
        error=np.where(missing, np.nan, error),
        lower=np.where(missing, 0.0, lower),
        upper=np.where(missing, 1.0, upper),
        region_events=np.where(own > 0, effective, 0.0),
        num_events=len(table.events),
        threshold=threshold,
        confidence=confidence,
        method=method,
        num_replicas=replicas,
        seed=seed if replicas else 0,
    )


def bootstrap_correlation(
    table: EventTable, *, num_replicas: int, seed: int = 0, chunk_size: int | None = None
) -> Float[np.ndarray, "region region"]:
    """Correlation of the counts of regions over Poisson replicas of the events.

    Every replica has its own random stream, and weights lie on a grid so fine that sums are
    exact in any order: the result does not depend on `chunk_size`. Events alike are drawn
    together; those that pass no region are not drawn.

    Args:
        table: Events and regions.
        num_replicas: At least 2.
        seed: At least 0.
        chunk_size: Replicas held at once, at least 1.

    Returns:
        Symmetric matrix; nan where the counts of a region do not vary.

    Raises:
        ConfigError: If an argument is out of range.
    """
    for name, value, least in (
        ("num_replicas", num_replicas, 2),
        ("seed", seed, 0),
        ("chunk_size", 1 if chunk_size is None else chunk_size, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}, wanted at least {least}; give a larger one.")
    groups = _grouped(table)
    weights = _exact_weights(groups)
    chunk = chunk_size or max(1, CHUNK_NUMBERS // max(1, len(weights)))
    passed = sparse.csr_array(groups.patterns, dtype=float)
    counts = np.zeros((num_replicas, len(table.names)))
    for start in range(0, num_replicas, chunk):
        replicas = range(start, min(start + chunk, num_replicas))
        drawn = np.array([np.random.default_rng([seed, r]).poisson(groups.sizes) for r in replicas])
        counts[start : start + chunk] = (drawn * weights) @ passed
    centred = counts - counts.mean(axis=0)
    covariance = centred.T @ centred
    spread = np.sqrt(np.diagonal(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(covariance / np.outer(spread, spread), -1.0, 1.0)


def notes(estimate: OverlapEstimate) -> tuple[str, ...]:
    """What a reader of an estimate should know: empty regions and undecided pairs."""
    found = []
    empty = [estimate.names[i] for i in np.flatnonzero(estimate.region_events == 0)]
    if empty:
        found.append(f"no events in {', '.join(empty)}: combinable with nothing")
    undecided = int(estimate.unknown.sum()) // 2
    if undecided:
        least = -np.log1p(-estimate.confidence) / estimate.threshold
        found.append(
            f"{undecided} of {math.comb(len(estimate.names), 2)} pairs "
            "undecided and not combinable: even without a shared event a pair needs about "
            f"{least:.0f} effective events in each region"
        )
    return tuple(found)


def _grouped(table: EventTable) -> _Groups:
    used = table.events.any(axis=1) & (table.weights > 0)
    events, weights = table.events[used], table.weights[used]
    bits = np.packbits(events, axis=1)
    keys = np.concatenate([bits, weights[:, None].view(np.uint8)], axis=1)
    # One opaque entry per event: much faster to sort than rows of numbers.
    entries = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.shape[1]))).ravel()
    _, first, sizes = np.unique(entries, return_index=True, return_counts=True)
    return _Groups(events[first], weights[first], sizes.astype(float))


def _exact_weights(groups: _Groups) -> Float[np.ndarray, " group"]:
    """Whole numbers in proportion to the weights; sums over a replica stay below 2^53."""
    # Twice the expected number of events and 64 more: no replica reaches it.
    bits = 52 - np.ceil(np.log2(2 * groups.sizes.sum() + 64))
    return np.round(groups.weights / groups.weights.max(initial=0.0) * 2.0**bits)


def _shared_sum(
    table: EventTable, weights: Float[np.ndarray, " event"]
) -> Float[np.ndarray, "region region"]:
    """Sum of squared weights over the events that pass both regions."""
    # Most events pass few regions.
    weighted = sparse.csr_array(table.events) * weights[:, None]
    return (weighted.T @ weighted).toarray()


def _variance(
    shared: Float[np.ndarray, "region region"],
    fourth: Float[np.ndarray, "region region"],
    correlation: Float[np.ndarray, "region region"],
) -> Float[np.ndarray, "region region"]:
    """Of the correlation; each event moves it independently (`estimate_overlaps`)."""
    part = shared / np.diagonal(shared)[:, None]
    own = (np.diagonal(fourth)[:, None] - fourth) / np.diagonal(shared)[:, None] ** 2
    scale = np.outer(np.diagonal(shared), np.diagonal(shared))
    both = fourth / scale * (1 - (part + part.T) / 2) ** 2
    return both + correlation**2 / 4 * (own + own.T)


def _bounds(
    shared: Float[np.ndarray, "region region"],
    fourth: Float[np.ndarray, "region region"],
    confidence: float,
) -> tuple[Float[np.ndarray, "region region"], Float[np.ndarray, "region region"]]:
    r"""Lower and upper bounds of correlations from the fractions that regions share.

    Effective trials have the variance of the weighted fraction x = S_ij/S_ii:

    $$ n = x (1 - x) S_{ii}^2 / [(1 - x)^2 V_{ij} + x^2 (V_{ii} - V_{ij})], $$

    and n = S_ii^2/V_ii where x is 0 or 1; without weights both are the number of events.
    """
    own, own_fourth = np.diagonal(shared)[:, None], np.diagonal(fourth)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip(shared / own, 0.0, 1.0)
        spread = (1 - part) ** 2 * fourth + part**2 * (own_fourth - fourth)
        inside = (part > 0) & (part < 1)
        trials = np.where(inside, part * (1 - part) * own**2 / spread, own**2 / own_fourth)
        hits, misses = part * trials, (1 - part) * trials
        low = np.where(hits > 0, special.betaincinv(hits, misses + 1, 1 - confidence), 0.0)
        high = np.where(misses > 0, special.betaincinv(hits + 1, misses, confidence), 1.0)
    return np.sqrt(low * low.T), np.sqrt(high * high.T)


def _check_options(method: str, threshold: float, confidence: float) -> None:
    if method not in get_args(Method):
        raise ConfigError(f"method is {method!r}; give one of {get_args(Method)}.")
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"threshold is {threshold}, wanted a correlation above 0 and at most 1, such as "
            f"{THRESHOLD}."
        )
    if not 0.5 <= confidence < 1:
        raise ConfigError(
            f"confidence is {confidence}, wanted at least 0.5 and less than 1, such as "
            f"{CONFIDENCE}."
        )
