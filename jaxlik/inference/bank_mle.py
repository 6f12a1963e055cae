"""The best signal strength of every likelihood of a bank, from slopes of their profiles.

The zero of the slope of -2 ln L(mu), by the secant inside a bracket. Profiles of a bank need no
factorisation, and neither does this: a best mu costs a few of them, where
`jaxlik.inference.mle.fit_mu` differentiates each profile once more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.statmodels.bank import StatModelBank
from jaxlik.typing import Array, Bool, Float

TOLERANCE = 1e-7
"""Of the last move, relative to mu or its uncertainty; what is left after it is far smaller."""


class BestMu(NamedTuple):
    """The best mu of each model; their `status` is of the worst.

    Attributes:
        mu_hat: Not below zero; zero where there is no signal.
        twice_nll: -2 ln L there, deviance form.
        status: `no_bracket` where -2 ln L still falls at the upper bound.
    """

    mu_hat: Float[Array, " model"]
    twice_nll: Float[Array, " model"]
    status: Status


class _Search(NamedTuple):
    low: Float[Array, " model"]
    high: Float[Array, " model"]
    mu: Float[Array, " model"]
    before: Float[Array, " model"]
    slope_before: Float[Array, " model"]
    done: Bool[Array, " model"]
    steps: Array


def best_mu(
    bank: StatModelBank,
    signal: Float[Array, "model region"],
    *,
    upper: float = 1e6,
    max_steps: int = 64,
) -> BestMu:
    """Minimise -2 ln L(mu) of every model of a bank; differentiable in the signal.

    Args:
        bank: Linear likelihoods, whose profiles are convex in mu; `prepared` once.
        signal: Events at mu = 1, from `StatModelBank.gather`.
        upper: Largest mu that is tried.
        max_steps: Static bound on evaluations.
    """
    fixed_bank, fixed_signal = jax.lax.stop_gradient((bank, signal))
    origin = jnp.zeros(signal.shape[0])
    slope, curvature = _at_rest(fixed_bank, fixed_signal)
    known = (slope < 0) & (curvature > 0)
    scale = jnp.where(known, 1 / jnp.sqrt(jnp.where(known, curvature, 1.0)), 1.0)
    guess = jnp.where(known, -slope * scale**2, 0.0)

    def keep_going(search: _Search) -> Array:
        return jnp.any(~search.done) & (search.steps < max_steps)

    def step(search: _Search) -> _Search:
        mu = search.mu
        here = _slope(fixed_bank, fixed_signal, mu)
        low = jnp.where(here < 0, mu, search.low)
        high = jnp.where(here < 0, search.high, mu)
        rise = here - search.slope_before
        secant = mu - here * (mu - search.before) / jnp.where(rise == 0, jnp.inf, rise)
        ahead = jnp.minimum(10 * mu + scale, upper)
        upward = jnp.where(secant > mu, jnp.minimum(secant, ahead), ahead)
        inside = (secant > low) & (secant < high)
        following = jnp.where(inside, secant, 0.5 * (low + high))
        following = jnp.where(jnp.isinf(high), upward, following)
        close = jnp.abs(following - mu) <= TOLERANCE * jnp.maximum(scale, mu)
        done = search.done | close | (here == 0) | (mu >= upper)
        return _Search(
            low,
            high,
            jnp.where(search.done, mu, following),
            jnp.where(search.done, search.before, mu),
            jnp.where(search.done, search.slope_before, here),
            done,
            search.steps + 1,
        )

    begin = _Search(
        origin,
        jnp.full_like(origin, jnp.inf),
        guess,
        origin,
        slope,
        ~known,
        jnp.asarray(0),
    )
    found = jax.lax.while_loop(keep_going, step, begin)
    mu_hat = _attached(bank, signal, jnp.where(known, found.mu, 0.0), known & found.done)
    fit = bank.profile(jnp.ones(1), mu_hat[:, None] * signal)
    outcome = Status.where(jnp.all(found.done), Status.success, Status.max_steps)
    outcome = Status.where(jnp.any(found.mu >= upper), Status.no_bracket, outcome)
    return BestMu(mu_hat, fit.twice_nll[0], outcome)


def _slope(
    bank: StatModelBank, signal: Float[Array, "model region"], mu: Float[Array, " model"]
) -> Float[Array, " model"]:
    """Slope of -2 ln L in mu, every model at its own."""
    pulls = bank.profile(jnp.ones(1), mu[:, None] * signal).pulls[0]
    return 2 * jnp.sum(signal * pulls, axis=1)


def _at_rest(
    bank: StatModelBank, signal: Float[Array, "model region"]
) -> tuple[Float[Array, " model"], Float[Array, " model"]]:
    """Slope at mu = 0, and a rough curvature: regions by themselves."""
    slope = _slope(bank, signal, jnp.zeros(signal.shape[0]))
    spread = jnp.diagonal(bank.models.covariance, axis1=1, axis2=2) + bank.models.background
    return slope, 2 * jnp.sum(signal**2 / jnp.where(spread > 0, spread, 1.0), axis=1)


def _attached(
    bank: StatModelBank,
    signal: Float[Array, "model region"],
    solution: Float[Array, " model"],
    active: Bool[Array, " model"],
) -> Float[Array, " model"]:
    """The best mu as functions of the bank and the signal."""

    def equations(mu: Float[Array, " model"]) -> Float[Array, " model"]:
        return jnp.where(
            active, _slope(bank, signal, jnp.where(active, mu, solution)), mu - solution
        )

    def tangent_solve(linear, right: Array) -> Array:
        # Models share nothing: the Jacobian is diagonal.
        slope = linear(jnp.ones_like(right))
        return right / jnp.where(slope == 0, jnp.inf, slope)

    solution = jax.lax.stop_gradient(solution)
    return jax.lax.custom_root(
        equations, solution, lambda _, start: jax.lax.stop_gradient(start), tangent_solve
    )
