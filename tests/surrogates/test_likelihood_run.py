"""Runs: resumed where they stopped, refused where they are others; bands; the command."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_recipe import RECIPE

from jaxlik.database.learned_file import open_learned
from jaxlik.errors import ConfigError
from jaxlik.statmodels.learned import learned_likelihood
from surrogates.__main__ import main
from surrogates.design import random_signals
from surrogates.likelihood import conformal_band, learn, validate
from surrogates.likelihood_recipe import LikelihoodRecipe
from surrogates.likelihood_run import HELD_OUT, LikelihoodRun


def test_labels_are_counted_and_held_out_ones_are_apart(learned_run):
    _, learned, file = learned_run
    book = learned.book
    assert book.asked.all()
    assert (len(book.point), book.num_fitted) == (208, 156)
    fitted = book.point[book.point != HELD_OUT]
    assert len(set(fitted)) == 156
    # The first round is the beginning of the design, the second the committee's choice.
    assert set(fitted[:78]) == set(range(78))
    assert not set(fitted[78:]) <= set(range(156))
    assert file.manifest["labels"] | {"seconds": 0, "for_scale": 0} == {
        "fitted": 156,
        "held_out": 52,
        "failed": 0,
        "for_scale": 0,
        "seconds": 0,
    }


def test_learned_profiles_agree_with_fits_of_new_signals(oracle, learned_run):
    _, learned, file = learned_run
    model = learned_likelihood(file)
    scaled = random_signals(3, 100, 4242)
    labels = oracle.label(scaled, learned.scale)
    signals = jnp.asarray(scaled * learned.scale)
    one = jnp.asarray(1.0)
    found = np.asarray(jax.jit(jax.vmap(lambda s: model.member_changes(one, s)))(signals))
    error = 0.5 * np.abs(found.mean(axis=1) - labels.change)
    near = labels.change[:, 1] < 10
    assert np.median(error[near]) < 0.03
    assert error[near].max() < 0.3


def test_bands_cover_new_signals(oracle, learned_run):
    _, learned, file = learned_run
    model = learned_likelihood(file)
    scaled = random_signals(3, 300, 777)
    labels = oracle.label(scaled, learned.scale)
    signals = jnp.asarray(scaled * learned.scale)
    one = jnp.asarray(1.0)
    for k, single in enumerate((model, model.background_asimov())):
        value, width = jax.jit(
            jax.vmap(lambda s, m=single: (m.change(one, s), m.uncertainty(one, s)))
        )(signals)
        inside = np.abs(np.asarray(value) - labels.change[:, k]) <= np.asarray(width)
        # 26 signals made the band: below 0.7 with a chance of 3e-3 (beta distribution).
        assert inside.mean() > 0.7


def test_conformal_bands_count_the_next_signal():
    scores = np.arange(1.0, 20.0)
    assert conformal_band(scores) == 18.0
    assert conformal_band(scores[:8]) == np.inf
    assert conformal_band(scores[:9]) == 9.0


def test_the_band_and_the_errors_come_from_different_halves(learned_run):
    _, learned, _ = learned_run
    held = learned.book.held_out()
    moved = held._replace(change=held.change.copy())
    moved.change[26:] += 5.0
    band, document = validate(learned.members, moved)
    wanted, before = validate(learned.members, held)
    np.testing.assert_array_equal(band, wanted)
    assert document["observed"]["coverage"] == 0.0
    assert before["observed"]["coverage"] > 0.5
    assert document["observed"]["delta_log_likelihood"]["median"] > 2.0


class _Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_with_the_same_labels(oracle, learned_run, tmp_path, monkeypatch):
    _, whole, _ = learned_run
    run = LikelihoodRun.open(tmp_path / "run", oracle, RECIPE)
    write, kept = run.write_book, []

    def stop_later(book):
        write(book)
        kept.append(int(book.asked.sum()))
        if kept[-1] >= 100:
            raise _Stopped

    monkeypatch.setattr(run, "write_book", stop_later)
    with pytest.raises(_Stopped):
        learn(oracle, run, RECIPE, quiet=True)
    before = oracle.asked
    again = LikelihoodRun.open(tmp_path / "run", oracle, RECIPE)
    assert int(again.read_book(3).asked.sum()) == kept[-1]
    learned = learn(oracle, again, RECIPE, quiet=True)
    assert oracle.asked - before == 208 - kept[-1]
    np.testing.assert_array_equal(learned.book.point, whole.book.point)
    for ours, theirs in zip(learned.book.labels, whole.book.labels, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_a_finished_run_asks_nothing(oracle, learned_run):
    run, learned, _ = learned_run
    before = oracle.asked
    again = learn(oracle, LikelihoodRun.open(run.folder, oracle, RECIPE), RECIPE, quiet=True)
    assert oracle.asked == before
    np.testing.assert_array_equal(again.members.first, learned.members.first)


def test_other_runs_and_folders_are_refused(oracle, learned_run, tmp_path):
    run, _, _ = learned_run
    with pytest.raises(ConfigError, match="holds a run with recipe"):
        LikelihoodRun.open(run.folder, oracle, LikelihoodRecipe(seed=2))
    changed = SimpleNamespace(name=oracle.name, sha256="f" * 64, region_ids=oracle.region_ids)
    with pytest.raises(ConfigError, match=r"workspace_sha256 = .*wanted 'ffff"):
        LikelihoodRun.open(run.folder, changed, RECIPE)
    (tmp_path / "other").write_text("")
    with pytest.raises(ConfigError, match="not empty and no such run"):
        LikelihoodRun.open(tmp_path, oracle, RECIPE)
    (tmp_path / "likelihood.json").write_text("[1]")
    with pytest.raises(ConfigError, match="wanted the description of a run"):
        LikelihoodRun.open(tmp_path, oracle, RECIPE)
    broken = tmp_path / "broken"
    LikelihoodRun.open(broken, oracle, RECIPE)
    (broken / "labels.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ConfigError, match=r"labels\.npz: damaged"):
        LikelihoodRun(broken).read_book(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "100"], "wanted at least 40 held out"),
        (["--members", "1"], "wanted at least 2"),
        (["--held-out", "0.9"], "wanted a share up to 0.5"),
        (["--rate", "0"], "--rate is 0.0, wanted a positive number"),
        (["--target", "there.json"], "ends in .npz"),
        (["--prefix", "signal"], "no channel begins with 'signal'"),
    ],
)
def test_the_command_refuses_wrong_input(workspace, tmp_path, capsys, options, message):
    words = ["likelihood", str(workspace), "--run", str(tmp_path / "run"), "--quiet"]
    assert main([*words, "--target", str(tmp_path / "x.npz"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_writes_a_likelihood(workspace, oracle, learned_run, tmp_path, capsys):
    run, _, file = learned_run
    words = ["likelihood", str(workspace), "--run", str(run.folder), "--quiet"]
    recipe = {"labels": 208, "held-out": 0.25, "rounds": 2, "members": 3, "width": 24}
    recipe |= {"acquisition": "committee"}
    recipe |= {"steps": 900, "batch": 64, "rate": 8e-3}
    words += [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    assert main([*words, "--target", str(tmp_path / "new.npz")]) == 0
    shown = capsys.readouterr().out
    assert "observed, t < 10" in shown
    assert "156 labels fitted, 52 held out" in shown
    written = open_learned(tmp_path / "new.npz")
    assert written.manifest["validation"] == file.manifest["validation"]
    assert json.loads((run.folder / "likelihood.json").read_text())["workspace"] == oracle.name
    written.check_workspace(workspace.read_bytes(), "tiny.json")
