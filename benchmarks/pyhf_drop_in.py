"""Tests of pyhf models: jaxlik's two ways in beside pyhf's own optimizers; one process.

    python -m benchmarks.pyhf_drop_in [--text DATABASE] [--only NAME ...] [--output FILE]

    drop-in       jaxlik.interop.pyhf_drop_in.hypotest
    optimizer     pyhf.infer.hypotest with jaxlik's optimizer, NumPy backend
    pyhf-numpy    the same with SLSQP and numerical gradients
    pyhf-minuit   the same with Minuit
    pyhf-jax      JAX backend, SLSQP, exact gradients, compiled

Every way answers the same question, observed and expected CLs of mu = 1, on the same model and
data. First calls, translation and compilation included, stand apart. Then all ways take turns:
a ratio is that of two times of one round, and has a spread over rounds. A way that takes longer
than the patience, or fails, says so and drops out.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import pyhf  # noqa: E402

from benchmarks.workspace_peers import TooSlow, patience  # noqa: E402
from jaxlik.database.workspace_patch import with_synthetic_signal  # noqa: E402
from jaxlik.interop import pyhf_drop_in  # noqa: E402
from jaxlik.interop.pyhf_optimizer import jaxlik_optimizer  # noqa: E402

WORKSPACES = (
    "ATLAS-SUSY-2018-31-eff/simplifiedA",
    "ATLAS-SUSY-2018-31-eff/BkgOnlyB",
    "ATLAS-SUSY-2018-31-eff/BkgOnlyA",
    "ATLAS-SUSY-2018-04-eff/SRcombined",
    "ATLAS-SUSY-2018-05-ewk-eff/ewk_signal_bkgonly",
    "ATLAS-SUSY-2018-16-eff/EWKinos_bkgonly_SR2lOnly",
)

MOST, ENOUGH = 30, 40.0
"""Rounds: as many as fit into these seconds, two at least."""

Call = Callable[[float, Any, pyhf.Model], Any]


def through_pyhf(backend: str, optimizer: Callable[[], Any]) -> Call:
    """`pyhf.infer.hypotest` with a backend and an optimizer; setting them is not timed."""

    def call(mu: float, data: Any, model: pyhf.Model) -> Any:
        return pyhf.infer.hypotest(mu, data, model, return_expected_set=True)

    call.prepare = lambda: pyhf.set_backend(backend, optimizer())  # type: ignore[attr-defined]
    return call


def drop_in(mu: float, data: Any, model: pyhf.Model) -> Any:
    """Jaxlik's function."""
    return pyhf_drop_in.hypotest(mu, data, model, return_expected_set=True)


drop_in.prepare = lambda: pyhf.set_backend("numpy")  # type: ignore[attr-defined]

WAYS: dict[str, Call] = {
    "drop-in": drop_in,
    "optimizer": through_pyhf("numpy", jaxlik_optimizer),
    "pyhf-numpy": through_pyhf("numpy", pyhf.optimize.scipy_optimizer),
    "pyhf-minuit": through_pyhf("numpy", lambda: pyhf.optimize.minuit_optimizer()),
    "pyhf-jax": through_pyhf("jax", pyhf.optimize.scipy_optimizer),
}


def once(way: str, model: pyhf.Model, data: Any, limit: float) -> tuple[float, float] | str:
    """Wall time and CLs of one call, or why there are none."""
    WAYS[way].prepare()  # type: ignore[attr-defined]
    start = time.perf_counter()
    try:
        with patience(limit):
            answer = WAYS[way](1.0, data, model)
    except TooSlow:
        return f"> {limit:g} s"
    except Exception as error:  # noqa: BLE001 - whatever another program raises is its result
        return f"fails ({type(error).__name__})"
    return time.perf_counter() - start, float(answer[0])


def measure(document: dict, ways: list[str], limit: float) -> dict[str, dict[str, Any]]:
    """First call, times of all rounds and CLs of every way."""
    pyhf.set_backend("numpy")
    workspace = pyhf.Workspace(document, validate=False)
    model = workspace.model(validate=False)
    data = workspace.data(model)
    results: dict[str, dict[str, Any]] = {}
    for way in ways:
        first = once(way, model, data, 3 * limit)
        failed = isinstance(first, str)
        results[way] = {
            "first": first if failed else first[0],
            "cls": None if failed else first[1],
            "times": [],
            "problem": first if failed else None,
        }
    begin = time.perf_counter()
    for number in range(MOST):
        if number >= 2 and time.perf_counter() - begin > ENOUGH:
            break
        for way, result in results.items():
            if result["problem"] is None:
                found = once(way, model, data, limit)
                if isinstance(found, str):
                    result["problem"] = found
                else:
                    result["times"].append(found[0])
    return results


def cell(result: dict[str, Any], own: dict[str, Any]) -> str:
    """Median time in ms, and ratios to ours, round by round."""
    if result["problem"] is not None:
        return result["problem"]
    times = result["times"]
    text = f"{1e3 * statistics.median(times):.3g}"
    if result is own:
        return f"{text} ({1e3 * min(times):.3g} to {1e3 * max(times):.3g})"
    ratios = [a / b for a, b in zip(times, own["times"], strict=True)]
    return f"{text} (×{statistics.median(ratios):.3g}, {min(ratios):.3g} to {max(ratios):.3g})"


def page(results: dict[str, dict[str, dict[str, Any]]], ways: list[str]) -> str:
    """The page of this benchmark."""
    lines = [
        "# Tests of pyhf models, jaxlik inside pyhf",
        "",
        f"Made by `python -m benchmarks.pyhf_drop_in`. {platform.machine()}, one core, Python "
        f"{platform.python_version()}, jax {jax.__version__}, pyhf {pyhf.__version__}, "
        f"{time.strftime('%Y-%m-%d')}.",
        "",
        "Observed and expected CLs of mu = 1 [ms]: medians; ours with the smallest and largest, "
        "others with the median, smallest and largest ratio to ours, round by round.",
        "",
        "| model | parameters | " + " | ".join(ways) + " |",
        "|---" * (len(ways) + 2) + "|",
    ]
    for name, row in results.items():
        cells = [cell(row[way], row["drop-in"]) for way in ways]
        lines.append(f"| {name} | {row['size']['parameters']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "First call [s], translation and compilation included; the programs of the drop-in serve "
        "the optimizer, which comes after it:",
        "",
    ]
    lines += ["| model | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
    for name, row in results.items():
        firsts = [row[way]["first"] for way in ways]
        texts = [f if isinstance(f, str) else f"{f:.2f}" for f in firsts]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    lines += ["", "CLs, and how far others are from the drop-in's:", ""]
    lines += ["| model | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
    for name, row in results.items():
        own = row["drop-in"]["cls"]
        values = [row[way]["cls"] for way in ways]
        texts = [
            "-" if value is None else f"{value:.7g}" if way == "drop-in" else f"{value - own:.1e}"
            for way, value in zip(ways, values, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def documented() -> dict:
    """The two-bin model of pyhf's documentation as a workspace."""
    model = pyhf.simplemodels.uncorrelated_background(
        signal=[12.0, 11.0], bkg=[50.0, 52.0], bkg_uncertainty=[3.0, 7.0]
    )
    return {
        "channels": model.spec["channels"],
        "observations": [{"name": "singlechannel", "data": [51.0, 48.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def documents(text: Path | None, only: list[str] | None) -> dict[str, dict]:
    """Workspaces by name, with a signal."""

    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    two_bins = "two bins (pyhf's documentation)"
    found = {two_bins: documented()} if wanted(two_bins) else {}
    for name in filter(wanted, WORKSPACES if text is not None else ()):
        assert text is not None
        path = text / "13TeV" / "ATLAS" / f"{name}.json"
        document = with_synthetic_signal(json.loads(path.read_text()))
        found[name.removeprefix("ATLAS-SUSY-")] = document
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="SModelS text database with workspaces")
    parser.add_argument("--only", nargs="*", default=None, help="parts of names")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for a test")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    # A call that is stopped is an error to pyhf, which logs all numbers of the model.
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)
    ways = list(dict.fromkeys(["drop-in", *given.ways]))
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, document in documents(given.text, given.only).items():
        results[name] = measure(document, ways, given.patience)
        model = pyhf.Workspace(document, validate=False).model(validate=False)
        results[name]["size"] = {"parameters": model.config.npars}
        row = results[name]
        print(name, {way: cell(row[way], row["drop-in"]) for way in ways}, flush=True)
    text = page(results, ways)
    if given.output:
        given.output.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
