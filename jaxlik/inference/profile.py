"""Nuisances profiled at fixed mu, for any statistical model.

Models with their own fast profile (`AbstractProfiledModel`) use it; others get damped
Newton. Second derivatives are exact: the optimum is an implicit function of mu, signal
and model (treating it as a constant would be right to first order only).
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.inference.newton import minimise
from jaxlik.statmodels.base import (
    AbstractFixedDataModel,
    AbstractProfiledModel,
    AbstractStatModel,
    ProfileFit,
    asimov,
)
from jaxlik.statmodels.linear import solve
from jaxlik.typing import Array, Float, Scalar, TwiceNllFn


def profile(
    model: AbstractStatModel,
    mu: Scalar,
    signal: Float[Array, " region"],
    *,
    start: Float[Array, " nuisance"] | None = None,
    max_steps: int = 32,
) -> ProfileFit:
    """Maximise the likelihood over its nuisances.

    Args:
        model: Any statistical model.
        mu: Signal strength.
        signal: Events at mu = 1.
        start: Nuisances of a fit nearby; at rest by default. Ignored by models that
            profile themselves.
        max_steps: Static bound on Newton steps.

    Examples:
        >>> from jaxlik.statmodels.poisson import PoissonCounting
        >>> region = PoissonCounting(jnp.array([9.0]), jnp.array([6.5]), jnp.array([1.3]))
        >>> fit = profile(region, jnp.asarray(0.0), jnp.array([4.0]))
        >>> print(f"{fit.twice_nll:.6f} at {fit.nuisances[0]:.6f} standard deviations")
        0.671456 at 0.374557 standard deviations
    """
    if isinstance(model, AbstractProfiledModel):
        return model.profile(mu, signal)
    return profile_generic(model, mu, signal, start=start, max_steps=max_steps)


def profile_generic(
    model: AbstractStatModel,
    mu: Scalar,
    signal: Float[Array, " region"],
    *,
    start: Float[Array, " nuisance"] | None = None,
    max_steps: int = 32,
) -> ProfileFit:
    """`profile` by Newton, whatever the model; needs a minimum inside the domain."""
    guess = jnp.zeros(model.num_nuisances) if start is None else jax.lax.stop_gradient(start)
    fixed = jax.lax.stop_gradient(eqx.filter((model, mu, signal), eqx.is_array))
    fixed = eqx.combine(fixed, eqx.filter((model, mu, signal), eqx.is_array, inverse=True))
    found = minimise(
        lambda z: fixed[0].twice_nll(fixed[1], fixed[2], z), guess, max_steps=max_steps
    )

    def gradient(z):
        return jax.grad(model.twice_nll, argnums=2)(mu, signal, z)

    def tangent_solve(linear, right):
        return solve(jax.jacobian(linear)(jnp.zeros_like(right)), right)

    solution = jax.lax.stop_gradient(found.position)
    nuisances = jax.lax.custom_root(gradient, solution, lambda _, z: z, tangent_solve)
    twice_nll = model.twice_nll(mu, signal, nuisances)
    return ProfileFit(nuisances, twice_nll, found.num_steps, found.status)


def profiled_twice_nll_fn(
    model: AbstractStatModel, signal: Float[Array, " region"], *, max_steps: int = 32
) -> TwiceNllFn:
    """-2 ln L(mu) with nuisances profiled, as a function of mu alone."""
    if isinstance(model, AbstractProfiledModel):
        return lambda mu: model.profiled_twice_nll(mu, signal)
    return lambda mu: profile(model, mu, signal, max_steps=max_steps).twice_nll


def background_asimov(
    model: AbstractStatModel, *, fitted: bool = True, max_steps: int = 32
) -> AbstractStatModel:
    """The model with background-only Asimov data.

    Args:
        model: Any statistical model.
        fitted: Background as fitted to the data at mu = 0 (a-posteriori; what observed
            CLs values compare with), else as published (a-priori).
        max_steps: Of the fit.

    Examples:
        >>> from jaxlik.statmodels.poisson import PoissonCounting
        >>> region = PoissonCounting(jnp.array([9.0]), jnp.array([6.5]), jnp.array([1.3]))
        >>> print(background_asimov(region).observed.round(4))
        [6.9869]
        >>> print(background_asimov(region, fitted=False).observed)
        [6.5]
    """
    if isinstance(model, AbstractFixedDataModel):
        return model.background_asimov(fitted=fitted)
    if not fitted:
        return model.with_observed(model.nominal)
    zero, nothing = jnp.asarray(0.0), jnp.zeros_like(model.nominal)
    nuisances = profile(model, zero, nothing, max_steps=max_steps).nuisances
    return asimov(model, zero, nothing, nuisances)


def likelihood_pair(
    model: AbstractStatModel, signal: Float[Array, " region"], *, expected: bool = False
) -> tuple[TwiceNllFn, TwiceNllFn]:
    """-2 ln L(mu) on the data and on Asimov data, as CLs and limits want them.

    SModelS' definitions: the Asimov data are the expectation of the background fitted
    at mu = 0, to the observation or, for expected (a-priori) results, to the published
    background itself. In a linear model the latter two are the same.
    """
    data = background_asimov(model, fitted=False) if expected else model
    reference = background_asimov(data)
    return profiled_twice_nll_fn(data, signal), profiled_twice_nll_fn(reference, signal)
