"""Flags for short compilation: set once, the user's own kept, unknown releases left alone."""

import os

import jax
import pytest

from jaxlik import compilation


def test_flags_are_added_once(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=somewhere")
    assert compilation.compile_short()
    assert compilation.compile_short()
    words = os.environ["XLA_FLAGS"].split()
    assert words == ["--xla_dump_to=somewhere", *compilation.SHORT_COMPILATION]


def test_the_users_value_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    compilation.compile_short()
    words = os.environ["XLA_FLAGS"].split()
    assert "--xla_backend_optimization_level=3" in words
    assert len(words) == len(compilation.SHORT_COMPILATION)


def test_both_kinds_name_the_same_flags():
    kinds = (compilation.SHORT_COMPILATION, compilation.SHORTEST_COMPILATION)
    short, shortest = ([flag.partition("=")[0] for flag in kind] for kind in kinds)
    assert short == shortest


@pytest.mark.parametrize("version", ["0.9.2", "1.0.0"])
def test_other_releases_are_left_alone(monkeypatch, version):
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert not compilation.compile_short()
    assert "XLA_FLAGS" not in os.environ
