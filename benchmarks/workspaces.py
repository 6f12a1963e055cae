"""HistFactory workspaces beside other programs: evaluation, fits, tests, limits; one process.

    python -m benchmarks.workspaces --text DATABASE [--only NAME ...] [--output FILE]

The signal is a tenth of the background in the three fullest bins of each signal channel. Every
program is compiled and warmed up before it is timed; the first fit, compilation included, stands
apart. Wall time on one core; medians. Tasks that take longer than the patience are stopped.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import pyhf  # noqa: E402

from benchmarks.workspace_peers import PEERS, Peer, TooSlow, installed, patience  # noqa: E402
from jaxlik.database.workspace_patch import with_synthetic_signal  # noqa: E402

WORKSPACES = (
    "ATLAS-SUSY-2018-31-eff/BkgOnlyB",
    "ATLAS-SUSY-2018-31-eff/BkgOnlyA",
    "ATLAS-SUSY-2018-31-eff/BkgOnlyC",
    "ATLAS-SUSY-2018-04-eff/SRcombined",
    "ATLAS-SUSY-2018-05-ewk-eff/ewk_signal_bkgonly",
    "ATLAS-SUSY-2019-08-eff/BkgOnly",
    "ATLAS-SUSY-2019-09-eff/bkg_onshell",
    "ATLAS-SUSY-2018-16-eff/Sleptons_bkgonly",
    "ATLAS-SUSY-2018-16-eff/EWKinos_bkgonly_SR2lOnly",
    "ATLAS-SUSY-2019-09-eff/bkg_offshell",
)

TASKS = {
    "value": ("ln L", 1e6, "µs"),
    "gradient": ("ln L with its gradient", 1e6, "µs"),
    "null": ("Fit at mu = 0", 1e3, "ms"),
    "fit": ("Fit with free mu", 1e3, "ms"),
    "test": ("CLs at mu = 1, from the data", 1e3, "ms"),
    "limit": ("Observed limit and five bands, from the data", 1e3, "ms"),
    "first": ("First fit, from the document, compilation included", 1.0, "s"),
}
"""Heading, unit in a second, and its name."""

MOST, ENOUGH = 200, 1.0
"""Repeats of a task: as many as fit into these seconds."""

COMPILATION = 3
"""Times the patience, for the first fit."""

Times = dict[str, list[float] | str]


def timed(peer: Peer, task: str, limit: float) -> list[float] | str:
    """Wall times of a task after a warm-up, ascending, or why there are none."""
    if task not in peer.tasks:
        return "-"
    times = []
    try:
        with patience(limit):
            jax.block_until_ready(peer.tasks[task]())
        begin = time.perf_counter()
        while len(times) < MOST and (time.perf_counter() - begin < ENOUGH or not times):
            start = time.perf_counter()
            with patience(limit):
                jax.block_until_ready(peer.tasks[task]())
            times.append(time.perf_counter() - start)
    except TooSlow:
        return f"> {limit:g} s"
    except Exception as error:  # noqa: BLE001 - whatever another program raises is its result
        return f"fails ({type(error).__name__})"
    return sorted(times)


def measure(name: str, document: dict, limit: float) -> tuple[Times, float]:
    """All times of one program, and -2 ln L where its fit ended."""
    start = time.perf_counter()
    try:
        with patience(COMPILATION * limit):
            peer = PEERS[name](document)
            found = jax.block_until_ready(peer.tasks["fit"]())
    except TooSlow:
        return {"first": f"> {COMPILATION * limit:g} s"}, float("nan")
    except Exception as error:  # noqa: BLE001 - the same
        return {"first": f"fails ({type(error).__name__})"}, float("nan")
    times: Times = {"first": [time.perf_counter() - start]}
    minimum = peer.minimum(found)
    for task in TASKS:
        if task != "first":
            times[task] = timed(peer, task, limit)
    return times, minimum


def cell(times: list[float] | str | None, own: list[float] | str | None, unit: float) -> str:
    """A median, and how many times ours it is."""
    if times is None or isinstance(times, str):
        return times or "-"
    text = f"{unit * statistics.median(times):.3g}"
    if own is None or isinstance(own, str) or own is times:
        spread = f"{unit * times[0]:.3g} to {unit * times[-1]:.3g}"
        return f"{text} ({spread})" if len(times) > 1 else text
    return f"{text} (×{statistics.median(times) / statistics.median(own):.1f})"


def page(results: dict[str, dict[str, Times]], minima: dict[str, dict[str, float]]) -> str:
    """The page of this benchmark."""
    names = [n for n in PEERS if any(n in row for row in results.values())]
    lines = [
        "# HistFactory workspaces beside other programs",
        "",
        f"Made by `python -m benchmarks.workspaces`. {platform.machine()}, one core, Python "
        f"{platform.python_version()}, jax {jax.__version__}, pyhf {pyhf.__version__}, "
        f"{time.strftime('%Y-%m-%d')}. What the programs are: `benchmarks/workspace_peers.py`.",
        "",
        "Medians of wall time after a warm-up; ours with the smallest and largest, others with "
        "their ratio to ours.",
    ]
    for task, (heading, unit, symbol) in TASKS.items():
        lines += ["", f"## {heading} [{symbol}]", ""]
        lines += ["| workspace | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for workspace, row in results.items():
            own = row["jaxlik"].get(task)
            cells = [cell(row.get(n, {}).get(task), own, unit) for n in names]
            lines.append("| " + " | ".join([workspace, *cells]) + " |")
        gains = [
            statistics.median(row["pyhf-jax"][task]) / statistics.median(row["jaxlik"][task])
            for row in results.values()
            if all(isinstance(row.get(n, {}).get(task), list) for n in ("jaxlik", "pyhf-jax"))
        ]
        if gains:
            lines.append("")
            lines.append(
                f"pyhf-jax over jaxlik: median {statistics.median(gains):.1f}, "
                f"{min(gains):.1f} to {max(gains):.1f}."
            )
    lines += ["", "## Minima: -2 ln L above ours", ""]
    lines += ["Negative: everwillow fits without bounds, and mu may be negative there.", ""]
    lines += ["| workspace | " + " | ".join(names[1:]) + " |", "|---" * len(names) + "|"]
    for workspace, row in minima.items():
        own = row["jaxlik"]
        lines.append(
            "| "
            + " | ".join([workspace, *(f"{row.get(n, float('nan')) - own:.1e}" for n in names[1:])])
            + " |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--only", nargs="*", default=None, help="parts of workspace names")
    parser.add_argument("--peers", nargs="*", default=installed(), choices=list(PEERS))
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for a task")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    results: dict[str, dict[str, Times]] = {}
    minima: dict[str, dict[str, float]] = {}
    for name in WORKSPACES:
        if given.only and not any(part in name for part in given.only):
            continue
        path = given.text / "13TeV" / "ATLAS" / f"{name}.json"
        document = with_synthetic_signal(json.loads(path.read_text()))
        short = name.removeprefix("ATLAS-SUSY-")
        results[short], minima[short] = {}, {}
        for peer in given.peers:
            results[short][peer], minima[short][peer] = measure(peer, document, given.patience)
            times = results[short][peer].get("fit", "-")
            text = times if isinstance(times, str) else f"{1e3 * statistics.median(times):.3g} ms"
            print(f"{short} {peer}: fit {text}", flush=True)
    text = page(results, minima)
    if given.output:
        given.output.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
