"""Random workspaces with every modifier: never above pyhf's minima, the same tests."""

import jax
import numpy as np
import pyhf
import pytest
from pyhf_cases import share_shape, sound_workspace

from jaxlik.interop.pyhf_drop_in import fit, hypotest
from jaxlik.interop.pyhf_model import translate

pytestmark = pytest.mark.filterwarnings(
    "ignore:jsonschema.RefResolver:DeprecationWarning",
    # pyhf's own numerical derivatives leave the region of positive rates.
    "ignore::RuntimeWarning",
)

FITTED, TESTED = (1, 5, 6, 8, 9, 14, 15, 19), (1, 8, 9, 12, 14, 19)
"""Seeds of default runs: all of the first twenty are sound, and take pyhf two minutes."""


def seeds(quick):
    return [s if s in quick else pytest.param(s, marks=pytest.mark.slow) for s in range(20)]


@pytest.fixture(autouse=True)
def _shared_shape_and_backend(monkeypatch):
    share_shape(monkeypatch)
    before = pyhf.get_backend()
    pyhf.set_backend("numpy")
    yield
    pyhf.set_backend(*before)


def case(seed):
    workspace = pyhf.Workspace(sound_workspace(seed))
    model = workspace.model()
    return model, workspace.data(model)


def tight():
    """pyhf's SLSQP, asked to go on."""
    return pyhf.optimize.scipy_optimizer(tolerance=1e-12)


def possible(model, pars):
    """Whether rates are rates; pyhf's likelihood is finite for some that are negative."""
    return bool((model.expected_data(pars, include_auxdata=False) >= 0).all())


@pytest.mark.parametrize("seed", seeds(FITTED))
def test_fits_are_not_above_those_of_pyhf(seed):
    model, data = case(seed)
    ours, value = fit(data, model, return_fitted_val=True)
    # The value is that of pyhf's likelihood at these parameters.
    again = pyhf.infer.mle.twice_nll(ours, data, model)[0]
    assert value == pytest.approx(again, rel=1e-10, abs=1e-9)
    for optimizer in (pyhf.optimize.scipy_optimizer(), tight()):
        pyhf.set_backend("numpy", optimizer)
        try:
            pars, theirs = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
        except pyhf.exceptions.FailedMinimization:
            continue
        if possible(model, pars):
            assert value <= theirs + 1e-6


@pytest.mark.parametrize("seed", seeds(TESTED))
@pytest.mark.parametrize("test_stat", ["qtilde", "q", "q0"])
def test_p_values_are_those_of_pyhf(seed, test_stat):
    """With pyhf's own fits, begun at our minima and asked to go on."""
    model, data = case(seed)
    index, bounds = model.config.poi_index, model.config.suggested_bounds()
    if test_stat == "q":
        bounds[index] = (-0.2, 10.0)
    kwargs = {
        "par_bounds": bounds,
        "test_stat": test_stat,
        "return_expected_set": True,
        "return_tail_probs": True,
        "return_calculator": True,
    }
    mu = 0.0 if test_stat == "q0" else 1.0
    *ours, calculator = hypotest(mu, data, model, **kwargs)
    near = calculator.fitted_pars.fixed_poi_fit_to_data.tolist()
    pyhf.set_backend("numpy", tight())
    try:
        *theirs, their_calculator = pyhf.infer.hypotest(mu, data, model, near, **kwargs)
    except pyhf.exceptions.FailedMinimization:
        pytest.skip("pyhf's fit does not converge")
    if np.isnan(theirs[0]):
        # Asimov data cannot tell mu from zero: pyhf divides by that.
        assert float(calculator.sqrtqmuA_v) == pytest.approx(0.0, abs=1e-4)
        assert ours[0] == pytest.approx(1.0, abs=1e-4)
        return
    minima = [
        np.array(
            [
                twice_nll(model, fits.fixed_poi_fit_to_data, data),
                twice_nll(model, fits.free_fit_to_data, data),
            ]
        )
        for fits in (calculator.fitted_pars, their_calculator.fitted_pars)
    ]
    assert (minima[0] <= minima[1] + 1e-6).all()
    asimov = model.expected_data(calculator.fitted_pars.asimov_pars)
    fits = their_calculator.fitted_pars
    their_asimov = model.expected_data(fits.asimov_pars)
    q_asimov = twice_nll(model, fits.fixed_poi_fit_to_asimov, their_asimov) - twice_nll(
        model, fits.asimov_pars, their_asimov
    )
    unfinished = np.max(minima[1] - minima[0]) > 1e-5
    unfinished |= not np.allclose(asimov, their_asimov, rtol=1e-3, atol=1e-3)
    unfinished |= abs(float(calculator.sqrtqmuA_v) ** 2 - q_asimov) > 1e-4
    if unfinished:
        pytest.skip("pyhf's fits stop above the minimum")
    flat = [np.hstack(jax.tree.leaves(answer)) for answer in (ours, theirs)]
    # 1e-5 of a statistic that is zero is 3e-3 in its square root, and a third of it in p-values.
    np.testing.assert_allclose(*flat, atol=2e-3)


def twice_nll(model, pars, data):
    return float(pyhf.infer.mle.twice_nll(pars, data, model)[0])


@pytest.mark.parametrize("seed", [1, 8, 9])
def test_translated_samples_have_the_rates_of_pyhf(seed):
    model, _ = case(seed)
    translated = translate(model)
    rates = model.expected_data(model.config.suggested_init(), include_auxdata=False)
    ours = np.asarray(translated.model.expected(translated.model.init))
    np.testing.assert_allclose(ours[: len(rates)], rates, rtol=1e-12)
    nominal = np.asarray(translated.model.nominal)
    for channel in model.spec["channels"]:
        for sample in channel["samples"]:
            cells = translated.cells(sample["name"], channel["name"])
            np.testing.assert_array_equal(nominal[cells], sample["data"])
