r"""Profiling correlated backgrounds through pulls instead of nuisances.

For $\lambda = m + f(\theta)$, $f_i = \theta_i + \kappa_i\theta_i^2$ and
$\theta \sim N(0, V)$ the stationary point of -2 ln L obeys, bin by bin,

$$ u_i\lambda_i = n_i, \qquad w = 1 - u, \qquad
   \theta = -\tilde V w, \quad \tilde V = (V^{-1} + 2\,\mathrm{diag}(\kappa w))^{-1}. $$

An empty bin reads $u\lambda = 0$ with both factors at least zero: exactly the
condition of the wall lambda = 0, u being its multiplier. All bins become smooth in
one variable each, $x = \lambda - c u$ with a fixed scale c > 0,

$$ \lambda = \tfrac12(x + \sqrt{x^2 + 4cn}), \qquad u = (-x + \sqrt{x^2 + 4cn})/2c, $$

and what remains is a square system $R(x) = \lambda - m - f(\theta) = 0$. With c = V_ii
it is *linear* for a single bin, wall included, so Newton needs few steps. V is never
inverted: singular matrices and zero uncertainties are allowed. The dual value

$$ q(w) = D(\lambda, n) + 2w\cdot(m - \lambda) - w\cdot\tilde V w $$

is stationary at the solution in all variables, a lower bound of the profiled -2 ln L,
and finite wherever it is evaluated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxlik.statmodels.base import poisson_deviance
from jaxlik.typing import Array, Bool, Float, Int, Scalar

_TOLERANCE = 1e-10  # of the residual, in units of its natural spread
_LOOSE_TOLERANCE = 1e-6  # still a success where rounding forbids more
_NUM_HALVINGS = 12


class DualProblem(NamedTuple):
    """Data of one profile: background-plus-signal means, counts, spread of the background.

    Attributes:
        mean: Expected events at nuisances zero, signal included.
        observed: Observed events.
        covariance: Of the background [events^2]; positive semi-definite.
        root: L with L L^T = covariance; only used where there is a curvature.
        curvature: kappa [1/events], or `None` for the linear model.
    """

    mean: Float[Array, " region"]
    observed: Float[Array, " region"]
    covariance: Float[Array, "region region"]
    root: Float[Array, "region region"]
    curvature: Float[Array, " region"] | None


class DualPoint(NamedTuple):
    """Rates and pulls at one x, with their derivatives by x."""

    rate: Float[Array, " region"]
    pull: Float[Array, " region"]
    rate_slope: Float[Array, " region"]
    pull_slope: Float[Array, " region"]


class DualSolution(NamedTuple):
    """Outcome of `solve_dual`.

    Attributes:
        pull: w at the optimum.
        residual: Largest violation of the stationarity conditions, in units of the
            natural spread of each bin; the error of -2 ln L is of its square.
        num_steps: Newton steps taken.
        converged: Whether the residual is within tolerance.
    """

    pull: Float[Array, " region"]
    residual: Scalar
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


def default_scale(problem: DualProblem) -> Float[Array, " region"]:
    """The variances themselves, kept away from zero."""
    variance = jnp.diagonal(problem.covariance)
    return jnp.maximum(variance, 1e-6 * (1.0 + problem.observed))


def point_at(
    x: Float[Array, " region"], observed: Float[Array, " region"], scale: Float[Array, " region"]
) -> DualPoint:
    """Rates and pulls that satisfy u lambda = n exactly, for any real x."""
    square = x**2 + 4 * scale * observed
    gap = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    above = x > 0
    larger = 0.5 * (jnp.abs(x) + gap)
    safe = jnp.where(larger > 0, larger, 1.0)
    smaller = scale * observed / safe
    rate = jnp.where(above, larger, smaller)
    multiplier = jnp.where(above, smaller, larger) / scale
    # At gap = 0 an empty bin just touches its wall: either branch is right.
    safe_gap = jnp.where(gap > 0, gap, 1.0)
    rate_slope = jnp.where(gap > 0, rate / safe_gap, 1.0)
    return DualPoint(rate, 1 - multiplier, rate_slope, multiplier / safe_gap)


def x_from_pull(
    pull: Float[Array, " region"], problem: DualProblem, scale: Float[Array, " region"]
) -> Float[Array, " region"]:
    """A starting x: one fixed-point estimate of the rates from given pulls."""
    rate = problem.mean + _shift(pull, problem)
    return rate - scale * (1 - pull)


def nuisance_shift(
    pull: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """theta = -V~ w, the shift of the background in events before its curvature."""
    if problem.curvature is None:
        return -problem.covariance @ pull
    return -_effective_covariance(pull, problem) @ pull


def dual_value(pull: Float[Array, " region"], rate: Float[Array, " region"], problem: DualProblem):
    """The profiled -2 ln L, deviance form, to second order in the error of the pulls."""
    theta = nuisance_shift(pull, problem)
    distance = problem.mean - rate
    return jnp.sum(poisson_deviance(rate, problem.observed) + pull * (2 * distance + theta))


def solve_dual(
    problem: DualProblem,
    start: Float[Array, " region"],
    scale: Float[Array, " region"],
    *,
    max_steps: int = 50,
) -> DualSolution:
    """Damped Newton on R(x) = 0; globally convergent for the linear model.

    The step length is the best of a geometric ladder, all rungs evaluated at once.
    Not differentiable itself: see `attach_derivatives`.

    Args:
        problem: The profile to find.
        start: Starting x, e.g. from `x_from_pull`.
        scale: c > 0, any; speed depends on it, the solution does not.
        max_steps: Bound on the number of Newton steps.
    """
    spread = natural_spread(problem)
    lengths = 0.5 ** jnp.arange(_NUM_HALVINGS)

    def merit(x):
        residual = residual_at(x, problem, scale) / spread
        value = jnp.sum(residual**2)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def keep_going(state):
        _, value, steps, stuck = state
        return (value > _TOLERANCE**2) & ~stuck & (steps < max_steps)

    def step(state):
        x, value, steps, _ = state
        direction = _newton_direction(x, problem, scale)
        direction = jnp.where(jnp.isfinite(direction), direction, 0.0)
        trials = x[None, :] + lengths[:, None] * direction[None, :]
        values = jax.vmap(merit)(trials)
        best = jnp.argmin(values)
        better = values[best] < value
        return (
            jnp.where(better, trials[best], x),
            jnp.where(better, values[best], value),
            steps + 1,
            ~better,
        )

    state = (start, merit(start), jnp.asarray(0), jnp.asarray(False))
    x, value, steps, _ = jax.lax.while_loop(keep_going, step, state)
    pull = point_at(x, problem.observed, scale).pull
    residual = jnp.sqrt(value)
    return DualSolution(pull, residual, steps, residual < _LOOSE_TOLERANCE)


@jax.custom_jvp
def attach_derivatives(
    pull: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """The given pulls, as a differentiable function of the problem they solve.

    Derivatives follow from the implicit function theorem, so that the way the pulls
    were found leaves no trace; those with respect to the argument `pull` are ignored.
    """
    del problem
    return pull


@attach_derivatives.defjvp
def _attach_derivatives_jvp(primals, tangents):
    pull = attach_derivatives(*primals)
    problem, change = primals[1], tangents[1]
    scale = jax.lax.stop_gradient(default_scale(problem))
    rate = rate_from_pull(pull, problem)
    x = rate - scale * (1 - pull)
    here = point_at(x, problem.observed, scale)

    def at_fixed_x(values):
        point = point_at(x, values.observed, scale)
        return _misfit(point, values), point.pull

    (_, _), (misfit_dot, pull_dot) = jax.jvp(at_fixed_x, (problem,), (change,))
    x_dot = -solve_jacobian(here, problem, misfit_dot)
    return pull, here.pull_slope * x_dot + pull_dot


@jax.custom_jvp
def dual_optimum(pull: Float[Array, " region"], problem: DualProblem) -> Scalar:
    """The profiled -2 ln L at pulls that solve the problem, with exact derivatives.

    The first derivative costs no linear system (envelope theorem), the second one
    goes through `attach_derivatives`.
    """
    return dual_value(pull, rate_from_pull(pull, problem), problem)


@dual_optimum.defjvp
def _dual_optimum_jvp(primals, tangents):
    problem, change = primals[1], tangents[1]
    pull = attach_derivatives(primals[0], problem)
    rate = rate_from_pull(pull, problem)
    observed = problem.observed
    usable = (observed > 0) & (rate > 0)
    log_ratio = jnp.log(jnp.where(usable, observed, 1.0) / jnp.where(usable, rate, 1.0))
    theta = nuisance_shift(pull, problem)
    if problem.curvature is None:
        weight, from_curvature = pull, 0.0
    else:
        weight = pull * (1 + 2 * problem.curvature * theta)
        from_curvature = jnp.sum(2 * pull * theta**2 * change.curvature)
    slope = (
        jnp.sum(2 * pull * change.mean)
        + jnp.sum(2 * log_ratio * change.observed)
        - weight @ change.covariance @ weight
        + from_curvature
    )
    return dual_optimum(pull, problem), slope


def rate_from_pull(
    pull: Float[Array, " region"], problem: DualProblem
) -> Float[Array, " region"]:
    """Rates at the solution: n/u, and in empty bins what the nuisances leave."""
    multiplier = 1 - pull
    counted = (problem.observed > 0) & (multiplier > 0)
    touching = multiplier > 0
    ratio = problem.observed / jnp.where(counted, multiplier, 1.0)
    free = problem.mean + _shift(pull, problem)
    return jnp.where(problem.observed > 0, ratio, jnp.where(touching, 0.0, free))


def _shift(pull: Array, problem: DualProblem) -> Array:
    theta = nuisance_shift(pull, problem)
    return theta if problem.curvature is None else theta + problem.curvature * theta**2


def _effective_covariance(pull: Array, problem: DualProblem) -> Array:
    """(V^-1 + 2 diag(kappa w))^-1, by way of the root of V; nan where not positive."""
    identity = jnp.eye(pull.shape[0])
    weight = 2 * problem.curvature * pull
    inner = identity + problem.root.T @ (weight[:, None] * problem.root)
    half = solve_triangular(jnp.linalg.cholesky(inner), problem.root.T, lower=True)
    return half.T @ half


def _misfit(point: DualPoint, problem: DualProblem) -> Array:
    return point.rate - problem.mean - _shift(point.pull, problem)


def residual_at(
    x: Float[Array, " region"], problem: DualProblem, scale: Float[Array, " region"]
) -> Float[Array, " region"]:
    """R(x) = lambda - m - f(theta) [events]; zero at the optimum."""
    return _misfit(point_at(x, problem.observed, scale), problem)


def natural_spread(problem: DualProblem) -> Float[Array, " region"]:
    """The unit in which residuals are small or large [events]."""
    return jnp.sqrt(jnp.diagonal(problem.covariance) + problem.observed + 1.0)


def _newton_direction(x: Array, problem: DualProblem, scale: Array) -> Array:
    point = point_at(x, problem.observed, scale)
    return -solve_jacobian(point, problem, _misfit(point, problem))


def solve_jacobian(
    point: DualPoint, problem: DualProblem, right: Float[Array, " region"]
) -> Float[Array, " region"]:
    r"""Solve (diag(a) + F diag(e)) y = r, F symmetric, by one Cholesky factorisation.

    With t = sqrt(e) y the matrix diag(a) + sqrt(e) F sqrt(e) is positive definite; y
    is then recovered from whichever of a and e is not small.
    """
    if problem.curvature is None:
        response = problem.covariance
    else:
        effective = _effective_covariance(point.pull, problem)
        theta = -effective @ point.pull
        slope = 1 + 2 * problem.curvature * theta
        response = slope[:, None] * effective * slope[None, :]
    positive = point.pull_slope > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, point.pull_slope, 1.0)), 0.0)
    scaled = root[:, None] * response * root[None, :]
    matrix = scaled + jnp.diag(jnp.maximum(point.rate_slope, 1e-15))
    factor = jnp.linalg.cholesky(matrix)
    inner = cho_solve((factor, True), root * right)
    outer = right - response @ (root * inner)
    inactive = point.rate_slope > 0.5
    from_rate = outer / jnp.where(inactive, point.rate_slope, 1.0)
    from_pull = inner / jnp.where(inactive, 1.0, jnp.where(positive, root, 1.0))
    return jnp.where(inactive, from_rate, from_pull)
