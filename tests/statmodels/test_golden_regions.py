"""Single regions against the exact reference values of all 62 efficiency-map results."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels import poisson
from jaxlik.statmodels.poisson import PoissonCounting

pytestmark = pytest.mark.reference

VECTORS = ("v1", "v3_sparse")


@pytest.fixture(scope="module")
def regions(reference):
    """All regions of all files and vectors as columns."""
    rows = []
    for path in sorted((reference / "golden" / "smodels" / "stats_em").glob("*.json")):
        document = json.loads(path.read_text())
        for vector in VECTORS:
            block = document["vectors"][vector]
            entries = block["perSR"]
            entries = entries if isinstance(entries, list) else list(entries.values())
            for i, entry in enumerate(entries):
                if entry and "exact" in entry:
                    counts = [document[k][i] for k in ("nobs", "bg", "bgError")]
                    rows.append((block["nsig"][i], *counts, document["mu"], entry["exact"]))
    return rows


def _columns(rows):
    signal, observed, background, error = (
        np.array([row[k] for row in rows], dtype=float) for k in range(4)
    )
    return signal, observed, background, error


def test_profiled_likelihood_on_the_mu_grid(regions):
    signal, observed, background, error = _columns(regions)
    mu = np.array(regions[0][4])
    for name, data in (("nll_obs", observed), ("nll_apriori", background)):
        found = 0.5 * jax.jit(poisson.profiled_twice_nll)(
            mu[None, :], signal[:, None], data[:, None], background[:, None], error[:, None]
        )
        found = found + poisson.nll_constant(data, error)[:, None]
        wanted = np.array([row[5].get(name, [np.nan] * len(mu)) for row in regions], dtype=float)
        known = np.isfinite(wanted)
        assert known.sum() > 5000
        # Suggested with the reference values: 1e-7 absolute.
        np.testing.assert_allclose(np.asarray(found)[known], wanted[known], rtol=1e-9, atol=1e-7)


def test_best_mu(regions):
    chosen = [row for row in regions if row[0] > 0 and row[5].get("muhat_obs") is not None]
    signal, observed, background, error = _columns(chosen)
    wanted = np.array([row[5]["muhat_obs"] for row in chosen])
    found = np.asarray(poisson.mu_hat(signal, observed, background))
    uncertainty = np.sqrt(np.maximum(observed, 1.0) + error**2) / signal
    assert np.max(np.abs(found - wanted) / uncertainty) < 1e-4


@pytest.mark.parametrize("expected", [False, True], ids=["observed", "apriori"])
def test_upper_limits(regions, expected):
    name = "UL_apriori" if expected else "UL_obs"
    chosen = [row for row in regions if row[0] > 0 and isinstance(row[5].get(name), float)]
    signal, observed, background, error = _columns(chosen)
    wanted = np.array([row[5][name] for row in chosen])

    @jax.jit
    @jax.vmap
    def limit(signal, observed, background, error):
        model = PoissonCounting(observed[None], background[None], error[None])
        found = find_upper_limit(*likelihood_pair(model, signal[None], expected=expected))
        return found.mu, found.status

    mu, status = limit(*map(jnp.asarray, (signal, observed, background, error)))
    assert bool((status == Status.success).all())
    assert len(wanted) > 1300
    np.testing.assert_allclose(mu, wanted, rtol=1e-6)
