"""Evidences from occupancy: Bayes factors that are known, their errors, and what is left out."""

import math

import numpy as np
import pytest
from synthetic_draws import independent_draws

from jaxlik.fit.posterior_evidence import evidences
from jaxlik.fit.posterior_report import posterior_report
from jaxlik.fit.posterior_summary import EVERYTHING, evidence_entries, posterior_document
from jaxlik.physics.particles import LBP

STOP, GLUINO = 1000006, 1000021

PRIOR = {(): 0.7, (STOP,): 0.2, (GLUINO,): 0.1}
"""Probabilities of contents beside the lightest particle before data."""

BAYES = {(): 1.0, (STOP,): 3.0, (GLUINO,): 0.2}


@pytest.fixture(scope="module")
def draws():
    total = sum(PRIOR[key] * BAYES[key] for key in PRIOR)
    posterior = {key: PRIOR[key] * BAYES[key] / total for key in PRIOR}
    return independent_draws(posterior, shape=(4, 2500))


@pytest.fixture(scope="module")
def prior_active(draws):
    rng = np.random.default_rng(3)
    keys = list(PRIOR)
    chosen = rng.choice(len(keys), size=20_000, p=list(PRIOR.values()))
    contents = np.array([np.isin(draws.pdg_ids, (LBP, *key)) for key in keys])
    return contents[chosen]


def test_bayes_factors_are_those_that_made_the_draws(draws, prior_active):
    found = evidences(posterior_document(draws), draws.pdg_ids, prior_active)
    known = {tuple(sorted((LBP, *key))): math.log(value) for key, value in BAYES.items() if key}
    known[()] = math.log((0.2 * 3.0 + 0.1 * 0.2) / 0.3)
    assert {tuple(sorted(one.pdg_ids)) for one in found} == set(known)
    for one in found:
        assert abs(one.log_evidence - known[tuple(sorted(one.pdg_ids))]) < 4 * one.error
        assert 0.01 < one.error < 0.2


def test_the_best_score_stands_beside(draws, prior_active):
    key = tuple(sorted((STOP, LBP)))
    found = evidences(posterior_document(draws), draws.pdg_ids, prior_active, {key: 6.0})
    assert {tuple(sorted(one.pdg_ids)): one.score for one in found}[key] == 6.0
    document = posterior_document(draws, evidence=found)
    assert document["evidence"] == evidence_entries(draws.pdg_ids, found)
    text = posterior_report(document)
    assert EVERYTHING in text
    assert "6.00" in text


def test_contents_that_the_prior_hardly_knows_are_left_out(draws, prior_active):
    few = prior_active[:30]
    found = evidences(posterior_document(draws), draws.pdg_ids, few)
    assert all(len(one.pdg_ids) < 2 for one in found)


def test_nothing_is_said_without_the_standard_model():
    draws = independent_draws({(STOP,): 1.0}, shape=(2, 100))
    active = np.isin(draws.pdg_ids, (LBP,))[None].repeat(100, axis=0)
    assert evidences(posterior_document(draws), draws.pdg_ids, active) == []
