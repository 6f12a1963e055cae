"""The command line of a command: its options, its help, and what has to be known before."""

import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from jaxlik.fit.examples import described

PROGRAM = "python -m jaxlik.fit"

Options = TypeVar("Options")


def resolve(
    kind: type[Options], command: str, given: Sequence[str], *, default: Options | None = None
) -> Options:
    """Read the options of a command; its `--help` shows examples.

    Args:
        kind: Dataclass of the options; its docstring says what each does.
        command: Name of the command.
        given: Words of the command line.
        default: Values of options that are not given; those of the dataclass by default.
    """
    text = described(command, summary_of(kind), PROGRAM)
    more: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"{PROGRAM} {command}", description=text, args=list(given), **more)


def summary_of(kind: type) -> str:
    """First paragraphs of a docstring, up to its list of attributes."""
    return inspect.getdoc(kind).partition("\n\nAttributes:")[0]  # type: ignore[union-attr]


def option(given: Sequence[str], name: str) -> str | None:
    """Value of an option on a command line; `None` where it is absent.

    Args:
        given: Words of the command line.
        name: Of the option, without dashes.
    """
    for position, word in enumerate(given):
        if word == f"--{name}" and position + 1 < len(given):
            return given[position + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None
