"""The ceilings of the machine as a suite, so that every report states them."""

from collections.abc import Iterator

from benchmarks.ceilings import ceilings, rows
from benchmarks.harness import Options, Row


def measure(options: Options) -> Iterator[Row]:
    """Copy, matrix products, start of a program."""
    yield from rows(ceilings(options.device))
