"""jaxlik as an optimizer of pyhf: every function of pyhf.infer runs on its fits."""

import contextlib
import inspect

import jax
import numpy as np
import pyhf
import pytest
from pyhf_cases import NORM, root_case, share_shape, simple_model, two_channels

from jaxlik.interop.pyhf_drop_in import hypotest
from jaxlik.interop.pyhf_errors import UnsupportedOptionError
from jaxlik.interop.pyhf_optimizer import jaxlik_optimizer

pytestmark = pytest.mark.filterwarnings(
    "ignore:jsonschema.RefResolver:DeprecationWarning", "ignore::RuntimeWarning"
)


@pytest.fixture(autouse=True)
def _shared_shape_and_backend(monkeypatch):
    share_shape(monkeypatch)
    before = pyhf.get_backend()
    yield
    pyhf.set_backend(*before)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    """A backend of pyhf with jaxlik's optimizer."""
    x64 = jax.config.jax_enable_x64
    # pyhf adds arrays of different rank.
    with jax.numpy_rank_promotion("allow"):
        pyhf.set_backend(request.param, custom_optimizer=jaxlik_optimizer())
        yield request.param
    assert jax.config.jax_enable_x64 == x64


@contextlib.contextmanager
def optimizer(name):
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", name)
    try:
        yield
    finally:
        pyhf.set_backend(*before)


def numbers(answer):
    return np.hstack([np.ravel(leaf) for leaf in jax.tree.leaves(answer)])


def test_arguments_are_those_of_pyhf():
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(c.minimize).parameters.values()]
        for c in (jaxlik_optimizer, pyhf.optimize.scipy_optimizer)
    )
    assert ours == theirs


def test_fits_are_tensors_of_the_backend(backend):
    model, data = simple_model()
    pars, value = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    assert isinstance(pars, pyhf.tensorlib.array_type)
    assert isinstance(value, pyhf.tensorlib.array_type)
    assert float(value) == pytest.approx(24.98393521, abs=1e-6)
    np.testing.assert_allclose(pars, [0.0, 1.0030512, 0.96266961], atol=5e-5)


@pytest.mark.parametrize("test_stat", ["qtilde", "q", "q0"])
def test_all_tests_of_pyhf_run_on_it(backend, test_stat):
    model, data = simple_model()
    mu = 0.0 if test_stat == "q0" else 1.0
    kwargs = {"test_stat": test_stat, "return_expected_set": True, "return_tail_probs": True}
    here = pyhf.infer.hypotest(mu, data, model, **kwargs)
    with optimizer("scipy"):
        theirs = pyhf.infer.hypotest(mu, data, model, **kwargs)
        ours = hypotest(mu, data, model, **kwargs)
    # What pyhf's fits leave is 3e-4 in the square root of a statistic of zero.
    np.testing.assert_allclose(numbers(here), numbers(theirs), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(numbers(here), numbers(ours), rtol=1e-7)


def test_asimov_data_limits_and_toys_of_pyhf_run_on_it(backend):
    model, data = simple_model()
    asimov = pyhf.infer.calculators.generate_asimov_data(1.0, data, model, None, None, None)
    # The docstring of pyhf 0.7.6.
    np.testing.assert_allclose(
        asimov, [60.61229858, 56.52802479, 270.06832542, 48.31545488], rtol=2e-5
    )
    if backend == "numpy":
        # pyhf 0.7 cannot search for limits with JAX: it looks for arrays in a dictionary.
        limit, _ = pyhf.infer.intervals.upper_limits.upper_limit(data, model)
        cls = pyhf.infer.hypotest(limit, data, model)
        assert float(cls) == pytest.approx(0.05, rel=1e-3)


def test_toys_of_pyhf_run_on_it(backend):
    model, data = simple_model()
    samples = []
    for name in (None, "scipy"):
        with optimizer(name) if name else contextlib.nullcontext():
            np.random.seed(0)  # noqa: NPY002 - pyhf draws from the global generator
            calculator = pyhf.infer.calculators.ToyCalculator(
                data, model, ntoys=5, track_progress=False
            )
            samples += [np.asarray(d.samples) for d in calculator.distributions(1.0)]
    np.testing.assert_allclose(samples[:2], samples[2:], atol=1e-4)


def test_fixed_values_stay_and_results_are_complete(backend):
    model, data = simple_model()
    pars, corr, value, result = pyhf.infer.mle.fixed_poi_fit(
        1.0,
        data,
        model,
        return_uncertainties=True,
        return_correlations=True,
        return_fitted_val=True,
        return_result_obj=True,
    )
    pars, corr = np.asarray(pars), np.asarray(corr)
    assert pars[0].tolist() == [1.0, 0.0]
    assert (pars[1:, 1] > 0).all()
    assert corr[0].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(np.diagonal(corr)[1:], 1.0)
    assert float(value) == float(result.fun)
    assert result.success
    assert "certified" in result.message
    with pytest.raises(AttributeError):
        _ = result.something


def excess():
    """The simple model with more events than it expects: all parameters inside their bounds."""
    model, data = simple_model()
    return model, [65, 60, *data[2:]]


MODELS = {
    "excess": excess,
    "two channels": two_channels,
    "shapesys": lambda: root_case("two channels")[:2],
    "normsys": lambda: root_case("coupled normsys")[:2],
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
def test_uncertainties_and_correlations_are_those_of_minuit(name, held):
    pytest.importorskip("iminuit")
    model, data = MODELS[name]()
    fixed = model.config.suggested_fixed()
    fixed[-1] |= held
    # Minuit bends coordinates between bounds, and its uncertainties with them.
    low = np.array(model.config.suggested_bounds())[:, 0]
    bounds = [(-100.0 if one <= 0 else one, 100.0) for one in low]
    asked = {"return_uncertainties": True, "return_correlations": True, "return_fitted_val": True}
    answers = []
    for chosen in (jaxlik_optimizer(), pyhf.optimize.minuit_optimizer(tolerance=1e-4, strategy=2)):
        pyhf.set_backend("numpy", chosen)
        answers.append(
            pyhf.infer.mle.fit(data, model, par_bounds=bounds, fixed_params=fixed, **asked)
        )
    (pars, corr, value), (theirs, their_corr, their_value) = answers
    assert value <= their_value + 1e-9
    assert value == pytest.approx(float(their_value), abs=1e-5)
    np.testing.assert_allclose(pars[:, 0], theirs[:, 0], atol=2e-3)
    np.testing.assert_allclose(pars[:, 1], theirs[:, 1], rtol=2e-3)
    np.testing.assert_allclose(corr, their_corr, atol=2e-3)


def test_flat_directions_have_no_uncertainties(caplog):
    two = [NORM, {"name": "other", "type": "normfactor", "data": None}]
    channel = {"name": "one", "samples": [{"name": "signal", "data": [5.0], "modifiers": two}]}
    model = pyhf.Model({"channels": [channel]})
    pyhf.set_backend("numpy", jaxlik_optimizer())
    pars = pyhf.infer.mle.fit([7.0], model, return_uncertainties=True)
    assert pars[0, 0] * pars[1, 0] == pytest.approx(7 / 5)
    assert np.isnan(pars[:, 1]).all()
    assert "fix this parameter" in caplog.text


def test_minos_runs_from_the_certified_minimum():
    iminuit = pytest.importorskip("iminuit")
    model, data = simple_model()
    data = [65, 60, *data[2:]]
    pyhf.set_backend("numpy", jaxlik_optimizer())
    pars, result = pyhf.infer.mle.fit(
        data, model, return_uncertainties=True, return_result_obj=True
    )
    fitted = result.minuit
    assert fitted.fixed == [False, False, False]
    assert fitted.fmin.is_valid
    fitted.minos("mu")
    low, high = fitted.params[0].merror
    best = float(result.fun)
    for shift in (low, high):
        value = pyhf.infer.mle.fixed_poi_fit(
            float(pars[0, 0]) + shift, data, model, return_fitted_val=True
        )[1]
        assert float(value) - best == pytest.approx(1.0, abs=2e-2)
    assert isinstance(fitted._real(), iminuit.Minuit)


@pytest.mark.parametrize("option", ["method", "solver_options"])
def test_options_of_other_optimizers_are_errors(option):
    with pytest.raises(pyhf.exceptions.Unsupported, match=option):
        jaxlik_optimizer(**{option: "SLSQP"})
    model, data = simple_model()
    pyhf.set_backend("numpy", jaxlik_optimizer(tolerance=1e-3, maxiter=10))
    with pytest.raises(UnsupportedOptionError, match=option):
        pyhf.infer.mle.fit(data, model, **{option: "SLSQP"})
    assert pyhf.infer.mle.fit(data, model, tolerance=None, strategy=1).shape == (3,)


def test_another_objective_is_not_minimised_as_if_it_were_the_likelihood():
    model, data = simple_model()
    init, bounds = model.config.suggested_init(), model.config.suggested_bounds()

    def chi_square(pars, data, pdf):
        return [0.0]

    with pytest.raises(pyhf.exceptions.Unsupported, match="chi_square"):
        jaxlik_optimizer().minimize(chi_square, data, model, init, bounds)


def test_another_model_is_an_error_with_a_remedy():
    model, data = simple_model()
    init, bounds = model.config.suggested_init(), model.config.suggested_bounds()
    objective = pyhf.infer.mle.twice_nll
    with pytest.raises(pyhf.exceptions.InvalidModel, match="set_backend"):
        jaxlik_optimizer().minimize(objective, data, object(), init, bounds)
    with pytest.raises(pyhf.exceptions.InvalidPdfParameters, match="parameter 3"):
        jaxlik_optimizer().minimize(objective, data, model, init, bounds, [(3, 1.0)])
