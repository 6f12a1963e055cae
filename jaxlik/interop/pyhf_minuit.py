"""A certified fit as programs written for Minuit look at it.

What they read most, the flags and the summary, comes from the fit itself. Anything else, MINOS
above all, asks iminuit, which then starts at the minimum with exact gradients.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlik.interop.optional import require
from jaxlik.interop.pyhf_fits import Problem, PyhfFit
from jaxlik.interop.pyhf_model import data_of, packed
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Float, Scalar


class FitSummary(NamedTuple):
    """What a certified fit says of itself, in place of Minuit's.

    Attributes:
        fval: -2 ln L at the minimum.
        certificate: Largest component of the projected gradient of -ln L.
        num_steps: Newton steps.
        is_valid: Always; a fit that is not certified raises.
    """

    fval: float
    certificate: float
    num_steps: int
    is_valid: bool = True


@jax.jit
def _value_and_slopes(
    model: HistFactory, parameters: Float[Array, " parameter"], data: Data
) -> tuple[Scalar, Float[Array, " parameter"]]:
    expansion = model.expand(parameters, data)
    return 2 * expansion.value, 2 * expansion.gradient


class FittedMinuit:
    """The fit behind a result; attributes of `iminuit.Minuit` it does not know come from one.

    Attributes:
        fixed: Parameters that were held, in pyhf's order.
        fmin: Summary of the fit.
    """

    def __init__(self, problem: Problem, data: Any, fit: PyhfFit, covariance: np.ndarray) -> None:
        self.fixed = problem.held[problem.translated.order].tolist()
        self.fmin = FitSummary(fit.value, fit.certificate, fit.num_steps)
        self._problem, self._data, self._fit = problem, data, fit
        self._covariance = covariance
        self._minuit: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> Any:
        """Minuit at the minimum; made at the first call."""
        if self._minuit is None:
            self._minuit = _minuit_at(self._problem, self._data, self._fit, self._covariance)
        return self._minuit


def _minuit_at(problem: Problem, values: Any, fit: PyhfFit, covariance: np.ndarray) -> Any:
    """Minuit with the model's likelihood, started at the minimum of a fit.

    Raises:
        MissingPackageError: iminuit is not installed.
    """
    iminuit = require("iminuit", extra="fitters")
    translated, order = problem.translated, problem.translated.order
    data = data_of(translated, values)

    def evaluate(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        place = packed(translated, parameters)
        value, slopes = _value_and_slopes(problem.model, place, data)  # type: ignore[reportArgumentType]
        return float(value) + fit.constant, np.asarray(slopes)[order]

    minuit = iminuit.Minuit(
        lambda parameters: evaluate(parameters)[0],
        fit.parameters,
        grad=lambda parameters: evaluate(parameters)[1],
        name=translated.names,
    )
    lower, upper = np.asarray(problem.model.lower)[order], np.asarray(problem.model.upper)[order]
    minuit.limits = list(zip(lower, upper, strict=True))
    minuit.fixed = problem.held[order].tolist()
    minuit.errordef = iminuit.Minuit.LEAST_SQUARES  # the function is -2 ln L
    minuit.strategy = 0
    known = np.sqrt(np.diagonal(covariance))
    minuit.errors = np.where(known > 0, known, 0.1)
    minuit.migrad()
    minuit.hesse()
    return minuit
