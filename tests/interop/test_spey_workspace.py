"""The HistFactory backend for spey against spey-pyhf, pyhf and golden results."""

import json
import logging
import re

import jsonpatch
import numpy as np
import pyhf
import pytest

from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.errors import ConfigError, WorkspaceError
from jaxlik.inference.workspace_profile import compiled_fit

spey = pytest.importorskip("spey")

pytestmark = [
    # pyhf 0.7.6 validates with a class that jsonschema wants to retire.
    pytest.mark.filterwarnings("ignore:.*RefResolver.*:DeprecationWarning"),
]

BACKGROUND = {
    "channels": [
        {
            "name": "high",
            "samples": [
                {
                    "name": "background",
                    "data": [50.0, 52.0],
                    "modifiers": [
                        {"name": "uncorrelated", "type": "shapesys", "data": [3.0, 7.0]},
                        {"name": "scale", "type": "normsys", "data": {"hi": 1.1, "lo": 0.93}},
                    ],
                }
            ],
        },
        {
            "name": "low",
            "samples": [
                {
                    "name": "background",
                    "data": [20.0],
                    "modifiers": [
                        {
                            "name": "shape",
                            "type": "histosys",
                            "data": {"hi_data": [22.0], "lo_data": [18.5]},
                        },
                        {"name": "scale", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}},
                    ],
                }
            ],
        },
    ],
    "observations": [{"name": "high", "data": [51.0, 48.0]}, {"name": "low", "data": [27.0]}],
    "measurements": [{"name": "Measurement", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}


def signal_patch(high=(12.0, 11.0), low=(3.0,)):
    return [
        {
            "op": "add",
            "path": f"/channels/{number}/samples/1",
            "value": {
                "name": "signal",
                "data": list(events),
                "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
            },
        }
        for number, events in enumerate((high, low))
    ]


def ours(**changes):
    arguments = {"signal_patch": signal_patch(), "background_only_model": BACKGROUND, **changes}
    return spey.get_backend("jaxlik.histfactory")(analysis="ours", **arguments)


@pytest.fixture(scope="module")
def theirs():
    """spey-pyhf; its import switches pyhf to JAX and silences it, for other tests undone here."""
    loggers = [logging.getLogger(name) for name in ("pyhf.pdf", "pyhf.workspace")]
    levels = [logger.level for logger in loggers]
    pytest.importorskip("spey_pyhf")
    pyhf.set_backend("numpy", "scipy")
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    return spey.get_backend("pyhf")(
        analysis="theirs", signal_patch=signal_patch(), background_only_model=BACKGROUND
    )


@pytest.mark.parametrize("expected", list(spey.ExpectationType))
def test_agrees_with_spey_pyhf(theirs, expected):
    """-ln L to 1e-4 and never below ours; spey's optimiser ends at 1e-6 of a step."""
    model = ours()
    for mu in (0.0, 1.0):
        wanted = float(theirs.likelihood(mu, expected=expected))
        assert model.likelihood(mu, expected=expected) <= wanted + 1e-8
        assert model.likelihood(mu, expected=expected) == pytest.approx(wanted, abs=1e-4)
    for negative in (False, True):
        found, wanted = (
            m.maximize_likelihood(expected=expected, allow_negative_signal=negative)
            for m in (model, theirs)
        )
        assert found[1] <= float(wanted[1]) + 1e-8
        assert found[1] == pytest.approx(float(wanted[1]), abs=1e-4)
    np.testing.assert_allclose(
        model.exclusion_confidence_level(expected=expected),
        theirs.exclusion_confidence_level(expected=expected),
        atol=1e-3,
    )


def test_tests_are_those_of_pyhf():
    """CLs at mu = 1 and its band, 1e-4: pyhf's fits stop at about that."""
    model = ours()
    workspace = pyhf.Workspace(BACKGROUND)
    reference = workspace.model(patches=[signal_patch()])
    data = workspace.data(reference)
    observed, band = pyhf.infer.hypotest(1.0, data, reference, return_expected_set=True)
    (level,) = model.exclusion_confidence_level()
    assert 1 - level == pytest.approx(float(observed), abs=1e-4)
    found = model.exclusion_confidence_level(expected=spey.ExpectationType.aposteriori)
    np.testing.assert_allclose(1 - np.array(found), [float(x) for x in band], atol=1e-4)


def test_likelihood_is_the_one_of_pyhf():
    model = ours().backend
    pyhf.set_backend("numpy", "scipy")
    workspace = pyhf.Workspace(BACKGROUND)
    reference = workspace.model(patches=[signal_patch()])
    data = workspace.data(reference)
    names = [re.sub(r"\[(\d+)\]$", r"[\1]", name) for name in reference.config.par_names]
    here = model.config().parameter_names
    assert sorted(here) == sorted(names)
    generator = np.random.default_rng(0)
    density, objective = model.get_logpdf_func(), model.get_objective_function()
    for _ in range(3):
        place = dict(zip(names, 1 + 0.1 * generator.standard_normal(len(names)), strict=True))
        wanted = float(reference.logpdf([place[n] for n in names], data)[0])
        vector = np.array([place[n] for n in here])
        assert density(vector) == pytest.approx(wanted, rel=1e-12)
        value, slopes = objective(vector)
        assert value == pytest.approx(-wanted, rel=1e-12)
        step = 1e-6 * np.eye(len(vector))
        numerical = [(density(vector - s) - density(vector + s)) / 2e-6 for s in step]
        np.testing.assert_allclose(slopes, numerical, rtol=1e-5, atol=1e-6)
    curvature = model.get_hessian_logpdf_func()(vector)
    rows = [(objective(vector + s)[1] - objective(vector - s)[1]) / 2e-6 for s in step]
    np.testing.assert_allclose(-curvature, rows, rtol=1e-4, atol=1e-5)


def test_apriori_data_sampler_and_compilation():
    model = ours()
    assert model.backend.workspace.apriori[:3].tolist() == [50.0, 52.0, 20.0]
    assert model.backend.config().minimum_poi == pytest.approx(-50 / 12)
    _, parameters = model.likelihood(0.0, return_parameters=True)
    np.random.seed(2)  # noqa: NPY002 - spey draws from NumPy's global state
    toys = model.backend.get_sampler(parameters)(3000)
    mean = model.backend.expected_data(parameters)
    deviation = toys.std(axis=0)
    assert np.all(np.abs(toys.mean(axis=0) - mean) < 5 * deviation / np.sqrt(3000))
    before = compiled_fit._cache_size()
    other = ours(signal_patch=signal_patch((5.0, 2.0), (7.0,)))
    other.exclusion_confidence_level()
    model.likelihood(0.7, data=toys[0])
    assert compiled_fit._cache_size() == before


def test_combination_with_another_workspace():
    second = json.loads(
        json.dumps(BACKGROUND).replace('"high"', '"tight"').replace('"low"', '"loose"')
    )
    for old in ("uncorrelated", "shape", "scale"):
        second = json.loads(json.dumps(second).replace(f'"{old}"', f'"other_{old}"'))
    first, other = ours(), ours(background_only_model=second)
    both = first.combine(other)
    for mu in (0.0, 1.0):
        total = first.likelihood(mu) + other.likelihood(mu)
        assert both.likelihood(mu) == pytest.approx(total, abs=1e-7)
    binned = spey.get_backend("jaxlik.uncorrelated_background")(
        signal_yields=[1.0], background_yields=[3.0], data=[3], absolute_uncertainties=[1.0]
    )
    with pytest.raises(ConfigError, match="UnCorrStatisticsCombiner"):
        first.combine(binned)


def test_wrong_input(tmp_path):
    with pytest.raises(WorkspaceError, match="does not apply"):
        ours(signal_patch=[{"op": "remove", "path": "/channels/7"}])
    with pytest.raises(WorkspaceError, match="parameter of interest 'mu'"):
        ours(signal_patch=[])
    with pytest.raises(WorkspaceError, match="wanted a JSON file"):
        ours(background_only_model=str(tmp_path / "absent.json"))
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(BACKGROUND))
    assert ours(background_only_model=str(path)).likelihood() == ours().likelihood()
    with pytest.raises(WorkspaceError, match="3 events"):
        ours().likelihood(data=[1.0, 2.0])


@pytest.mark.reference
@pytest.mark.parametrize("name", ["2018-31-eff/simplifiedA", "2018-14-eff/SRee_bkgonly"])
def test_golden_numbers_of_published_workspaces(workspace_of, name):
    """With the synthetic signal of the golden files: -2 ln L 1e-6, CLs 1e-6, limits to spey's 1e-4."""
    golden, document = workspace_of(name)
    patch = jsonpatch.make_patch(document, with_synthetic_signal(document)).patch
    model = ours(signal_patch=patch, background_only_model=document)
    wanted = golden["signal"]["hypotest_mu1_qtilde_asymptotic"]
    assert 2 * model.likelihood(1.0) == pytest.approx(wanted["twice_nll_fixed"], abs=1e-6)
    _, nll = model.maximize_likelihood(allow_negative_signal=False)
    assert 2 * nll == pytest.approx(wanted["twice_nll_free"], abs=1e-6)
    (level,) = model.exclusion_confidence_level()
    assert 1 - level == pytest.approx(wanted["CLs_obs"], abs=1e-6)
    band = model.exclusion_confidence_level(expected=spey.ExpectationType.aposteriori)
    np.testing.assert_allclose(1 - np.array(band), wanted["CLs_exp"], atol=1e-6)
    limits = golden["signal"]["upper_limit_95"]
    assert model.poi_upper_limit() == pytest.approx(limits["obs"], rel=2e-4)
    found = model.poi_upper_limit(
        expected=spey.ExpectationType.aposteriori, expected_pvalue="2sigma"
    )
    np.testing.assert_allclose(found, limits["exp"], rtol=2e-4)
