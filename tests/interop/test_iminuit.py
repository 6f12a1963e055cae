"""Minuit on objectives: its minima, HESSE and MINOS errors are jaxlik's own."""

import jax
import numpy as np
import pytest
from objective_cases import SIGNAL, correlated, counting, workspace
from scipy.optimize import brentq

from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import ConfigError
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import profiled_twice_nll_fn
from jaxlik.inference.workspace_profile import CERTIFIED, covariance, fit_parameters
from jaxlik.interop import iminuit_bridge
from jaxlik.interop.iminuit_bridge import minuit
from jaxlik.interop.objective import (
    objective_of_model,
    objective_of_workspace,
    profiled_objective,
)
from jaxlik.statmodels.base import as_float64
from jaxlik.statmodels.packing import pack_workspace

iminuit = pytest.importorskip("iminuit")

MODELS = {"counting": (counting(), SIGNAL), "skewed": correlated()}


def fit(objective, **options):
    fitter = minuit(objective, **options)
    # The default stops at an estimated distance of 1e-4: too far for comparisons to 1e-4.
    fitter.tol = 1e-6
    fitter.migrad()
    fitter.hesse()
    assert fitter.valid
    return fitter


def assert_same_covariance(fitter, wanted, free, tolerance=1e-4):
    """Errors to a relative, correlations to an absolute tolerance."""
    found = np.array(fitter.covariance)[np.ix_(free, free)]
    wanted = wanted[np.ix_(free, free)]
    errors = [np.sqrt(np.diagonal(matrix)) for matrix in (found, wanted)]
    np.testing.assert_allclose(errors[0], errors[1], rtol=tolerance)
    correlations = [m / np.outer(e, e) for m, e in zip((found, wanted), errors, strict=True)]
    np.testing.assert_allclose(*correlations, atol=tolerance)


@pytest.mark.parametrize("hessian", [False, True], ids=["diagonal", "hessian"])
@pytest.mark.parametrize("name", MODELS)
def test_errors_of_hesse_are_the_inverse_hessian(name, hessian):
    model, signal = MODELS[name]
    objective = objective_of_model(model, signal)
    fitter = fit(objective, hessian=hessian)
    assert fitter.errordef == iminuit.Minuit.LIKELIHOOD
    wanted = objective.covariance(np.array(fitter.values))
    assert_same_covariance(fitter, wanted, np.arange(objective.num_parameters))
    # Nuisances have no limits: Minuit's errors are those of its covariance.
    errors = np.sqrt(np.diagonal(wanted))
    np.testing.assert_allclose(np.array(fitter.errors)[1:], errors[1:], rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_mu_and_its_error_are_those_of_the_profile(name):
    model, signal = MODELS[name]
    best = jax.jit(lambda: fit_mu(profiled_twice_nll_fn(model, as_float64(signal))))()
    # Without a limit on mu, for Minuit's errors at limits are averages.
    free = objective_of_model(model, signal, mu_bounds=(-np.inf, np.inf))
    fitter = fit(free)
    assert fitter.values["mu"] == pytest.approx(float(best.mu_hat), abs=1e-4)
    assert 2 * fitter.fval == pytest.approx(float(best.twice_nll), abs=1e-8)
    assert fitter.errors["mu"] == pytest.approx(float(best.mu_error), rel=1e-4)


@pytest.fixture(scope="module")
def packed():
    record = flatten_workspace(workspace())
    model = pack_workspace(record)
    return record, model, fit_parameters(model)


@pytest.fixture(scope="module")
def fitted():
    return fit(objective_of_workspace(workspace()))


def test_errors_of_a_workspace_are_those_of_the_certified_fit(packed, fitted):
    record, model, best = packed
    size = len(record.parameters)
    wanted = np.asarray(covariance(model, best))[:size, :size]
    assert fitted.parameters == record.parameters
    assert fitted.fixed["lumi"]
    assert fitted.limits["mu"] == (0.0, 10.0)
    np.testing.assert_allclose(np.array(fitted.values), best.parameters[:size], atol=1e-4)
    assert_same_covariance(fitted, wanted, np.flatnonzero(~record.fixed))
    exact = fit(objective_of_workspace(workspace()).reduced, hessian=True)
    free = np.ix_(~record.fixed, ~record.fixed)
    assert exact.nfcn < 0.2 * fitted.nfcn
    assert_same_covariance(exact, wanted[free], np.arange(size - 1))


def test_minos_interval_is_the_root_of_the_profile(packed, fitted):
    record, model, best = packed
    place = record.poi
    lowest, centre = float(best.twice_nll), float(best.parameters[place])
    fitted.minos("mu")

    def above(mu):
        held, start = model.fixed.at[place].set(True), model.init.at[place].set(mu)
        found = fit_parameters(model, None, held, start)
        assert float(found.certificate) <= CERTIFIED
        return float(found.twice_nll) - lowest - 1.0

    low, high = brentq(above, 0.0, centre), brentq(above, centre, centre + 5)
    found = fitted.merrors["mu"]
    assert found.is_valid
    # MINOS interpolates to a percent of its up value.
    assert found.lower == pytest.approx(low - centre, rel=2e-3)
    assert found.upper == pytest.approx(high - centre, rel=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_minos_of_models_is_the_root_of_the_profile(name):
    model, signal = MODELS[name]
    profiled = profiled_objective(model, signal)
    fitter = fit(objective_of_model(model, signal))
    fitter.minos("mu")
    best = fitter.values["mu"]
    lowest = profiled.value([best])

    def above(mu):
        return profiled.value([mu]) - lowest - 0.5

    found = fitter.merrors["mu"]
    assert above(0.0) > 0
    assert found.upper == pytest.approx(brentq(above, best, best + 10) - best, rel=2e-3)
    assert found.lower == pytest.approx(brentq(above, 0.0, best) - best, rel=2e-3)


def test_older_iminuit_gets_gradients_only(monkeypatch, fitted):
    monkeypatch.setattr(iminuit_bridge, "takes_second_derivatives", lambda _: False)
    objective = objective_of_workspace(workspace())
    fitter = fit(objective)
    assert fitter.fval == pytest.approx(fitted.fval, abs=1e-8)
    np.testing.assert_allclose(np.array(fitter.errors), np.array(fitted.errors), rtol=1e-3)
    with pytest.raises(ConfigError, match="takes no Hessian"):
        minuit(objective, hessian=True)


def test_hessian_with_fixed_parameters_is_refused():
    objective = objective_of_workspace(workspace())
    with pytest.raises(ConfigError, match="parameter lumi is fixed"):
        minuit(objective, hessian=True)


def test_minuit_survives_impossible_rates():
    model = counting(observed=[0.0, 3.0], background=[0.5, 2.0], background_error=[0.8, 1.0])
    signal = np.array([0.5, 1.0])
    best = fit_mu(profiled_twice_nll_fn(model, as_float64(signal)))
    fitter = minuit(objective_of_model(model, signal))
    fitter.migrad()
    above = fitter.fval - 0.5 * float(best.twice_nll)
    # Minuit stops at the wall of the empty region, a little above the minimum, and says valid.
    assert -1e-9 < above < 0.05
    profiled = minuit(profiled_objective(model, signal))
    profiled.migrad()
    # Minuit never reaches a limit: in its own coordinate the slope vanishes there.
    assert profiled.fval == pytest.approx(0.5 * float(best.twice_nll), abs=1e-3)
