"""Covariance likelihoods against exact reference values, skewed one included."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.records import CovarianceRecord
from jaxlik.errors import Status
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.build import build

pytestmark = pytest.mark.reference

FOLDERS = (
    "ATLAS-SUSY-2018-13-eff ATLAS-SUSY-2018-41-eff ATLAS-SUSY-2019-02-eff CMS-EXO-20-004-eff "
    "CMS-PAS-SUS-16-052-agg CMS-SUS-16-039-agg CMS-SUS-16-048-ma5 CMS-SUS-16-050-agg "
    "CMS-SUS-19-006-agg CMS-SUS-20-004-eff CMS-SUS-21-002-eff"
).split()


@eqx.filter_jit
def _grid(model, signal, mu):
    return jax.vmap(lambda value: model.profiled_twice_nll(value, signal))(mu)


@eqx.filter_jit
def _limit(model, signal, expected):
    found = find_upper_limit(*likelihood_pair(model, signal, expected=expected))
    return found.mu, found.best.mu_hat, found.best.mu_error, found.status


@pytest.mark.parametrize("folder", FOLDERS)
def test_profiles_and_limits(folder, reference):
    path = reference / "golden" / "smodels" / "stats_sl" / f"{folder}.json"
    document = json.loads(path.read_text())
    moments = document["thirdMoment"]
    record = CovarianceRecord(
        folder,
        tuple(document["SRs"]),
        *(np.array(document[k], dtype=float) for k in ("nobs", "bg", "covariance")),
        None if moments is None else np.array(moments, dtype=float),
    )
    model = build(record)
    mu = jnp.asarray(document["mu"])
    compared = 0
    for vector in ("v1", "v3_sparse"):
        block = document["vectors"][vector]
        exact = block["comb"]["exact"]
        signal = jnp.asarray(block["nsig"])
        for name, data in (("nll_obs", None), ("nll_apriori", record.background)):
            here = model if data is None else model.with_observed(jnp.asarray(data))
            found = 0.5 * _grid(here, signal, mu) + here.nll_constant()
            if moments is not None:
                # Rates quadratic in the nuisances: not convex, and the reference solver
                # stops in a higher minimum at some mu. Below it, ours is the better one.
                assert (np.asarray(found) <= np.asarray(exact[name]) + 2e-7).all()
                compared += 1
                continue
            # The suggested 1e-7 absolute; sums of up to 66 regions reach several hundred.
            np.testing.assert_allclose(found, exact[name], rtol=1e-9, atol=2e-7)
            compared += 1
        for name, expected in (("obs", False), ("apriori", True)):
            if moments is not None:
                continue
            limit, best, error, status = _limit(model, signal, expected)
            assert status == Status.success
            np.testing.assert_allclose(limit, exact[f"UL_{name}"], rtol=1e-6)
            assert abs(best - exact[f"muhat_{name}"]) < 1e-4 * error
    assert compared == 4
