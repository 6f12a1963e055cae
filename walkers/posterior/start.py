"""Where chains and particles start: independent models drawn from the prior."""

import equinox as eqx
import jax
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.physics.model import ModelSpace
from jaxlik.physics.whitened import Widths
from jaxlik.typing import Array, Bool, Float, Key
from walkers.posterior.prior_draw import CountPrior

MAX_TRIES = 200
"""Rounds of rejection after which the prior is taken to allow nothing."""


def prior_draws(
    space: ModelSpace, widths: Widths, count: int, seed: int, *, max_particles: int = 8
) -> tuple[Bool[np.ndarray, "draw bit"], Float[np.ndarray, "draw parameter"]]:
    """Bits and vectors of independent models, exact draws of the prior ``count``.

    Args:
        space: Layout of the models.
        widths: Scales of the prior.
        count: Number of draws.
        seed: Of the random numbers.
        max_particles: Particles a model may have, the LBP included.

    Raises:
        ConvergenceError: hardly any draw is allowed.
    """
    prior = CountPrior(space, widths, max_particles)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    number = 0
    for keys in jax.random.split(jax.random.key(seed), (MAX_TRIES, count)):
        bits, vector, allowed = (np.asarray(part) for part in _drawn(prior, keys))
        kept.append((bits[allowed], vector[allowed]))
        number += int(allowed.sum())
        if number >= count:
            bits, vectors = (np.concatenate(parts)[:count] for parts in zip(*kept, strict=True))
            return bits, vectors
    raise ConvergenceError(
        f"only {number} of {MAX_TRIES * count} draws from the prior are allowed models; widen the "
        "mass range of the prior"
    )


@eqx.filter_jit
def _drawn(
    prior: CountPrior, keys: Key[Array, " draw"]
) -> tuple[Bool[Array, "draw bit"], Float[Array, "draw parameter"], Bool[Array, " draw"]]:
    """Draws, and which of them are inside the support; a thousand side by side."""
    return jax.lax.map(prior.draw, keys, batch_size=min(1000, keys.shape[0]))
