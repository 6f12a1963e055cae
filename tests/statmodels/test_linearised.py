"""HistFactory to first order: exact where it should be, and the error elsewhere."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.workspace_signal import flatten_with_signal, region_per_bin
from jaxlik.errors import Status
from jaxlik.inference.linearisation import (
    linearisation_error,
    linearise,
    linearised_limits,
    probe_signals,
)
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_profile import profiled_twice_nll
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.histfactory_signal import pack_signal, with_signal
from jaxlik.statmodels.linearised import covariance_of_rates
from jaxlik.statmodels.packing import pack_workspace

CHECKED = (
    "2018-14-eff/Comb_bkgonly",
    "2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly",
    "2018-31-eff/BkgOnlyA",
    "2018-31-eff/simplifiedA",
    "2018-05-ewk-eff/ewk_signal_bkgonly",
)


def modifier(name, kind, data=None):
    return {"name": name, "type": kind, "data": data}


def both_ways(nominal, shifts):
    high, low = (np.array(nominal) + sign * np.array(shifts) for sign in (1, -1))
    return {"hi_data": high.tolist(), "lo_data": low.tolist()}


def workspace(modifiers, control=(), observed=(7.0, 14.0, 101.0), **codes):
    """Two signal bins, and a control bin with four times the background."""
    signal = {"name": "b", "data": [5.0, 16.0], "modifiers": modifiers}
    side = {"name": "b", "data": [84.0], "modifiers": list(control)}
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.02],
        "inits": [1.0],
        "bounds": [[0.5, 1.5]],
        "fixed": True,
    }
    document = {
        "channels": [
            {"name": "SR", "samples": [signal]},
            {"name": "CR", "samples": [side]},
        ],
        "observations": [
            {"name": "SR", "data": list(observed[:2])},
            {"name": "CR", "data": [observed[2]]},
        ],
        "measurements": [{"name": "m", "config": {"poi": "", "parameters": [lumi]}}],
        "version": "1.0.0",
    }
    return places(document, **codes)


def places(document, **codes):
    """The packed workspace, where signals enter, the signal strength, regions."""
    content = json.dumps(document)
    record, cells = flatten_with_signal(region_per_bin(content, name="test"))
    model = pack_workspace(record, **codes)
    return model, pack_signal(cells, model), record.poi, cells.region_ids


LINEAR = [
    modifier("one", "histosys", both_ways([5.0, 16.0], [1.0, 2.0])),
    modifier("two", "histosys", both_ways([5.0, 16.0], [0.8, -1.5])),
]
LINEAR_CONTROL = [modifier("one", "histosys", both_ways([84.0], [4.0]))]
FREE = [modifier("norm", "normfactor")]
CURVED = [
    *FREE,
    modifier("three", "normsys", {"hi": 1.2, "lo": 0.85}),
    modifier("four", "histosys", {"hi_data": [6.0, 18.0], "lo_data": [4.5, 13.5]}),
]
CURVED_CONTROL = [*FREE, modifier("three", "normsys", {"hi": 0.95, "lo": 1.04})]


def bare(place):
    """The linearised model, its error not measured."""
    linear = linearise(*place, probes=np.zeros((0, len(place[3]))))
    assert linear.error is None
    return linear


@pytest.mark.parametrize("code", ["code0", "code2"])
def test_linear_workspaces_are_exact(code):
    place = workspace(LINEAR, LINEAR_CONTROL, additive_code=code)
    error = linearisation_error(*place[:3], bare(place), jnp.array([2.0, 3.0]))
    assert error.twice_nll < 1e-8
    # Roots of the full model are good to 1e-7.
    assert max(error.observed, error.expected) < 1e-7


def test_free_normalisations_cost_little():
    place = workspace(FREE, FREE)
    error = linearisation_error(*place[:3], bare(place), jnp.array([2.0, 3.0]))
    # Bounded by LEAST_SHARE times the square of the deviation in standard deviations.
    assert error.twice_nll < 1e-4
    assert max(error.observed, error.expected) < 1e-5


@eqx.filter_jit
def slopes_at_zero(simple, events, full, poi, data):
    """First and second derivative of both profiles in mu, at mu = 0."""
    zero = jnp.zeros(())

    def both(mu):
        one = simple.profiled_twice_nll(mu, events)
        return jnp.stack([one, profiled_twice_nll(full, poi, mu, data)])

    return jax.jacfwd(both)(zero), jax.jacfwd(jax.jacrev(both))(zero)


@pytest.mark.parametrize("observed", [(7.0, 14.0, 101.0), (3.0, 21.0, 90.0), (0.0, 14.0, 95.0)])
@pytest.mark.parametrize(("kind", "rtol"), [("constrained", 1e-8), ("free", 5e-3)])
def test_slope_and_curvature_at_the_fit_are_those_of_the_full_profile(observed, kind, rtol):
    # A free normalisation and the curvature of rates: a direction below zero is cut off.
    start = 1 if kind == "constrained" else 0
    model, where, poi, _ = place = workspace(CURVED[start:], CURVED_CONTROL[start:], observed)
    linear = bare(place)
    signal = jnp.array([1.0, 2.5])
    full, events = with_signal(model, where, signal), linear.signal(signal)
    asimov = WorkspaceAnalysis(full, poi).asimov
    at = jnp.asarray(poi)
    first, second = slopes_at_zero(linear.likelihood, events, full, at, model.data)
    assert float(first[0]) == pytest.approx(float(first[1]), abs=1e-7)
    assert float(second[0]) == pytest.approx(float(second[1]), rel=rtol)
    first, second = slopes_at_zero(linear.asimov, events, full, at, asimov)
    assert float(first[0]) == pytest.approx(float(first[1]), abs=1e-7)
    assert float(second[0]) == pytest.approx(float(second[1]), rel=1e-5)


def test_the_fit_without_signal_is_the_one_it_was_made_from():
    model, where, poi, _ = place = workspace(CURVED, CURVED_CONTROL)
    linear = bare(place)
    null = WorkspaceAnalysis(with_signal(model, where, jnp.zeros(2)), poi).null
    rates = model.expected(null.parameters)[np.asarray(model.real_bins)]
    nuisances = linear.likelihood.profile(jnp.asarray(0.0), jnp.zeros(3)).nuisances
    fitted = linear.likelihood.expected(jnp.asarray(0.0), jnp.zeros(3), nuisances)
    np.testing.assert_allclose(fitted, rates, rtol=1e-7)
    np.testing.assert_allclose(linear.asimov.central, rates, rtol=1e-12)
    np.testing.assert_allclose(linear.likelihood.background, [5.0, 16.0, 84.0], rtol=1e-12)


def test_covariance_of_free_and_constrained_directions():
    rates, slopes = np.array([4.0, 9.0]), np.array([[1.0, 2.0], [3.0, 0.5]])
    counts = slopes.T @ np.diag(1 / rates) @ slopes
    known = covariance_of_rates(counts + np.diag([1.0, 4.0]), slopes, rates, np.ones(2))
    np.testing.assert_allclose(known, slopes @ np.diag([1.0, 0.25]) @ slopes.T, rtol=1e-10)
    free = covariance_of_rates(counts, slopes, rates, np.ones(2))
    np.testing.assert_allclose(free, 1e6 * slopes @ np.linalg.inv(counts) @ slopes.T, atol=1.0)
    none = covariance_of_rates(np.zeros((0, 0)), np.zeros((2, 0)), rates, np.ones(2))
    np.testing.assert_array_equal(none, np.zeros((2, 2)))


@pytest.mark.slow
def test_one_trace_serves_many_signals_and_has_gradients():
    linear = bare(workspace(CURVED, CURVED_CONTROL))
    traces = 0

    @jax.jit
    def observed(signals):
        nonlocal traces
        traces += 1
        found = jax.vmap(lambda s: linearised_limits(linear, s))(signals)
        return jnp.sum(found.observed), found

    slope_fn = jax.jit(jax.value_and_grad(observed, has_aux=True))
    signals = jnp.array([[2.0, 3.0], [0.0, 4.0], [1.0, 0.0]])
    (_, found), slopes = slope_fn(signals)
    assert np.all(np.asarray(found.status._value) == 0)
    # A limit is inversely proportional to the signal: Euler's theorem.
    np.testing.assert_allclose(jnp.sum(signals * slopes, axis=1), -found.observed, rtol=1e-8)
    before = traces
    step = jnp.zeros((3, 2)).at[0, 1].set(1e-4)
    values = [slope_fn(signals + sign * step)[0][0] for sign in (1, -1)]
    assert traces == before
    difference = float(values[0] - values[1]) / 2e-4
    assert difference == pytest.approx(float(slopes[0, 1]), rel=1e-6)


@pytest.mark.slow
def test_banks_take_linearised_workspaces():
    linear = [bare(workspace(CURVED, CURVED_CONTROL)), bare(workspace(LINEAR))]
    (bank,) = make_banks([one.likelihood for one in linear], max_buckets=1)
    signals = jnp.concatenate([one.signal(jnp.array([2.0, 3.0])) for one in linear])
    mu = jnp.array([0.0, 0.5, 2.0])
    found = bank.profile(mu, bank.gather(signals))
    for k, one in enumerate(linear):
        events = one.signal(jnp.array([2.0, 3.0]))
        wanted = [one.likelihood.profiled_twice_nll(m, events) for m in mu]
        np.testing.assert_allclose(found.twice_nll[:, k], wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_a_signal_without_limit_is_counted_apart():
    place = workspace(LINEAR)
    linear = linearise(*place, probes=np.array([[2.0, 3.0], [0.0, 0.0]]))
    assert linear.error is not None
    assert int(linear.error.signals) == 2
    assert int(linear.error.without_limit) == 1
    found = linearised_limits(linear, jnp.zeros(2))
    assert bool(found.status == Status.no_bracket)
    assert np.isinf(found.observed)


@pytest.mark.slow
def test_probes_are_a_broad_signal_and_single_regions_near_their_limits():
    place = workspace(CURVED, CURVED_CONTROL)
    linear = bare(place)
    probes = probe_signals(place[0], place[1], linear)
    assert probes.shape == (3, 2)
    broad = np.asarray(linear.asimov.background[:2])
    np.testing.assert_allclose(probes[0] / probes[0, 0], broad / broad[0], rtol=1e-10)
    assert np.all((probes[1:] > 0) == np.eye(2, dtype=bool))
    for probe in probes:
        limit = float(linearised_limits(linear, jnp.asarray(probe)).observed)
        assert limit == pytest.approx(1.0, rel=1e-6)


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", CHECKED)
def test_other_signals_are_within_the_stated_error(name, workspace_of):
    _, document = workspace_of(name)
    model, where, poi, names = place = places(document)
    linear = linearise(*place)
    assert linear.error is not None
    rng = np.random.default_rng(0)
    background = np.asarray(linear.asimov.background @ linear.transfer)
    limit_of = jax.jit(lambda events: linearised_limits(linear, events).observed)
    for _ in range(4):
        events = background * rng.exponential(size=len(names))
        limit = float(limit_of(jnp.asarray(events)))
        error = linearisation_error(model, where, poi, linear, jnp.asarray(limit * events))
        # Two linear models differ by roots of finite precision.
        assert float(error.observed) <= float(linear.error.observed) + 1e-6
        assert float(error.expected) <= float(linear.error.expected) + 1e-6
        assert float(error.twice_nll) <= float(linear.error.twice_nll) + 1e-6
