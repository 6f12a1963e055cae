"""Information and impacts of HistFactory models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.workspace import flatten_workspace
from jaxlik.inference.fisher import expected_information, impacts, observed_information
from jaxlik.inference.workspace_profile import asimov_data, covariance, fit_parameters
from jaxlik.statmodels.packing import pack_workspace


def two_bins(scale=1.0):
    """A signal, a background with a shape, a size and a free normalisation; a control bin."""

    def sample(name, data, *modifiers):
        return {"name": name, "data": [scale * d for d in data], "modifiers": list(modifiers)}

    def normfactor(name):
        return {"name": name, "type": "normfactor", "data": None}

    tilt = {
        "name": "tilt",
        "type": "histosys",
        "data": {"hi_data": [scale * 44.0, scale * 63.0], "lo_data": [scale * 36.0, scale * 57.0]},
    }
    size = {"name": "size", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}}
    channels = [
        {
            "name": "SR",
            "samples": [
                sample("signal", [6.0, 14.0], normfactor("mu")),
                sample("background", [40.0, 60.0], normfactor("norm"), tilt, size),
            ],
        },
        {"name": "CR", "samples": [sample("background", [200.0], normfactor("norm"), size)]},
    ]
    observations = [
        {"name": "SR", "data": [round(scale * 47.0), round(scale * 78.0)]},
        {"name": "CR", "data": [round(scale * 210.0)]},
    ]
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    document = {"channels": channels, "observations": observations, "measurements": [measurement]}
    return flatten_workspace(document)


@pytest.mark.slow
def test_information_is_the_hessian_and_its_expectation():
    record = two_bins()
    model = pack_workspace(record)
    place = model.init + jnp.where(model.fixed, 0.0, 0.1)
    nll = lambda p, data: 0.5 * model.twice_nll(p, data)  # noqa: E731
    wanted = jax.hessian(nll)(place, model.data)
    np.testing.assert_allclose(observed_information(model, place), wanted, atol=1e-10)
    expected = expected_information(model, place)
    rates, jacobian = model.expected(place), jax.jacobian(model.expected)(place)
    constraints = jnp.diag(jnp.where(model.normal, 1 / model.width**2, 0.0))
    fisher = jacobian.T @ (jacobian / rates[:, None]) + constraints
    np.testing.assert_allclose(expected, fisher, atol=1e-10)


def test_information_is_what_scores_fluctuate_by():
    # The variance of the gradient over data is the expected information, bins being independent.
    record = two_bins()
    model = pack_workspace(record)
    place = model.init
    counts = asimov_data(model, place)
    slope = jax.grad(lambda data: model.expand(place, data).gradient[record.poi])(counts)
    variance = jnp.sum(jnp.where(model.real_bins, slope.observed**2 * counts.observed, 0.0))
    information = expected_information(model, place)[record.poi, record.poi]
    assert float(variance) == pytest.approx(float(information), rel=1e-10)


def refitted(model, fit, poi, parameter, value):
    held = model.fixed.at[parameter].set(True)
    start = fit.parameters.at[parameter].set(value)
    return float(fit_parameters(model, model.data, held, start).parameters[poi])


def test_impacts_are_shifts_of_the_best_mu():
    record = two_bins()
    model = pack_workspace(record)
    fit = fit_parameters(model)
    found = impacts(model, jnp.asarray(record.poi), fit)
    error = jnp.sqrt(jnp.diagonal(covariance(model, fit)))
    best = float(fit.parameters[record.poi])
    assert best > 0.1
    for i, name in enumerate(record.parameters):
        if name == "mu":
            assert float(found.up[i]) == float(found.down[i]) == 0.0
            continue
        for sign, shifts in ((1.0, found.up), (-1.0, found.down)):
            value = float(fit.parameters[i] + sign * error[i])
            wanted = refitted(model, fit, record.poi, i, value) - best
            assert float(shifts[i]) == pytest.approx(wanted, abs=1e-7)
    assert float(jnp.max(jnp.abs(found.up))) > 0.05
    assert not np.any(found.up[len(record.parameters) :])


def test_impacts_are_linear_for_many_events():
    record = two_bins(1e6)
    model = pack_workspace(record)
    found = impacts(model, jnp.asarray(record.poi), fit_parameters(model))
    largest = float(jnp.max(jnp.abs(found.linear)))
    np.testing.assert_allclose(found.up, found.linear, atol=0.1 * largest)
    np.testing.assert_allclose(found.down, -found.linear, atol=0.1 * largest)
