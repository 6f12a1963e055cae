"""Cases that other programs are known to get wrong, with the right answers.

Values of other programs (versions in brackets) are kept for the record; they are not what is
tested. Reference values come from fits with exact second derivatives whose optimality
conditions were checked.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from shared_shapes import pack_shared

from jaxlik.database.counting_workspace import counting_workspace
from jaxlik.database.records import CovarianceRecord
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.statmodels.build import build


def analysis_of(document):
    record = flatten_workspace(document)
    return WorkspaceAnalysis(pack_shared(record), record.poi)


def absolute(analysis, fit):
    """-2 ln L with all constants."""
    return -2 * float(analysis.model.log_density(fit.parameters))


@pytest.mark.reference
def test_a_wall_of_negative_rates_does_not_stop_the_fit(workspace_of):
    # NextStat (0.10.1) reports convergence at 406.38, CLs = 1 and a limit of 1.352.
    _, document = workspace_of("2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly")
    analysis = analysis_of(with_synthetic_signal(document))
    assert absolute(analysis, analysis.best) == pytest.approx(184.306559, abs=1e-6)
    assert absolute(analysis, analysis.fit_at(1.0)) == pytest.approx(314.400487, abs=1e-6)
    assert np.exp(analysis.test(1.0).log_cls) == pytest.approx(3.06e-30, rel=2e-3)
    assert analysis.upper_limits()[0] == pytest.approx(0.235973, rel=1e-5)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        # pyhf (0.7.6): "function value at x=0.0 is NaN".
        ("2018-31-eff/simplifiedA", 5.65624),
        ("2018-31-eff/simplifiedB", 14.6535),
        # NextStat (0.10.1): "CLs(0)=0".
        ("2018-32-eff/bkgonly_simplified", 1.37521),
        pytest.param("2018-31-eff/BkgOnlyA", 5.1228, marks=pytest.mark.slow),
        pytest.param("2018-16-eff/EWKinos_bkgonly_SR2lOnly", 1.20199, marks=pytest.mark.slow),
    ],
)
def test_limits_are_found(name, limit, workspace_of):
    _, document = workspace_of(name)
    analysis = analysis_of(with_synthetic_signal(document))
    assert analysis.upper_limits()[0] == pytest.approx(limit, rel=1e-5)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        # SModelS (3.2.1): 79.3719; spey (0.2.7): 0.106 above the minimum.
        ("CMS-SUS-20-004-eff", 76.26843),
        # SModelS: 267.83598; spey: 0.006 above.
        ("CMS-SUS-19-006-agg", 267.68755),
    ],
)
def test_empty_regions_may_reach_the_wall(name, minimum, snapshot):
    """Regions without events push their rates to zero; -ln L as SModelS counts it."""
    result = snapshot.result(name)
    published = result.covariance
    record = CovarianceRecord(
        name,
        published.region_ids,
        published.observed,
        published.background,
        published.covariance,
    )
    model = build(record)
    size = len(published.background)
    signal = 0.1 * published.background * np.random.default_rng(3).uniform(0, 2, size)
    found = model.profile(jnp.asarray(1.0), jnp.asarray(signal))
    absolute = 0.5 * float(found.twice_nll) + float(model.nll_constant())
    assert absolute == pytest.approx(minimum, abs=1e-5)


def test_the_best_mu_is_not_cut_off():
    # SModelS (3.2.1) bounds mu at 10 in its fits, and so does a workspace by default.
    analysis = analysis_of(counting_workspace(34.0, 4.0, 0.5, signal=1.0))
    assert float(analysis.best.parameters[analysis.poi]) == pytest.approx(30.0, abs=1e-6)
    limit, _ = analysis.upper_limits()
    assert limit > 30.0


def test_any_mu_may_be_tested():
    # pyhf (0.7.6) refuses mu above the bound of the parameter of interest, 10 by default.
    analysis = analysis_of(counting_workspace(5.0, 4.0, 0.5, signal=0.1))
    assert 0 < np.exp(analysis.test(40.0).log_cls) < 1
