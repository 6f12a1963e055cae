r"""Warm-up: what is learned from the chains before the draws that count, then frozen.

Three things are learned, none of which exactness depends on: the step size of trajectories, their
metric, and the Gaussians that coordinates are drawn from when they come into use. Metric
and Gaussians are moments of each coordinate over the draws in which it was in use,
pooled over contents: one set serves all of them.

References:
    M. D. Hoffman, A. Gelman, J. Mach. Learn. Res. 15 (2014) 1593, section 3.2: dual averaging.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.kernel import Kernel, chain_key
from walkers.posterior.proposals import Gaussian, Mixture
from walkers.posterior.target import AbstractProductTarget, ChainState
from walkers.posterior.trajectories import TrajectoryInfo

SHRINKAGE, DELAY, DECAY = 0.05, 10.0, 0.75
"""gamma, t_0 and kappa of dual averaging, as in the reference."""

PRIOR_DRAWS = 20.0
"""Draws from N(0, 1) added to those of each coordinate, which may have been few or none."""


TUNING_RATE = 1.5
"""Change of ln(step size) per unit of acceptance missed, per block of draws."""


class Averaging(NamedTuple):
    """State of dual averaging of the logarithm of the step size.

    Attributes:
        log_step: Step of the next sweep.
        log_average: Step to keep.
        error: Mean shortfall of the statistic.
        count: Updates done.
        centre: Where `log_step` is pulled to.
    """

    log_step: Scalar
    log_average: Scalar
    error: Scalar
    count: Scalar
    centre: Scalar


class Moments(NamedTuple):
    """Sums over draws in which a coordinate was in use.

    Attributes:
        count: Such draws.
        total: Sum of the coordinate.
        squares: Sum of its square.
    """

    count: Float[Array, " parameter"]
    total: Float[Array, " parameter"]
    squares: Float[Array, " parameter"]


class WarmUp(NamedTuple):
    """A kernel that is ready, and chains that have moved.

    Attributes:
        kernel: With everything learned; does not change any more.
        states: Where the chains stand.
        num_sweeps: Sweeps done: where `run_chains` starts counting with the same key.
    """

    kernel: Kernel
    states: ChainState
    num_sweeps: int


def warm_up(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    *,
    num_rounds: int = 5,
    num_sweeps: int = 200,
) -> WarmUp:
    """Run chains and learn from them.

    The metric and the Gaussians change between rounds, the step size after every sweep. The
    last round keeps the metric, because the step size belongs to it. What is learned
    depends on all chains together.

    Args:
        key: Random key.
        kernel: Where to start; its `auxiliary.entering` is fitted if it is a `Mixture`.
        states: Where the chains start, stacked.
        num_rounds: Rounds; compiled once for all.
        num_sweeps: Sweeps of each chain per round.
    """
    for index in range(num_rounds):
        averaging = begin_averaging(kernel.tuning.step_size)
        first = jnp.asarray(index * num_sweeps, jnp.int32)
        states, averaging, moments = _round(key, kernel, states, averaging, first, num_sweeps)
        step_size = jnp.exp(averaging.log_average)
        kernel = eqx.tree_at(lambda k: k.tuning.step_size, kernel, step_size)
        kernel = refitted(kernel, moments, metric=index < num_rounds - 1)
    return WarmUp(kernel, states, num_rounds * num_sweeps)


@eqx.filter_jit
def _round(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    averaging: Averaging,
    first: Int[Array, ""],
    num_sweeps: int,
) -> tuple[ChainState, Averaging, Moments]:
    """One round with a fixed metric and fixed Gaussians."""
    chains = jnp.arange(states.log_likelihood.shape[0])

    def sweep(carry, step):
        here, average, sums = carry
        tuned = eqx.tree_at(lambda k: k.tuning.step_size, kernel, jnp.exp(average.log_step))
        keys = jax.vmap(chain_key, (None, 0, None))(key, chains, step)
        here, info = jax.vmap(tuned.sweep, (0, 0, None))(keys, here, step)
        average = updated(
            average,
            info.trajectory.statistic,
            info.trajectory.moved,
            kernel.trajectory.target_statistic,
        )
        sums = jax.tree.map(jnp.add, sums, moments_of(kernel.target, here.bits, here.vector))
        return (here, average, sums), None

    zeros = jnp.zeros_like(states.vector[0])
    steps = first + jnp.arange(num_sweeps, dtype=jnp.int32)
    carry, _ = jax.lax.scan(sweep, (states, averaging, Moments(zeros, zeros, zeros)), steps)
    return carry


def begin_averaging(step_size: Scalar) -> Averaging:
    """Dual averaging that starts at a step size and first tries larger ones."""
    log_step, none = jnp.log(step_size), jnp.zeros_like(step_size)
    return Averaging(log_step, log_step, none, none, log_step + jnp.log(10.0))


def updated(
    averaging: Averaging,
    statistic: Float[Array, " chain"],
    counted: Int[Array, " chain"],
    wanted: float,
) -> Averaging:
    """One update with the mean over all trajectories; none if there was none.

    Args:
        averaging: So far.
        statistic: Falls with the step size; a sum over the trajectories of each chain.
        counted: Trajectories of each chain.
        wanted: Mean of the statistic to aim at.
    """
    mean = jnp.sum(jnp.where(counted > 0, statistic, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
    count = averaging.count + 1
    weight = 1 / (count + DELAY)
    error = (1 - weight) * averaging.error + weight * (wanted - mean)
    log_step = averaging.centre - jnp.sqrt(count) / SHRINKAGE * error
    part = count**-DECAY
    log_average = part * log_step + (1 - part) * averaging.log_average
    new = Averaging(log_step, log_average, error, count, averaging.centre)
    return jax.tree.map(lambda a, b: jnp.where(jnp.any(counted > 0), a, b), new, averaging)


def moments_of(
    target: AbstractProductTarget,
    bits: Bool[Array, "draw bit"],
    vectors: Float[Array, "draw parameter"],
) -> Moments:
    """Sums over draws."""
    used = jax.vmap(target.in_use)(bits)
    values = jnp.where(used, vectors, 0.0)
    count = jnp.sum(used, axis=0).astype(values.dtype)
    return Moments(count, jnp.sum(values, axis=0), jnp.sum(values**2, axis=0))


def refitted(kernel: Kernel, moments: Moments, *, metric: bool = True) -> Kernel:
    """The kernel with Gaussians, and if asked for the metric, from moments.

    Args:
        kernel: To change; its `auxiliary.entering` stays unless it is a `Mixture`.
        moments: Of each coordinate in use.
        metric: Whether the metric of trajectories changes, too.
    """
    count = moments.count + PRIOR_DRAWS
    mean = moments.total / count
    variance = (moments.squares + PRIOR_DRAWS) / count - mean**2
    if isinstance(kernel.auxiliary.entering, Mixture):
        fitted = Gaussian(mean, jnp.sqrt(variance))
        kernel = eqx.tree_at(lambda k: k.auxiliary.entering.fitted, kernel, fitted)
    if metric:
        kernel = eqx.tree_at(lambda k: k.tuning.inverse_mass, kernel, variance)
    return kernel


def learned(
    kernel: Kernel,
    bits: Bool[Array, "chain draw bit"],
    vectors: Float[Array, "chain draw parameter"],
    trajectories: TrajectoryInfo,
) -> Kernel:
    """Metric and Gaussians from a block of draws, the step size from its trajectories.

    Args:
        kernel: That made the draws.
        bits: Contents.
        vectors: Coordinates.
        trajectories: Sums over the sweeps of the block, per chain.
    """
    size = vectors.shape[-1]
    moments = moments_of(kernel.target, bits.reshape(-1, size), vectors.reshape(-1, size))
    kernel = refitted(kernel, moments)
    moved = jnp.sum(trajectories.moved)
    mean = jnp.sum(trajectories.statistic) / jnp.maximum(moved, 1)
    change = jnp.exp(TUNING_RATE * (mean - kernel.trajectory.target_statistic))
    step = kernel.tuning.step_size * jnp.where(moved > 0, change, 1.0)
    return eqx.tree_at(lambda k: k.tuning.step_size, kernel, step)
