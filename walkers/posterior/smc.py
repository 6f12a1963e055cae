r"""Reversible-jump sequential Monte Carlo: all contents at once, and the evidence.

Particles start as exact draws from the prior and follow $p(\gamma) N(u) L^\beta$ from $\beta = 0$
to 1. Each level takes the next power from the effective number of particles, reweights,
resamples, and moves every particle with the kernel of the chains at that power. The mean weights
multiply up to the evidence; no burn-in is needed, and particles may start chains.

References:
    P. Del Moral, A. Doucet, A. Jasra, J. R. Stat. Soc. B 68 (2006) 411, section 3.
    Y. Zhou, A. M. Johansen, J. A. D. Aston, J. Comput. Graph. Stat. 25 (2016) 701: model choice,
    and adaptation from the particles.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.kernel import Kernel, chain_key
from walkers.posterior.target import ChainState, Tempered, state_at
from walkers.posterior.warmup import moments_of, refitted

NUM_BISECTIONS = 50
"""Halvings of the interval of powers: double precision holds no more."""


class Evidence(NamedTuple):
    """What sequential Monte Carlo found.

    Attributes:
        states: Particles, equally weighted draws of the posterior.
        kernel: Adapted to the last level.
        log_evidence: ln of the likelihood's mean over the prior, all contents together.
        error: Standard deviation of that, as if particles were independent: a lower bound. The
            spread of several runs is the honest one.
        temperatures: Powers of the likelihood, from the first above 0 up to 1.
        acceptance: Of each move, per level.
    """

    states: ChainState
    kernel: Kernel
    log_evidence: float
    error: float
    temperatures: Float[np.ndarray, " level"]
    acceptance: Float[np.ndarray, "level move"]


class Contents(NamedTuple):
    """Contents among particles or draws, the most frequent first.

    Attributes:
        bits: Distinct contents.
        fraction: Of the particles: posterior probability.
        log_evidence: ln p(bits) Z(bits), with normalised p: contributions to ln Z.
    """

    bits: Bool[np.ndarray, "content bit"]
    fraction: Float[np.ndarray, " content"]
    log_evidence: Float[np.ndarray, " content"]


class Level(NamedTuple):
    """Outcome of one level.

    Attributes:
        states: Particles, with likelihoods of power one.
        kernel: Adapted.
        beta: The power.
        log_weight: ln of the mean weight.
        variance: Relative variance of the mean weight.
        acceptance: Of each move.
    """

    states: ChainState
    kernel: Kernel
    beta: Scalar
    log_weight: Scalar
    variance: Scalar
    acceptance: Float[Array, " move"]


def sequential_evidence(
    key: Key[Array, ""],
    kernel: Kernel,
    bits: Bool[Array, "particle bit"],
    vectors: Float[Array, "particle parameter"],
    *,
    fraction: float = 0.6,
    num_sweeps: int = 2,
    max_levels: int = 200,
    width: int | None = None,
) -> Evidence:
    """Particles of the posterior and its evidence.

    Args:
        key: Random key.
        kernel: Moves particles; its metric, step size and Gaussians adapt to them.
        bits: Independent draws from the normalised prior of the contents.
        vectors: Coordinates of the draws; those in use follow N(0, 1).
        fraction: Of the possible particles that the effective number may fall to.
        num_sweeps: Sweeps of every particle per level.
        max_levels: Levels after which to give up.
        width: Particles moved side by side; `None` for all.

    Raises:
        ConvergenceError: no particle is possible, or the levels did not suffice.
    """
    states = _start(kernel, jnp.asarray(bits), jnp.asarray(vectors), width)
    return temper(
        key,
        kernel,
        states,
        fraction=fraction,
        num_sweeps=num_sweeps,
        max_levels=max_levels,
        width=width,
    )


def temper(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    *,
    fraction: float = 0.6,
    num_sweeps: int = 2,
    max_levels: int = 200,
    width: int | None = None,
    on_level: Callable[[float], None] | None = None,
) -> Evidence:
    """The same from particles whose likelihoods are known.

    Args:
        key: Random key.
        kernel: As for `sequential_evidence`.
        states: Independent draws from the prior with their likelihoods, stacked.
        fraction: Of the possible particles that the effective number may fall to.
        num_sweeps: Sweeps of every particle per level.
        max_levels: Levels after which to give up.
        width: Particles moved side by side; `None` for all.
        on_level: Told the power that has been reached.

    Raises:
        ConvergenceError: no particle is possible, or the levels did not suffice.
    """
    if not np.any(np.isfinite(states.exact)):
        raise ConvergenceError(
            f"none of {states.exact.shape[0]} draws from the prior has a likelihood above zero; "
            "draw more, or soften the hard supports"
        )
    beta, levels = jnp.zeros_like(states.exact[0]), []
    while beta < 1:
        if len(levels) == max_levels:
            raise ConvergenceError(
                f"{max_levels} levels reached a power of {float(beta):.3g}, not 1; use more "
                "particles, more sweeps or a larger max_levels"
            )
        one = jax.random.fold_in(key, len(levels))
        level = _level(one, kernel, states, beta, jnp.asarray(fraction), num_sweeps, width)
        states, kernel, beta = level.states, level.kernel, level.beta
        levels.append(jax.device_get((beta, level.log_weight, level.variance, level.acceptance)))
        if on_level is not None:
            on_level(float(beta))
    betas, weights, variances, acceptance = (np.array(one) for one in zip(*levels, strict=True))
    error = float(np.sqrt(np.sum(variances)))
    return Evidence(states, kernel, float(np.sum(weights)), error, betas, acceptance)


def content_evidences(bits: Bool[Array, "particle bit"], log_evidence: float = 0.0) -> Contents:
    """Distinct contents with their shares of the evidence.

    Args:
        bits: Of equally weighted particles or draws.
        log_evidence: ln Z of all contents together.
    """
    distinct, counts = np.unique(np.asarray(bits), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    fraction = counts[order] / counts.sum()
    return Contents(distinct[order], fraction, log_evidence + np.log(fraction))


@eqx.filter_jit
def _start(
    kernel: Kernel,
    bits: Bool[Array, "particle bit"],
    vectors: Float[Array, "particle parameter"],
    width: int | None,
) -> ChainState:
    """Particles with their likelihoods."""
    return jax.lax.map(
        lambda place: state_at(kernel.target, *place), (bits, vectors), batch_size=_all(width, bits)
    )


@eqx.filter_jit
def _level(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    beta: Scalar,
    fraction: Scalar,
    num_sweeps: int,
    width: int | None,
) -> Level:
    """Reweight, resample, adapt, move."""
    resample, move = jax.random.split(key)
    new_beta = next_beta(states.exact, beta, fraction)
    log_weights = _log_weights(states.exact, new_beta - beta)
    effective, count = effective_number(log_weights), states.exact.shape[0]
    log_weight = jax.nn.logsumexp(log_weights) - jnp.log(count)
    chosen = systematic(resample, log_weights)
    states = jax.tree.map(lambda leaf: leaf[chosen], states)
    kernel = refitted(kernel, moments_of(kernel.target, states.bits, states.vector))
    tempered = eqx.tree_at(lambda k: k.target, kernel, Tempered(kernel.target, new_beta))  # type: ignore[reportCallIssue]

    def mutate(task: tuple[Int[Array, ""], ChainState]):
        number, state = task
        state = state._replace(
            log_likelihood=new_beta * state.log_likelihood, exact=new_beta * state.exact
        )
        sweeps = jnp.arange(num_sweeps)
        keys = jax.vmap(chain_key, (None, None, 0))(move, number, sweeps)
        state, infos = jax.lax.scan(
            lambda here, task: tempered.sweep(task[0], here, task[1]), state, (keys, sweeps)
        )
        state = state._replace(
            log_likelihood=state.log_likelihood / new_beta, exact=state.exact / new_beta
        )
        return state, infos

    tasks = (jnp.arange(count), states)
    states, infos = jax.lax.map(mutate, tasks, batch_size=_all(width, states.exact))
    acceptance = infos.accepted.sum(axis=(0, 1)) / jnp.maximum(infos.proposed.sum(axis=(0, 1)), 1)
    moved, statistic = infos.trajectory.moved, infos.trajectory.statistic
    mean = jnp.sum(statistic) / jnp.maximum(jnp.sum(moved), 1)
    excess = jnp.where(jnp.any(moved > 0), mean - kernel.trajectory.target_statistic, 0.0)
    kernel = eqx.tree_at(
        lambda k: k.tuning.step_size, kernel, kernel.tuning.step_size * jnp.exp(excess)
    )
    return Level(states, kernel, new_beta, log_weight, 1 / effective - 1 / count, acceptance)


def next_beta(log_likelihoods: Float[Array, " particle"], beta: Scalar, fraction: Scalar) -> Scalar:
    """The power at which the effective number has fallen to a fraction, at most 1.

    Particles that are impossible at any power do not count.
    """
    wanted = fraction * jnp.sum(jnp.isfinite(log_likelihoods))

    def enough(power: Scalar) -> Bool[Array, ""]:
        return effective_number(_log_weights(log_likelihoods, power - beta)) >= wanted

    def halve(_: int, bounds: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = bounds
        middle = 0.5 * (low + high)
        fine = enough(middle)
        return jnp.where(fine, middle, low), jnp.where(fine, high, middle)

    one = jnp.ones_like(beta)
    _, found = jax.lax.fori_loop(0, NUM_BISECTIONS, halve, (beta, one))
    return jnp.where(enough(one), one, found)


def effective_number(log_weights: Float[Array, " particle"]) -> Scalar:
    """(sum of weights)^2 / sum of their squares."""
    return jnp.exp(2 * jax.nn.logsumexp(log_weights) - jax.nn.logsumexp(2 * log_weights))


def systematic(
    key: Key[Array, ""], log_weights: Float[Array, " particle"]
) -> Int[Array, " particle"]:
    """Indices drawn with expected counts proportional to weights, one uniform for all."""
    count = log_weights.shape[0]
    edges = jnp.cumsum(jax.nn.softmax(log_weights))
    places = (jax.random.uniform(key, dtype=edges.dtype) + jnp.arange(count)) / count
    # The last edge may be one less rounding; a weight of zero must not be chosen for it.
    return jnp.searchsorted(edges / edges[-1], places, side="right", method="sort")


def _log_weights(log_likelihoods: Float[Array, " particle"], power: Scalar):
    """Ln L^power; zero stays zero at any power."""
    impossible = jnp.isneginf(log_likelihoods)
    safe = jnp.where(impossible, 0.0, log_likelihoods)
    return jnp.where(impossible, -jnp.inf, power * safe)


def _all(width: int | None, like: Array) -> int:
    return like.shape[0] if width is None else width
