"""The document of a model and its tables, on the published winner."""

import json
import math

import numpy as np
import pytest

from jaxlik.fit import report, summary
from jaxlik.fit.inspection import TopologyNames, scan

KEYS = set(
    "K Z log_prior r_max mu_hat at_bound particles branching_ratios signal_strengths "
    "cross_sections combination r_values contributions complete".split()
)
MEMBER_KEYS = set("analysis region observed background background_error signal type".split())


@pytest.fixture(scope="module")
def document(assembled, inspection):
    snapshot, engine, labels = assembled
    topologies = TopologyNames(snapshot)(inspection.evaluation)
    parts = {"particles": {1000001: {"K": 1.0, "loss": 1.5}}, "analyses": {}}
    return summary.model_document(
        engine, labels, inspection, contributions=parts, topologies=topologies
    )


def test_all_keys_are_there_and_json_holds_them(document):
    assert set(document) >= KEYS
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for member in document["combination"]:
        assert set(member) >= MEMBER_KEYS
    assert document["particles"]["1000006"] == {"mass": 1165.865, "name": "X_t^1"}


def test_published_counts_and_signals_are_found(document):
    """Table 3 of arXiv:2012.12246 at mu = 1; signals within the thinning of the maps."""
    members = {member["analysis"]: member for member in document["combination"]}
    row = members["ATLAS-SUSY-2016-07"]
    assert (row["observed"], row["background"], row["background_error"]) == (611, 526, 31)
    assert row["region"] == "2j_Meff_1200"
    assert row["signal"] / document["mu_hat"] == pytest.approx(44.2, rel=0.05)
    row = members["ATLAS-SUSY-2016-16"]
    assert (row["region"], row["observed"]) == ("tN_high", 8)
    assert row["signal"] / document["mu_hat"] == pytest.approx(3.93, rel=0.05)


def test_numbers_of_the_score_agree_with_each_other(document):
    total = sum(member["log_ratio"] for member in document["combination"])
    assert document["Z"] ** 2 == pytest.approx(total, abs=1e-9)
    assert document["K"] == pytest.approx(total + 2 * document["log_prior"], abs=1e-9)
    assert document["r_max"] <= 1.3


def test_r_values_are_sorted_and_name_their_topologies(document):
    rows = document["r_values"]
    assert [row["r"] for row in rows] == sorted((row["r"] for row in rows), reverse=True)
    assert all(row["topologies"] for row in rows)
    limit = next(r for r in rows if r["result"] == "CMS-SUS-19-006" and "T2" in r["topologies"])
    assert limit["r"] / document["mu_hat"] == pytest.approx(1.2985, rel=0.05)


def test_joint_likelihoods_are_listed_with_sums(assembled, inspection):
    _, engine, labels = assembled
    joint = summary.joint_positions(engine)
    number, (bank, position) = next(iter(joint.items()))
    row = summary._joint_numbers(labels, inspection, bank, position)
    record = next(
        r.covariance
        for r in assembled[0].results
        if r.provenance.folder == labels.candidates[number].folder
    )
    assert row["num_regions"] == len(record.region_ids)
    assert row["observed"] == pytest.approx(record.observed.sum())
    assert row["background_error"] == pytest.approx(math.sqrt(record.covariance.sum()), rel=1e-6)
    assert row["region"] in record.region_ids
    assert row["best_region"]["signal"] <= row["signal"]


def test_the_scan_passes_through_the_best_point(assembled, inspection):
    curves = scan(assembled[1], inspection)
    total = curves.log_ratios[:, inspection.members].sum(axis=1)
    middle = len(curves.mu) // 2
    assert curves.mu[middle] == pytest.approx(inspection.mu_hat)
    assert total[middle] == pytest.approx(inspection.z_squared, abs=1e-9)
    assert total[0] == 0


def test_what_json_cannot_hold_becomes_null():
    nested = {"a": [np.float64(np.nan), math.inf], 5: np.int64(3), "b": (True, "x")}
    assert summary.finite(nested) == {"a": [None, None], "5": 3, "b": [True, "x"]}


@pytest.mark.parametrize("width", [70, 100, 140])
def test_tables_show_what_a_physicist_looks_for(document, width):
    run = summary.run_document(
        [document, document],
        mode="default",
        seed=1,
        walkers=2,
        steps=3,
        seconds=90.0,
        steps_per_second=0.1,
        database={"version": "x", "sha256": "y"},
    )
    text = report.run_report(run, width)
    for wanted in ("X_t^1", "1165.9", "t X_Z^1 100%", "526 ± 31", "2j_Meff_1200", "K = "):
        assert wanted in text
    assert "X_d X_d~" in text
    assert "particle X_d" in text
    if width >= 100:
        assert max(map(len, text.splitlines())) <= width


def test_a_run_without_models_says_so():
    run = summary.run_document(
        [],
        mode="default",
        seed=1,
        walkers=2,
        steps=3,
        seconds=0.0,
        steps_per_second=0.0,
        database={"version": "x", "sha256": "y"},
    )
    assert "No model was found" in report.run_report(run)


@pytest.mark.parametrize(
    ("value", "text"),
    [(611.0, "611"), (3.9342, "3.93"), (0.0, "0"), (12345.6, "12346"), (None, "-")],
)
def test_numbers_have_the_digits_that_matter(value, text):
    assert report.number(value) == text


def test_decays_are_listed_by_frequency_and_stay_in_one_piece():
    text = report.decays_text({"(1000022, 6)": 0.2, "(1000024, 5)": 0.796, "(1000023, 6)": 0.004})
    names = text.replace(report.HARD_SPACE, " ")
    assert names == "b X_W^1 80%, t X_Z^1 20%, other 0.4%"
    assert report.decays_text({}) == "stable"
