"""Every move, from thousands of random models, suggests valid models only."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.kinematics import existing_productions, masses_allowed, open_channels
from jaxlik.physics.model import ModelPoint, point_from_dict, validate
from walkers.moves import MOVES
from walkers.state import lonely_point
from walkers.step import propose_one
from walkers.target import EngineReference
from walkers.trim import settled

NUM_WALKERS, NUM_STEPS, MAX_PARTICLES = 400, 40, 6


@pytest.fixture(scope="module")
def reference_fn(space):
    return EngineReference(reference_cross_sections(space))


@pytest.fixture(scope="module")
def moves(space):
    return tuple(move(space, MAX_PARTICLES) for move in MOVES.values())


@pytest.fixture(scope="module")
def attempt(moves, reference_fn):
    """One proposal for each model of a stack, moves drawn with traced weights."""

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def attempt(key, points, weights):
        def one(key, point):
            reference = reference_fn(point.masses)
            return propose_one(moves, reference_fn, weights, key, point, reference)

        return jax.vmap(one)(jax.random.split(key, NUM_WALKERS), points)

    return attempt


@pytest.fixture(scope="module")
def random_models(space, moves, attempt) -> ModelPoint:
    """Models from 16 000 random moves, all valid proposals taken."""
    masses = jnp.linspace(20.0, 900.0, NUM_WALKERS)
    points = jax.vmap(lambda mass: lonely_point(space, mass))(masses)
    weights = jnp.ones(len(moves)).at[0].set(2.0)
    for key in jax.random.split(jax.random.key(3), NUM_STEPS):
        _, new, valid = attempt(key, points, weights)
        taken = np.asarray(valid)
        points = jax.tree.map(
            lambda a, b, t=taken: jnp.asarray(
                np.where(t.reshape((-1,) + (1,) * (a.ndim - 1)), np.asarray(a), np.asarray(b))
            ),
            new,
            points,
        )
    return points


def assert_valid_models(space, points: ModelPoint, chosen=slice(None)) -> None:
    """An independent look at the chosen models of a stack."""
    # All models pass through jax, since a new shape would compile anew.
    allowed, is_open, exists = (np.asarray(a)[chosen] for a in _looked_at(space, points))
    stack = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], points)
    assert (stack.active.sum(axis=1) <= MAX_PARTICLES).all()
    assert allowed.all()
    assert not (stack.branching_ratios[~is_open] > 0).any()
    assert (stack.signal_strengths[~exists] == 1).all()
    for row in range(len(stack.masses)):
        validate(space, jax.tree.map(lambda a, row=row: a[row], stack), tolerance=1e-9)


@jax.jit
def _looked_at(space, points):
    def one(point):
        return (
            masses_allowed(space, point),
            open_channels(space, point),
            existing_productions(space, point),
        )

    return jax.vmap(one)(points)


def test_random_walk_reaches_rich_models_and_all_are_valid(space, random_models):
    assert_valid_models(space, random_models)
    content = np.asarray(random_models.active)
    assert content.any(axis=0).all()
    assert (content.sum(axis=1) == MAX_PARTICLES).any()


@pytest.mark.parametrize("name", MOVES)
def test_proposals_of_each_move_are_valid_models(space, moves, attempt, random_models, name):
    number = list(MOVES).index(name)
    weights = jnp.zeros(len(moves)).at[number].set(1.0)
    kind, points, valid = attempt(jax.random.key(11), random_models, weights)
    usable = np.asarray(valid)
    assert (np.asarray(kind)[usable] == number).all()
    # A move that is hardly ever possible or valid would be dead weight.
    assert usable.sum() > (0.02 if name == "merge" else 0.3) * NUM_WALKERS
    assert_valid_models(space, points, usable)
    changed = [
        np.any(np.asarray(a) != np.asarray(b), axis=1)
        for a, b in zip(jax.tree.leaves(points), jax.tree.leaves(random_models), strict=True)
    ]
    assert np.any(changed, axis=0)[usable].all()


def test_only_a_birth_is_possible_for_a_lonely_particle(space, moves):
    point = lonely_point(space, jnp.asarray(200.0))
    possible = {name: bool(m.possible(point)) for name, m in zip(MOVES, moves, strict=True)}
    assert [name for name, yes in possible.items() if yes] == ["birth"]


def test_death_keeps_the_rates_of_surviving_decays(space, reference_fn):
    point = point_from_dict(
        space,
        {
            "masses": {1000022: 100.0, 1000023: 400.0, 1000021: 1200.0},
            "branching_ratios": {
                1000021: {(1000022, 1, 1): 0.25, (1000023, 1, 1): 0.75},
                1000023: {(1000022, 23): 1.0},
            },
            "signal_strengths": {(1000021, 1000021): 2.0},
        },
    )
    active = point.active.at[space.particle_index(1000023)].set(False)
    found, valid = settled(space, reference_fn, eqx.tree_at(lambda p: p.active, point, active))
    mode = space.production_index(1000021, 1000021)
    assert bool(valid)
    assert found.signal_strengths[mode] == pytest.approx(2.0 * 0.25**2)
    channel = space.channel_index(1000021, 1000022, (1, 1))
    assert found.branching_ratios[channel] == 1.0


def test_off_shell_boson_takes_over_below_its_threshold(space, reference_fn):
    point = point_from_dict(
        space,
        {
            "masses": {1000022: 100.0, 1000023: 250.0},
            "branching_ratios": {1000023: {(1000022, 23): 0.75, (1000022, 25): 0.25}},
        },
    )
    number = space.particle_index(1000023)

    def moved(point, mass):
        masses = point.masses.at[number].set(mass)
        return settled(space, reference_fn, eqx.tree_at(lambda p: p.masses, point, masses))[0]

    below = moved(point, 150.0)
    shares = np.asarray(below.branching_ratios)[
        [space.channel_index(1000023, 1000022, (f, f)) for f in (2, 5, 11, 13, 15, 12)]
    ]
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(shares[1] / shares[0], 0.151 / 0.548, rtol=1e-12)
    # The lost decay to h is compensated in kappa: squared for the pair.
    pair = space.production_index(1000023, 1000023)
    assert below.signal_strengths[pair] == pytest.approx(0.75**2)
    above = moved(below, 260.0)
    assert above.branching_ratios[space.channel_index(1000023, 1000022, (23,))] == pytest.approx(1)
    assert above.signal_strengths[pair] == pytest.approx(0.75**2)
