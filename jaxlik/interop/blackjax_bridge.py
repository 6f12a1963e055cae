"""Objectives in blackjax: a log-density without bounds, and a short driver for its NUTS."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike

from jaxlik.interop.objective_base import Objective
from jaxlik.interop.optional import require
from jaxlik.interop.unbounded import Draws, Unbounded, draws_of, unbounded
from jaxlik.typing import Array, Float, Key, Scalar


class LogDensity(NamedTuple):
    """What ``blackjax.nuts(logdensity_fn, ...)`` needs, and the way back.

    Attributes:
        logdensity_fn: Logarithm of the density of z, up to a constant.
        start: z to start from.
        coordinates: The same as data of compiled functions.
    """

    logdensity_fn: Callable[[Float[Array, " free"]], Scalar]
    start: Float[Array, " free"]
    coordinates: Unbounded

    def draws(self, z: ArrayLike) -> Draws:
        """Parameters of draws of z; leading axes are kept."""
        return draws_of(self.coordinates, z)


class NutsResult(NamedTuple):
    """Chains of blackjax's NUTS.

    Attributes:
        draws: All parameters, axes ``chain draw parameter``.
        num_divergences: Steps on which the integrator failed; should be zero.
        acceptance: Mean acceptance probability.
    """

    draws: Draws
    num_divergences: int
    acceptance: float


def blackjax_logdensity(objective: Objective, *, at: ArrayLike | None = None) -> LogDensity:
    """The posterior for any sampler of blackjax: flat between bounds times L.

    Needs no blackjax.

    Args:
        objective: The likelihood; fixed parameters stay.
        at: All parameters at a minimum, to whiten the coordinates by its Hessian.
    """
    coordinates = unbounded(objective, at=at)
    return LogDensity(coordinates.log_density, coordinates.start, coordinates)


def sample_nuts(
    key: Key[Array, ""],
    objective: Objective,
    *,
    at: ArrayLike | None = None,
    num_draws: int = 1000,
    num_warmup: int = 500,
    num_chains: int = 4,
) -> NutsResult:
    """Chains of blackjax's NUTS, each after a window adaptation of its own.

    One program for all objectives of one structure: other data compile nothing.

    Args:
        key: Random key.
        objective: The likelihood; fixed parameters stay.
        at: All parameters at a minimum, to whiten the coordinates by its Hessian.
        num_draws: Kept, per chain.
        num_warmup: Adaptation, per chain.
        num_chains: Run side by side.

    Raises:
        MissingPackageError: blackjax is not installed.
    """
    require("blackjax", extra="fitters")
    coordinates = unbounded(objective, at=at)
    z, divergent, acceptance = _chains(key, coordinates, num_draws, num_warmup, num_chains)
    return NutsResult(draws_of(coordinates, z), int(np.sum(divergent)), float(np.mean(acceptance)))


@eqx.filter_jit
def _chains(
    key: Key[Array, ""], coordinates: Unbounded, num_draws: int, num_warmup: int, num_chains: int
) -> tuple[Array, Array, Array]:
    blackjax = require("blackjax", extra="fitters")

    def chain(key: Key[Array, ""]) -> tuple[Array, Array, Array]:
        begin, adapt, later = jax.random.split(key, 3)
        noise = 0.1 * jax.random.normal(begin, coordinates.start.shape)
        warmup = blackjax.window_adaptation(blackjax.nuts, coordinates.log_density)
        (state, tuned), _ = warmup.run(adapt, coordinates.start + noise, num_warmup)
        step_fn = blackjax.nuts(coordinates.log_density, **tuned).step

        def step(state, key):
            state, info = step_fn(key, state)
            return state, (state.position, info.is_divergent, info.acceptance_rate)

        return jax.lax.scan(step, state, jax.random.split(later, num_draws))[1]

    return jax.vmap(chain)(jax.random.split(key, num_chains))
