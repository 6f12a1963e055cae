"""The `workspace` command on small workspaces: numbers, documents, figures, messages."""

import copy
import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from jaxlik.fit.__main__ import main

DOCUMENT = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "background",
                    "data": [50.0, 20.0],
                    "modifiers": [
                        {"name": "k", "type": "normfactor", "data": None},
                        {"name": "tilt", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
                    ],
                },
                {
                    "name": "signal",
                    "data": [1.0, 8.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
            ],
        },
        {
            "name": "CR",
            "samples": [
                {
                    "name": "background",
                    "data": [400.0],
                    "modifiers": [{"name": "k", "type": "normfactor", "data": None}],
                }
            ],
        },
    ],
    "observations": [{"name": "SR", "data": [55.0, 31.0]}, {"name": "CR", "data": [410.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}


@pytest.fixture(autouse=True)
def _no_global_settings(monkeypatch, tmp_path):
    from jaxlik.fit import runtime

    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path):
    """The workspace as a file."""
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


def document_of(capsys, *arguments):
    assert main(["workspace", *map(str, arguments), "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_fit_cls_and_limits_agree_with_pyhf(file, capsys):
    import pyhf
    from pyhf.infer import hypotest
    from pyhf.infer.intervals.upper_limits import upper_limit

    found = document_of(capsys, file)
    model = pyhf.Workspace(DOCUMENT).model()
    data = pyhf.Workspace(DOCUMENT).data(model)
    values, twice_nll = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    assert found["fit"]["twice_nll"] == pytest.approx(float(twice_nll), abs=1e-5)
    assert found["fit"]["twice_nll"] <= float(twice_nll) + 1e-9
    assert found["fit"]["mu_hat"] == pytest.approx(values[model.config.poi_index], rel=1e-3)
    observed, band = hypotest(1.0, data, model, test_stat="qtilde", return_expected_set=True)
    assert found["cls"]["observed"] == pytest.approx(float(observed), abs=1e-4)
    np.testing.assert_allclose(found["cls"]["expected"], sorted(map(float, band)), atol=1e-4)
    limit, limits = upper_limit(data, model, scan=None, level=0.05)
    assert found["upper_limit"]["observed"] == pytest.approx(float(limit), rel=1e-3)
    np.testing.assert_allclose(
        found["upper_limit"]["expected"], sorted(map(float, limits)), rtol=1e-3
    )


def test_document_holds_what_the_contract_says(file, capsys):
    found = document_of(capsys, file, "--mu", 2)
    assert found["schema"] == "jaxlik/workspace/1"
    assert (found["poi"], found["mu"]) == ("mu", 2.0)
    fit = found["fit"]
    assert fit["status"] == "success"
    assert fit["gradient_norm"] < 1e-6
    assert set(fit["parameters"]) == {"mu", "k", "tilt"}
    assert fit["parameters"]["mu"]["error"] == pytest.approx(fit["mu_error"])
    assert found["fixed"]["twice_nll"] >= fit["twice_nll"]
    assert found["cls"]["expected"] == sorted(found["cls"]["expected"])
    assert found["upper_limit"]["expected"] == sorted(found["upper_limit"]["expected"])
    discovery = found["discovery"]
    assert discovery["significance"] == pytest.approx(math.sqrt(discovery["q0"]))
    assert 0 < norm.sf(discovery["significance"]) < 0.5


@pytest.mark.statistical
def test_toys_stand_beside_asymptotics(file, capsys):
    """Hundreds of events: 5 sigma of 300 toys, false alarms below 1e-5."""
    plain = document_of(capsys, file, "--mu", 2)
    found = document_of(capsys, file, "--mu", 2, "--toys", 300, "--seed", 3)
    assert plain["toys"] is None
    toys = found.pop("toys")
    assert found == {key: value for key, value in plain.items() if key != "toys"}
    assert set(toys) == {
        *("number", "seed", "cls", "cls_error", "p_signal", "p_background", "expected", "failed")
    }
    assert (toys["number"], toys["seed"], toys["failed"]) == (300, 3, 0)
    assert toys["cls"] == pytest.approx(toys["p_signal"] / toys["p_background"])
    assert abs(toys["cls"] - found["cls"]["observed"]) < 5 * toys["cls_error"]
    assert toys["expected"] == sorted(toys["expected"])
    assert main(["workspace", str(file), "--mu", "2", "--toys", "300", "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert "the same from 300 toys" in captured.out
    assert f"{toys['cls']:.4g} ± {toys['cls_error']:.1g}" in captured.out
    assert "/600 [" in captured.err
    assert main(["workspace", str(file), "--toys", "10", "--quiet"]) == 0
    assert not capsys.readouterr().err


def test_impacts_are_ranked(file, tmp_path, capsys):
    found = document_of(capsys, file, "--impacts", "--output", tmp_path / "out")
    ranked = found["impacts"]
    assert {entry["parameter"] for entry in ranked} == {"k", "tilt"}
    sizes = [max(abs(entry["up"]), abs(entry["down"])) for entry in ranked]
    assert sizes == sorted(sizes, reverse=True)
    # More background, less signal.
    assert ranked[0]["up"] < 0 < ranked[0]["down"]
    assert ranked[0]["up"] == pytest.approx(ranked[0]["linear"], rel=0.2)
    assert (tmp_path / "out" / "impacts.png").stat().st_size > 5000
    assert main(["workspace", str(file), "--impacts"]) == 0
    assert "Impacts on mu" in capsys.readouterr().out


def test_toys_need_a_parameter_of_interest(tmp_path, capsys):
    background = copy.deepcopy(DOCUMENT)
    background["measurements"][0]["config"]["poi"] = ""
    path = tmp_path / "background.json"
    path.write_text(json.dumps(background))
    assert main(["workspace", str(path), "--toys", "10"]) == 1
    assert "--toys is 10, but" in capsys.readouterr().err


def test_report_and_figures(file, tmp_path, capsys):
    assert main(["workspace", str(file), "--output", str(tmp_path / "figures")]) == 0
    text = capsys.readouterr().out
    for part in ("Best signal strength", "upper limit on mu, 95 % CL", "tilt", "CLs at mu = 1"):
        assert part in text
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    assert written == {
        *("pulls.png", "correlations.png", "scan.png", "report.html", "workspace.json"),
    }


def test_a_patch_adds_the_signal(tmp_path, file, capsys):
    background = copy.deepcopy(DOCUMENT)
    signal = background["channels"][0]["samples"].pop()
    path = tmp_path / "background.json"
    path.write_text(json.dumps(background))
    operations = [{"op": "add", "path": "/channels/0/samples/-", "value": signal}]
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps(operations))
    patches = tmp_path / "patches.json"
    entries = [{"metadata": {"name": n}, "patch": operations} for n in ("one", "two")]
    patches.write_text(json.dumps({"patches": entries}))
    whole = document_of(capsys, file)
    alone = document_of(capsys, path)
    assert alone["cls"] is None
    assert alone["poi"] is None
    for arguments in ([patch], [patches, "--patch-name", "two"]):
        found = document_of(capsys, path, "--patch", *arguments)
        assert found["upper_limit"]["observed"] == pytest.approx(
            whole["upper_limit"]["observed"], rel=1e-9
        )
    assert main(["workspace", str(path), "--patch", str(patches)]) == 1
    assert "choose one of one, two" in capsys.readouterr().err


def test_hs3_is_recognised_and_written(tmp_path, file, capsys):
    path = tmp_path / "hs3.json"
    assert main(["workspace", str(file), "--write-hs3", str(path), "--quiet"]) == 0
    capsys.readouterr()
    whole = document_of(capsys, file)
    found = document_of(capsys, path, "--measurement", "m")
    assert found["upper_limit"]["observed"] == pytest.approx(
        whole["upper_limit"]["observed"], rel=1e-9
    )
    assert set(found["fit"]["parameters"]) == set(whole["fit"]["parameters"])
    # A patch of an HS3 document speaks of the HS3 document.
    replaced = [{"op": "replace", "path": "/data/0/contents/0", "value": 60.0}]
    patch, again = tmp_path / "patch.json", tmp_path / "again.json"
    patch.write_text(json.dumps(replaced))
    arguments = ["workspace", path, "--patch", patch, "--write-hs3", again, "--quiet"]
    assert main([*map(str, arguments)]) == 0
    before, after = (json.loads(p.read_text()) for p in (path, again))
    before["data"][0]["contents"][0] = 60.0
    assert after == before
    assert main(["workspace", str(path), "--measurement", "other"]) == 1
    assert "/analyses is ['m'], wanted one named 'other'" in capsys.readouterr().err
    assert main(["workspace", str(file), "--write-hs3", str(tmp_path)]) == 1
    assert f"--write-hs3 {tmp_path} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("{", [], "is not JSON"),
        ('{"distributions": []}', [], "/likelihoods is [], wanted exactly one"),
        ("[]", [], "found list"),
        (json.dumps({**DOCUMENT, "observations": []}), [], "/observations is []"),
        (json.dumps(DOCUMENT), ["--poi", "none"], "--poi is 'none'"),
        (json.dumps(DOCUMENT), ["--measurement", "x"], "one named 'x'"),
        (json.dumps(DOCUMENT), ["--level", "1.5"], "--level is 1.5"),
        (json.dumps(DOCUMENT), ["--mu", "-1"], "--mu is -1"),
        (json.dumps(DOCUMENT), ["--toys", "-5"], "--toys is -5, wanted a number that is not neg"),
        (json.dumps(DOCUMENT), ["--toys", "5", "--seed", "-1"], "--seed is -1"),
        (json.dumps(DOCUMENT), ["--patch", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_wrong_input_is_named(content, arguments, message, tmp_path, capsys):
    path = tmp_path / "w.json"
    path.write_text(content)
    assert main(["workspace", str(path), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_patches_that_do_not_apply_are_named(tmp_path, file, capsys):
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps([{"op": "remove", "path": "/channels/7"}]))
    assert main(["workspace", str(file), "--patch", str(patch)]) == 1
    assert "operation 0 at '/channels/7' does not apply" in capsys.readouterr().err
    patch.write_text(json.dumps({"patches": "x"}))
    assert main(["workspace", str(file), "--patch", str(patch)]) == 1
    assert "/patches is 'x'" in capsys.readouterr().err
