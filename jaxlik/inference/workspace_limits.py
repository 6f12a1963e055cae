r"""Upper limits of HistFactory models inside one compiled program: batched, differentiable.

The five expected limits and the observed one are found along one chain of certified fits,
each starting from the ones before. In the coordinates

$$ y_N = \sqrt{q_A(\mu)} \quad\text{(expected)}, \qquad
   y_{obs} = \sqrt{-2 \ln \mathrm{CL}_s(\mu)} \quad\text{(observed)} $$

both curves are nearly straight in mu, and the expected limits lie where
$\sqrt{q_A} = N + \Phi^{-1}(1 - \alpha\,\Phi(N))$ (arXiv:1007.1727, section 4.3, with CLs). Slopes
come from the envelope theorem, so that cubic Hermite interpolation finds most roots in two
or three evaluations.

All functions may be `vmap`ped over models of one bucket, data, parameters of interest and
levels. First derivatives of limits with respect to every number of the model and of the data
(signal yields, backgrounds, observed events) are exact, by the implicit function theorem.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from jaxlik.errors import Status, merge_status
from jaxlik.inference.asymptotics import BAND_SIGMAS, log_cls
from jaxlik.inference.newton import implicit_root
from jaxlik.inference.workspace_profile import (
    CERTIFIED,
    WorkspaceFit,
    asimov_data,
    at_bounds,
    attached,
    fit_from,
    free_block,
)
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.linear import solve_positive
from jaxlik.typing import Array, Bool, Float, Int, Scalar

FIRST_MU = 0.02
"""Where the search begins if the curvature at mu = 0 gives no scale."""

LARGEST_MU = 1e9

GROWTH = 3.0
"""The search goes upward by at most this factor while it has no upper end."""

ROOT_TOLERANCE = 1e-9
"""Of the coordinates above, at a limit."""

_MOST_EVALUATIONS = 60


class ReferenceFits(NamedTuple):
    """What every test of a workspace compares with.

    Attributes:
        null: Fit to the data at mu = 0.
        best: Fit with mu free, not below zero.
        asimov: Data expected at `null`, auxiliary ones included.
    """

    null: WorkspaceFit
    best: WorkspaceFit
    asimov: Data


class WorkspaceLimits(NamedTuple):
    """Upper limits on mu.

    Attributes:
        observed: From the data; `inf` where nothing constrains the signal.
        expected: At -2, -1, 0, 1, 2 sigma of the background-only distribution, increasing.
        certificate: Largest projected gradient of the fits at the limits.
        miss: Largest distance of the coordinates above from their targets.
        evaluations: Values of mu tried.
        status: `no_bracket` where nothing constrains the signal, `max_steps` where a root or a
            fit stayed above its tolerance.
    """

    observed: Scalar
    expected: Float[Array, " band"]
    certificate: Scalar
    miss: Scalar
    evaluations: Int[Array, ""]
    status: Status


class _Place(NamedTuple):
    """Both fits at one mu and where they stand on the curve whose root is sought."""

    mu: Scalar
    parameters: Float[Array, "set parameter"]
    tangents: Float[Array, "set parameter"]
    height: Scalar
    slope: Scalar
    certificate: Scalar


def has_several_minima(fits: ReferenceFits) -> Bool[Array, ""]:
    """Whether fits at other mu must look for the lowest of several minima."""
    return jnp.isfinite(jnp.minimum(fits.null.next_lowest, fits.best.next_lowest))


def bounded_below(model: HistFactory, poi: Int[Array, ""] | int) -> HistFactory:
    """The model with the parameter of interest free between zero and infinity."""
    lower = model.lower.at[poi].max(0.0)
    upper = model.upper.at[poi].set(jnp.inf)
    return eqx.tree_at(lambda m: (m.lower, m.upper), model, (lower, upper))


def reference_fits(model: HistFactory, poi: Int[Array, ""] | int, data: Data) -> ReferenceFits:
    """The fits at mu = 0 and at the best mu, and background-only Asimov data.

    Args:
        model: From `bounded_below`.
        poi: Position of the parameter of interest.
        data: Events and auxiliary data.
    """
    held, free = model.fixed.at[poi].set(True), model.fixed.at[poi].set(False)
    null = fit_from(model, data, held, model.init.at[poi].set(0.0)[None], thorough=True)
    # At zero a product of two parameters may have no slope.
    starts = jnp.stack([null.parameters.at[poi].set(0.1), model.init])
    best = fit_from(model, data, free, starts, thorough=True)
    return ReferenceFits(null, best, asimov_data(model, null.parameters))


def workspace_limits(
    model: HistFactory,
    poi: Int[Array, ""] | int,
    data: Data | None = None,
    *,
    level: Scalar | float = 0.95,
) -> WorkspaceLimits:
    """Observed and expected upper limits by CLs with q~_mu; differentiable.

    Args:
        model: The packed workspace.
        poi: Position of the parameter of interest; may be traced.
        data: Events and auxiliary data, those of the model by default.
        level: Confidence level.
    """
    model = bounded_below(model, poi)
    data = model.data if data is None else data
    level = jnp.asarray(level, jnp.float64)
    fixed_model, fixed_data = jax.lax.stop_gradient(model), jax.lax.stop_gradient(data)
    fixed_level = jax.lax.stop_gradient(level)
    fits = reference_fits(fixed_model, poi, fixed_data)
    found, places = find_limits(fixed_model, poi, fixed_data, fits, fixed_level)
    return _with_derivatives(found, places, fits, model, poi, data, level)


@eqx.filter_jit
def find_limits(
    model: HistFactory,
    poi: Int[Array, ""] | int,
    data: Data,
    fits: ReferenceFits,
    level: Scalar | float = 0.95,
) -> tuple[WorkspaceLimits, Float[Array, "limit set parameter"]]:
    """Limits from given reference fits, and the parameters at them; not differentiable.

    The axis `limit` is the band, then the observed one; the axis `set` is Asimov data, data
    (meaningful for the observed limit only).
    """
    targets, is_observed = _targets(level)
    held = model.fixed.at[poi].set(True)
    several = has_several_minima(fits)
    sets = jax.tree.map(lambda a, b: jnp.stack([a, b]), fits.asimov, data)
    start, first_observed = _origin(model, poi, fits, level)

    def evaluate(mu: Scalar, near: _Place, observed: Array) -> _Place:
        """Fits at mu, from those at a place nearby along their tangents."""
        ahead = near.parameters + (mu - near.mu) * near.tangents
        last = near.parameters.at[:, poi].set(mu)
        wanted = jnp.stack([observed | True, observed])
        reference = jnp.stack([jnp.asarray(0.0), fits.best.twice_nll])

        def fit(task: tuple) -> WorkspaceFit:
            counts, guess, last, needed = task
            guess = jnp.clip(guess, model.lower, model.upper).at[poi].set(mu)
            possible = jnp.isfinite(model.twice_nll(guess, counts))
            starts = jnp.stack([jnp.where(possible, guess, last), model.init.at[poi].set(mu)])
            return fit_from(model, counts, held | ~needed, starts, several & needed)

        found = jax.lax.map(fit, (sets, ahead, last, wanted))
        tangents = jnp.stack([_tangent(model, poi, f)[0] for f in _unstacked(found)])
        statistic = jnp.maximum(found.twice_nll - reference, 0.0)
        above = mu >= fits.best.parameters[poi]
        height, slope = jax.jvp(
            lambda q: _height(q, above, observed), (statistic,), (found.slope[:, poi],)
        )
        certificate = jnp.max(jnp.where(wanted, found.certificate, 0.0))
        return _Place(mu, found.parameters, tangents, height, slope, certificate)

    def root(here: _Place, task: tuple) -> tuple:
        target, observed = task
        first = jnp.where(observed, first_observed, here.mu + (target - here.height) / here.slope)
        begin = (here, first, jnp.where(observed, 0.0, here.mu), jnp.asarray(jnp.inf), 0, False)

        def keep_going(state: tuple) -> Array:
            _, mu, _, _, steps, done = state
            return ~done & (steps < _MOST_EVALUATIONS) & (mu < LARGEST_MU)

        def step(state: tuple) -> tuple:
            last, mu, low, high, steps, _ = state
            new = evaluate(mu, last, observed)
            low = jnp.where(new.height < target, mu, low)
            high = jnp.where(new.height < target, high, mu)
            # The curve of the observed limit is another one than that of the place before.
            last = jax.tree.map(lambda a, b: jnp.where(observed & (steps == 0), a, b), new, last)
            close = jnp.abs(new.height - target) < ROOT_TOLERANCE
            done = close | (high - low < 1e-14 * high)
            return new, _following(new, last, target, low, high), low, high, steps + 1, done

        end, mu, _, _, steps, _ = jax.lax.while_loop(keep_going, step, begin)
        return end, (end, jnp.abs(end.height - target), steps, mu >= LARGEST_MU)

    _, (places, misses, steps, endless) = jax.lax.scan(root, start, (targets, is_observed))
    certificate, miss = jnp.max(places.certificate), jnp.max(misses)
    solved = (miss <= 100 * ROOT_TOLERANCE) & (certificate <= CERTIFIED)
    outcome = Status.where(solved, Status.success, Status.max_steps)
    outcome = Status.where(jnp.any(endless), Status.no_bracket, outcome)
    status = merge_status(merge_status(fits.null.status, fits.best.status), outcome)
    limits = jnp.where(misses <= 1e-6, places.mu, jnp.inf)
    found = WorkspaceLimits(limits[-1], limits[:-1], certificate, miss, jnp.sum(steps), status)
    return found, places.parameters


def _targets(level: Scalar | float) -> tuple[Float[Array, " limit"], Array]:
    """Heights of the limits, the observed one last, and which is observed."""
    alpha, sigmas = 1 - jnp.asarray(level, jnp.float64), jnp.asarray(BAND_SIGMAS)
    expected = sigmas + ndtri(1 - alpha * ndtr(sigmas))
    observed = jnp.sqrt(-2 * jnp.log(alpha))
    return jnp.append(expected, observed), jnp.arange(len(BAND_SIGMAS) + 1) == len(BAND_SIGMAS)


def _tangent(
    model: HistFactory, poi: Int[Array, ""] | int, fit: WorkspaceFit
) -> tuple[Float[Array, " parameter"], Scalar]:
    """Slope of the fitted parameters in mu, and curvature of the profiled -ln L."""
    stays = (model.fixed | at_bounds(model, fit.parameters)).at[poi].set(True)
    slope = -solve_positive(free_block(fit.hessian, stays), jnp.where(stays, 0.0, fit.hessian[poi]))
    slope = jnp.where(jnp.all(jnp.isfinite(slope)), slope, 0.0).at[poi].set(1.0)
    return slope, jnp.sum(fit.hessian[poi] * slope)


def _origin(
    model: HistFactory, poi: Int[Array, ""] | int, fits: ReferenceFits, level: Scalar | float
) -> tuple[_Place, Scalar]:
    """The place mu = 0, and a first guess of the observed limit, both from curvatures there."""
    parameters = fits.null.parameters
    resting = fits.null._replace(hessian=model.expand(parameters, fits.asimov).hessian)
    (tangent, curvature), (seen, _) = (_tangent(model, poi, f) for f in (resting, fits.null))
    sigma = 1 / jnp.sqrt(jnp.where(curvature > 0, curvature, jnp.inf))
    sigma = jnp.where(sigma > 0, sigma, FIRST_MU)
    # Where the best mu is at its bound: where it would be without.
    beyond = -0.5 * fits.null.slope[poi] * sigma**2
    best = fits.best.parameters[poi]
    pull = jnp.clip(jnp.where(best > 0, best, beyond) / sigma, -3.0, None)
    guess = sigma * (pull + ndtri(1 - (1 - jnp.asarray(level, jnp.float64)) * ndtr(pull)))
    start = _Place(
        jnp.asarray(0.0),
        jnp.stack([parameters, parameters]),
        jnp.stack([tangent, seen]),
        jnp.asarray(0.0),
        1 / sigma,
        fits.null.certificate,
    )
    return start, jnp.where(jnp.isfinite(guess), guess, FIRST_MU)


def _height(statistic: Float[Array, " set"], above: Array, observed: Array) -> Scalar:
    """Height of the curve whose root is a limit; sets are Asimov data, data."""
    log_value = log_cls(jnp.where(above, statistic[1], 0.0), statistic[0])
    square = jnp.where(observed, -2 * log_value, statistic[0])
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _following(new: _Place, last: _Place, target: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Where to look next: the inverse cubic through two places, Newton, or bisection."""
    rising = new.slope > 0
    newton = new.mu + (target - new.height) / jnp.where(rising, new.slope, jnp.nan)
    apart = new.height - last.height
    share = (target - last.height) / jnp.where(apart == 0, jnp.nan, apart)
    cubic = (
        (1 + 2 * share) * (1 - share) ** 2 * last.mu
        + share * (1 - share) ** 2 * apart / last.slope
        + share**2 * (3 - 2 * share) * new.mu
        - share**2 * (1 - share) * apart / new.slope
    )
    within = (cubic > low) & (cubic < high) & (share > -1) & (share < 2)
    mu = jnp.where(within, cubic, newton)
    upward = jnp.where(mu > low, jnp.minimum(mu, GROWTH * new.mu), GROWTH * new.mu)
    inside = (mu > low) & (mu < high)
    return jnp.where(jnp.isinf(high), upward, jnp.where(inside, mu, 0.5 * (low + high)))


def _with_derivatives(
    found: WorkspaceLimits,
    places: Float[Array, "limit set parameter"],
    fits: ReferenceFits,
    model: HistFactory,
    poi: Int[Array, ""] | int,
    data: Data,
    level: Scalar | float,
) -> WorkspaceLimits:
    """The same limits as functions of the model and the data."""
    held, free = model.fixed.at[poi].set(True), model.fixed.at[poi].set(False)
    null = attached(model, data, held, model.init.at[poi].set(0.0), fits.null.parameters)
    asimov = asimov_data(model, null)
    best = attached(model, data, free, model.init, fits.best.parameters)
    lowest = model.twice_nll(best, data)
    mu_hat = fits.best.parameters[poi]

    def limit(mu: Scalar, solutions: Array, target: Scalar, observed: Array) -> Scalar:
        # Expected limits know Asimov data only.
        second = jax.tree.map(lambda a, b: jnp.where(observed, a, b), data, asimov)
        solutions = jnp.stack([solutions[0], jnp.where(observed, solutions[1], solutions[0])])
        sets = jax.tree.map(lambda a, b: jnp.stack([a, b]), asimov, second)
        reference = jnp.stack([jnp.asarray(0.0), jnp.where(observed, lowest, 0.0)])

        def off_target(mu: Scalar) -> Scalar:
            aims = model.init.at[poi].set(mu)

            def profile(counts: Data, solution: Float[Array, " parameter"]) -> Scalar:
                return model.twice_nll(attached(model, counts, held, aims, solution), counts)

            statistic = jax.vmap(profile)(sets, solutions) - reference
            return _height(statistic, mu >= mu_hat, observed) - target

        return implicit_root(off_target, mu, active=found.status == Status.success)

    limits = jax.vmap(limit)(jnp.append(found.expected, found.observed), places, *_targets(level))
    return found._replace(observed=limits[-1], expected=limits[:-1])


def _unstacked(fits: WorkspaceFit) -> list[WorkspaceFit]:
    return [jax.tree.map(lambda leaf, k=k: leaf[k], fits) for k in range(2)]
