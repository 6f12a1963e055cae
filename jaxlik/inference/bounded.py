"""Newton's method between bounds, with a certificate.

Parameters at a bound that the gradient pushes outward are held; the others take Newton
steps, or Fisher's scoring steps where the Hessian is not positive, projected back onto the
bounds, with Levenberg's damping where a step does not lower the value. What it returns says
how well the conditions of a minimum (Karush, Kuhn, Tucker) are met, not how little the last
step moved.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.statmodels.histfactory import Expansion
from jaxlik.statmodels.linear import solve_newton
from jaxlik.typing import Array, Bool, Float, Scalar

_LARGEST_DAMPING = 1e12

SUFFICIENT = 1e-4
"""Share of the predicted drop that a step must give (Armijo)."""


class BoundedMinimum(NamedTuple):
    """Where a minimisation between bounds ended.

    Attributes:
        position: Best point found.
        value: Of the function there.
        gradient: The same.
        hessian: The same, parameters that a bound holds included.
        certificate: Largest component of the projected gradient.
        num_steps: Steps tried, rejected ones included.
        status: `max_steps` where the certificate stayed above the tolerance.
    """

    position: Float[Array, " parameter"]
    value: Scalar
    gradient: Float[Array, " parameter"]
    hessian: Float[Array, "parameter parameter"]
    certificate: Scalar
    num_steps: Array
    status: Status


def minimise_bounded(
    expand_fn: Callable[[Float[Array, " parameter"]], Expansion],
    start: Float[Array, " parameter"],
    lower: Float[Array, " parameter"],
    upper: Float[Array, " parameter"],
    fixed: Bool[Array, " parameter"],
    scale: Float[Array, " parameter"],
    *,
    tolerance: float = 1e-9,
    max_steps: int = 200,
) -> BoundedMinimum:
    """Minimise a function between bounds from its gradient and Hessian.

    Args:
        expand_fn: Value, gradient, Hessian and Fisher matrix; the value may be infinite or
            undefined away from the start.
        start: Where to begin; projected onto the bounds except where fixed.
        lower: Bounds.
        upper: Bounds.
        fixed: Parameters that stay at the start.
        scale: Natural step of each parameter, for the damping.
        tolerance: Of the projected gradient.
        max_steps: Static bound on the number of evaluations.
    """
    begin = jnp.where(fixed, start, jnp.clip(start, lower, upper))

    def held(position: Array, gradient: Array) -> Bool[Array, " parameter"]:
        low, high = (position <= lower) & (gradient > 0), (position >= upper) & (gradient < 0)
        return fixed | low | high

    def certificate(position: Array, gradient: Array) -> Scalar:
        return jnp.max(jnp.where(held(position, gradient), 0.0, jnp.abs(gradient)))

    def keep_going(state: tuple) -> Array:
        position, here, damping, steps, stalled = state
        unfinished = certificate(position, here.gradient) > tolerance
        return unfinished & (steps < max_steps) & (damping < _LARGEST_DAMPING) & (stalled < 4)

    def step(state: tuple) -> tuple:
        position, here, damping, steps, stalled = state
        still = held(position, here.gradient)
        gradient = jnp.where(still, 0.0, here.gradient)
        ridge = jnp.where(still, 1.0, damping / scale**2)
        free = jnp.where(still, 0.0, 1.0)
        direction = -solve_newton(
            free[:, None] * here.hessian * free[None, :] + jnp.diag(ridge),
            free[None, :] * here.scores,
            free * here.constraint + ridge,
            gradient,
        )
        usable = jnp.all(jnp.isfinite(direction))
        aim = position + jnp.where(usable, direction, 0.0)
        trial = jnp.where(fixed, position, jnp.clip(aim, lower, upper))
        there = expand_fn(trial)
        finite = jnp.isfinite(there.value) & jnp.all(jnp.isfinite(there.gradient))
        # Near the minimum the value no longer resolves a step: the gradient decides.
        slack = 8 * jnp.finfo(here.value.dtype).eps * (1 + jnp.abs(here.value))
        drop = SUFFICIENT * jnp.sum(here.gradient * (trial - position))
        lower_value = there.value <= here.value + jnp.minimum(drop, 0.0)
        level = there.value <= here.value + slack
        closer = certificate(trial, there.gradient) < certificate(position, here.gradient)
        better = usable & finite & (lower_value | (level & closer))
        raised = jnp.maximum(10 * damping, 1e-2)
        lowered = jnp.where(damping > 1e-2, 0.1 * damping, 0.0)
        following = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), (trial, there), (position, here)
        )
        idle = usable & finite & level & ~better
        return (
            *following,
            jnp.where(better, lowered, raised),
            steps + 1,
            jnp.where(better, 0, stalled + idle.astype(stalled.dtype)),
        )

    zero = jnp.asarray(0)
    state = (begin, expand_fn(begin), jnp.asarray(0.0), zero, zero)
    position, here, _, steps, _ = jax.lax.while_loop(keep_going, step, state)
    reached = certificate(position, here.gradient)
    # Rounding of large likelihoods may leave more than the tolerance.
    outcome = Status.where(reached <= 1e3 * tolerance, Status.success, Status.max_steps)
    status = Status.where(jnp.isfinite(here.value), outcome, Status.not_finite)
    return BoundedMinimum(position, here.value, here.gradient, here.hessian, reached, steps, status)
