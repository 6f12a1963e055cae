"""Upper limits of pyhf models: six roots of ln CLs in the parameter of interest.

The usual question, asymptotic CLs with q~_mu, has a compiled answer
(`jaxlik.inference.workspace_limits`). Any other test statistic, toys, bounds or starts are
searched for here, test by test.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from jaxlik.errors import ConvergenceError
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.interop.pyhf_errors import FitNotCertifiedError
from jaxlik.interop.pyhf_fits import problem_of
from jaxlik.interop.pyhf_model import as_array, data_of

LARGEST_MU = 1e9

_SMALLEST = 1e-300
"""CLs below this, zero of toys included, has the logarithm of this."""

Test = tuple[Any, list[Any]]
"""Observed p-value and the five expected ones, of one tested value."""


def compiled_limits(data: Any, pdf: Any, level: float) -> tuple[float, np.ndarray]:
    """Observed limit and the five expected ones, asymptotic CLs with q~_mu.

    Raises:
        FitNotCertifiedError: a fit or a root is not one, or nothing constrains the signal.
    """
    problem = problem_of(pdf)
    model, counts = jax.tree.map(jnp.asarray, (problem.model, data_of(problem.translated, data)))
    try:
        return WorkspaceAnalysis(model, problem.poi, counts).upper_limits(1 - level)
    except ConvergenceError as error:
        raise FitNotCertifiedError(str(error)) from error


def searched_limits(
    test: Callable[[float], Test], first: float, level: float, tolerance: float
) -> tuple[list[float], dict[float, Test]]:
    """Observed limit and the five expected ones, from tests at single values.

    Args:
        test: p-values at one tested value; they fall from above the level to below it.
        first: Where the search begins, positive.
        level: p-value at the limits.
        tolerance: Of the limits, relative.

    Returns:
        The limits, and all tests made, by tested value.

    Raises:
        FitNotCertifiedError: p-values are not numbers, or never fall to the level.
    """
    tests: dict[float, Test] = {}

    def height(mu: float, which: int) -> float:
        if mu not in tests:
            tests[mu] = test(mu)
        observed, expected = tests[mu]
        value = as_array(observed if which == 0 else expected[which - 1]).item()
        if not np.isfinite(value):
            raise FitNotCertifiedError(
                f"p-value at {mu:g} is {value}, wanted a number; with toys, draw more of them"
            )
        return float(np.log(max(value, _SMALLEST)) - np.log(level))

    limits = []
    for which in range(6):
        low, high = _bracket(lambda mu, which=which: height(mu, which), first, tests)
        root: Any = brentq(
            lambda mu, which=which: height(mu, which), low, high, rtol=np.float64(tolerance)
        )
        limits.append(float(root))
        first = limits[0] if which == 0 else first
    return limits, tests


def _bracket(
    height: Callable[[float], float], first: float, tests: dict[float, Test]
) -> tuple[float, float]:
    """The nearest tested values on both sides of a root; more are tested where there are none."""
    low, high = 0.0, np.inf
    for mu in sorted(tests):
        if height(mu) > 0:
            low = max(low, mu)
    for mu in sorted(tests):
        if mu > low and height(mu) <= 0:
            high = mu
            break
    step = max(first, low)
    while not np.isfinite(high):
        if height(step) > 0:
            low, step = step, 2 * step
        else:
            high = step
        if low > LARGEST_MU:
            raise FitNotCertifiedError(
                f"p-values stay above the level up to {LARGEST_MU:g}: the model does not "
                "constrain the signal"
            )
    step = min(first, high) / 2
    while low == 0.0:
        if height(step) > 0:
            low = step
        else:
            high, step = step, step / 4
        if step < 1 / LARGEST_MU:
            raise FitNotCertifiedError(
                f"p-values are below the level down to {step:g}: scale the signal so that its "
                "strength is near one"
            )
    return low, high
