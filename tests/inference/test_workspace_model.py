"""A workspace behind the interface of all statistical models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_shapes import SMALL

from jaxlik.database.workspace_signal import flatten_with_signal
from jaxlik.errors import Status, WorkspaceError
from jaxlik.inference.limits import find_upper_limit, upper_limit
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import likelihood_pair, profile, profiled_twice_nll_fn
from jaxlik.inference.test_statistics import q0, q_mu_tilde, t_mu
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_model import workspace_likelihood
from jaxlik.statmodels.histfactory_signal import with_signal
from jaxlik.statmodels.poisson import PoissonCounting

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def model(snapshot):
    found = [
        w
        for w in snapshot.workspaces
        if w.analysis_id == "ATLAS-SUSY-2018-31-eff" and "simplifiedA" in w.name
    ]
    return workspace_likelihood(*flatten_with_signal(found[0]), SMALL)


@pytest.fixture(scope="module")
def signal(model):
    return 0.2 * model.nominal + 0.1


@pytest.fixture(scope="module")
def analysis(model, signal):
    patched = with_signal(model.model, model.where, signal)
    return WorkspaceAnalysis(patched, int(model.poi))


def test_regions_see_their_bins(model, signal):
    assert model.observed.shape == (len(model.region_ids),)
    nothing = model.model.init
    gained = model.expected(jnp.asarray(2.0), signal, nothing) - model.expected(
        jnp.asarray(0.0), signal, nothing
    )
    np.testing.assert_allclose(gained, 2 * signal, rtol=1e-12)


@pytest.mark.slow
def test_profiles_and_statistics_are_those_of_the_workspace(model, signal, analysis):
    twice_nll_fn = jax.jit(profiled_twice_nll_fn(model, signal))
    best = fit_mu(twice_nll_fn)
    assert bool(best.status == Status.success)
    mu_hat = float(analysis.best.parameters[analysis.poi])
    assert float(best.mu_hat) == pytest.approx(mu_hat, abs=1e-6)
    for mu in (0.0, 1.0, 3.0):
        wanted = float(analysis.fit_at(mu).twice_nll)
        assert float(twice_nll_fn(mu)) == pytest.approx(wanted, abs=1e-9)
        fit = profile(model, jnp.asarray(mu), signal)
        assert float(fit.twice_nll) == pytest.approx(wanted, abs=1e-9)
        assert float(model.twice_nll(jnp.asarray(mu), signal, fit.nuisances)) == pytest.approx(
            wanted, abs=1e-9
        )
    q = float(q_mu_tilde(jnp.asarray(3.0), twice_nll_fn, best))
    assert q == pytest.approx(analysis.test(3.0).statistic, abs=1e-8)
    assert float(t_mu(jnp.asarray(3.0), twice_nll_fn, best)) == pytest.approx(q, abs=1e-8)
    found = float(q0(twice_nll_fn, best))
    assert found == pytest.approx(max(float(analysis.null.twice_nll - best.twice_nll), 0), abs=1e-8)


@pytest.mark.slow
def test_limits_are_those_of_the_workspace(model, signal, analysis):
    run = jax.jit(lambda s: find_upper_limit(*likelihood_pair(model, s)))
    found = run(signal)
    assert bool(found.status == Status.success)
    assert float(found.mu) == pytest.approx(analysis.upper_limits()[0], rel=1e-8)


@pytest.mark.slow
def test_limits_have_slopes_in_the_signal(model, signal):
    def limit(s):
        return upper_limit(*likelihood_pair(model, s), throw=False)

    run = jax.jit(jax.value_and_grad(limit))
    value, slope = run(signal)
    assert float(jnp.sum(slope * signal)) == pytest.approx(-float(value), rel=1e-7)
    ahead = jnp.zeros_like(signal).at[0].set(1e-3 * signal[0])
    difference = (run(signal + ahead)[0] - run(signal - ahead)[0]) / (2e-3 * signal[0])
    assert float(slope[0]) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.slow
def test_it_adds_to_other_likelihoods(model, signal):
    counting = PoissonCounting(
        jnp.array([8.0]), jnp.array([4.0]), jnp.array([1.0]), region_ids=("other",)
    )
    mine, other = (
        profiled_twice_nll_fn(m, s) for m, s in ((model, signal), (counting, jnp.array([3.0])))
    )
    joint = eqx.filter_jit(lambda: fit_mu(lambda mu: mine(mu) + other(mu)))()
    alone = [eqx.filter_jit(lambda f=f: fit_mu(f))() for f in (mine, other)]
    low, high = sorted(float(a.mu_hat) for a in alone)
    assert low < float(joint.mu_hat) < high
    assert float(joint.mu_error) < min(float(a.mu_error) for a in alone)


def test_other_data_are_refused(model):
    with pytest.raises(WorkspaceError, match="auxiliary data"):
        model.with_observed(model.observed)


def test_a_priori_data_are_the_background(model, signal):
    expected = model.background_asimov(fitted=False)
    np.testing.assert_allclose(expected.observed, model.nominal, rtol=1e-12)
    fit = profile(expected, jnp.asarray(0.0), jnp.zeros_like(signal))
    assert float(fit.twice_nll) == pytest.approx(0.0, abs=1e-9)
