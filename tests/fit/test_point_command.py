"""`point` from the command line, on a thinned database."""

import csv
import json
from pathlib import Path

import pytest

from jaxlik.fit.__main__ import main
from jaxlik.fit.point_document import ROW
from jaxlik.fit.point_inputs import entries
from jaxlik.fit.tables import read_table, write_table
from jaxlik.physics.spectrum_file import read_spectrum

DATABASE = str(Path(__file__).resolve().parents[1] / "data" / "thinned.npz")

FILE = """BLOCK MASS
 1000021 {gluino}
 1000022 2.0E+02
 25 1.25E+02
DECAY 1000021 1.0E+00
 1.0 3 1 -1 1000022
DECAY 1000022 0.0E+00
XSECTION 1.30E+04 2212 2212 2 1000021 1000021
 0 2 0 0 0 0 8.0E-03 NLL
"""

DICTIONARY = {
    "masses": {1000022: 150.0, 1000023: 400.0, 1000024: 400.0},
    "decays": {1000023: {(1000022, 23): 1.0}, 1000024: {(1000022, 24): 1.0}},
    "ssmultipliers": {(1000023, 1000024): 1.0, (-1000024, 1000023): 1.0},
}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "gluino.slha"
    path.write_text(FILE.format(gluino="1.5E+03"))
    return path


def run(*arguments):
    return main(["point", *map(str, arguments), "--database", DATABASE, "--quiet"])


def test_one_model(model, tmp_path, capsys):
    target = tmp_path / "point.json"
    assert run(model, "--json", target) == 0
    shown = capsys.readouterr().out
    assert "largest r" in shown
    assert "Most sensitive combination" in shown
    document = json.loads(target.read_text())
    assert document["schema"] == "jaxlik/point/1"
    assert document["topologies_found"] == 1
    assert document["r_max"] == max(p["r"] for p in document["predictions"])
    assert {p["type"] for p in document["predictions"]} == {
        *("upper_limit", "efficiency_map", "combined"),
    }
    for p in document["predictions"]:
        assert p["r"] == pytest.approx(p["cross_section_fb"] / p["upper_limit_fb"])
        # The signal strength of the only production mode scales r.
        strengths = p["gradient"]["signal_strengths"]
        if p["type"] != "combined":
            assert strengths["1000021 1000021"] == pytest.approx(p["r"])
        # Both gluinos decay by the only channel.
        ratios = p["gradient"]["branching_ratios"]
        assert ratios["1000021 -> 1 -1 1000022"] == pytest.approx(2 * strengths["1000021 1000021"])
        if p["nll"]:
            assert p["nll"]["min"] <= p["nll"]["mu0"] + 1e-9
            assert p["nll"]["min"] <= p["nll"]["mu1"] + 1e-9
    combined = document["combination"]
    assert combined["r"] == pytest.approx(1 / combined["mu_max"])
    assert combined["gradient"]["signal_strengths"]["1000021 1000021"] > 0


def test_many_models_one_of_them_bad(model, tmp_path, capsys):
    (tmp_path / "bad.slha").write_text(FILE.format(gluino="NaN"))
    model_file = tmp_path / "winos.dict"
    model_file.write_text(repr(DICTIONARY))
    table, documents = tmp_path / "rows.csv", tmp_path / "all.json"
    # A folder is taken as a whole, in the order of its names.
    assert run(tmp_path, "--output", table, "--json", documents, "--no-gradients") == 1
    shown = capsys.readouterr().out
    assert " bad.slha " in shown
    assert "EXCLUDED" in shown
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(ROW)
    assert [Path(row["model"]).name for row in rows] == ["bad.slha", "gluino.slha", "winos.dict"]
    assert [row["status"] for row in rows] == ["error", "ok", "ok"]
    assert float(rows[1]["r_max"]) > 0
    assert "reference ones" in rows[2]["notes"]
    found = json.loads(documents.read_text())
    assert found["schema"] == "jaxlik/points/1"
    assert "not a finite number" in found["points"][0]["error"]
    assert found["points"][1]["predictions"][0]["gradient"] is None


def test_a_table_changes_a_template(model, tmp_path):
    table, target = tmp_path / "scan.csv", tmp_path / "scan.json"
    table.write_text(
        "name,mass:1000021,br:1000021:1000022,xsec13:1000021\n".replace(
            "br:1000021:1000022", '"br:1000021:1,-1,1000022"'
        ).replace("xsec13:1000021", '"xsec13:1000021,1000021"')
        + "here,1500,1.0,8\nthere,1500,0.5,8\nless,1500,1.0,4\nwrong,heavy,1.0,8\n"
    )
    assert run(table, "--template", model, "--json", target, "--no-gradients") == 1
    here, there, less, wrong = json.loads(target.read_text())["points"]
    assert [p["model"] for p in (here, there, less, wrong)] == ["here", "there", "less", "wrong"]
    assert there["r_max"] == pytest.approx(here["r_max"] / 4, rel=1e-9)
    assert less["r_max"] == pytest.approx(here["r_max"] / 2, rel=1e-9)
    assert "wanted a number" in wrong["error"]


def test_cross_sections_of_rows_follow_the_masses(model, tmp_path):
    """Reference ones move, one set by a column stays, given ones stay and a note says so."""
    pair = (1000021, 1000021)
    table, bare, moved_file = (tmp_path / name for name in ("scan.csv", "bare.slha", "moved.slha"))
    table.write_text('name,mass:1000021,"xsec13:1000021,1000021"\na,1800,\nb,1800,8\nc,,8\n')
    bare.write_text(FILE.split("XSECTION")[0].format(gluino="1.5E+03"))
    moved_file.write_text(FILE.split("XSECTION")[0].format(gluino="1.8E+03"))

    def gluinos(spectrum):
        (mode,) = (mode for mode in spectrum.productions if mode.pids == pair)
        return mode

    moved, given, same = (entry.spectrum for entry in entries((table,), bare, None))
    assert gluinos(moved) == gluinos(read_spectrum(moved_file))
    assert gluinos(moved) != gluinos(read_spectrum(bare))
    assert (gluinos(given).cross_sections[1], gluinos(given).reference) == (8.0, False)
    moved, given, same = (entry.spectrum for entry in entries((table,), model, None))
    for spectrum in (moved, given):
        assert "masses of [1000021] differ from the template's" in spectrum.notes[-1]
    assert not any("template's" in note for note in same.notes)


def test_tables_as_parquet(model, tmp_path):
    table, target = tmp_path / "scan.parquet", tmp_path / "rows.parquet"
    write_table(
        table, [{"name": "a", "mass:1000021": 1500.0}, {"name": "b", "mass:1000021": 1.6e3}]
    )
    assert run(table, "--template", model, "--output", target, "--no-gradients") == 0
    names, rows = read_table(target)
    assert names == list(ROW)
    assert [row["model"] for row in rows] == ["a", "b"]
    assert rows[0]["r_max"] != rows[1]["r_max"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one model"),
        (["{model}", "--minimum-weight", "0"], "--minimum-weight"),
        (["{model}", "--digits", "9"], "--digits"),
        (["{model}", "--batch", "0"], "--batch"),
        (["{model}", "--output", "rows.txt"], "neither .csv nor .parquet"),
        (["{folder}/none.slha"], "cannot be read"),
        (["{folder}/empty"], "holds no model"),
        (["{folder}/scan.csv"], "needs a --template"),
        (["{folder}/scan.csv", "--template", "{model}"], "columns"),
    ],
)
def test_wrong_input_is_an_error_with_a_remedy(arguments, message, model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "scan.csv").write_text("velocity\n3\n")
    given = [text.format(model=model, folder=tmp_path) for text in arguments]
    assert run(*given) == 1
    assert message in capsys.readouterr().err


def test_a_decay_loop_is_an_error(model, tmp_path, capsys):
    loop = FILE.format(gluino="1.5E+03").replace(
        "DECAY 1000022 0.0E+00\n", "DECAY 1000022 1.0E+00\n 1.0 3 1 -1 1000021\n"
    )
    path = tmp_path / "loop.slha"
    path.write_text(loop)
    assert run(path) == 1
    assert "decays into itself" in capsys.readouterr().err


def test_compat_changes_likelihoods_only(model, tmp_path):
    documents = []
    for compat in ("none", "smodels"):
        target = tmp_path / f"{compat}.json"
        assert run(model, "--compat", compat, "--json", target, "--no-gradients") == 0
        documents.append(json.loads(target.read_text()))
    first, second = ({p["result"]: p for p in d["predictions"]} for d in documents)
    assert set(first) == set(second)
    for name, one in first.items():
        assert one["cross_section_fb"] == second[name]["cross_section_fb"]
        if one["type"] != "combined":
            assert one["r"] == second[name]["r"]
