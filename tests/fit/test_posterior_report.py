"""The tables of a posterior say what its document says, within the width of the terminal."""

import pytest
from synthetic_draws import LBP, SQUARK, STOP, STOP_PAIR, independent_draws, two_decays

from jaxlik.fit.posterior_best import BestModel, FisherErrors
from jaxlik.fit.posterior_draws import stack_chains
from jaxlik.fit.posterior_quantities import MASS, SIGNAL_STRENGTH, Quantity
from jaxlik.fit.posterior_report import digits_of, posterior_report, probability_text
from jaxlik.fit.posterior_summary import Evidence, posterior_document

FACTS = {"seed": 3, "mode": "default", "seconds": 123.0, "database": {"version": "3.0.0"}}


@pytest.fixture(scope="module")
def document():
    draws = two_decays(independent_draws({(): 0.3, (STOP,): 0.5, (STOP, SQUARK): 0.2}))
    values = {
        Quantity(MASS, (STOP,)): (1090.0, 58.0),
        Quantity(SIGNAL_STRENGTH, STOP_PAIR): (1.0, 0.31),
    }
    evidence = [Evidence((LBP, STOP), 2.5, 0.1, 6.0), Evidence((LBP,), 0.0, 0.0)]
    alone = two_decays(independent_draws({(STOP,): 1.0}, shape=(1, 500), seed=4))
    best = BestModel(FisherErrors((LBP, STOP), values), alone, 1.25, 0.07, 6.0)
    return posterior_document(draws, facts=FACTS, evidence=evidence, best=best)


def line_of(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


@pytest.mark.parametrize("width", [72, 100, 160])
def test_tables_keep_to_the_width(document, width):
    assert max(map(len, posterior_report(document, width).splitlines())) <= width


def test_the_report_says_what_the_document_says(document):
    text = posterior_report(document)
    assert "4 chains x 1000 draws in 2 min 03 s (database 3.0.0, mode default, seed 3)" in text
    best = document["contents"][0]
    assert f"{100 * best['probability']:.1f} ± " in text
    assert "X_Z^1 (as in the Standard Model)" in text
    mass = best["details"]["masses"][str(STOP)]
    low, high = mass["interval_68"]
    row = line_of(text, "m(X_t^1) [GeV]")
    assert f"{mass['median']:.0f}" in row
    assert f"{low:.0f} .. {high:.0f}" in row
    assert "Convergence: reached by all" in text
    assert "Number of particles, the lightest one included: 1:" in text


def test_tables_of_evidence_and_of_the_best_model(document):
    text = posterior_report(document)
    row = line_of(text, "+2.50 ± 0.10").split()
    assert row == "+2.50 ± 0.10 12.2 +5.00 ± 0.20 6.00 X_t^1 X_Z^1".split()
    flat = " ".join(text.split())
    start = flat.index("Best model, X_t^1 X_Z^1, K = 6.00")
    assert "ln Z = +1.25 ± 0.07" in flat[start:]
    mass = document["best_model"]["quantities"][0]
    low, high = mass["interval_68"]
    assert f"1090 ± 58 {mass['median']:.0f} {low:.0f} .. {high:.0f}" in flat[start:]


def test_failures_are_named(document):
    mixing = independent_draws({(): 0.5, (STOP,): 0.5}, shape=(3, 500))
    stuck = independent_draws({(STOP, SQUARK): 1.0}, shape=(1, 500), seed=1)
    text = posterior_report(posterior_document(stack_chains([mixing, stuck])), 80)
    assert "Convergence: MISSED by" in text
    assert line_of(text, "p(X_d X_t^1 X_Z^1): chains never change")
    assert max(map(len, text.splitlines())) <= 80


def test_a_posterior_without_particles(document):
    text = posterior_report(posterior_document(independent_draws({(): 1.0}, shape=(2, 500))))
    assert "X_Z^1 (as in the Standard Model), probability 100.0%" in text
    assert "Evidence" not in text
    assert "Fisher" not in text


def test_an_unvisited_standard_model_is_said():
    text = posterior_report(posterior_document(independent_draws({(STOP,): 1.0}, shape=(2, 500))))
    assert "No chain visited the content without particles above the lightest one." in text
    assert "Fixed: BR(X_t^1 -> t X_Z^1) = 1" in text


@pytest.mark.parametrize(
    ("probability", "error", "text"),
    [
        (0.4971, 0.005, "49.7 ± 0.5%"),
        (0.0058, 0.0008, "0.58 ± 0.08%"),
        (0.9, 0.1234, "90.0 ± 12.3%"),
        (1.0, None, "100.0%"),
        (2e-4, None, "0.02%"),
    ],
)
def test_probabilities_show_the_digits_of_their_error(probability, error, text):
    assert probability_text(probability, error) == text


@pytest.mark.parametrize(("width", "digits"), [(120.0, 0), (10.0, 0), (9.0, 1), (0.5, 2), (0.0, 4)])
def test_digits_show_a_tenth_of_the_width(width, digits):
    assert digits_of((1.0, 1.0 + width)) == digits
