"""Draws from the prior over models, exact and independent: where chains and particles start.

Ancestral sampling of the prior ``count`` (`walkers.posterior.model`), with everything outside
the kinematic support thrown away. Host side; no engine is asked.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.physics.model import ModelSpace
from jaxlik.physics.prior import SCALES
from jaxlik.physics.whitened import Widths, to_model
from jaxlik.typing import Array, Bool, Float
from walkers.posterior.model import content_log_prior, kinematically_allowed

MAX_TRIES = 200
"""Rounds of rejection after which the prior is taken to allow nothing."""


def prior_draws(
    space: ModelSpace, widths: Widths, count: int, seed: int, *, max_particles: int = 8
) -> tuple[Bool[np.ndarray, "draw bit"], Float[np.ndarray, "draw parameter"]]:
    """Bits and vectors of independent models.

    Args:
        space: Layout of the models.
        widths: Scales of the prior.
        count: Number of draws.
        seed: Of the random numbers.
        max_particles: Particles a model may have, the LBP included.

    Raises:
        ConvergenceError: hardly any draw is allowed.
    """
    rng = np.random.default_rng(seed)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    number = 0
    for _ in range(MAX_TRIES):
        bits = np.stack([_content(space, rng) for _ in range(count)])
        vector = rng.standard_normal(bits.shape)
        allowed = np.asarray(_supported(space, widths, bits, vector, max_particles))
        kept.append((bits[allowed], vector[allowed]))
        number += int(allowed.sum())
        if number >= count:
            bits, vectors = (np.concatenate(parts)[:count] for parts in zip(*kept, strict=True))
            return bits, vectors
    raise ConvergenceError(
        f"only {number} of {MAX_TRIES * count} draws from the prior are allowed models; widen the "
        "mass range of the prior"
    )


@partial(jax.jit, static_argnums=4)
def _supported(
    space: ModelSpace, widths: Widths, bits: Array, vectors: Array, max_particles: int
) -> Bool[Array, " draw"]:
    def one(bits: Array, vector: Array) -> Array:
        known = content_log_prior(space, bits, "count", max_particles) > -jnp.inf
        point = to_model(space, bits, vector, widths)
        return known & kinematically_allowed(space, bits, point)

    return jax.vmap(one)(bits, vectors)


def _content(space: ModelSpace, rng: np.random.Generator) -> Bool[np.ndarray, " bit"]:
    """Particles, channels and productions of one draw; perhaps more particles than allowed."""
    per_particle, per_channel, per_mode = (1 / scale for scale in SCALES)
    others = np.delete(np.arange(space.num_particles), space.lbp)
    active = np.zeros(space.num_particles, dtype=bool)
    active[space.lbp] = True
    size = _geometric(rng, per_particle, len(others) + 1)
    active[rng.choice(others, size, replace=False)] = True
    parent, daughter = np.asarray(space.channel_parent), np.asarray(space.channel_daughter)
    channels = np.zeros(space.num_channels, dtype=bool)
    for mother in others[active[others]]:
        possible = np.flatnonzero((parent == mother) & active[daughter])
        if len(possible):
            number = 1 + _geometric(rng, per_channel, len(possible))
            channels[rng.choice(possible, number, replace=False)] = True
    exist = np.flatnonzero(active[np.asarray(space.production_pair)].all(axis=1))
    modes = np.zeros(space.num_productions, dtype=bool)
    modes[rng.choice(exist, _geometric(rng, per_mode, len(exist) + 1), replace=False)] = True
    return np.concatenate([active, channels, modes])


def _geometric(rng: np.random.Generator, rate: float, terms: int) -> int:
    """A number below `terms`, with probability proportional to exp(-rate k)."""
    weights = np.exp(-rate * np.arange(terms))
    return int(rng.choice(terms, p=weights / weights.sum()))
