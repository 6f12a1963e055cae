r"""How far evidences move when the scales of the prior change, from the draws of one run.

A content's evidence is the mean of its likelihood over the prior of its parameters. With another
prior $p'$, its draws from the posterior of $p$ give

$$ \frac{Z'}{Z} = \frac{\langle p'/p \rangle_\text{posterior}}{\langle p'/p \rangle_\text{prior}},
$$

where the denominator, from independent draws of the prior, differs from one because masses have a
hard support; for strengths and branching ratios it is one. The Standard Model's likelihood
depends on no parameter, so that its evidence never moves. Nothing is said where few draws
carry all of the weight.

References:
    C. P. Robert, G. Casella, Monte Carlo Statistical Methods (2004), section 3.3: importance
    sampling and its effective number of draws.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.fit.config import SampleConfig
from jaxlik.fit.posterior_draws import PosteriorDraws, content_key
from jaxlik.physics.kinematics import MAX_MASS, MIN_LBP_MASS
from jaxlik.typing import Bool, Float, Int

FACTORS = (0.8, 1.25)
"""On the widths of ln(kappa) and of logits; beyond sqrt(2) the weights have no variance."""

LBP_FRACTION = 2 / 3
"""Of the largest mass of the lightest particle."""

GAP_FACTOR = 5.0
"""On the smallest mass difference."""

MIN_EFFECTIVE = 100.0
"""Effective draws of a content below which nothing is said."""


class PriorModels(NamedTuple):
    """Independent draws of the prior.

    Attributes:
        active: The particle exists.
        masses: GeV.
    """

    active: Bool[np.ndarray, "draw particle"]
    masses: Float[np.ndarray, "draw particle"]


class Variation(NamedTuple):
    """Another prior.

    Attributes:
        label: What is different, for tables.
        posterior: ln(p'/p) of the draws of the posterior; `-inf` where p' forbids.
        prior: The same of draws of the prior; zeros where only strengths or ratios change.
    """

    label: str
    posterior: Float[np.ndarray, "chain draw"]
    prior: Float[np.ndarray, " draw"]


def variations(
    draws: PosteriorDraws,
    prior: PriorModels,
    config: SampleConfig,
    lbp: int,
    pairs: Int[np.ndarray, "pair 2"],
) -> list[Variation]:
    """Each scale of the prior changed alone.

    Args:
        draws: Of the posterior.
        prior: Independent draws of the prior of the same run.
        config: Holds the scales.
        lbp: Position of the lightest particle.
        pairs: Positions (lighter, heavier) of interchangeable particles, whose masses are in order.
    """
    none = np.zeros(len(prior.active))
    found = []
    for factor in FACTORS:
        width = factor * config.strength_width
        weight = strength_log_weight(draws, config.strength_width, width)
        found.append(Variation(f"κ {width:g}", weight, none))
    for factor in FACTORS:
        width = factor * config.logit_width
        weight = ratio_log_weight(draws, config.logit_width, width)
        found.append(Variation(f"BR {width:g}", weight, none))
    largest = LBP_FRACTION * config.largest_lbp
    if largest > MIN_LBP_MASS:
        found.append(
            Variation(
                f"LBP < {largest:.4g}",
                _below(draws.masses[..., lbp], largest),
                _below(prior.masses[..., lbp], largest),
            )
        )
    gap = GAP_FACTOR * config.smallest_gap
    weights = [
        gap_log_weight(models.active, models.masses, config.smallest_gap, gap, lbp, pairs)
        for models in (draws, prior)
    ]
    return [*found, Variation(f"gap > {gap:g}", *weights)]


def strength_log_weight(
    draws: PosteriorDraws, old: float, new: float
) -> Float[np.ndarray, "chain draw"]:
    """Ln(p'/p) where free signal strengths are log-normal with another width."""
    logs = np.log(np.where(draws.free_strength, draws.signal_strengths, 1.0))
    squares = np.sum(logs**2, axis=-1)
    return _normal_log_ratio(squares, draws.free_strength.sum(axis=-1), old, new)


def ratio_log_weight(
    draws: PosteriorDraws, old: float, new: float
) -> Float[np.ndarray, "chain draw"]:
    """Ln(p'/p) where logits of branching ratios are normal with another width.

    Ratios fix the logits of the n channels of a mother up to a constant: n - 1 directions.
    """
    used = draws.branching_ratios > 0
    logs = np.log(np.where(used, draws.branching_ratios, 1.0))
    squares, directions = np.zeros(used.shape[:2]), np.zeros(used.shape[:2])
    mothers = np.array([mother for mother, *_ in draws.channels], dtype=int)
    for mother in np.unique(mothers):
        mine = used[..., mothers == mother]
        number = mine.sum(axis=-1)
        mean = logs[..., mothers == mother].sum(axis=-1) / np.maximum(number, 1)
        away = np.where(mine, logs[..., mothers == mother] - mean[..., None], 0.0)
        squares += np.sum(away**2, axis=-1)
        directions += np.maximum(number - 1, 0)
    return _normal_log_ratio(squares, directions, old, new)


def gap_log_weight(
    active: Bool[np.ndarray, "*draw particle"],
    masses: Float[np.ndarray, "*draw particle"],
    old: float,
    new: float,
    lbp: int,
    pairs: Int[np.ndarray, "pair 2"],
) -> Float[np.ndarray, " *draw"]:
    """Ln(p'/p) where mass differences, uniform in their logarithm, start elsewhere."""
    floor = np.repeat(masses[..., lbp : lbp + 1], masses.shape[-1], axis=-1)
    light, heavy = pairs.T
    floor[..., heavy] = np.where(active[..., light], masses[..., light], floor[..., heavy])
    others = active.copy()
    others[..., lbp] = False
    room = np.maximum(MAX_MASS - np.where(others, floor, 0.0), 2 * max(old, new))
    gap = np.where(others, masses - floor, np.inf)
    weight = np.log(np.log(room / old) / np.log(room / new))
    weight = np.where(gap >= new * (1 - 1e-9), weight, -np.inf)
    return np.sum(np.where(others, weight, 0.0), axis=-1)


def with_sensitivity(
    entries: Sequence[Mapping[str, Any]],
    draws: PosteriorDraws,
    prior: PriorModels,
    changes: Sequence[Variation],
) -> list[dict[str, Any]]:
    """Entries of evidences with what other priors would make of them.

    Args:
        entries: From `jaxlik.fit.posterior_summary.evidence_entries`.
        draws: Of the posterior.
        prior: Independent draws of the prior.
        changes: From `variations`.

    Returns:
        Copies with ``sensitivity``: per variation its label, the change of ln Z, the standard
        error of that (from the spread of the chains) and the effective draws; changes are
        `None` where there are too few.
    """
    found = []
    for entry in entries:
        here, before = (_members(entry, draws.pdg_ids, one.active) for one in (draws, prior))
        found.append(
            {**entry, "sensitivity": [_change(one, here, before) for one in changes]},
        )
    return found


def _members(
    entry: Mapping[str, Any], pdg_ids: Sequence[int], active: Bool[np.ndarray, "*draw particle"]
) -> Bool[np.ndarray, " *draw"]:
    """Draws of the content of an entry; of anything beyond the lightest one for no content."""
    if not entry["key"]:
        return active.sum(axis=-1) > 1
    pids = [int(pid) for pid in entry["key"].split()]
    assert content_key(pids) == entry["key"]
    return (active == np.isin(pdg_ids, pids)).all(axis=-1)


def _change(change: Variation, here: np.ndarray, before: np.ndarray) -> dict[str, Any]:
    """What one variation does to one content."""
    weights = np.where(here, np.exp(np.where(here, change.posterior, 0.0)), 0.0)
    total = weights.sum()
    effective = float(total**2 / np.sum(weights**2)) if total > 0 else 0.0
    expected = np.exp(change.prior[before]).mean() if before.any() else 0.0
    document = {"label": change.label, "change": None, "error": None, "effective": effective}
    if effective < MIN_EFFECTIVE or expected == 0:
        return document
    counts = here.sum(axis=1)
    mean = total / counts.sum()
    error = None
    if (counts > 0).sum() > 1:
        # Chains are independent: residuals of the ratio estimator.
        residuals = weights.sum(axis=1) - mean * counts
        number = len(counts)
        error = math.sqrt(number / (number - 1) * np.sum(residuals**2)) / total
    return document | {"change": float(np.log(mean / expected)), "error": error}


def _below(masses: np.ndarray, largest: float) -> np.ndarray:
    """Ln(p'/p) up to a constant, which drops out, for an upper bound."""
    return np.where(masses <= largest, 0.0, -np.inf)


def _normal_log_ratio(
    squares: np.ndarray, number: np.ndarray, old: float, new: float
) -> np.ndarray:
    """Ln of the ratio of normal densities of so many numbers with this sum of squares."""
    return number * math.log(old / new) + 0.5 * squares * (old**-2 - new**-2)
