"""Two solvers the whole library shares: damped Newton, and a safeguarded root search.

Neither is differentiated through: callers attach derivatives by the implicit function
theorem (`jax.lax.custom_root`), which is cheaper and exact to all orders.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.statmodels.linear import solve_positive
from jaxlik.typing import Array, Float, Scalar

_LARGEST_DAMPING = 1e12


class NewtonResult(NamedTuple):
    """Where a minimisation ended.

    Attributes:
        position: Best point found.
        value: Of the function there.
        decrement: g H^-1 g, twice the drop the quadratic model still promises.
        num_steps: Steps taken, rejected ones included.
        status: `max_steps` where the decrement stayed above the tolerance.
    """

    position: Float[Array, " nuisance"]
    value: Scalar
    decrement: Scalar
    num_steps: Array
    status: Status


class RootResult(NamedTuple):
    """Where a search for a zero ended.

    Attributes:
        position: Best estimate of the root.
        value: Of the function at the last evaluation.
        num_steps: Evaluations made.
        status: `no_bracket` where no sign change was met.
    """

    position: Scalar
    value: Scalar
    num_steps: Array
    status: Status


def minimise(
    fn: Callable[[Float[Array, " nuisance"]], Scalar],
    start: Float[Array, " nuisance"],
    *,
    tolerance: float = 1e-12,
    max_steps: int = 32,
    hessian_fn: Callable[[Float[Array, " nuisance"]], Float[Array, "nuisance nuisance"]]
    | None = None,
) -> NewtonResult:
    """Minimise a smooth function by Newton steps with Levenberg's damping.

    A step that does not lower the value, or meets `inf` or an indefinite Hessian, is
    rejected and the damping raised; an accepted one lowers it. With unit-scale
    parameters (standardised nuisances) no further scaling is needed.

    Args:
        fn: May return `inf` outside its domain.
        start: Must have a finite value.
        tolerance: Of the decrement, in the unit of the function.
        max_steps: Static bound on the number of steps.
        hessian_fn: Analytic Hessian; `jax.hessian(fn)` by default.
    """
    gradient_fn = jax.value_and_grad(fn)
    hessian_fn = jax.hessian(fn) if hessian_fn is None else hessian_fn
    identity = jnp.eye(start.shape[0])

    def expand(position):
        value, gradient = gradient_fn(position)
        return position, value, gradient, hessian_fn(position)

    def keep_going(state):
        *_, damping, decrement, steps = state
        unfinished = (decrement > tolerance) & (damping < _LARGEST_DAMPING)
        return unfinished & (steps < max_steps)

    def step(state):
        (position, value, gradient, hessian), damping, _, steps = state
        direction = -solve_positive(hessian + damping * identity, gradient)
        usable = jnp.all(jnp.isfinite(direction))
        decrement = jnp.where(usable, -jnp.sum(gradient * direction), jnp.inf)
        trial = expand(position + jnp.where(usable, direction, 0.0))
        finite = jnp.isfinite(trial[1]) & jnp.all(jnp.isfinite(trial[2]))
        # Near the optimum the value no longer resolves a step: accept within rounding.
        slack = 4 * jnp.finfo(value.dtype).eps * (1 + jnp.abs(value))
        better = usable & finite & (trial[1] <= value + slack)
        chosen = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            trial,
            (position, value, gradient, hessian),
        )
        raised = jnp.maximum(10 * damping, 1e-3)
        lowered = jnp.where(damping > 1e-3, 0.1 * damping, 0.0)
        # Only an undamped decrement certifies the optimum.
        certified = jnp.where(better & (damping == 0), decrement, jnp.inf)
        return chosen, jnp.where(better, lowered, raised), certified, steps + 1

    state = (expand(start), jnp.asarray(0.0), jnp.asarray(jnp.inf), jnp.asarray(0))
    (position, value, _, _), _, decrement, steps = jax.lax.while_loop(keep_going, step, state)
    outcome = Status.where(decrement <= tolerance, Status.success, Status.max_steps)
    status = Status.where(jnp.isfinite(value), outcome, Status.not_finite)
    return NewtonResult(position, value, decrement, steps, status)


def first_zero_above(
    fn: Callable[[Scalar], Scalar],
    start: Scalar,
    *,
    first_step: Scalar,
    bound: Scalar,
    tolerance: float = 1e-12,
    max_steps: int = 64,
) -> RootResult:
    """Where a function that is negative at the start turns positive.

    Moves upward by Newton steps of bounded growth until a sign change is bracketed,
    then Newton inside the bracket, and bisection where Newton leaves it or creeps. The
    function is evaluated at a single place of the program, so that expensive ones
    (each a fit of its own) compile once.

    Args:
        fn: Differentiable function of one number.
        start: Known lower end; the result is `start` where the function is not
            negative there (only noticed with a vanishing first step).
        first_step: Length of the first move; zero evaluates the start itself.
        bound: Upper end of the search, evaluated before the search gives up there.
        tolerance: Of the root, relative to the larger of 1 and its magnitude.
        max_steps: Static bound on the number of evaluations.
    """
    slope_fn = jax.value_and_grad(fn)
    start, bound = jnp.asarray(start, jnp.float64), jnp.asarray(bound, jnp.float64)
    first_step = jnp.asarray(first_step, jnp.float64)

    def keep_going(state):
        *_, finished, steps = state
        return ~finished & (steps < max_steps)

    def step(state):
        low, high, position, last_move, _, _, steps = state
        value, slope = slope_fn(position)
        below = value < 0
        low = jnp.where(below, position, low)
        high = jnp.where(below, high, position)
        rising = (slope > 0) & jnp.isfinite(value / jnp.where(slope > 0, slope, 1.0))
        newton = position - value / jnp.where(rising, slope, 1.0)
        # Without an upper end: up, at most tenfold faster than before.
        reach = jnp.where(last_move > 0, last_move, jnp.inf)
        fallback = position + jnp.where(last_move > 0, 2 * last_move, 1.0)
        upward = jnp.where(rising, jnp.minimum(newton, position + 10 * reach), fallback)
        # Newton must halve its move inside the bracket, else bisect.
        inside = rising & (newton >= low) & (newton <= high)
        fast = jnp.abs(newton - position) <= 0.5 * jnp.abs(last_move)
        narrowed = jnp.where(inside & fast, newton, 0.5 * (low + high))
        open_ended = jnp.isinf(high)
        following = jnp.where(open_ended, jnp.minimum(upward, bound), narrowed)
        move = following - position
        small = jnp.abs(move) <= tolerance * jnp.maximum(1.0, jnp.abs(position))
        at_start = ~below & (position <= start)
        at_bound = below & (position >= bound)
        finished = small | at_start | at_bound | (value == 0) | ~jnp.isfinite(value)
        following = jnp.where(at_start | at_bound | (value == 0), position, following)
        return low, high, following, jnp.abs(move), value, finished, steps + 1

    begin = jnp.minimum(start + first_step, bound)
    state = (
        start,
        jnp.asarray(jnp.inf),
        begin,
        first_step,
        jnp.asarray(0.0),
        jnp.asarray(False),
        jnp.asarray(0),
    )
    _, _, position, _, value, finished, steps = jax.lax.while_loop(keep_going, step, state)
    outcome = Status.where(finished, Status.success, Status.max_steps)
    outcome = Status.where((value < 0) & (position >= bound), Status.no_bracket, outcome)
    return RootResult(
        position, value, steps, Status.where(jnp.isfinite(value), outcome, Status.not_finite)
    )


def implicit_root(
    fn: Callable[[Scalar], Scalar], solution: Scalar, *, active: Array | bool = True
) -> Scalar:
    """A known root of a scalar function, as a differentiable function of what it closes over.

    Args:
        fn: Its zero is `solution`; may close over traced values.
        solution: Found by any solver; its own derivatives are discarded.
        active: Where false the result is a constant (a bound, no root).
    """
    solution = jax.lax.stop_gradient(solution)
    active = jax.lax.stop_gradient(jnp.asarray(active))

    def equation(x):
        return jnp.where(active, fn(jnp.where(active, x, solution)), x - solution)

    def tangent_solve(linear, right):
        slope = linear(jnp.ones_like(right))
        return right / jnp.where(slope == 0, jnp.inf, slope)

    return jax.lax.custom_root(
        equation, solution, lambda _, start: jax.lax.stop_gradient(start), tangent_solve
    )
