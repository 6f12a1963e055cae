"""Scores of many models in the gauge mu = 1, on the host.

Follows the rules of `walkers.step`: a model is rescaled by mu-hat and scored again until
mu-hat is 1. Models that are settled cost nothing in later rounds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float
from walkers.step import GAUGE_TOLERANCE, MAX_ROUNDS, default_chunk, evaluate, joined, rescale
from walkers.target import AbstractTarget, Outcome

BATCH = 50
"""Models per compiled call on an accelerator: the default number of walkers."""


class Scored(NamedTuple):
    """Models in the gauge mu = 1.

    Attributes:
        points: The models, stacked.
        score: K; `-inf` without.
        members: Candidates in the best combination.
        evaluations: Evaluations it took.
    """

    points: ModelPoint
    score: Float[np.ndarray, " model"]
    members: Bool[np.ndarray, "model candidate"]
    evaluations: int


def score_in_gauge(
    target: AbstractTarget,
    points: ModelPoint,
    chunk: int = 0,
    excluded: Bool[Array, "model candidate"] | None = None,
) -> Scored:
    """Evaluate models and rescale their signal strengths until mu-hat is 1.

    Args:
        target: The score.
        points: Models, stacked.
        chunk: Models per compiled call; 0 chooses as the search does. Shorter batches
            are filled up.
        excluded: Candidates that may not take part, per model.
    """
    count = points.masses.shape[0]
    points = jax.tree.map(np.array, points)
    score = np.full(count, -np.inf)
    members = np.zeros((count, target.num_candidates), dtype=bool)
    left = np.arange(count)
    evaluations = 0
    for number in range(MAX_ROUNDS):
        some = at(points, left)
        barred = None if excluded is None else jnp.asarray(excluded)[left]
        outcome = evaluate_all(target, some, chunk, barred)
        evaluations += len(left)
        value, mu = np.asarray(outcome.score), np.asarray(outcome.mu_hat)
        usable = ~np.asarray(outcome.overflow) & ~np.isnan(value)
        sees = usable & (mu > 0) & np.isfinite(value)
        off = np.log(np.where(sees, mu, 1.0))
        settled = (np.abs(off) <= GAUGE_TOLERANCE) | ((off < 0) & (number >= 2))
        done = left[settled]
        score[done] = np.where(usable, value, -np.inf)[settled]
        members[done] = np.asarray(outcome.members)[settled]
        left = left[~settled]
        if not len(left):
            break
        scaled = rescale(some, jnp.asarray(np.where(sees, mu, 1.0)))
        points.signal_strengths[left] = np.asarray(scaled.signal_strengths)[~settled]
    return Scored(jax.tree.map(jnp.asarray, points), score, members, evaluations)


def evaluate_all(
    target: AbstractTarget,
    points: ModelPoint,
    chunk: int = 0,
    excluded: Bool[Array, "model candidate"] | None = None,
) -> Outcome:
    """One evaluation of each model, in chunks of one compiled size.

    Args:
        target: The score.
        points: Models, stacked.
        chunk: Models per compiled call; 0 chooses as the search does.
        excluded: Candidates that may not take part, per model.
    """
    count = points.masses.shape[0]
    chunk = chunk or default_chunk(BATCH)
    rows = np.minimum(np.arange(count + -count % chunk), count - 1)
    barred = None if excluded is None else excluded[rows]
    outcome = joined(evaluate(target, at(points, rows), chunk, barred), len(rows))
    return jax.tree.map(lambda leaf: leaf[:count], outcome)


def stacked(points: Sequence[ModelPoint]) -> ModelPoint:
    """Models along a first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(a) for a in leaves]), *points)


def at(points: ModelPoint, place: int | slice | np.ndarray) -> ModelPoint:
    """Some of a stack of models."""
    return jax.tree.map(lambda leaf: leaf[place], points)
