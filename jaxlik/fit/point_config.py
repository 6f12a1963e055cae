"""Options of `point`: what to judge, and by which rules."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxlik.errors import ConfigError
from jaxlik.topologies.decompose import Rules

COMPAT = ("none", "smodels")


@dataclass(frozen=True)
class PointConfig:
    """What the experiments say about given models: r-values, likelihoods, derivatives.

    Models are SLHA files, protomodel dictionaries (.dict, .json), folders of them, or tables
    (.csv, .parquet) whose rows change a template.

    Attributes:
        models: Files, folders or tables.
        database: SModelS text database (folder or .tar.xz), snapshot, or `embedded`.
        combinability: JSON file of the pairs of analyses that may be combined,
            {analysis: [analyses]}; the table of the package by default.
        template: SLHA file that the rows of a table change.
        particles: SLHA file with QNUMBERS blocks of further particles.
        yields: Efficiencies from the maps (exact) or from networks trained on them; auto
            takes maps where the database has them.
        compat: `smodels` departs from the exact likelihoods where SModelS 3.1 does.
        combine: Use joint likelihoods of several regions where published.
        gradients: Derivatives of every r by masses, branching ratios and signal strengths.
        all_regions: List every signal region, not only the best or the joint result.
        minimum_weight: Topologies below it are dropped [fb].
        mass_gap: Decays with smaller mass differences are compressed [GeV].
        mass_gap_unseen: The same where nothing visible would be left [GeV].
        digits: Decimals that masses [GeV] are rounded to.
        batch: Models whose maps are read together.
        output: Write one row per model to this file (.csv or .parquet).
        report: Write the verdicts as a page to this file (.html).
        json: Write all predictions as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
    """

    models: Annotated[tuple[Path, ...], tyro.conf.Positional] = field(default=())
    database: str = "embedded"
    combinability: Path | None = None
    template: Path | None = None
    particles: Path | None = None
    yields: Literal["auto", "exact", "networks"] = "auto"
    compat: Literal["none", "smodels"] = "none"
    combine: bool = True
    gradients: bool = True
    all_regions: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    minimum_weight: float = 0.005
    mass_gap: float = 5.0
    mass_gap_unseen: float = 1.0
    digits: int = 1
    batch: int = 16
    output: Path | None = None
    report: Path | None = None
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    @property
    def rules(self) -> Rules:
        """Of the decomposition."""
        return Rules(self.minimum_weight, self.mass_gap, self.mass_gap_unseen, self.digits)


def check(config: PointConfig) -> None:
    """Raise where a number is out of range.

    Raises:
        ConfigError: with the option, the value found and the values wanted.
    """
    if not config.models:
        raise ConfigError("point needs at least one model: an SLHA file, a folder, or a table")
    for name in ("minimum_weight", "mass_gap", "mass_gap_unseen"):
        value = getattr(config, name)
        if not 0 <= value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} is {value:g}, wanted 0 or more")
    if not config.minimum_weight > 0:
        raise ConfigError("--minimum-weight is 0, wanted a cross section in fb, such as 0.005")
    if not 0 <= config.digits <= 6:
        raise ConfigError(f"--digits is {config.digits}, wanted a number from 0 to 6")
    if not 1 <= config.batch <= 1024:
        raise ConfigError(f"--batch is {config.batch}, wanted a number from 1 to 1024")
    if config.output is not None and config.output.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--output {config.output} ends in neither .csv nor .parquet")
