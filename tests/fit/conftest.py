"""One compiled engine on the embedded snapshot, shared by all tests of the command line."""

import pytest

from jaxlik.database.compile import load_database
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.inspection import inspect
from jaxlik.physics.model import point_from_dict

LBP, SQUARK, STOP = 1000022, 1000001, 1000006


@pytest.fixture(scope="session")
def embedded():
    """Snapshot, engine and labels, as `commands.build.load` returns them."""
    snapshot = load_database("embedded")
    return snapshot, *build_engine(snapshot)


@pytest.fixture(scope="session")
def winner(embedded):
    """The winner of arXiv:2012.12246: squark, stop and LBP."""
    space = embedded[1].space
    return point_from_dict(
        space,
        {
            "masses": {LBP: 162.552, SQUARK: 734.948, STOP: 1165.865},
            "branching_ratios": {SQUARK: {(LBP, 1): 1.0}, STOP: {(LBP, 6): 1.0}},
            "signal_strengths": {(-SQUARK, SQUARK): 0.417, (-STOP, STOP): 1.2},
        },
    )


@pytest.fixture(scope="session")
def inspection(embedded, winner):
    _, engine, labels = embedded
    return inspect(engine, labels, winner)


@pytest.fixture
def quick(monkeypatch, tmp_path, embedded):
    """Commands in this process, with the shared engine and no global settings."""
    from jaxlik.fit import runtime
    from jaxlik.fit.commands import build

    monkeypatch.setattr(build, "load", lambda config, console: embedded)
    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.setenv("JAXLIK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
