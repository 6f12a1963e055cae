"""`completion`: tab completion of commands and options for a shell.

Bash and zsh take it from a line in their start file, `eval "$(jaxlik completion bash)"`; fish from
`jaxlik completion fish > ~/.config/fish/completions/jaxlik.fish`.
"""

import contextlib
import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import tyro

from jaxlik.fit.commands.options import resolve, summary_of
from jaxlik.fit.console import Console


@dataclass(frozen=True)
class Arguments:
    """Print a script that completes commands and options of `jaxlik` with the tab key.

    Attributes:
        shell: That is to complete.
    """

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]


OPTIONS = Arguments


def parse(given: Sequence[str]) -> Arguments:
    """Resolve the command line."""
    return resolve(Arguments, "completion", given)


def run(arguments: Arguments) -> int:
    """Carry out the command; returns the exit code."""
    Console().show(script(arguments.shell).rstrip())
    return 0


def script(shell: str) -> str:
    """The script for one shell.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.
    """
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(_all_options(), prog="jaxlik", args=["--tyro-print-completion", shell])
    return text.getvalue()


def _all_options() -> Any:
    """One type that has all commands as subcommands."""
    from jaxlik.fit.__main__ import COMMANDS

    kinds = []
    for name in COMMANDS:
        kind = importlib.import_module(f"jaxlik.fit.commands.{name}").OPTIONS
        settings = tyro.conf.subcommand(name, description=summary_of(kind), prefix_name=False)
        kinds.append(Annotated[kind, settings])
    return reduce(or_, kinds)
