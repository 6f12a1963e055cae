"""The functions of `pyhf.infer`, on certified fits: same arguments, same answers.

    from jaxlik.interop.pyhf_drop_in import fit, hypotest, upper_limit

Models and data are pyhf's, and so are the types and the order of what comes back. Nothing global
is changed: pyhf keeps its backend and its optimizer. What differs: every minimum is certified,
limits may lie beyond the upper bound of the parameter of interest, and errors say what to do;
those that pyhf has a class for can be caught as that, too (`jaxlik.interop.pyhf_errors`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyhf.pdf import Model

from jaxlik.errors import ConfigError
from jaxlik.interop.pyhf_calculators import AsymptoticCalculator, ToyCalculator
from jaxlik.interop.pyhf_errors import (
    HeldParameterOfInterestError,
    UnknownCalculatorError,
    UnsupportedOptionError,
)
from jaxlik.interop.pyhf_fits import check_poi
from jaxlik.interop.pyhf_limits import compiled_limits, searched_limits
from jaxlik.interop.pyhf_model import check_number, tensor, translate, twice_nll_at
from jaxlik.interop.pyhf_optimizer import WITHOUT_EFFECT, minimised, returned

__all__ = ["fit", "fixed_poi_fit", "hypotest", "twice_nll", "upper_limit"]

CALCULATORS = {"asymptotics": AsymptoticCalculator, "toybased": ToyCalculator}

_RETURNS = (
    "return_fitted_val",
    "return_result_obj",
    "return_uncertainties",
    "return_correlations",
)

_PASSED_OVER = ("do_grad", "do_stitch", *WITHOUT_EFFECT)

_TOLERANCE = {"asymptotics": 1e-9, "toybased": 1e-4}
"""Of limits that are searched for, relative."""


def twice_nll(pars: Any, data: Any, pdf: Model) -> Any:
    """-2 ln L with all constants, as `pyhf.infer.mle.twice_nll`.

    Args:
        pars: Parameters in the order of `pdf.config.par_names`.
        data: Main data followed by auxiliary data.
        pdf: The model.

    Returns:
        A tensor of one number.

    Raises:
        WrongParametersError: not as many numbers as parameters.
        WrongDataError: not as many numbers as data.
    """
    return tensor([twice_nll_at(translate(pdf), pars, data)])


def fit(
    data: Any,
    pdf: Model,
    init_pars: Sequence[float] | None = None,
    par_bounds: Sequence[Sequence[float]] | None = None,
    fixed_params: Sequence[bool] | None = None,
    **kwargs: Any,
) -> Any:
    """Parameters that describe data best, as `pyhf.infer.mle.fit`.

    Args:
        data: Main data followed by auxiliary data.
        pdf: The model.
        init_pars: Where the fit begins.
        par_bounds: Lower and upper bound of each parameter.
        fixed_params: Parameters that stay where the fit begins.
        kwargs: ``return_fitted_val``, ``return_result_obj``, ``return_uncertainties``,
            ``return_correlations``; options of pyhf's optimizers on how hard to try have no effect.

    Returns:
        Parameters, or a tuple of parameters, correlations, -2 ln L and result, those that were
        asked for. With uncertainties, parameters are rows of value and uncertainty; the
        uncertainty is zero for parameters that are fixed or stand at a bound.

    Raises:
        ConfigError: a start outside of its bounds.
        WrongDataError: not as many numbers as data.
        WrongParametersError: not as many starts, bounds or flags as parameters.
        UnsupportedOptionError: an option of another optimizer.
        FitNotCertifiedError: the fit did not converge.
        UntranslatableModelError: a model that jaxlik has no equivalent of.
    """
    asked = {name: kwargs.pop(name) for name in _RETURNS if name in kwargs}
    unknown = [n for n, value in kwargs.items() if n not in _PASSED_OVER and value is not None]
    if unknown:
        raise UnsupportedOptionError(
            f"options {', '.join(unknown)} are none of this fit, wanted some of "
            f"{', '.join(_RETURNS)}: leave them out, or fit with pyhf.infer.mle.fit"
        )
    found, result = minimised(data, pdf, init_pars, par_bounds, fixed_params, check=True)
    return returned(found, result, **asked)


def fixed_poi_fit(
    poi_val: Any,
    data: Any,
    pdf: Model,
    init_pars: Sequence[float] | None = None,
    par_bounds: Sequence[Sequence[float]] | None = None,
    fixed_params: Sequence[bool] | None = None,
    **kwargs: Any,
) -> Any:
    """A fit with the parameter of interest held, as `pyhf.infer.mle.fixed_poi_fit`.

    Args:
        poi_val: Its value.
        data: Main data followed by auxiliary data.
        pdf: The model.
        init_pars: Where the fit begins.
        par_bounds: Lower and upper bound of each parameter.
        fixed_params: Parameters that stay where the fit begins.
        kwargs: As in `fit`.

    Raises:
        NoParameterOfInterestError: the model has none.
        ConfigError: the value is outside of its bounds; others as `fit`.
    """
    index = check_poi(pdf, "to hold")
    init = list(pdf.config.suggested_init() if _missing(init_pars) else init_pars)  # type: ignore[reportArgumentType]
    fixed = list(pdf.config.suggested_fixed() if _missing(fixed_params) else fixed_params)  # type: ignore[reportArgumentType]
    translated = translate(pdf)
    check_number(translated, init, "init_pars")
    check_number(translated, fixed, "fixed_params")
    init[index], fixed[index] = poi_val, True
    return fit(data, pdf, init, par_bounds, fixed, **kwargs)


def hypotest(
    poi_test: Any,
    data: Any,
    pdf: Model,
    init_pars: Sequence[float] | None = None,
    par_bounds: Sequence[Sequence[float]] | None = None,
    fixed_params: Sequence[bool] | None = None,
    calctype: str = "asymptotics",
    return_tail_probs: bool = False,
    return_expected: bool = False,
    return_expected_set: bool = False,
    return_calculator: bool = False,
    **kwargs: Any,
) -> Any:
    """CLs, or the p-value of the background for q0, of one value; as `pyhf.infer.hypotest`.

    Args:
        poi_test: Tested value of the parameter of interest.
        data: Main data followed by auxiliary data.
        pdf: The model.
        init_pars: Where fits begin.
        par_bounds: Lower and upper bound of each parameter.
        fixed_params: Parameters that stay where fits begin.
        calctype: ``asymptotics`` or ``toybased``.
        return_tail_probs: Return CL_{s+b} and CL_b, too.
        return_expected: Return the median expected p-value, too.
        return_expected_set: Return those expected at -2, -1, 0, 1, 2 sigma, too.
        return_calculator: Return the calculator, a subclass of pyhf's, too.
        kwargs: Of the calculator: ``test_stat`` (``qtilde``, ``q``, ``q0``), and
            ``calc_base_dist`` or ``ntoys`` and ``track_progress``.

    Returns:
        The observed p-value, or a tuple of it and what was asked for, in that order.

    Raises:
        NoParameterOfInterestError: the model has none.
        HeldParameterOfInterestError: it is fixed.
        ConfigError: the tested value is outside of its bounds; others as `fit`.
        UnknownTestStatisticError: no such test statistic.
        UnknownCalculatorError: no such calculator.
    """
    settings = [init_pars, par_bounds, fixed_params]
    calculator = _calculator(calctype, data, pdf, settings, kwargs)
    statistic = calculator.teststatistic(poi_test)
    signal, background = calculator.distributions(poi_test)
    both, alone, ratio = map(tensor, calculator.pvalues(statistic, signal, background))
    discovery = calculator.test_stat == "q0"
    answers: list[Any] = [both if discovery else ratio]
    if return_tail_probs:
        answers.append([alone] if discovery else [both, alone])
    if return_expected or return_expected_set:
        of_both, _, of_ratio = calculator.expected_pvalues(signal, background)
        band = [tensor(value) for value in (of_both if discovery else of_ratio)]
        answers += [band[2]] if return_expected else []
        answers += [band] if return_expected_set else []
    if return_calculator:
        answers.append(calculator)
    return tuple(answers) if len(answers) > 1 else answers[0]


def upper_limit(
    data: Any,
    model: Model,
    scan: Any = None,
    level: float = 0.05,
    return_results: bool = False,
    **hypotest_kwargs: Any,
) -> Any:
    """Observed and expected limits, as `pyhf.infer.intervals.upper_limits.upper_limit`.

    Without a scan limits are roots, to nine digits (toys: four), and the level counts, which
    pyhf 0.7 forgets; they may lie above the upper bound of the parameter of interest, unless
    `par_bounds` are given.

    Args:
        data: Main data followed by auxiliary data.
        model: The model.
        scan: Values to test, between which limits are interpolated; increasing.
        level: p-value at the limits.
        return_results: Return the tested values and their tests, too.
        hypotest_kwargs: Arguments of `hypotest`.

    Returns:
        The observed limit, the expected ones at -2, -1, 0, 1, 2 sigma, and, if asked for, the
        tested values with their p-values.

    Raises:
        FitNotCertifiedError: a fit is not certified, or nothing constrains the signal.
        ConfigError: as `hypotest`, or a level that is none.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level:g}, wanted a number between 0 and 1, such as 0.05")
    if scan is not None:
        tests = [
            hypotest(mu, data, model, return_expected_set=True, **hypotest_kwargs) for mu in scan
        ]
        rows = np.array([[float(p) for p in (observed, *band)] for observed, band in tests])
        falling = np.asarray(scan, dtype=float)[::-1]
        limits = [float(np.interp(level, row[::-1], falling)) for row in rows.T]
        results = (scan, tests)
    else:
        limits, results = _roots(data, model, level, return_results, hypotest_kwargs)
    answer = (tensor(limits[0]), [tensor(limit) for limit in limits[1:]])
    return (*answer, results) if return_results else answer


def _roots(
    data: Any, model: Model, level: float, return_results: bool, kwargs: dict[str, Any]
) -> tuple[list[float], tuple[list[float], list[Any]]]:
    """Limits without a scan, and the tests behind them."""
    if not return_results and _is_usual(model, kwargs):
        _check_free(model, None)
        observed, expected = compiled_limits(data, model, level)
        return [observed, *expected.tolist()], ([], [])
    kwargs = dict(kwargs)
    calctype = kwargs.pop("calctype", "asymptotics")
    settings = [kwargs.pop(key, None) for key in ("init_pars", "par_bounds", "fixed_params")]
    index = check_poi(model, "to limit")
    if _missing(settings[1]):
        settings[1] = [*model.config.suggested_bounds()]
        settings[1][index] = (settings[1][index][0], np.inf)
    calculator = _calculator(calctype, data, model, settings, kwargs)
    if calculator.test_stat == "q0":
        raise ConfigError("test_stat is 'q0', which tests mu = 0 only; wanted 'qtilde' or 'q'")

    def test(mu: float) -> tuple[Any, list[Any]]:
        statistic = calculator.teststatistic(mu)
        distributions = calculator.distributions(mu)
        observed = calculator.pvalues(statistic, *distributions)[2]
        return observed, calculator.expected_pvalues(*distributions)[2]

    start = abs(float(model.config.suggested_init()[index])) or 1.0
    limits, tests = searched_limits(test, start, level, _TOLERANCE[calctype])
    return limits, (list(tests), list(tests.values()))


def _is_usual(model: Model, kwargs: dict[str, Any]) -> bool:
    """Whether limits are those of asymptotic CLs with q~_mu and the settings of the model."""
    usual = {"test_stat": "qtilde", "calctype": "asymptotics", "calc_base_dist": "normal"}
    asked = {key: value for key, value in kwargs.items() if value is not None}
    if any(usual.get(key) != value for key, value in asked.items()):
        return False
    return model.config.suggested_bounds()[check_poi(model, "to limit")][0] == 0


def _calculator(
    calctype: str,
    data: Any,
    pdf: Model,
    settings: Sequence[Any],
    kwargs: dict[str, Any],
) -> Any:
    """The calculator of a test, either kind."""
    if calctype not in CALCULATORS:
        raise UnknownCalculatorError(
            f"calctype is {calctype!r}, wanted one of {', '.join(CALCULATORS)}"
        )
    _check_free(pdf, settings[2])
    given = [None if _missing(values) else list(values) for values in settings]
    return CALCULATORS[calctype](data, pdf, *given, **kwargs)


def _check_free(pdf: Model, fixed_params: Sequence[bool] | None) -> None:
    """Raise unless there is a parameter of interest, and it is free."""
    index = check_poi(pdf, "to test")
    fixed = pdf.config.suggested_fixed() if _missing(fixed_params) else fixed_params
    check_number(translate(pdf), fixed, "fixed_params")  # type: ignore[reportArgumentType]
    if fixed[index]:  # type: ignore[reportOptionalSubscript]
        raise HeldParameterOfInterestError(
            f"parameter of interest {pdf.config.poi_name} is fixed, wanted it free: set its entry "
            f"of fixed_params (position {index}) to False"
        )


def _missing(values: Any) -> bool:
    return values is None or len(values) == 0
