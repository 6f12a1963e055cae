"""Checkpoints: what is written is read, and damage is named."""

import io
import zipfile

import jax
import numpy as np
import pytest

from jaxlik.errors import CheckpointError
from jaxlik.fit.config import SearchConfig
from walkers.run import initial_state
from walkers.state import load_state, save_state

CONFIG = SearchConfig(walkers=4, keep=3, seed=5)


@pytest.fixture(scope="module")
def state(toy):
    return initial_state(toy, CONFIG)


@pytest.fixture
def path(tmp_path, state):
    save_state(tmp_path / "state.npz", state)
    return tmp_path / "state.npz"


def test_state_survives_a_round_trip(path, state):
    again = load_state(path, state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_file_holds_no_pickle_and_no_leftovers(path):
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.npz"]


def test_failed_write_keeps_the_old_checkpoint(path, state, monkeypatch):
    before = path.read_bytes()

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, state)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["state.npz"]


def test_missing_file_is_named(tmp_path, state):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_state(tmp_path / "nothing.npz", state)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not an archive",
        lambda data: data[:200] + bytes(200) + data[400:],
    ],
    ids=["truncated", "empty", "foreign", "overwritten"],
)
def test_damage_is_a_checkpoint_error(path, state, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"damaged|incomplete"):
        load_state(path, state)


def test_every_overwritten_part_is_noticed_or_harmless(path, state):
    data = path.read_bytes()
    for start in range(0, len(data) - 64, len(data) // 40):
        path.write_bytes(data[:start] + bytes([data[start] ^ 0xFF]) + data[start + 1 :])
        try:
            again = load_state(path, state)
        except CheckpointError:
            continue
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a, b)


def test_other_schema_is_refused(path, state):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    np.save(buffer, np.array('{"schema": "jaxlik/search-state/0", "leaves": []}'))
    parts["header.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="search-state/0"):
        load_state(path, state)


def test_lost_entry_is_refused(path, state):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    del parts["walkers.score.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="incomplete"):
        load_state(path, state)


def test_state_of_another_search_is_refused(toy, path):
    with pytest.raises(CheckpointError, match="resume with the walkers"):
        load_state(path, initial_state(toy, SearchConfig(walkers=5, keep=3)))
    with pytest.raises(CheckpointError, match="resume with the walkers"):
        load_state(path, initial_state(toy, SearchConfig(walkers=4, keep=2)))
