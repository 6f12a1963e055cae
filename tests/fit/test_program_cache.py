"""The folder of compiled programs keeps what was used last."""

import os
from pathlib import Path

import pytest

from jaxlik.fit.program_cache import forget_oldest


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four programs of 100 bytes, used one second after the other."""
    for number in range(4):
        path = tmp_path / f"program-{number}-cache"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000.0 + number, 1000.0))
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("most", "kept", "removed"),
    [(400, 4, 0), (399, 3, 100), (250, 2, 200), (0, 0, 400)],
)
def test_used_longest_ago_goes_first(folder, most, kept, removed):
    everything = names(folder)
    assert forget_oldest(folder, most) == removed
    assert names(folder) == everything[4 - kept :]


def test_written_late_counts_as_used(folder):
    os.utime(folder / "program-0-cache", (1.0, 2000.0))
    forget_oldest(folder, 100)
    assert names(folder) == ["program-0-cache"]


def test_no_folder(tmp_path):
    assert forget_oldest(tmp_path / "nothing") == 0


def test_removed_by_somebody_else_meanwhile(folder, monkeypatch):
    found = folder.glob
    gone = folder / "program-1-cache"

    def glob(self, pattern):
        everything = list(found(pattern))
        gone.unlink()
        return everything

    monkeypatch.setattr(type(folder), "glob", glob)
    assert forget_oldest(folder, 100) == 200
    assert names(folder) == ["program-3-cache"]


def test_commands_make_room(monkeypatch, tmp_path):
    from jaxlik.fit import runtime

    seen = []
    monkeypatch.setenv("JAXLIK_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime, "forget_oldest", seen.append)
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    runtime.prepare(quiet=True)
    assert seen == [tmp_path / "compiled"]


def test_only_programs(folder):
    (folder / "notes").write_bytes(b"x" * 1000)
    assert forget_oldest(folder, 0) == 400
    assert names(folder) == ["notes"]
