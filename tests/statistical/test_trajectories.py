"""Every trajectory leaves exact posterior draws exact, and deliberate mistakes do not.

20 000 draws, one trajectory each under `vmap`. Keys are fixed; with other keys a right move would
fail once in 10^5 (p > 1e-5), and a wrong one is caught at p < 1e-10.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_step import (
    NUM_DRAWS,
    NUM_REFERENCE,
    RIGHT,
    WRONG,
    Exam,
    prepare,
    transported,
)
from toys import DelayedToy, FunnelToy, GaussianToy, WalledToy, funnel_draws, stacked_states

from walkers.posterior import trajectories
from walkers.posterior.nuts import NUTS
from walkers.posterior.trajectories import GIST, HMC, initial_tuning

pytestmark = [pytest.mark.statistical, pytest.mark.slow]


@pytest.fixture(scope="module")
def plain():
    return prepare(GaussianToy)


@pytest.fixture(scope="module")
def wall():
    return prepare(WalledToy)


@pytest.fixture(scope="module")
def delayed():
    return prepare(DelayedToy)


class Credulous(WalledToy):
    """Accepts with the guide."""

    def log_likelihood(self, bits, vector):
        return self.guide(bits, vector)

    def guide(self, bits, vector):
        rest = self.data - self.matrix @ jnp.where(self.in_use(bits), vector, 0.0)
        return -0.4 * jnp.sum(rest**2) + 0.1 * jnp.sum(jnp.tanh(vector))


TRAJECTORIES = {
    "HMC": (HMC(num_leapfrogs=4), 0.6),
    "GIST": (GIST(num_leapfrogs=4), 0.5),
    "GIST from large steps": (GIST(num_leapfrogs=4), 2.5),
    "NUTS": (NUTS(max_depth=4), 0.5),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_trajectories_keep_exact_draws(plain, name):
    kernel, step_size = TRAJECTORIES[name]
    assert transported(plain, kernel, step_size=step_size) > RIGHT


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_a_wrong_guide_costs_acceptance_not_exactness(wall, name):
    kernel, step_size = TRAJECTORIES[name]
    assert transported(wall, kernel, step_size=step_size) > RIGHT


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_second_stage_makes_trajectories_exact(delayed, name):
    kernel, step_size = TRAJECTORIES[name]
    assert transported(delayed, kernel, step_size=step_size) > RIGHT


@pytest.mark.parametrize("name", ["HMC", "GIST", "NUTS"])
def test_trajectories_that_believe_the_guide_are_caught(wall, name):
    kernel, step_size = TRAJECTORIES[name]
    toy = wall.toy
    credulous = Credulous(toy.matrix, toy.data, toy.price, toy.num_bits)
    assert transported(wall, kernel, toy=credulous, step_size=step_size) < WRONG


def test_trajectories_without_their_kinetic_energy_are_caught(plain, monkeypatch):
    monkeypatch.setattr(trajectories, "kinetic", lambda *_: jnp.zeros(()))
    assert transported(plain, HMC(num_leapfrogs=4), step_size=0.6, times=3) < WRONG


@pytest.mark.parametrize("checked", [True, False])
def test_step_sizes_are_checked_backwards(monkeypatch, checked):
    if not checked:
        monkeypatch.setattr(trajectories, "_reversible", lambda found: found[0])
    states = stacked_states(FunnelToy(), *funnel_draws(NUM_DRAWS, 1))
    reference = funnel_draws(NUM_REFERENCE, 2)[1]
    exam = Exam(FunnelToy(), None, states, np.array([0.0, 1.0]), reference)
    value = transported(exam, GIST(num_leapfrogs=4), step_size=1.0, times=5)
    assert value > RIGHT if checked else value < WRONG


@pytest.mark.parametrize("kernel", [HMC(), GIST()])
def test_programs_hold_the_guide_once(wall, kernel):
    """Compiling a real likelihood takes long: each copy counts."""
    state = jax.tree.map(lambda leaf: leaf[0], wall.states)
    tuning = initial_tuning(wall.toy.num_parameters)
    program = jax.jit(lambda key, state: kernel(key, wall.toy, state, tuning))
    # Only the guide of this toy has hyperbolic tangents.
    assert program.lower(jax.random.key(0), state).as_text().count("stablehlo.tanh") == 1
