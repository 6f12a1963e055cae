"""The statistic of `benchmarks.model_ranks`, and the way back of a schedule.

False alarm of the random tests below 1e-3 each; seeds are fixed.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from benchmarks.model_ranks import random_ranks, uniform_p_value
from benchmarks.small_space import ForgetfulDensity, backwards
from walkers.posterior.proposals import standard_normal

pytestmark = pytest.mark.statistical

NUM_SETS, NUM_DRAWS = 600, 11


def test_ranks_count_smaller_draws_and_leave_out_what_is_missing():
    exact = np.array([[0.5], [2.0]])
    others = np.array([[[0.1], [0.2], [0.9]], [[1.0], [np.nan], [np.nan]]])
    assert random_ranks(exact, others, np.random.default_rng(0)).tolist() == [[2], [1]]


def test_equals_are_in_random_order():
    exact, others = np.zeros((NUM_SETS, 1)), np.zeros((NUM_SETS, NUM_DRAWS, 1))
    ranks = random_ranks(exact, others, np.random.default_rng(1))
    assert stats.chisquare(np.bincount(ranks[:, 0], minlength=NUM_DRAWS + 1)).pvalue > 1e-3


def walks(rng, *, fair: bool) -> tuple[np.ndarray, np.ndarray]:
    """A truth at a random place of a slow autoregressive chain, and the rest of the chain."""
    place = rng.integers(0, NUM_DRAWS + 1, NUM_SETS)
    truth = rng.normal(size=NUM_SETS)
    drift = 0.0 if fair else 0.1
    both = np.full((NUM_SETS, 2, NUM_DRAWS), np.nan)
    for direction, steps in enumerate((place, NUM_DRAWS - place)):
        here = truth
        for index in range(NUM_DRAWS):
            here = 0.9 * here + drift + np.sqrt(1 - 0.9**2) * rng.normal(size=NUM_SETS)
            both[:, direction, index] = np.where(index < steps, here, np.nan)
    return truth[:, None], both.reshape(NUM_SETS, -1, 1)


@pytest.mark.parametrize("fair", [True, False])
def test_a_truth_amid_its_chain_ranks_uniformly_unless_the_chain_is_wrong(fair):
    rng = np.random.default_rng(2)
    ranks = random_ranks(*walks(rng, fair=fair), rng)
    value = uniform_p_value(ranks, NUM_DRAWS, rng)
    assert value > 1e-3 if fair else value < 1e-6


def test_the_way_back_has_the_tasks_in_the_opposite_order():
    schedule = ((0, 0, 1), (0, 0, 2), (0, 3, 4))
    assert backwards(schedule) == ((4, 3, 0), (2, 0, 0), (1, 0, 0))
    assert backwards(backwards(schedule)) == schedule


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_a_density_is_forgotten_in_part(part):
    inner = standard_normal(3)
    vector, which = jnp.array([0.3, -1.0, 2.0]), jnp.array([True, True, False])
    wrong = ForgetfulDensity(inner, jnp.asarray(part))
    assert wrong.log_density(vector, which) == part * inner.log_density(vector, which)
