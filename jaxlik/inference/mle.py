"""The best signal strength and its error, from -2 ln L(mu) alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status, merge_status
from jaxlik.inference.newton import first_zero_above, implicit_root
from jaxlik.typing import Scalar, TwiceNllFn


class MaximumLikelihood(NamedTuple):
    """The best mu within bounds.

    Attributes:
        mu_hat: Where -2 ln L is smallest.
        mu_error: From its curvature there, sqrt(2 / (-2 ln L)''); `inf` where flat.
        twice_nll: -2 ln L there.
        status: `no_bracket` where -2 ln L still falls at the upper bound.
    """

    mu_hat: Scalar
    mu_error: Scalar
    twice_nll: Scalar
    status: Status


def fit_mu(
    twice_nll_fn: TwiceNllFn,
    *,
    lower: float | Scalar = 0.0,
    upper: float | Scalar = 100.0,
    max_steps: int = 64,
) -> MaximumLikelihood:
    """Minimise -2 ln L(mu) between two bounds.

    The zero of the slope, by Newton inside a bracket. The result is differentiable in
    everything the function closes over; at a bound its derivative is zero.

    Args:
        twice_nll_fn: Twice differentiable, with a single minimum between the bounds.
        lower: Smallest mu allowed; zero for signals that only add events.
        upper: Largest mu allowed. Nothing is truncated silently: see `status`.
        max_steps: Static bound on evaluations.

    Examples:
        >>> best = fit_mu(lambda mu: (mu - 1.5) ** 2 / 0.5**2)
        >>> print(f"{best.mu_hat:.6f} +- {best.mu_error:.6f}")
        1.500000 +- 0.500000
    """
    slope_fn = jax.grad(twice_nll_fn)
    low, high = jnp.asarray(lower, jnp.float64), jnp.asarray(upper, jnp.float64)
    root = first_zero_above(
        slope_fn, low, first_step=jnp.zeros(()), bound=high, max_steps=max_steps
    )
    free = (root.position > low) & (root.position < high)
    mu_hat = implicit_root(slope_fn, root.position, active=free)
    # Value and curvature from one evaluation, itself a fit for profiled likelihoods.
    (twice_nll, _), (_, curvature) = jax.jvp(
        jax.value_and_grad(twice_nll_fn), (mu_hat,), (jnp.ones_like(mu_hat),)
    )
    curved = curvature > 0
    mu_error = jnp.where(curved, jnp.sqrt(2 / jnp.where(curved, curvature, 1.0)), jnp.inf)
    finite = Status.where(jnp.isfinite(twice_nll), Status.success, Status.not_finite)
    return MaximumLikelihood(mu_hat, mu_error, twice_nll, merge_status(finite, root.status))
