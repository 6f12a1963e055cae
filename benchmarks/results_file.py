"""The file of results: what was measured, when, with what; suites can be measured one by one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Options, Row, row_from
from jaxlik.errors import ConfigError

SCHEMA = "jaxlik/benchmarks/1"

FOLDER = Path(__file__).resolve().parent / "results"

SAME = ("processor", "cores", "system", "devices", "xla_flags")
"""Hardware that suites of one file share."""


def default_path(options: Options) -> Path:
    """Where the results of a device lie."""
    return FOLDER / f"{options.device}{'-quick' if options.quick else ''}.json"


def empty(options: Options, environment: dict[str, Any]) -> dict[str, Any]:
    """A file without suites."""
    return {
        "schema": SCHEMA,
        "device": options.device,
        "quick": options.quick,
        "database": Path(options.database).name,
        "environment": environment,
        "suites": {},
    }


def continued(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The file at a path if it was measured with the same things, else a fresh one."""
    if not path.is_file():
        return fresh
    try:
        found = read(path)
    except ConfigError:
        return fresh
    same = all(found[key] == fresh[key] for key in ("device", "quick", "database"))
    if same and same_machine(found, fresh):
        return {**found, "environment": fresh["environment"]}
    return fresh


def same_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two files come from the same hardware and versions."""
    ours, theirs = one["environment"], other["environment"]
    alike = all(ours["hardware"].get(key) == theirs["hardware"].get(key) for key in SAME)
    return alike and ours["versions"] == theirs["versions"]


def completed(full: dict[str, Any], quick: dict[str, Any]) -> dict[str, Any]:
    """A full run with the suites it lacks from a quick one of the same machine.

    Their entries name the database of that run under ``quick``.
    """
    if not same_machine(full, quick):
        return full
    suites = {
        name: {**entry, "quick": quick["database"]} for name, entry in quick["suites"].items()
    }
    return {**full, "suites": {**suites, **full["suites"]}}


def suite_entry(rows: Sequence[Row], seconds: float, memory: float, date: str) -> dict[str, Any]:
    """One suite of a file.

    Args:
        rows: Measured.
        seconds: Taken.
        memory: Largest of the process so far [MiB].
        date: Of the measurement.
    """
    return {
        "date": date,
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(memory),
        "rows": [row.document() for row in rows],
    }


def rows_of(document: dict[str, Any]) -> list[Row]:
    """All rows of a file."""
    return [row_from(row) for entry in document["suites"].values() for row in entry["rows"]]


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a file as strict JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises:
        ConfigError: there is none, or it is no file of results.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; measure first: python -m benchmarks run"
        ) from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: is not JSON ({error}); measure again") from None
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise ConfigError(f"{path}: schema is {found!r}, wanted {SCHEMA!r}; measure again")
    return document
