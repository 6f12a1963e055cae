"""One compiled engine on a thinned snapshot, shared by all tests of the command line."""

import pytest

from jaxlik.fit.assemble import build_engine
from jaxlik.fit.inspection import inspect
from jaxlik.physics.model import point_from_dict

LBP, SQUARK, STOP = 1000022, 1000001, 1000006


@pytest.fixture(scope="session")
def assembled(thinned):
    """Snapshot, engine and labels, as `commands.runs.load` returns them."""
    return thinned, *build_engine(thinned)


@pytest.fixture(scope="session")
def winner(assembled):
    """The winner of arXiv:2012.12246: squark, stop and LBP."""
    space = assembled[1].space
    return point_from_dict(
        space,
        {
            "masses": {LBP: 162.552, SQUARK: 734.948, STOP: 1165.865},
            "branching_ratios": {SQUARK: {(LBP, 1): 1.0}, STOP: {(LBP, 6): 1.0}},
            "signal_strengths": {(-SQUARK, SQUARK): 0.417, (-STOP, STOP): 1.2},
        },
    )


@pytest.fixture(scope="session")
def inspection(assembled, winner):
    _, engine, labels = assembled
    return inspect(engine, labels, winner)


@pytest.fixture
def quick(monkeypatch, tmp_path, assembled):
    """Commands in this process, with the shared engine and no global settings."""
    from jaxlik.fit import runtime
    from jaxlik.fit.commands import runs

    monkeypatch.setattr(runs, "load", lambda config, console: assembled)
    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.setenv("JAXLIK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
