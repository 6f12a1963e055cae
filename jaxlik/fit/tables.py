"""Tables of points in and out: CSV, and Parquet where pyarrow is installed."""

import csv
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jaxlik.errors import ConfigError


def read_table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Column names and rows of a table.

    Raises:
        ConfigError: the file cannot be read, is empty, or needs a package that is missing.
    """
    try:
        if path.suffix == ".parquet":
            rows = _parquet(path).read_table(path).to_pylist()
            names = list(rows[0]) if rows else []
        else:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = list(reader)
                names = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ConfigError(f"table {path} cannot be read: {error}") from None
    if not rows:
        raise ConfigError(f"table {path} has no rows")
    if any(None in row for row in rows):
        raise ConfigError(f"table {path} has rows with more cells than columns {names}")
    return names, rows


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of equal keys.

    Raises:
        ConfigError: the file cannot be written, or needs a package that is missing.
    """
    names = list(rows[0]) if rows else []
    try:
        if path.suffix == ".parquet":
            parquet = _parquet(path)
            columns = {name: [row[name] for row in rows] for name in names}
            parquet.write_table(import_module("pyarrow").Table.from_pydict(columns), path)
            return
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise ConfigError(f"--output {path} cannot be written: {error}") from None


def _parquet(path: Path) -> Any:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow; install jaxlik[tables], or use a .csv file"
        ) from None
    return parquet
