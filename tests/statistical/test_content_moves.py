"""Every content move leaves exact posterior draws exact, and deliberate mistakes do not.

20 000 draws, one move each under `vmap`. Keys are fixed; with other keys a right move would
fail once in 10^5 (p > 1e-5), and a wrong one is caught at p < 1e-10.
"""

import jax
import jax.numpy as jnp
import pytest
from mistakes import Forgetful, Narrower, NoPrior
from one_step import (
    RIGHT,
    WRONG,
    after_one,
    auxiliary_of,
    keys_for,
    moved,
    p_value,
    prepare,
)
from toys import DelayedToy, GaussianToy, WalledToy

from walkers.posterior.moves import (
    AbstractBitProposal,
    AbstractMove,
    ContentMove,
    FlipOne,
    Rebirth,
    Refresh,
    Swap,
    content_candidate,
)
from walkers.posterior.proposals import Gaussian

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


class NextTo(AbstractMove):
    """Split and merge: a block appears around the values of its neighbour, or leaves.

    The anchor is any block that is on; the next one flips. The anchor stays in both
    directions, so that the same density serves for both.
    """

    spread: float = 0.4
    spread_back: float = 0.4

    def candidate(self, key, target, state, auxiliary):
        choose, draw = jax.random.split(key)
        anchor = jax.random.randint(choose, (), 0, target.num_bits)
        flipped = (anchor + 1) % target.num_bits
        new = state.bits ^ (jnp.arange(target.num_bits) == flipped)
        forth = jnp.where(state.bits[anchor], 0.0, jnp.inf)
        size = target.num_parameters // target.num_bits
        spread = jnp.where(new[flipped], self.spread, self.spread_back)
        scale = jnp.full(target.num_parameters, 1.0) * spread
        near = auxiliary._replace(entering=Gaussian(jnp.roll(state.vector, size), scale))
        return content_candidate(draw, target, state, new, forth, jnp.zeros(()), near)


class Lopsided(AbstractBitProposal):
    """Prefers births, and does not say so."""

    def propose(self, key, bits, vector):
        weights = jnp.where(bits, 0.0, 1.0)
        one = jax.random.categorical(key, weights)
        return bits ^ (jnp.arange(bits.shape[0]) == one), jnp.zeros(()), jnp.zeros(())


FREE = jnp.ones(4, bool)
MOVES = {
    "flip": ContentMove(FlipOne(FREE)),
    "flip of some": ContentMove(FlipOne(jnp.array([True, False, True, True]))),
    "swap": ContentMove(Swap(FREE)),
    "rebirth": Rebirth(jnp.repeat(jnp.arange(4), 2)),
    "split and merge": NextTo(),
}


@pytest.mark.parametrize("name", MOVES)
def test_content_moves_keep_exact_draws(plain, name):
    assert moved(plain, MOVES[name]) > RIGHT


@pytest.mark.parametrize("name", ["flip", "swap", "rebirth"])
def test_content_moves_respect_hard_walls(wall, name):
    assert moved(wall, MOVES[name]) > RIGHT


@pytest.mark.parametrize("name", ["flip", "swap", "rebirth"])
def test_second_stage_makes_content_moves_exact(delayed, name):
    assert moved(delayed, MOVES[name]) > RIGHT


@pytest.mark.parametrize("name", ["flip", "swap", "rebirth"])
@pytest.mark.parametrize("mistake", [Forgetful, Narrower])
def test_wrong_proposal_densities_are_caught(plain, name, mistake):
    auxiliary = auxiliary_of(plain.toy)
    wrong = auxiliary._replace(entering=mistake(auxiliary.entering))
    assert moved(plain, MOVES[name], auxiliary=wrong) < WRONG


def test_other_mistakes_of_content_moves_are_caught(plain, delayed):
    toy = plain.toy
    assert moved(plain, ContentMove(Lopsided())) < WRONG
    assert moved(plain, NextTo(), times=10) > RIGHT
    assert moved(plain, NextTo(spread_back=1.5), times=10) < WRONG
    no_prior = NoPrior(toy.matrix, toy.data, toy.price, toy.num_bits)
    assert moved(plain, MOVES["flip"], toy=no_prior) < WRONG
    # The cheap likelihood alone: no second stage.
    cheap = delayed.states._replace(log_likelihood=delayed.states.exact)
    assert moved(delayed._replace(states=cheap), MOVES["flip"], toy=no_prior) < WRONG


def test_refresh_keeps_the_pseudo_prior(plain):
    right = auxiliary_of(plain.toy)
    size = plain.toy.num_parameters
    wrong = right._replace(resting=Gaussian(jnp.zeros(size), jnp.full(size, 0.8)))
    for auxiliary, bound in ((right, None), (wrong, WRONG)):
        states = after_one(
            lambda key, state, a=auxiliary: Refresh()(key, plain.toy, state, a),
            keys_for(plain.states),
            plain.states,
        )
        off = ~jax.vmap(plain.toy.in_use)(plain.states.bits)
        assert jnp.array_equal(states.vector == plain.states.vector, ~off)
        value = p_value(plain, states)
        assert value > RIGHT if bound is None else value < bound
