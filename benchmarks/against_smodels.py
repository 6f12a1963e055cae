"""One protomodel evaluation beside SModelS: same models, same database, same machine, one run.

jaxlik: exact yields of all regions, all likelihoods, critic, best combination, K.
SModelS: decomposition, predictions of all regions and results, and, as a second
figure, the likelihoods of every region. Neither side's set-up is timed: SModelS has
read its pickle and evaluated the model once before, jaxlik has compiled.

    python -m benchmarks.against_smodels --text FOLDER [--snapshot FOLDER] [--output FILE]
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from benchmarks.example_models import MODELS, batch_of, model_point, score_and_gradient
from jaxlik.compilation import compile_short
from jaxlik.database.compile import load_database
from jaxlik.database.snapshot import open_snapshot
from jaxlik.engine import Engine
from jaxlik.errors import Status
from jaxlik.fit.assemble import build_engine
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.slha import write_slha
from jaxlik.precision import enable_x64
from jaxlik.yields.buckets import Buckets

REPEATS = 5
CHUNK = 8
"""Models of a batch evaluated side by side: more would not fit the processor's cache."""


def one_core() -> None:
    """Keep this process on one core, before JAX starts its threads.

    SModelS uses one core; a pool of threads on several would add its own CPU time.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(function: Callable[[], object], repeats: int = REPEATS) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each repetition."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


@eqx.filter_jit
def scores(engine: Engine, points: ModelPoint):
    """K, status and bucket needs of a batch."""

    def one(point: ModelPoint):
        result = engine.evaluate(point)
        return result.score, result.status, result.prediction.signals.demand

    return jax.lax.map(one, points, batch_size=CHUNK)


@eqx.filter_jit
def score(engine: Engine, point: ModelPoint):
    """K of one model."""
    return engine.evaluate(point).score


def fitted(engine: Engine, points: ModelPoint) -> Engine:
    """The engine with buckets that hold a batch, as the walkers choose them."""
    while True:
        _, status, demand = scores(engine, points)
        if bool((status == Status.success).all()):
            largest = np.asarray(demand).max(axis=0)
            return _with_buckets(engine, _tight(largest))
        wanted = engine.buckets.holding(np.asarray(demand).max(axis=0).tolist())
        if wanted == engine.buckets:
            raise SystemExit(f"evaluation failed: {status}")
        engine = _with_buckets(engine, wanted)


def _with_buckets(engine: Engine, buckets: Buckets) -> Engine:
    return dataclasses.replace(engine, buckets=buckets)


def _tight(demand: np.ndarray) -> Buckets:
    """The largest need of the batch, rounded up to full vectors."""
    return Buckets(*(-(-int(need) // 8) * 8 if need > 2 else 2 for need in demand))


def time_jaxlik(engine: Engine, point: ModelPoint, size: int) -> dict[str, object]:
    """Compile times, latency of one model, time per model of a batch, gradients."""
    points = batch_of(point, engine.space, size)
    engine = fitted(engine, points)
    jax.clear_caches()

    def first(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    result: dict[str, object] = {
        "compile_s": first(lambda: score(engine, point)),
        "compile_gradient_s": first(lambda: score_and_gradient(engine, point)),
        "compile_batch_s": first(lambda: scores(engine, points)),
        "buckets": engine.buckets._asdict(),
    }
    result["single"] = measure(lambda: score(engine, point).block_until_ready(), 30)
    result["gradient"] = measure(
        lambda: jax.block_until_ready(score_and_gradient(engine, point)), 30
    )
    batch = measure(lambda: jax.block_until_ready(scores(engine, points)))
    result["batch"] = [(wall / size, cpu / size) for wall, cpu in batch]
    result["K"] = float(score(engine, point))
    return result


def time_smodels(text: Path, space: ModelSpace, engine: Engine, points: dict) -> dict[str, dict]:
    """Warm times of SModelS for every model."""
    from smodels.base.model import Model
    from smodels.base.physicsUnits import GeV, fb
    from smodels.decomposition import decomposer
    from smodels.experiment.databaseObj import Database
    from smodels.matching.theoryPrediction import theoryPredictionsFor
    from smodels.share.models.mssm import BSMList
    from smodels.share.models.SMparticles import SMList

    start = time.process_time()
    database = Database(str(text))
    load = time.process_time() - start
    found: dict[str, dict] = {"load_cpu_s": load}  # type: ignore[dict-item]
    with tempfile.TemporaryDirectory() as folder:
        for name, point in points.items():
            path = Path(folder) / "model.slha"
            production = np.asarray(engine.reference_production(point))
            write_slha(path, space, point, cross_sections=production)

            def predict(path: Path = path) -> list:
                model = Model(BSMparticles=BSMList, SMparticles=SMList)
                model.updateParticles(inputFile=str(path))
                topologies = decomposer.decompose(
                    model, 0.02 * fb, massCompress=True, invisibleCompress=True, minmassgap=10 * GeV
                )
                regions = theoryPredictionsFor(
                    database, topologies, useBestDataset=False, combinedResults=False
                )
                best = theoryPredictionsFor(
                    database, topologies, useBestDataset=True, combinedResults=False
                )
                return [*regions, *best]

            def with_likelihoods(predict: Callable[[], list] = predict) -> list:
                predictions = predict()
                for prediction in predictions:
                    if prediction.dataType() == "efficiencyMap":
                        prediction.computeStatistics()
                return predictions

            with_likelihoods()  # warm: SModelS computes transforms of its maps on first use
            found[name] = {
                "predictions": measure(predict, 3),
                "likelihoods": measure(with_likelihoods, 2),
            }
    return found


def middle(times: list[tuple[float, float]], column: int = 1) -> float:
    """Median of wall (0) or CPU (1) seconds."""
    return statistics.median(entry[column] for entry in times)


def spread(times: list[tuple[float, float]], column: int = 1) -> str:
    """Median with the range over repetitions, in milliseconds."""
    values = sorted(entry[column] * 1e3 for entry in times)
    return f"{statistics.median(values):.3g} ({values[0]:.3g} to {values[-1]:.3g})"


def table(result: dict) -> str:
    """The report as Markdown."""
    lines = [
        "# One protomodel evaluation, beside SModelS",
        "",
        f"Made by `python -m benchmarks.against_smodels`. {result['machine']}.",
        "",
        "CPU milliseconds on one core, median (smallest to largest). jaxlik gives K with yields,",
        "likelihoods, critic and combination; SModelS its predictions, then also the likelihood",
        "of every region.",
        "",
        "| model | SModelS predictions | with likelihoods | jaxlik, one model | in a batch of "
        f"{result['batch']} | gain, one model | gain, batch | value + gradient / value |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in result["jaxlik"].items():
        single, batch = middle(own["single"]), middle(own["batch"])
        gradient = f"{middle(own['gradient']) / single:.2f}"
        peer = result["smodels"].get(name) if result["smodels"] else None
        if peer:
            likelihoods = middle(peer["likelihoods"])
            predictions = middle(peer["predictions"])
            gains = (
                f"{predictions / single:.0f} / {likelihoods / single:.0f}",
                f"{predictions / batch:.0f} / {likelihoods / batch:.0f}",
            )
            theirs = (spread(peer["predictions"]), spread(peer["likelihoods"]))
        else:
            gains, theirs = ("not run", "not run"), ("not run", "not run")
        lines.append(
            f"| {name} | {theirs[0]} | {theirs[1]} | {spread(own['single'])} | "
            f"{spread(own['batch'])} | {gains[0]} | {gains[1]} | {gradient} |"
        )
    lines += ["", "Gains: over the predictions alone / with the likelihoods.", ""]
    lines += [
        "| model | K | compile, one model [s] | gradient [s] | batch [s] |",
        "|---|---|---|---|---|",
    ]
    for name, own in result["jaxlik"].items():
        lines.append(
            f"| {name} | {own['K']:.3f} | {own['compile_s']:.1f} | "
            f"{own['compile_gradient_s']:.1f} | {own['compile_batch_s']:.1f} |"
        )
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="SModelS text database; none: jaxlik only")
    parser.add_argument(
        "--snapshot", default=None, help="compiled snapshot; by default made from --text"
    )
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    if options.text is None and options.snapshot is None:
        parser.error("give --text, --snapshot or both")
    one_core()
    compile_short()
    enable_x64()
    source = options.snapshot or options.text
    snapshot = open_snapshot(Path(source)) if options.snapshot else load_database(source)
    engine, _ = build_engine(snapshot)
    points = {name: model_point(engine.space, masses) for name, masses in MODELS.items()}
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, jax {jax.__version__}, database {snapshot.version}, "
        f"{time.strftime('%Y-%m-%d')}",
        "batch": options.batch,
        "jaxlik": {name: time_jaxlik(engine, p, options.batch) for name, p in points.items()},
        "smodels": time_smodels(options.text, engine.space, engine, points) if options.text else {},
    }
    result["max_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report = table(result)
    sys.stdout.write(report)
    if options.output:
        options.output.write_text(report)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
