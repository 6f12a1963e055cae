r"""Profiling correlated backgrounds through forces instead of nuisances.

For $\lambda = m + \theta + \kappa\theta^2$ and $\theta \sim N(0, V)$ the stationary
point of -2 ln L obeys $\theta = -V\varphi$, where each bin pulls with the *force*

$$ \varphi_i = w_i\,(1 + 2\kappa_i\theta_i), \qquad w = 1 - u, \qquad u_i\lambda_i = n_i . $$

An empty bin reads $u\lambda = 0$ with both factors at least zero: exactly the condition
of the wall lambda = 0, u being its multiplier. With a fixed scale c > 0, all bins become
smooth in one variable each: the bin alone, its background held at $h$ with variance c,
answers with its own $\theta(h)$ and $\varphi(h) = (h - \theta)/c$; in the linear case,
with $x = h + m - c$, in closed form

$$ \lambda = \tfrac12(x + \sqrt{x^2 + 4cn}), \qquad u = (-x + \sqrt{x^2 + 4cn})/2c . $$

What remains is a square system $R(x) = \theta + V\varphi = 0$. With c = V_ii it is
*linear* for a single linear bin, wall included, so Newton needs few steps. V is never
inverted: singular matrices and zero uncertainties are allowed. The value

$$ D(\lambda, n) + 2w\cdot(m + \theta + \kappa\theta^2 - \lambda) + \varphi\cdot V\varphi $$

is stationary at the solution in all variables, so that its error is of second order,
and it is finite wherever it is evaluated; in the linear case it bounds -2 ln L from below.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.statmodels.base import poisson_deviance
from jaxlik.statmodels.linear import solve
from jaxlik.typing import Array, Bool, Float, Int, Scalar

_TOLERANCE = 1e-10  # of the residual, in units of its natural spread
_LOOSE_TOLERANCE = 1e-6  # still a success where rounding forbids more
_NUM_HALVINGS = 12
_NUM_BIN_STEPS = 6  # of the skewed one-bin problem; each squares its error
_STIFFEST = 0.1  # smallest curvature of that problem, in units of 1/c


class DualProblem(NamedTuple):
    """Data of one profile: background-plus-signal means, counts, spread of the background.

    Attributes:
        mean: Expected events at nuisances zero, signal included.
        observed: Observed events.
        covariance: Of the background [events^2]; positive semi-definite.
        curvature: kappa [1/events], or `None` for the linear model.
    """

    mean: Float[Array, " region"]
    observed: Float[Array, " region"]
    covariance: Float[Array, "region region"]
    curvature: Float[Array, " region"] | None


class BinState(NamedTuple):
    """Every bin on its own at one x: a point of the curve u lambda = n.

    Attributes:
        shift: theta [events].
        force: phi.
        shift_slope: d theta/dx; between 0 and 1 in the linear model.
        force_slope: d phi/dx; (1 - shift_slope)/c.
        mismatch: How far the one-bin problem is from solved; zero when linear.
    """

    shift: Float[Array, " region"]
    force: Float[Array, " region"]
    shift_slope: Float[Array, " region"]
    force_slope: Float[Array, " region"]
    mismatch: Float[Array, " region"]


class DualSolution(NamedTuple):
    """Outcome of `solve_dual`.

    Attributes:
        force: phi at the optimum.
        residual: Violation of the stationarity conditions, in units of the natural
            spread of each bin; the error of -2 ln L is of its square.
        num_steps: Newton steps taken.
        converged: Whether the residual is within tolerance.
    """

    force: Float[Array, " region"]
    residual: Scalar
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


class _Optimum(NamedTuple):
    """What follows from the force alone, bin by bin."""

    shift: Array
    pull: Array
    rate: Array
    stretch: Array  # 1 + 2 kappa theta


def default_scale(problem: DualProblem) -> Float[Array, " region"]:
    """The variances themselves, kept away from zero."""
    variance = jnp.diagonal(problem.covariance)
    return jnp.maximum(variance, 1e-6 * (1.0 + problem.observed))


def natural_spread(problem: DualProblem) -> Float[Array, " region"]:
    """The unit in which residuals are small or large [events]."""
    return jnp.sqrt(jnp.diagonal(problem.covariance) + problem.observed + 1.0)


def shift_from_force(
    force: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """Shifts of the background, theta = -V phi [events]."""
    return -problem.covariance @ force


def pull_from_force(
    force: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """Pulls 1 - n/lambda, half the slope of the profiled -2 ln L in the means."""
    return _optimum(force, problem).pull


def rate_from_force(
    force: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """Rates at the solution: n/u, and in empty bins what the nuisances leave."""
    return _optimum(force, problem).rate


def x_from_force(
    force: Float[Array, " region"], problem: DualProblem, scale: Float[Array, " region"]
) -> Float[Array, " region"]:
    """The x at which every bin has the given force, if the force solves the problem."""
    return shift_from_force(force, problem) + problem.mean + scale * (force - 1)


def bin_state(
    x: Float[Array, " region"], problem: DualProblem, scale: Float[Array, " region"]
) -> BinState:
    """Every bin on its own, for any real x."""
    if problem.curvature is None:
        rate, multiplier = _linear_bin(x, problem.observed, scale)
        total = rate + scale * multiplier
        safe = jnp.where(total > 0, total, 1.0)
        # Where an empty bin just touches its wall either branch is right.
        shift_slope = jnp.where(total > 0, rate / safe, 1.0)
        shift, force = rate - problem.mean, 1 - multiplier
        return BinState(shift, force, shift_slope, multiplier / safe, jnp.zeros_like(x))
    held = x - problem.mean + scale
    shift, multiplier = _skewed_bin(held, problem, problem.curvature, scale)
    force = (held - shift) / scale
    stretch = 1 + 2 * problem.curvature * shift
    rate = problem.mean + shift + problem.curvature * shift**2
    mismatch = force - stretch * (1 - multiplier)
    mismatch = mismatch * scale + (rate * multiplier - problem.observed)
    shift_slope, force_slope = _slopes(rate, multiplier, stretch, problem.curvature, scale)
    return BinState(shift, force, shift_slope, force_slope, mismatch)


def residual_at(state: BinState, problem: DualProblem) -> Float[Array, " region"]:
    """Violation R = theta + V phi of stationarity [events]; zero at the optimum."""
    return state.shift + problem.covariance @ state.force


def jacobian(state: BinState, problem: DualProblem) -> Float[Array, "region region"]:
    """Of the residual: diag(a) + V diag(e), a and e the slopes of the bins."""
    return jnp.diag(state.shift_slope) + problem.covariance * state.force_slope[None, :]


def solve_dual(
    problem: DualProblem,
    start: Float[Array, " region"],
    scale: Float[Array, " region"],
    *,
    tolerance: float = _TOLERANCE,
    max_steps: int = 50,
) -> DualSolution:
    """Damped Newton on R(x) = 0; globally convergent for the linear model.

    The step length is the best of a geometric ladder, all rungs evaluated at once.
    Not differentiable itself: see `attach_derivatives`.

    Args:
        problem: The profile to find.
        start: Starting x, e.g. from `x_from_force`.
        scale: c > 0, any; speed depends on it, the solution does not.
        tolerance: Of the residual in units of its natural spread.
        max_steps: Bound on the number of Newton steps.
    """
    spread = natural_spread(problem)
    lengths = 0.5 ** jnp.arange(_NUM_HALVINGS)

    def evaluate(x):
        state = bin_state(x, problem, scale)
        value = jnp.sum((residual_at(state, problem) / spread) ** 2)
        value = value + jnp.sum((state.mismatch / spread) ** 2)
        return x, state, jnp.where(jnp.isfinite(value), value, jnp.inf)

    def keep_going(carry):
        (_, _, value), steps, stuck = carry
        return (value > tolerance**2) & ~stuck & (steps < max_steps)

    def step(carry):
        here, steps, _ = carry
        x, state, value = here
        direction = -solve(jacobian(state, problem), residual_at(state, problem))
        direction = jnp.where(jnp.isfinite(direction), direction, 0.0)
        trials = jax.vmap(evaluate)(x[None, :] + lengths[:, None] * direction[None, :])
        best = jnp.argmin(trials[2])
        better = trials[2][best] < value
        here = jax.tree.map(lambda new, old: jnp.where(better, new[best], old), trials, here)
        return here, steps + 1, ~better

    carry = (evaluate(start), jnp.asarray(0), jnp.asarray(False))
    (_, state, value), steps, _ = jax.lax.while_loop(keep_going, step, carry)
    residual = jnp.sqrt(value)
    converged = residual <= max(tolerance, _LOOSE_TOLERANCE)
    return DualSolution(state.force, residual, steps, converged)


@jax.custom_jvp
def attach_derivatives(
    force: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """The given forces, as a differentiable function of the problem they solve.

    Derivatives follow from the implicit function theorem, so that the way the forces
    were found leaves no trace; those with respect to the argument `force` are ignored.
    """
    del problem
    return force


@attach_derivatives.defjvp
def _attach_derivatives_jvp(primals, tangents):
    problem, change = primals[1], tangents[1]
    force = attach_derivatives(*primals)
    here = _optimum(force, problem)
    scale = jax.lax.stop_gradient(default_scale(problem))
    multiplier = 1 - here.pull
    curvature = jnp.zeros_like(force) if problem.curvature is None else problem.curvature
    slope, stiffness = _slopes(here.rate, multiplier, here.stretch, curvature, scale)
    # Change of the force of a bin at fixed x, from differentiating u lambda = n.
    explicit = here.stretch * (multiplier * change.mean - change.observed)
    if problem.curvature is not None:
        weight = 2 * here.shift * here.pull * here.rate
        weight = weight + here.stretch * multiplier * here.shift**2
        explicit = explicit + weight * change.curvature
    explicit = explicit / _denominator(here.rate, multiplier, here.stretch, curvature, scale)
    right = scale * explicit - problem.covariance @ explicit - change.covariance @ force
    state = BinState(here.shift, force, slope, stiffness, jnp.zeros_like(force))
    return force, stiffness * solve(jacobian(state, problem), right) + explicit


@jax.custom_jvp
def dual_optimum(force: Float[Array, " region"], problem: DualProblem) -> Scalar:
    """The profiled -2 ln L at forces that solve the problem, with exact derivatives.

    The first derivative costs no linear system (envelope theorem), the second one
    goes through `attach_derivatives`.
    """
    here = _optimum(force, problem)
    distance = problem.mean + here.shift - here.rate
    if problem.curvature is not None:
        distance = distance + problem.curvature * here.shift**2
    deviance = poisson_deviance(here.rate, problem.observed)
    return jnp.sum(deviance + 2 * here.pull * distance - force * here.shift)


@dual_optimum.defjvp
def _dual_optimum_jvp(primals, tangents):
    problem, change = primals[1], tangents[1]
    force = attach_derivatives(primals[0], problem)
    here = _optimum(force, problem)
    usable = (problem.observed > 0) & (here.rate > 0)
    log_ratio = jnp.log(jnp.where(usable, problem.observed, 1.0))
    log_ratio = log_ratio - jnp.log(jnp.where(usable, here.rate, 1.0))
    slope = 2 * jnp.sum(here.pull * change.mean + log_ratio * change.observed)
    slope = slope - force @ change.covariance @ force
    if problem.curvature is not None:
        slope = slope + 2 * jnp.sum(here.pull * here.shift**2 * change.curvature)
    return dual_optimum(force, problem), slope


def _optimum(force: Array, problem: DualProblem) -> _Optimum:
    shift = shift_from_force(force, problem)
    free = problem.mean + shift
    pull, stretch = force, jnp.ones_like(force)
    if problem.curvature is not None:
        free = free + problem.curvature * shift**2
        stretch = 1 + 2 * problem.curvature * shift
        pull = force / jnp.where(stretch == 0, 1.0, stretch)
    multiplier = 1 - pull
    counted = (problem.observed > 0) & (multiplier > 0)
    ratio = problem.observed / jnp.where(counted, multiplier, 1.0)
    # An empty bin has either a rate or a multiplier: tell by the larger, not by zeros.
    touching = free < default_scale(problem) * multiplier
    empty = jnp.where(touching, 0.0, jnp.maximum(free, 0.0))
    return _Optimum(shift, pull, jnp.where(problem.observed > 0, ratio, empty), stretch)


def _linear_bin(x: Array, observed: Array, scale: Array) -> tuple[Array, Array]:
    """Rate and multiplier with lambda - c u = x and u lambda = n."""
    gap = jnp.sqrt(x**2 + 4 * scale * observed)
    larger = 0.5 * (jnp.abs(x) + gap)
    smaller = scale * observed / jnp.where(larger > 0, larger, 1.0)
    above = x > 0
    return jnp.where(above, larger, smaller), jnp.where(above, smaller, larger) / scale


def _skewed_bin(
    held: Array, problem: DualProblem, curvature: Array, scale: Array
) -> tuple[Array, Array]:
    """Shift and multiplier of every bin alone: minimum of (theta - h)^2/c + D(lambda(theta), n).

    Sequential quadratic programming: lambda is linearised, its curvature enters with the
    multiplier, and the linear problem has a closed form. The first step is the linear bin.
    """

    def step(_, carry):
        shift, multiplier = carry
        stretch = 1 + 2 * curvature * shift
        rate = problem.mean + shift + curvature * shift**2
        bend = jnp.maximum(2 * curvature * (1 - multiplier), (_STIFFEST - 1) / scale)
        variance = 1 / (1 / scale + bend)
        centre = variance * (held / scale + bend * shift)
        spread = jnp.maximum(stretch**2 * variance, 1e-12 * scale)
        x = rate + stretch * (centre - shift) - spread
        _, multiplier = _linear_bin(x, problem.observed, spread)
        return centre - variance * stretch * (1 - multiplier), multiplier

    start = (jnp.zeros_like(held), jnp.ones_like(held))
    return jax.lax.fori_loop(0, _NUM_BIN_STEPS, step, start, unroll=True)


def _denominator(rate: Array, multiplier: Array, stretch: Array, curvature: Array, scale: Array):
    total = rate + scale * (2 * curvature * (1 - multiplier) * rate + stretch**2 * multiplier)
    return jnp.where(total == 0, 1.0, total)


def _slopes(
    rate: Array, multiplier: Array, stretch: Array, curvature: Array, scale: Array
) -> tuple[Array, Array]:
    """Slopes d theta/dx and d phi/dx of a bin alone, free of the infinities of 1/lambda."""
    total = _denominator(rate, multiplier, stretch, curvature, scale)
    stiffness = 2 * curvature * (1 - multiplier) * rate + stretch**2 * multiplier
    flat = (rate == 0) & (multiplier == 0)
    return jnp.where(flat, 1.0, rate / total), stiffness / total
