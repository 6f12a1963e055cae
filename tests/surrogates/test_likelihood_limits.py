"""Limits of learned likelihoods beside those of the full ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.inference.limits import expected_band, find_upper_limit
from jaxlik.inference.profile import likelihood_pair, profiled_twice_nll_fn
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.statmodels.histfactory_signal import with_signal
from jaxlik.statmodels.learned import learned_likelihood
from surrogates.labels import Oracle
from surrogates.likelihood import export, learn
from surrogates.likelihood_recipe import LikelihoodRecipe
from surrogates.likelihood_run import LikelihoodRun


def observed_limit(model, signal):
    """Observed limit and best mu of a learned likelihood."""
    found = jax.jit(lambda s: find_upper_limit(*likelihood_pair(model, s)))(signal)
    assert bool(found.status == Status.success)
    return float(found.mu), float(found.best.mu_hat)


def expected_limits(model, signal):
    """The five expected limits."""
    asimov = model.background_asimov()
    run = jax.jit(lambda s: expected_band(profiled_twice_nll_fn(asimov, s)))
    band, status = run(signal)
    assert bool(status == Status.success)
    return np.asarray(band)


def exact(oracle, signal):
    likelihood = oracle.likelihood
    changed = with_signal(likelihood.model, likelihood.where, signal)
    analysis = WorkspaceAnalysis(changed, int(likelihood.poi))
    return *analysis.upper_limits(), float(analysis.best.parameters[analysis.poi])


def test_limits_of_a_small_search_are_those_of_its_fits(oracle, learned_run):
    model = learned_likelihood(learned_run[2])
    signal = jnp.asarray([3.0, 0.5, 2.0])
    observed, mu_hat = observed_limit(model, signal)
    wanted, _, wanted_mu = exact(oracle, signal)
    # -2 ln L is right to 0.1 or so, its root at the limit near 2: per cents.
    assert observed == pytest.approx(wanted, rel=0.03)
    assert mu_hat == pytest.approx(wanted_mu, abs=0.05)


@pytest.mark.slow
@pytest.mark.reference
def test_limits_of_a_published_workspace_are_those_of_its_fits(every_workspace, tmp_path):
    found = [d for n, d in every_workspace.items() if "2018-31" in n and "BkgOnlyC" in n]
    path = tmp_path / "BkgOnlyC.json"
    path.write_text(json.dumps(found[0]))
    oracle = Oracle.of_file(path)
    recipe = LikelihoodRecipe(labels=600, steps=4000)
    run = LikelihoodRun.open(tmp_path / "run", oracle, recipe)
    file = export(oracle, run, learn(oracle, run, recipe, quiet=True), recipe, tmp_path / "c.npz")
    for name in ("observed", "asimov"):
        errors = file.validation[name]["delta_log_likelihood_near"]
        assert errors["median"] < 0.02
        assert errors["worst"] < 0.1
    model = learned_likelihood(file)
    signal = 0.3 * model.fitted
    observed, _ = observed_limit(model, signal)
    wanted, wanted_band, _ = exact(oracle, signal)
    assert observed == pytest.approx(wanted, rel=0.02)
    np.testing.assert_allclose(expected_limits(model, signal), wanted_band, rtol=0.03)
