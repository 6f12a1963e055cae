import ast
import json
import math
import tarfile

import jax
import numpy as np
import pytest

from jaxlik.errors import ModelPointError
from jaxlik.physics.model import point_to_dict
from jaxlik.physics.protomodels import (
    from_protomodel,
    read_protomodels,
    to_protomodel,
    write_protomodels,
)
from jaxlik.physics.slha import read_slha, write_slha

POOL_POINTS = (
    *("proto_00", "proto_01", "proto_02", "proto_05", "proto_07", "proto_09"),
    *("T1_1500_200", "T1bbbb_1700_1000", "T1tttt_1600_400", "T1mix_1600_300", "T5WW_1500_800_200"),
    *("T2bb_900_300", "T2tt_800_200", "T2tt_450_280_corr", "T6bbWW_700_400_150"),
    *("T2ttT6bbWW_800_310_300", "TChiWZ_400_100", "TChiWH_500_50", "TChiWZWH_450_150"),
    *("TChiWZoff_200_150", "TChiWW_300_50", "TStauStau_200_1", "RHad_1500"),
    *("T1_halfprompt_1500_200", "smi_simplyGluino"),
)

MINIMAL = """BLOCK MASS
 1000022 1.0E+02
 1000006 8.0E+02
 2000001 1.0E+06
 25 1.25E+02
DECAY 1000006 1.0E+00
 {fraction} 2 6 1000022
XSECTION 1.30E+04 2212 2212 2 -1000006 1000006 # pb
 0 0 0 0 0 0 2.0E-02 LO
 0 2 0 0 0 0 3.0E-02 NLL
"""


def same(first, second, **kwargs):
    for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(new, old, **kwargs)


def written(tmp_path, text, name="model.slha"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_minimal_slha(tmp_path, space):
    model = read_slha(written(tmp_path, MINIMAL.format(fraction="1.0")), space)
    assert point_to_dict(space, model.point)["masses"] == {1000006: 800.0, 1000022: 100.0}
    row = space.production_index(-1000006, 1000006)
    assert model.cross_sections is not None
    np.testing.assert_allclose(model.cross_sections[row, 1], 30.0)
    assert math.isnan(model.cross_sections[row, 0])
    assert model.order == "NLL"
    assert model.widths[1000006] == 1.0


def test_slha_round_trip(tmp_path, space, winner, references):
    sigma = np.asarray(references(winner.masses)) * np.asarray(winner.signal_strengths)[:, None]
    path = tmp_path / "winner.slha"
    write_slha(path, space, winner, sigma, widths={1000006: 1e-13})
    model = read_slha(path, space)
    np.testing.assert_allclose(model.point.masses[winner.active], winner.masses[winner.active])
    np.testing.assert_array_equal(model.point.active, winner.active)
    np.testing.assert_allclose(model.point.branching_ratios, winner.branching_ratios)
    assert model.widths[1000006] == 1e-13
    row = space.production_index(-1000001, 1000001)
    assert model.cross_sections is not None
    np.testing.assert_allclose(model.cross_sections[row], sigma[row], rtol=1e-11)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DECAY 1000006 1.0\n 1.0 2 6 1000022\n", "has no BLOCK MASS"),
        (MINIMAL.format(fraction="0.5"), "X_t\\^1 sum to 0.5"),
        (MINIMAL.format(fraction="-1.0"), "branching ratio -1.0"),
        (MINIMAL.format(fraction="1.0").replace("1.0E+06", "9.0E+02"), "2000001 at 900 GeV"),
        (MINIMAL.format(fraction="1.0").replace("6 1000022", "5 1000022"), "not in the pool"),
        (MINIMAL.format(fraction="1.0").replace("6 1000022", "5 1000024"), "has no mass below"),
        (MINIMAL.format(fraction="1.0").replace("8.0E+02", "nan"), "finite mass"),
        (MINIMAL.format(fraction="1.0").replace("8.0E+02", "5.0E+01"), "lighter than"),
        (MINIMAL.format(fraction="1.0").replace("2 -1000006", "2"), "XSECTION does not parse"),
        (MINIMAL.format(fraction="1.0").replace("3.0E-02", "x"), "line 10: block XSECTION"),
    ],
)
def test_faulty_slha_names_file_and_block(tmp_path, space, text, message):
    with pytest.raises(ModelPointError, match=message) as caught:
        read_slha(written(tmp_path, text), space)
    assert "model.slha" in str(caught.value)


def test_absent_and_huge_files_are_named(tmp_path, space):
    with pytest.raises(ModelPointError, match="cannot be read"):
        read_slha(tmp_path / "nowhere.slha", space)
    with pytest.raises(ModelPointError, match="more than the"):
        read_slha(written(tmp_path, "#" * 5_000_001), space)
    with pytest.raises(ModelPointError, match="more than the"):
        read_protomodels(written(tmp_path, "#" * 2_000_001, "a.dict"), space)


def test_lenient_reading_keeps_the_rates(tmp_path, space):
    text = MINIMAL.format(fraction="0.6").replace(
        "DECAY 1000006 1.0E+00\n", "DECAY 1000006 1.0E+00\n 0.4 3 5 24 1000022\n"
    )
    model = read_slha(written(tmp_path, text), space, strict=False)
    assert "(5, 24, 1000022)" in model.dropped[0]
    np.testing.assert_allclose(model.point.branching_ratios.sum(), 0.6)


def test_gluino_keys_of_protomodels(space):
    entry = {
        "masses": {1000022: 100.0, 1000021: 1500.0, 1000024: 500.0},
        "decays": {
            1000022: {},
            1000021: {
                (1000022, 1): 0.25,
                (1000022, 21): 0.25,
                (1000024, 1): 0.25,
                (1000024, 5): 0.25,
            },
            1000024: {(1000022, 24): 1.0},
        },
        "ssmultipliers": {(1000021, 1000021): 0.5, (1000021, 1000022): 3.0},
        "xsecs[fb]": {((1000021, 1000021), 13): 7.0, ((1000021, 1000022), 13): 1.0},
        "K": 5.0,
    }
    model = from_protomodel(entry, space)
    decays = point_to_dict(space, model.point)["branching_ratios"][1000021]
    assert set(decays) == {(1000022, 1, 1), (1000022, 21), (1000024, 1, 2), (1000024, 5, 6)}
    assert model.meta == {"K": 5.0}
    assert model.other_cross_sections == {((1000021, 1000022), 13.0): 1.0}
    row = space.production_index(1000021, 1000021)
    assert model.cross_sections is not None
    assert model.cross_sections[row, 1] == 7.0
    assert model.point.signal_strengths[row] == 0.5


def test_protomodel_round_trip(tmp_path, space, winner, references):
    sigma = np.asarray(references(winner.masses))
    path = tmp_path / "models.dict"
    write_protomodels(path, [to_protomodel(space, winner, sigma, {"K": 6.9, "Z": 3.237})])
    (model,) = read_protomodels(path, space)
    same(model.point, winner, rtol=1e-15)
    assert model.meta == {"K": 6.9, "Z": 3.237}
    row = space.production_index(-1000006, 1000006)
    assert model.cross_sections is not None
    np.testing.assert_allclose(model.cross_sections[row], sigma[row])


def test_protomodels_as_json(tmp_path, space, winner):
    document = to_protomodel(space, winner)
    text = json.dumps(
        {
            key: {
                str(k): {str(a): b for a, b in v.items()} if isinstance(v, dict) else v
                for k, v in value.items()
            }
            for key, value in document.items()
        }
    )
    (model,) = read_protomodels(written(tmp_path, text, "model.json"), space)
    same(model.point, winner, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').getcwd()", "not a Python literal"),
        ("{'masses': ", "not a Python literal"),
        ("3", "is no protomodel"),
        ("{'masses': {1000022: 100.0}}", "is no protomodel"),
        ("{'masses': {1000022: 'x'}, 'decays': {}}", "wrong form"),
        ("{'masses': 3, 'decays': {}}", "wrong form"),
        ("{'masses': {1000022: 100.0, 1000099: 200.0}, 'decays': {}}", "1000099 at 200 GeV"),
        (
            "[{'masses': {1000022: 1.0, 1000006: 9.0}, 'decays': {1000006: {(1000022, 6): 0.5}}}]",
            "model 0: .* sum to 0.5",
        ),
    ],
)
def test_faulty_protomodels_are_named(tmp_path, space, text, message):
    with pytest.raises(ModelPointError, match=message):
        read_protomodels(written(tmp_path, text, "model.dict"), space)


@pytest.mark.slow
@pytest.mark.reference
def test_all_published_models_are_read(reference, space, tmp_path):
    archive = reference / "data" / "protomodels-2012.12246.tar.xz"
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            if not folder.endswith("/runs") or not name.endswith((".dict", ".signal")):
                continue
            content = tar.extractfile(member)
            assert content is not None
            text = content.read().decode()
            if name == "runs.dict":
                continue
            entries = ast.literal_eval(text)
            entries = entries if isinstance(entries, list) else [entries]
            models = read_protomodels(written(tmp_path, text, name), space)
            assert len(models) == len(entries)
            for entry, model in zip(entries, models, strict=True):
                found = point_to_dict(space, model.point)
                assert found["masses"] == entry["masses"]
                assert model.meta["K"] == entry["K"]
            count += len(models)
    assert count == 2171


@pytest.mark.reference
@pytest.mark.parametrize("name", POOL_POINTS)
def test_golden_points_of_the_pool_are_read_and_written(reference, space, name, tmp_path):
    model = read_slha(reference / "golden" / "smodels" / "points" / f"{name}.slha", space)
    assert model.cross_sections is not None
    assert np.isfinite(model.cross_sections).any()
    path = tmp_path / "again.slha"
    write_slha(path, space, model.point, model.cross_sections, widths=model.widths)
    again = read_slha(path, space)
    on = np.asarray(model.point.active)
    np.testing.assert_array_equal(again.point.active, on)
    np.testing.assert_allclose(again.point.masses[on], model.point.masses[on])
    np.testing.assert_allclose(
        again.point.branching_ratios, model.point.branching_ratios, atol=1e-11
    )
    np.testing.assert_allclose(again.cross_sections, model.cross_sections, rtol=1e-11)
    for pid, width in model.widths.items():
        np.testing.assert_allclose(again.widths[pid], width)


@pytest.mark.reference
def test_golden_points_outside_the_pool_list_their_particles(reference, space):
    folder = reference / "golden" / "smodels" / "points"
    with pytest.raises(ModelPointError, match="2000011 at 300 GeV, 2000013 at 300 GeV"):
        read_slha(folder / "TSlepSlep_300_100.slha", space)
    model = read_slha(folder / "TSlepSlep_300_100.slha", space, strict=False)
    assert len(model.dropped) == 1
