"""What other priors make of evidences: against closed forms, and against draws of those priors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_draws import LBP, SPACE, STOP, STOP_TO_CHARGINO, STOP_TO_TOP, independent_draws

from jaxlik.fit.config import SampleConfig
from jaxlik.fit.posterior_draws import PosteriorDraws
from jaxlik.fit.posterior_report import posterior_report
from jaxlik.fit.posterior_sensitivity import (
    PriorModels,
    gap_log_weight,
    ratio_log_weight,
    strength_log_weight,
    variations,
    with_sensitivity,
)
from jaxlik.fit.posterior_summary import Evidence, evidence_entries, posterior_document
from jaxlik.physics.bijections import layout
from jaxlik.physics.kinematics import canonical_pairs
from jaxlik.physics.whitened import Widths, to_model

PAIRS = canonical_pairs(SPACE)
STOP_2, GLUINO, CHARGINO = 2000006, 1000021, 1000024


def draws_of(widths, seed, number=40_000):
    """Models with a chargino, two stops and a gluino, drawn from the prior with these widths."""
    blocks = layout(SPACE)
    bits = np.zeros(blocks.size, bool)
    for pid in (LBP, STOP, STOP_2, GLUINO, CHARGINO):
        bits[SPACE.particle_index(pid)] = True
    for channel in (STOP_TO_TOP, STOP_TO_CHARGINO):
        bits[blocks.branching.start + SPACE.channel_index(*channel)] = True
    bits[blocks.strengths.start + SPACE.production_index(-STOP, STOP)] = True
    bits[blocks.strengths.start + SPACE.production_index(GLUINO, GLUINO)] = True
    vectors = jax.random.normal(jax.random.key(seed), (number, blocks.size))
    points = jax.vmap(lambda v: to_model(SPACE, jnp.asarray(bits), v, widths))(vectors)
    point = jax.tree.map(lambda leaf: np.asarray(leaf)[None], points)
    return PosteriorDraws(
        SPACE.pdg_ids,
        SPACE.channels,
        SPACE.productions,
        point.active,
        np.where(point.active, point.masses, np.nan),
        point.branching_ratios,
        np.where(point.signal_strengths > 0, point.signal_strengths, np.nan),
        point.signal_strengths > 0,
        np.zeros((1, number)),
        np.zeros((1, number)),
    )


def features(draws):
    """Numbers whose means the two priors must agree on."""
    place = {pid: SPACE.particle_index(pid) for pid in (LBP, STOP, STOP_2, GLUINO)}
    mass = {pid: draws.masses[0, :, place[pid]] for pid in place}
    ratio = draws.branching_ratios[0, :, SPACE.channel_index(*STOP_TO_TOP)]
    strength = draws.signal_strengths[0, :, SPACE.production_index(GLUINO, GLUINO)]
    return np.array(
        [
            np.log(mass[STOP] - mass[LBP]),
            np.log(mass[STOP_2] - mass[STOP]),
            np.log(mass[GLUINO] - mass[LBP]),
            np.log(ratio / (1 - ratio)) ** 2,
            np.log(strength) ** 2,
        ]
    )


@pytest.mark.parametrize("name", ["strength", "logit", "gap"])
def test_weighted_draws_of_one_prior_are_draws_of_the_other(name):
    old, new = Widths(), {"strength": 1.25, "logit": 0.8, "gap": 5.0}
    other = {
        "strength": Widths(strength=new["strength"]),
        "logit": Widths(logit=new["logit"]),
        "gap": Widths(smallest_gap=new["gap"]),
    }[name]
    here, there = draws_of(old, 1), draws_of(other, 2)
    log_weight = {
        "strength": lambda d: strength_log_weight(d, 1.0, new["strength"]),
        "logit": lambda d: ratio_log_weight(d, 1.0, new["logit"]),
        "gap": lambda d: gap_log_weight(d.active, d.masses, 1.0, 5.0, SPACE.lbp, PAIRS),
    }[name](here)[0]
    weight = np.exp(log_weight)
    number = len(weight)
    assert abs(weight.mean() - 1) < 5 * weight.std() / math.sqrt(number)
    wanted, found = features(there), weight * features(here)
    error = np.sqrt((wanted.var(axis=1) + found.var(axis=1)) / number)
    assert np.all(np.abs(wanted.mean(axis=1) - found.mean(axis=1)) < 5 * error)
    # And the two priors are not the same.
    plain = np.abs(features(here).mean(axis=1) - wanted.mean(axis=1)) / error
    assert plain.max() > 10


def entries_of(draws):
    everything = Evidence((), 0.1, 0.01)
    return evidence_entries(draws.pdg_ids, [everything, Evidence((LBP, STOP), 0.2, 0.01)])


def changes_of(draws, prior):
    changes = variations(draws, prior, SampleConfig(), SPACE.lbp, PAIRS)
    found = with_sensitivity(entries_of(draws), draws, prior, changes)
    return {entry["key"]: {one["label"]: one for one in entry["sensitivity"]} for entry in found}


def no_prior(draws):
    """Draws of the prior with the contents of these; only bounds of masses depend on them."""
    size = draws.active.shape[-1]
    return PriorModels(draws.active.reshape(-1, size), draws.masses.reshape(-1, size))


@pytest.mark.parametrize("width", [0.8, 1.25])
def test_strengths_agree_with_the_closed_form(width):
    draws = independent_draws({(): 0.5, (STOP,): 0.5}, shape=(4, 5000))
    found = changes_of(draws, no_prior(draws))[f"{STOP} {LBP}"][f"κ {width:g}"]
    # The posterior of ln(kappa) is N(0, 0.3) under a prior N(0, 1): the likelihood is normal.
    information = 0.3**-2 - 1.0
    log_evidence = [-0.5 * math.log1p(s**2 * information) for s in (width, 1.0)]
    assert found["change"] == pytest.approx(log_evidence[0] - log_evidence[1], abs=4e-3)
    assert abs(found["change"] - (log_evidence[0] - log_evidence[1])) < 5 * found["error"]
    assert found["effective"] > 1000


def test_a_bound_on_masses_agrees_with_counting():
    draws = independent_draws({(): 0.5, (STOP,): 0.5}, shape=(4, 2000))
    rng = np.random.default_rng(5)
    prior = no_prior(independent_draws({(): 0.5, (STOP,): 0.5}, shape=(1, 20_000), seed=7))
    lbp = rng.uniform(10, 200, prior.masses.shape[0])
    prior.masses[:, SPACE.lbp] = lbp
    config = SampleConfig(largest_lbp=240.0)
    changes = variations(draws, prior, config, SPACE.lbp, PAIRS)
    found = with_sensitivity(entries_of(draws), draws, prior, changes)
    entry = next(one for one in found if one["key"] == f"{STOP} {LBP}")
    change = next(one for one in entry["sensitivity"] if one["label"] == "LBP < 160")
    here = draws.active[..., SPACE.particle_index(STOP)]
    before = prior.active[:, SPACE.particle_index(STOP)]
    share = (draws.masses[..., SPACE.lbp][here] <= 160).mean()
    wanted = math.log(share / (lbp[before] <= 160).mean())
    assert change["change"] == pytest.approx(wanted, abs=1e-12)


def test_few_draws_say_nothing():
    draws = independent_draws({(): 0.9, (STOP,): 0.1}, shape=(2, 200))
    found = changes_of(draws, no_prior(draws))[f"{STOP} {LBP}"]
    assert all(one["change"] is None for one in found.values())
    assert all(one["effective"] < 100 for one in found.values())


def test_the_report_shows_the_table():
    draws = independent_draws({(): 0.5, (STOP,): 0.5}, shape=(4, 2000))
    document = posterior_document(draws)
    prior = no_prior(draws)
    changes = variations(draws, prior, SampleConfig(), SPACE.lbp, PAIRS)
    document["evidence"] = with_sensitivity(entries_of(draws), draws, prior, changes)
    text = posterior_report(document, 100)
    assert "Change of ln Z with another prior" in text
    assert "κ 0.8" in text
    assert max(map(len, text.splitlines())) <= 100
