"""Walks with a clock: seconds of every block, and the best K against evaluations and seconds.

Three searches have the same score: one that builds models up first, one that walks from nothing
with gradient ascents, and the plain random walk of `benchmarks.builder`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.example_models import mixed_models
from benchmarks.harness import Timing
from jaxlik.fit.config import SearchConfig
from walkers.grow import grown_state
from walkers.run import Progress, initial_state, search
from walkers.state import SearchState
from walkers.target import EngineTarget


class Reached(NamedTuple):
    """Where a search stands.

    Attributes:
        evaluations: Models scored so far; one with a gradient counts as one.
        seconds: Since it began.
        score: Best K.
    """

    evaluations: int
    seconds: float
    score: float


Curve = list[Reached]


def step_timing(target: EngineTarget, walkers: int, block: int, rounds: int, seed: int) -> Timing:
    """Seconds per step of one walker, without ascents: a round is a block of steps.

    Walkers start from models of several contents, as they are in the middle of a search.

    Args:
        target: The score.
        walkers: Walkers.
        block: Steps of all walkers in a round.
        rounds: Rounds after the first, which compiles.
        seed: Of the search.
    """
    config = SearchConfig(
        walkers=walkers, steps=block * (rounds + 1), block=block, gradient_every=0, seed=seed
    )
    state = initial_state(target, config)
    models = jax.tree.map(jnp.asarray, mixed_models(target.space, walkers))
    state = state._replace(walkers=state.walkers._replace(point=models))
    clock = [time.perf_counter()]

    def on_block(state: SearchState, progress: Progress) -> None:
        del state, progress
        clock.append(time.perf_counter())

    search(target, config, state=state, on_block=on_block)
    first, *later = np.diff(clock)
    units = block * walkers
    return Timing(float(first), [float(one) / units for one in later], units)


def walk_curve(
    target: EngineTarget,
    config: SearchConfig,
    state: SearchState | None = None,
    spent: int = 0,
    began: float | None = None,
) -> Curve:
    """A walk, from nothing or from a state.

    Args:
        target: The score.
        config: Of the search.
        state: Where it starts.
        spent: Evaluations that led there.
        began: When all began, by the clock of `time.perf_counter`.
    """
    start = time.perf_counter() if began is None else began
    curve: Curve = []

    def on_block(state: SearchState, progress: Progress) -> None:
        del state
        count = spent + evaluations_of(config, progress.step)
        curve.append(Reached(count, time.perf_counter() - start, progress.score))

    search(target, config, state=state, on_block=on_block)
    return curve


def plain_curve(target: EngineTarget, config: SearchConfig) -> Curve:
    """A walk from nothing without gradients."""
    return walk_curve(target, replace(config, gradient_every=0))


def built_curve(target: EngineTarget, config: SearchConfig) -> Curve:
    """Models built up first, then a walk from them."""
    start = time.perf_counter()
    curve: Curve = []

    def report(evaluations: int, score: float) -> None:
        curve.append(Reached(evaluations, time.perf_counter() - start, score))

    state = grown_state(target, config, report=report)
    return curve + walk_curve(target, config, state, curve[-1].evaluations, start)


SEARCHES: dict[str, Callable[[EngineTarget, SearchConfig], Curve]] = {
    "built up": built_curve,
    "ascents from nothing": walk_curve,
    "plain random walk": plain_curve,
}


def evaluations_of(config: SearchConfig, step: int) -> int:
    """Models scored in the first steps of a walk, those of ascents included."""
    count = config.walkers * step
    if config.gradient_every and config.gradient_steps:
        count += step // config.gradient_every * config.walkers * (config.gradient_steps + 1)
    return count


def best_at(curve: Curve, evaluations: int) -> float:
    """Best K after so many evaluations; `-inf` if there was none yet."""
    return max((one.score for one in curve if one.evaluations <= evaluations), default=-np.inf)


def reached(curve: Curve, score: float) -> Reached | None:
    """When a K was reached; `None` if it was not."""
    return next((one for one in curve if one.score >= score), None)
