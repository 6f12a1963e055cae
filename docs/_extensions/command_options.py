"""``{command-options} census``: the options of a command, from the command's own dataclass.

Names, defaults and words come from the code that parses them: the table cannot be out of date.
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from inspect import cleandoc
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from docutils import nodes
from docutils.parsers.rst import Directive

COMMANDS = "jaxlik.fit.commands"
"""Package of the commands; each module names its dataclass `OPTIONS`."""


class Option(NamedTuple):
    """One option of a command.

    Attributes:
        flag: As on the command line; a word in capitals for what has no flag.
        default: As text; empty where there is none.
        text: What it does.
    """

    flag: str
    default: str
    text: str


def options_of(command: str) -> list[Option]:
    """All options of a command, in the order of its help."""
    return list(_options(module_of(command).OPTIONS, ""))


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    return import_module(f"{COMMANDS}.{command.replace('-', '_')}")


def _options(kind: type, prefix: str) -> Iterator[Option]:
    words = attributes(kind.__doc__ or "")
    hints = get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        hint, marks = _unwrapped(hints[item.name])
        if is_dataclass(hint):
            inline = any(getattr(mark, "name", None) == "" for mark in marks)
            yield from _options(hint, prefix if inline else f"{prefix}{item.name}.")  # type: ignore[arg-type]
            continue
        default = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        yield Option(
            _flag(f"{prefix}{item.name}", hint, marks, default),
            _default(default),
            words.get(item.name, ""),
        )


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    marks = getattr(hint, "__metadata__", ())
    return (get_args(hint)[0], marks) if marks else (hint, ())


def _flag(name: str, hint: Any, marks: tuple[Any, ...], default: Any) -> str:
    if any("Positional" in repr(mark) for mark in marks):
        choices = "|".join(_choices(hint))
        return f"{name.upper()}: {choices}" if choices else name.upper()
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        head, _, last = flag.removeprefix("--").rpartition(".")
        off = f"--{head}.no-{last}" if head else f"--no-{last}"
        return (
            flag if any("FlagCreatePairsOff" in repr(mark) for mark in marks) else f"{flag}, {off}"
        )
    choices = list(_choices(hint))
    return f"{flag} {'|'.join(choices)}" if choices else flag


def _choices(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from (str(one) for one in get_args(hint))
    elif get_origin(hint) is not None:
        for one in get_args(hint):
            yield from _choices(one)


def _default(value: Any) -> str:
    if value is MISSING or value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def attributes(docstring: str) -> dict[str, str]:
    """Entries of the section ``Attributes`` of a docstring."""
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in cleandoc(docstring).splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.strip() == "Attributes:"
            continue
        entry = re.match(r"^ {4}(\w+): (.*)$", line)
        if inside and entry:
            name = entry[1]
            found[name] = entry[2].strip()
        elif inside and line.strip() and name:
            found[name] += " " + line.strip()
    return found


class CommandOptions(Directive):
    """A table of options, those of ``moves`` and other nested tables included."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        command = self.arguments[0]
        environment = self.state.document.settings.env
        environment.note_dependency(module_of(command).__file__)
        rows = [(option.flag, option.default, option.text) for option in options_of(command)]
        return [table(("option", "default", "what it does"), rows)]


def table(header: tuple[str, ...], rows: list[tuple[str, str, str]]) -> nodes.table:
    """A table whose first two columns are code and whose third is text."""
    found = nodes.table(classes=["command-options"])
    group = nodes.tgroup(cols=3)
    found += group
    for width in (30, 14, 56):
        group += nodes.colspec(colwidth=width)
    head = nodes.row()
    for text in header:
        head += nodes.entry("", nodes.paragraph(text=text))
    group += nodes.thead("", head)
    body = nodes.tbody()
    for flag, default, text in rows:
        row = nodes.row()
        row += nodes.entry("", nodes.paragraph("", "", nodes.literal(text=flag)))
        shown = [nodes.literal(text=default)] if default else []
        row += nodes.entry("", nodes.paragraph("", "", *shown))
        row += nodes.entry("", nodes.paragraph("", "", *inline(text)))
        body += row
    group += body
    return found


def inline(text: str) -> list[nodes.Node]:
    """Text with `code`."""
    parts = re.split(r"`([^`]+)`", text)
    return [
        nodes.literal(text=part) if place % 2 else nodes.Text(part)
        for place, part in enumerate(parts)
        if part
    ]


def setup(app) -> dict:
    """Register."""
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
