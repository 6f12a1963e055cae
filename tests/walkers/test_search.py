"""The search as a whole, on a toy score: convergence, seeds, resuming, compilation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import CheckpointError
from jaxlik.fit.config import MoveWeights, SearchConfig
from jaxlik.physics.model import ModelPoint, validate
from walkers.builder import ascend, ascend_chunk, compile_ascent
from walkers.run import KINDS, best_point, initial_state, search
from walkers.state import load_state, new_walkers, save_state
from walkers.step import GAUGE_TOLERANCE, decide, evaluate, joined, propose, rescale
from walkers.target import evaluate_chunk

CONFIG = SearchConfig(
    walkers=24, steps=120, seed=1, block=20, keep=6, temperature=0.3, teleport=0.02,
    gradient_every=30, gradient_steps=4, max_particles=5, chunk=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def blocks() -> list:
    return []


@pytest.fixture(scope="module")
def finished(toy, blocks):
    """One search, recorded block by block."""
    return search(toy, CONFIG, on_block=lambda state, progress: blocks.append((state, progress)))


def assert_same_state(first, second) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_search_finds_the_hidden_model(toy, finished):
    from toy_target import BEST_SCORE, HIDDEN

    # 2880 evaluations; the best of them misses the maximum by random distances.
    assert finished.hiscores.score[0] > BEST_SCORE - 0.5
    point = best_point(finished)
    found = {toy.space.pdg_ids[i] for i in np.flatnonzero(np.asarray(point.active))}
    assert found == {1000022, *HIDDEN}
    for pid, mass in HIDDEN.items():
        assert abs(point.masses[toy.space.particle_index(pid)] - mass) < 100


def test_stored_scores_are_those_of_the_stored_models(toy, finished):
    walkers = finished.walkers
    outcome = joined(evaluate(toy, walkers.point, CONFIG.chunk), CONFIG.walkers)
    np.testing.assert_allclose(outcome.score, walkers.score, rtol=1e-12)
    seen = np.asarray(walkers.mu_hat) > 0
    np.testing.assert_allclose(np.asarray(walkers.mu_hat)[seen], 1.0, rtol=2 * GAUGE_TOLERANCE)
    places = jax.tree.map(lambda leaf: leaf[finished.hiscores.live], finished.hiscores)
    again = jax.vmap(toy, in_axes=(0, None))(places.points, jnp.zeros(2, dtype=bool))
    np.testing.assert_allclose(again.score, places.score, rtol=1e-12)
    for row in range(len(places.score)):
        validate(toy.space, jax.tree.map(lambda a, row=row: a[row], places.points))


def test_progress_and_history_tell_what_happened(finished, blocks):
    assert [progress.step for _, progress in blocks] == [20, 40, 60, 80, 100, 120]
    _, last = blocks[-1]
    assert last.score == finished.hiscores.score[0]
    assert last.steps_per_second > 0
    assert set(last.acceptance) <= set(KINDS)
    history = finished.history
    assert history.best.shape == (CONFIG.steps,)
    assert (np.diff(history.best) >= 0).all()
    trials = finished.trials
    assert (trials.accepted <= trials.proposed).all()
    # Every walker proposes or carries on a proposal in every step.
    assert trials.proposed[:-1].sum() <= CONFIG.walkers * CONFIG.steps
    assert (trials.proposed > 0).sum() >= len(KINDS) - 1


def test_seed_decides_everything(toy, finished):
    short = dataclasses.replace(CONFIG, steps=20)
    first, second = search(toy, short), search(toy, short)
    assert_same_state(first, second)
    other = search(toy, dataclasses.replace(short, seed=2))
    assert not np.array_equal(first.walkers.point.masses, other.walkers.point.masses)


def test_resumed_search_equals_an_uninterrupted_one(toy, finished, blocks, tmp_path):
    halfway, _ = blocks[2]
    path = tmp_path / "state.npz"
    save_state(path, halfway)
    state = load_state(path, initial_state(toy, CONFIG))
    assert_same_state(state, halfway)
    assert_same_state(search(toy, CONFIG, state=state), finished)


def test_longer_search_goes_on_where_a_shorter_one_ended(toy, finished):
    odd = search(toy, dataclasses.replace(CONFIG, steps=70))
    assert odd.step == 70
    assert_same_state(search(toy, CONFIG, state=odd), finished)


def test_changing_contents_compile_nothing_new(toy, finished):
    functions = (propose, evaluate_chunk, ascend_chunk, decide)
    before = [_cache_size(function) for function in functions]
    state = search(toy, dataclasses.replace(CONFIG, seed=3, steps=60))
    contents = np.unique(np.asarray(state.walkers.point.active), axis=0)
    assert len(contents) > 1
    assert [_cache_size(function) for function in functions] == before


def _cache_size(function) -> int:
    return getattr(function, "_cached", function)._cache_size()


def test_score_is_invariant_under_a_common_factor_of_all_signal_strengths(toy, finished):
    points = finished.walkers.point
    none = jnp.zeros((CONFIG.walkers, 2), dtype=bool)
    factor = jnp.linspace(0.3, 3.0, CONFIG.walkers)
    one = jax.vmap(toy)(points, none)
    other = jax.vmap(toy)(rescale(points, factor), none)
    np.testing.assert_allclose(other.score, one.score, rtol=1e-10)
    np.testing.assert_allclose(other.mu_hat * factor, one.mu_hat, rtol=1e-10)


def test_overflow_is_rejected_counted_and_cured(toy):
    import equinox as eqx

    small = eqx.tree_at(lambda t: t.limit, toy, jnp.asarray(2))
    config = dataclasses.replace(CONFIG, steps=60, gradient_every=0)
    seen = []
    state = search(small, config, on_block=lambda s, p: seen.append((s, p)))
    first, progress = seen[0]
    assert first.trials.overflow.sum() > 0
    assert progress.overflow > 0
    assert first.walkers.point.active.sum(axis=1).max() <= 2
    assert progress.sizes[0] == 3
    assert state.walkers.point.active.sum(axis=1).max() > 2
    # The sizes belong to the state, so a resumed search has them, too.
    resumed = search(small, config, state=seen[1][0])
    assert_same_state(resumed, state)


def test_weight_zero_switches_a_move_off(toy):
    only = MoveWeights(**{name: 0.0 for name in KINDS[:-1]} | {"birth": 1.0})
    state = search(toy, dataclasses.replace(CONFIG, steps=20, moves=only, teleport=0.0))
    assert state.trials.proposed[0] > 0
    assert state.trials.proposed[1:].sum() == 0


def test_gradient_ascent_raises_the_score(toy, finished):
    walkers = finished.walkers
    stop = toy.space.particle_index(1000006)
    shift = jnp.where(jnp.arange(toy.space.num_particles) == stop, 60.0, 0.0)
    moved = walkers.point.masses + jnp.where(walkers.point.active, shift[None, :], 0.0)
    points = ModelPoint(moved, *jax.tree.leaves(walkers.point)[1:])
    start = joined(evaluate(toy, points, CONFIG.chunk), CONFIG.walkers)
    placed = new_walkers(toy.space, points)._replace(score=start.score)
    waiting, tried = ascend(
        toy, placed, KINDS.index("gradient"), chunk=CONFIG.chunk, num_steps=4,
        max_particles=CONFIG.max_particles,
    )  # fmt: skip
    risen = np.asarray(waiting.rounds) == 1
    able = np.isfinite(np.asarray(start.score))
    assert tried == able.sum()
    assert risen.sum() > 0.5 * able.sum()
    end = joined(evaluate(toy, waiting.pending, CONFIG.chunk), CONFIG.walkers)
    assert (np.asarray(end.score) > np.asarray(start.score))[risen].all()
    # Equal signal strengths rise together: their number does not.
    np.testing.assert_array_less(
        np.asarray(start.log_prior)[risen] - 1e-9, np.asarray(end.log_prior)[risen]
    )


def test_other_seed_or_walkers_cannot_be_resumed(toy, finished):
    with pytest.raises(CheckpointError, match="another seed than 5"):
        search(toy, dataclasses.replace(CONFIG, seed=5), state=finished)
    with pytest.raises(CheckpointError, match="has 24 walkers, the configuration 12"):
        search(toy, dataclasses.replace(CONFIG, walkers=12), state=finished)


def test_what_is_compiled_ahead_serves_the_first_ascent(toy):
    config = dataclasses.replace(CONFIG, gradient_steps=7)
    compile_ascent(toy, config)
    before = _cache_size(ascend_chunk)
    walkers = initial_state(toy, config).walkers
    built = jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, walkers.point))
    for points in (walkers.point, built):
        some = jax.tree.map(lambda leaf: leaf[: config.chunk], points)
        ascend_chunk(toy, some, config.gradient_steps, config.max_particles)
    assert _cache_size(ascend_chunk) == before
