"""Checkpoints of a sampler: what was learned and where chains stand come back to the bit."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import CheckpointError, ConfigError
from jaxlik.fit.config import SampleConfig
from jaxlik.physics.bijections import layout
from walkers.posterior.groups import group_width
from walkers.posterior.model import ModelTarget
from walkers.posterior.sampler import (
    SamplerState,
    load_sampler,
    model_kernel,
    model_target,
    save_sampler,
)
from walkers.posterior.target import ChainState

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


@pytest.mark.parametrize(("chains", "width"), [(8, 4), (6, 3), (7, 1), (1, 1), (2, 2)])
def test_groups_of_chains_divide_them(chains, width):
    assert group_width(chains) == width


def test_a_posterior_refuses_regions_chosen_by_the_data(assembled):
    literal = dataclasses.replace(assembled[0], literal=True)
    with pytest.raises(ConfigError, match="needs mode default"):
        ModelTarget(engine=literal)
