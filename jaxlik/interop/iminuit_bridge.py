"""Minuit on an objective: names, limits, exact derivatives, the errors of a likelihood."""

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.typing import ArrayLike

from jaxlik.errors import ConfigError
from jaxlik.interop.objective_base import Objective
from jaxlik.interop.optional import require

if TYPE_CHECKING:
    from iminuit import Minuit

IMPOSSIBLE = 1e10
"""-ln L that Minuit is told where a rate is impossible: it turns infinities into `nan`."""

STEP = 0.1
"""First step of a parameter whose -ln L has no positive curvature at the start."""


def minuit(
    objective: Objective, *, start: ArrayLike | None = None, hessian: bool = False
) -> "Minuit":
    """A `Minuit` object ready for ``migrad()``, ``hesse()`` and ``minos()``.

    Parameters have the names, limits and fixed flags of the objective, first steps follow from
    the curvature, ``errordef`` is ``Minuit.LIKELIHOOD``. The gradient and the diagonal of the
    Hessian (where this version of iminuit takes it) are exact. For a parameter with limits
    ``errors`` is Minuit's mean over an interval in its own coordinate, which may differ by some
    per cent from the square root of ``covariance``. Where the best rate of an empty region is
    zero, -ln L ends in a wall that Minuit may stop at too early; `profiled_objective` has none.

    Args:
        objective: What to minimise.
        start: All parameters at the start; those of the objective by default.
        hessian: Hand over the whole Hessian: HESSE is then exact and MIGRAD needs a fraction of
            the calls. Only as long as no parameter is fixed, now or later: iminuit 2.33 confuses
            the rows of a Hessian with fixed parameters, and fails or gives wrong errors. Fix them
            by ``objective.with_fixed(...).reduced``.

    Raises:
        ConfigError: the Hessian is wanted, but parameters are fixed or iminuit takes none.
        MissingPackageError: iminuit is not installed.
    """
    iminuit = require("iminuit", extra="fitters")
    first = objective.initial if start is None else np.asarray(start, dtype=np.float64)
    functions = _Functions(objective)
    known = takes_second_derivatives(iminuit.Minuit)
    options: dict[str, Any] = {"grad": functions.gradient}
    if hessian:
        _check_hessian(objective, known)
        options["hessian"] = objective.hessian
    elif known:
        options["g2"] = functions.curvatures
    found = iminuit.Minuit(functions.value, first, name=objective.names, **options)
    found.errordef = iminuit.Minuit.LIKELIHOOD
    found.limits = list(zip(objective.lower, objective.upper, strict=True))
    found.fixed = objective.fixed.tolist()
    found.errors = _steps(objective, first)
    return found


def takes_second_derivatives(minuit_class: Any) -> bool:
    """Whether `Minuit` accepts second derivatives; older versions of iminuit do not."""
    return {"g2", "hessian"} <= set(inspect.signature(minuit_class.__init__).parameters)


def _check_hessian(objective: Objective, known: bool) -> None:
    if not known:
        raise ConfigError(
            "this iminuit takes no Hessian; install a newer one or leave hessian at False"
        )
    if objective.fixed.any():
        name = objective.names[int(np.argmax(objective.fixed))]
        raise ConfigError(
            f"parameter {name} is fixed, and iminuit confuses the rows of a Hessian with fixed "
            "parameters; fit `objective.reduced`, or leave hessian at False"
        )


class _Functions:
    """Value and gradient, which Minuit asks for in turn, from one evaluation of both."""

    def __init__(self, objective: Objective):
        self.objective = objective
        self.last: tuple[bytes, tuple[float, np.ndarray]] | None = None

    def _both(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        key = np.asarray(x, dtype=np.float64).tobytes()
        if self.last is None or self.last[0] != key:
            self.last = key, self.objective.value_and_gradient(x)
        return self.last[1]

    def value(self, x: np.ndarray) -> float:
        return min(self._both(x)[0], IMPOSSIBLE)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return self._both(x)[1]

    def curvatures(self, x: np.ndarray) -> np.ndarray:
        return np.diagonal(self.objective.hessian(x)).copy()


def _steps(objective: Objective, start: np.ndarray) -> np.ndarray:
    """One standard deviation, the other parameters held, where -ln L is curved."""
    curvature = np.diagonal(objective.hessian(start))
    curved = np.isfinite(curvature) & (curvature > 0)
    return np.where(curved, 1 / np.sqrt(np.where(curved, curvature, 1.0)), STEP)
