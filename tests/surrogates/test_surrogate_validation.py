"""Bands and closure tables against numbers made by hand."""

import dataclasses
import math

import numpy as np
import pytest

from surrogates.maps import CALIBRATE, TEST, TRAIN, MapSet
from surrogates.tables import checks, markdown, read_closures, summary, write_closures
from surrogates.validation import (
    Closure,
    closure,
    conformal_bands,
    linear_predictions,
    predictions,
)


def made_up(values, use, regions=1):
    count = len(values)
    nodes = np.zeros((count, 6))
    nodes[:, 0], nodes[:, 1] = np.linspace(100, 900, count), np.arange(count) % 7
    return MapSet(
        "A",
        "T",
        ("mass", "mass"),
        tuple(f"R{i}" for i in range(regions)),
        tuple(range(regions)),
        (0,) * regions,
        nodes,
        values,
        use,
        np.zeros((0, 6)),
        np.zeros((0, regions)),
    )


def test_bands_cover_what_they_promise():
    rng = np.random.default_rng(4)
    covered, trials, kept = 0, 400, 39
    for _ in range(trials):
        values = rng.uniform(0.2, 1.0, (kept + 1, 1))
        use = np.full(kept + 1, CALIBRATE)
        use[-1] = TEST
        predicted = values * rng.lognormal(0.0, 0.1, values.shape)
        maps = made_up(values, use)
        band = conformal_bands(maps, predicted)[0]
        roots = [np.sqrt(v[-1, 0] / maps.scale[0] + 1e-4) for v in (predicted, values)]
        covered += abs(roots[0] - roots[1]) <= band
    # 36 of 40 by rank; 4.5 standard deviations of the binomial around it.
    assert covered / trials == pytest.approx(0.9, abs=4.5 * math.sqrt(0.09 / trials))


def test_bands_of_small_maps():
    values = np.linspace(0.1, 1.0, 30)[:, None]
    use = np.full(30, TRAIN)
    maps = made_up(values, use)
    predicted = values * 1.1
    root = np.abs(np.sqrt(1.1 * values + 1e-4) - np.sqrt(values + 1e-4))
    np.testing.assert_allclose(conformal_bands(maps, predicted), [2 * root.max()])


def test_maps_with_few_nodes_share_a_band():
    rng = np.random.default_rng(2)
    values = rng.uniform(0.5, 1.0, (40, 2))
    values[8:, 1] = np.nan
    use = np.where(np.arange(40) < 20, CALIBRATE, TRAIN)
    predicted = np.nan_to_num(values, nan=0.5) * 1.05
    maps = made_up(values, use, regions=2)
    bands = conformal_bands(maps, predicted)
    scores = np.abs(np.sqrt(predicted / maps.scale + 1e-4) - np.sqrt(values / maps.scale + 1e-4))
    pooled = np.sort(scores[:20][np.isfinite(scores[:20])])
    assert bands[1] == pooled[math.ceil((len(pooled) + 1) * 0.9) - 1]
    assert bands[0] == np.sort(scores[:20, 0])[math.ceil(21 * 0.9) - 1]


def test_linear_predictions_are_exact_on_linear_maps(map_sets):
    (maps,) = [m for m in map_sets if m.txname == "TChiHH" and m.folder.startswith("CMS")]
    slope = np.array([1e-4, 2e-4, 1e-4, 2e-4, 0.0, 0.0])
    plane = np.repeat((maps.nodes @ slope)[:, None], len(maps.regions), axis=1)
    found = linear_predictions(dataclasses.replace(maps, values=plane))
    test = maps.use == TEST
    np.testing.assert_allclose(found[test], plane[test], rtol=1e-9)
    assert np.isnan(found[~test]).all()


def test_closure_of_a_perfect_network_is_zero(map_sets, small_run):
    (maps,) = [m for m in map_sets if m.txname == "TChiHH" and m.folder.startswith("CMS")]
    network = small_run.load(maps)
    perfect = dataclasses.replace(maps, values=np.asarray(predictions(maps, network)))
    # The scale is the largest value, so that it changes with the values.
    found = closure(dataclasses.replace(perfect), network)
    ratio = maps.scale / perfect.scale
    assert found.nodes == len(maps.nodes)
    assert found.held_out == (maps.use == TEST).sum()
    wanted = np.abs(predictions(perfect, network) - perfect.values)[maps.use == TEST]
    assert found.rmse <= np.abs(ratio - 1).max() + wanted.max() + 1e-6
    real = closure(maps, network)
    assert 0 < real.rmse < 0.2
    assert real.counted == np.isfinite(maps.values[maps.use == TEST]).sum()
    assert 0.5 < real.covered / real.counted <= 1.0


def entry(**changes):
    whole = Closure(
        "A:T", 100, 2, 12, (0.02, 0.05), 0.01, (0.005, 0.02), (0.03, 0.1), 0.02, (0.01, 0.05),
        0.0095, 22, 24,
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def test_targets_are_judged():
    assert all(check.met for check in checks(entry()))
    missed = {c.target for c in checks(entry(total=(0.02, 0.07))) if not c.met}
    assert missed == {"A1 median", "A1 90 %"}
    noisy = entry(total=(0.02, 0.05), linear_total=(0.03, 0.1))
    assert all(check.met for check in checks(noisy))
    assert {c.target for c in checks(entry(train_rmse=0.002)) if not c.met} == {"A4"}
    assert {c.target for c in checks(entry(rmse=0.03, train_rmse=0.03)) if not c.met} == {"A2 rmse"}


def test_tables_name_who_misses_what():
    few = entry(name="B:T", held_out=4, total=(0.2, 0.3))
    noise = entry(name="C:T", total=(0.2, 0.3), linear_total=(0.25, 0.4))
    untested = entry(name="D:T", held_out=0)
    closures = [entry(), few, noise, untested]
    found = summary(closures)
    assert found["sets"] == 4
    assert found["tested"] == 3
    assert found["well_tested"] == 2
    assert found["met"]["A1 median"] == pytest.approx(1 / 3)
    assert found["coverage"] == pytest.approx(22 / 24)
    text = markdown(closures)
    assert "| B:T | A1 median | 0.2000 | 0.0100 | 4 held-out nodes |" in text
    assert "noise of the map: linear interpolation is at 0.250" in text
    assert "| D:T | 100 | 2 | 0 |" in text
    assert "A:T | A1" not in text


def test_closures_survive_a_file(tmp_path):
    closures = [entry(), entry(name="B:T", rmse=math.nan)]
    write_closures(closures, tmp_path / "closure.json")
    again = read_closures(tmp_path / "closure.json")
    assert again[0] == closures[0]
    assert math.isnan(again[1].rmse)
