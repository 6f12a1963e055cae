"""Learned likelihoods beside the fits they replace: errors, times, and when they pay.

    python -m benchmarks.learned_likelihoods --text DATABASE --run FOLDER [--only NAME ...]
        [--output FILE]

A call gives -2 ln L of one signal on the data and on their Asimov data, what CLs at one mu
needs. Exact calls are certified fits that begin at the fit without signal, one after the other
(side by side they are slower on a core). Labels and networks stay in the run folder, results in
results.json there: what is in it is not measured again.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.learned_page import page  # noqa: E402
from benchmarks.toy_search import toy_search, toy_signal  # noqa: E402
from benchmarks.workspace_peers import PEERS, TooSlow, patience  # noqa: E402
from jaxlik.database.workspace_patch import with_synthetic_signal  # noqa: E402
from jaxlik.inference.mle import fit_mu  # noqa: E402
from jaxlik.inference.profile import profiled_twice_nll_fn  # noqa: E402
from jaxlik.inference.workspace_fits import WorkspaceAnalysis  # noqa: E402
from jaxlik.statmodels.histfactory_signal import with_signal  # noqa: E402
from jaxlik.statmodels.learned import LearnedLikelihood, learned_likelihood  # noqa: E402
from surrogates.committee import predictions  # noqa: E402
from surrogates.design import random_signals  # noqa: E402
from surrogates.labels import Oracle  # noqa: E402
from surrogates.likelihood import NEAR, export, learn  # noqa: E402
from surrogates.likelihood_recipe import LikelihoodRecipe  # noqa: E402
from surrogates.likelihood_run import LikelihoodRun  # noqa: E402

WORKSPACES: dict[str, tuple[int, Literal["committee", "design"]]] = {
    "ATLAS-SUSY-2018-31-eff/BkgOnlyC": (1000, "committee"),
    "ATLAS-SUSY-2019-08-eff/BkgOnly": (2000, "committee"),
    "ATLAS-SUSY-2018-16-eff/EWKinos_bkgonly_SR2lOnly": (2500, "committee"),
    "ATLAS-SUSY-2019-09-eff/bkg_offshell": (2000, "design"),
}
"""Labels, and how they are chosen."""

GAINS = ("ATLAS-SUSY-2018-31-eff/BkgOnlyC", "ATLAS-SUSY-2019-08-eff/BkgOnly")
"""Where the committee's choice of labels is compared with the design's."""

GAIN_LABELS, GAIN_SEEDS, GAIN_STEPS = 320, (1, 2, 3), 2000
BATCH, REPEATS, PYHF_FITS = 1000, 5, 3
TOY_MU = np.round(np.arange(0.1, 1.01, 0.1), 1)
TOY_T = 7.0
"""-2 ln L of the toy's signal at mu = 1 on Asimov data."""


def seconds(function: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Smallest wall time of a function, and that of the first call."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return min(times[1:]), times[0]


def learn_one(oracle: Oracle, folder: Path, recipe: LikelihoodRecipe) -> tuple[Any, dict]:
    """A learned likelihood of a run folder, and its manifest."""
    run = LikelihoodRun.open(folder, oracle, recipe)
    file = export(oracle, run, learn(oracle, run, recipe), recipe, folder / "likelihood.npz")
    return learned_likelihood(file), file.manifest


def call_times(oracle: Oracle, model: LearnedLikelihood) -> dict[str, float]:
    """Seconds per call, exact and learned, alone and in a batch; and of compilation."""
    scale = np.asarray(model.scale)
    scaled = random_signals(oracle.num_regions, BATCH, 77)
    signals = jnp.asarray(scaled * scale)
    one = jnp.asarray(1.0)

    @jax.jit
    def both(signal: jax.Array) -> jax.Array:
        return jnp.mean(model.member_changes(one, signal), axis=0)

    many = jax.jit(jax.vmap(both))
    alone, compiled = seconds(lambda: [both(s) for s in signals[:100]])
    batch, _ = seconds(lambda: many(signals))
    some = scaled[:64]
    exact, _ = seconds(lambda: oracle.label(some, scale).change)
    return {
        "learned_one": alone / 100,
        "learned_batch": batch / BATCH,
        "learned_compile": max(compiled - alone, 0.0),
        "exact": exact / len(some),
    }


def pyhf_seconds(path: Path) -> float | None:
    """Seconds of two of pyhf's fits at fixed mu (JAX, SciPy), after compilation."""
    try:
        with patience(120.0):
            peer = PEERS["pyhf-jax"](with_synthetic_signal(json.loads(path.read_text())))
            return 2 * seconds(peer.tasks["null"], PYHF_FITS)[0]
    except TooSlow:
        return None
    except Exception as error:  # noqa: BLE001 - whatever another program raises is its result
        print(f"pyhf: {error!r}", flush=True)
        return None


def measure(path: Path, folder: Path, recipe: LikelihoodRecipe) -> dict[str, Any]:
    """Everything about one workspace."""
    oracle = Oracle.of_file(path)
    model, manifest = learn_one(oracle, folder, recipe)
    return {
        "regions": oracle.num_regions,
        "parameters": len(oracle.likelihood.model.init),
        "manifest": manifest,
        "times": call_times(oracle, model),
        "pyhf": pyhf_seconds(path),
    }


def gain(path: Path, folder: Path) -> list[dict[str, float]]:
    """Labels that the design needs for the committee's accuracy, over those the committee had."""
    oracle = Oracle.of_file(path)
    counts = [GAIN_LABELS // 2, GAIN_LABELS, 2 * GAIN_LABELS]
    kinds: list[tuple[Literal["committee", "design"], int]] = [
        *(("design", n) for n in counts),
        ("committee", GAIN_LABELS),
    ]
    errors: dict[tuple[Literal["committee", "design"], int], list[tuple[float, float]]] = {
        kind: [] for kind in kinds
    }
    for seed in GAIN_SEEDS:
        for kind, labels in kinds:
            recipe = LikelihoodRecipe(
                labels=labels, acquisition=kind, steps=GAIN_STEPS, seed=seed, held_out=0.25
            )
            run = LikelihoodRun.open(folder / f"{kind}-{labels}-{seed}", oracle, recipe)
            learned = learn(oracle, run, recipe, quiet=True)
            signals, change = run_test(oracle, folder, learned.scale)
            mean = predictions(learned.members, signals).mean(axis=0)
            off = 0.5 * np.abs(mean - change)[change[:, 1] < NEAR]
            errors[kind, labels].append((float(np.quantile(off, 0.95)), float(off.max())))
    found = [{"seed": float(seed)} for seed in GAIN_SEEDS]
    for k, name in enumerate(("q95", "worst")):
        curve = np.log([[one[k] for one in errors["design", n]] for n in counts])
        # One power law through the runs of all seeds.
        slope, offset = np.polyfit(np.log(np.repeat(counts, len(GAIN_SEEDS))), curve.ravel(), 1)
        for row, own, other in zip(
            found, errors["committee", GAIN_LABELS], errors["design", GAIN_LABELS], strict=True
        ):
            needed = np.exp((np.log(own[k]) - offset) / slope)
            row[f"gain_{name}"] = float(needed / GAIN_LABELS)
            row[f"committee_{name}"], row[f"design_{name}"] = own[k], other[k]
            row[f"power_{name}"] = float(slope)
    print(path.name, found, flush=True)
    return found


def run_test(oracle: Oracle, folder: Path, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signals and changes that no run has seen; made once."""
    path = folder / "test.npz"
    if not path.is_file():
        signals = random_signals(oracle.num_regions, 400, 999)
        np.savez(path, signals=signals, change=oracle.label(signals, scale).change)
    with np.load(path) as kept:
        good = np.isfinite(kept["change"]).all(axis=1)
        return kept["signals"][good], kept["change"][good]


def toy(folder: Path) -> dict[str, Any]:
    """t_mu of one signal of the toy search, exact and learned."""
    oracle = Oracle(toy_search(), "toy")
    recipe = LikelihoodRecipe(labels=2000)
    model, manifest = learn_one(oracle, folder, recipe)
    shape = toy_signal()
    factor = 1.0
    for _ in range(20):
        change = oracle.label((factor * shape)[None], np.ones(len(shape))).change[0, 1]
        factor *= np.sqrt(TOY_T / change)
    signal = jnp.asarray(factor * shape)
    analysis = WorkspaceAnalysis(
        with_signal(oracle.likelihood.model, oracle.likelihood.where, signal),
        int(oracle.likelihood.poi),
    )
    exact = [float(analysis.fit_at(float(mu)).twice_nll - analysis.best.twice_nll) for mu in TOY_MU]
    learned_fn = profiled_twice_nll_fn(model, signal)
    best = jax.jit(lambda: fit_mu(learned_fn))()
    learned = [float(learned_fn(jnp.asarray(mu)) - best.twice_nll) for mu in TOY_MU]
    return {
        "manifest": manifest,
        "regions": oracle.num_regions,
        "mu": TOY_MU.tolist(),
        "exact": exact,
        "learned": learned,
        "mu_hat": [float(analysis.best.parameters[analysis.poi]), float(best.mu_hat)],
        "distance": float(model.domain_distance(jnp.asarray(1.0), signal)),
        "times": call_times(oracle, model),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--run", type=Path, required=True, help="folder for labels and results")
    parser.add_argument("--only", nargs="*", default=None, help="parts of names, toy, gain")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    kept = given.run / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    tasks: dict[str, Callable[[], Any]] = {}
    for name, (labels, acquisition) in WORKSPACES.items():
        recipe = LikelihoodRecipe(labels=labels, acquisition=acquisition)
        path = given.text / "13TeV" / "ATLAS" / f"{name}.json"
        folder = given.run / name.replace("/", "_")
        tasks[name] = lambda p=path, f=folder, r=recipe: measure(p, f, r)
        if name in GAINS:
            there = folder.with_name(folder.name + "-gain")
            tasks[f"gain {name}"] = lambda p=path, f=there: gain(p, f)
    tasks["toy"] = lambda: toy(given.run / "toy")
    for name, task in tasks.items():
        if name in results or (given.only and not any(part in name for part in given.only)):
            continue
        begin = os.getloadavg()[0]
        results[name] = {"found": task(), "load": [begin, os.getloadavg()[0]]}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(results, indent=1))
        print(name, "done", time.strftime("%H:%M:%S"), flush=True)
    machine = f"{platform.machine()}, one core, Python {platform.python_version()}"
    text = page(results, f"{machine}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}")
    if given.output:
        given.output.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
