"""Linearised workspaces beside the full ones: error and time of limits and profiles.

    python -m benchmarks.linearised --text DATABASE [--only NAME ...] [--output FILE]

Every HistFactory workspace of a SModelS text database, all channels in the fit; signals enter
channels whose names begin with SR. The error is what `linearise` states: the largest of a broad
signal and of one in each single bin. Wall time on one core after compilation, for the broad
signal: the six limits from given fits at mu = 0, and the profiled likelihood near the limit.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from jaxlik.database.workspace_signal import flatten_with_signal, region_per_bin  # noqa: E402
from jaxlik.errors import JaxlikError  # noqa: E402
from jaxlik.inference.linearisation import (  # noqa: E402
    largest,
    linearisation_error,
    linearise,
    linearised_limits,
    probe_signals,
)
from jaxlik.inference.workspace_fits import WorkspaceAnalysis  # noqa: E402
from jaxlik.statmodels.histfactory_signal import pack_signal, with_signal  # noqa: E402
from jaxlik.statmodels.linearised import LinearisationError  # noqa: E402
from jaxlik.statmodels.packing import pack_workspace  # noqa: E402

REPEATS = 5


class Row(NamedTuple):
    """One workspace; times in seconds, full and linearised."""

    bins: int
    parameters: int
    broad: LinearisationError
    error: LinearisationError
    limits: tuple[float, float]
    profile: tuple[float, float]


def seconds(function: Callable[[], object]) -> float:
    """Median wall time of a function, after one call more."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[REPEATS // 2]


def measure(path: Path) -> Row:
    """Error and times of one workspace."""
    record, cells = flatten_with_signal(region_per_bin(path.read_text(), name=path.name))
    model = pack_workspace(record)
    where = pack_signal(cells, model)
    poi, names = record.poi, cells.region_ids
    linear = linearise(model, where, poi, names, probes=jnp.zeros((0, len(names))))
    probes = probe_signals(model, where, linear)
    errors = [linearisation_error(model, where, poi, linear, jnp.asarray(p)) for p in probes]
    signal = jnp.asarray(probes[0])
    analysis = WorkspaceAnalysis(with_signal(model, where, signal), poi)
    limits = jax.jit(lambda s: linearised_limits(linear, s))
    profile = jax.jit(lambda mu: linear.likelihood.profiled_twice_nll(mu, linear.signal(signal)))
    return Row(
        linear.transfer.shape[0],
        len(record.parameters),
        errors[0],
        largest(errors),
        (seconds(analysis.upper_limits), seconds(lambda: limits(signal))),
        (seconds(lambda: analysis.fit_at(0.9)), seconds(lambda: profile(jnp.asarray(0.9)))),
    )


def line(name: str, row: Row) -> str:
    """One row of the table."""
    broad, error = (
        f"{100 * float(e.observed):.2g} | {100 * float(e.expected):.2g} | {float(e.twice_nll):.2g}"
        for e in (row.broad, row.error)
    )
    times = (
        f"{1e3 * full:.3g} / {1e3 * ours:.2g} | {full / ours:.2g}"
        for full, ours in (row.limits, row.profile)
    )
    counted = int(row.error.signals - row.error.without_limit)
    return (
        f"| {name.removeprefix('ATLAS-SUSY-')} | {row.bins} | {row.parameters} | {broad} | "
        f"{counted} | {error} | {' | '.join(times)} |"
    )


def page(lines: list[str]) -> str:
    """The page of this benchmark."""
    head = [
        "# Linearised HistFactory workspaces beside the full ones",
        "",
        f"Made by `python -m benchmarks.linearised`. {platform.machine()}, one core, Python "
        f"{platform.python_version()}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}.",
        "",
        "Differences of the observed limit and of the expected ones (largest of the band) in per "
        "cent, and of -2 ln L(mu) + 2 ln L(0) up to the limit: for a broad signal (a tenth of the "
        "background in the three fullest bins of each signal channel), and the largest of it and "
        "signals in single bins. These are what a linearised model states as its error. Times: "
        "full / linearised, medians; six limits, and one profiled likelihood.",
        "",
        "Workspaces whose uncertainties are linear in few parameters agree to the precision of the "
        "roots, and gain no time in limits. Expansion is worst in regions of few events with "
        "large, skewed uncertainties, and where free normalisations must move far to make room for "
        "a signal: there single regions are off by tens of per cent and more, while broad signals "
        "may still do well. Trust the number a model states, not this page's average.",
        "",
        "| workspace | bins | parameters | broad: observed [%] | expected [%] | -2 ln L "
        "| signals | largest: observed [%] | expected [%] | -2 ln L | limits [ms] | ratio "
        "| profile [ms] | ratio |",
        "|" + "---|" * 14,
    ]
    return "\n".join([*head, *lines]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    lines = []
    for path in sorted(given.text.glob("*TeV/*/*/*.json")):
        name = "/".join(path.with_suffix("").parts[-2:])
        if (given.only and not any(part in name for part in given.only)) or (
            '"channels"' not in path.read_text()
        ):
            continue
        try:
            lines.append(line(name, measure(path)))
        except JaxlikError as error:
            print(f"{name}: {error}", flush=True)
            continue
        print(lines[-1], flush=True)
        if given.output:
            given.output.write_text(page(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
