"""`census`: the significance of every signal region of a database."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.console import Console, terminal_width

FIGURE, ROWS, DOCUMENT = "census.png", "regions.csv", "census.json"


@dataclass(frozen=True)
class CensusConfig:
    """The significance of every signal region of a database, beside a standard normal.

    Attributes:
        database: SModelS text database (folder or .tar.xz), snapshot, or `embedded`. A text
            database also lists the regions that likelihoods leave out.
        top: How many of the largest excesses are listed.
        fudge: Factors on all background errors for which the spread is given besides.
        output: Folder for the report (.html), the figure, one row per region (.csv), and the
            document (.json).
        json: Write everything as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
    """

    database: str = "embedded"
    top: int = 20
    fudge: tuple[float, ...] = (0.8, 0.65, 0.5)
    output: Path | None = None
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


OPTIONS = CensusConfig


def parse(given: Sequence[str]) -> CensusConfig:
    """Resolve the command line."""
    return resolve(CensusConfig, "census", given)


def check(config: CensusConfig) -> None:
    """Raise where a number is out of range.

    Raises:
        ConfigError: with the option, the value found and the values wanted.
    """
    if config.top < 0:
        raise ConfigError(f"--top is {config.top}, wanted 0 or more")
    bad = [factor for factor in config.fudge if not 0 < factor < float("inf")]
    if bad:
        raise ConfigError(f"--fudge has {bad[0]:g}, wanted positive factors")


def run(config: CensusConfig) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        ConfigError: numbers out of range, or a file that cannot be written.
        DatabaseError: the database is no good.
    """
    check(config)
    from jaxlik.fit.runtime import prepare

    prepare(quiet=config.quiet, verbose=config.verbose)
    from jaxlik.calibration.census import fudge_scan, take_census
    from jaxlik.database.counts import read_counts
    from jaxlik.fit.census_report import census_document, census_report
    from jaxlik.fit.html.references import reference_entries

    console = Console(config.json, config.quiet)
    counts = read_counts(config.database)
    console.note(f"database {counts.version}: {counts.num_regions} regions")
    census, scan = take_census(counts), fudge_scan(counts, config.fudge)
    document = census_document(census, scan)
    sources = {one.provenance.folder: one.provenance for one in counts.results}
    names = {one.analysis for one in sources.values()}
    document["references"] = reference_entries(sources, names)
    console.show(census_report(census, scan, config.top, terminal_width()))
    if config.output is not None:
        _write(config.output, census, document)
        console.note(f"figure, regions, document and report in {config.output}")
    console.document(document)
    return 0


def _write(folder: Path, census, document) -> None:
    from jaxlik.fit.console import write_json
    from jaxlik.fit.html.write import try_report
    from jaxlik.fit.tables import write_table
    from jaxlik.plotting import save
    from jaxlik.plotting_census import census_figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save(census_figure(census), folder / FIGURE)
    except OSError as error:
        raise ConfigError(f"--output {folder} cannot be written: {error}") from None
    write_table(folder / ROWS, document["regions"])
    write_json(document, folder / DOCUMENT, "--output")
    try_report(folder)
