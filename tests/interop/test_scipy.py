"""SciPy's minimisers find jaxlik's own certified minima."""

import functools

import jax
import numpy as np
import pytest
from objective_cases import SIGNAL, correlated, counting, workspace

from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import ConfigError
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import profiled_twice_nll_fn
from jaxlik.inference.workspace_profile import CERTIFIED, fit_parameters
from jaxlik.interop.objective import (
    objective_of_model,
    objective_of_workspace,
    profiled_objective,
)
from jaxlik.interop.scipy_minimize import minimize, minimize_arguments, projected_gradient
from jaxlik.statmodels.base import as_float64
from jaxlik.statmodels.packing import pack_workspace

METHODS = {
    "L-BFGS-B": {"ftol": 1e-15, "gtol": 1e-8},
    "trust-constr": {"gtol": 1e-9, "xtol": 1e-12, "barrier_tol": 1e-10},
    "TNC": {"ftol": 1e-15, "gtol": 1e-10},
    "SLSQP": {"ftol": 1e-14},
}


@pytest.fixture(scope="module")
def certified():
    """The fit of the workspace that says itself how good it is."""
    record = flatten_workspace(workspace())
    fit = fit_parameters(pack_workspace(record))
    assert float(fit.certificate) <= CERTIFIED
    return np.asarray(fit.parameters)[: len(record.parameters)], 0.5 * float(fit.twice_nll)


@pytest.mark.parametrize("method", METHODS)
def test_minimum_of_a_workspace_is_the_certified_one(method, certified):
    objective = objective_of_workspace(workspace())
    found = minimize(objective, method, options=METHODS[method])
    place, value = certified
    assert found.success
    # SciPy stops at a gradient of about 1e-6; values then agree to its square.
    assert found.fun == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(found.x, place, atol=2e-4)
    assert found.parameters["lumi"] == 1.0
    assert projected_gradient(objective, found.x) < 2e-3
    assert projected_gradient(objective, place) < 1e-6


MODELS = {"counting": (counting(), SIGNAL), "skewed": correlated()}


@functools.cache
def best_of(name):
    model, signal = MODELS[name]
    return jax.jit(lambda: fit_mu(profiled_twice_nll_fn(model, as_float64(signal))))()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr"])
def test_best_mu_is_that_of_fit_mu(method, name):
    model, best = MODELS[name], best_of(name)
    full = minimize(objective_of_model(*model), method, options=METHODS[method])
    alone = minimize(profiled_objective(*model), method, options=METHODS[method])
    for found in (full, alone):
        assert found.parameters["mu"] == pytest.approx(float(best.mu_hat), abs=1e-5)
        assert found.fun == pytest.approx(0.5 * float(best.twice_nll), abs=1e-9)


def test_minima_at_bounds_are_found():
    objective = objective_of_model(counting(observed=[3.0, 2.0]), SIGNAL)
    for method in ("L-BFGS-B", "trust-constr"):
        found = minimize(objective, method, options=METHODS[method])
        assert found.parameters["mu"] == pytest.approx(0.0, abs=1e-5)
        assert found.jac[0] > 0.1
    assert minimize(objective, tol=1e-12).parameters["mu"] == 0.0


def test_newton_without_bounds():
    objective = objective_of_model(counting(), SIGNAL)
    with pytest.raises(ConfigError, match="Newton-CG of SciPy knows no bounds, parameter mu"):
        minimize_arguments(objective, "Newton-CG")
    free = objective.with_bounds({"mu": (-np.inf, np.inf)})
    assert minimize(free, "Newton-CG").parameters["mu"] == pytest.approx(
        minimize(free, options=METHODS["L-BFGS-B"]).parameters["mu"], abs=1e-4
    )


def test_methods_without_gradient():
    objective = profiled_objective(counting(), SIGNAL)
    found = minimize(objective, "Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert found.parameters["mu"] == pytest.approx(minimize(objective).parameters["mu"], abs=1e-5)


def at_the_wall():
    """An empty region whose best rate is zero: -ln L is infinite beyond."""
    changed = {"observed": [0.0, 3.0], "background": [0.5, 2.0], "background_error": [0.8, 1.0]}
    return counting(**changed), np.array([0.5, 1.0])


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr", "SLSQP"])
def test_a_stop_at_the_wall_is_no_success(method):
    model, signal = at_the_wall()
    best = fit_mu(profiled_twice_nll_fn(model, as_float64(signal)))
    found = minimize(objective_of_model(model, signal), method)
    # SciPy calls all of these converged.
    assert found.fun > 0.5 * float(best.twice_nll) + 0.01
    assert not found.success
    assert "wall where a rate is zero" in found.message
    profiled = minimize(profiled_objective(model, signal), method)
    assert profiled.success
    # The barrier of trust-constr keeps mu a little above its bound.
    assert profiled.fun == pytest.approx(0.5 * float(best.twice_nll), abs=1e-4)
