"""The search: many walkers, step after step, with progress, checkpoints and a way back.

All randomness is a function of seed, step and walker, every decision of the driver one
of the state: a search resumed from a checkpoint repeats an uninterrupted one to the bit.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.errors import CheckpointError
from jaxlik.fit.config import SearchConfig
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float, Int
from walkers.builder import ascend
from walkers.devices import copies
from walkers.moves import MOVES, AbstractMove
from walkers.state import (
    History,
    MoveInfo,
    SearchState,
    Trials,
    WalkerState,
    lonely_point,
    new_state,
)
from walkers.step import StepSettings, decide, default_chunk, evaluate, propose
from walkers.target import AbstractTarget, as_target

FIRST_MASSES = (200.0, 500.0)
"""GeV; range of the LBP mass at the start (arXiv:2012.12246)."""

MISSED_FRACTION = 0.02
"""Share of overflowing proposals in a block above which the tables are enlarged."""

MAX_GROWTH = 1.5
"""Largest factor by which a table grows at a time, so that one model cannot bloat all."""

KINDS = (*MOVES, "gradient")
"""Names on the axis `move`."""


class Progress(NamedTuple):
    """What a search reports after each block.

    Attributes:
        step: Steps done.
        steps: Steps wanted.
        seconds: Time since the search was started or resumed [s].
        steps_per_second: Steps of all walkers together, per second, in this call, first
            compilation excluded.
        score: Best K; `-inf` as long as there is none.
        r_max: Largest r-value of the best model.
        mean_score: Mean K of the walkers that have one.
        acceptance: Accepted share of each kind of move that was tried.
        overflow: Share of proposals rejected because the tables were too small.
        sizes: Sizes of the tables.
    """

    step: int
    steps: int
    seconds: float
    steps_per_second: float
    score: float
    r_max: float
    mean_score: float
    acceptance: dict[str, float]
    overflow: float
    sizes: tuple[int, ...]


def make_moves(target: AbstractTarget, max_particles: int) -> tuple[AbstractMove, ...]:
    """All moves on the model space of a target.

    Args:
        target: Gives the model space.
        max_particles: Particles a model may have, the LBP included.
    """
    return tuple(move(target.space, max_particles) for move in MOVES.values())


def initial_state(engine: Engine | AbstractTarget, config: SearchConfig) -> SearchState:
    """Walkers with nothing but an LBP, at masses uniform between 200 and 500 GeV.

    The first move of each walker is then the birth of a particle, as none other is
    possible.

    Args:
        engine: The score.
        config: Seed, numbers of walkers and best models.
    """
    target = as_target(engine)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    low, high = FIRST_MASSES
    masses = jax.random.uniform(key, (config.walkers,), minval=low, maxval=high)
    points = jax.vmap(lambda mass: lonely_point(target.space, mass))(masses)
    return new_state(
        target.space,
        points,
        seed=config.seed,
        keep=config.keep,
        num_moves=len(KINDS),
        sizes=target.sizes,
    )


def search(
    engine: Engine | AbstractTarget,
    config: SearchConfig,
    *,
    state: SearchState | None = None,
    on_block: Callable[[SearchState, Progress], None] | None = None,
) -> SearchState:
    """Search model space for the largest K.

    A `KeyboardInterrupt` passes through; the state last given to `on_block` is then the
    one to keep.

    Args:
        engine: The score: an engine, or any `AbstractTarget`.
        config: Size, length and moves of the search.
        state: State to go on from, of a search with the same configuration (the number
            of steps may have grown).
        on_block: Called after each block of steps, with a state that may be stored.

    Raises:
        CheckpointError: the state belongs to another seed or number of walkers.
    """
    target = as_target(engine)
    if state is None:
        state = initial_state(target, config)
    _check_state(state, config)
    target = target.enlarged(tuple(int(n) for n in state.sizes))
    moves = make_moves(target, config.max_particles)
    settings = step_settings(config)
    started = time.perf_counter()
    warm, warm_step = started, int(state.step)
    while int(state.step) < config.steps:
        first = int(state.step)
        state = _block(target, moves, settings, config, state)
        if warm_step == first and warm == started:
            # The first block compiles: it says nothing about the speed.
            warm, warm_step = time.perf_counter(), int(state.step)
        state, target = _enlarged(target, state, int(state.step) - first)
        if on_block is not None:
            on_block(state, _progress(state, config, started, warm, warm_step))
    return state


def step_settings(config: SearchConfig) -> StepSettings:
    """The traced numbers of a configuration."""
    weights = [getattr(config.moves, name) for name in MOVES]
    return StepSettings(
        jnp.asarray(weights, dtype=float),
        jnp.asarray(config.temperature),
        jnp.asarray(config.teleport),
        jnp.asarray(config.distinct),
    )


def _block(
    target: AbstractTarget,
    moves: tuple[AbstractMove, ...],
    settings: StepSettings,
    config: SearchConfig,
    state: SearchState,
) -> SearchState:
    """Steps up to the next multiple of the block length."""
    first = int(state.step)
    last = min(first - first % config.block + config.block, config.steps)
    walkers, hiscores, climbs = state.walkers, state.hiscores, jnp.zeros((), dtype=jnp.int32)
    infos: list[MoveInfo] = []
    records: list[Array] = []
    chunk = config.chunk or default_chunk(config.walkers)
    targets = copies(target)
    for number in range(first + 1, last + 1):
        step = jnp.asarray(number)
        if config.gradient_every and config.gradient_steps and number % config.gradient_every == 0:
            walkers, tried = ascend(
                targets,
                walkers,
                KINDS.index("gradient"),
                chunk=chunk,
                num_steps=config.gradient_steps,
                max_particles=config.max_particles,
            )
            climbs = climbs + tried
        proposals = propose(moves, target.reference_fn, settings.weights, state.key, step, walkers)
        outcomes = evaluate(targets, proposals.point, chunk)
        walkers, hiscores, info = decide(
            walkers, hiscores, proposals, outcomes, state.key, step, settings
        )
        infos.append(info)
        records.append(_record(walkers, hiscores.score[0]))
        # Wait: a queue of steps would delay an interrupt.
        jax.block_until_ready(hiscores.score)
    info = jax.tree.map(lambda *leaves: np.stack(leaves), *infos)
    new = np.stack(records).T
    history = [
        jnp.concatenate([a, jnp.asarray(b)]) for a, b in zip(state.history, new, strict=True)
    ]
    return state._replace(
        walkers=walkers,
        hiscores=hiscores,
        step=jnp.asarray(last, dtype=state.step.dtype),
        history=History(*history),
        trials=_counted(state.trials, info, int(climbs)),
        demand=jnp.maximum(state.demand, jnp.asarray(info.demand.max(axis=0))),
        missed=state.missed + jnp.asarray(info.overflow.sum(), dtype=state.missed.dtype),
    )


@jax.jit
def _record(walkers: WalkerState, best: Array) -> Float[Array, " 3"]:
    """Best K, mean K, mean number of particles."""
    seen = walkers.score > -jnp.inf
    total = jnp.sum(jnp.where(seen, walkers.score, 0.0))
    mean = jnp.where(jnp.any(seen), total / jnp.maximum(jnp.sum(seen), 1), -jnp.inf)
    return jnp.stack([best, mean, jnp.mean(jnp.sum(walkers.point.active, axis=1))])


def _counted(trials: Trials, info: MoveInfo, climbs: int) -> Trials:
    """Counts with those of a block and its gradient ascents added."""
    size = trials.proposed.shape[0]
    kind = np.asarray(info.kind)

    def count(chosen: Bool[np.ndarray, "step walker"]) -> Int[Array, " move"]:
        return jnp.asarray(np.bincount(kind[chosen], minlength=size), dtype=jnp.int32)

    # An ascent enters as a pending proposal, never as a fresh one.
    tried = count(np.asarray(info.proposed)).at[size - 1].add(climbs)
    more = Trials(
        tried,
        count(np.asarray(info.accepted)),
        count(np.asarray(info.invalid)),
        count(np.asarray(info.overflow)),
    )
    return jax.tree.map(jnp.add, trials, more)


def _enlarged(
    target: AbstractTarget, state: SearchState, steps: int
) -> tuple[SearchState, AbstractTarget]:
    """Larger tables where too many proposals of the block did not fit."""
    missed = int(state.missed)
    if missed <= MISSED_FRACTION * steps * state.walkers.score.shape[0]:
        fresh = jnp.zeros_like(state.missed)
        return state._replace(missed=fresh, demand=jnp.zeros_like(state.demand)), target
    sizes, demand = np.asarray(state.sizes), np.asarray(state.demand)
    wanted = np.minimum(demand, np.ceil(MAX_GROWTH * sizes)).astype(int)
    target = target.enlarged(tuple(int(n) for n in np.maximum(sizes, wanted)))
    return (
        state._replace(
            sizes=jnp.asarray(target.sizes, dtype=state.sizes.dtype),
            missed=jnp.zeros_like(state.missed),
            demand=jnp.zeros_like(state.demand),
        ),
        target,
    )


def _progress(
    state: SearchState, config: SearchConfig, started: float, warm: float, warm_step: int
) -> Progress:
    now = time.perf_counter()
    step = int(state.step)
    rate = (step - warm_step) / (now - warm) if step > warm_step else 0.0
    tried, accepted = np.asarray(state.trials.proposed), np.asarray(state.trials.accepted)
    acceptance = {
        name: float(a / t) for name, t, a in zip(KINDS, tried, accepted, strict=True) if t > 0
    }
    total = max(int(tried.sum()), 1)
    return Progress(
        step=step,
        steps=config.steps,
        seconds=now - started,
        steps_per_second=rate,
        score=float(state.hiscores.score[0]),
        r_max=float(state.hiscores.r_max[0]),
        mean_score=float(state.history.mean[-1]),
        acceptance=acceptance,
        overflow=int(state.trials.overflow.sum()) / total,
        sizes=tuple(int(n) for n in state.sizes),
    )


def _check_state(state: SearchState, config: SearchConfig) -> None:
    key = np.asarray(jax.random.key_data(jax.random.key(config.seed)))
    if not np.array_equal(np.asarray(state.key), key):
        raise CheckpointError(
            f"the state to resume was made with another seed than {config.seed}; resume with "
            "the configuration of the interrupted run"
        )
    count = state.walkers.score.shape[0]
    if count != config.walkers:
        raise CheckpointError(
            f"the state to resume has {count} walkers, the configuration {config.walkers}; "
            "resume with the configuration of the interrupted run"
        )


def best_point(state: SearchState, place: int = 0) -> ModelPoint:
    """One of the best models, the best one first."""
    return jax.tree.map(lambda leaf: leaf[place], state.hiscores.points)
