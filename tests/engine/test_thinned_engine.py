"""The engine on a thinned snapshot: gradients, batches, one trace, bounds of mu."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.fit.assemble import build_engine
from jaxlik.physics.model import point_from_dict

N1, N2, SQUARK, STOP = 1000022, 1000023, 1000002, 1000006
MODELS = {
    "free": {
        "masses": {N1: 47.3, N2: 448.1},
        "branching_ratios": {N2: {(N1, 25): 1.0}},
        "signal_strengths": {(N2, N2): 0.21},
    },
    "held by a limit": {
        "masses": {N1: 47.3, N2: 448.1, SQUARK: 801.7, STOP: 1003.3},
        "branching_ratios": {
            N2: {(N1, 25): 1.0},
            SQUARK: {(N1, 2): 0.5, (N2, 2): 0.5},
            STOP: {(N1, 6): 0.5, (N2, 6): 0.5},
        },
        "signal_strengths": {(N2, N2): 0.2, (-SQUARK, SQUARK): 1.9, (-STOP, STOP): 2.0},
    },
    "held by a combination": {
        "masses": {N1: 162.7, SQUARK: 735.3, STOP: 1165.9},
        "branching_ratios": {SQUARK: {(N1, 2): 1.0}, STOP: {(N1, 6): 1.0}},
        "signal_strengths": {(-SQUARK, SQUARK): 0.42, (-STOP, STOP): 1.2},
    },
}


@pytest.fixture(scope="module")
def engine(thinned):
    return build_engine(thinned)[0]


@pytest.fixture(scope="module")
def points(engine):
    return {name: point_from_dict(engine.space, document) for name, document in MODELS.items()}


@pytest.fixture(scope="module")
def compiled():
    """Evaluation and gradient of Z^2; any second trace is an error."""

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def evaluate(engine, point):
        def value(leaves):
            found = engine.evaluate(eqx.tree_at(_leaves, point, leaves))
            return found.z_squared, found

        (_, found), slope = jax.value_and_grad(value, has_aux=True)(_leaves(point))
        return found, slope

    return evaluate


def _leaves(point):
    return point.masses, point.signal_strengths


def test_all_contents_share_one_trace(engine, points, compiled):
    for point in points.values():
        found, _ = compiled(engine, point)
        assert found.status == Status.success
        assert found.z_squared > 0


def test_mu_is_bounded_by_what_the_names_say(engine, points, compiled):
    found = {name: compiled(engine, point)[0] for name, point in points.items()}
    assert not found["free"].at_bound
    assert found["held by a limit"].at_bound
    limited = found["held by a limit"]
    assert limited.mu_max == pytest.approx(float(limited.prediction.mu_max))
    combined = found["held by a combination"]
    assert combined.at_bound
    assert combined.mu_max < combined.prediction.mu_max
    assert combined.cls == pytest.approx(0.05, rel=0.02)
    assert combined.critical.any()


TOLERANCE = {"free": 1e-5, "held by a limit": 1e-6, "held by a combination": 5e-4}
"""Relative, in masses: one Newton step places mu-hat and the combination's limit."""


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_finite_differences(name, engine, points, compiled):
    point = points[name]
    masses, strengths = (np.asarray(leaf) for leaf in _leaves(point))
    _, (slope, strength_slope) = compiled(engine, point)

    def central(leaf_fn, number, step):
        def at(sign):
            moved = eqx.tree_at(leaf_fn, point, leaf_fn(point).at[number].add(sign * step))
            return float(compiled(engine, moved)[0].z_squared)

        return (at(1) - at(-1)) / (2 * step)

    used = np.flatnonzero(np.asarray(point.active))
    numeric = [central(lambda p: p.masses, i, 1e-3) for i in used]
    np.testing.assert_allclose(np.asarray(slope)[used], numeric, rtol=TOLERANCE[name])
    modes = np.flatnonzero(strengths != 1)
    numeric = [central(lambda p: p.signal_strengths, k, 1e-4) for k in modes]
    # A free mu-hat absorbs a common factor: its exact derivative is zero.
    np.testing.assert_allclose(
        strengths[modes] * np.asarray(strength_slope)[modes],
        strengths[modes] * np.array(numeric),
        rtol=1e-4,
        atol=1e-4,
    )
    assert masses.shape == slope.shape


@pytest.mark.slow
def test_a_batch_equals_single_models(engine, points, compiled):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points.values())
    batch = eqx.filter_jit(lambda e, p: jax.vmap(e.evaluate)(p).score)(engine, stacked)
    single = [float(compiled(engine, point)[0].score) for point in points.values()]
    np.testing.assert_allclose(batch, single, rtol=1e-9)


@pytest.mark.slow
def test_small_tables_are_reported(engine, points):
    small = dataclasses.replace(engine, buckets=engine.buckets._replace(rows=1))
    found = eqx.filter_jit(lambda e, p: e.evaluate(p))(small, points["held by a limit"])
    assert found.prediction.status == Status.overflow
    assert found.status == Status.overflow
