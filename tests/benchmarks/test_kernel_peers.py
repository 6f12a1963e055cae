"""Peers answer the same question: their minima and limits are ours.

Tolerances: peers stop their own minimisers at 1e-3 to 1e-6 in -2 ln L, see
`docs/validation.md`; constants of the likelihoods differ and cancel in differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.batch_sizes import batched
from benchmarks.kernel_peers import PROGRAMS, Problem, evermore_regions, root_of, workspace_of
from benchmarks.suites import kernels_simplified as simplified
from benchmarks.suites import kernels_single as single
from jaxlik.statmodels.build import build

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

REGION = {"signal": 4.0, "observed": 12.0, "background": 8.0, "error": 2.0}


@pytest.fixture
def region():
    s, n, b, e = (np.array([value]) for value in REGION.values())
    return Problem(s, n, b, e[None] ** 2)


def answers(name, problem):
    if name == "iminuit":
        pytest.importorskip("iminuit")
    if name == "spey":
        pytest.importorskip("spey")
    return PROGRAMS[name](problem)


def ours():
    regions = single.Regions(*(jnp.asarray([value]) for value in REGION.values()))
    value, (mu, best) = single.value(None, regions), single.best(None, regions)
    return float(value[0]), float(mu[0]), float(best[0])


@pytest.mark.parametrize("name", ["iminuit", "pyhf"])
def test_single_region_minima_differ_by_one_constant(name, region):
    value, _, best = ours()
    found = answers(name, region)
    gap = found["value"]() - found["best"]()
    assert gap == pytest.approx(value - best, abs=1e-4)


def test_single_region_of_smodels(region):
    value, mu, best = ours()
    found = answers("SModelS", region)
    lowest = found["best"]()
    assert lowest["muhat"] == pytest.approx(mu, rel=1e-3)
    assert found["value"]() - 2 * lowest["nll_min"] == pytest.approx(value - best, abs=1e-3)


@pytest.mark.filterwarnings("ignore")  # of spey, not ours
def test_single_region_of_spey(region):
    value, mu, best = ours()
    found = answers("spey", region)
    mu_hat, lowest = found["best"]()
    assert mu_hat == pytest.approx(mu, abs=5e-3)
    assert found["value"]() - 2 * lowest == pytest.approx(value - best, abs=1e-3)


def test_single_region_limits(region):
    regions = single.Regions(*(jnp.asarray(value) for value in REGION.values()))
    limit = float(jax.jit(single.limit)(None, regions))
    # Asimov data of pyhf move the constraint along, those of SModelS do not.
    assert answers("pyhf", region)["limit"]() == pytest.approx(limit, rel=2e-2)
    assert answers("SModelS", region)["limit"]() == pytest.approx(limit, rel=2e-2)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of flax
def test_densities_of_evermore_are_ours():
    pytest.importorskip("evermore")
    places = single.random_places(20)
    found, slopes = evermore_regions(places).task_fn()
    value, expected = single.density(None, places)
    # evermore subtracts what the saturated model has, as we do.
    np.testing.assert_allclose(found, value, rtol=1e-8, atol=1e-10)
    for one, other in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one)[:, 0], other, rtol=1e-8, atol=1e-8)


@pytest.fixture(scope="module")
def small():
    """Three regions of a published simplified likelihood."""
    record = simplified.record_of(simplified.CASES[0])
    keep = slice(3, 6)
    background = record.background[keep]
    return Problem(
        0.3 * background, record.observed[keep], background, record.covariance[keep, keep]
    )


def test_a_covariance_becomes_modifiers_with_the_same_minimum(small):
    from jaxlik.statmodels.simplified import simplified_likelihood

    model = simplified_likelihood(small.observed, small.background, small.covariance)
    profile = jax.jit(lambda mu: model.profiled_twice_nll(mu, jnp.asarray(small.signal)))
    minuit, pyhf = answers("iminuit", small), answers("pyhf", small)
    expected = float(profile(1.0))
    assert minuit["value"]() == pytest.approx(expected, abs=2e-3)
    gap = pyhf["value"]() - pyhf["best"]()
    assert gap == pytest.approx(minuit["value"]() - minuit["best"](), abs=2e-3)
    assert len(workspace_of(small)["channels"][0]["samples"][1]["modifiers"]) == 3
    np.testing.assert_allclose(root_of(small.covariance) @ root_of(small.covariance).T,
                               small.covariance, rtol=1e-10)  # fmt: skip


def test_batches_in_chunks_are_batches():
    values = jnp.arange(10.0)
    run = batched(lambda factor, x: factor * x**2, 4)
    np.testing.assert_array_equal(run(2.0, values), 2 * values**2)
    one_by_one = batched(lambda factor, x: factor * x**2, 1)
    np.testing.assert_array_equal(one_by_one(2.0, values), 2 * values**2)


def test_models_are_arguments_not_constants():
    from benchmarks.harness import Options

    record = simplified.record_of(simplified.CASES[0])
    model = build(record)
    signal = jnp.asarray(simplified.random_signals(record, 1)[0])
    value = simplified.questions(model, Options())["value"]
    from jaxlik.statmodels.bank import make_banks

    (bank,) = make_banks([model])
    program = jax.make_jaxpr(value)((bank, model), signal)
    size = record.covariance.size
    assert all(np.size(constant) < size for constant in program.consts)
