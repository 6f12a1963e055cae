"""Observed limits of single regions, as fast as pseudo-data need them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.typing import Array, Float

LEVEL = 0.95


def event_limits(
    observed: Float[Array | np.ndarray, " region"],
    background: Float[Array | np.ndarray, " region"],
    error: Float[Array | np.ndarray, " region"],
) -> Float[Array, " region"]:
    """Signal events excluded at 95 % by CLs (asymptotic, arXiv:1007.1727), per region.

    Args:
        observed: Events.
        background: Expected events.
        error: Standard deviation of the background [events].

    Raises:
        ConvergenceError: a region has no finite limit.
    """
    found = _event_limits(*map(jnp.asarray, (observed, background, error)))
    bad = np.flatnonzero(~np.isfinite(np.asarray(found)))
    if len(bad):
        i = int(bad[0])
        raise ConvergenceError(
            f"{len(bad)} regions have no upper limit, the first number {i} with {observed[i]:g} "
            f"events and a background of {background[i]:g} +- {error[i]:g}; wanted a finite one"
        )
    return found


@eqx.filter_jit
def _event_limits(
    observed: Float[Array, " region"],
    background: Float[Array, " region"],
    error: Float[Array, " region"],
) -> Float[Array, " region"]:

    def one(n: Array, b: Array, sigma: Array) -> Array:
        model = PoissonCounting(n[None], b[None], sigma[None])
        return find_upper_limit(*likelihood_pair(model, jnp.ones(1)), level=LEVEL).mu

    return jax.vmap(one)(observed, background, error)
