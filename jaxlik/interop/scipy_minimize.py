"""SciPy's minimisers on an objective, with exact gradients and Hessians."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from scipy import optimize

from jaxlik.errors import ConfigError
from jaxlik.interop.objective_base import Objective

WITH_HESSIAN = ("newton-cg", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr")
"""Methods of `scipy.optimize.minimize` that take second derivatives."""

WITH_BOUNDS = ("nelder-mead", "l-bfgs-b", "tnc", "slsqp", "powell", "trust-constr", "cobyla")
"""Methods that take bounds."""

WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
"""Methods that take no gradient."""

UNFINISHED = 0.1
"""Projected gradient of -ln L above which a result of SciPy is no minimum."""


def minimize_arguments(
    objective: Objective, method: str = "L-BFGS-B", *, start: ArrayLike | None = None
) -> dict[str, Any]:
    """Keyword arguments for `scipy.optimize.minimize`: fun, x0, jac, hess, bounds, method.

    They are of the parameters that are not fixed, `objective.reduced`; `objective.expanded` gives
    all of them back.

    Args:
        objective: What to minimise.
        method: A method of SciPy.
        start: All parameters at the start; those of the objective by default.

    Raises:
        ConfigError: a method that cannot hold bounds, of parameters that have some.
    """
    reduced, name = objective.reduced, method.lower()
    first = objective.initial if start is None else np.asarray(start, dtype=np.float64)
    limited = bool(np.isfinite(reduced.lower).any() or np.isfinite(reduced.upper).any())
    if limited and name not in (*WITH_BOUNDS, "cobyqa"):
        which = np.flatnonzero(np.isfinite(reduced.lower) | np.isfinite(reduced.upper))[0]
        raise ConfigError(
            f"method {method} of SciPy knows no bounds, parameter {reduced.names[which]} has some; "
            f"take one of {', '.join(WITH_BOUNDS)}, or remove them by `with_bounds`"
        )
    found: dict[str, Any] = {"x0": first[objective.free], "method": method}
    if name in WITHOUT_GRADIENT:
        found["fun"] = reduced.value
    else:
        found |= {"fun": reduced.value_and_gradient, "jac": True}
    if name in WITH_HESSIAN:
        found["hess"] = reduced.hessian
    if limited:
        # Strictly inside: the barrier of trust-constr needs a start that is.
        found["bounds"] = optimize.Bounds(reduced.lower, reduced.upper, keep_feasible=True)  # type: ignore[reportArgumentType]
    return found


def minimize(
    objective: Objective,
    method: str = "L-BFGS-B",
    *,
    start: ArrayLike | None = None,
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
    callback: Any = None,
) -> optimize.OptimizeResult:
    """`scipy.optimize.minimize` on an objective.

    Args:
        objective: What to minimise.
        method: A method of SciPy.
        start: All parameters at the start; those of the objective by default.
        tol: As SciPy's.
        options: As SciPy's, for this method.
        callback: As SciPy's; it sees the parameters that are not fixed.

    Returns:
        SciPy's result with ``x`` and ``jac`` of all parameters, fixed ones included,
        ``parameters``, the values by name, and ``projected_gradient``. Whatever else it holds is of
        `objective.reduced`. ``success`` is false where SciPy says so, and where the projected
        gradient is above `UNFINISHED`, which SciPy does not look at. That happens where the best
        rate of an empty region is zero: -ln L ends in a wall there, `profiled_objective` has none.

    Raises:
        ConfigError: see `minimize_arguments`.
    """
    arguments = minimize_arguments(objective, method, start=start)
    found = optimize.minimize(**arguments, tol=tol, options=dict(options or {}), callback=callback)
    found.x = objective.expanded(found.x)
    found.jac = objective.gradient(found.x)
    found.parameters = objective.named(found.x)
    found.projected_gradient = projected_gradient(objective, found.x)
    if not found.projected_gradient <= UNFINISHED:
        found.success = False
        found.message = (
            f"{found.message}; but the projected gradient is {found.projected_gradient:.2g}, "
            f"wanted below {UNFINISHED:g}: no minimum, or the wall where a rate is zero"
        )
    return found


def projected_gradient(objective: Objective, x: ArrayLike) -> float:
    """Largest component of the gradient of -ln L that points inside: small at a minimum.

    Args:
        objective: What was minimised.
        x: All parameters.
    """
    point = np.asarray(x, dtype=np.float64)
    gradient = objective.gradient(point)
    low = (point <= objective.lower) & (gradient > 0)
    high = (point >= objective.upper) & (gradient < 0)
    return float(np.max(np.abs(np.where(low | high, 0.0, gradient)), initial=0.0))
