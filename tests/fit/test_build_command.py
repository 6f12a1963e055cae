"""The search from end to end: a tiny run, an interrupted one, and its continuation."""

import json
from functools import wraps

import numpy as np
import pytest
from report_pages import check_page, figure_specs

from jaxlik.fit.__main__ import main
from jaxlik.fit.store import read_lines

TINY = [
    *("--walkers", "10", "--steps", "20", "--block", "10"),
    *("--leads", "1", "--gradient-every", "0", "--gradient-steps", "0"),
]


def state_arrays(folder):
    with np.load(folder / "state") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, assembled):
    """A run of 20 steps that nobody disturbed."""
    from jaxlik.fit import runtime
    from jaxlik.fit.commands import runs

    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load", lambda config, console: assembled)
        patch.setattr(runtime, "prepare", lambda **options: None)
        code = main(["build", *TINY, "--output", str(folder), "--quiet"])
    assert code == 0
    return folder


def interrupt_after(monkeypatch, blocks):
    """Make the search meet Ctrl-C after some blocks."""
    from walkers import run as walk

    original = walk.search

    @wraps(original)
    def search(engine, config, *, state=None, on_block=None):
        count = 0

        def interrupted(state, progress):
            nonlocal count
            if on_block is not None:
                on_block(state, progress)
            count += 1
            if count == blocks:
                raise KeyboardInterrupt

        return original(engine, config, state=state, on_block=interrupted)

    monkeypatch.setattr(walk, "search", search)


def test_a_run_leaves_a_complete_directory(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "config.toml",
        "manifest.json",
        "models.jsonl",
        "models.dict",
        "history.jsonl",
        "state",
        "log.jsonl",
        "summary.json",
        "walk.jsonl",
        "report.html",
        "figures",
    }
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert manifest["versions"]["jax"]
    figures = sorted(path.name for path in (finished / "figures").iterdir())
    assert figures == ["history.png", "likelihood.png", "masses.png", "r_values.png"]
    assert not [path for path in finished.iterdir() if path.name.startswith(".")]


def test_the_summary_follows_its_schema(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["schema"] == "jaxlik/run/1"
    assert (summary["walkers"], summary["steps"], summary["seed"]) == (10, 20, 0)
    assert summary["database"].keys() == {"version", "sha256"}
    scores = [model["K"] for model in summary["best"]]
    assert scores == sorted(scores, reverse=True)
    for model in summary["best"]:
        assert model["r_max"] <= 1.3
        assert model["combination"]
        assert model["contributions"].keys() >= {"particles", "analyses"}
    assert len(read_lines(finished / "models.jsonl")) == len(scores)


def test_the_run_has_a_page_with_a_film_of_all_walkers(finished):
    import jsonschema

    from jaxlik.fit.html.film import read_film
    from jaxlik.fit.html.schema import load_schema

    summary = json.loads((finished / "summary.json").read_text())
    jsonschema.validate(summary, load_schema(summary["schema"]))
    text = (finished / "report.html").read_text(encoding="utf-8")
    parts = check_page(text)
    assert f"{summary['best'][0]['K']:.2f}" in parts.text
    specs = figure_specs(text)
    assert specs.keys() >= {"ruler", "pulls", "scan", "r-values", "losses", "history", "film"}
    lines = read_film(finished)
    assert [line["step"] for line in lines] == [0, 10, 20]
    assert all(len(line["walkers"]) == 10 for line in lines)
    last = read_lines(finished / "history.jsonl")[-1]
    assert lines[-1]["best"]["K"] == pytest.approx(last["best"], abs=1e-4)
    assert [len(frame["update"]["x"][0]) for frame in specs["film"]["frames"]] == [10, 10, 10]


def test_the_models_read_back_as_protomodels(finished, assembled):
    from jaxlik.physics.protomodels import read_protomodels

    summary = json.loads((finished / "summary.json").read_text())
    models = read_protomodels(finished / "models.dict", assembled[1].space)
    assert [model.meta["K"] for model in models] == [model["K"] for model in summary["best"]]


def test_the_final_score_is_no_worse_than_that_of_the_search(finished):
    history = read_lines(finished / "history.jsonl")
    summary = json.loads((finished / "summary.json").read_text())
    assert [entry["step"] for entry in history] == [10, 20]
    assert summary["best"][0]["K"] >= history[-1]["best"] - 1e-3


@pytest.mark.slow
def test_an_interrupted_run_ends_whole_and_resumes_to_the_same_state(
    quick, finished, monkeypatch, capsys
):
    folder = quick / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        code = main(["build", *TINY, "--output", str(folder), "--quiet"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["steps"] == 10
    assert code == (0 if summary["best"] else 1)
    assert "walkers x 10 steps" in capsys.readouterr().out
    assert main(["build", "--resume", str(folder), "--quiet"]) == 0
    whole, resumed = state_arrays(finished), state_arrays(folder)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert [entry["step"] for entry in manifest["resumed"]] == [10]
    steps = [entry["step"] for entry in read_lines(folder / "history.jsonl")]
    assert steps == [10, 20]


@pytest.mark.slow
def test_json_on_standard_output_stands_alone(quick, finished, capsys):
    """A finished run, resumed, has nothing to search and prints its answer again."""
    import shutil

    shutil.copytree(finished, quick / "copy")
    code = main(["build", "--resume", str(quick / "copy"), "--json", "-"])
    captured = capsys.readouterr()
    assert code == 0
    assert json.loads(captured.out)["schema"] == "jaxlik/run/1"
    assert "Best model: K =" in captured.err


def test_a_resumed_run_keeps_its_configuration(quick, finished, capsys):
    assert main(["build", "--resume", str(finished), "--walkers", "3"]) == 1
    assert "cannot change" in capsys.readouterr().err
    assert main(["build", "--resume", str(finished), "--output", "other"]) == 1
    assert main(["build", "--resume", str(finished), "--config", "x.toml"]) == 1


def test_a_damaged_checkpoint_is_refused(quick, finished, capsys):
    import shutil

    folder = quick / "damaged"
    shutil.copytree(finished, folder)
    content = (folder / "state").read_bytes()
    (folder / "state").write_bytes(content[: len(content) // 2])
    assert main(["build", "--resume", str(folder)]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_search_that_sees_nothing_fails_politely(quick, monkeypatch, capsys):
    """Ctrl-C before there is any model: an empty but valid directory, exit code 1."""
    from walkers import grow

    def grown_state(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(grow, "grown_state", grown_state)
    assert main(["build", *TINY, "--output", "empty", "--quiet"]) == 1
    assert "No model was found" in capsys.readouterr().out
    summary = json.loads((quick / "empty" / "summary.json").read_text())
    assert summary["best"] == []
    assert summary["status"] == "interrupted"


def test_an_unexpected_error_is_noted_in_the_manifest(quick, monkeypatch):
    from walkers import run as walk

    def search(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(walk, "search", search)
    with pytest.raises(RuntimeError, match="out of memory"):
        main(["build", *TINY, "--output", "failed", "--quiet"])
    manifest = json.loads((quick / "failed" / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "out of memory" in manifest["reason"]
