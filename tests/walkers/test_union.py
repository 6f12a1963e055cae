"""Unions of models: names in order of mass, one LBP, nothing lost, and when there is none."""

import numpy as np
import pytest

from jaxlik.physics.model import point_to_dict, validate
from walkers.union import union

LBP, N2, N3, DOWN, UP = 1000022, 1000023, 1000025, 1000001, 1000002


def soft(lbp=140.0, gap=12.0, strength=0.1):
    """A neutralino just above the LBP."""
    return {
        "masses": {LBP: lbp, N2: lbp + gap},
        "branching_ratios": {N2: {(LBP, 2, 2): 0.5, (LBP, 11, 11): 0.5}},
        "signal_strengths": {(N2, N2): strength, (LBP, N2): 0.0},
    }


def higgs(lbp=200.0, mass=500.0):
    """A neutralino that decays to Higgs bosons."""
    return {
        "masses": {LBP: lbp, N2: mass},
        "branching_ratios": {N2: {(LBP, 25): 1.0}},
        "signal_strengths": {(N2, N2): 0.4, (LBP, N2): 0.0},
    }


def squark(mass, lbp=200.0):
    return {
        "masses": {LBP: lbp, DOWN: mass},
        "branching_ratios": {DOWN: {(LBP, 1): 1.0}},
        "signal_strengths": {(-DOWN, DOWN): 0.3},
    }


@pytest.mark.parametrize("swap", [False, True])
def test_states_of_one_kind_are_named_in_order_of_mass(space, swap):
    pair = (higgs(lbp=140.0), soft()) if swap else (soft(), higgs(lbp=140.0))
    both = union(space, *pair)
    validate(space, both)
    found = point_to_dict(space, both)
    assert found["masses"] == {LBP: 140.0, N2: 152.0, N3: 500.0}
    assert found["branching_ratios"][N2] == {(LBP, 2, 2): 0.5, (LBP, 11, 11): 0.5}
    assert found["branching_ratios"][N3] == {(LBP, 25): 1.0}
    on = {pair: s for pair, s in found["signal_strengths"].items() if s > 0}
    assert on == {(N2, N2): 0.1, (N3, N3): 0.4}


def test_near_particles_follow_the_lbp_and_far_ones_stay(space):
    found = point_to_dict(space, union(space, higgs(lbp=200.0), soft()))
    assert found["masses"] == {LBP: 200.0, N2: 212.0, N3: 500.0}
    found = point_to_dict(space, union(space, soft(lbp=100.0), higgs(lbp=200.0)))
    assert found["masses"] == {LBP: 100.0, N2: 112.0, N3: 500.0}


def test_a_second_squark_gets_the_next_flavour_and_its_quark(space):
    found = point_to_dict(space, union(space, squark(900.0), squark(700.0)))
    assert found["masses"] == {LBP: 200.0, DOWN: 900.0, UP: 700.0}
    assert found["branching_ratios"] == {DOWN: {(LBP, 1): 1.0}, UP: {(LBP, 2): 1.0}}
    on = {pair: s for pair, s in found["signal_strengths"].items() if s > 0}
    assert on == {(-DOWN, DOWN): 0.3, (-UP, UP): 0.3}


def test_no_union_without_names_or_channels(space):
    three = point_to_dict(space, union(space, soft(), higgs(lbp=140.0)))
    assert union(space, three, soft(lbp=140.0, gap=30.0)) is None
    gluino = {
        "masses": {LBP: 200.0, 1000021: 900.0},
        "branching_ratios": {1000021: {(LBP, 5, 5): 1.0}},
        "signal_strengths": {(1000021, 1000021): 1.0},
    }
    assert union(space, gluino, gluino) is None
    # The heavier neutralino of the pool has no decays through an off-shell Z.
    assert union(space, soft(gap=12.0), soft(gap=40.0)) is None


def test_a_union_costs_one_lbp(space):
    both = union(space, soft(), higgs(lbp=140.0))
    assert np.sum(both.active) == 3
