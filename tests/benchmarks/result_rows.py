"""Rows of results as suites would make them."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

from benchmarks.environment import environment
from benchmarks.harness import Options, Row, Spread
from benchmarks.results_file import empty, suite_entry


def row(ratio=10.0, width=1.1, **changes):
    """One row beside a peer; the quartiles of its ratio are `width` apart."""
    given = {
        "suite": "kernels",
        "case": "single region: -2 ln L at mu = 1, profiled",
        "size": 1000,
        "unit": "per s",
        "value": Spread(2e6, 1.9e6, 2.2e6),
        "compile_seconds": 0.25,
        "peer": "pyhf",
        "peer_value": Spread(2e6 / ratio, 1.8e6 / ratio, 2.1e6 / ratio),
        "ratio": Spread(ratio, ratio / width**0.5, ratio * width**0.5),
        "share": 0.4,
    }
    return Row(**{**given, **changes})


def alone(**changes):
    """One row without a peer."""
    return replace(row(**changes), peer=None, peer_value=None, ratio=None)


def document(rows, **options):
    """A file of results with one suite per row's suite."""
    made = empty(Options(**options), deepcopy(_environment()))
    for suite in dict.fromkeys(one.suite for one in rows):
        chosen = [one for one in rows if one.suite == suite]
        made["suites"][suite] = suite_entry(chosen, 12.3, 456.0, "2026-11-29")
    return made


@cache
def _environment():
    return environment()
