import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlik.physics import kinematics
from jaxlik.physics.model import ModelPoint, fill_masses
from jaxlik.physics.particles import POOL, STANDARD_MODEL


def make_point(space, masses, fractions=None):
    active = np.isin(space.pdg_ids, list(masses))
    values = np.array([masses.get(pid, 0.0) for pid in space.pdg_ids])
    ratios = np.zeros(space.num_channels) if fractions is None else fractions
    return ModelPoint(
        fill_masses(space, values, active), active, ratios, np.ones(space.num_productions)
    )


def open_set(space, masses):
    opened = np.asarray(kinematics.open_channels(space, make_point(space, masses)))
    return {space.channels[i] for i in np.flatnonzero(opened)}


def test_thresholds_are_strict(space):
    channel = (1000006, 1000022, (6,))
    assert channel not in open_set(space, {1000022: 100.0, 1000006: 273.0})
    assert channel in open_set(space, {1000022: 100.0, 1000006: 273.0001})
    assert channel not in open_set(space, {1000022: 100.0, 1000005: 900.0})


@pytest.mark.parametrize(("mother", "boson"), [(1000023, 23), (1000024, 24)])
def test_off_shell_channels_close_where_the_boson_opens(space, mother, boson):
    gap = STANDARD_MODEL[boson].mass
    below = open_set(space, {1000022: 50.0, mother: 50.0 + gap - 1})
    above = open_set(space, {1000022: 50.0, mother: 50.0 + gap + 1})
    assert all(len(sm) == 2 for _, _, sm in below)
    assert len(below) == (6 if boson == 23 else 4)
    assert above == {(mother, 1000022, (boson,))}


def test_gluino_three_body_channels_need_no_closed_boson(space):
    found = open_set(space, {1000022: 50.0, 1000021: 2000.0})
    assert {sm for _, _, sm in found} == {(1, 1), (4, 4), (5, 5), (6, 6), (21,)}


def test_open_channels_agree_with_a_plain_reading_of_the_rules(space):
    rng = np.random.default_rng(5)
    for _ in range(30):
        active = rng.random(20) < 0.5
        active[space.lbp] = True
        masses = rng.uniform(50, 700, 20)
        point = ModelPoint(masses, active, np.zeros(137), np.ones(50))
        mass = dict(zip(space.pdg_ids, masses, strict=True))
        exists = dict(zip(space.pdg_ids, active, strict=True))
        expected = []
        for mother, daughter, sm in space.channels:
            value = mass[mother] - mass[daughter]
            fits = value > sum(STANDARD_MODEL[p].mass for p in sm)
            if len(sm) == 2 and mother in (1000023, 1000024):
                fits &= value <= (92.0 if sm[0] == sm[1] else 81.0)
            expected.append(bool(fits and exists[mother] and exists[daughter]))
        np.testing.assert_array_equal(kinematics.open_channels(space, point), expected)


def test_margins_have_the_sign_of_openness(space):
    rng = np.random.default_rng(6)
    masses = jnp.asarray(rng.uniform(50, 900, 20))
    point = ModelPoint(masses, np.ones(20, bool), np.zeros(137), np.ones(50))
    margins = kinematics.channel_margins(space, masses)
    np.testing.assert_array_equal(margins > 0, kinematics.open_channels(space, point))
    check_grads(lambda m: kinematics.channel_margins(space, jnp.asarray(m)), (masses,), 1, eps=1e-3)


def test_normalisation_removes_closed_channels_and_reports_what_is_left(space):
    fractions = np.zeros(137)
    fractions[space.channel_index(1000006, 1000022, (6,))] = 0.3
    fractions[space.channel_index(1000006, 1000024, (5,))] = 0.5
    fractions[space.channel_index(1000006, 1000023, (6,))] = 0.2
    point = make_point(
        space, {1000022: 100.0, 1000006: 600.0, 1000024: 200.0, 1000023: 590.0}, fractions
    )
    result = kinematics.normalise_branching_ratios(space, point)
    stop, wino = space.particle_index(1000006), space.particle_index(1000023)
    sums = kinematics.branching_sums(space, result.point.branching_ratios)
    np.testing.assert_allclose(sums[stop], 1, rtol=1e-14)
    np.testing.assert_allclose(result.survival[stop], 0.8)
    assert result.stranded[wino]
    assert not result.stranded[stop]
    assert not result.stranded[space.lbp]
    strengths = kinematics.compensated_signal_strengths(space, point, result.survival)
    np.testing.assert_allclose(strengths[space.production_index(-1000006, 1000006)], 0.64)


def test_normalisation_has_finite_gradients_without_open_channels(space):
    point = make_point(space, {1000022: 100.0, 1000006: 110.0})

    def total(fractions):
        changed = eqx.tree_at(lambda p: p.branching_ratios, point, fractions)
        result = kinematics.normalise_branching_ratios(space, changed)
        return jnp.sum(result.point.branching_ratios**2)

    assert jnp.isfinite(jax.grad(total)(jnp.zeros(137))).all()


@pytest.mark.parametrize(
    ("masses", "allowed"),
    [
        ({1000022: 162.552, 1000001: 734.948, 1000006: 1165.865}, True),
        ({1000022: 200.0, 1000006: 150.0}, False),
        ({1000022: 100.0, 1000001: 300.0}, False),
        ({1000022: 100.0, 1000001: 2500.0}, False),
        ({1000022: 5.0}, False),
        ({1000022: 80.0, 1000006: 255.0}, False),
        ({1000022: 110.0, 1000006: 285.0}, True),
        ({1000022: 80.0, 1000006: 400.0, 2000006: 300.0}, False),
        ({1000022: 80.0, 2000006: 400.0}, False),
        ({1000022: 80.0, 1000024: 90.0}, False),
        ({1000022: 80.0, 1000002: 400.0}, True),
    ],
)
def test_mass_region_is_that_of_protomodels(space, masses, allowed):
    assert bool(kinematics.masses_allowed(space, make_point(space, masses))) is allowed


def test_mass_margins_are_distances(space):
    point = make_point(space, {1000022: 80.0, 1000006: 255.0, 2000006: 900.0})
    margins = kinematics.mass_margins(space, point)
    # 175 GeV above the LBP: 25 GeV from either side of the corridor, 25 below 280.
    np.testing.assert_allclose(margins.corridor, [-25.0, 620.0])
    np.testing.assert_allclose(margins.wall[space.lbp], 70.0)
    np.testing.assert_allclose(np.min(np.asarray(margins.order)), 645.0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(margins))


def test_everything_compiles_once_for_all_contents(space):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def evaluate(point):
        return (
            kinematics.open_channels(space, point),
            kinematics.masses_allowed(space, point),
            kinematics.normalise_branching_ratios(space, point),
            kinematics.existing_productions(space, point),
            kinematics.softened_gate(kinematics.channel_margins(space, point.masses), 5.0),
        )

    for heavy in (1000006, 1000021):
        evaluate(make_point(space, {1000022: 100.0, heavy: 900.0}))
    assert len(POOL) == space.num_particles
