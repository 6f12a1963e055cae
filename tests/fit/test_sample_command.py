"""Sampling from end to end: a tiny run, one killed and resumed, and what it refuses."""

import json
import shutil
from functools import wraps

import numpy as np
import pytest
import xarray

from jaxlik.fit.__main__ import main
from jaxlik.fit.chain_files import read_chains
from jaxlik.fit.posterior_draws import equal_draws

TINY = (
    "--chains 2 --draws 8 --thin 1 --block 4 --warmup 1 --leads 0 --leapfrogs 1 --seed 3"
).split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, assembled):
    """A run that nobody disturbed."""
    from jaxlik.fit import runtime
    from jaxlik.fit.commands import runs

    folder = tmp_path_factory.mktemp("posterior") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load", lambda config, console: assembled)
        patch.setattr(runtime, "prepare", lambda **options: None)
        assert main(["sample", *TINY, "--output", str(folder), "--quiet"]) == 0
    return folder


def interrupt_after(monkeypatch, blocks):
    """Make the sampler meet Ctrl-C after some blocks, warm-up included."""
    from walkers.posterior import sampler

    original = sampler.sample

    @wraps(original)
    def sample(state, config, *, on_block):
        count = 0

        def interrupted(state, block):
            nonlocal count
            on_block(state, block)
            count += 1
            if count == blocks:
                raise KeyboardInterrupt

        return original(state, config, on_block=interrupted)

    monkeypatch.setattr(sampler, "sample", sample)


@pytest.mark.slow
def test_a_run_leaves_chains_summary_and_figures(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.toml", "manifest.json", "state", "summary.json", "figures"}
    draws = read_chains(finished)
    assert draws.active.shape[:2] == (2, 8)
    assert np.isfinite(draws.log_likelihood).all()
    for number in range(2):
        with xarray.open_dataset(
            finished / f"chain-{number}.nc", group="posterior", engine="h5netcdf"
        ) as chain:
            assert chain["active"].dims == ("chain", "draw", "particle")
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["schema"] == "jaxlik/posterior/1"
    assert sum(entry["probability"] for entry in summary["contents"]) == pytest.approx(1.0)
    assert list((finished / "figures").glob("*.png"))
    assert json.loads((finished / "manifest.json").read_text())["status"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_a_killed_run_resumes_to_the_bit(quick, finished, monkeypatch, capsys, blocks):
    folder = quick / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, blocks)
        code = main(["sample", *TINY, "--output", str(folder), "--quiet"])
    # After the first block only warm-up is done.
    assert code == (1 if blocks == 1 else 0)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert main(["sample", "--resume", str(folder), "--quiet"]) == 0
    assert equal_draws(read_chains(folder), read_chains(finished))
    with np.load(folder / "state") as one, np.load(finished / "state") as other:
        for name in other.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
def test_the_best_model_has_a_posterior_of_its_own(quick, capsys):
    words = ["--leads", "1", "--particles", "24", *TINY[:8], "--leapfrogs", "1"]
    assert main(["sample", *words, "--output", str(quick / "best")]) == 0
    best = json.loads((quick / "best" / "summary.json").read_text())["best_model"]
    assert best["draws"] == 24
    assert best["K"] > 0
    assert best["error"] > 0
    errors = [entry["fisher_error"] for entry in best["quantities"]]
    assert all(np.isfinite(error) and error > 0 for error in errors)
    assert f"Best model, {best['label']}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_finished_one(quick, finished):
    shutil.copytree(finished, quick / "copy")
    assert main(["sample", "--resume", str(quick / "copy"), "--draws", "12", "--quiet"]) == 0
    draws = read_chains(quick / "copy")
    assert draws.num_draws == 12
    assert equal_draws(draws.head(8), read_chains(finished))


@pytest.mark.slow
def test_another_program_does_not_touch_the_run(quick, finished, capsys):
    before = (finished / "manifest.json").read_bytes()
    assert main(["build", "--resume", str(finished)]) == 1
    message = capsys.readouterr().err
    assert "is a run of `sample`, wanted one of `build`" in message
    assert f"python -m jaxlik.fit sample --resume {finished}" in message
    assert (finished / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_resuming_refuses_what_does_not_belong_together(quick, finished, capsys):
    assert main(["sample", "--resume", str(finished), "--chains", "3"]) == 1
    assert "cannot change" in capsys.readouterr().err
    assert main(["sample", "--resume", str(finished), "--output", "other"]) == 1
    assert "leave out --output" in capsys.readouterr().err
    folder = quick / "damaged"
    shutil.copytree(finished, folder)
    content = (folder / "state").read_bytes()
    (folder / "state").write_bytes(content[: len(content) // 2])
    assert main(["sample", "--resume", str(folder)]) == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chains", "0"], "chains is 0, wanted at least 1"),
        (["--block", "2"], "block is 2, wanted at least 4"),
        (["--smallest-gap", "0"], "smallest_gap is 0, wanted a finite positive number"),
        (["--strength-width", "nan"], "strength_width is nan"),
        (["--largest-lbp", "5"], "wanted more than 10 GeV"),
        (["--particles", "-1"], "particles is -1, wanted at least 0"),
        (["--resume", "nowhere"], "no such run directory"),
        (["--database", "nowhere.tar.xz"], "nowhere.tar.xz"),
    ],
)
def test_wrong_input_is_named(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_posterior_needs_mode_default(capsys, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('mode = "protomodels"\n')
    assert main(["sample", "--config", str(file)]) == 1
    assert "needs mode 'default'" in capsys.readouterr().err


def test_exact_yields_need_no_correction(quick, capsys):
    assert main(["sample", "--delayed-acceptance", "--output", str(quick / "run")]) == 1
    assert "add --yields networks" in capsys.readouterr().err
    assert not (quick / "run").exists()
