import json
import logging
import shutil
from collections import Counter

import numpy as np
import pytest
from tiny_database import MASSES, data_block, efficiency, map_file, write_files

from jaxlik.database import smodels_reader as reader
from jaxlik.errors import DatabaseError


@pytest.fixture(scope="module")
def tiny(tiny_root):
    """Results of the tiny database by folder name."""
    return {
        data.result.provenance.folder: data for data in reader.read_database(tiny_root, processes=0)
    }


@pytest.fixture
def copy_of(tiny_root, tmp_path):
    """A copy of one folder of the tiny database, to be damaged."""

    def copy(relative):
        return shutil.copytree(tiny_root / relative, tmp_path / relative)

    return copy


def test_results_come_in_order_of_energy_experiment_and_name(tiny):
    assert list(tiny) == [
        "CMS-TINY-01",
        "CMS-TINY-02-eff",
        "CMS-TINY-03-agg",
        "CMS-TINY-04-agg",
        "ATLAS-TINY-05-eff",
    ]


def test_provenance(tiny):
    found = tiny["CMS-TINY-02-eff"].result.provenance
    assert (found.analysis, found.experiment, found.sqrts) == ("CMS-TINY-02", "CMS", 13.0)
    assert found.luminosity == pytest.approx(35.9)
    assert found.doi == "https://doi.org/10.0/none"
    assert tiny["ATLAS-TINY-05-eff"].result.provenance.sqrts == 8.0


def test_upper_limits_come_in_femtobarns(tiny):
    data = tiny["CMS-TINY-01"]
    assert data.result.kind == "upper_limit"
    assert data.result.counting is None
    observed, expected = data.maps
    assert (observed.quantity, expected.quantity) == ("upper_limit", "upper_limit_expected")
    assert observed.region is None
    assert observed.grid == expected.grid
    np.testing.assert_allclose(observed.values, [m / 100 for m, _ in MASSES], rtol=1e-15)
    np.testing.assert_allclose(expected.values, observed.values / 2, rtol=1e-15)


def test_counts_of_plain_regions(tiny):
    data = tiny["CMS-TINY-02-eff"]
    counting = data.result.counting
    assert counting.region_ids == ("SR1", "SR2")
    np.testing.assert_array_equal(counting.observed, [9, 0])
    np.testing.assert_array_equal(counting.background, [4.5, 1.5])
    np.testing.assert_array_equal(counting.background_error, [1.25, 0.5])
    np.testing.assert_array_equal(counting.upper_limit, [0.25, 0.25])
    np.testing.assert_array_equal(counting.upper_limit_expected, [0.125, 0.125])
    assert data.result.covariance is None


def test_equal_grids_are_triangulated_once(tiny):
    data = tiny["CMS-TINY-02-eff"]
    assert len(data.maps) == 2
    assert len(data.grids) == 1
    assert data.grids[0].dimension == 2
    np.testing.assert_allclose(data.maps[0].values, [efficiency(*p) for p in MASSES], rtol=1e-12)
    assert data.maps[0].coordinates == ((1, "mass"), (3, "mass"), (2, "mass"), (5, "mass"))


def test_the_covariance_orders_and_limits_the_regions(tiny):
    result = tiny["CMS-TINY-03-agg"].result
    assert result.counting.region_ids == ("B", "A")
    np.testing.assert_array_equal(result.covariance.covariance, [[4, 1], [1, 9]])
    np.testing.assert_array_equal(result.covariance.observed, [5, 3])
    np.testing.assert_array_equal(result.covariance.third_moments, [0.25, 0.5])


def test_new_tags_give_the_same_covariance(tiny):
    old, new = (tiny[f"CMS-TINY-0{n}-agg"].result.covariance for n in (3, 4))
    assert new.region_ids == old.region_ids
    np.testing.assert_array_equal(new.covariance, old.covariance)
    np.testing.assert_array_equal(new.background, old.background)
    assert new.third_moments is None


def test_workspaces_carry_their_regions(tiny):
    (record,) = tiny["ATLAS-TINY-05-eff"].result.workspaces
    assert record.name == "bkg.json"
    assert record.signal_uncertainty == 0.22
    assert not record.include_control_regions
    named = {entry["smodels"]: (entry["pyhf"], entry["bin"]) for entry in record.regions}
    assert named["SRb"] == ("SR_x", 1)
    assert named["SRc"] == ("SR_y", None)
    assert len(record.sha256) == 64


def test_parallel_reading_gives_the_same(tiny_root, tiny):
    done = []
    found = list(reader.read_database(tiny_root, processes=2, on_result=done.append))
    assert [d.result.provenance.folder for d in found] == list(tiny)
    assert sum(done) == sum(map(reader.folder_bytes, reader.result_folders(tiny_root)))
    for data in found:
        twin = tiny[data.result.provenance.folder]
        for one, other in zip(data.grids, twin.grids, strict=True):
            np.testing.assert_array_equal(one.simplices, other.simplices)
        for one, other in zip(data.maps, twin.maps, strict=True):
            np.testing.assert_array_equal(one.values, other.values)


def test_a_missing_workspace_is_a_warning(copy_of, caplog):
    folder = copy_of("8TeV/ATLAS/ATLAS-TINY-05-eff")
    (folder / "bkg.json").unlink()
    with caplog.at_level(logging.WARNING):
        result = reader.read_result(folder).result
    assert result.workspaces == ()
    assert "workspace bkg.json is missing" in caplog.text


@pytest.mark.parametrize(
    ("relative", "file", "old", "new", "message"),
    [
        ("CMS-TINY-02-eff", "globalInfo.txt", "id:", "identity:", "'id' is missing"),
        ("CMS-TINY-02-eff", "globalInfo.txt", "13*TeV", "13", "sqrts|unit"),
        ("CMS-TINY-02-eff", "globalInfo.txt", "35.9/fb", "many", "luminosity"),
        ("CMS-TINY-02-eff", "SR1/dataInfo.txt", "observedN: 9", "observedN: ?", "wanted a number"),
        ("CMS-TINY-02-eff", "SR1/dataInfo.txt", "efficiencyMap", "upperLimit", "mixes data types"),
        ("CMS-TINY-02-eff", "SR1/dataInfo.txt", "efficiencyMap", "shape", "dataType 'shape'"),
        ("CMS-TINY-02-eff", "SR1/T2.txt", "constraint:", "comment:", "'constraint' is missing"),
        ("CMS-TINY-03-agg", "globalInfo.txt", '"A"', '"Z"', "datasetOrder names"),
        ("CMS-TINY-03-agg", "globalInfo.txt", ",\n [1.0, 9.0]", "", "covariance has shape"),
        ("CMS-TINY-04-agg", "globalInfo.txt", '"B"', '"Z"', "regions .* that have no data set"),
    ],
)
def test_damage_is_reported_with_file_and_remedy(copy_of, relative, file, old, new, message):
    folder = copy_of(f"13TeV/CMS/{relative}")
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatabaseError, match=message):
        reader.read_result(folder)


def test_folders_that_are_no_database_are_refused(tmp_path):
    with pytest.raises(DatabaseError, match="no file 'version'"):
        reader.database_version(tmp_path)
    (tmp_path / "version").write_text("# comment\n")
    with pytest.raises(DatabaseError, match="is empty"):
        reader.database_version(tmp_path)
    with pytest.raises(DatabaseError, match="holds no result"):
        reader.result_folders(tmp_path)


def test_the_digest_follows_the_content(tiny_root, tmp_path):
    copy = shutil.copytree(tiny_root, tmp_path / "copy")
    assert reader.content_digest(copy) == reader.content_digest(tiny_root)
    path = copy / "13TeV/CMS/CMS-TINY-02-eff/SR1/dataInfo.txt"
    path.write_text(path.read_text().replace("observedN: 9", "observedN: 8"))
    assert reader.content_digest(copy) != reader.content_digest(tiny_root)


def test_renumbering_shifts_grids_only(tiny):
    data = reader.renumber(tiny["CMS-TINY-02-eff"], 7)
    assert {record.grid for record in data.maps} == {7}
    assert data.grids is tiny["CMS-TINY-02-eff"].grids


def test_a_single_grid_point_is_refused(copy_of):
    folder = copy_of("13TeV/CMS/CMS-TINY-02-eff")
    block = data_block(MASSES[:1], efficiency)
    write_files(
        folder, {"SR1/T2.txt": map_file("T2", "[[['jet']],[['jet']]]", {"efficiencyMap": block})}
    )
    with pytest.raises(DatabaseError, match="at least two"):
        reader.read_result(folder)


@pytest.fixture(scope="module")
def filled_maps(snapshot):
    """Maps with a value other than zero; SModelS forgets the 72 others."""
    values = snapshot.array("values")
    return [h for h in snapshot.maps if np.any(values[h.start : h.start + h.size])]


@pytest.mark.reference
def test_database_300_has_the_content_smodels_finds(snapshot, filled_maps, statistics):
    """Numbers of spec/smodels.md section 14."""
    results = {r.provenance.folder: r for r in snapshot.results}
    assert len(results) == statistics["n_results"] == 204
    assert len({r.provenance.analysis for r in results.values()}) == 163
    assert Counter(r.provenance.sqrts for r in results.values()) == {13.0: 133, 8.0: 71}
    assert Counter(r.provenance.experiment for r in results.values()) == {"ATLAS": 112, "CMS": 92}
    assert len(filled_maps) == statistics["counts"]["maps"] == 4162
    assert sum(h.size for h in filled_maps) == statistics["counts"]["points"] == 4_189_192
    assert len({m.txname for m in filled_maps}) == statistics["n_txnames"]
    covariances = [r.covariance for r in results.values() if r.covariance is not None]
    assert len(covariances) == 11
    assert sum(c.third_moments is not None for c in covariances) == 1
    assert (
        len(snapshot.workspaces) == 20
    )  # besides BkgOnly.json of 2019-08, which the release lacks


@pytest.mark.reference
def test_every_result_of_database_300_agrees_with_smodels(snapshot, filled_maps, statistics):
    maps, points = Counter(), Counter()
    for header in filled_maps:
        maps[header.folder] += 1
        points[header.folder] += header.size
    dimension = snapshot.array("grids.dimension")
    largest = {}
    for header in filled_maps:
        old = largest.get(header.folder, 0)
        largest[header.folder] = max(old, int(dimension[header.grid]))
    for entry in statistics["perana"]:
        folder = entry["folder"]
        result = snapshot.result(folder)
        assert maps[folder] == entry["nmaps"], folder
        assert points[folder] == entry["npts"], folder
        assert largest[folder] == entry["maxdim"], folder
        assert result.provenance.luminosity == pytest.approx(entry["lumi"], rel=1e-12)
        assert (result.kind == "upper_limit") == (entry["type"] == "upperLimit")
        assert (result.covariance is not None) == entry["SL"], folder


@pytest.mark.reference
def test_grid_dimensions_agree_with_smodels(snapshot, filled_maps, statistics):
    dimension = snapshot.array("grids.dimension")
    kinds = {"efficiency": "efficiencyMap"}
    found, flat = Counter(), Counter()
    for header in filled_maps:
        kind = kinds.get(header.quantity, "upperLimit")
        found[f"{kind}:{dimension[header.grid]}D"] += 1
        flat[f"{kind}:{len(header.coordinates)}D"] += 1
    assert found == statistics["dim"]
    assert flat == statistics["fulldim"]


@pytest.mark.reference
def test_counts_of_all_regions_agree_with_smodels(snapshot, reference):
    checked = 0
    for file in sorted((reference / "golden" / "smodels" / "stats_em").glob("*.json")):
        golden = json.loads(file.read_text())
        counting = snapshot.result(golden["folder"]).counting
        index = {name: i for i, name in enumerate(counting.region_ids)}
        # The covariance of ATLAS-SUSY-2019-02 covers 24 of its 58 regions.
        kept = [i for i, name in enumerate(golden["SRs"]) if name in index]
        rows = [index[golden["SRs"][i]] for i in kept]
        golden = {name: np.array(golden[name])[kept] for name in ("nobs", "bg", "bgError")}
        np.testing.assert_allclose(counting.observed[rows], golden["nobs"], rtol=1e-11)
        np.testing.assert_allclose(counting.background[rows], golden["bg"], rtol=1e-11)
        np.testing.assert_allclose(counting.background_error[rows], golden["bgError"], rtol=1e-11)
        checked += len(rows)
    assert checked == 1007 - 34


@pytest.mark.reference
def test_covariances_agree_with_smodels(snapshot, reference):
    files = sorted((reference / "golden" / "smodels" / "stats_sl").glob("*.json"))
    assert len(files) == 11
    for file in files:
        golden = json.loads(file.read_text())
        record = snapshot.result(golden["folder"]).covariance
        assert list(record.region_ids) == golden["SRs"]
        np.testing.assert_allclose(record.covariance, golden["covariance"], rtol=1e-11)
        moments = golden["thirdMoment"]
        has_moments = moments is not None and any(m is not None for m in moments)
        assert (record.third_moments is not None) == has_moments
        if has_moments:
            np.testing.assert_allclose(record.third_moments, moments, rtol=1e-11)
