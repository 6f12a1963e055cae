"""Certified fits of pyhf models, with numbers in pyhf's order.

Start, bounds, fixed parameters and data are arguments of one compiled program: none of them, nor
another model of the same bucket of sizes, compiles anything new.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pyhf.pdf import Model

from jaxlik.errors import ConfigError
from jaxlik.inference.workspace_profile import CERTIFIED, WorkspaceFit, compiled_fit
from jaxlik.interop.pyhf_errors import FitNotCertifiedError, NoParameterOfInterestError
from jaxlik.interop.pyhf_model import (
    TranslatedModel,
    check_number,
    constant_of,
    packed,
    translate,
)
from jaxlik.statmodels.histfactory import Data, HistFactory

_log = logging.getLogger(__name__)

_LARGEST_CONDITION = 1e13
"""Of a Hessian in units of its diagonal, beyond which its inverse is rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A model of pyhf with the settings of a fit, on the packed axis.

    Attributes:
        translated: The model and its maps.
        model: With these bounds, and this start and these flags as its own.
        held: Parameters that do not move.
        start: Where fits begin; value of those that are held.
        poi: Packed position of the parameter of interest, -1 without.
    """

    translated: TranslatedModel
    model: HistFactory
    held: np.ndarray
    start: np.ndarray
    poi: int

    def holding(self, value: float) -> tuple[np.ndarray, np.ndarray]:
        """Flags and start with the parameter of interest held at a value."""
        held, start = self.held.copy(), self.start.copy()
        held[self.poi], start[self.poi] = True, value
        return held, start


class PyhfFit(NamedTuple):
    """A certified fit.

    Attributes:
        parameters: In pyhf's order.
        twice_nll: -2 ln L, deviance form: differences keep their precision.
        constant: What pyhf's -2 ln L has more.
        hessian: Of -ln L, all parameters, in pyhf's order.
        stays: Parameters that were held or stand at a bound.
        certificate: Largest component of the projected gradient of -ln L.
        num_steps: Newton steps, of all starts.
        several_minima: Whether another certified minimum was met.
        position: Parameters on the packed axis.
    """

    parameters: np.ndarray
    twice_nll: float
    constant: float
    hessian: np.ndarray
    stays: np.ndarray
    certificate: float
    num_steps: int
    several_minima: bool
    position: np.ndarray

    @property
    def value(self) -> float:
        """-2 ln L with all constants, as pyhf has it."""
        return self.twice_nll + self.constant


def problem_of(
    pdf: Model,
    init_pars: Sequence[float] | None = None,
    par_bounds: Sequence[Sequence[float]] | None = None,
    fixed_params: Sequence[bool] | None = None,
    *,
    check: bool = True,
) -> Problem:
    """The settings of a fit; those that are `None` are the suggestions of the model.

    Args:
        pdf: The model.
        init_pars: Where fits begin.
        par_bounds: Lower and upper bound of each parameter; `None` for no bound.
        fixed_params: Parameters that stay at their start.
        check: Require starts between their bounds, as `pyhf.infer.mle.fit` does.

    Raises:
        UntranslatableModelError: from `translate`.
        WrongParametersError: not one entry for each parameter.
        ConfigError: a start outside its bounds.
    """
    translated, config = translate(pdf), pdf.config
    init = config.suggested_init() if _left_out(init_pars) else init_pars
    bounds = config.suggested_bounds() if _left_out(par_bounds) else par_bounds
    fixed = config.suggested_fixed() if _left_out(fixed_params) else fixed_params
    for values, what in ((bounds, "par_bounds"), (fixed, "fixed_params")):
        check_number(translated, values, what)  # type: ignore[reportArgumentType]
    limits = np.array(
        [_limits(pair) for pair in bounds],  # type: ignore[reportOptionalIterable]
        dtype=float,
    )
    start = packed(translated, init, "init_pars")
    order = translated.order
    if check:
        _check_start(translated.names, start[order], limits)
    lower, upper, held, _ = (array.copy() for array in translated.leaves.padded)
    lower[order], upper[order], held[order] = limits[:, 0], limits[:, 1], fixed
    model = translated.leaves.model_with(lower, upper, held, start)
    poi = -1 if config.poi_index is None else int(order[config.poi_index])
    return Problem(translated, model, held, start, poi)


def _left_out(values: Any) -> bool:
    return values is None or len(values) == 0


def _limits(pair: Sequence[float | None]) -> tuple[float, float]:
    low, high = pair
    return (-np.inf if low is None else low, np.inf if high is None else high)


def _check_start(names: Sequence[str], start: np.ndarray, bounds: np.ndarray) -> None:
    outside = ~((bounds[:, 0] <= start) & (start <= bounds[:, 1]))
    if outside.any():
        index = int(np.argmax(outside))
        low, high = bounds[index]
        raise ConfigError(
            f"fit starts with parameter {index} ({names[index]}) at {start[index]:g}, outside of "
            f"its bounds ({low:g}, {high:g}); wanted a value between them: change init_pars (or "
            "the tested value), or widen par_bounds"
        )


def check_poi(pdf: Model, purpose: str) -> int:
    """Position of the parameter of interest.

    Raises:
        NoParameterOfInterestError: the model has none.
    """
    index: int | None = pdf.config.poi_index
    if index is None:
        raise NoParameterOfInterestError(
            f"the model has no parameter of interest, wanted one {purpose}: name it with "
            "model.config.set_poi(name) or workspace.model(poi_name=name)"
        )
    return index


def certified_fit(
    problem: Problem,
    data: Data,
    *,
    held: np.ndarray | None = None,
    start: np.ndarray | None = None,
    thorough: bool = True,
) -> PyhfFit:
    """The lowest certified minimum, from a start and from the model's own.

    Args:
        problem: Model and settings.
        data: From `jaxlik.interop.pyhf_model.data_of`.
        held: Packed flags in place of those of the problem.
        start: Packed start in its place.
        thorough: Look for other minima, too; see `jaxlik.inference.workspace_profile.fit_from`.

    Raises:
        FitNotCertifiedError: the projected gradient stayed above `CERTIFIED`.
    """
    held = problem.held if held is None else held
    start = problem.start if start is None else start
    found = compiled_fit(problem.model, data, held, start, np.asarray(thorough))  # type: ignore[reportArgumentType]
    fit = _unpacked(problem, data, held, found)
    if not np.isfinite(fit.twice_nll):
        raise FitNotCertifiedError(
            f"fit: -2 ln L is {fit.twice_nll} at the start and wherever the fit went, wanted a "
            "number; a bin with events expects none, or data are not numbers: change the data or "
            "init_pars",
            fit,
        )
    if not fit.certificate <= CERTIFIED:
        raise FitNotCertifiedError(
            f"fit: projected gradient {fit.certificate:.1e} after {fit.num_steps} steps, wanted "
            f"below {CERTIFIED:g}; scale the signal so that its strength is near one",
            fit,
        )
    return fit


def _unpacked(problem: Problem, data: Data, held: np.ndarray, found: WorkspaceFit) -> PyhfFit:
    """The numbers of a fit in pyhf's order."""
    order, model = problem.translated.order, problem.model
    position = np.asarray(found.parameters)
    at_bound = (position <= model.lower) | (position >= model.upper)
    return PyhfFit(
        position[order],
        float(found.twice_nll),
        constant_of(problem.translated, data),
        np.asarray(found.hessian)[np.ix_(order, order)],
        np.asarray(held | at_bound)[order],
        float(found.certificate),
        int(found.num_steps),
        bool(np.isfinite(float(found.next_lowest))),
        position,
    )


def covariance_of(fit: PyhfFit, names: Sequence[str]) -> np.ndarray:
    """Inverse of the Hessian of -ln L over the parameters that are free to move.

    Zero for parameters that are held or stand at a bound. Not a number, with a warning in the
    log, where the Hessian is not positive: nothing then limits some parameter.

    Args:
        fit: A certified fit.
        names: Of all parameters, for the warning.
    """
    free = np.flatnonzero(~fit.stays)
    result = np.zeros_like(fit.hessian)
    if not len(free):
        return result
    block = fit.hessian[np.ix_(free, free)]
    unit = np.sqrt(np.abs(np.diagonal(block)))
    unit = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(block / np.outer(unit, unit))
    if values[0] * _LARGEST_CONDITION <= values[-1]:
        flattest = names[free[int(np.argmax(np.abs(vectors[:, 0])))]]
        _log.warning(
            "-ln L does not rise in all directions at its minimum, least in that of %s: there are "
            "no uncertainties; fix this parameter",
            flattest,
        )
        result[np.ix_(free, free)] = np.nan
        return result
    inverse = (vectors / values) @ vectors.T / np.outer(unit, unit)
    result[np.ix_(free, free)] = inverse
    return result


def correlation_of(covariance: np.ndarray) -> np.ndarray:
    """Correlations; zero, on the diagonal, too, for parameters without uncertainty."""
    unit = np.sqrt(np.diagonal(covariance))
    scale = np.outer(unit, unit)
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale != 0)
