"""Fits, CLs and limits of HistFactory workspaces against certified reference fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_shapes import pack_shared

from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.errors import ConvergenceError, PrecisionError, Status
from jaxlik.inference import workspace_fits
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_profile import compiled_fit, fit_parameters
from jaxlik.statmodels.packing import pack_workspace, shape_of

QUICK = (
    "2018-05-ewk-eff/simplified",
    "2018-14-eff/Comb_bkgonly",
    "2018-14-eff/SRee_bkgonly",
    "2018-22-multibin-eff/simplified_MB-C_noCR_bkgonly",
    "2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly",
    "2018-31-eff/BkgOnlyB",
    "2018-31-eff/simplifiedA",
    "2018-31-eff/simplifiedB",
    "2018-32-eff/bkgonly_simplified",
    "2019-09-eff/SR_WH_0j_fake_bkgonly",
    "2019-09-eff/SR_WH_DFOS_fake_bkgonly",
    "2019-09-eff/bkg_onshell_simplified",
)
LARGE = (
    "2018-04-eff/SRcombined",
    "2018-31-eff/BkgOnlyA",
    "2018-05-ewk-eff/ewk_signal_bkgonly",
    "2018-16-eff/EWKinos_bkgonly_SR2lOnly",
    "2019-09-eff/bkg_offshell",
)
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


def pyhf_twice_nll(model, fit, data=None):
    """-2 ln L with all constants."""
    return -2 * float(model.log_density(fit.parameters, data))


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", NAMES)
def test_fits_tests_and_limits_are_those_of_the_reference(name, workspace_of):
    golden, document = workspace_of(name)
    record = flatten_workspace(document)
    model = pack_shared(record)
    fit = fit_parameters(model)
    assert bool(fit.status == Status.success)
    assert float(fit.certificate) < 1e-8
    reference = golden["bkg_only_fit"]["reference"]
    assert pyhf_twice_nll(model, fit) == pytest.approx(reference["twice_nll"], abs=1e-8)

    record = flatten_workspace(with_synthetic_signal(document))
    model = pack_shared(record)
    analysis = WorkspaceAnalysis(model, record.poi)
    free = golden["signal"]["free_fit_mu_ge_0"]
    assert pyhf_twice_nll(model, analysis.best) == pytest.approx(free["twice_nll"], abs=1e-8)
    mu_hat = float(analysis.best.parameters[record.poi])
    assert mu_hat == pytest.approx(free["mu_hat"], abs=1e-6)
    test = analysis.test(1.0)
    wanted = golden["signal"]["hypotest_mu1_qtilde_asymptotic"]
    assert test.log_cls == pytest.approx(np.log(wanted["CLs_obs"]), rel=1e-8)
    np.testing.assert_allclose(np.exp(test.log_band), np.sort(wanted["CLs_exp"]), atol=1e-9)
    observed, band = analysis.upper_limits()
    limits = golden["signal"]["upper_limit_95"]
    assert observed == pytest.approx(limits["obs"], rel=1e-8)
    np.testing.assert_allclose(band, limits["exp"], rtol=1e-8)


@pytest.mark.reference
@pytest.mark.exhaustive
def test_every_workspace_of_the_database_is_fitted_and_limited(every_workspace):
    assert len(every_workspace) == 26
    records = [flatten_workspace(with_synthetic_signal(d)) for d in every_workspace.values()]
    assert len({shape_of(record) for record in records}) == 17
    for name, document in every_workspace.items():
        model = pack_shared(flatten_workspace(document, name=name))
        fit = fit_parameters(model)
        assert float(fit.certificate) < 1e-8, name
        record = flatten_workspace(with_synthetic_signal(document), name=name)
        analysis = WorkspaceAnalysis(pack_shared(record), record.poi)
        observed, band = analysis.upper_limits()
        assert observed > 0, name
        assert (np.diff(band) > 0).all(), name


@pytest.mark.reference
def test_workspaces_of_one_bucket_share_a_program(workspace_of):
    names = ("simplified_MB-C_noCR_bkgonly", "simplified_MB-SSd_noCR_bkgonly")
    sizes = []
    for name in names:
        _, document = workspace_of(f"2018-22-multibin-eff/{name}")
        model = pack_workspace(flatten_workspace(document))
        fit_parameters(model)
        sizes.append(compiled_fit._cache_size())
    assert sizes[0] == sizes[1]


def counting(observed, background, error, signal):
    """One bin with a normsys background uncertainty, as a workspace."""
    return {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {
                        "name": "s",
                        "data": [signal],
                        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                    },
                    {
                        "name": "b",
                        "data": [background],
                        "modifiers": [
                            {
                                "name": "e",
                                "type": "histosys",
                                "data": {
                                    "hi_data": [background + error],
                                    "lo_data": [background - error],
                                },
                            }
                        ],
                    },
                ],
            }
        ],
        "observations": [{"name": "SR", "data": [observed]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


@pytest.mark.parametrize(("observed", "mu_hat"), [(9.0, 1.0), (4.0, 0.0), (0.0, 0.0), (14.0, 2.0)])
def test_one_region_has_the_closed_form(observed, mu_hat):
    record = flatten_workspace(counting(observed, 4.0, 0.5, 5.0))
    analysis = WorkspaceAnalysis(pack_workspace(record), record.poi)
    assert float(analysis.best.parameters[record.poi]) == pytest.approx(mu_hat, abs=1e-7)
    if mu_hat:
        assert float(analysis.best.twice_nll) == pytest.approx(0.0, abs=1e-12)


def test_a_signal_that_nothing_constrains_has_no_limit():
    document = counting(3.0, 4.0, 0.5, 0.0)
    record = flatten_workspace(document)
    analysis = WorkspaceAnalysis(pack_workspace(record), record.poi)
    with pytest.raises(ConvergenceError, match="does not constrain"):
        analysis.upper_limits()


def test_limits_do_not_depend_on_the_size_of_the_signal():
    limits = []
    for size in (1e-3, 1.0, 1e3):
        record = flatten_workspace(counting(6.0, 4.0, 0.5, size))
        analysis = WorkspaceAnalysis(pack_workspace(record), record.poi)
        limits.append(size * analysis.upper_limits()[0])
    np.testing.assert_allclose(limits, limits[1], rtol=1e-8)


def test_fits_end_where_bounds_hold_them():
    document = counting(400.0, 4.0, 2.0, 0.0)
    record = flatten_workspace(document)
    model = pack_workspace(record)
    fit = fit_parameters(model)
    pull = float(fit.parameters[record.parameters.index("e")])
    assert pull == 5.0
    assert bool(fit.status == Status.success)
    assert float(fit.slope[record.parameters.index("e")]) < 0
    assert jnp.isfinite(fit.twice_nll)


def test_single_precision_is_refused():
    record = flatten_workspace(counting(6.0, 4.0, 0.5, 1.0))
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(PrecisionError, match="enable_x64"):
            pack_workspace(record)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_nothing_is_made_of_fits_that_are_not_certified(monkeypatch):
    record = flatten_workspace(counting(9.0, 4.0, 0.5, 5.0))
    model = pack_workspace(record)
    monkeypatch.setattr(workspace_fits, "CERTIFIED", -1.0)
    with pytest.raises(ConvergenceError, match="at mu = 0: projected gradient"):
        WorkspaceAnalysis(model, record.poi)
