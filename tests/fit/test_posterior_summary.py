"""The document of a posterior, on draws whose answers are known in closed form.

Random numbers are fixed; comparisons at five standard deviations have a false-alarm rate of
6e-7 each, fewer than 100 are made.
"""

import json

import numpy as np
import pytest
from scipy import stats
from synthetic_draws import (
    CENTRE,
    CHARGINO,
    LBP,
    SPACE,
    SQUARK,
    STOP,
    STOP_PAIR,
    STOP_TO_CHARGINO,
    WIDTH,
    draws_with_contents,
    independent_draws,
    two_decays,
)

from jaxlik.fit.posterior_best import BestModel, FisherErrors
from jaxlik.fit.posterior_draws import PosteriorDraws, content_key, stack_chains
from jaxlik.fit.posterior_quantities import (
    BRANCHING_RATIO,
    MASS,
    SIGNAL_STRENGTH,
    Quantity,
    balanced,
)
from jaxlik.fit.posterior_summary import Evidence, posterior_document

pytestmark = pytest.mark.statistical

PROBABILITIES = {(): 0.3, (STOP,): 0.5, (STOP, SQUARK): 0.196, (SQUARK,): 0.004}
SIGMAS = 5.0


@pytest.fixture(scope="module")
def draws():
    return two_decays(independent_draws(PROBABILITIES, shape=(4, 2000)))


@pytest.fixture(scope="module")
def document(draws):
    fisher = FisherErrors(
        (LBP, STOP),
        {
            Quantity(MASS, (STOP,)): (1090.0, WIDTH[STOP]),
            Quantity(BRANCHING_RATIO, (SQUARK, LBP, (1,))): (0.5, 0.1),
        },
    )
    alone = independent_draws({(STOP,): 1.0}, shape=(1, 2000), seed=9)
    best = BestModel(fisher, alone, 1.5, 0.1, 6.0)
    evidence = [Evidence((LBP,), 0.0, 0.0), Evidence((LBP, STOP), 2.5, 0.1, score=6.0)]
    facts = {"status": "done", "seed": 1}
    return posterior_document(draws, facts=facts, evidence=evidence, best=best)


def entry(document, *pids):
    return next(e for e in document["contents"] if e["key"] == content_key((LBP, *pids)))


def test_json_holds_the_document(document):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema"] == "jaxlik/posterior/1"
    assert (document["status"], document["chains"], document["draws"]) == ("done", 4, 2000)


def test_probabilities_of_contents(document):
    number = document["chains"] * document["draws"]
    for content, probability in PROBABILITIES.items():
        found = entry(document, *content)
        error = np.sqrt(probability * (1 - probability) / number)
        assert abs(found["probability"] - probability) < SIGMAS * error
        # Independent draws: the error is binomial, to the noise of its estimate.
        assert found["error"] == pytest.approx(error, rel=0.25)
        assert found["chains"] == 4
    ordered = [one["probability"] for one in document["contents"]]
    assert ordered == sorted(ordered, reverse=True)
    assert document["contents"][0]["label"] == "X_t^1 X_Z^1"
    assert entry(document, SQUARK)["details"] is None
    assert document["standard_model"]["probability"] == entry(document)["probability"]


def test_inclusion_and_number_of_particles_follow_from_the_contents(document):
    stop = entry(document, STOP)["probability"] + entry(document, STOP, SQUARK)["probability"]
    assert document["particles"][str(STOP)]["probability"] == pytest.approx(stop, abs=1e-12)
    assert list(document["particles"]) == [str(STOP), str(SQUARK)]
    numbers = {one["number"]: one["probability"] for one in document["num_particles"]}
    assert numbers[1] == document["standard_model"]["probability"]
    assert sum(numbers.values()) == pytest.approx(1.0, abs=1e-12)


def quantile_misses(found, distribution, number):
    """Deviations of median and intervals from the true quantiles, in standard errors."""
    levels = np.array([0.025, 0.16, 0.5, 0.84, 0.975])
    values = [*found["interval_95"][:1], found["interval_68"][0], found["median"]]
    values += [found["interval_68"][1], found["interval_95"][1]]
    exact = distribution.ppf(levels)
    errors = np.sqrt(levels * (1 - levels) / number) / distribution.pdf(exact)
    return np.abs(np.array(values) - exact) / errors


@pytest.mark.parametrize("content", [(), (STOP,), (STOP, SQUARK)], ids=["SM", "stop", "both"])
def test_intervals_within_a_content(document, content):
    found = entry(document, *content)
    number = round(found["probability"] * document["chains"] * document["draws"])
    details = found["details"]
    assert set(details["masses"]) == {str(pid) for pid in (LBP, *content)}
    for pid in (LBP, *content):
        mass = details["masses"][str(pid)]
        assert mass["unit"] == "GeV"
        misses = quantile_misses(mass, stats.norm(CENTRE[pid], WIDTH[pid]), number)
        assert misses.max() < SIGMAS
        assert mass["error"] == pytest.approx(WIDTH[pid] / np.sqrt(number), rel=0.25)
    # The Gaussian masses make 2 (2 - ln L) a chi-squared number.
    likelihood = details["log_likelihood"]
    law = stats.chi2(len(content) + 1)
    mirrored = {
        "median": 2 * (2 - likelihood["median"]),
        "interval_68": [2 * (2 - x) for x in likelihood["interval_68"][::-1]],
        "interval_95": [2 * (2 - x) for x in likelihood["interval_95"][::-1]],
    }
    assert quantile_misses(mirrored, law, number).max() < SIGMAS
    shift = likelihood["median"] - details["log_posterior"]["median"]
    assert shift == pytest.approx(len(content) + 1, abs=1e-9)


def test_branching_ratios_and_signal_strengths(document):
    found = entry(document, STOP)
    number = round(found["probability"] * document["chains"] * document["draws"])
    ratios = found["details"]["branching_ratios"][str(STOP)]
    assert set(ratios) == {f"({LBP}, 6)", f"({CHARGINO}, 5)"}
    for ratio in ratios.values():
        assert quantile_misses(ratio, stats.uniform(), number).max() < SIGMAS
    strengths = found["details"]["signal_strengths"]
    assert list(strengths) == [str(STOP_PAIR)]
    strength = strengths[str(STOP_PAIR)]
    assert quantile_misses(strength, stats.lognorm(0.3), number).max() < SIGMAS
    # The squark's strength is tied, its only decay constant: no width, nothing to converge.
    both = entry(document, STOP, SQUARK)["details"]
    assert list(both["signal_strengths"]) == [str(STOP_PAIR)]
    fixed = both["branching_ratios"][str(SQUARK)][f"({LBP}, 1)"]
    assert fixed["interval_95"] == [1.0, 1.0]
    assert fixed["r_hat"] is None


def test_correlations(document):
    found = entry(document, STOP)["details"]["correlations"]
    labels, matrix = found["labels"], np.array(found["matrix"])
    first, second = labels.index("BR(X_t^1 -> t X_Z^1)"), labels.index("BR(X_t^1 -> b X_W^1)")
    assert matrix[first, second] == pytest.approx(-1.0, abs=1e-9)
    matrix[first, second] = matrix[second, first] = 0.0
    assert np.abs(matrix - np.eye(len(labels))).max() < SIGMAS / np.sqrt(4 * 2000 * 0.45)


def test_independent_draws_have_converged(document):
    convergence = document["convergence"]
    assert convergence["converged"]
    assert convergence["failures"] == []
    assert convergence["worst"]["r_hat"]["value"] < 1.01
    # Half of the draws are in the content, and all of them are independent.
    stop = entry(document, STOP)
    assert stop["ess_bulk"] == pytest.approx(8000, rel=0.25)
    assert stop["details"]["masses"][str(STOP)]["ess_bulk"] == pytest.approx(4000, rel=0.25)


def test_a_stuck_chain_is_reported():
    mixing = independent_draws({(): 0.5, (STOP,): 0.5}, shape=(3, 1000))
    stuck = independent_draws({(STOP,): 1.0}, shape=(1, 1000), seed=1)
    convergence = posterior_document(stack_chains([mixing, stuck]))["convergence"]
    failed = {failure["quantity"]: failure["reason"] for failure in convergence["failures"]}
    assert not convergence["converged"]
    assert {"p(X_t^1 X_Z^1)", "inclusion of X_t^1", "number of particles"} <= set(failed)
    assert "R-hat" in failed["p(X_t^1 X_Z^1)"]


def test_chains_that_never_leave_their_contents_are_reported():
    chains = [
        independent_draws({(): 1.0}, shape=(1, 500)),
        independent_draws({(STOP,): 1.0}, shape=(1, 500), seed=1),
    ]
    document = posterior_document(stack_chains(chains))
    failed = {f["quantity"]: f["reason"] for f in document["convergence"]["failures"]}
    assert failed["p(X_t^1 X_Z^1)"] == "chains never change, but differ"
    assert entry(document, STOP)["chains"] == 1
    assert entry(document, STOP)["r_hat"] is None
    assert json.dumps(document, allow_nan=False)


def test_slow_chains_miss_the_number_of_effective_draws():
    rng = np.random.default_rng(3)
    index = np.cumsum(rng.uniform(size=(4, 2000)) < 0.02, axis=1) % 2
    document = posterior_document(draws_with_contents([(), (STOP,)], index, rng))
    failed = {f["quantity"]: f["reason"] for f in document["convergence"]["failures"]}
    assert "bulk ESS" in failed["p(X_Z^1)"]
    # Correlation time of a symmetric two-state chain that flips with probability f: 1/f - 1.
    assert entry(document)["ess_bulk"] == pytest.approx(8000 * 0.02 / 0.98, rel=0.5)
    # Within a content the draws are independent.
    assert not [quantity for quantity in failed if quantity.startswith("m(")]


def test_rare_contents_are_summed(draws):
    rng = np.random.default_rng(4)
    index = np.zeros((2, 4000), int)
    index[0, 100:103], index[1, 200:202] = 1, 2
    document = posterior_document(
        draws_with_contents([(STOP,), (SQUARK,), (STOP, SQUARK)], index, rng)
    )
    assert [one["key"] for one in document["contents"]] == [content_key((LBP, STOP))]
    assert document["other_contents"]["number"] == 2
    assert document["other_contents"]["probability"] == pytest.approx(5 / 8000)
    assert document["standard_model"] is None
    assert not document["convergence"]["failures"]


def test_a_channel_that_opens_now_and_then_counts_where_it_is_open():
    draws = two_decays(independent_draws({(STOP,): 1.0}, shape=(2, 2000)))
    ratios, place = draws.branching_ratios.copy(), SPACE.channel_index(*STOP_TO_CHARGINO)
    ratios[:, ::4, place] = 0.0
    document = posterior_document(
        PosteriorDraws(**{**vars(draws), "branching_ratios": ratios}),
    )
    found = entry(document, STOP)["details"]["branching_ratios"][str(STOP)][f"({CHARGINO}, 5)"]
    assert found["fraction"] == pytest.approx(0.75)
    assert quantile_misses(found, stats.uniform(), 3000).max() < SIGMAS


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        ([50, 50], (2, 50)),
        ([100, 100, 3], (2, 100)),
        ([100, 40, 40], (3, 40)),
        ([9, 2], (1, 9)),
        ([500, 60, 50, 60, 3], (4, 50)),
    ],
)
def test_balanced_chains_keep_the_most_draws(lengths, shape):
    series = [np.arange(length, dtype=float) for length in lengths]
    found = balanced(series)
    assert found is not None
    assert found.shape == shape
    assert (np.diff(found, axis=1) > 0).all()


def test_a_stuck_chain_does_not_speak_for_the_others():
    """It has most draws of its content, but the others are compared with it."""
    mixing = independent_draws({(): 0.8, (STOP,): 0.2}, shape=(4, 1000))
    stuck = independent_draws({(STOP,): 1.0}, shape=(1, 1000), seed=1)
    stuck.masses[..., SPACE.particle_index(STOP)] += 2 * WIDTH[STOP]
    convergence = posterior_document(stack_chains([mixing, stuck]))["convergence"]
    failed = {failure["quantity"] for failure in convergence["failures"]}
    assert "m(X_t^1) in X_t^1 X_Z^1" in failed


def test_too_few_draws_are_not_compared():
    assert balanced([]) is None
    assert balanced([np.zeros(7), np.zeros(3)]) is None


def test_evidence_is_relative_to_the_standard_model(document):
    stop, standard_model = document["evidence"]
    assert stop["label"] == "X_t^1 X_Z^1"
    assert stop["bayes_factor"] == pytest.approx(np.exp(2.5))
    assert (stop["twice_log_bayes_factor"], stop["twice_error"], stop["K"]) == (5.0, 0.2, 6.0)
    assert standard_model["bayes_factor"] == 1.0
    assert standard_model["K"] is None


def test_fisher_errors_stand_beside_those_of_the_posterior(document):
    best = document["best_model"]
    assert best["key"] == content_key((LBP, STOP))
    assert (best["K"], best["log_evidence"], best["draws"]) == (6.0, 1.5, 2000)
    mass, absent = best["quantities"]
    assert (mass["label"], mass["best"], mass["fisher_error"]) == ("m(X_t^1)", 1090.0, 60.0)
    low, high = mass["interval_68"]
    assert 0.5 * (high - low) == pytest.approx(60.0, rel=0.08)
    assert absent["median"] is None
    assert absent["interval_68"] == [None, None]


def test_draws_of_another_content_are_refused(draws):
    key = Quantity(SIGNAL_STRENGTH, (-SQUARK, SQUARK))
    best = BestModel(FisherErrors((LBP, CHARGINO), {key: (1.0, 0.2)}), draws, 0.0, 0.1)
    with pytest.raises(ValueError, match="must all have its particles"):
        posterior_document(draws.head(50), best=best)
