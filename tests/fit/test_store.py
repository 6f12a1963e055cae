"""The run directory: refused where it must be, whole after any accident."""

import json

import pytest

from jaxlik.errors import CheckpointError, ConfigError
from jaxlik.fit import store
from jaxlik.fit.config import FitConfig, SearchConfig

DATABASE = {"database": {"version": "1", "sha256": "abc"}}


@pytest.fixture
def run(tmp_path):
    config = FitConfig(output=tmp_path / "run", search=SearchConfig(seed=4))
    return store.create_run(config, DATABASE)


def test_a_new_run_describes_itself(run):
    manifest = json.loads((run.path / store.MANIFEST).read_text())
    assert manifest["status"] == "running"
    assert manifest["seed"] == 4
    assert manifest["database"]["sha256"] == "abc"


def test_a_folder_with_anything_in_it_is_no_output(tmp_path):
    (tmp_path / "note.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="not an empty folder"):
        store.create_run(FitConfig(output=tmp_path), DATABASE)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_default_outputs_differ_within_a_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (store.create_run(FitConfig(), DATABASE) for _ in range(2))
    assert first.path != second.path
    assert first.path.parent.name == "runs"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    store.write_atomically(path, "old")

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_atomically(path, "new and longer")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_torn_line_is_skipped_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "history.jsonl"
    store.append_line(path, {"step": 1})
    path.write_bytes(path.read_bytes() + b'{"step": 2, "bes')
    store.append_line(path, {"step": 3})
    assert [entry["step"] for entry in store.read_lines(path)] == [1, 3]


def test_history_beyond_the_checkpoint_is_forgotten(run):
    for step in (10, 20, 30):
        run.append_history({"step": step})
    run.resume(FitConfig(), 20)
    assert [entry["step"] for entry in run.history()] == [10, 20]
    assert run.manifest["resumed"][0]["step"] == 20


def test_a_run_reads_back(run):
    run.state.write_bytes(b"state")
    again, config = store.open_run(run.path)
    assert again.manifest == run.manifest
    assert config.seed == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / store.MANIFEST).unlink(), "no run directory of jaxlik"),
        (lambda p: (p / store.MANIFEST).write_text("{"), "is damaged"),
        (lambda p: (p / store.MANIFEST).write_text("[]"), "schema 'list'"),
        (lambda p: (p / store.MANIFEST).write_text('{"schema": "x/2"}'), "schema 'x/2'"),
        (lambda p: (p / store.CONFIG).write_text("a = 1"), "configuration is damaged"),
        (lambda p: (p / store.CONFIG).unlink(), "configuration is damaged"),
        (lambda p: (p / store.STATE).unlink(), "no checkpoint yet"),
    ],
)
def test_foreign_and_damaged_directories_are_not_resumed(run, damage, message):
    run.state.write_bytes(b"state")
    damage(run.path)
    with pytest.raises(CheckpointError, match=message):
        store.open_run(run.path)


def test_another_database_is_refused(run):
    store.check_ingredients(run, {"sha256": "abc"})
    with pytest.raises(CheckpointError, match="made with database abc, now it is xyz"):
        store.check_ingredients(run, {"sha256": "xyz"})


def test_another_table_of_combinable_pairs_is_refused(run):
    with pytest.raises(CheckpointError, match=r"made with table .* now it is 123"):
        store.check_ingredients(run, {"sha256": "abc", "combinability": "123"})
