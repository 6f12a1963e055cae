"""Best combination and mu together, with a proof: interval branch and bound on the host."""

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from jaxlik.combination.overlap import Overlap
from jaxlik.combination.selection import LOWEST_GAIN, best_combination
from jaxlik.errors import ConvergenceError
from jaxlik.typing import Bool, Float

GainFn = Callable[[float], tuple[np.ndarray, np.ndarray]]
"""mu to l_i(mu) = 2 ln[L_i(mu)/L_i(0)] and dl_i/dmu, one entry per candidate."""

DEFAULT_STARTS = (0.1, 1.0, 3.0)
"""Starts of the alternation; it found the optimum from these in 27 of 27 cases
(see the formula in `certified_combination`)."""


class JointSelection(NamedTuple):
    """A combination, its best mu, and what is known about the optimum.

    Attributes:
        members: Mask of the members; all false where no combination exists.
        mu_hat: Best mu of the combination.
        value: Sum of the gains at `mu_hat`: K - 2 ln(prior); `-inf` if none exists.
        upper_bound: No combination at any mu exceeds it; `inf` if not certified.
        num_solves: Best-clique problems solved.
    """

    members: Bool[np.ndarray, " candidate"]
    mu_hat: float
    value: float
    upper_bound: float
    num_solves: int


def alternate_combination(
    overlap: Overlap,
    gain_fn: GainFn,
    mu_max: float,
    *,
    starts: tuple[float, ...] = DEFAULT_STARTS,
    mu_cap: float = 100.0,
    present: Bool[np.ndarray, " candidate"] | None = None,
    maximal_among: Bool[np.ndarray, " candidate"] | None = None,
    min_members: int = 2,
    max_rounds: int = 20,
) -> JointSelection:
    """Best combination and mu in turn, until the combination stays the same.

    Climbs to a local optimum from each start; see `certified_combination` for a proof
    and for the arguments.
    """
    upper = min(mu_max, mu_cap)
    options = {"present": present, "maximal_among": maximal_among, "min_members": min_members}
    best = JointSelection(np.zeros(len(overlap.analysis_ids), dtype=bool), 0.0, -np.inf, np.inf, 0)
    num_solves = 0
    for start in sorted({min(start, upper) for start in starts}):
        mu, last = start, None
        for _ in range(max_rounds):
            members = best_combination(overlap, gain_fn(mu)[0], **options)
            num_solves += 1
            if last is not None and np.array_equal(members, last):
                break
            last = members
            mu = best_mu(gain_fn, members, upper)
        value = _sum(gain_fn(mu)[0], last) if last is not None and last.any() else -np.inf
        if last is not None and value > best.value:
            best = best._replace(members=last, mu_hat=mu, value=value)
    return best._replace(num_solves=num_solves)


def certified_combination(
    overlap: Overlap,
    gain_fn: GainFn,
    mu_max: float,
    *,
    mu_cap: float = 100.0,
    present: Bool[np.ndarray, " candidate"] | None = None,
    maximal_among: Bool[np.ndarray, " candidate"] | None = None,
    min_members: int = 2,
    tolerance: float = 2e-3,
    max_solves: int = 5000,
) -> JointSelection:
    r"""The best maximal clique over all 0 <= mu <= mu_max, up to `tolerance`.

    With concave gains the tangent at the midpoint m bounds an interval:

    $$ \max_\mu \max_C \sum_{i \in C} l_i(\mu) \le \max_{e \in \mathrm{ends}} \max_C
       \sum_{i \in C} \left[l_i(m) + l_i'(m)(e - m)\right] $$

    since for each C the bound is linear in mu. The interval with the largest bound is
    halved until no bound exceeds the best value found.

    Args:
        overlap: Which pairs are compatible.
        gain_fn: Gains and slopes at one mu; each gain concave in mu. If one is not, the
            result is still a combination with its mu, but not certified.
        mu_max: Upper bound of mu, may be `inf`.
        mu_cap: Largest mu that is considered.
        present: Results that have a prediction; all by default.
        maximal_among: Results among which maximality is demanded; see `best_combination`.
        min_members: 0, 1 or 2; smaller cliques do not count.
        tolerance: Of the value, in units of 2 ln L.
        max_solves: Limit on the best-clique problems.

    Raises:
        ConvergenceError: If `max_solves` is reached first.

    References:
        A. H. Land, A. G. Doig, Econometrica 28 (1960) 497 (branch and bound).
    """
    upper = min(mu_max, mu_cap)
    options = {"present": present, "maximal_among": maximal_among, "min_members": min_members}
    best = alternate_combination(overlap, gain_fn, mu_max, mu_cap=mu_cap, **options)
    if not best.members.any():
        return best._replace(upper_bound=-np.inf)
    num_solves = best.num_solves

    def bound(low: float, high: float) -> tuple[float, float, float]:
        """Negative upper bound on one interval, for the heap; improves `best`."""
        nonlocal best, num_solves
        middle = 0.5 * (low + high)
        gains, slopes = gain_fn(middle)
        members = best_combination(overlap, gains, **options)
        if _sum(gains, members) > best.value:
            mu = best_mu(gain_fn, members, upper)
            best = best._replace(members=members, mu_hat=mu, value=_sum(gain_fn(mu)[0], members))
        largest = -np.inf
        for end in (low, high):
            tangent = gains + slopes * (end - middle)
            largest = max(largest, _sum(tangent, best_combination(overlap, tangent, **options)))
        num_solves += 3
        return -largest, low, high

    heap = [bound(0.0, upper)]
    while -heap[0][0] > best.value + tolerance:
        if num_solves >= max_solves:
            raise ConvergenceError(
                f"best combination: {best.value:.6g} found and at most {-heap[0][0]:.6g} possible "
                f"after {num_solves} solves, wanted a gap of {tolerance:g}; raise `max_solves` "
                "or `tolerance`, and check that the gains are concave in mu."
            )
        _, low, high = heapq.heappop(heap)
        middle = 0.5 * (low + high)
        heapq.heappush(heap, bound(low, middle))
        heapq.heappush(heap, bound(middle, high))
    return best._replace(upper_bound=max(-heap[0][0], best.value), num_solves=num_solves)


def best_mu(gain_fn: GainFn, members: Bool[np.ndarray, " candidate"], upper: float) -> float:
    """Maximum of the summed gains of fixed members over 0 <= mu <= upper; concave sums."""

    def slope(mu: float) -> float:
        return float(gain_fn(mu)[1][members].sum())

    if upper <= 0 or slope(0.0) <= 0:
        return 0.0
    if slope(upper) >= 0:
        return upper
    return float(brentq(slope, 0.0, upper, xtol=1e-10))  # type: ignore[reportArgumentType]


def _sum(gains: Float[np.ndarray, " candidate"], members: Bool[np.ndarray, " candidate"]) -> float:
    return float(np.maximum(gains[members], LOWEST_GAIN).sum())
