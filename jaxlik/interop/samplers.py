"""Objectives in samplers that know no gradients: emcee (ensembles) and dynesty (nested)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from jaxlik.errors import ConfigError
from jaxlik.interop.objective_base import SHOWN, Objective
from jaxlik.interop.optional import require
from jaxlik.typing import Float

if TYPE_CHECKING:
    from dynesty import NestedSampler
    from emcee import EnsembleSampler

WALKERS, LEAST_WALKERS = 4, 16
"""Walkers of emcee per parameter and altogether, unless asked for otherwise."""

BALL = 0.5
"""Standard deviation of the first walkers, in those of the likelihood."""

FIRST_WIDTH = 0.1
"""The same in the units of a parameter in which -ln L is not curved."""


def emcee_log_prob(
    objective: Objective,
) -> Callable[[Float[np.ndarray, "walker free"]], Float[np.ndarray, " walker"]]:
    """Log-likelihoods of many points at once, for ``EnsembleSampler(..., vectorize=True)``.

    The prior is flat between bounds, `-inf` outside. Vectors are of the parameters that are not
    fixed, `objective.reduced.names`.
    """
    reduced = objective.reduced

    def log_prob(points: Float[np.ndarray, "walker free"]) -> Float[np.ndarray, " walker"]:
        inside = np.clip(points, reduced.lower, reduced.upper)
        found = -reduced.batch(inside)
        outside = np.any(inside != points, axis=-1)
        return np.where(outside | np.isnan(found), -np.inf, found)

    return log_prob


def emcee_start(
    objective: Objective, num_walkers: int | None = None, *, seed: int = 0
) -> Float[np.ndarray, "walker free"]:
    """First walkers: a ball around the starting values, half as wide as the likelihood.

    Args:
        objective: The likelihood.
        num_walkers: By default `WALKERS` for each parameter that is not fixed, `LEAST_WALKERS` if
            that is more.
        seed: Of the random numbers.
    """
    reduced = objective.reduced
    number = _num_walkers(reduced, num_walkers)
    curvature = np.diagonal(reduced.hessian(reduced.initial))
    curved = np.isfinite(curvature) & (curvature > 0)
    spread = np.where(curved, BALL / np.sqrt(np.where(curved, curvature, 1.0)), FIRST_WIDTH)
    noise = np.random.default_rng(seed).normal(size=(number, reduced.num_parameters))
    points = reduced.initial + spread * noise
    # Reflected at bounds: clipped walkers would span no volume.
    points = np.where(points < reduced.lower, 2 * reduced.lower - points, points)
    points = np.where(points > reduced.upper, 2 * reduced.upper - points, points)
    return np.clip(points, reduced.lower, reduced.upper)


def emcee_sampler(
    objective: Objective, num_walkers: int | None = None, **options: Any
) -> "EnsembleSampler":
    """An `emcee.EnsembleSampler` that evaluates all walkers in one call.

    Run it from `emcee_start`; `objective.expanded` adds fixed parameters to its chain.

    Args:
        objective: The likelihood; fixed parameters stay.
        num_walkers: By default `WALKERS` for each parameter that is not fixed, `LEAST_WALKERS` if
            that is more.
        options: Passed on.

    Raises:
        MissingPackageError: emcee is not installed.
    """
    emcee = require("emcee", extra="fitters")
    reduced = objective.reduced
    return emcee.EnsembleSampler(
        _num_walkers(reduced, num_walkers),
        reduced.num_parameters,
        emcee_log_prob(objective),
        vectorize=True,
        **options,
    )


class NestedProblem(NamedTuple):
    """What nested samplers need.

    Attributes:
        loglikelihood: ln L of the parameters that are not fixed, without the Gaussian
            constraints that are part of the prior; deviance form, so that the evidence is relative
            to the saturated model.
        prior_transform: From the unit cube to these parameters.
        names: Of these.
    """

    loglikelihood: Callable[[Float[np.ndarray, " free"]], float]
    prior_transform: Callable[[Float[np.ndarray, " free"]], Float[np.ndarray, " free"]]
    names: tuple[str, ...]


def nested_problem(
    objective: Objective, bounds: Mapping[str, tuple[float, float]] | None = None
) -> NestedProblem:
    """Likelihood and prior for dynesty and its kind.

    Parameters with a Gaussian constraint have it as prior, truncated at their bounds; the
    others are flat between bounds.

    Args:
        objective: The likelihood; fixed parameters stay.
        bounds: In place of those of the objective, by name.

    Raises:
        ConfigError: a parameter without constraint and without finite bounds.
    """
    reduced = (objective.with_bounds(bounds) if bounds else objective).reduced
    lower, upper = reduced.lower, reduced.upper
    centre, width = reduced.centre, reduced.width
    gaussian = np.isfinite(width)
    endless = np.flatnonzero(~gaussian & ~(np.isfinite(lower) & np.isfinite(upper)))
    if endless.size:
        names = ", ".join(reduced.names[i] for i in endless[:SHOWN])
        i = endless[0]
        raise ConfigError(
            f"parameters {names} have no Gaussian constraint and bounds that are not finite "
            f"({lower[i]:g} to {upper[i]:g} for the first), so that there is no prior to sample; "
            "give `bounds`"
        )
    safe = np.where(gaussian, width, 1.0)
    weight = np.where(gaussian, 1 / safe**2, 0.0)
    low, high = ndtr((lower - centre) / safe), ndtr((upper - centre) / safe)

    def prior_transform(cube: Float[np.ndarray, " free"]) -> Float[np.ndarray, " free"]:
        normal = centre + safe * ndtri(low + cube * (high - low))
        flat = np.where(gaussian, 0.0, lower) + cube * np.where(gaussian, 0.0, upper - lower)
        return np.clip(np.where(gaussian, normal, flat), lower, upper)

    def loglikelihood(x: Float[np.ndarray, " free"]) -> float:
        value = reduced.value(x) - 0.5 * float(np.sum(weight * (x - centre) ** 2))
        return -np.inf if np.isnan(value) else -value

    return NestedProblem(loglikelihood, prior_transform, reduced.names)


def dynesty_sampler(
    objective: Objective,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    **options: Any,
) -> "NestedSampler":
    """A `dynesty.NestedSampler`; `objective.expanded` adds fixed parameters to its samples.

    Args:
        objective: The likelihood; fixed parameters stay.
        bounds: In place of those of the objective, by name.
        options: Passed on, ``nlive`` and ``rstate`` for example.

    Raises:
        ConfigError: see `nested_problem`.
        MissingPackageError: dynesty is not installed.
    """
    dynesty = require("dynesty", extra="fitters")
    problem = nested_problem(objective, bounds)
    return dynesty.NestedSampler(
        problem.loglikelihood, problem.prior_transform, len(problem.names), **options
    )


def _num_walkers(reduced: Objective, given: int | None) -> int:
    usual = max(WALKERS * reduced.num_parameters, LEAST_WALKERS)
    return usual if given is None else given
