"""Overlaps of regions: closed forms, bootstrap, bounds, files, and what may be combined."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from jaxlik.calibration.event_tables import event_table, read_event_table
from jaxlik.calibration.overlap_files import (
    combinability_of,
    read_overlaps,
    region_overlap,
    write_combinability,
    write_overlaps,
)
from jaxlik.calibration.overlaps import bootstrap_correlation, estimate_overlaps, notes
from jaxlik.combination.overlap import Candidate, Combinability, overlap_of, read_combinability
from jaxlik.combination.selection import best_combination
from jaxlik.errors import ConfigError, DatabaseError
from jaxlik.plotting import write
from jaxlik.plotting_overlaps import MAX_REGIONS, overlap_matrix

ROOT = Path(__file__).resolve().parents[2]

NAMES = ("A:1", "A:2", "B:1", "C:1")


def pair(first, second, both, neither=0):
    """Two regions with given numbers of events in the first, the second and both only."""
    counts = {(1, 0): first, (0, 1): second, (1, 1): both, (0, 0): neither}
    rows = [row for row, count in counts.items() for _ in range(count)]
    return np.array(rows).reshape(-1, 2)


def random_table(seed=0, count=4000, weighted=True):
    rng = np.random.default_rng(seed)
    met, jets = rng.exponential(1.0, count), rng.poisson(2.0, count)
    events = np.array([met > 1, met > 2, (met > 0.5) & (jets > 2), (jets == 0) & (met < 2)]).T
    return event_table(events, NAMES, rng.lognormal(0.0, 0.5, count) if weighted else None)


@pytest.mark.parametrize("method", ["exact", "bootstrap"])
def test_disjoint_regions_are_uncorrelated_and_combinable(method):
    table = event_table(pair(2000, 3000, 0), ["A:1", "B:1"])
    found = estimate_overlaps(table, method=method, threshold=0.1, num_replicas=10_000)
    assert found.combinable.tolist() == [[False, True], [True, False]]
    if method == "exact":
        assert found.correlation[0, 1] == found.error[0, 1] == found.lower[0, 1] == 0
        single = 1 - 0.05 ** (1 / np.array([2000.0, 3000.0]))
        np.testing.assert_allclose(found.upper[0, 1], np.sqrt(single.prod()), rtol=1e-10)
    else:
        assert abs(found.correlation[0, 1]) < 4.5 * found.error[0, 1]  # 7e-6 for other seeds


@pytest.mark.parametrize("method", ["exact", "bootstrap"])
@pytest.mark.parametrize("weighted", [False, True])
def test_identical_regions_have_correlation_one(method, weighted):
    weights = np.linspace(0.1, 3.0, 500) if weighted else None
    table = event_table(pair(0, 0, 500), ["A:1", "B:1"], weights)
    found = estimate_overlaps(table, method=method, num_replicas=50)
    np.testing.assert_allclose(found.correlation, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.error, 0.0, atol=1e-7)
    np.testing.assert_allclose(found.upper, 1.0, rtol=1e-12)
    assert found.lower[0, 1] > 0.9
    assert not found.combinable.any()
    assert not found.unknown.any()


def test_known_overlap_has_its_closed_form():
    # A tenth of 1000 events of one region, a quarter of 400 of the other.
    found = estimate_overlaps(event_table(pair(900, 300, 100, 7), ["A:1", "B:1"]))
    np.testing.assert_allclose(found.correlation[0, 1], np.sqrt(0.1 * 0.25), rtol=1e-14)
    assert found.num_events == 1307
    np.testing.assert_allclose(found.region_events, [1000, 400], rtol=1e-14)
    bounds = [
        (stats.binomtest(100, n).proportion_ci(0.9, "exact")) for n in (1000, 400)
    ]  # two-sided 90 %: one-sided 95 %
    low, high = (np.sqrt(np.prod([getattr(b, side) for b in bounds])) for side in ("low", "high"))
    np.testing.assert_allclose([found.lower[0, 1], found.upper[0, 1]], [low, high], rtol=1e-8)


def test_exact_correlation_is_that_of_weighted_indicators():
    table = random_table()
    weighted = table.events * table.weights[:, None]
    shared = weighted.T @ weighted
    expected = shared / np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
    np.testing.assert_allclose(estimate_overlaps(table).correlation, expected, rtol=1e-12)


def test_error_adds_what_each_event_moves():
    table = random_table(count=1500)
    found = estimate_overlaps(table)
    weighted = table.events * table.weights[:, None]
    total = weighted.T @ weighted
    step = 1e-4

    def moved(multiplicity):
        one = total + (multiplicity - 1) * weighted[:, :, None] * weighted[:, None, :]
        own = np.diagonal(one, axis1=1, axis2=2)
        return one / np.sqrt(own[:, :, None] * own[:, None, :])

    slopes = (moved(1 + step) - moved(1 - step)) / (2 * step)
    expected = np.sqrt((slopes**2).sum(axis=0))
    np.testing.assert_allclose(found.error, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("weighted", [False, True])
def test_bootstrap_agrees_with_the_closed_form(weighted):
    """Six pairs in two cases: false alarms once in 80 000 seeds."""
    table = random_table(weighted=weighted)
    exact = estimate_overlaps(table)
    replicas = 4000
    found = bootstrap_correlation(table, num_replicas=replicas, seed=11)
    above = np.triu_indices(4, 1)
    rho, error = exact.correlation[above], exact.error[above]
    pulls = (found[above] - rho) / np.sqrt(((1 - rho**2) ** 2 + error**2) / replicas)
    assert np.abs(pulls).max() < stats.norm.isf(1e-6 / 2)
    assert np.abs(pulls).max() > 1e-3  # not the closed form itself


@pytest.mark.slow
@pytest.mark.statistical
def test_error_of_replicas_is_their_spread():
    """Few events, far from normal counts; false alarms once in 50 000 seeds."""
    table = event_table(pair(4, 7, 3), ["A:1", "B:1"])
    exact = estimate_overlaps(table)
    replicas = 1000
    found = [
        bootstrap_correlation(table, num_replicas=replicas, seed=seed)[0, 1] for seed in range(100)
    ]
    variance = ((1 - exact.correlation**2) ** 2 + exact.error**2)[0, 1] / replicas
    chi2 = ((np.array(found) - exact.correlation[0, 1]) ** 2).sum() / variance
    assert 1e-5 < stats.chi2.sf(chi2, 100) < 1 - 1e-5


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(5, 5, 0.5), (5, 30, 6), (300, 20, 2.95), (300, 300, 2.95), (300, 300, 30)],
)
def test_bounds_cover_at_least_as_often_as_stated(first, second, both):
    """Upper and lower, 95 % each, in 1000 samples; 1e-6 false alarms where exactly 95 %."""
    rng = np.random.default_rng(5)
    truth = both / np.sqrt((first + both) * (second + both))
    covered = np.zeros(2)
    for _ in range(1000):
        counts = rng.poisson([first, second, both])
        events = np.repeat([[True, False], [False, True], [True, True]], counts, axis=0)
        found = estimate_overlaps(event_table(events, ["A:1", "B:1"]))
        covered += [found.lower[0, 1] <= truth, truth <= found.upper[0, 1]]
    assert covered.min() >= stats.binom.ppf(1e-6, 1000, 0.95)


@pytest.mark.parametrize("weighted", [False, True])
def test_bootstrap_does_not_depend_on_chunks_to_the_bit(weighted):
    table = random_table(count=700, weighted=weighted)
    whole, *rest = (
        bootstrap_correlation(table, num_replicas=97, seed=2, chunk_size=chunk)
        for chunk in (None, 1, 10, 96, 97)
    )
    for other in rest:
        assert whole.tobytes() == other.tobytes()
    more = bootstrap_correlation(table, num_replicas=97, seed=3)
    assert not np.array_equal(whole, more)


@pytest.mark.parametrize("method", ["exact", "bootstrap"])
def test_equal_weights_and_events_outside_change_nothing(method):
    events = pair(40, 50, 10)
    names = ["A:1", "B:1"]
    outside = np.concatenate([events, pair(0, 0, 0, 30)])
    tables = (
        event_table(events, names),
        event_table(events.astype(bool), names, np.full(100, 0.3)),
        event_table(outside, names, np.r_[np.ones(100), np.full(30, 0.5)]),
    )
    plain, *others = (estimate_overlaps(t, method=method, num_replicas=99) for t in tables)
    for other in others:
        for field in ("correlation", "error", "lower", "upper", "region_events"):
            np.testing.assert_allclose(getattr(other, field), getattr(plain, field), rtol=1e-12)


def test_weights_make_fewer_effective_events():
    weights = np.r_[np.ones(600), np.full(600, 3.0)]
    events = np.concatenate([pair(300, 300, 0)] * 2)
    found = estimate_overlaps(event_table(events, ["A:1", "B:1"], weights))
    effective = 300 * (1 + 9) ** 2 / (1 + 81)
    np.testing.assert_allclose(found.region_events, effective, rtol=1e-12)
    np.testing.assert_allclose(found.upper[0, 1], 1 - 0.05 ** (1 / effective), rtol=1e-10)


def test_weighted_pairs_have_effective_bounds():
    """Two weights in the ratio 2: hits and trials from the variance of the fraction."""
    events = np.repeat([[True, True], [True, True], [True, False]], [20, 10, 70], axis=0)
    weights = np.repeat([1.0, 2.0, 1.0], [20, 10, 70])
    found = estimate_overlaps(event_table(events, ["A:1", "B:1"], weights))
    squares, part = weights**2, 60 / 130
    variance = (((events[:, 1] - part) * squares) ** 2).sum() / 130**2
    trials = part * (1 - part) / variance
    single = special.betaincinv(part * trials + 1, (1 - part) * trials, 0.95)
    # All of the second region lies in the first: its own fraction is bounded by 1.
    np.testing.assert_allclose(found.upper[0, 1], np.sqrt(single), rtol=1e-10)


def test_too_few_events_are_unknown_and_not_combinable():
    events = np.zeros((720, 4), dtype=bool)
    events[:310, 0] = events[310:620, 1] = events[620:700, 2] = True
    found = estimate_overlaps(event_table(events, NAMES))
    assert found.combinable[0, 1]
    assert not found.combinable[0, 2]
    assert found.unknown[0, 2]
    assert found.unknown[3, :3].all()
    assert np.isnan(found.correlation[3]).all()
    assert found.upper[3].tolist() == [1.0] * 4
    empty, undecided = notes(found)
    assert "C:1" in empty
    assert "5 of 6 pairs" in undecided
    assert "300 effective events" in undecided
    assert notes(estimate_overlaps(event_table(pair(2000, 2000, 0), ["A:1", "B:1"]))) == ()


@pytest.mark.parametrize("method", ["exact", "bootstrap"])
def test_table_without_passing_events_knows_nothing(method):
    found = estimate_overlaps(
        event_table(np.zeros((5, 2)), ["A:1", "B:1"]), method=method, num_replicas=3
    )
    assert np.isnan(found.correlation).all()
    assert found.unknown.sum() == 2


def test_replicas_without_spread_know_nothing():
    table = event_table(np.array([[1, 0], [0, 1]]), ["A:1", "B:1"])
    found = estimate_overlaps(table, method="bootstrap", num_replicas=2, seed=1)
    assert np.isnan(found.correlation[0, 1])
    assert (found.lower[0, 1], found.upper[0, 1]) == (0.0, 1.0)
    assert found.unknown[0, 1]


@pytest.mark.parametrize("weighted", [False, True])
def test_tables_of_events_come_from_files(tmp_path, weighted):
    table = random_table(count=50, weighted=weighted)
    columns = [table.events.astype(int)]
    header = ",".join(NAMES)
    arrays = {"events": table.events, "names": np.array(NAMES)}
    if weighted:
        columns.insert(1, table.weights[:, None])
        header += ",weight"
        arrays["weights"] = table.weights
    text, binary = tmp_path / "events.csv", tmp_path / "events.npz"
    np.savetxt(text, np.concatenate(columns, axis=1), "%.17g", ",", header=header, comments="")
    np.savez(binary, **arrays)  # type: ignore[reportArgumentType]
    for path in (text, str(binary)):
        found = read_event_table(path)
        assert found.names == NAMES
        np.testing.assert_array_equal(found.events, table.events)
        np.testing.assert_array_equal(found.weights, table.weights)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no header"),
        ("A:1,B:1\n", "at least one of both"),
        ("A:1,B:1\n1,0,1\n", "3 columns below 2 names"),
        ("A:1,B:1\n1,yes\n", "yes"),
        ("A:1,B:1\n1,0\n1,2\n", "event 1 in region 1 is 2.0"),
        ("A:1,B:1\n1,nan\n", "is nan, wanted 0 or 1"),
        ("A:1,A:1\n1,1\n", "A:1 is there 2 times"),
        ("A:1,B\n1,1\n", "'B', wanted ANALYSIS:REGION"),
        ("A:1,weight\n1,-1\n", "weight of event 0 is -1.0"),
        ("A:1,weight\n1,nan\n", "weight of event 0 is nan"),
        ("A:1,weight\n1,0\n", "all weights are 0"),
    ],
)
def test_wrong_text_tables_are_errors(tmp_path, content, message):
    path = tmp_path / "events.csv"
    path.write_text(content)
    with pytest.raises(DatabaseError, match=message) as caught:
        read_event_table(path)
    assert str(path) in str(caught.value)


def test_damaged_binary_tables_are_errors(tmp_path):
    path = tmp_path / "events.npz"
    np.savez(path, events=np.ones((3, 2)), names=np.array(["A:1", "B:1"]))
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DatabaseError, match="cannot be read"):
            read_event_table(path)
    with path.open("wb") as stream:
        np.save(stream, np.ones((3, 2)))
    with pytest.raises(DatabaseError, match="single array"):
        read_event_table(path)
    np.savez(path, events=np.ones((3, 2)))
    with pytest.raises(DatabaseError, match="names"):
        read_event_table(path)
    np.savez(path, events=np.array([[None]]), names=np.array(["A:1"]))
    with pytest.raises(DatabaseError, match="pickle"):
        read_event_table(path)
    for missing in (tmp_path / "none.npz", tmp_path / "none.csv"):
        with pytest.raises(DatabaseError, match="cannot be read"):
            read_event_table(missing)
    with pytest.raises(DatabaseError, match=r"wanted one of \.csv, \.npz"):
        read_event_table(tmp_path / "events.parquet")


@pytest.mark.parametrize(
    ("events", "names", "weights", "message"),
    [
        (np.ones(3), ["A:1"], None, "shape"),
        (np.ones((0, 2)), ["A:1", "B:1"], None, "at least one"),
        (np.array([["1", "0"]]), ["A:1", "B:1"], None, "type"),
        (np.ones((3, 2)), ["A:1"], None, "1 names for 2 regions"),
        (np.ones((3, 1)), ["A:1"], np.ones(2), r"wanted \(3,\)"),
        (np.ones((3, 1)), ["A:1"], np.array([1, np.inf, 1]), "event 1 is inf"),
    ],
)
def test_wrong_arrays_are_errors(events, names, weights, message):
    with pytest.raises(DatabaseError, match=message):
        event_table(events, names, weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "jackknife"}, "jackknife"),
        ({"threshold": 0.0}, "threshold is 0"),
        ({"threshold": np.nan}, "threshold is nan"),
        ({"confidence": 1.0}, "confidence is 1"),
        ({"method": "bootstrap", "num_replicas": 1}, "num_replicas is 1, wanted at least 2"),
        ({"method": "bootstrap", "seed": -1}, "seed is -1"),
        ({"method": "bootstrap", "chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        estimate_overlaps(random_table(count=50), **options)


@pytest.fixture
def estimate():
    events = np.zeros((1700, 4), dtype=bool)
    events[:700, 0] = events[600:1100, 1] = events[1100:1700, 2] = True
    return estimate_overlaps(event_table(events, ["A-1-eff:x", "B-1:x", "B-1:y", "C-1:x"]))


def test_estimates_survive_files(tmp_path, estimate):
    path = tmp_path / "overlaps.json"
    for one in (estimate, estimate_overlaps(random_table(), method="bootstrap", num_replicas=9)):
        write_overlaps(one, path)
        found = read_overlaps(path)
        for field, value in vars(one).items():
            np.testing.assert_array_equal(getattr(found, field), value)
    assert json.loads(path.read_text())["schema"] == "jaxlik/overlaps/1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", "jaxlik/overlaps/0"),
        ("names", ["A-1-eff:x", "B-1:x", "B-1:y"]),
        ("names", ["B-1:x"] * 4),
        ("names", None),
        ("correlation", [[1.0]]),
        ("correlation", [[1, 2, 0, 0]] * 4),
        ("upper", [[None] * 4] * 4),
        ("upper", "high"),
        ("lower", [[2.0] * 4] * 4),
        ("threshold", 0.5),
        ("threshold", "low"),
        ("method", "guess"),
        ("num_events", 1.5),
        ("seed", True),
        ("combinable", None),
        ("region_events", None),
    ],
)
def test_damaged_estimates_are_errors(tmp_path, estimate, field, value):
    path = tmp_path / "overlaps.json"
    write_overlaps(estimate, path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {field: value}))
    with pytest.raises(DatabaseError, match=re.escape(str(path))):
        read_overlaps(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff"])
def test_foreign_files_are_errors(tmp_path, content):
    path = tmp_path / "overlaps.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DatabaseError, match=re.escape(str(path))):
        read_overlaps(path)
    with pytest.raises(DatabaseError, match="cannot be read"):
        read_overlaps(tmp_path / "none.json")


def test_analyses_combine_when_all_their_regions_do(tmp_path, estimate):
    table = combinability_of(estimate)
    # A and B share events in one of two pairs of regions; C is empty.
    assert estimate.combinable[0, 2]
    assert not estimate.combinable[0, 1]
    assert table.partners == {"A-1": frozenset(), "B-1": frozenset(), "C-1": frozenset()}
    assert "1700 events" in table.sources[0]
    fine = np.repeat(np.eye(3, dtype=bool), 600, axis=0)
    table = combinability_of(estimate_overlaps(event_table(fine, ["A-1-eff:x", "B-1:x", "B-1:y"])))
    assert table.partners == {"A-1": frozenset({"B-1"}), "B-1": frozenset({"A-1"})}
    path = tmp_path / "combinability.json"
    write_combinability(table, path)
    found = read_combinability(path)
    assert found.partners == table.partners
    candidates = [Candidate(name, "CMS", 13.0) for name in ("A-1-eff", "B-1", "B-1-agg")]
    assert overlap_of(candidates, found).compatible.tolist() == [
        [False, True, True],
        [True, False, False],
        [True, False, False],
    ]


def test_published_pairs_stay_where_nothing_was_measured(estimate):
    pairs = [("A-1", "B-1"), ("A-1", "D-1"), ("D-1", "E-1")]
    partners = {name: set() for name in "A-1 B-1 D-1 E-1".split()}
    for (first, second), swap in itertools.product(pairs, (False, True)):
        partners[second if swap else first].add(first if swap else second)
    published = Combinability({name: frozenset(one) for name, one in partners.items()}, ("there",))
    found = combinability_of(estimate, published)
    expected = {"A-1": {"D-1"}, "B-1": set(), "C-1": set(), "D-1": {"A-1", "E-1"}, "E-1": {"D-1"}}
    assert {name: set(one) for name, one in found.partners.items()} == expected
    assert found.sources[-1] == "there"


def test_best_regions_come_from_an_estimate(estimate):
    overlap = region_overlap(estimate)
    assert overlap.analysis_ids == estimate.names
    chosen = best_combination(overlap, np.array([1.0, 2.5, 1.0, 9.0]), min_members=2)
    assert chosen.tolist() == [False, True, True, False]


@pytest.mark.parametrize("count", [2, 30, MAX_REGIONS + 4])
def test_figure_shows_all_regions(tmp_path, count):
    names = [f"ANALYSIS-{i // 3}:a region with quite a long name {i}" for i in range(count)]
    events = np.random.default_rng(0).random((400, count)) < 0.1
    events[:, -1] = False
    found = estimate_overlaps(event_table(events, names))
    path = write(lambda: overlap_matrix(found), tmp_path / "overlaps.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    axes = overlap_matrix(found)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) == (count if count <= MAX_REGIONS else 28)
    assert len(set(labels)) == len(labels)
    assert axes.get_legend() is not None


def test_the_documented_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "overlaps.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    exec("\n".join(blocks), {})
    assert (tmp_path / "overlaps.json").exists()
