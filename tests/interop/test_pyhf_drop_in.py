"""The functions of pyhf.infer on certified fits: same arguments, types, values and errors."""

import gc
import inspect
import weakref

import jax
import numpy as np
import pyhf
import pytest
from pyhf_cases import NORM, share_shape, simple_model

from jaxlik.errors import ConvergenceError, JaxlikError
from jaxlik.inference.workspace_profile import compiled_fit
from jaxlik.interop import pyhf_drop_in, pyhf_errors, pyhf_model
from jaxlik.interop.pyhf_drop_in import fit, fixed_poi_fit, hypotest, twice_nll, upper_limit
from jaxlik.interop.pyhf_fits import certified_fit, problem_of

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

RETURNS = {
    "return_tail_probs": True,
    "return_expected": True,
    "return_expected_set": True,
}
PEERS = {
    "fit": pyhf.infer.mle.fit,
    "fixed_poi_fit": pyhf.infer.mle.fixed_poi_fit,
    "twice_nll": pyhf.infer.mle.twice_nll,
    "hypotest": pyhf.infer.hypotest,
    "upper_limit": pyhf.infer.intervals.upper_limits.upper_limit,
}


@pytest.fixture(autouse=True)
def _shared_shape_and_backend(monkeypatch):
    share_shape(monkeypatch)
    before = pyhf.get_backend()
    pyhf.set_backend("numpy")
    yield
    pyhf.set_backend(*before)


def types(answer):
    """Type, shape and kind of an answer, part by part."""
    if isinstance(answer, (tuple, list)):
        return type(answer), [types(part) for part in answer]
    return type(answer), np.shape(answer), getattr(answer, "dtype", None)


@pytest.mark.parametrize("name", PEERS)
def test_arguments_are_those_of_pyhf(name):
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]
        for function in (getattr(pyhf_drop_in, name), PEERS[name])
    )
    assert ours == theirs


def test_documented_numbers_of_pyhf():
    # Docstrings of pyhf 0.7.6; its fits are right to about 1e-5 in the parameters.
    model, data = simple_model()
    best, value = fit(data, model, return_fitted_val=True)
    np.testing.assert_allclose(best, [0.0, 1.0030512, 0.96266961], atol=5e-5)
    assert value == pytest.approx(24.98393521, abs=1e-6)
    assert value <= 24.98393521
    held, value = fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    np.testing.assert_allclose(held, [1.0, 0.97224597, 0.87553894], atol=5e-5)
    assert value == pytest.approx(28.92218013, abs=1e-6)
    np.testing.assert_allclose(twice_nll([1.0, 1.0, 1.0], data, model), [30.77525435])
    cls, band = hypotest(1.0, data, model, return_expected_set=True, test_stat="qtilde")
    assert cls == pytest.approx(0.05251497, rel=2e-5)
    expected = [0.00260626, 0.01382005, 0.06445321, 0.23525644, 0.57303621]
    np.testing.assert_allclose(band, expected, rtol=1e-4)


@pytest.mark.parametrize("asked", [{}, {"return_fitted_val": True}], ids=["fit", "value"])
def test_fits_have_the_types_of_pyhf(asked):
    model, data = simple_model()
    assert types(fit(data, model, **asked)) == types(pyhf.infer.mle.fit(data, model, **asked))
    ours = fixed_poi_fit(1.0, data, model, **asked)
    assert types(ours) == types(pyhf.infer.mle.fixed_poi_fit(1.0, data, model, **asked))
    ours, theirs = (
        function(model.config.suggested_init(), data, model)
        for function in (twice_nll, pyhf.infer.mle.twice_nll)
    )
    assert types(ours) == types(theirs)


@pytest.mark.parametrize("asked", [(), *((name,) for name in RETURNS), tuple(RETURNS)])
@pytest.mark.parametrize("test_stat", ["qtilde", "q", "q0"])
def test_tests_have_the_types_and_values_of_pyhf(test_stat, asked):
    model, data = simple_model()
    kwargs = {name: True for name in asked}
    kwargs["test_stat"] = test_stat
    mu = 0.0 if test_stat == "q0" else 0.7
    ours, theirs = (f(mu, data, model, **kwargs) for f in (hypotest, pyhf.infer.hypotest))
    assert types(ours) == types(theirs)
    flat = [np.hstack(jax.tree.leaves(answer)) for answer in (ours, theirs)]
    # What pyhf's fits leave, 1e-7 of -2 ln L, is 3e-4 in the square root of a statistic of zero.
    np.testing.assert_allclose(*flat, rtol=2e-4, atol=2e-4)


def test_the_calculator_is_one_of_pyhf():
    model, data = simple_model()
    _, ours = hypotest(1.0, data, model, return_calculator=True)
    _, theirs = pyhf.infer.hypotest(1.0, data, model, return_calculator=True)
    assert isinstance(ours, pyhf.infer.calculators.AsymptoticCalculator)
    for name in vars(theirs.fitted_pars):
        ours_fit, theirs_fit = (getattr(c.fitted_pars, name) for c in (ours, theirs))
        assert types(ours_fit) == types(theirs_fit)
        np.testing.assert_allclose(ours_fit, theirs_fit, atol=2e-3, err_msg=name)
    assert ours.sqrtqmuA_v == pytest.approx(float(theirs.sqrtqmuA_v), rel=1e-5)
    # The calculator serves other tested values, too.
    again = ours.teststatistic(0.5)
    theirs.teststatistic(0.5)
    assert float(again) == pytest.approx(float(theirs.teststatistic(0.5)), abs=1e-4)


def test_clipped_base_distribution_is_that_of_pyhf():
    model, data = simple_model()
    kwargs = {"calc_base_dist": "clipped_normal", "return_expected_set": True}
    ours, theirs = (f(0.2, data, model, **kwargs) for f in (hypotest, pyhf.infer.hypotest))
    np.testing.assert_allclose([ours[0], *ours[1]], [theirs[0], *theirs[1]], rtol=1e-4)
    with pytest.raises(ValueError, match="calc_base_dist is 'other'"):
        hypotest(0.2, data, model, calc_base_dist="other")


def test_starts_bounds_and_fixed_parameters_are_obeyed():
    model, data = simple_model()
    init, bounds = [0.5, 1.1, 0.9], [(-5.0, 10.0), (0.5, 1.5), (0.5, 1.5)]
    fixed = [False, True, False]
    ours, theirs = (
        f(data, model, init, bounds, fixed, return_fitted_val=True)
        for f in (fit, pyhf.infer.mle.fit)
    )
    assert ours[0][1] == 1.1
    assert ours[0][0] < 0
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
    assert ours[1] == pytest.approx(float(theirs[1]), abs=1e-6)
    kwargs = {"init_pars": init, "par_bounds": bounds, "fixed_params": fixed, "test_stat": "q"}
    kwargs["return_expected_set"] = True
    ours, theirs = (f(1.0, data, model, **kwargs) for f in (hypotest, pyhf.infer.hypotest))
    np.testing.assert_allclose([ours[0], *ours[1]], [theirs[0], *theirs[1]], rtol=1e-4)


def test_uncertainties_and_correlations_are_those_of_the_hessian():
    model, data = simple_model()
    data = [65, 60, *data[2:]]
    pars, corr, value, result = fit(
        data,
        model,
        return_uncertainties=True,
        return_correlations=True,
        return_fitted_val=True,
        return_result_obj=True,
    )
    assert pars.shape == (3, 2)
    steps = 1e-3 * np.eye(3)

    def at(*shifts):
        return float(pyhf.infer.mle.twice_nll(pars[:, 0] + sum(shifts), data, model)[0])

    hessian = np.array(
        [[at(a, b) - at(a, -b) - at(-a, b) + at(-a, -b) for a in steps] for b in steps]
    )
    covariance = 2 * np.linalg.inv(hessian / 4e-6)
    np.testing.assert_allclose(pars[:, 1], np.sqrt(np.diagonal(covariance)), rtol=1e-4)
    unit = np.outer(pars[:, 1], pars[:, 1])
    np.testing.assert_allclose(corr, covariance / unit, atol=1e-4)
    np.testing.assert_allclose(result.hess_inv, covariance, rtol=1e-3)
    assert result.success
    assert result.certificate < 1e-6
    assert result.fun == value


@pytest.fixture
def _percentiles(monkeypatch):
    """pyhf 0.7 calls NumPy with a word that NumPy 2.4 does not know any more."""

    def percentile(self, values, q, axis=None, interpolation="linear"):
        return np.percentile(values, q, axis=axis, method=interpolation)

    monkeypatch.setattr(type(pyhf.tensorlib), "percentile", percentile)


@pytest.mark.slow
@pytest.mark.parametrize("test_stat", ["qtilde", "q0"])
@pytest.mark.usefixtures("_percentiles")
def test_toys_are_those_of_pyhf(test_stat):
    """The same seed draws the same toys; each has the statistic that pyhf finds."""
    model, data = simple_model()
    data = [60, 58, *data[2:]]
    mu = 0.0 if test_stat == "q0" else 1.0
    kwargs = {"calctype": "toybased", "ntoys": 30, "track_progress": False, **RETURNS}
    answers, toys = [], []
    for function in (hypotest, pyhf.infer.hypotest):
        np.random.seed(1)  # noqa: NPY002 - pyhf draws from the global generator
        *answer, calculator = function(
            mu, data, model, test_stat=test_stat, return_calculator=True, **kwargs
        )
        answers.append(answer)
        np.random.seed(2)  # noqa: NPY002
        toys.append(calculator.distributions(mu))
    assert types(answers[0]) == types(answers[1])
    # One toy of 30 may stand on the other side of the data by what pyhf's fits leave.
    # The last quantile is that of toys with a statistic of zero, where its fits leave noise.
    flat = [np.hstack(jax.tree.leaves(answer))[:-1] for answer in answers]
    np.testing.assert_allclose(*flat, atol=1.01 / 30)
    for ours, theirs in zip(*toys, strict=True):
        assert types(ours.samples) == types(theirs.samples)
        np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-4)
        quantiles = pyhf.tensorlib.astensor([-1.0, 0.0, 2.0])
        expected = theirs.expected_value(quantiles)
        np.testing.assert_allclose(ours.expected_value(quantiles), expected, atol=1e-4)


def test_limits_are_roots_of_the_test():
    model, data = simple_model()
    observed, expected = upper_limit(data, model)
    theirs = pyhf.infer.intervals.upper_limits.upper_limit(data, model)
    assert types((observed, expected)) == types(theirs)
    # pyhf's root is right to rtol = 1e-4.
    np.testing.assert_allclose([observed, *expected], [theirs[0], *theirs[1]], rtol=3e-4)
    assert hypotest(observed, data, model) == pytest.approx(0.05, abs=1e-7)
    for which, limit in enumerate(expected):
        _, band = hypotest(limit, data, model, return_expected_set=True)
        assert band[which] == pytest.approx(0.05, abs=1e-7)
    # The same by tests at single values.
    again, searched, (tested, tests) = upper_limit(data, model, return_results=True)
    np.testing.assert_allclose([again, *searched], [observed, *expected], rtol=1e-7)
    assert len(tested) == len(tests)
    assert types(tests[0][0]) == types(theirs[0])


def test_the_level_counts_and_limits_may_lie_beyond_the_bound():
    model, data = simple_model()
    limit, _ = upper_limit(data, model, level=0.1)
    assert hypotest(limit, data, model) == pytest.approx(0.1, abs=1e-7)
    weak = pyhf.simplemodels.uncorrelated_background(
        signal=[0.5, 0.4], bkg=[50.0, 52.0], bkg_uncertainty=[3.0, 7.0]
    )
    limit, _ = upper_limit(data, weak)
    assert limit > 10
    bounds = [(0, 100), *weak.config.suggested_bounds()[1:]]
    assert pyhf.infer.hypotest(float(limit), data, weak, par_bounds=bounds) == pytest.approx(
        0.05, rel=1e-4
    )
    with pytest.raises(ValueError, match="outside of its bounds"):
        upper_limit(data, weak, par_bounds=weak.config.suggested_bounds())


def test_limits_of_a_scan_are_interpolated_as_pyhf_does():
    model, data = simple_model()
    scan = np.linspace(0.2, 3, 6)
    ours, theirs = (
        f(data, model, scan, return_results=True)
        for f in (upper_limit, pyhf.infer.intervals.upper_limits.upper_limit)
    )
    assert types(ours) == types(theirs)
    np.testing.assert_allclose([ours[0], *ours[1]], [theirs[0], *theirs[1]], rtol=1e-4)


def test_limits_with_q_are_roots_of_its_test():
    model, data = simple_model()
    bounds = [(-10.0, 10.0), *model.config.suggested_bounds()[1:]]
    kwargs = {"par_bounds": bounds, "test_stat": "q"}
    observed, expected = upper_limit(data, model, **kwargs)
    cls = pyhf.infer.hypotest(float(observed), data, model, **kwargs)
    assert cls == pytest.approx(0.05, rel=1e-3)
    assert np.all(np.diff(expected) > 0)


def test_a_model_is_translated_once_and_forgotten_with_it(monkeypatch):
    model, data = simple_model()
    calls = []
    original = pyhf_model._translated
    monkeypatch.setattr(pyhf_model, "_translated", lambda pdf: calls.append(pdf) or original(pdf))
    first = hypotest(1.0, data, model)
    assert hypotest(1.0, data, model) == first
    fit(data, model)
    assert len(calls) == 1
    calls.clear()
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_data_values_patches_and_bounds_compile_nothing_new():
    model, data = simple_model()
    hypotest(1.0, data, model)
    before = compiled_fit._cache_size()
    hypotest(2.0, [60, 50, *data[2:]], model)
    patched = pyhf.simplemodels.uncorrelated_background(
        signal=[3.0, 19.0], bkg=[40.0, 41.0], bkg_uncertainty=[4.0, 5.0]
    )
    hypotest(1.0, data, patched, test_stat="q", par_bounds=[(-3, 8), (0.1, 5), (0.1, 5)])
    fit(data, patched, fixed_params=[False, True, False])
    assert compiled_fit._cache_size() == before


def no_poi():
    norm = {"name": "normal", "type": "normfactor", "data": None}
    sample = {"name": "background", "data": [5.0], "modifiers": [norm]}
    return pyhf.Model({"channels": [{"name": "one", "samples": [sample]}]}, poi_name=None)


WRONG = {
    "short data": (lambda f, m, d: f.fit(d[:-1], m), "wanted 4 numbers", "InvalidPdfData"),
    "short parameters": (
        lambda f, m, d: f.twice_nll([1.0, 1.0], d, m),
        "wanted 3 entries",
        "InvalidPdfParameters",
    ),
    "start outside": (
        lambda f, m, d: f.fit(d, m, init_pars=[11.0, 1.0, 1.0]),
        r"parameter 0 \(mu\) at 11",
        ValueError,
    ),
    "poi outside": (lambda f, m, d: f.hypotest(10.1, d, m), "widen par_bounds", ValueError),
    "poi below": (lambda f, m, d: f.hypotest(-1.0, d, m), "widen par_bounds", ValueError),
    "poi fixed": (
        lambda f, m, d: f.hypotest(1.0, d, m, fixed_params=[True, False, False]),
        "position 0",
        "InvalidModel",
    ),
    "no poi": (lambda f, m, d: f.hypotest(1.0, [5.0], no_poi()), "set_poi", "UnspecifiedPOI"),
    "no poi to hold": (
        lambda f, m, d: f.fixed_poi_fit(1.0, [5.0], no_poi()),
        "set_poi",
        "UnspecifiedPOI",
    ),
    "statistic": (
        lambda f, m, d: f.hypotest(1.0, d, m, test_stat="chi2"),
        "wanted one of qtilde, q, q0",
        "InvalidTestStatistic",
    ),
    "calculator": (
        lambda f, m, d: f.hypotest(1.0, d, m, calctype="bootstrap"),
        "wanted one of asymptotics, toybased",
        KeyError,
    ),
    "option": (
        lambda f, m, d: f.fit(d, m, solver="other"),
        "solver",
        "Unsupported",
    ),
}


class Peer:
    """pyhf's functions under the names of the drop-in."""

    fit = staticmethod(pyhf.infer.mle.fit)
    twice_nll = staticmethod(pyhf.infer.mle.twice_nll)
    hypotest = staticmethod(pyhf.infer.hypotest)
    fixed_poi_fit = staticmethod(pyhf.infer.mle.fixed_poi_fit)


@pytest.mark.parametrize("which", WRONG)
def test_wrong_input_raises_an_error_of_pyhfs_kind(which):
    call, message, kind = WRONG[which]
    kind = getattr(pyhf.exceptions, kind) if isinstance(kind, str) else kind
    model, data = simple_model()
    with pytest.raises(kind):
        call(Peer, model, data)
    with pytest.raises(kind, match=message) as caught:
        call(pyhf_drop_in, model, data)
    assert isinstance(caught.value, JaxlikError)


def test_negative_counts_and_levels_are_errors():
    model, data = simple_model()
    with pytest.raises(pyhf_errors.WrongDataError, match="smallest count of the data is -3"):
        fit([-3, *data[1:]], model)
    with pytest.raises(ValueError, match="level is 95"):
        upper_limit(data, model, level=95)


def test_a_fit_without_certificate_is_an_error_of_both_kinds():
    model, data = simple_model()
    problem = problem_of(model)
    counts = pyhf_model.data_of(problem.translated, data)
    broken = counts._replace(centre=np.full_like(counts.centre, np.nan))
    with pytest.raises(pyhf.exceptions.FailedMinimization, match="projected gradient") as caught:
        certified_fit(problem, broken)
    assert isinstance(caught.value, ConvergenceError)
    assert not caught.value.result.certificate < 1e-6


@pytest.mark.parametrize("options", [{"clip_bin_data": 0.0}, {"batch_size": 2}], ids=str)
def test_models_without_equivalent_are_errors_of_both_kinds(options):
    sample = {"name": "signal", "data": [5.0], "modifiers": [NORM]}
    model = pyhf.Model({"channels": [{"name": "one", "samples": [sample]}]}, **options)
    with pytest.raises(pyhf.exceptions.InvalidModel, match=next(iter(options))) as caught:
        fit([5.0], model)
    assert isinstance(caught.value, JaxlikError)


def test_custom_modifiers_are_noticed():
    # pyhf lets the last of two modifiers of one name count; the translation applies both.
    sizes = [{"name": "size", "type": "normsys", "data": {"hi": h, "lo": 0.9}} for h in (1.1, 1.2)]
    samples = [
        {"name": "signal", "data": [5.0], "modifiers": [NORM]},
        {"name": "background", "data": [9.0], "modifiers": sizes},
    ]
    model = pyhf.Model({"channels": [{"name": "one", "samples": samples}]})
    with pytest.raises(pyhf_errors.UntranslatableModelError, match="wanted the same"):
        fit([12.0, *model.config.auxdata], model)


@pytest.mark.parametrize("code", ["code0", "code2", "code4p"])
def test_interpolation_codes_are_those_of_the_model(code):
    shift = {"name": "shift", "type": "histosys", "data": {"hi_data": [14.0], "lo_data": [9.5]}}
    size = {"name": "size", "type": "normsys", "data": {"hi": 1.2, "lo": 0.9}}
    samples = [
        {"name": "signal", "data": [5.0], "modifiers": [NORM]},
        {"name": "background", "data": [11.0], "modifiers": [shift, size]},
    ]
    model = pyhf.Model(
        {"channels": [{"name": "one", "samples": samples}]},
        modifier_settings={
            "normsys": {"interpcode": "code1" if code == "code0" else "code4"},
            "histosys": {"interpcode": code},
        },
    )
    data = [18.0, *model.config.auxdata]
    for parameters in ([1.0, 0.4, -0.6], [0.3, -1.7, 1.9]):
        ours, theirs = (
            f(parameters, data, model)[0] for f in (twice_nll, pyhf.infer.mle.twice_nll)
        )
        assert ours == pytest.approx(theirs, rel=1e-11)
