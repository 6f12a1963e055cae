"""The list of best models: order, duplicates, empty places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.physics.model import ModelPoint
from walkers.hiscores import HiScores, empty_hiscores, update_hiscores

SIZE = 4
"""Places of the list and candidates per update: one shape, one compilation."""

update = jax.jit(update_hiscores)


def entries(space, scores, masses, *, pids=(1000006,), step=0):
    """Models of an LBP at 100 GeV and others at given masses, filled up with nothing."""
    scores = [*scores, *[-np.inf] * (SIZE - len(scores))]
    masses = [*masses, *[600.0] * (SIZE - len(masses))]
    count = len(scores)
    active = np.zeros((count, space.num_particles), dtype=bool)
    values = np.full((count, space.num_particles), 600.0)
    active[:, space.lbp], values[:, space.lbp] = True, 100.0
    for pid in pids:
        active[:, space.particle_index(pid)] = True
        values[:, space.particle_index(pid)] = masses
    points = ModelPoint(
        values,
        active,
        np.zeros((count, space.num_channels)),
        np.ones((count, space.num_productions)),
    )
    zeros = jnp.zeros(count)
    steps = jnp.full(count, step)
    return HiScores(
        points, jnp.asarray(scores, float), zeros, zeros, zeros, steps, jnp.arange(count)
    )


def test_best_come_first_and_the_list_keeps_its_size(space):
    found = update(
        empty_hiscores(space, SIZE),
        entries(space, [1.0, 4.0, 3.0, 2.0], [500, 600, 700, 800]),
        1e-5,
    )
    np.testing.assert_array_equal(found.score, [4.0, 3.0, 2.0, 1.0])
    np.testing.assert_array_equal(found.walker, [1, 2, 3, 0])
    more = update(found, entries(space, [2.5], [900]), 1e-5)
    np.testing.assert_array_equal(more.score, [4.0, 3.0, 2.5, 2.0])


def test_of_the_same_model_only_the_better_stays(space):
    first = update(empty_hiscores(space, SIZE), entries(space, [3.0], [500.0]), 1e-5)
    again = entries(space, [3.5, 3.5, 2.9], [500.001, 500.001, 400.0], step=7)
    found = update(first, again, 1e-5)
    np.testing.assert_array_equal(found.score, [3.5, 2.9, -jnp.inf, -jnp.inf])
    np.testing.assert_array_equal(found.live, [True, True, False, False])
    # Nothing to gain: the older entry keeps its place.
    same = update(found, entries(space, [3.5], [500.001], step=9), 1e-5)
    np.testing.assert_array_equal(same.step, found.step)


@pytest.mark.parametrize(("tolerance", "kept"), [(1e-5, 2), (0.05, 1)])
def test_tolerance_decides_when_masses_are_the_same(space, tolerance, kept):
    found = update(
        empty_hiscores(space, SIZE), entries(space, [3.0, 2.0], [500.0, 510.0]), tolerance
    )
    assert int(found.live.sum()) == kept


def test_equal_scores_of_one_content_are_one_model_of_different_content_two(space):
    stops = entries(space, [3.0, 3.0 + 1e-6], [500.0, 900.0])
    sbottom = entries(space, [3.0], [500.0], pids=(1000005,))
    found = update(update(empty_hiscores(space, SIZE), stops, 1e-5), sbottom, 1e-5)
    assert int(found.live.sum()) == 2


def test_a_model_similar_to_a_dropped_one_is_kept(space):
    # 500 ~ 510 ~ 520 within 2.5 %, but 500 and 520 differ: only the middle one goes.
    found = update(
        empty_hiscores(space, SIZE), entries(space, [3.0, 2.0, 1.0], [500.0, 510.0, 520.0]), 0.025
    )
    np.testing.assert_array_equal(found.score[:2], [3.0, 1.0])
    assert int(found.live.sum()) == 2
