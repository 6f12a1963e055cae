r"""Evidences of particle contents from the draws of one run.

The chains visit a content $\gamma$ with probability $p(\gamma|D) \propto p(\gamma) Z_\gamma$, and
the likelihood of the lightest particle alone is that of the Standard Model. Hence, with the prior
probabilities $p(\gamma)$ counted among independent draws of the prior,

$$ \ln B_\gamma = \ln\frac{Z_\gamma}{Z_\text{SM}} = \ln\frac{p(\gamma|D)}{p(\text{SM}|D)}
   - \ln\frac{p(\gamma)}{p(\text{SM})}. $$

References:
    P. J. Green, Biometrika 82 (1995) 711, section 4: contents as models.
    R. E. Kass, A. E. Raftery, J. Am. Stat. Assoc. 90 (1995) 773: the scale 2 ln B.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlik.fit.posterior_summary import Evidence
from jaxlik.physics.particles import LBP
from jaxlik.typing import Bool

MIN_PRIOR_DRAWS = 25
"""Draws of the prior in a content below which nothing is said about its evidence."""


def evidences(
    document: Mapping[str, Any],
    pdg_ids: Sequence[int],
    prior_active: Bool[np.ndarray, "draw particle"],
    scores: Mapping[tuple[int, ...], float] = {},
) -> list[Evidence]:
    """Bayes factors of the listed contents against the Standard Model.

    Args:
        document: Of `jaxlik.fit.posterior_summary.posterior_document`.
        pdg_ids: PDG numbers on the particle axis.
        prior_active: Particles of independent draws of the prior of the same run.
        scores: Best known K by ascending PDG numbers of the content.

    Returns:
        One entry for each content that was listed and that the prior knows well enough, and one
        without particles for everything beyond the lightest one. Empty if no chain was at
        the Standard Model.
    """
    reference = document["standard_model"]
    if reference is None or not prior_active.size:
        return []
    alone = prior_active.sum(axis=1) == 1
    base = _Odds(reference["probability"], reference["error"], alone)
    if not base.known:
        return []
    found = []
    for entry in document["contents"]:
        pids = tuple(int(pid) for pid in entry["key"].split())
        if pids == (LBP,):
            continue
        mine = (prior_active == np.isin(pdg_ids, pids)).all(axis=1)
        odds = _Odds(entry["probability"], entry["error"], mine)
        if mine.sum() >= MIN_PRIOR_DRAWS and odds.known:
            found.append(Evidence(pids, *odds.over(base), scores.get(pids)))
    beyond = _Odds(1 - reference["probability"], reference["error"], ~alone)
    if beyond.known and (~alone).sum() >= MIN_PRIOR_DRAWS:
        # Errors of p and 1 - p are one and the same: they add, before data and after.
        log_odds, _ = beyond.over(base)
        sampling = beyond.prior_error + base.prior_error
        error = math.hypot(beyond.error + base.error, sampling)
        found.append(Evidence((), log_odds, error, max(scores.values(), default=None)))
    return found


class _Odds:
    """Posterior over prior probability of a content, with relative errors; not if unknown."""

    def __init__(self, probability: float, error: float | None, prior: np.ndarray):
        self.known = probability > 0 and prior.any()
        if not self.known:
            return
        self.log_ratio = math.log(probability) - math.log(prior.mean())
        self.error = (error or 0.0) / probability
        self.prior_error = math.sqrt((1 - prior.mean()) / prior.sum())

    def over(self, base: "_Odds") -> tuple[float, float]:
        """Logarithm of the ratio to those of another content, and its error."""
        errors = (self.error, self.prior_error, base.error, base.prior_error)
        return self.log_ratio - base.log_ratio, math.hypot(*errors)
