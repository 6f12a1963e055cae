r"""Draws from the posterior of a workspace's parameters, by NUTS: a check of approximations.

The density is the likelihood with constraints as priors and flat priors between the bounds of
all parameters. Parameters between bounds become numbers without bounds,

$$ \theta = l + (u - l)/(1 + e^{-y}), \qquad \theta = l + e^y \;(u = \infty), $$

and $y = \hat y + A z$ with $A A^T$ the inverse of the Hessian there, so that z is close to a
standard normal vector, on which the No-U-Turn sampler of numpyro moves.

References:
    M. D. Hoffman, A. Gelman, J. Mach. Learn. Res. 15 (2014) 1593.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS

from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_profile import fit_parameters
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.typing import Array, Bool, Float, Key, Scalar

MARGIN = 1e-4
"""Chains start at least this part of a parameter's range away from its bounds."""

WIDEST = 10.0
"""Largest standard deviation of y that the coordinates follow."""


class NuisanceSamples(NamedTuple):
    """Draws of all parameters, and what they are worth.

    Attributes:
        parameters: On the padded axis; held ones are constant.
        moved: Which were sampled.
        divergences: Steps on which the integrator failed; their number should be zero.
        r_hat: Split Gelman-Rubin statistic of each; `nan` for held ones.
        effective: Effective number of draws; `nan` for held ones.
    """

    parameters: Float[np.ndarray, "chain draw parameter"]
    moved: Bool[np.ndarray, " parameter"]
    divergences: int
    r_hat: Float[np.ndarray, " parameter"]
    effective: Float[np.ndarray, " parameter"]


def sample_nuisances(
    key: Key[Array, ""],
    model: HistFactory,
    poi: int,
    mu: float | None = None,
    *,
    num_draws: int = 1000,
    num_warmup: int = 500,
    num_chains: int = 4,
) -> NuisanceSamples:
    """Sample the parameters of a workspace.

    Args:
        key: Random key.
        model: The packed workspace.
        poi: Position of the signal strength.
        mu: Its value; `None` samples it too, its prior flat between its bounds.
        num_draws: Kept, per chain.
        num_warmup: Adaptation, per chain.
        num_chains: Run side by side.

    Raises:
        ConvergenceError: the fit that the coordinates come from is not certified.
    """
    held = model.fixed.at[poi].set(mu is not None)
    start = model.init if mu is None else model.init.at[poi].set(mu)
    fit = certified(fit_parameters(model, None, held, start), "before sampling")
    moved = np.flatnonzero(~np.asarray(held))
    bounds = (np.asarray(model.lower)[moved], np.asarray(model.upper)[moved])
    centre = _unbounded(np.asarray(fit.parameters)[moved], *bounds)
    hessian = np.asarray(fit.hessian)[np.ix_(moved, moved)]
    place, spread = jnp.asarray(fit.parameters), jnp.asarray(_root(hessian, centre, *bounds))
    low, high, middle = (jnp.asarray(x) for x in (*bounds, centre))

    def parameters_of(z: Float[Array, " moved"]) -> tuple[Float[Array, " parameter"], Scalar]:
        values, log_slopes = _bounded(middle + spread @ z, low, high)
        return place.at[moved].set(values), jnp.sum(log_slopes)

    def potential_fn(z: Float[Array, " moved"]) -> Scalar:
        parameters, log_jacobian = parameters_of(z)
        return 0.5 * model.twice_nll(parameters) - log_jacobian

    draws, divergences = _run(key, potential_fn, len(moved), num_draws, num_warmup, num_chains)
    found = jax.jit(jax.vmap(jax.vmap(lambda z: parameters_of(z)[0])))(draws)
    found = np.asarray(found)
    r_hat, effective = (np.full(held.shape[0], np.nan) for _ in range(2))
    r_hat[moved] = split_gelman_rubin(found[..., moved])
    effective[moved] = effective_sample_size(found[..., moved])
    return NuisanceSamples(found, ~np.asarray(held), divergences, r_hat, effective)


def _run(
    key: Key[Array, ""],
    potential_fn: Callable[[Float[Array, " moved"]], Scalar],
    size: int,
    num_draws: int,
    num_warmup: int,
    num_chains: int,
) -> tuple[Float[Array, "chain draw moved"], int]:
    """Chains in z, and how often they diverged."""
    kernel = NUTS(potential_fn=potential_fn, target_accept_prob=0.9)
    chains = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_draws,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    first, later = jax.random.split(key)
    begin = 0.5 * jax.random.normal(first, (num_chains, size))
    chains.run(later, init_params=begin if num_chains > 1 else begin[0])
    divergences = int(np.sum(np.asarray(chains.get_extra_fields()["diverging"])))
    return chains.get_samples(group_by_chain=True), divergences


def _unbounded(
    values: Float[np.ndarray, " moved"],
    lower: Float[np.ndarray, " moved"],
    upper: Float[np.ndarray, " moved"],
) -> Float[np.ndarray, " moved"]:
    """Coordinate y of each parameter, pulled off its bounds."""
    closed, half = np.isfinite(upper) & np.isfinite(lower), np.isfinite(lower)
    span = np.where(closed, upper - np.where(half, lower, 0.0), 1.0)
    part = (values - np.where(half, lower, 0.0)) / span
    inside = np.clip(part, MARGIN, np.where(closed, 1 - MARGIN, np.inf))
    logit = np.log(inside) - np.log1p(-np.where(closed, inside, 0.5))
    return np.where(closed, logit, np.where(half, np.log(inside), values))


def _bounded(
    y: Float[Array, " moved"], lower: Float[Array, " moved"], upper: Float[Array, " moved"]
) -> tuple[Float[Array, " moved"], Float[Array, " moved"]]:
    """Parameters, and ln d theta/dy."""
    half = jnp.isfinite(lower)
    closed = half & jnp.isfinite(upper)
    low = jnp.where(half, lower, 0.0)
    span = jnp.where(closed, upper - low, 1.0)
    # A gradient runs through all branches of `where`.
    steep = jnp.exp(jnp.where(half & ~closed, y, 0.0))
    values = jnp.where(closed, low + span * jax.nn.sigmoid(y), jnp.where(half, low + steep, y))
    log_slopes = jnp.log(span) + jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
    return values, jnp.where(closed, log_slopes, jnp.where(half, y, 0.0))


def _root(
    hessian: Float[np.ndarray, "moved moved"],
    centre: Float[np.ndarray, " moved"],
    lower: Float[np.ndarray, " moved"],
    upper: Float[np.ndarray, " moved"],
) -> Float[np.ndarray, "moved moved"]:
    """A with A A^T the inverse of the Hessian in y; flat directions end at `WIDEST`."""
    _, log_slopes = _bounded(jnp.asarray(centre), jnp.asarray(lower), jnp.asarray(upper))
    slopes = np.exp(np.asarray(log_slopes))
    values, vectors = np.linalg.eigh(hessian * np.outer(slopes, slopes))
    return vectors / np.sqrt(np.maximum(values, WIDEST**-2))
