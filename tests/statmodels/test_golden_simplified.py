"""Covariance likelihoods of database 3.0.0 against exact reference values, in banks.

All linear ones share one padded bank, so that everything compiles once and padding is
tested with it. The reference solver stops above the minimum for the observed data of
CMS-SUS-20-004, the skewed one (its likelihood is not convex): there the profile must
not be higher; SLSQP confirms the lower value in `test_simplified`.
"""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.records import CovarianceRecord
from jaxlik.errors import Status
from jaxlik.inference.asymptotics import hypothesis_test
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.build import build

pytestmark = pytest.mark.reference

VECTORS = ("v1", "v3_sparse")
KINDS = {"obs": "observed", "apriori": "background"}
SKEWED = "CMS-SUS-20-004-eff"


@pytest.fixture(scope="module")
def golden(reference):
    """Documents, models, and one bank each of linear and skewed models."""
    folder = reference / "golden" / "smodels" / "stats_sl"
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    assert len(documents) == 11
    models = []
    for document in documents:
        observed, background, covariance, moments = (
            None if document[key] is None else np.array(document[key], float)
            for key in ("nobs", "bg", "covariance", "thirdMoment")
        )
        record = CovarianceRecord(
            document["folder"], tuple(document["SRs"]), observed, background, covariance, moments
        )
        models.append(build(record))
    return documents, models, make_banks(models, max_buckets=1)


def signals(documents, vector):
    parts = [np.array(document["vectors"][vector]["nsig"], float) for document in documents]
    return jnp.asarray(np.concatenate(parts))


@pytest.mark.parametrize("vector", ["v0_zero", *VECTORS])
@pytest.mark.parametrize("kind", KINDS)
def test_profiles_on_the_mu_grid(golden, kind, vector):
    documents, models, banks = golden
    mu = jnp.asarray(documents[0]["mu"])
    for bank in banks:
        here = bank.with_observed(getattr(bank.models, KINDS[kind]))
        fit = _profile(here, mu, here.gather(signals(documents, vector)))
        assert bool((fit.status == Status.success).all())
        for row, index in enumerate(np.asarray(bank.model_index)):
            model = models[index]
            constant = model.with_observed(getattr(model, KINDS[kind])).nll_constant()
            found = 0.5 * np.asarray(fit.twice_nll[:, row]) + constant
            exact = documents[index]["vectors"][vector]["comb"]["exact"][f"nll_{kind}"]
            if documents[index]["folder"] == SKEWED and kind == "obs":
                assert (found <= np.array(exact) + 1e-7).all()
            else:
                np.testing.assert_allclose(found, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "skewed"])
def test_limits_fits_and_cls(golden, linear):
    documents, _, banks = golden
    (bank,) = [bank for bank in banks if bank.is_linear == linear]
    signal = jnp.stack([bank.gather(signals(documents, vector)) for vector in VECTORS])
    data = jnp.stack([getattr(bank.models, name) for name in KINDS.values()])
    result = _limits(bank.models, data, signal)
    for k, kind in enumerate(KINDS):
        for v, vector in enumerate(VECTORS):
            for row, index in enumerate(np.asarray(bank.model_index)):
                limit, cls, best, error, success = (float(x[k, v, row]) for x in result)
                exact = documents[index]["vectors"][vector]["comb"]["exact"]
                assert success
                if documents[index]["folder"] == SKEWED and kind == "obs":
                    continue  # the reference is no minimum, see above
                np.testing.assert_allclose(limit, exact[f"UL_{kind}"], rtol=1e-6)
                np.testing.assert_allclose(cls, exact[f"CLs1_{kind}"], rtol=0, atol=2e-7)
                assert abs(best - exact[f"muhat_{kind}"]) < 1e-4 * error


def test_smodels_agrees_where_it_is_right(golden):
    # No empty region, and no excess for its upper edge of mu to cut (defects 1 and 2).
    documents, models, banks = golden
    mu = jnp.asarray(documents[0]["mu"])
    compared = 0
    for bank in banks:
        fit = _profile(bank, mu, bank.gather(signals(documents, "v1")))
        for row, index in enumerate(np.asarray(bank.model_index)):
            if 0 in documents[index]["nobs"]:
                continue
            found = 0.5 * np.asarray(fit.twice_nll[:, row]) + models[index].nll_constant()
            expected = documents[index]["vectors"]["v1"]["comb"]["nll_obs"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
            compared += 1
    assert compared == 6


@eqx.filter_jit
def _profile(bank, mu, signal):
    return bank.profile(mu, signal)


@eqx.filter_jit
def _limits(models, data, signal):
    """Limit, CLs(1), mu_hat, its error, success: axes kind, vector, model."""

    def one(model, observed, signal):
        pair = likelihood_pair(model.with_observed(observed), signal)
        found = find_upper_limit(*pair)
        test = hypothesis_test(jnp.asarray(1.0), *pair, found.best, found.best_asimov)
        best = found.best
        return found.mu, test.cls, best.mu_hat, best.mu_error, found.status == Status.success

    each_model = jax.vmap(one, (0, 0, 0))
    each_vector = jax.vmap(each_model, (None, None, 0))
    return jax.vmap(each_vector, (None, 0, None))(models, data, signal)
