r"""One step of all walkers: propose, evaluate, accept.

The walk optimises K. A proposal with score K' replaces a model with score K with
probability

$$ \min\left[1, \exp\frac{K' - K}{2 T}\right] $$

without Hastings or Jacobian factors: no detailed balance is claimed, the visits are no
posterior, and the temperature T only sets how freely walkers leave a maximum.

Gauge. K profiles mu, so kappa and mu multiply only as mu kappa; but which results count
as sensitive is judged at mu = 1. A score at mu_hat far from 1 could thus hide results
from a large signal. A proposal that would be accepted is therefore rescaled,
kappa -> mu_hat kappa, and evaluated again, until mu_hat = 1 and the score belongs to the
model as it stands. Where no such gauge exists (a result enters as soon as the signal
grows to what it would allow) the larger kappa with mu_hat < 1 is taken, never the reverse.
"""

from functools import partial
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.devices import as_copies, in_turn
from walkers.hiscores import HiScores, update_hiscores
from walkers.moves import AbstractMove, ReferenceFn, settle
from walkers.moves.settle import MAX_SIGNAL_STRENGTH
from walkers.state import MoveInfo, WalkerState
from walkers.target import AbstractTarget, Outcome, evaluate_chunk

Batch = TypeVar("Batch")

GAUGE_TOLERANCE = 1e-3
"""Largest |ln mu_hat| of a model in the gauge mu = 1."""

MAX_ROUNDS = 4
"""Evaluations after which a proposal without a gauge is given up."""

NUM_TRIES = 3
"""Draws per proposal; the first valid one counts, since draws cost next to nothing."""


class StepSettings(NamedTuple):
    """Numbers of the walk; traced.

    Attributes:
        weights: Relative frequency of each move.
        temperature: Of the acceptance.
        teleport: Probability per step that a walker jumps to one of the best models.
        distinct: Relative mass difference up to which models are the same.
    """

    weights: Float[Array, " move"]
    temperature: Scalar
    teleport: Scalar
    distinct: Scalar


class Proposals(NamedTuple):
    """One proposal per walker, pending ones carried on."""

    point: ModelPoint
    valid: Bool[Array, " walker"]
    kind: Int[Array, " walker"]
    draw: Float[Array, " walker"]
    rounds: Int[Array, " walker"]


def walker_keys(key: Key[Array, ""], step: Int[Array, ""], count: int) -> Key[Array, " walker"]:
    """Keys that depend on seed, step and number of the walker, and on nothing else."""
    key = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(count))


@jax.jit
def propose(
    moves: tuple[AbstractMove, ...],
    reference_fn: ReferenceFn,
    weights: Float[Array, " move"],
    key_data: Array,
    step: Int[Array, ""],
    walkers: WalkerState,
) -> Proposals:
    """A proposal for every walker.

    Args:
        moves: Moves in the order of `weights`.
        reference_fn: Relative cross sections.
        weights: Relative frequencies.
        key_data: Data of the key of the search.
        step: Number of the step.
        walkers: Where the walkers are.
    """
    key = jax.random.wrap_key_data(key_data)
    keys = walker_keys(key, step, walkers.score.shape[0])

    def one(key: Key[Array, ""], point: ModelPoint):
        reference = reference_fn(point.masses)

        def attempt(key: Key[Array, ""]) -> tuple[Int[Array, ""], ModelPoint, Bool[Array, ""]]:
            return propose_one(moves, reference_fn, weights, key, point, reference)

        kinds, points, valid = jax.vmap(attempt)(jax.random.split(key, NUM_TRIES))
        first = jnp.argmax(valid)
        chosen = jax.tree.map(lambda leaf: leaf[first], (kinds, points, valid))
        return *chosen, jax.random.uniform(jax.random.fold_in(key, NUM_TRIES))

    kind, point, valid, draw = jax.vmap(one)(keys, walkers.point)
    waiting = walkers.rounds > 0

    def carried(old: Array, new: Array) -> Array:
        return jnp.where(waiting.reshape((-1,) + (1,) * (new.ndim - 1)), old, new)

    return Proposals(
        jax.tree.map(carried, walkers.pending, point),
        waiting | valid,
        carried(walkers.kind, kind),
        carried(walkers.draw, draw),
        walkers.rounds,
    )


def propose_one(
    moves: tuple[AbstractMove, ...],
    reference_fn: ReferenceFn,
    weights: Float[Array, " move"],
    key: Key[Array, ""],
    point: ModelPoint,
    reference: Float[Array, " production"],
) -> tuple[Int[Array, ""], ModelPoint, Bool[Array, ""]]:
    """Kind, model and validity of one random proposal among the possible moves.

    A proposal that changes nothing is not valid: it would waste an evaluation.
    """
    keys = jax.random.split(key, 3)
    possible = jnp.stack([move.possible(point) for move in moves]) & (weights > 0)
    frequency = jnp.where(jnp.any(possible), jnp.where(possible, weights, 0.0), weights)
    kind = jax.random.categorical(keys[0], jnp.log(frequency))
    # Functions, since a bound method of a module with arrays is not hashable.
    branches = [lambda *args, move=move: move.propose(*args) for move in moves]
    draft = jax.lax.switch(kind, branches, keys[1], point, reference)
    found = settle(keys[2], moves[0].space, draft, reference_fn, moves[0].max_particles)
    leaves = zip(jax.tree.leaves(found.point), jax.tree.leaves(point), strict=True)
    changed = jnp.any(jnp.stack([jnp.any(new != old) for new, old in leaves]))
    return kind.astype(jnp.int32), found.point, found.valid & changed & jnp.any(possible)


def evaluate(
    target: AbstractTarget | tuple[AbstractTarget, ...],
    points: ModelPoint,
    chunk: int,
    excluded: Bool[Array, "walker candidate"] | None = None,
) -> tuple[Outcome, ...]:
    """Evaluate a batch in chunks of one compiled size, on all devices in turn.

    Small chunks are faster on a CPU, where a batch takes as many iterations as its
    slowest member; chunks also run side by side on several cores.

    Args:
        target: The score, or one copy per device (`walkers.devices.copies`).
        points: Models, stacked.
        chunk: Models per call.
        excluded: Candidates that may not take part, per model.

    Returns:
        One stacked outcome per chunk; the last one may hold models of the one before.
    """
    shared = as_copies(target)
    count = points.masses.shape[0]
    if excluded is None:
        excluded = jnp.zeros((count, shared[0].num_candidates), dtype=bool)
    return in_turn(evaluate_chunk, shared, sliced((points, excluded), chunk))


CPU_CHUNK = 10
"""Models per compiled call on a CPU, where small batches waste fewer iterations."""


def default_chunk(count: int) -> int:
    """Models per compiled call that suit the devices: few on a CPU, else all on each."""
    return CPU_CHUNK if jax.default_backend() == "cpu" else -(-count // jax.local_device_count())


@partial(jax.jit, static_argnums=1)
def sliced(batch: Any, chunk: int) -> tuple[Any, ...]:
    """A batch in parts of equal size; the last part is moved back to be full."""
    count = jax.tree.leaves(batch)[0].shape[0]
    size = min(chunk, count)

    def part(start: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[start : start + size], batch)

    return tuple(part(min(start, count - size)) for start in range(0, count, size))


def joined(parts: tuple[Batch, ...], count: int) -> Batch:
    """A batch of `count` entries from its parts: the inverse of `sliced`."""
    size = jax.tree.leaves(parts[0])[0].shape[0]
    overlap = len(parts) * size - count
    *head, last = parts
    last = jax.tree.map(lambda leaf: leaf[overlap:], last)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *head, last)


@eqx.filter_jit
def decide(
    walkers: WalkerState,
    hiscores: HiScores,
    proposals: Proposals,
    outcomes: tuple[Outcome, ...],
    key_data: Array,
    step: Int[Array, ""],
    settings: StepSettings,
) -> tuple[WalkerState, HiScores, MoveInfo]:
    """Accept, hold back for the gauge, or reject; update the list of best models."""
    count = walkers.score.shape[0]
    outcome = joined(outcomes, count)
    usable = proposals.valid & ~outcome.overflow & ~jnp.isnan(outcome.score)
    score = jnp.where(usable, outcome.score, -jnp.inf)
    blind = walkers.score == -jnp.inf
    gain = jnp.where(blind, 0.0, score - jnp.where(blind, 0.0, walkers.score))
    better = jnp.log(proposals.draw) < gain / (2 * settings.temperature)
    welcome = usable & (blind | better)
    sees = (outcome.mu_hat > 0) & jnp.isfinite(score)
    off = jnp.log(jnp.where(sees, outcome.mu_hat, 1.0))
    too_small = off > GAUGE_TOLERANCE
    # From the second round on a larger kappa is kept: the reverse could cycle forever.
    too_large = (off < -GAUGE_TOLERANCE) & (proposals.rounds < 2)
    again = welcome & (too_small | too_large) & (proposals.rounds + 1 < MAX_ROUNDS)
    accepted = welcome & ~too_small & ~too_large
    rescaled = rescale(proposals.point, jnp.where(sees, outcome.mu_hat, 1.0))

    def taken(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    moved = walkers._replace(
        point=jax.tree.map(taken, proposals.point, walkers.point),
        score=taken(score, walkers.score),
        z_squared=taken(outcome.z_squared, walkers.z_squared),
        mu_hat=taken(outcome.mu_hat, walkers.mu_hat),
        r_max=taken(outcome.r_max, walkers.r_max),
        log_prior=taken(outcome.log_prior, walkers.log_prior),
        pending=rescaled,
        rounds=jnp.where(again, proposals.rounds + 1, 0),
        draw=proposals.draw,
        kind=proposals.kind,
    )
    hiscores = enter(hiscores, moved, accepted, step, settings.distinct)
    moved = teleported(moved, hiscores, key_data, step, settings.teleport)
    overflow = proposals.valid & outcome.overflow
    demand = jnp.max(jnp.where(overflow[:, None], outcome.demand, 0), axis=0)
    fresh = proposals.rounds == 0
    info = MoveInfo(proposals.kind, fresh, accepted, fresh & ~proposals.valid, overflow, demand)
    return moved, hiscores, info


def rescale(points: ModelPoint, mu: Float[Array, " walker"]) -> ModelPoint:
    """Signal strengths times mu, for a stack of models."""
    strengths = jnp.clip(points.signal_strengths * mu[:, None], 0.0, MAX_SIGNAL_STRENGTH)
    return eqx.tree_at(lambda p: p.signal_strengths, points, strengths)


def enter(
    hiscores: HiScores,
    walkers: WalkerState,
    new: Bool[Array, " walker"],
    step: Int[Array, ""],
    distinct: Scalar,
) -> HiScores:
    """Enter the models of walkers that moved into the list of best models."""
    count = walkers.score.shape[0]
    candidates = HiScores(
        walkers.point,
        jnp.where(new, walkers.score, -jnp.inf),
        walkers.z_squared,
        walkers.mu_hat,
        walkers.r_max,
        jnp.full(count, step, dtype=hiscores.step.dtype),
        jnp.arange(count, dtype=hiscores.walker.dtype),
    )
    return update_hiscores(hiscores, candidates, distinct)


def teleported(
    walkers: WalkerState,
    hiscores: HiScores,
    key_data: Array,
    step: Int[Array, ""],
    probability: Scalar,
) -> WalkerState:
    """Send some walkers to one of the best models, each half as often as the one before."""
    count, size = walkers.score.shape[0], hiscores.score.shape[0]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key_data), step), 1 << 30)
    first, second = jax.random.split(key)
    logits = jnp.where(hiscores.live, -jnp.log(2.0) * jnp.arange(size), -jnp.inf)
    logits = jnp.where(hiscores.live[0], logits, 0.0)
    place = jax.random.categorical(second, logits, shape=(count,))
    better = hiscores.score[place] > walkers.score
    jump = (jax.random.uniform(first, (count,)) < probability) & better & (walkers.rounds == 0)

    def taken(new: Array, old: Array) -> Array:
        return jnp.where(jump.reshape((-1,) + (1,) * (old.ndim - 1)), new[place], old)

    log_prior = 0.5 * (hiscores.score - hiscores.z_squared)
    return walkers._replace(
        point=jax.tree.map(taken, hiscores.points, walkers.point),
        score=taken(hiscores.score, walkers.score),
        z_squared=taken(hiscores.z_squared, walkers.z_squared),
        mu_hat=taken(hiscores.mu_hat, walkers.mu_hat),
        r_max=taken(hiscores.r_max, walkers.r_max),
        log_prior=taken(log_prior, walkers.log_prior),
    )
