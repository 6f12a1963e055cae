"""Gradient ascent of the score at fixed content.

The objective is K with a prior without steps; its gradient in masses, branching ratios
and signal strengths is exact almost everywhere, since regions, combination and mu-hat
sit at their optimum (envelope theorem). A step counts only if the exact K rises.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.engine import Engine
from jaxlik.fit.config import SearchConfig
from jaxlik.physics.kinematics import branching_sums, existing_productions, open_channels
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import SAME_BRANCHING_RATIO, SAME_SIGNAL_STRENGTH
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from walkers.devices import as_copies, in_turn
from walkers.moves.settle import is_valid
from walkers.state import WalkerState, lonely_point
from walkers.step import default_chunk, joined, rescale, sliced
from walkers.target import AbstractTarget, as_target

MASS_UNIT = 50.0
"""GeV; change of a mass that counts as much as a factor e in a signal strength."""

FIRST_STEP = 0.5
"""Length of the first step in those units, along the coordinate with the largest slope."""

GROWTH, SHRINKAGE = 1.5, 0.3
"""Factors on the step length after a success and after a failure."""

FIRST_MASS = 200.0
"""GeV; of the LBP at which ascents are compiled."""

MAX_LOGARITHM = 11.0
"""Largest |ln kappa|; beyond the cap of signal strengths nothing changes."""


class Coordinates(NamedTuple):
    """Unconstrained coordinates of a model at fixed content."""

    masses: Float[Array, " particle"]
    logits: Float[Array, " channel"]
    log_strengths: Float[Array, " production"]


class Ascent(NamedTuple):
    """Where an ascent ended.

    Attributes:
        point: The best model met.
        score: Its K, at the signal strength `mu_hat`.
        mu_hat: Best signal strength.
        start: K at the start.
    """

    point: ModelPoint
    score: Scalar
    mu_hat: Scalar
    start: Scalar


class _Carry(NamedTuple):
    best: Coordinates
    trial: Coordinates
    slope: Coordinates
    score: Scalar
    mu_hat: Scalar
    length: Scalar
    start: Scalar


def coordinates_of(space: ModelSpace, point: ModelPoint) -> Coordinates:
    """Coordinates of a model: masses in `MASS_UNIT`, logarithms of the rest."""
    fractions, strengths = point.branching_ratios, point.signal_strengths
    del space
    return Coordinates(
        point.masses / MASS_UNIT,
        jnp.log(jnp.where(fractions > 0, fractions, 1.0)),
        jnp.log(jnp.where(strengths > 0, strengths, 1.0)),
    )


def point_at(space: ModelSpace, origin: ModelPoint, where: Coordinates) -> ModelPoint:
    """The model at coordinates; what `origin` lacks or has switched off stays so."""
    used = (origin.branching_ratios > 0) & open_channels(space, origin)
    weight = jnp.where(used, jnp.exp(where.logits), 0.0)
    total = branching_sums(space, weight)
    scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1.0), 0.0)
    logs = jnp.clip(where.log_strengths, -MAX_LOGARITHM, MAX_LOGARITHM)
    on = existing_productions(space, origin) & (origin.signal_strengths > 0)
    return ModelPoint(
        jnp.where(origin.active, where.masses * MASS_UNIT, origin.masses),
        origin.active,
        weight * scale[space.channel_parent],
        jnp.where(on, jnp.exp(logs), origin.signal_strengths),
    )


def ascend_one(
    target: AbstractTarget, point: ModelPoint, num_steps: int, max_particles: int
) -> Ascent:
    """Climb from one model by normalised gradient steps with backtracking.

    Equal branching ratios and equal signal strengths move together, since the prior
    charges every distinct one.

    Args:
        target: The score.
        point: Start.
        num_steps: Steps, each one evaluation with gradient.
        max_particles: Particles a model may have.
    """
    space = target.space
    origin = coordinates_of(space, point)
    ties = _ties(space, point)

    def objective(where: Coordinates):
        return target.smooth(point_at(space, point, where))

    def climb(carry: _Carry, first: Bool[Array, ""]) -> tuple[_Carry, None]:
        (_, outcome), slope = jax.value_and_grad(objective, has_aux=True)(carry.trial)
        valid = is_valid(space, point_at(space, point, carry.trial), max_particles)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in slope]))
        usable = valid & finite & ~outcome.overflow
        better = usable & (outcome.score > carry.score)

        def taken(new: Array, old: Array) -> Array:
            return jnp.where(better, new, old)

        best = jax.tree.map(taken, carry.trial, carry.best)
        slope = jax.tree.map(taken, _together(slope, ties), carry.slope)
        factor = jnp.where(first, 1.0, jnp.where(better, GROWTH, SHRINKAGE))
        length = carry.length * factor
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in slope]))
        scale = length / jnp.where(largest > 0, largest, 1.0)
        trial = jax.tree.map(lambda x, g: x + scale * g, best, slope)
        start = jnp.where(first, outcome.score, carry.start)
        score, mu_hat = taken(outcome.score, carry.score), taken(outcome.mu_hat, carry.mu_hat)
        return _Carry(best, trial, slope, score, mu_hat, length, start), None

    low = jnp.asarray(-jnp.inf)
    flat = jax.tree.map(jnp.zeros_like, origin)
    carry = _Carry(origin, origin, flat, low, jnp.zeros(()), jnp.asarray(FIRST_STEP), low)
    carry, _ = jax.lax.scan(climb, carry, jnp.arange(num_steps + 1) == 0)
    return Ascent(point_at(space, point, carry.best), carry.score, carry.mu_hat, carry.start)


@eqx.filter_jit
def ascend_chunk(
    target: AbstractTarget, points: ModelPoint, num_steps: int, max_particles: int
) -> Ascent:
    """Climb from a few models at once; see `ascend_one`."""
    return jax.vmap(lambda point: ascend_one(target, point, num_steps, max_particles))(points)


def compile_ascent(engine: Engine | AbstractTarget, config: SearchConfig) -> None:
    """Compile what `ascend` of a search calls, without a result."""
    target = as_target(engine)
    chunk = min(config.chunk or default_chunk(config.walkers), config.walkers)
    masses = jnp.full(chunk, FIRST_MASS)
    points = jax.vmap(lambda mass: lonely_point(target.space, mass))(masses)
    ascend_chunk(target, points, config.gradient_steps, config.max_particles)


def ascend(
    target: AbstractTarget | tuple[AbstractTarget, ...],
    walkers: WalkerState,
    kind: int,
    *,
    chunk: int,
    num_steps: int,
    max_particles: int,
) -> tuple[WalkerState, Int[Array, ""]]:
    """Let every walker climb; what rises becomes its pending proposal.

    The next ordinary step evaluates it in the gauge mu = 1 and accepts it only if K
    has risen there.

    Args:
        target: The score, or one copy per device (`walkers.devices.copies`).
        walkers: Where the walkers are; those that wait or see nothing do not climb.
        kind: Number that stands for an ascent among the moves.
        chunk: Walkers per compiled call.
        num_steps: Steps of the ascent.
        max_particles: Particles a model may have.

    Returns:
        The walkers, and the number of ascents tried.
    """

    def climb(target: AbstractTarget, points: ModelPoint) -> Ascent:
        return ascend_chunk(target, points, num_steps, max_particles)

    found = in_turn(climb, as_copies(target), [(part,) for part in sliced(walkers.point, chunk)])
    return _pending(walkers, found, jnp.asarray(kind, dtype=walkers.kind.dtype))


@eqx.filter_jit
def _pending(
    walkers: WalkerState, found: tuple[Ascent, ...], kind: Int[Array, ""]
) -> tuple[WalkerState, Int[Array, ""]]:
    ascent = joined(found, walkers.score.shape[0])
    able = (walkers.rounds == 0) & (walkers.score > -jnp.inf)
    risen = able & (ascent.score > walkers.score)
    points = rescale(ascent.point, jnp.where(ascent.mu_hat > 0, ascent.mu_hat, 1.0))

    def taken(new: Array, old: Array) -> Array:
        return jnp.where(risen.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    waiting = walkers._replace(
        pending=jax.tree.map(taken, points, walkers.pending),
        rounds=jnp.where(risen, 1, walkers.rounds),
        # ln(draw) = 0: nothing but a rise is accepted.
        draw=jnp.where(risen, 1.0, walkers.draw),
        kind=jnp.where(risen, kind, walkers.kind),
    )
    return waiting, jnp.sum(able).astype(jnp.int32)


def _ties(
    space: ModelSpace, point: ModelPoint
) -> tuple[Bool[Array, "channel channel"], Bool[Array, "production production"]]:
    """Which branching ratios and which signal strengths the prior counts as equal."""

    def equal(values: Array, tolerance: float) -> Array:
        gap = jnp.abs(values[:, None] - values[None, :])
        return gap <= tolerance * (values[:, None] + values[None, :])

    fractions, strengths = point.branching_ratios, point.signal_strengths
    used = fractions > 0
    on = existing_productions(space, point) & (strengths > 0)
    mother = space.channel_parent
    siblings = (mother[:, None] == mother[None, :]) & used[:, None] & used[None, :]
    channels = siblings & equal(fractions, SAME_BRANCHING_RATIO)
    modes = equal(strengths, SAME_SIGNAL_STRENGTH / 2) & on[:, None] & on[None, :]
    return channels, modes


def _together(slope: Coordinates, ties: tuple[Array, Array]) -> Coordinates:
    """The slope along directions in which equal entries stay equal."""
    channels, modes = (tie.astype(slope.masses.dtype) for tie in ties)
    return Coordinates(slope.masses, channels @ slope.logits, modes @ slope.log_strengths)
