"""Configuration: precedence, unknown keys, values out of range, round trip."""

from dataclasses import replace
from pathlib import Path

import pytest

from jaxlik.errors import ConfigError
from jaxlik.fit.commands import build
from jaxlik.fit.config import (
    EngineConfig,
    FitConfig,
    MoveWeights,
    SearchConfig,
    check_config,
    config_text,
    read_config,
)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('mode = "protomodels"\n[search]\nsteps = 11\nwalkers = 7\n')
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(file):
    config = build.parse(["--config", str(file), "--steps", "5"]).arguments.fit_config()
    assert config.search.steps == 5
    assert config.search.walkers == 7
    assert config.mode == "protomodels"
    assert config.search.block == SearchConfig().block
    assert config.engine == EngineConfig()


def test_equals_sign_works_for_the_file(file):
    assert build.parse([f"--config={file}"]).arguments.search.steps == 11


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes = 3", "'stpes' is unknown.*knows database"),
        ("[search]\nstpes = 3", "'stpes' is unknown.*steps"),
        ("[search.moves]\nbrith = 1.0", "'brith' is unknown.*birth"),
        ('mode = "fast"', "wanted one of default, protomodels"),
        ("[search]\nsteps = 2.5", "wanted a whole number"),
        ("[search]\nsteps = true", "wanted a whole number"),
        ('[engine]\nthreshold = "a"', "wanted a number"),
        ("search = 3", "wanted a table"),
        ("steps 3", "is not TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": SearchConfig(steps=-1)}, "steps is -1"),
        ({"search": SearchConfig(walkers=0)}, "walkers is 0"),
        ({"search": SearchConfig(max_particles=1)}, "max_particles is 1"),
        ({"engine": EngineConfig(threshold=0.0)}, "threshold is 0"),
        ({"engine": EngineConfig(mass_gap=float("nan"))}, "mass_gap is nan"),
        ({"database": ""}, "database is empty"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        check_config(replace(FitConfig(), **change))


def test_the_written_configuration_reads_back(tmp_path):
    config = FitConfig(
        database='odd "name"\n\x7fü',
        mode="protomodels",
        search=SearchConfig(steps=3, temperature=0.1, moves=MoveWeights(birth=2.0)),
        engine=EngineConfig(threshold=1e-3, limit_likelihoods=False),
    )
    path = tmp_path / "config.toml"
    path.write_text(config_text(config), encoding="utf-8")
    assert read_config(path) == config
