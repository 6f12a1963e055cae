"""Significances against exact sums, and the census of the real database against known figures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jaxlik.calibration.census import fudge_scan, spread, take_census
from jaxlik.calibration.significance import (
    mid_p,
    mid_p_significance,
    root_significance,
    whitened_significance,
)
from jaxlik.database.counts import counts_of, read_counts
from jaxlik.errors import DatabaseError
from jaxlik.fit.__main__ import main

DATABASE = Path(__file__).resolve().parents[1] / "data" / "thinned.npz"


def test_without_error_mid_p_is_a_poisson_sum():
    observed, rates = np.array([0.0, 3.0, 7.0, 150.0]), np.array([0.7, 3.2, 1.1, 120.0])
    upper, lower = mid_p(observed, rates, np.zeros(4))
    wanted = stats.poisson.sf(observed, rates) + 0.5 * stats.poisson.pmf(observed, rates)
    np.testing.assert_allclose(upper, wanted, rtol=1e-10)
    np.testing.assert_allclose(upper + lower, 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "b", "sigma"), [(4, 0.0635, 0.11), (611, 526.0, 31.0), (2, 6.0, 3.0), (0, 1.5, 0.7)]
)
def test_mid_p_is_the_integral_over_the_background(n, b, sigma):
    from scipy.integrate import quad

    def density(rate):
        return stats.norm.pdf(rate, b, sigma)

    def tail(rate):
        return stats.poisson.sf(n, rate) + 0.5 * stats.poisson.pmf(n, rate)

    low, high = max(0.0, b - 8 * sigma), b + 8 * sigma
    points = [b] if low < b < high else None
    above = quad(lambda x: density(x) * tail(x), low, high, points=points, limit=400)[0]
    whole = quad(density, low, high, points=points, limit=400)[0]
    (upper,), _ = mid_p(np.array([float(n)]), np.array([b]), np.array([sigma]))
    assert upper == pytest.approx(above / whole, rel=1e-4)
    (z,) = mid_p_significance(np.array([float(n)]), np.array([b]), np.array([sigma]))
    assert z == pytest.approx(stats.norm.isf(above / whole), abs=2e-4)


def test_many_events_agree_with_a_gaussian():
    n, b, sigma = np.array([10500.0]), np.array([10000.0]), np.array([100.0])
    wanted = 500 / np.sqrt(100.0**2 + 10000.0)
    assert mid_p_significance(n, b, sigma)[0] == pytest.approx(wanted, rel=0.01)
    assert root_significance(n, b, sigma)[0] == pytest.approx(wanted, rel=0.01)
    assert root_significance(b, b, sigma)[0] == pytest.approx(0.0, abs=1e-9)


def test_whitening_gives_the_chi_squared():
    covariance = np.array([[9.0, 5.0], [5.0, 16.0]])
    n, b = np.array([20.0, 5.0]), np.array([12.0, 8.0])
    z = whitened_significance(n, b, covariance)
    total = covariance + np.diag(b)
    assert z @ z == pytest.approx((n - b) @ np.linalg.solve(total, n - b), rel=1e-12)


@pytest.mark.statistical
def test_mid_p_of_drawn_counts_is_uniform():
    """KS of 4000 counts with a broad background: false alarms in 1 of 10 000 runs."""
    generator = np.random.default_rng(5)
    b, sigma = 80.0, 12.0
    n = generator.poisson(np.maximum(generator.normal(b, sigma, 4000), 0.0)).astype(float)
    upper, _ = mid_p(n, np.full(4000, b), np.full(4000, sigma))
    assert stats.kstest(upper, "uniform")[1] > 1e-4


@pytest.mark.reference
def test_figures_of_the_real_database(reference):
    """1007 regions: moments by experiment, whitened CMS-EXO-20-004, and scaled errors."""
    table = read_counts(reference / "data" / "smodels-database-3.0.0.tar.xz")
    census = take_census(table)
    found = spread(census.z)
    assert (table.num_regions, found.number, len(table.results)) == (1007, 1007, 62)
    assert found.mean == pytest.approx(0.151, abs=5e-4)
    assert found.deviation == pytest.approx(0.984, abs=5e-4)
    assert found.skewness == pytest.approx(0.74, abs=5e-3)
    assert found.large == 18
    roots = spread(census.z_root)
    assert (roots.mean, roots.deviation) == pytest.approx((0.104, 1.003), abs=1e-3)
    wanted = {
        "ATLAS 8 TeV": (83, -0.12, 0.82),
        "CMS 8 TeV": (91, 0.03, 0.70),
        "ATLAS 13 TeV": (566, 0.15, 0.97),
        "CMS 13 TeV": (267, 0.28, 1.12),
    }
    for name, mask in census.groups().items():
        one = spread(census.z[mask])
        assert (one.number, one.mean, one.deviation) == pytest.approx(wanted[name], abs=6e-3)
    (mono,) = (one for one in census.whitened if one.folder == "CMS-EXO-20-004-eff")
    assert mono.before == pytest.approx((1.08, 1.40), abs=6e-3)
    assert mono.after == pytest.approx((0.26, 1.13), abs=6e-3)
    assert mono.p == pytest.approx(0.035, abs=5e-4)
    scan = [s.deviation for _, s in fudge_scan(table, (0.8, 0.65, 0.5))]
    assert scan == pytest.approx([1.07, 1.15, 1.25], abs=5e-3)
    top = [(one.folder, one.region) for one in census.largest(5)]
    assert top[2] == ("CMS-SUS-20-004-eff", "SR11")
    assert ("ATLAS-SUSY-2018-42-eff", "SR1400_High_long") in top


def test_the_command_writes_what_it_shows(tmp_path, capsys):
    target = tmp_path / "out"
    assert main(["census", "--database", str(DATABASE), "--output", str(target), "--quiet"]) == 0
    shown = capsys.readouterr().out
    document = json.loads((target / "census.json").read_text())
    assert document["schema"] == "jaxlik/census/1"
    number = document["spread"]["all"]["number"]
    assert f"{number} signal regions" in shown
    with (target / "regions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == number == len(document["regions"])
    assert (target / "census.png").stat().st_size > 10_000


def test_a_snapshot_has_the_regions_of_its_likelihoods(thinned):
    table = counts_of(thinned)
    assert table.num_regions == sum(
        len(r.counting.region_ids) for r in thinned.results if r.counting is not None
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "-1"], "--top"),
        (["--fudge", "0"], "--fudge"),
        (["--database", "nowhere"], "no such file"),
        (["--output", "/dev/null/x"], "--output"),
    ],
)
def test_wrong_input(arguments, message, capsys):
    given = ["census", *arguments, "--quiet"]
    if "--database" not in arguments:
        given += ["--database", str(DATABASE)]
    assert main(given) == 1
    assert message in capsys.readouterr().err


def test_text_without_efficiency_maps_is_an_error(tmp_path):
    (tmp_path / "version").write_text("1.0\n")
    folder = tmp_path / "13TeV" / "CMS" / "CMS-X-01"
    (folder / "data").mkdir(parents=True)
    (folder / "globalInfo.txt").write_text("id: CMS-X-01\nsqrts: 13*TeV\nlumi: 1./fb\n")
    (folder / "data" / "dataInfo.txt").write_text("dataType: upperLimit\ndataId: None\n")
    with pytest.raises(DatabaseError, match="no counts"):
        read_counts(tmp_path)
