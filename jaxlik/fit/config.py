"""Configuration of a run: frozen dataclasses, one definition for API, file and flags.

Precedence: the defaults below, then a TOML file, then flags. A file looks like

    database = "embedded"
    mode = "default"

    [engine]
    threshold = 1.3

    [search]
    walkers = 32
    steps = 600
    seed = 7
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from jaxlik.errors import ConfigError

Mode = Literal["default", "protomodels"]

ContentPrior = Literal["count", "protomodels"]

Yields = Literal["auto", "exact", "networks"]

Config = TypeVar("Config")


@dataclass(frozen=True)
class MoveWeights:
    """How often the walk tries each kind of move, relative to the others; 0 for never.

    Attributes:
        birth: A particle appears.
        death: A particle disappears.
        replace: A particle is exchanged for another kind.
        merge: Two near-degenerate states of one kind become one.
        open_channel: A decay channel comes into use.
        close_channel: A decay channel goes out of use.
        mass: One mass changes.
        spectrum: Several masses move together.
        branching_ratios: Branching ratios of one particle change.
        particle_strengths: All signal strengths of one particle change.
        production_strength: One signal strength changes.
    """

    birth: float = 0.7
    death: float = 0.8
    replace: float = 0.5
    merge: float = 0.2
    open_channel: float = 0.4
    close_channel: float = 0.3
    mass: float = 3.0
    spectrum: float = 0.7
    branching_ratios: float = 0.7
    particle_strengths: float = 0.7
    production_strength: float = 1.5


@dataclass(frozen=True)
class SearchConfig:
    """The search over model space.

    Attributes:
        walkers: Walkers that move side by side in one compiled step.
        steps: Steps of each walker.
        seed: Seed of all random numbers.
        keep: Length of the list of best models.
        leads: Simple models of each kind that are scored before the walk and built up;
            0 for a walk that starts from nothing.
        block: Steps between progress reports and checkpoints.
        gradient_every: Steps between gradient ascents of all walkers; 0 for none.
        gradient_steps: Steps of one gradient ascent.
        max_particles: Particles a model may have, the lightest one included.
        temperature: T of the acceptance exp[(K' - K)/(2 T)].
        teleport: Probability per step that a walker jumps to one of the best models.
        distinct: Models of the same content whose masses differ by less than this
            fraction count as one in the list of best models.
        chunk: Models evaluated per compiled call; 0 chooses by device.
        moves: How often each kind of move is tried.
    """

    walkers: int = 50
    steps: int = 300
    seed: int = 0
    keep: int = 10
    leads: int = 8
    block: int = 20
    gradient_every: int = 25
    gradient_steps: int = 3
    max_particles: int = 8
    temperature: float = 0.3
    teleport: float = 0.02
    distinct: float = 0.05
    chunk: int = 0
    moves: MoveWeights = field(default_factory=MoveWeights)


@dataclass(frozen=True)
class SampleConfig:
    """Chains over model space.

    Attributes:
        chains: Chains side by side.
        draws: Draws to keep of each chain.
        thin: Sweeps, of a few moves each, per kept draw.
        warmup: Blocks of sweeps that chains learn from, and that do not count.
        block: Draws between progress reports and checkpoints.
        seed: Seed of all random numbers.
        prior: Of contents: `count` (numbers first) or `protomodels` (every content by its
            complexity).
        critic: Whether models with an r-value above the threshold are excluded.
        delayed_acceptance: Whether the published maps have the last word on every model that
            networks accept; needs `--yields networks` and a database that holds the maps.
        leads: Simple models of each kind scored for births; 0 for none.
        particles: Draws of a posterior of its own for the best model found on the way, beside
            its Fisher errors; 0 for none.
        max_particles: Particles a model may have, the lightest one included.
        leapfrogs: Steps of each trajectory.
        largest_lbp: Largest mass [GeV] of the lightest particle.
        smallest_gap: Smallest mass difference [GeV] to it; masses are uniform in the
            logarithm of the difference.
        logit_width: Standard deviation of the logits of branching ratios.
        strength_width: Standard deviation of ln(kappa).
    """

    chains: int = 8
    draws: int = 5000
    thin: int = 1
    warmup: int = 4
    block: int = 500
    seed: int = 0
    prior: ContentPrior = "count"
    critic: bool = True
    delayed_acceptance: bool = False
    leads: int = 8
    particles: int = 500
    max_particles: int = 8
    leapfrogs: int = 4
    largest_lbp: float = 1500.0
    smallest_gap: float = 1.0
    logit_width: float = 1.0
    strength_width: float = 1.0


@dataclass(frozen=True)
class EngineConfig:
    """Numbers of the procedure that scores a model.

    Attributes:
        threshold: r-value that excludes a model.
        mass_gap: Largest mass difference [GeV] that is compressed.
        minimum_weight: Cascades below this cross section [fb] are dropped.
        min_sensitivity: Expected 2 ln(L(1)/L(0)) a result needs to take part (mode default).
        limit_likelihoods: Let upper-limit results with expected limits take part in
            combinations (mode protomodels), as in 2020.
        yields: Efficiencies from the published maps (exact), from trained networks, or
            (auto) from the maps where the database holds them.
        networks: File of trained networks; those of the package by default.
        combinability: JSON file of the pairs of analyses that may be multiplied,
            {analysis: [analyses]}; the table of the package by default.
    """

    threshold: float = 1.3
    mass_gap: float = 10.0
    minimum_weight: float = 0.02
    min_sensitivity: float = 0.25
    limit_likelihoods: bool = True
    yields: Yields = "auto"
    networks: Path | None = None
    combinability: Path | None = None


@dataclass(frozen=True)
class FitConfig:
    """A search for the model that describes all results of a database best.

    Attributes:
        database: SModelS text database (folder or tar archive), snapshot, or `embedded`.
        mode: `default`, or `protomodels` for the rules of arXiv:2012.12246.
        output: Run directory to create; by default runs/<date-time>-<seed>.
        search: The walk through model space.
        engine: How models are scored.
        sample: Chains over model space, for the command `sample`.
    """

    database: str = "embedded"
    mode: Mode = "default"
    output: Path | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)

    @property
    def seed(self) -> int:
        """Seed of all random numbers of a search."""
        return self.search.seed


_LEAST: dict[str, int] = {
    "walkers": 1,
    "steps": 1,
    "seed": 0,
    "keep": 1,
    "leads": 0,
    "block": 1,
    "gradient_every": 0,
    "gradient_steps": 0,
    "max_particles": 2,
    "chunk": 0,
}
"""Smallest sensible value of every whole number of a search."""


def check_config(config: FitConfig) -> None:
    """Raise unless every value is one a run can work with.

    Raises:
        ConfigError: names the option, the value and what it may be.
    """
    for name, least in _LEAST.items():
        value = getattr(config.search, name)
        if value < least:
            raise ConfigError(f"{name} is {value}, wanted at least {least}")
    _check_walk(config.search)
    for item in fields(EngineConfig):
        value = getattr(config.engine, item.name)
        if isinstance(value, bool | str | Path | None):
            continue
        if not math.isfinite(value) or value < 0 or (item.name == "threshold" and value == 0):
            raise ConfigError(f"{item.name} is {value:g}, wanted a finite positive number")
    for name, value, choices in (
        ("mode", config.mode, get_args(Mode)),
        ("yields", config.engine.yields, get_args(Yields)),
    ):
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}, wanted one of {', '.join(choices)}")
    if not str(config.database):
        raise ConfigError("database is empty, wanted a path or the word 'embedded'")


_LEAST_SAMPLE: dict[str, int] = {
    "chains": 1,
    "draws": 1,
    "thin": 1,
    "warmup": 0,
    "block": 4,
    "seed": 0,
    "leads": 0,
    "particles": 0,
    "max_particles": 2,
    "leapfrogs": 1,
}
"""Smallest sensible value of every whole number of a sampling run."""


def check_sample(sample: SampleConfig) -> None:
    """Raise unless every value is one that chains can work with.

    Raises:
        ConfigError: names the option, the value and what it may be.
    """
    from jaxlik.physics.kinematics import MIN_LBP_MASS  # imports JAX, which help does without

    for name, least in _LEAST_SAMPLE.items():
        value = getattr(sample, name)
        if value < least:
            raise ConfigError(f"{name} is {value}, wanted at least {least}")
    for name in ("largest_lbp", "smallest_gap", "logit_width", "strength_width"):
        value = getattr(sample, name)
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value:g}, wanted a finite positive number")
    if sample.largest_lbp <= MIN_LBP_MASS:
        raise ConfigError(
            f"largest_lbp is {sample.largest_lbp:g}, wanted more than {MIN_LBP_MASS:g} GeV"
        )
    if sample.prior not in get_args(ContentPrior):
        raise ConfigError(
            f"prior is {sample.prior!r}, wanted one of {', '.join(get_args(ContentPrior))}"
        )


def _check_walk(search: SearchConfig) -> None:
    """Raise unless the real numbers of a search are in range."""
    for name, least, most in (("temperature", 0, math.inf), ("teleport", 0, 1), ("distinct", 0, 1)):
        value = getattr(search, name)
        if not (math.isfinite(value) and least <= value <= most) or (
            name == "temperature" and value == 0
        ):
            raise ConfigError(f"{name} is {value:g}, wanted a finite number in [{least}, {most}]")
    weights = {item.name: getattr(search.moves, item.name) for item in fields(MoveWeights)}
    for name, value in weights.items():
        if not math.isfinite(value) or value < 0:
            raise ConfigError(f"moves.{name} is {value:g}, wanted a finite number of at least 0")
    if weights["birth"] == 0:
        raise ConfigError("moves.birth is 0, wanted a positive number: no particle would appear")


def read_config(path: str | Path, default: FitConfig | None = None) -> FitConfig:
    """Read a TOML file on top of defaults.

    Args:
        path: The file.
        default: Values of what the file leaves out.

    Raises:
        ConfigError: unreadable, not TOML, or a key or value of it is unknown.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration {path} is not TOML: {error}") from None
    return _merge(default or FitConfig(), document, str(path), "")


def _merge(default: Config, document: Mapping[str, Any], origin: str, prefix: str) -> Config:
    """A dataclass with the entries of a table put in."""
    assert is_dataclass(default)
    hints = get_type_hints(type(default))
    unknown = sorted(set(document) - set(hints))
    if unknown:
        place = f"[{prefix.rstrip('.')}]" if prefix else "the top level"
        raise ConfigError(
            f"{origin}: key {', '.join(map(repr, unknown))} is unknown; {place} knows "
            f"{', '.join(sorted(hints))}"
        )
    changes: dict[str, Any] = {}
    for name, value in document.items():
        current = getattr(default, name)
        if is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{origin}: {prefix}{name} is {value!r}, wanted a table [{name}]")
            changes[name] = _merge(current, value, origin, f"{prefix}{name}.")
        else:
            changes[name] = _value(hints[name], value, f"{origin}: {prefix}{name}")
    return replace(default, **changes)  # type: ignore[type-var]


def _value(hint: Any, value: Any, what: str) -> Any:
    """A TOML value as the type of its field."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{what} is {value!r}, wanted one of {', '.join(get_args(hint))}")
        return value
    choices = get_args(hint) if get_origin(hint) is not None else (hint,)
    wanted = next(choice for choice in choices if choice is not NoneType)
    accepted = {float: (int, float), Path: (str,)}.get(wanted, (wanted,))
    # bool is an int in Python, not in a configuration.
    if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{what} is {value!r}, wanted {_type_text(hint)}")
    return wanted(value)


def _type_text(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "text")


def config_text(config: FitConfig) -> str:
    """TOML that `read_config` turns into the same configuration; without `output`."""
    return "\n".join(_table_lines(replace(config, output=None), "")) + "\n"


def _table_lines(table: Any, name: str) -> list[str]:
    values = [(item.name, getattr(table, item.name)) for item in fields(table)]
    lines = [f"[{name}]"] if name else []
    lines += [
        f"{key} = {_literal(value)}"
        for key, value in values
        if value is not None and not is_dataclass(value)
    ]
    for key, value in values:
        if is_dataclass(value):
            lines += ["", *_table_lines(value, f"{name}.{key}" if name else key)]
    return lines


def _literal(value: bool | int | float | str | Path) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a TOML basic string, the delete character apart.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
