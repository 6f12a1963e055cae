r"""Moves at fixed content: trajectories along the gradient of the guide.

The leapfrog with any gradient field is reversible and keeps volume, so that a Metropolis test
with the true density makes every kernel here exact: the guide only has to be close. Coordinates
not in use have no momentum and stay where they are. With M the (diagonal) mass matrix, p the
momentum and the tilde for the end of a trajectory,

$$ \ln a = \ln \pi(\tilde u) - \ln \pi(u) + \tfrac12 p^T M^{-1} p
   - \tfrac12 \tilde p^T M^{-1} \tilde p. $$

References:
    R. M. Neal, Handbook of Markov Chain Monte Carlo (2011), chapter 5; section 5.5 for forces
    that are not the gradient of the energy.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.moves import Candidate, decide
from walkers.posterior.target import AbstractProductTarget, ChainState

JITTER = (0.5, 1.2)
"""Range of the uniform factor of each trajectory's step: no orbit closes on itself."""


class Tuning(NamedTuple):
    """What warm-up adapts; frozen afterwards, and never part of exactness.

    Attributes:
        step_size: Of the leapfrog, in units of the square root of `inverse_mass`.
        inverse_mass: Variances of the coordinates.
    """

    step_size: Scalar
    inverse_mass: Float[Array, " parameter"]


class TrajectoryInfo(NamedTuple):
    """What one trajectory did.

    Attributes:
        accepted: The chain moved.
        statistic: Between 0 and 1, smaller for larger steps: what warm-up tunes the step by.
        moved: Something was in use; otherwise the other numbers mean nothing.
        gradients: Evaluations of the guide with its gradient.
    """

    accepted: Bool[Array, ""]
    statistic: Scalar
    moved: Bool[Array, ""]
    gradients: Int[Array, ""]


class Phase(NamedTuple):
    """A point in phase space.

    Attributes:
        vector: Coordinates.
        momentum: Zero out of use.
        slope: Gradient of the guide's log-density; zero out of use.
        log_density: Of the guide: guide less half the squares of the coordinates in use.
    """

    vector: Float[Array, " parameter"]
    momentum: Float[Array, " parameter"]
    slope: Float[Array, " parameter"]
    log_density: Scalar


GuideFn = Callable[[Float[Array, " parameter"]], tuple[Scalar, Float[Array, " parameter"]]]


def guide_fn(target: AbstractProductTarget, bits: Bool[Array, " bit"]) -> GuideFn:
    """The guide's log-density of the coordinates in use, and its gradient."""
    used = target.in_use(bits)

    def log_density(vector: Float[Array, " parameter"]) -> Scalar:
        squares = jnp.where(used, vector**2, 0.0)
        return target.guide(bits, vector) - 0.5 * jnp.sum(squares)

    def value_and_slope(vector):
        value, slope = jax.value_and_grad(log_density)(vector)
        return value, jnp.where(used, slope, 0.0)

    return value_and_slope


def integrate(
    value_and_slope: GuideFn,
    start: Phase,
    step_size: Scalar,
    inverse_mass: Float[Array, " parameter"],
    num_leapfrogs: int,
) -> Phase:
    """Leapfrogs from a point in phase space."""

    def leapfrog(_: int, here: Phase) -> Phase:
        half = here.momentum + 0.5 * step_size * here.slope
        vector = here.vector + step_size * inverse_mass * half
        value, slope = value_and_slope(vector)
        return Phase(vector, half + 0.5 * step_size * slope, slope, value)

    return jax.lax.fori_loop(0, num_leapfrogs, leapfrog, start)


def kinetic(momentum: Float[Array, " parameter"], inverse_mass: Float[Array, " parameter"]):
    """Kinetic energy."""
    return 0.5 * jnp.sum(inverse_mass * momentum**2)


def begin(
    key: Key[Array, ""],
    value_and_slope: GuideFn,
    used: Bool[Array, " parameter"],
    vector: Float[Array, " parameter"],
    inverse_mass: Float[Array, " parameter"],
) -> Phase:
    """Here, with a momentum drawn for the coordinates in use."""
    noise = jax.random.normal(key, vector.shape, vector.dtype)
    value, slope = value_and_slope(vector)
    return Phase(vector, jnp.where(used, noise / jnp.sqrt(inverse_mass), 0.0), slope, value)


class AbstractTrajectory(eqx.Module):
    """A kernel that moves the coordinates in use and leaves the bits alone.

    Attributes:
        target_statistic: Mean of `TrajectoryInfo.statistic` that warm-up aims at.
    """

    target_statistic: eqx.AbstractVar[float]

    @abstractmethod
    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> tuple[ChainState, TrajectoryInfo]:
        """One trajectory and its Metropolis test."""


class HMC(AbstractTrajectory):
    """A fixed number of leapfrogs with a step of random size.

    Attributes:
        num_leapfrogs: Per trajectory.
    """

    num_leapfrogs: int = eqx.field(static=True, default=8)
    target_statistic: float = eqx.field(static=True, default=0.8)

    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> tuple[ChainState, TrajectoryInfo]:
        """One trajectory and its Metropolis test."""
        draw, jitter, accept = jax.random.split(key, 3)
        used = target.in_use(state.bits)
        value_and_slope = guide_fn(target, state.bits)
        start = begin(draw, value_and_slope, used, state.vector, tuning.inverse_mass)
        step_size = tuning.step_size * _jitter(jitter, tuning.step_size)
        end = integrate(value_and_slope, start, step_size, tuning.inverse_mass, self.num_leapfrogs)
        log_ratio = _kinetic_change(start, end, tuning)
        candidate = Candidate(state.bits, end.vector, log_ratio)
        state, info = decide(accept, target, state, candidate)
        gradients = jnp.asarray(self.num_leapfrogs + 1, jnp.int32)
        return state, TrajectoryInfo(info.accepted, info.probability, jnp.any(used), gradients)


class GIST(AbstractTrajectory):
    r"""Leapfrogs whose step is halved until the energy holds, undone exactly by a check.

    From $(u, p)$, trajectories with steps $\epsilon 2^{-j}$, j = 0, 1, ..., are tried until one
    changes the guide's energy by less than `tolerance`. That one is proposed; if the same rule
    from its end, with the momentum reversed, chooses another step, it is rejected. The step is
    then a deterministic auxiliary variable with the same value at both ends, a special case
    of Gibbs self-tuning. A step that is accepted at once needs no check: the
    trajectory back is the same one. Contents of very different scale share one step size.

    Attributes:
        num_leapfrogs: Per trajectory.
        num_halvings: Most halvings; where none is enough the chain stays.
        tolerance: Largest change of energy.

    References:
        N. Bou-Rabee, B. Carpenter, M. Marsden, arXiv:2404.15253: Gibbs self-tuning, theorem 2.
        N. Bou-Rabee, B. Carpenter, T. S. Kleppe, S. Liu, arXiv:2408.08259: of the step size.
    """

    num_leapfrogs: int = eqx.field(static=True, default=8)
    num_halvings: int = eqx.field(static=True, default=10)
    tolerance: float = eqx.field(static=True, default=1.0)
    target_statistic: float = eqx.field(static=True, default=0.8)

    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> tuple[ChainState, TrajectoryInfo]:
        """One self-tuned trajectory and its Metropolis test."""
        draw, jitter, accept = jax.random.split(key, 3)
        used = target.in_use(state.bits)
        value_and_slope = guide_fn(target, state.bits)
        start = begin(draw, value_and_slope, used, state.vector, tuning.inverse_mass)
        step_size = tuning.step_size * _jitter(jitter, tuning.step_size)

        def attempt(origin: Phase, level: Int[Array, ""]) -> tuple[Phase, Bool[Array, ""]]:
            end = integrate(
                value_and_slope,
                origin,
                step_size * jnp.exp2(-level.astype(step_size.dtype)),
                tuning.inverse_mass,
                self.num_leapfrogs,
            )
            change = end.log_density - origin.log_density + _kinetic_change(origin, end, tuning)
            return end, jnp.abs(change) < self.tolerance

        end, tried, found = _first_level(attempt, start, self.num_halvings + 1)
        # Larger steps must fail from the other end as well; the chosen one cannot.
        turned = end._replace(momentum=-end.momentum)
        _, checked, shorter = _first_level(attempt, turned, jnp.where(found, tried - 1, 0))
        log_ratio = jnp.where(found & ~shorter, _kinetic_change(start, end, tuning), -jnp.inf)
        vector = jnp.where(found, end.vector, state.vector)
        candidate = Candidate(state.bits, vector, log_ratio)
        state, info = decide(accept, target, state, candidate)
        gradients = 1 + self.num_leapfrogs * (tried + checked)
        at_once = (found & (tried == 1)).astype(log_ratio.dtype)
        return state, TrajectoryInfo(info.accepted, at_once, jnp.any(used), gradients)


def _first_level(
    attempt: Callable[[Phase, Int[Array, ""]], tuple[Phase, Bool[Array, ""]]],
    origin: Phase,
    most: int | Int[Array, ""],
) -> tuple[Phase, Int[Array, ""], Bool[Array, ""]]:
    """The first attempt that succeeds, how many were made, and whether one did."""
    none = (origin, jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def go_on(carry):
        _, tried, found = carry
        return ~found & (tried < most)

    def body(carry):
        _, tried, _ = carry
        end, found = attempt(origin, tried)
        return end, tried + 1, found

    return jax.lax.while_loop(go_on, body, none)


def _kinetic_change(start: Phase, end: Phase, tuning: Tuning) -> Scalar:
    """Kinetic energy at the start less that at the end."""
    inverse_mass = tuning.inverse_mass
    return kinetic(start.momentum, inverse_mass) - kinetic(end.momentum, inverse_mass)


def _jitter(key: Key[Array, ""], like: Scalar) -> Scalar:
    """A random factor of the step size."""
    return jax.random.uniform(key, (), like.dtype, *JITTER)


def initial_tuning(num_parameters: int) -> Tuning:
    """Steps for a posterior somewhat narrower than the prior."""
    # A quarter of the limit of stability, 2, divided by the fourth root of the dimension.
    step_size = 0.5 * max(num_parameters, 1) ** -0.25
    return Tuning(jnp.asarray(step_size, dtype=float), jnp.ones(num_parameters))
