"""`report`: the HTML page of a run directory, or of a document that a command wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlik.fit.commands.options import resolve
from jaxlik.fit.console import Console


@dataclass(frozen=True)
class Arguments:
    """Write the HTML page of a run directory, made anew from what the directory holds.

    Every command that writes a folder leaves a page there; this one makes it again, of a run
    that goes on, of a run of an older version, or of a JSON document.

    Attributes:
        place: Run directory, or JSON file of any command.
        output: File to write; by default report.html in the directory, or the name of the
            JSON file with the ending .html.
        quiet: Do not say where the page is.
    """

    place: Annotated[Path, tyro.conf.Positional]
    output: Path | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


OPTIONS = Arguments


def parse(given: Sequence[str]) -> Arguments:
    """Resolve the command line."""
    return resolve(Arguments, "report", given)


def run(arguments: Arguments) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        ConfigError: nothing there that has a page, or the page cannot be written.
    """
    from jaxlik.fit.html.write import write_report

    path = write_report(arguments.place, arguments.output)
    Console(quiet=arguments.quiet).note(f"report {path}")
    return 0
