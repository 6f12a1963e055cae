"""Trimming on a toy score: it ends, removes what is idle, and keeps what counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_target import HIDDEN

from jaxlik.physics.model import point_from_dict, validate
from walkers.gauge import score_in_gauge
from walkers.trim import contributions, num_parts, trim

IDLE = 1000011


@pytest.fixture(scope="module")
def ornate(toy):
    """The hidden model with an idle particle, unequal strengths and unequal decays."""
    masses = {1000022: 100.0, **HIDDEN, IDLE: 400.0}
    strengths = {pair: 0.7 + 0.1 * k for k, pair in enumerate(toy.space.productions)}
    values = {"masses": masses, "branching_ratios": {}, "signal_strengths": {}}
    for pid in masses:
        channels = [
            (daughter, *sm)
            for parent, daughter, sm in toy.space.channels
            if parent == pid and daughter in masses and masses[daughter] < masses[pid]
        ]
        if channels:
            share = np.linspace(1.0, 2.0, len(channels))
            values["branching_ratios"][pid] = dict(zip(channels, share / share.sum(), strict=True))
    values["signal_strengths"] = {
        pair: s for pair, s in strengths.items() if all(abs(p) in masses for p in pair)
    }
    return point_from_dict(toy.space, values)


def score(toy, point) -> float:
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], point)
    return float(score_in_gauge(toy, stacked).score[0])


def test_trimming_ends_and_removes_what_is_idle(toy, ornate):
    trimmed = trim(toy, ornate)
    validate(toy.space, trimmed)
    assert num_parts(toy.space, trimmed) < num_parts(toy.space, ornate)
    assert not trimmed.active[toy.space.particle_index(IDLE)]
    assert all(trimmed.active[toy.space.particle_index(pid)] for pid in HIDDEN)
    assert score(toy, trimmed) >= score(toy, ornate) - 1e-12


def test_a_trimmed_model_is_left_alone(toy, ornate):
    once = trim(toy, ornate)
    assert num_parts(toy.space, trim(toy, once)) == num_parts(toy.space, once)


def test_contributions_are_losses(toy, ornate):
    class Named:
        candidates = tuple(type("Source", (), {"analysis": name}) for name in ("one", "two"))

    found = contributions(toy, Named, trim(toy, ornate))
    for parts in (found["particles"], found["analyses"]):
        for entry in parts.values():
            assert entry["loss"] > 0
            assert entry["K"] is None or entry["K"] == pytest.approx(found["K"] - entry["loss"])
