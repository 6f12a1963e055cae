"""Certified fits of HistFactory models in compiled code, and their derivatives.

A fit holds some parameters and moves the others; which ones, at which values, on which data
are arguments, so that one program per bucket of workspaces serves every question.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import Status
from jaxlik.inference.bounded import minimise_bounded
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.linear import inverse, solve, solve_positive
from jaxlik.typing import Array, Bool, Float, Int, Scalar

CERTIFIED = 1e-6
"""Largest component of the projected gradient of -ln L that a fit may leave."""

DISTINCT = 1e-5
"""Certified minima whose -2 ln L differ by more are different ones."""

WELL_KNOWN = 5.0
"""Normalisations this many standard deviations above their lower bound have one minimum."""


class WorkspaceFit(NamedTuple):
    """Parameters at the minimum of -2 ln L.

    Attributes:
        parameters: On the padded axis.
        twice_nll: Deviance form.
        slope: Of twice_nll in every parameter; zero where it is free.
        hessian: Of -ln L in every parameter, held ones included.
        certificate: Largest component of the projected gradient of -ln L.
        next_lowest: twice_nll of the next certified minimum met, infinite if none was.
        num_steps: Newton steps, of all starts.
        status: Why the numbers should not be used, if so.
    """

    parameters: Float[Array, " parameter"]
    twice_nll: Scalar
    slope: Float[Array, " parameter"]
    hessian: Float[Array, "parameter parameter"]
    certificate: Scalar
    next_lowest: Scalar
    num_steps: Array
    status: Status


class _Search(NamedTuple):
    """State of `fit_from`: which start is next, the last fit at an edge, the best fit."""

    number: Int[Array, ""]
    edge: Float[Array, " parameter"]
    skip: Bool[Array, ""]
    best: WorkspaceFit


def fit_from(
    model: HistFactory,
    data: Data,
    held: Bool[Array, " parameter"],
    starts: Float[Array, "start parameter"],
    thorough: Bool[Array, ""] | bool = False,
) -> WorkspaceFit:
    """The best certified fit from several starts.

    Free normalisations that control regions do not tie down may trade against each other, so
    that -ln L has several minima. A thorough search holds each of these at its lower bound,
    fits, releases it there, and fits again.

    Args:
        model: The packed workspace; its bounds hold for all parameters that are not held.
        data: Events and auxiliary data.
        held: Parameters that stay at the start.
        starts: Tried in this order until a fit is certified.
        thorough: Try all starts, then search as described.

    Returns:
        The lowest certified fit met, or the lowest of all with a status that says so.
    """
    size, num_starts = model.num_parameters, starts.shape[0]
    norms = model.normalisations
    last = num_starts + 2 * jnp.sum(norms < size)

    def unfinished(search: _Search) -> Array:
        needed = thorough | ((search.number < num_starts) & (search.best.certificate > CERTIFIED))
        return needed & (search.number < jnp.where(thorough, last, num_starts))

    def attempt(search: _Search) -> _Search:
        number, edge, skip, best = search
        given = number < num_starts
        norm = norms[jnp.clip((number - num_starts) // 2, 0, norms.shape[0] - 1)]
        at_edge = ~given & ((number - num_starts) % 2 == 0)
        aside = best.parameters.at[norm].set(model.lower.at[norm].get(mode="clip"), mode="drop")
        start = jnp.where(at_edge, aside, edge)
        start = jnp.where(given, starts[jnp.minimum(number, num_starts - 1)], start)
        skip = jnp.where(at_edge, _well_known(model, best, held, norm), skip)
        useless = ~given & skip
        # Under vmap fits that are done run on: hold all their parameters.
        stays = held.at[norm].max(at_edge, mode="drop") | useless | ~unfinished(search)
        found = minimise_bounded(
            lambda parameters: model.expand(parameters, data),
            start,
            model.lower,
            model.upper,
            stays,
            model.scale,
        )
        new = WorkspaceFit(
            found.position,
            2 * found.value,
            2 * found.gradient,
            found.hessian,
            found.certificate,
            best.next_lowest,
            best.num_steps + found.num_steps,
            found.status,
        )
        counts = given | ~(at_edge | useless)
        return _Search(number + 1, found.position, skip, _lower(best, new, counts))

    nothing = WorkspaceFit(
        starts[0],
        jnp.asarray(jnp.inf),
        jnp.zeros(size),
        jnp.zeros((size, size)),
        jnp.asarray(jnp.inf),
        jnp.asarray(jnp.inf),
        jnp.asarray(0),
        Status.not_finite,
    )
    begin = _Search(jnp.asarray(0), starts[0], jnp.asarray(False), nothing)
    return jax.lax.while_loop(unfinished, attempt, begin).best


def _well_known(
    model: HistFactory, fit: WorkspaceFit, held: Bool[Array, " parameter"], norm: Int[Array, ""]
) -> Bool[Array, ""]:
    """Whether a normalisation is held, or far above its lower bound for its uncertainty."""
    matrix = free_block(fit.hessian, held | at_bounds(model, fit.parameters))
    unit = jnp.zeros(held.shape[0]).at[norm].set(1.0, mode="drop")
    variance = jnp.sum(unit * solve_positive(matrix, unit))
    distance = jnp.sum(unit * (fit.parameters - model.lower))
    far = distance > WELL_KNOWN * jnp.sqrt(variance)
    return far | held.at[norm].get(mode="fill", fill_value=True)


def _lower(best: WorkspaceFit, new: WorkspaceFit, counts: Array) -> WorkspaceFit:
    """The lower of two fits, certified ones first; `counts` is false where the second is none."""
    good, fine = (new.certificate <= CERTIFIED) & counts, best.certificate <= CERTIFIED
    better = counts & ((good & ~fine) | ((good == fine) & (new.twice_nll < best.twice_nll)))
    apart = good & fine & (jnp.abs(new.twice_nll - best.twice_nll) > DISTINCT)
    other = jnp.where(apart, jnp.maximum(new.twice_nll, best.twice_nll), jnp.inf)
    lower = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best)
    return lower._replace(next_lowest=jnp.minimum(best.next_lowest, other), num_steps=new.num_steps)


@jax.jit
def compiled_fit(
    model: HistFactory,
    data: Data,
    held: Bool[Array, " parameter"],
    start: Float[Array, " parameter"],
    thorough: Bool[Array, ""],
) -> WorkspaceFit:
    """`fit_from` a start, then from the model's own: one program for all fits from the host."""
    starts = jnp.stack([start, jnp.where(held, start, model.init)])
    return fit_from(model, data, held, starts, thorough)


def fit_parameters(
    model: HistFactory,
    data: Data | None = None,
    held: Bool[Array | np.ndarray, " parameter"] | None = None,
    start: Float[Array | np.ndarray, " parameter"] | None = None,
    *,
    thorough: bool = False,
) -> WorkspaceFit:
    """The parameters that describe data best, those that are held staying at the start.

    Args:
        model: The packed workspace; its bounds hold for all parameters that are not held.
        data: Events and auxiliary data, those of the model by default.
        held: Parameters that stay at the start, those fixed by the model by default.
        start: Where to begin, as the model says by default.
        thorough: Look for other minima, see `fit_from`.

    Returns:
        The minimum; to be used only where its status is a success.
    """
    held = model.fixed if held is None else held
    start = model.init if start is None else start
    data = model.data if data is None else data
    return compiled_fit(model, data, held, start, np.asarray(thorough))  # type: ignore[reportArgumentType]


@eqx.filter_jit
def asimov_data(model: HistFactory, parameters: Float[Array, " parameter"]) -> Data:
    """Data, auxiliary ones included, that equal their expectation."""
    centre = jnp.where(model.poisson, model.width * parameters, parameters)
    return Data(model.expected(parameters), jnp.where(model.normal | model.poisson, centre, 0.0))


@eqx.filter_jit
def covariance(model: HistFactory, fit: WorkspaceFit) -> Float[Array, "parameter parameter"]:
    """Inverse of the Hessian of -ln L over the parameters that are free to move.

    Zero for fixed parameters and for those a bound holds.
    """
    stays = model.fixed | at_bounds(model, fit.parameters)
    return inverse(free_block(fit.hessian, stays)) - jnp.diag(jnp.where(stays, 1.0, 0.0))


def free_block(
    hessian: Float[Array, "parameter parameter"], stays: Bool[Array, " parameter"]
) -> Float[Array, "parameter parameter"]:
    """A Hessian with the rows and columns of parameters that stay replaced by the unit matrix."""
    both = stays[:, None] | stays[None, :]
    return jnp.where(both, jnp.diag(jnp.where(stays, 1.0, 0.0)), hessian)


def at_bounds(
    model: HistFactory, parameters: Float[Array, " parameter"]
) -> Bool[Array, " parameter"]:
    """Where parameters stand on one of their bounds."""
    return (parameters <= model.lower) | (parameters >= model.upper)


def attached(
    model: HistFactory,
    data: Data,
    held: Bool[Array, " parameter"],
    targets: Float[Array, " parameter"],
    solution: Float[Array, " parameter"],
) -> Float[Array, " parameter"]:
    """The parameters of a fit as a function of everything the fit was made of.

    By the implicit function theorem: first derivatives of the parameters are exact, and so are
    second derivatives of -2 ln L at them. Parameters at a bound stay there.

    Args:
        model: The packed workspace, traced.
        data: Events and auxiliary data, traced.
        held: Parameters the fit did not move.
        targets: Where it held them, traced; others are ignored.
        solution: Of the fit; its own derivatives are discarded.
    """
    solution = jax.lax.stop_gradient(solution)
    stays = held | at_bounds(model, solution)
    aims = jnp.where(held, targets, solution)
    fixed_model, fixed_data = jax.lax.stop_gradient((model, data))
    hessian = fixed_model.expand(solution, fixed_data).hessian
    matrix = jnp.where(stays[:, None], jnp.eye(solution.shape[0]), hessian)

    def equations(parameters: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        return jnp.where(stays, parameters - aims, model.expand(parameters, data).gradient)

    return jax.lax.custom_root(
        equations,
        solution,
        lambda _, start: jax.lax.stop_gradient(start),
        lambda _, right: solve(matrix, right),
    )


def profiled_twice_nll(
    model: HistFactory,
    poi: Int[Array, ""] | int,
    mu: Scalar | float,
    data: Data | None = None,
) -> Scalar:
    """-2 ln L in deviance form with every parameter but one fitted; second derivatives exact.

    Differentiable in mu, the data and every number of the model; `vmap` over models of one
    bucket works. Not a number where the fit is not certified.

    Args:
        model: The packed workspace.
        poi: Position of the parameter of interest.
        mu: Its value.
        data: Events and auxiliary data, those of the model by default.
    """
    data = model.data if data is None else data
    held = model.fixed.at[poi].set(True)
    start = model.init.at[poi].set(mu)
    fixed = jax.lax.stop_gradient((model, data, start))
    fit = fit_from(fixed[0], fixed[1], held, fixed[2][None])
    value = model.twice_nll(attached(model, data, held, start, fit.parameters), data)
    return jnp.where(fit.certificate <= CERTIFIED, value, jnp.nan)
