"""What of a found model is needed: trimming, and what each part contributes.

All models are evaluated exactly and in the gauge mu = 1, like those of the search.
"""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.fit.labels import Labels
from jaxlik.physics.kinematics import existing_productions
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float
from walkers.gauge import at, score_in_gauge, stacked
from walkers.moves.base import removable_particles
from walkers.moves.settle import Draft, settle
from walkers.target import AbstractTarget, as_target

ALLOWED_LOSS = 0.0
"""Loss of K up to which a part of a model is removed."""

NUM_NEIGHBOURS = 3
"""Signal strengths a strength is tried to be set equal to."""


def trim(
    engine: Engine | AbstractTarget,
    point: ModelPoint,
    *,
    allowed_loss: float = ALLOWED_LOSS,
    chunk: int = 0,
) -> ModelPoint:
    """Remove what a model does not need, one part at a time, the most dispensable first.

    Parts are particles, decay channels, productions (switched off), and differences
    between signal strengths. A part goes if K falls by no more than the allowed loss.

    Args:
        engine: The score.
        point: The model.
        allowed_loss: Loss of K accepted for each part.
        chunk: Models per compiled call; 0 chooses as the search does.

    Returns:
        The trimmed model in the gauge mu = 1; never with a smaller K than the allowed
        losses explain.
    """
    target = as_target(engine)
    best = score_in_gauge(target, stacked([point]), chunk)
    current, score = at(best.points, 0), float(best.score[0])
    while np.isfinite(score):
        # Only what has fewer parts counts as simpler: without this, equals alternate forever.
        size = num_parts(target.space, current)
        trials = [t for t in _simpler(target, current) if num_parts(target.space, t) < size]
        if not trials:
            break
        found = score_in_gauge(target, stacked(trials), chunk)
        place = int(np.argmax(found.score))
        if not found.score[place] >= score - allowed_loss:
            break
        current, score = at(found.points, place), float(found.score[place])
    return current


def contributions(
    engine: Engine | AbstractTarget, labels: Labels, point: ModelPoint, *, chunk: int = 0
) -> dict[str, Any]:
    """How much K would lose without each particle and without each analysis.

    A particle is removed with all its decays, its mothers renormalised and their rates
    kept; an analysis leaves the combination, while its limits still count.

    Args:
        engine: The score.
        labels: Names of the candidates of a combination.
        point: The model.
        chunk: Models per compiled call; 0 chooses as the search does.

    Returns:
        ``K``, ``particles``: {pid: {``K``, ``loss``}} and ``analyses``: {name: {``K``,
        ``loss``}}, where ``K`` is that without the part and ``None`` if nothing would
        be left to combine (``loss`` is then K itself).
    """
    target = as_target(engine)
    base = score_in_gauge(target, stacked([point]), chunk)
    analyses: dict[str, np.ndarray] = {}
    for number in np.flatnonzero(base.members[0]):
        name = labels.candidates[int(number)].analysis
        everywhere = np.array([candidate.analysis == name for candidate in labels.candidates])
        analyses.setdefault(name, everywhere)
    particles = dict(_without_each_particle(target, point))
    total = float(base.score[0])
    shrunk = list(particles.values())
    models = [point] * len(analyses) + shrunk
    if not models:
        return {"K": _number(total), "particles": {}, "analyses": {}}
    excluded = np.zeros((len(models), target.num_candidates), dtype=bool)
    for row, mask in enumerate(analyses.values()):
        excluded[row] = mask
    found = score_in_gauge(target, stacked(models), chunk, jnp.asarray(excluded)).score
    count = len(analyses)
    return {
        "K": _number(total),
        "particles": _losses(particles, found[count:], total),
        "analyses": _losses(analyses, found[:count], total),
    }


def _without_each_particle(
    target: AbstractTarget, point: ModelPoint
) -> Iterable[tuple[int, ModelPoint]]:
    """The valid models without one particle, by PDG number."""
    space = target.space
    if np.asarray(point.active).sum() <= 2:
        return
    for number in np.flatnonzero(np.asarray(removable_particles(space, point))):
        active = point.active.at[int(number)].set(False)
        changed = eqx.tree_at(lambda p: p.active, point, active)
        found, valid = settled(target.space, target.reference_fn, changed)
        if bool(valid):
            yield space.pdg_ids[int(number)], found


def num_parts(space: ModelSpace, point: ModelPoint) -> tuple[int, int]:
    """Size of a model: particles; decays, productions and distinct numbers among them."""
    fractions, mother = np.asarray(point.branching_ratios), np.asarray(space.channel_parent)
    used = np.flatnonzero((fractions > 0) & np.asarray(point.active)[mother])
    ratios = {(int(mother[k]), float(fractions[k])) for k in used}
    strengths = np.asarray(point.signal_strengths)
    on = strengths[np.asarray(existing_productions(space, point)) & (strengths > 0)]
    rest = len(used) + len(ratios) + len(on) + len(np.unique(on))
    return int(np.sum(np.asarray(point.active))), rest


def _simpler(target: AbstractTarget, point: ModelPoint) -> Iterable[ModelPoint]:
    """Models that may have one part less; `num_parts` tells whether they do."""
    space = target.space
    yield from (found for _, found in _without_each_particle(target, point))
    fractions, mother = np.asarray(point.branching_ratios), np.asarray(space.channel_parent)
    for number in np.flatnonzero(fractions > 0):
        siblings = (mother == mother[number]) & (fractions > 0)
        if siblings.sum() < 2:
            continue
        kept = np.where(np.arange(len(fractions)) == number, 0.0, fractions)
        left = kept[siblings].sum()
        kept = np.where(siblings, kept / left, kept)
        produced = np.sum(np.asarray(space.production_pair) == mother[number], axis=1)
        strengths = np.asarray(point.signal_strengths) * left**produced
        yield ModelPoint(point.masses, point.active, kept, strengths)
        yield _with_fractions(point, np.where(siblings, 1 / siblings.sum(), fractions))
    for strengths in _simpler_strengths(space, point):
        yield eqx.tree_at(lambda p: p.signal_strengths, point, jnp.asarray(strengths))


def _simpler_strengths(
    space: ModelSpace, point: ModelPoint
) -> Iterable[Float[np.ndarray, " production"]]:
    """Signal strengths with one production off, or equal to a neighbouring strength."""
    strengths = np.asarray(point.signal_strengths)
    on = np.asarray(existing_productions(space, point)) & (strengths > 0)
    used = np.flatnonzero(on)
    for number in used:
        if len(used) > 1:
            yield np.where(np.arange(len(strengths)) == number, 0.0, strengths)
        gaps = np.abs(np.log(strengths[used] / strengths[number]))
        other = [k for k in used[np.argsort(gaps)] if strengths[k] != strengths[number]]
        for k in other[:NUM_NEIGHBOURS]:
            yield np.where(on & (strengths == strengths[number]), strengths[k], strengths)


def _with_fractions(point: ModelPoint, fractions: Float[np.ndarray, " channel"]) -> ModelPoint:
    return eqx.tree_at(lambda p: p.branching_ratios, point, jnp.asarray(fractions))


@jax.jit
def settled(
    space: ModelSpace, reference_fn: Any, point: ModelPoint
) -> tuple[ModelPoint, Bool[Array, ""]]:
    """The model with consistent decays; the same random numbers each time."""
    none = jnp.zeros(space.num_productions, dtype=bool)
    draft = Draft(point, none, jnp.asarray(True))
    found = settle(jax.random.key(0), space, draft, reference_fn, space.num_particles)
    return found.point, found.valid


def _losses(
    names: Iterable[Any], scores: Float[np.ndarray, " part"], total: float
) -> dict[Any, dict[str, float | None]]:
    """K without each part and the loss; all of K where nothing is left to combine."""
    return {
        name: {
            "K": _number(float(score)),
            "loss": total - float(score) if np.isfinite(score) else _number(total),
        }
        for name, score in zip(names, scores, strict=True)
    }


def _number(score: float) -> float | None:
    return score if np.isfinite(score) else None
