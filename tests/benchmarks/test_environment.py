"""What a run says about the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment import load


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="says so on Linux only")
def test_work_of_other_processes_is_seen_while_it_goes_on():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found = load(0.5)
    finally:
        busy.kill()
        busy.wait()
    # Where all cores are taken it gets a part of one, and the others count as well.
    assert found is not None
    assert found > 0.2


def test_a_system_that_does_not_say_gives_none(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert load(0.0) is None
