"""jaxlik's fits as an optimizer of pyhf: all of `pyhf.infer` runs on them.

    pyhf.set_backend("numpy", custom_optimizer=jaxlik_optimizer())

pyhf hands its optimizers an objective, the data and the model. This one knows what the objective
of `pyhf.infer.mle` is, translates the model once (`jaxlik.interop.pyhf_model`), and fits the
translation with exact derivatives. An objective of another kind is an error, never minimised as
if it were -2 ln L.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pyhf.infer.mle import twice_nll
from pyhf.optimize.mixins import OptimizerMixin
from pyhf.pdf import Model
from scipy.optimize import OptimizeResult

from jaxlik.interop.pyhf_errors import UnsupportedOptionError, WrongParametersError
from jaxlik.interop.pyhf_fits import (
    PyhfFit,
    certified_fit,
    correlation_of,
    covariance_of,
    problem_of,
)
from jaxlik.interop.pyhf_minuit import FittedMinuit
from jaxlik.interop.pyhf_model import data_of, tensor

WITHOUT_EFFECT = ("maxiter", "tolerance", "strategy", "verbose")
"""Options that say how hard others should try; every fit here ends at its certificate."""


class jaxlik_optimizer(OptimizerMixin):
    """Optimizer of pyhf with certified fits, uncertainties and correlations.

    Works with every backend of pyhf; fits run in JAX whichever it is.

    Args:
        thorough: Look for other minima, too; see
            `jaxlik.inference.workspace_profile.fit_from`.
        kwargs: `maxiter`, `tolerance`, `strategy`, `verbose`: taken, and without effect.

    Raises:
        UnsupportedOptionError: any other option.
    """

    __slots__ = ["name", "thorough"]

    def __init__(self, *, thorough: bool = True, **kwargs: Any) -> None:
        self.name = "jaxlik"
        self.thorough = thorough
        _check_options(kwargs)
        common = ("maxiter", "verbose")
        given = {key: kwargs[key] for key in common if kwargs.get(key) is not None}
        super().__init__(**given)

    def minimize(
        self,
        objective: Callable,
        data: Any,
        pdf: Model,
        init_pars: Sequence[float],
        par_bounds: Sequence[Sequence[float]],
        fixed_vals: Sequence[tuple[int, float]] | None = None,
        return_fitted_val: bool = False,
        return_result_obj: bool = False,
        return_uncertainties: bool = False,
        return_correlations: bool = False,
        do_grad: bool | None = None,
        do_stitch: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The parameters that minimise -2 ln L, and what else is asked for.

        Args:
            objective: `pyhf.infer.mle.twice_nll`.
            data: Main data followed by auxiliary data.
            pdf: The model.
            init_pars: Where the fit begins.
            par_bounds: Lower and upper bound of each parameter.
            fixed_vals: Index and value of parameters that do not move.
            return_fitted_val: Return -2 ln L at the minimum, too.
            return_result_obj: Return a `scipy.optimize.OptimizeResult`, too.
            return_uncertainties: Parameters become an array of values and uncertainties.
            return_correlations: Return their correlations, too.
            do_grad: Without effect: derivatives are always exact.
            do_stitch: Without effect: fixed parameters cost nothing.
            kwargs: `maxiter`, `tolerance`, `strategy`, `verbose`: without effect.

        Returns:
            Parameters, or a tuple of parameters, correlations, -2 ln L and result, those that
            were asked for, in pyhf's types.

        Raises:
            UnsupportedOptionError: another objective, or an option of another optimizer.
            UntranslatableModelError: the model has no equivalent in jaxlik.
            FitNotCertifiedError: the fit did not converge.
        """
        del do_grad, do_stitch
        _check_options(kwargs)
        if objective is not twice_nll:
            name = getattr(objective, "__name__", repr(objective))
            raise UnsupportedOptionError(
                f"the objective is {name}, wanted pyhf.infer.mle.twice_nll; minimise others with "
                'pyhf.set_backend("numpy", "scipy")'
            )
        init = list(init_pars)
        fixed = [False] * len(init)
        for index, value in fixed_vals or []:
            if not 0 <= index < len(init):
                raise WrongParametersError(
                    f"fixed_vals name parameter {index}, wanted one of 0 to {len(init) - 1}"
                )
            init[index], fixed[index] = value, True
        fit, result = minimised(data, pdf, init, par_bounds, fixed, thorough=self.thorough)
        return returned(
            fit,
            result,
            return_fitted_val=return_fitted_val,
            return_result_obj=return_result_obj,
            return_uncertainties=return_uncertainties,
            return_correlations=return_correlations,
        )


def minimised(
    data: Any,
    pdf: Model,
    init_pars: Sequence[float] | None,
    par_bounds: Sequence[Sequence[float]] | None,
    fixed_params: Sequence[bool] | None,
    *,
    thorough: bool = True,
    check: bool = False,
) -> tuple[PyhfFit, OptimizeResult]:
    """A certified fit, and the same as SciPy's and pyhf's result object."""
    problem = problem_of(pdf, init_pars, par_bounds, fixed_params, check=check)
    fit = certified_fit(problem, data_of(problem.translated, data), thorough=thorough)
    return fit, _LazyResult(problem, data, fit)


class _LazyResult(OptimizeResult):
    """Result of a fit; covariance and the object for Minuit are made when they are asked for."""

    def __init__(self, problem: Any, data: Any, fit: PyhfFit) -> None:
        super().__init__(
            x=fit.parameters,
            fun=fit.value,
            success=True,
            message=f"certified: projected gradient of -ln L {fit.certificate:.1e}",
            certificate=fit.certificate,
            nfev=fit.num_steps,
            njev=fit.num_steps,
            nit=fit.num_steps,
        )
        makers = {
            "hess_inv": lambda: covariance_of(fit, problem.translated.names),
            "unc": lambda: np.sqrt(np.diagonal(self.hess_inv)),
            "corr": lambda: correlation_of(self.hess_inv),
            "minuit": lambda: FittedMinuit(problem, data, fit, self.hess_inv),
        }
        object.__setattr__(self, "_makers", makers)

    def __getattr__(self, name: str) -> Any:
        makers = object.__getattribute__(self, "__dict__").get("_makers", {})
        if name not in self and name in makers:
            self[name] = makers[name]()
        return super().__getattr__(name)


def returned(
    fit: PyhfFit,
    result: OptimizeResult,
    *,
    return_fitted_val: bool = False,
    return_result_obj: bool = False,
    return_uncertainties: bool = False,
    return_correlations: bool = False,
) -> Any:
    """What pyhf's `minimize` returns, in the tensors of its present backend."""
    parameters = tensor(fit.parameters)
    if return_uncertainties:
        parameters = tensor(np.stack([fit.parameters, result.unc], axis=1))
    answers: list[Any] = [parameters]
    if return_correlations:
        answers.append(tensor(result.corr))
    value = tensor(fit.value)
    if return_fitted_val:
        answers.append(value)
    if return_result_obj:
        result.x, result.fun = parameters, value
        answers.append(result)
    return tuple(answers) if len(answers) > 1 else answers[0]


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name not in WITHOUT_EFFECT and value is not None:
            raise UnsupportedOptionError(
                f"option {name}={value!r} is one of other optimizers, wanted none but "
                f"{', '.join(WITHOUT_EFFECT)} (without effect): leave it out"
            )
