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
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.moves import Candidate, MoveInfo, decide
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
    """What trajectories did: one, or several in a sum.

    Attributes:
        accepted: The chain moved.
        statistic: Between 0 and 1, smaller for larger steps: what warm-up tunes the step by.
        moved: Something was in use; otherwise the other numbers are zero.
        gradients: Evaluations of the guide with its gradient.
    """

    accepted: Int[Array, ""]
    statistic: Scalar
    moved: Int[Array, ""]
    gradients: Int[Array, ""]


class Flight(NamedTuple):
    """A trajectory that has not been decided on.

    Attributes:
        candidate: Its end.
        statistic: See `TrajectoryInfo`; `nan` for the probability of acceptance.
        gradients: Evaluations of the guide with its gradient.
    """

    candidate: Candidate
    statistic: Scalar
    gradients: Int[Array, ""]


class Path(NamedTuple):
    """A trajectory: its end in phase space, and what its length cost.

    Attributes:
        vector: Coordinates at the end.
        momentum: There; zero out of use.
        gain: ln of the guide's density in phase space, end less start.
        kinetic_loss: Kinetic energy, start less end.
    """

    vector: Float[Array, " parameter"]
    momentum: Float[Array, " parameter"]
    gain: Scalar
    kinetic_loss: Scalar


class _Phase(NamedTuple):
    """A point on a path; `slope` is the gradient of `log_density`, zero out of use."""

    vector: Float[Array, " parameter"]
    momentum: Float[Array, " parameter"]
    slope: Float[Array, " parameter"]
    log_density: Scalar
    first: Scalar


def integrate(
    target: AbstractProductTarget,
    bits: Bool[Array, " bit"],
    vector: Float[Array, " parameter"],
    momentum: Float[Array, " parameter"],
    step_size: Scalar,
    inverse_mass: Float[Array, " parameter"],
    num_leapfrogs: int,
) -> Path:
    """Leapfrogs along the gradient of the guide; coordinates out of use stay.

    Args:
        target: Gives the guide.
        bits: Content; stays.
        vector: Where to start.
        momentum: Zero out of use.
        step_size: Of each leapfrog.
        inverse_mass: Diagonal of the inverse of the mass matrix.
        num_leapfrogs: Their number, which costs one gradient more.
    """
    used = target.in_use(bits)

    def log_density(vector: Float[Array, " parameter"]) -> Scalar:
        return target.guide(bits, vector) - 0.5 * jnp.sum(jnp.where(used, vector**2, 0.0))

    def leapfrog(index: int, here: _Phase) -> _Phase:
        # The first has no length and only finds the slope: the program holds one gradient.
        step = jnp.where(index == 0, 0.0, step_size)
        half = here.momentum + 0.5 * step * here.slope
        vector = here.vector + step * inverse_mass * half
        value, slope = jax.value_and_grad(log_density)(vector)
        slope = jnp.where(used, slope, 0.0)
        first = jnp.where(index == 0, value, here.first)
        return _Phase(vector, half + 0.5 * step * slope, slope, value, first)

    none = jnp.zeros_like(step_size)
    start = _Phase(vector, momentum, jnp.zeros_like(vector), none, none)
    end = jax.lax.fori_loop(0, num_leapfrogs + 1, leapfrog, start)
    loss = kinetic(momentum, inverse_mass) - kinetic(end.momentum, inverse_mass)
    return Path(end.vector, end.momentum, end.log_density - end.first + loss, loss)


def kinetic(
    momentum: Float[Array, " parameter"], inverse_mass: Float[Array, " parameter"]
) -> Scalar:
    """Kinetic energy."""
    return 0.5 * jnp.sum(inverse_mass * momentum**2)


def draw_momentum(
    key: Key[Array, ""],
    used: Bool[Array, " parameter"],
    inverse_mass: Float[Array, " parameter"],
) -> Float[Array, " parameter"]:
    """Momenta of the coordinates in use."""
    noise = jax.random.normal(key, inverse_mass.shape, inverse_mass.dtype)
    return jnp.where(used, noise / jnp.sqrt(inverse_mass), 0.0)


class AbstractTrajectory(eqx.Module):
    """A kernel that moves the coordinates in use and leaves the bits alone.

    Attributes:
        target_statistic: Mean of `TrajectoryInfo.statistic` that warm-up aims at.
    """

    target_statistic: eqx.AbstractVar[float]

    @abstractmethod
    def flight(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> Flight:
        """One trajectory; the likelihood at its end is not evaluated here."""

    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> tuple[ChainState, TrajectoryInfo]:
        """One trajectory and its Metropolis test."""
        fly, accept = jax.random.split(key)
        flight = self.flight(fly, target, state, tuning)
        moved = jnp.any(target.in_use(state.bits))
        state, info = decide(accept, target, state, flight.candidate)
        return state, landed(flight, info, moved)


def landed(flight: Flight, info: MoveInfo, moved: Bool[Array, ""]) -> TrajectoryInfo:
    """What a trajectory did, once it has been decided on.

    Args:
        flight: The trajectory.
        info: What became of its end.
        moved: It was one, and something was in use.
    """
    tuned = jnp.where(jnp.isnan(flight.statistic), info.probability, flight.statistic)
    return TrajectoryInfo(
        (info.accepted & moved).astype(jnp.int32),
        jnp.where(moved, tuned, 0.0),
        moved.astype(jnp.int32),
        jnp.where(moved, flight.gradients, 0).astype(jnp.int32),
    )


class HMC(AbstractTrajectory):
    """A fixed number of leapfrogs with a step of random size.

    Attributes:
        num_leapfrogs: Per trajectory.
    """

    num_leapfrogs: int = eqx.field(static=True, default=4)
    target_statistic: float = eqx.field(static=True, default=0.8)

    def flight(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> Flight:
        """As many leapfrogs as always."""
        draw, jitter = jax.random.split(key)
        used = target.in_use(state.bits)
        path = integrate(
            target,
            state.bits,
            state.vector,
            draw_momentum(draw, used, tuning.inverse_mass),
            tuning.step_size * _jitter(jitter, tuning.step_size),
            tuning.inverse_mass,
            self.num_leapfrogs,
        )
        candidate = Candidate(state.bits, path.vector, path.kinetic_loss)
        unknown = jnp.full_like(path.kinetic_loss, jnp.nan)
        return Flight(candidate, unknown, jnp.asarray(self.num_leapfrogs + 1, jnp.int32))


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

    num_leapfrogs: int = eqx.field(static=True, default=4)
    num_halvings: int = eqx.field(static=True, default=10)
    tolerance: float = eqx.field(static=True, default=1.0)
    target_statistic: float = eqx.field(static=True, default=0.8)

    def flight(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> Flight:
        """One self-tuned trajectory."""
        draw, jitter = jax.random.split(key)
        used = target.in_use(state.bits)
        momentum = draw_momentum(draw, used, tuning.inverse_mass)
        largest = tuning.step_size * _jitter(jitter, tuning.step_size)

        def shorten(carry: tuple[Array, Array, Array], _: None):
            """The first of at most so many attempts that holds the energy."""
            vector, momentum, most = carry

            def attempt(carry: tuple[Path, Array, Array]) -> tuple[Path, Array, Array]:
                tried = carry[1]
                path = integrate(
                    target,
                    state.bits,
                    vector,
                    momentum,
                    largest * jnp.exp2(-tried.astype(largest.dtype)),
                    tuning.inverse_mass,
                    self.num_leapfrogs,
                )
                return path, tried + 1, jnp.abs(path.gain) < self.tolerance

            none = jnp.zeros_like(largest)
            path, tried, found = jax.lax.while_loop(
                lambda carry: ~carry[2] & (carry[1] < most),
                attempt,
                (Path(vector, momentum, none, none), jnp.zeros_like(most), jnp.zeros((), bool)),
            )
            # From the other end, the larger steps must fail; the chosen one cannot.
            back = (path.vector, -path.momentum, jnp.where(found, tried - 1, 0))
            return back, (path, tried, found)

        forth = (state.vector, momentum, jnp.asarray(self.num_halvings + 1, jnp.int32))
        _, (paths, tried, found) = jax.lax.scan(shorten, forth, None, length=2)
        path = jax.tree.map(lambda leaf: leaf[0], paths)
        log_ratio = jnp.where(_reversible(found), path.kinetic_loss, -jnp.inf)
        vector = jnp.where(found[0], path.vector, state.vector)
        gradients = (self.num_leapfrogs + 1) * jnp.sum(tried, dtype=jnp.int32)
        at_once = (found[0] & (tried[0] == 1)).astype(log_ratio.dtype)
        return Flight(Candidate(state.bits, vector, log_ratio), at_once, gradients)


class Standing(AbstractTrajectory):
    """No trajectory, for kernels of moves alone: no gradient is compiled."""

    target_statistic: float = eqx.field(static=True, default=0.8)

    def flight(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> Flight:
        """Where the chain stands."""
        del key, target
        none = jnp.zeros_like(tuning.step_size)
        return Flight(Candidate(state.bits, state.vector, none), none, jnp.zeros((), jnp.int32))


def _reversible(found: Bool[Array, "2"]) -> Bool[Array, ""]:
    """A step was found, and from the other end no larger one."""
    return found[0] & ~found[1]


def _jitter(key: Key[Array, ""], like: Scalar) -> Scalar:
    """A random factor of the step size."""
    return jax.random.uniform(key, (), like.dtype, *JITTER)


def initial_tuning(num_parameters: int) -> Tuning:
    """Steps for a posterior somewhat narrower than the prior."""
    # A quarter of the limit of stability, 2, divided by the fourth root of the dimension.
    step_size = 0.5 * max(num_parameters, 1) ** -0.25
    return Tuning(jnp.asarray(step_size, dtype=float), jnp.ones(num_parameters))
