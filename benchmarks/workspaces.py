"""HistFactory workspaces beside pyhf: evaluation, gradient, fit, test, limit; one process.

    python -m benchmarks.workspaces --text DATABASE [--only NAME ...] [--output FILE]

The signal is a tenth of the background in the three fullest bins of each signal channel. pyhf
runs with its JAX backend and SciPy's SLSQP, compiled and warmed up before it is timed; the
first fit of each side, compilation included, stands apart. Wall time; medians, and the
smallest and largest. Both sides run on the same core.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import pyhf  # noqa: E402

from jaxlik.database.workspace import flatten_workspace  # noqa: E402
from jaxlik.database.workspace_patch import with_synthetic_signal  # noqa: E402
from jaxlik.inference.workspace_fits import WorkspaceAnalysis  # noqa: E402
from jaxlik.inference.workspace_profile import fit_parameters  # noqa: E402
from jaxlik.statmodels.packing import pack_workspace  # noqa: E402

WORKSPACES = (
    "ATLAS-SUSY-2018-31-eff/BkgOnlyB",
    "ATLAS-SUSY-2018-31-eff/BkgOnlyA",
    "ATLAS-SUSY-2018-04-eff/SRcombined",
    "ATLAS-SUSY-2018-05-ewk-eff/ewk_signal_bkgonly",
    "ATLAS-SUSY-2019-08-eff/BkgOnly",
    "ATLAS-SUSY-2018-16-eff/EWKinos_bkgonly_SR2lOnly",
    "ATLAS-SUSY-2019-09-eff/bkg_offshell",
)
EVALUATIONS, FITS, PEER_FITS = 200, 15, 3


def seconds(function: Callable[[], object], repeats: int) -> list[float]:
    """Wall times of a function, ascending."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return sorted(times)


def ours(document: dict) -> dict[str, object]:
    """Times of jaxlik, and what it finds."""
    start = time.perf_counter()
    record = flatten_workspace(document)
    model = pack_workspace(record)
    free = lambda: fit_parameters(model)  # noqa: E731
    jax.block_until_ready(free())
    first = time.perf_counter() - start
    value = jax.jit(lambda m, x: m.log_density(x))
    slope = jax.jit(lambda m, x: jax.value_and_grad(m.log_density)(x))
    value(model, model.init), slope(model, model.init)
    analysis = WorkspaceAnalysis(model, record.poi)
    analysis.test(1.0)

    def test() -> float:
        fresh = WorkspaceAnalysis(model, record.poi)
        return fresh.test(1.0).log_cls

    def limits() -> float:
        return WorkspaceAnalysis(model, record.poi).upper_limits()[0]

    return {
        "parameters": len(record.parameters),
        "value": seconds(lambda: value(model, model.init), EVALUATIONS),
        "gradient": seconds(lambda: slope(model, model.init), EVALUATIONS),
        "fit": seconds(free, FITS),
        "test": seconds(test, 3),
        "limits": seconds(limits, 3),
        "first": first,
        "twice_nll": -2 * float(model.log_density(free().parameters)),
    }


def peers(document: dict) -> dict[str, object]:
    """Times of pyhf with JAX and SLSQP, and what it finds."""
    start = time.perf_counter()
    workspace = pyhf.Workspace(document)
    model = workspace.model()
    data = pyhf.tensorlib.astensor(workspace.data(model))
    fit = lambda: pyhf.infer.mle.fit(data, model, return_fitted_val=True)  # noqa: E731
    twice_nll = float(fit()[1])
    first = time.perf_counter() - start
    init = pyhf.tensorlib.astensor(model.config.suggested_init())
    value = jax.jit(lambda x: model.logpdf(x, data)[0])
    slope = jax.jit(jax.value_and_grad(lambda x: model.logpdf(x, data)[0]))
    value(init), slope(init)
    hypotest = lambda: pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde")  # noqa: E731
    hypotest()
    return {
        "value": seconds(lambda: value(init), EVALUATIONS),
        "gradient": seconds(lambda: slope(init), EVALUATIONS),
        "fit": seconds(fit, PEER_FITS),
        "test": seconds(hypotest, 1),
        "first": first,
        "twice_nll": twice_nll,
    }


def middle(times: list[float]) -> float:
    """Their median."""
    return times[len(times) // 2]


def text(times: list[float], unit: float) -> str:
    """Median with the smallest and largest."""
    return f"{unit * middle(times):.3g} ({unit * times[0]:.3g} to {unit * times[-1]:.3g})"


def table(results: dict[str, tuple[dict, dict]]) -> str:
    """The page of this benchmark."""
    lines = [
        "# HistFactory workspaces beside pyhf",
        "",
        f"Made by `python -m benchmarks.workspaces`. {platform.machine()}, one core, Python "
        f"{platform.python_version()}, jax {jax.__version__}, pyhf {pyhf.__version__} (JAX, "
        f"SLSQP), {time.strftime('%Y-%m-%d')}.",
        "",
        "Wall time, median (smallest to largest), jaxlik / pyhf; the signal is a tenth of the "
        "background. A test is everything from the data to CLs at mu = 1; limits are the observed "
        "one and five bands.",
        "",
        "| workspace | parameters | ln L [µs] | with gradient [µs] | fit [ms] | gain | test [ms] "
        "| gain | limits [s] | first fit [s] | -2 ln L above ours |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (own, peer) in results.items():
        cells = [
            name.removeprefix("ATLAS-SUSY-"),
            str(own["parameters"]),
            f"{1e6 * middle(own['value']):.0f} / {1e6 * middle(peer['value']):.0f}",
            f"{1e6 * middle(own['gradient']):.0f} / {1e6 * middle(peer['gradient']):.0f}",
            f"{text(own['fit'], 1e3)} / {text(peer['fit'], 1e3)}",
            f"{middle(peer['fit']) / middle(own['fit']):.1f}",
            f"{text(own['test'], 1e3)} / {1e3 * middle(peer['test']):.3g}",
            f"{middle(peer['test']) / middle(own['test']):.1f}",
            text(own["limits"], 1.0),
            f"{own['first']:.1f} / {peer['first']:.1f}",
            f"{peer['twice_nll'] - own['twice_nll']:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    pyhf.set_backend("jax", "scipy")
    results = {}
    for name in WORKSPACES:
        if given.only and not any(part in name for part in given.only):
            continue
        path = given.text / "13TeV" / "ATLAS" / f"{name}.json"
        document = with_synthetic_signal(json.loads(path.read_text()))
        results[name] = (ours(document), peers(document))
        print(table({name: results[name]}).splitlines()[-1], flush=True)
    page = table(results)
    if given.output:
        given.output.write_text(page)
    else:
        print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
