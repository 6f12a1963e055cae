"""Checkpoints of a sampler: what was learned and where chains stand come back to the bit."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import CheckpointError, ConfigError, Status
from jaxlik.evaluation import Comparison, Settings
from jaxlik.fit.config import SampleConfig
from jaxlik.physics.bijections import layout
from jaxlik.physics.model import ModelSpace, point_from_dict
from jaxlik.physics.whitened import Widths, from_model
from jaxlik.typing import Scalar
from walkers.posterior.groups import group_width
from walkers.posterior.model import ModelTarget
from walkers.posterior.sampler import (
    SamplerState,
    load_sampler,
    model_kernel,
    model_target,
    save_sampler,
    short_sweeps,
)
from walkers.posterior.target import ChainState, state_at

CONFIG = SampleConfig(chains=3)


def state_of(engine, seed):
    """A state with made-up numbers; no likelihood is evaluated."""
    target = model_target(engine, CONFIG)
    kernel = model_kernel(target, None, CONFIG)
    rng = np.random.default_rng(seed)
    size = layout(engine.space).size
    states = ChainState(
        jnp.asarray(rng.random((3, size)) < 0.5),
        jnp.asarray(rng.normal(size=(3, size))),
        jnp.asarray(rng.normal(size=3)),
        jnp.asarray(rng.normal(size=3)),
    )
    learned = jnp.asarray(rng.random(size))
    kernel = eqx.tree_at(lambda k: k.tuning.inverse_mass, kernel, learned)
    return SamplerState(states, kernel, 4 + seed)


def test_a_checkpoint_comes_back_to_the_bit(assembled, tmp_path):
    kept, like = (state_of(assembled[0], seed) for seed in (0, 1))
    save_sampler(tmp_path / "state", kept)
    found = load_sampler(tmp_path / "state", like)
    assert found.blocks == 4
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_runs_and_damage_are_refused(assembled, tmp_path):
    state = state_of(assembled[0], 0)
    path = tmp_path / "state"
    save_sampler(path, state)
    fewer = state._replace(states=jax.tree.map(lambda leaf: leaf[:2], state.states))
    with pytest.raises(CheckpointError, match="of another run"):
        load_sampler(path, fewer)
    content = path.read_bytes()
    for size in np.random.default_rng(1).integers(0, len(content) - 1, size=20):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError):
            load_sampler(path, state)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_sampler(tmp_path / "nothing", state)


def test_names_follow_the_moves(assembled):
    kernel = state_of(assembled[0], 0).kernel
    names = kernel.names
    assert len(names) == len(kernel.moves)
    assert {task for row in kernel.schedule for task in row} == set(range(len(names) + 1))
    assert not any(name.startswith("simple model") for name in names)


def test_two_sweeps_of_three_do_something_beside_drawing_from_the_prior():
    assert short_sweeps(9, [1, 2, 3]) == [(9, 1), (9, 2), (9, 9), (9, 3), (9, 9)]


@pytest.mark.parametrize(("chains", "width"), [(8, 4), (6, 3), (7, 1), (1, 1), (2, 2)])
def test_groups_of_chains_divide_them(chains, width):
    assert group_width(chains) == width


def test_a_posterior_refuses_regions_chosen_by_the_data(assembled):
    literal = dataclasses.replace(assembled[0], literal=True)
    with pytest.raises(ConfigError, match="needs mode default"):
        ModelTarget(engine=literal)


class Scripted(eqx.Module):
    """Stands in for an engine: says the same about every model."""

    space: ModelSpace
    settings: Settings
    log_ratio: Scalar
    r_max: Scalar
    literal: bool = eqx.field(static=True, default=False)

    def compare(self, point):
        return Comparison(self.log_ratio, None, None, self.r_max, Status.success)


def test_maps_have_the_last_word(assembled):
    engine = assembled[0]
    bits, vector = stop_model(engine.space)

    def scripted(log_ratio, r_max):
        return Scripted(engine.space, engine.settings, jnp.asarray(log_ratio), jnp.asarray(r_max))

    networks, maps, excluding = scripted(1.5, 0.5), scripted(2.5, 0.9), scripted(2.5, 1.4)
    alone, both = model_target(networks, CONFIG), model_target(networks, CONFIG, maps)
    assert not alone.has_exact
    assert both.has_exact
    assert both.log_likelihood(bits, vector) == alone.log_likelihood(bits, vector) == 1.5
    assert both.exact(bits, vector) == 2.5
    state = state_at(both, bits, vector)
    assert (state.log_likelihood, state.exact) == (1.5, 2.5)
    excluded = model_target(networks, CONFIG, excluding)
    assert excluded.log_likelihood(bits, vector) == 1.5
    assert excluded.exact(bits, vector) == -jnp.inf
    with pytest.raises(ConfigError, match="needs mode default"):
        model_target(engine, CONFIG, dataclasses.replace(engine, literal=True))


def stop_model(space):
    """A stop that decays to a top and the LBP, with a mass that maps know."""
    point = point_from_dict(
        space,
        {
            "masses": {1000022: 162.552, 1000006: 1165.865},
            "branching_ratios": {1000006: {(1000022, 6): 1.0}},
            "signal_strengths": {(-1000006, 1000006): 1.2},
        },
    )
    return from_model(space, point, Widths())
