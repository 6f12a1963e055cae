import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import ModelPointError
from jaxlik.physics.model import (
    describe,
    make_space,
    point_from_dict,
    point_to_dict,
    production_key,
    protomodel_space,
    validate,
)

BASE = {
    "masses": {1000022: 100.0, 1000006: 800.0},
    "branching_ratios": {1000006: {(1000022, 6): 1.0}},
}


def test_default_pool_has_the_published_size(space):
    assert (space.num_particles, space.num_channels, space.num_productions) == (20, 137, 50)
    assert len(set(space.channels)) == 137
    assert len(set(space.productions)) == 50
    assert all(pair == tuple(sorted(pair)) for pair in space.productions)
    # Spec: 133 unique entries of the public template; the paper's table adds these.
    for channel in (
        (1000006, 1000025, (6,)),
        (2000005, 1000005, (23,)),
        (1000023, 1000022, (12, 12)),
    ):
        assert channel in space.channels


def test_index_arrays_agree_with_the_names(space):
    for number, (mother, daughter, _) in enumerate(space.channels):
        assert space.pdg_ids[int(space.channel_parent[number])] == mother
        assert space.pdg_ids[int(space.channel_daughter[number])] == daughter
    for pair, positions in zip(space.productions, np.asarray(space.production_pair), strict=True):
        assert tuple(space.pdg_ids[i] for i in positions) == tuple(map(abs, pair))


def test_lookups_accept_names_signs_and_any_order(space):
    assert space.particle_index("X_g") == space.particle_index(1000021)
    assert space.channel_index(-1000021, -1000024, (-2, 1)) == space.channel_index(
        1000021, 1000024, (1, 2)
    )
    assert space.production_index(1000006, -1000006) == space.production_index(-1000006, 1000006)
    assert production_key(-1000012, 1000011) == (1000011, 1000012)


def test_dictionary_round_trip_is_exact(space, winner):
    again = point_from_dict(space, point_to_dict(space, winner))
    for old, new in zip(jax.tree.leaves(winner), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_description_names_particles_and_decays(space, winner):
    text = describe(space, winner)
    assert "X_t^1          1165.9  t X_Z^1 1.000" in text
    assert "X_d~ X_d: 0.492" in text


def test_absent_particles_get_masses_that_respect_all_orders(space):
    document = {
        "masses": {1000022: 100.0, 2000006: 900.0},
        "branching_ratios": {2000006: {(1000022, 6): 1.0}},
    }
    masses = dict(zip(space.pdg_ids, point_from_dict(space, document).masses, strict=True))
    assert masses[1000022] < masses[1000006] < masses[2000006]
    assert masses[1000023] < masses[1000025]


def changed(**entries):
    return {**BASE, **entries}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(masses={1000022: 100.0, 1000099: 5.0}), "not in the model space|unknown"),
        (changed(masses={1000006: 800.0}), "X_Z\\^1\\) is absent"),
        (changed(masses={1000022: -1.0, 1000006: 800.0}), "mass of X_Z\\^1 .* is -1.0 GeV"),
        (changed(masses={1000022: 100.0, 1000006: float("nan")}), "is nan GeV"),
        (changed(masses={1000022: 900.0, 1000006: 800.0}), "X_t\\^1 .* lighter than"),
        (changed(branching_ratios={1000006: {(1000022, 6): 0.9}}), "X_t\\^1 sum to 0.9"),
        (changed(branching_ratios={}), "X_t\\^1 sum to 0, not to 1"),
        (changed(branching_ratios={1000006: {(1000022, 5): 1.0}}), "not in the model space"),
        (changed(branching_ratios={1000006: {(1000022, 6): -1.0}}), "contain -1.0"),
        (changed(signal_strengths={(-1000006, 1000006): float("inf")}), "contain inf"),
        (changed(signal_strengths={(1000006, 1000006): 1.0}), "not among the 50 modes"),
        (changed(widths={}), "keys \\['widths'\\]"),
    ],
)
def test_contradictions_are_named(space, document, message):
    with pytest.raises(ModelPointError, match=message):
        point_from_dict(space, document)


def test_wrong_shapes_are_named(space, winner):
    bad = eqx.tree_at(lambda p: p.branching_ratios, winner, jnp.zeros(3))
    with pytest.raises(ModelPointError, match="shape \\(3,\\), wanted \\(137,\\)"):
        validate(space, bad)


@pytest.mark.parametrize(
    ("ids", "channels", "productions", "message"),
    [
        ((1000006,), (), (), "lacks the lightest"),
        ((1000022, 1000022), (), (), "more than once"),
        ((1000022,), ((1000006, 1000022, (6,)),), (), "particle axis"),
        ((1000022, 1000006), ((1000022, 1000006, (6,)),), (), "stable"),
        ((1000022, 1000006), ((1000006, 1000022, (99,)),), (), "unknown"),
        ((1000022,), (), ((-1000006, 1000006),), "particle axis"),
    ],
)
def test_impossible_spaces_are_named(ids, channels, productions, message):
    with pytest.raises(ModelPointError, match=message):
        make_space(ids, channels, productions)


def test_space_is_a_static_argument_that_does_not_retrace(space, winner):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def total(space, point):
        return jnp.sum(point.masses[space.channel_parent])

    assert total(space, winner) == total(protomodel_space(), winner)


def test_extra_productions_extend_the_axis():
    bigger = protomodel_space(extra_productions=((1000001, 1000002),))
    assert bigger.num_productions == 51
    assert bigger.production_index(1000002, 1000001) == 50
