"""What tests of commands share."""

import pytest


@pytest.fixture
def no_global_settings(monkeypatch, tmp_path):
    """Commands in this process, which leave its configuration alone, in an empty folder."""
    from jaxlik.fit import runtime

    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path
