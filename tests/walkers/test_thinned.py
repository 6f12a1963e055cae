"""Search, trimming and contributions with the engine of a thinned snapshot."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.fit.config import SearchConfig
from jaxlik.physics.model import point_from_dict, validate
from walkers.gauge import evaluate_all, score_in_gauge
from walkers.grow import grown_state
from walkers.leads import find_leads, lead_models, sample_masses
from walkers.run import KINDS, initial_state, search
from walkers.state import load_state, new_walkers, save_state
from walkers.step import GAUGE_TOLERANCE, evaluate, joined, rescale
from walkers.target import as_target
from walkers.trim import contributions, trim

CONFIG = SearchConfig(
    walkers=10, steps=60, seed=4, block=30, gradient_every=0, temperature=0.3, teleport=0.02,
    max_particles=5, chunk=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(assembled):
    return assembled[0]


@pytest.fixture(scope="module")
def found(engine):
    return search(engine, CONFIG)


def loaded_point(space):
    """A squark and a stop, with a slepton and a decay that nothing asks for."""
    return point_from_dict(
        space,
        {
            "masses": {1000022: 163.0, 1000001: 735.0, 1000006: 1166.0, 1000011: 1500.0},
            "branching_ratios": {
                1000001: {(1000022, 1): 1.0},
                1000006: {(1000022, 6): 1.0},
                1000011: {(1000022, 11): 1.0},
            },
            "signal_strengths": {(-1000001, 1000001): 0.4, (-1000006, 1000006): 1.2},
        },
    )


def test_search_finds_excesses(engine, found):
    assert found.hiscores.score[0] > 1.0
    best = jax.tree.map(lambda leaf: leaf[0], found.hiscores.points)
    validate(engine.space, best)


def test_stored_scores_are_those_of_the_engine_in_its_gauge(engine, found):
    target = as_target(engine)
    outcome = joined(evaluate(target, found.walkers.point, 10), 10)
    np.testing.assert_allclose(outcome.score, found.walkers.score, rtol=1e-9)
    seen = np.asarray(outcome.mu_hat) > 0
    assert seen.any()
    assert (np.log(np.asarray(outcome.mu_hat)[seen]) < 2 * GAUGE_TOLERANCE).all()
    places = found.hiscores
    np.testing.assert_allclose(
        joined(evaluate(target, places.points, 10), 10).score, places.score, rtol=1e-9
    )


def test_small_changes_of_the_gauge_leave_the_likelihood_ratio(engine, found):
    """Z^2 and mu_hat kappa stay, but where a result starts or ceases to be sensitive."""
    target = as_target(engine)
    base = joined(evaluate(target, found.walkers.point, 10), 10)
    moved = joined(evaluate(target, rescale(found.walkers.point, jnp.full(10, 1.02)), 10), 10)
    seen = np.asarray(base.mu_hat) > 0
    equal = np.isclose(moved.z_squared, base.z_squared, rtol=1e-6)
    shifted = np.isclose(np.asarray(moved.mu_hat) * 1.02, base.mu_hat, rtol=1e-6)
    assert (equal & shifted)[seen].mean() > 0.5


def test_resumed_search_equals_an_uninterrupted_one(engine, found, tmp_path):
    half = search(engine, dataclasses.replace(CONFIG, steps=30))
    save_state(tmp_path / "state.npz", half)
    state = load_state(tmp_path / "state.npz", initial_state(engine, CONFIG))
    again = search(engine, CONFIG, state=state)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_trimming_removes_what_is_idle_and_loses_nothing(engine):
    target = as_target(engine)
    point = loaded_point(engine.space)
    before = float(score_in_gauge(target, _stack(point)).score[0])
    trimmed = trim(engine, point)
    validate(engine.space, trimmed)
    assert not trimmed.active[engine.space.particle_index(1000011)]
    after = score_in_gauge(target, _stack(trimmed))
    assert after.score[0] >= before + 1.0
    # Already in its gauge: evaluating it gives the same score at once.
    assert float(joined(evaluate(target, _stack(trimmed, 10), 10), 10).score[0]) == pytest.approx(
        float(after.score[0]), rel=1e-9
    )


def test_contributions_name_particles_and_analyses(engine, assembled):
    labels = assembled[1]
    point = loaded_point(engine.space)
    result = contributions(engine, labels, point)
    assert set(result) == {"K", "particles", "analyses"}
    assert set(result["particles"]) == {1000001, 1000006, 1000011}
    # The idle slepton costs one particle and one signal strength or more.
    assert result["particles"][1000011]["loss"] < -0.9
    assert result["analyses"]
    assert set(result["analyses"]) <= {p.analysis for p in labels.candidates}
    for part in (*result["particles"].values(), *result["analyses"].values()):
        if part["K"] is not None:
            assert part["K"] + part["loss"] == pytest.approx(result["K"])


def test_excluded_results_leave_the_combination(engine):
    target = as_target(engine)
    point = _stack(loaded_point(engine.space))
    base = score_in_gauge(target, point)
    first = int(np.flatnonzero(base.members[0])[0])
    excluded = np.zeros((1, target.num_candidates), dtype=bool)
    excluded[0, first] = True
    without = score_in_gauge(target, point, excluded=jnp.asarray(excluded))
    assert not without.members[0, first]
    everything = jnp.ones((1, target.num_candidates), dtype=bool)
    assert score_in_gauge(target, point, excluded=everything).score[0] == -np.inf


@pytest.mark.slow
def test_gradient_ascent_raises_the_score_of_the_engine(engine, found):
    from walkers.builder import ascend

    walkers = new_walkers(engine.space, found.walkers.point)._replace(score=found.walkers.score)
    target = as_target(engine)
    waiting, tried = ascend(
        target, walkers, KINDS.index("gradient"), chunk=10, num_steps=3, max_particles=5
    )
    risen = np.asarray(waiting.rounds) == 1
    assert risen.sum() >= 0.3 * tried
    end = score_in_gauge(target, waiting.pending, 10)
    better = end.score > np.asarray(found.walkers.score)
    # The gauge may change which results count: not every rise survives it.
    assert better[risen].mean() > 0.5


def _stack(point, count=1):
    return jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * count), point)


def test_larger_tables_keep_the_score(engine):
    target = as_target(engine)
    assert target.enlarged(target.sizes).sizes == target.sizes
    larger = target.enlarged(tuple(2 * n for n in target.sizes))
    assert larger.sizes == tuple(2 * n for n in target.sizes)
    assert eqx.tree_equal(larger.engine.regions, engine.regions)


@pytest.mark.slow
def test_building_up_starts_the_walk_from_good_models(engine):
    config = dataclasses.replace(CONFIG, leads=1, gradient_steps=0, keep=3, steps=1)
    stages = []
    state = grown_state(engine, config, report=lambda *stage: stages.append(stage))
    target = as_target(engine)
    evaluations, best = zip(*stages, strict=True)
    assert list(evaluations) == sorted(evaluations)
    assert list(best) == sorted(best)
    assert best[-1] > best[0] > 0.0
    score = np.asarray(state.walkers.score)
    assert np.isfinite(score[:5]).all()
    assert not np.isfinite(score[5:]).any()
    outcome = joined(evaluate(target, state.walkers.point, 10), 10)
    np.testing.assert_allclose(outcome.score[:5], score[:5], rtol=1e-9)
    assert state.hiscores.score[0] == score.max() == pytest.approx(best[-1], abs=1e-6)
    again = grown_state(engine, config)
    np.testing.assert_array_equal(again.walkers.score, score)
    walked = search(engine, config, state=state)
    assert walked.hiscores.score[0] >= score.max()


def test_simple_models_lie_where_maps_see_them(engine):
    leads = find_leads(engine.space, engine.yields)
    masses = sample_masses(leads, engine.yields, 2, seed=3)
    reference_fn = as_target(engine).reference_fn
    points = lead_models(engine.space, leads, masses, reference_fn, CONFIG.max_particles)
    count = points.masses.shape[0]
    assert count > len(leads.label)
    for row in range(0, count, 17):
        validate(engine.space, jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), points))
    outcome = evaluate_all(as_target(engine), points, 10)
    # Thinned maps have holes, and some topologies fall below the sensitivity wanted.
    assert np.mean(np.isfinite(np.asarray(outcome.score))) > 0.6
