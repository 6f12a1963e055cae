"""Whether chains say the same, and often enough: the judgement on every reported number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.fit.diagnostics import diagnose
from jaxlik.fit.posterior_quantities import MIN_DRAWS, balanced
from jaxlik.typing import Float

MAX_R_HAT = 1.01
MIN_ESS = 400.0


class Judged(NamedTuple):
    """One reported number and how well the chains know it.

    Attributes:
        name: For the user.
        mean: Of all draws.
        deviation: Standard deviation of the draws.
        error: Monte-Carlo standard error of the mean; `nan` where nothing ever changed.
        r_hat: Rank-normalised; `inf` for chains that never change but differ.
        ess_bulk: Effective number of draws for the location.
        ess_tail: The same for the tails.
        chains: Number of chains that were compared.
        counts: Whether the targets apply.
    """

    name: str
    mean: float
    deviation: float
    error: float
    r_hat: float
    ess_bulk: float
    ess_tail: float
    chains: int
    counts: bool

    @property
    def entries(self) -> dict[str, float]:
        """The statistics as a document holds them."""
        return {"r_hat": self.r_hat, "ess_bulk": self.ess_bulk, "ess_tail": self.ess_tail}

    @property
    def constant(self) -> bool:
        """Nothing ever changed: there is nothing to converge."""
        return self.deviation == 0

    @property
    def failure(self) -> str | None:
        """Why the targets are missed; `None` if they are met or do not apply."""
        if not self.counts or self.constant:
            return None
        if self.chains == 0:
            return f"fewer than {MIN_DRAWS} draws in every chain"
        if math.isnan(self.r_hat):
            return "does not vary in the chains compared"
        if math.isinf(self.r_hat):
            return "chains never change, but differ"
        reasons = []
        if self.r_hat >= MAX_R_HAT:
            reasons.append(f"R-hat {self.r_hat:.3f}")
        for name, value in (("bulk", self.ess_bulk), ("tail", self.ess_tail)):
            if value <= MIN_ESS:
                reasons.append(f"{name} ESS {value:.0f}")
        return ", ".join(reasons) or None


def judge(name: str, series: Sequence[Float[np.ndarray, " draw"]], *, counts: bool) -> Judged:
    """Mean of a quantity, its Monte-Carlo error, and how far its chains agree.

    Args:
        name: Of the quantity.
        series: Its draws in each chain, of any lengths.
        counts: Whether the targets apply to it.
    """
    pooled = np.concatenate(series).astype(float) if series else np.zeros(0)
    mean = float(pooled.mean()) if len(pooled) else math.nan
    deviation = float(pooled.std(ddof=1)) if len(pooled) > 1 and np.ptp(pooled) > 0 else 0.0
    error = r_hat = bulk = tail = math.nan
    chains = balanced(series)
    if chains is not None and deviation > 0:
        found = diagnose(chains[:, :, None].astype(float))
        statistics = (found.error, found.r_hat, found.bulk, found.tail)
        error, r_hat, bulk, tail = (float(value[0]) for value in statistics)
    number = 0 if chains is None else len(chains)
    return Judged(name, mean, deviation, error, r_hat, bulk, tail, number, counts)


def convergence_document(judged: Sequence[Judged]) -> dict[str, Any]:
    """Worst values of all numbers the targets apply to, and those that miss them.

    Args:
        judged: Every reported number.
    """
    counting = [one for one in judged if one.counts and not one.constant]
    failures = [
        {"quantity": one.name, "reason": one.failure, **one.entries}
        for one in counting
        if one.failure is not None
    ]
    return {
        "targets": {"r_hat": MAX_R_HAT, "ess": MIN_ESS},
        "converged": bool(counting) and not failures,
        "quantities": len(counting),
        "constant": sum(one.counts and one.constant for one in judged),
        "worst": {
            "r_hat": _worst(counting, "r_hat", 1),
            "ess_bulk": _worst(counting, "ess_bulk", -1),
            "ess_tail": _worst(counting, "ess_tail", -1),
        },
        "failures": failures,
    }


def _worst(judged: Sequence[Judged], name: str, sign: int) -> Mapping[str, Any] | None:
    known = [one for one in judged if not math.isnan(getattr(one, name))]
    if not known:
        return None
    worst = max(known, key=lambda one: sign * getattr(one, name))
    return {"quantity": worst.name, "value": getattr(worst, name)}
