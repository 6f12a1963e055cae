"""Full protomodel scores: K, and K with its gradient, of batches of models.

A score is everything from masses, branching ratios and signal strengths to K: cross sections,
topologies, yields of all regions, all likelihoods, critic, best combination. A batch is cut into
chunks, each a call of one compiled program, that follow each other without waiting.

What limits a device: a chunk holds intermediate tables of all its models at once, of which XLA
tells the size (rows in ``bytes of temporary memory``), so that memory bounds the chunk; short
chunks leave a device waiting for launches, since a score is many small kernels one after the
other. XLA also tells the bytes that a model reads and writes (rows in ``bytes``): the gathers in
maps and in heads of networks, and the sums over tables of cliques. At 4.8 TB/s a million scores
per second are at most 4.8 MB for each. Loops (the search for simplices, fits) end for all models
of a chunk when they end for the last one.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.across_devices import all_devices, on_all_devices, spread_over
from benchmarks.batches import (
    YIELDS,
    Case,
    case_of,
    chunk_sizes,
    chunks,
    guarded,
    peak_memory,
    single,
)
from benchmarks.example_models import mixed_models, score_and_gradient
from benchmarks.harness import (
    MISSING,
    OURS,
    Contender,
    Options,
    Row,
    Spread,
    failed_row,
    rows_of,
    side_by_side,
    spread,
)
from jaxlik.engine import Engine
from jaxlik.errors import JaxlikError
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool
from walkers.target import evaluate_chunk

SUITE = "scores"

SIZES = {
    ("cpu", True): (1, 64, 300),
    ("cpu", False): (1, 10, 100, 1000, 10_000),
    ("gpu", True): (1, 65_536),
    ("gpu", False): (1, 1024, 65_536, 1_048_576),
}
"""Models of a batch, by device and whether the run is a quick one."""

PEER_BATCH = 100
"""Models of a batch beside SModelS, which needs seconds for each."""

PEER_SECONDS = 3600

Task = Callable[[], Any]


def measure(options: Options) -> Iterator[Row]:
    """All rows of the suite."""
    for yields in YIELDS:
        try:
            case = case_of(options.database, yields)
        except JaxlikError as error:
            yield failed_row(SUITE, f"score, {yields} yields", OURS, str(error))
            continue
        for chunk in chunk_sizes(options):
            for kind in kinds_of(options, yields):
                yield from guarded(
                    SUITE, f"{kind}, {yields} yields", _batches(options, case, kind, chunk)
                )
        if not options.quick:
            yield from guarded(SUITE, f"program, {yields} yields", _program(options, case))
    yield from guarded(SUITE, "one model beside SModelS", _peer(options))


@eqx.filter_jit
def slopes_chunk(engine: Engine, points: ModelPoint) -> tuple[Array, tuple[Array, ...]]:
    """K of a few models, and its slopes in masses, branching ratios and signal strengths."""
    function = eqx.Partial(score_and_gradient, engine)
    if jax.device_count() > 1:
        return spread_over(all_devices(), function, points)
    return jax.vmap(function)(points)


def kinds_of(options: Options, yields: str) -> tuple[str, ...]:
    """What is asked of each kind of yields: a quick run has no time for every compilation."""
    if options.quick and yields != YIELDS[0]:
        return ("score",)
    return "score", "score and gradient"


def sizes_of(options: Options) -> tuple[int, ...]:
    """Models of each batch."""
    return SIZES[options.device, options.quick]


def _batches(options: Options, case: Case, kind: str, chunk: int) -> Iterator[Row]:
    """One row per size in seconds and one in scores per second; then the memory of all."""
    wanted = [size for size in sizes_of(options) if size == 1 or size >= chunk]
    if options.quick and case.yields != YIELDS[0]:
        wanted = wanted[1:]
    if kind != "score":
        # A gradient of one model is another long compilation, for what a chunk shows as well.
        wanted = [size for size in wanted if size > 1][: 1 if options.quick else None]
    name = f"{kind}, {case.yields} yields"
    if options.device == "gpu":
        name += f", chunk {chunk}"
    with peak_memory(options.device) as peak:
        for size in wanted:
            parts = chunks(mixed_models(case.engine.space, size), chunk)
            task = task_of(case, kind, parts)
            timings = side_by_side({OURS: Contender(task, size)}, options.rounds)
            note = f"{case.note}; {jax.device_count()} device(s), chunks of {min(size, chunk)}"
            if failed := too_large(case, parts[0]):
                note += f"; {failed:.0%} of the models do not fit into the tables"
            yield from rows_of(SUITE, name, timings, size=size, note=note)
            yield from rows_of(SUITE, name, timings, size=size, unit="per s", note=note)
    yield peak.row(SUITE, name, wanted[-1])


def task_of(case: Case, kind: str, parts: list[ModelPoint]) -> Task:
    """What scores the chunks of a batch: ``score``, or ``score and gradient``."""
    target, none = on_all_devices(case.target), nobody(case, parts[0])

    def values() -> list[Array]:
        return [evaluate_chunk(target, part, none).score for part in parts]

    def slopes() -> list[Any]:
        return [slopes_chunk(case.engine, part) for part in parts]

    return values if kind == "score" else slopes


def nobody(case: Case, part: ModelPoint) -> Bool[Array, "model candidate"]:
    """Nobody is excluded from the combinations of some models."""
    return jnp.zeros((part.masses.shape[0], case.target.num_candidates), dtype=bool)


def too_large(case: Case, part: ModelPoint) -> float:
    """Share of models that do not fit into the tables."""
    outcome = evaluate_chunk(on_all_devices(case.target), part, nobody(case, part))
    return float(np.mean(np.asarray(outcome.overflow)))


def _program(options: Options, case: Case) -> Iterator[Row]:
    """What XLA says about the program of a chunk: operations, bytes, memory of a model."""
    chunk = chunk_sizes(options)[0]
    (part,) = chunks(mixed_models(case.engine.space, chunk), chunk)
    target = on_all_devices(case.target)
    compiled = evaluate_chunk.lower(target, part, nobody(case, part)).compile().compiled
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    each = max(1, chunk // jax.device_count())
    note = f"{case.note}; chunks of {chunk}, by XLA, loops counted once"
    found = {
        "operations": cost.get("flops"),
        "bytes": cost.get("bytes accessed"),
        "bytes of temporary memory": memory and memory.temp_size_in_bytes,
    }
    for unit, value in found.items():
        if value is not None:
            name = f"program of a score, {case.yields} yields"
            yield Row(SUITE, name, chunk, unit, single(value / each), note=f"{note}; per model")


def _peer(options: Options) -> Iterator[Row]:
    """One model and a batch beside SModelS, in a process that has one core for both."""
    text = Path(options.database)
    command = "python -m benchmarks.against_smodels --text FOLDER"
    if options.quick or not (text / "version").is_file():
        reason = (
            f"needs minutes and a SModelS text database, unpacked: {command}, or a full run with "
            "--database FOLDER"
        )
        yield failed_row(SUITE, "one model beside SModelS", "SModelS", reason, unit=MISSING)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        words = ["--text", str(text.resolve()), "--batch", str(PEER_BATCH), "--json", str(path)]
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.against_smodels", *words],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            timeout=PEER_SECONDS,
            check=False,
        )
        if process.returncode:
            last = process.stderr.strip().splitlines()[-1:] or ["no message"]
            yield failed_row(SUITE, "one model beside SModelS", "SModelS", last[0])
            return
        yield from peer_rows(json.loads(path.read_text()))


def peer_rows(document: dict[str, Any]) -> Iterator[Row]:
    """Rows of what `benchmarks.against_smodels` writes: CPU seconds of one core."""
    for name, ours in document["jaxlik"].items():
        theirs = document["smodels"][name]
        for case, key, size in (("one model", "single", 1), ("batch", "batch", document["batch"])):
            value = _cpu(ours[key])
            compiled = ours["compile_s" if key == "single" else "compile_batch_s"]
            for what in ("predictions", "likelihoods"):
                peer = _cpu(theirs[what])
                yield Row(
                    SUITE,
                    f"score, exact yields, {case}: {name}",
                    size,
                    "s",
                    value,
                    compile_seconds=compiled,
                    peer=f"SModelS, {what}",
                    peer_value=peer,
                    ratio=peer.scaled(1 / value.median),
                    note="CPU time of one core; SModelS takes one model at a time",
                )


def _cpu(times: list[tuple[float, float]]) -> Spread:
    """CPU seconds of pairs of wall and CPU seconds."""
    return spread([cpu for _, cpu in times])
