"""Yields of all regions for a batch of models: networks, exact interpolation, SModelS.

    python -m benchmarks.yields DATABASE [--text FOLDER] [--batch 10000] [--output FILE]

Both kinds of yields of jaxlik run in this process on the same device, value and gradient
(of one weighted sum of events in all masses); compile time is apart. SModelS (with --text)
decomposes and predicts, without likelihoods, one model at a time. Without --text it is
left out. The same script runs on a GPU.
"""

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.against_smodels import middle, one_core, time_smodels
from benchmarks.example_models import MODELS, batch_of, model_point
from jaxlik.compilation import compile_short
from jaxlik.database.compile import load_database
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.engine import Engine
from jaxlik.errors import Status
from jaxlik.fit.assemble import build_engine
from jaxlik.physics.kinematics import normalise_branching_ratios
from jaxlik.physics.model import ModelPoint
from jaxlik.precision import enable_x64
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.compression import Gaps
from jaxlik.yields.networks import hidden_layer
from jaxlik.yields.neural import NeuralYields

REPEATS = 5
VECTORS = (("CMS-SUS-19-006-agg", "T2"), ("ATLAS-SUSY-2016-07-eff", "T5WW"))
ROWS = 20_000


def signals(engine: Engine, point: ModelPoint):
    """Everything the yields of an engine say of one model."""
    decays = normalise_branching_ratios(engine.space, point).point
    return engine.yields(
        decays.masses,
        decays.branching_ratios,
        engine.reference_production(point),
        gaps=Gaps(engine.settings.mass_gap, engine.settings.mass_gap_unseen),
        minimum_weight=engine.settings.minimum_weight,
        buckets=engine.buckets,
    )


@eqx.filter_jit
def events(engine: Engine, points: ModelPoint, chunk: int):
    """Events of all regions of a batch."""
    return jax.lax.map(lambda p: signals(engine, p).events, points, batch_size=chunk)


@eqx.filter_jit
def needs(engine: Engine, points: ModelPoint, chunk: int):
    """Status and bucket needs of a batch."""

    def one(point: ModelPoint):
        found = signals(engine, point)
        return found.status, found.demand

    return jax.lax.map(one, points, batch_size=chunk)


@eqx.filter_jit
def slopes(engine: Engine, points: ModelPoint, weights: jax.Array, chunk: int):
    """A weighted sum of events and its gradient in all masses, of a batch."""

    def one(point: ModelPoint):
        def total(masses: jax.Array) -> jax.Array:
            moved = eqx.tree_at(lambda p: p.masses, point, masses)
            return jnp.sum(signals(engine, moved).events * weights)

        return jax.value_and_grad(total)(point.masses)

    return jax.lax.map(one, points, batch_size=chunk)


def fitted(engine: Engine, points: ModelPoint, chunk: int) -> Engine:
    """The engine with tables as large as the batch needs."""
    wanted = engine.buckets
    while True:
        status, demand = needs(_sized(engine, wanted), points, chunk)
        largest = np.asarray(demand).max(axis=0)
        if bool((status == Status.success).all()):
            return _sized(engine, Buckets(*(max(2, -(-int(n) // 8) * 8) for n in largest)))
        wanted = wanted.holding(largest.tolist())


def _sized(engine: Engine, buckets: Buckets) -> Engine:
    return dataclasses.replace(engine, buckets=buckets)


def seconds(function: Callable[[], Any]) -> dict[str, Any]:
    """First call, and wall seconds of further ones."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    first = time.perf_counter() - start
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function())
        found.append(time.perf_counter() - start)
    return {"first": first, "times": sorted(found)}


def vectors_per_second(engine: Engine) -> dict[str, dict[str, float]]:
    """Efficiency vectors (all regions of one topology) per second, value and gradient."""
    yields = engine.yields
    assert isinstance(yields, NeuralYields)
    surrogate = open_surrogate(shipped_surrogate())
    rng = np.random.default_rng(0)
    result = {}
    for folder, txname in VECTORS:
        heads = [n for key, n in surrogate.heads.items() if key[:2] == (folder, txname)]
        domain = int(surrogate.arrays["head.domain"][heads[0]])
        dimension = int(yields.domains.dimension[domain])
        points = np.zeros((ROWS, 3))
        points[:, :dimension] = rng.uniform(-300, 300, (ROWS, dimension))
        chosen = jnp.asarray(heads)

        @jax.jit
        def values(points, domain=domain, chosen=chosen):
            hidden = hidden_layer(yields.stack, jnp.full(ROWS, domain), points)
            raw = hidden @ yields.heads.weight[chosen].T + yields.heads.bias[chosen][None]
            return jax.nn.softplus(raw)

        gradient = jax.jit(jax.grad(lambda p, values=values: jnp.sum(values(p))))
        place = jnp.asarray(points)
        times = [seconds(lambda f=f, p=place: f(p))["times"] for f in (values, gradient)]
        result[f"{folder}:{txname}"] = {
            "regions": len(heads),
            "vectors_per_second": ROWS / times[0][len(times[0]) // 2],
            "gradient_over_value": times[1][REPEATS // 2] / times[0][REPEATS // 2],
        }
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    snapshot = load_database(options.database)
    exact, _ = build_engine(snapshot)
    learned, _ = build_engine(snapshot, surrogate=open_surrogate(shipped_surrogate()))
    device = jax.devices()[0]
    result: dict[str, Any] = {
        "device": f"{device.device_kind} ({device.platform})",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, "
        f"jax {jax.__version__}, database {snapshot.version}",
        "batch": options.batch,
        "models": {},
        "vectors": vectors_per_second(learned),
    }
    points = {name: model_point(exact.space, masses) for name, masses in MODELS.items()}
    weights = jnp.asarray(np.random.default_rng(1).uniform(size=len(exact.regions.observed)))
    for name, point in points.items():
        batch = batch_of(point, exact.space, options.batch)
        few = jax.tree.map(lambda leaf: leaf[:2000], batch)
        row: dict[str, Any] = {}
        for kind, engine, chunk in (
            ("exact", exact, options.chunk_exact),
            ("networks", learned, options.chunk_networks),
        ):
            sized = fitted(engine, few, chunk)
            row[kind] = {
                "buckets": sized.buckets._asdict(),
                "value": seconds(lambda e=sized, c=chunk, b=batch: events(e, b, c)),
                "gradient": seconds(lambda e=sized, c=chunk, b=batch: slopes(e, b, weights, c)),
            }
        result["models"][name] = row
    if options.text:
        result["smodels"] = time_smodels(options.text, exact.space, exact, points)
    return result


def report(result: dict[str, Any]) -> str:
    """The page as Markdown."""
    batch = result["batch"]
    lines = [
        "# Yields of all regions: networks, interpolation, SModelS",
        "",
        "Made by `python -m benchmarks.yields`. " + f"{result['device']}, {result['machine']}.",
        "",
        f"Microseconds per model in a batch of {batch} (wall time; on a CPU one core), median",
        "(smallest to largest of 5). SModelS: decomposition and predictions of all regions, one",
        "model at a time, no likelihoods.",
        "",
        "| model | SModelS | exact | networks | exact, with gradient | networks, with gradient "
        "| networks over exact: value, gradient | networks over SModelS |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["models"].items():
        cell = {
            (kind, what): [t / batch * 1e6 for t in row[kind][what]["times"]]
            for kind in ("exact", "networks")
            for what in ("value", "gradient")
        }
        peer = result.get("smodels", {}).get(name)
        theirs = middle(peer["predictions"]) * 1e6 if peer else None
        mine = _middle(cell["networks", "value"])
        gains = [
            f"{_middle(cell['exact', what]) / _middle(cell['networks', what]):.2f}"
            for what in ("value", "gradient")
        ]
        lines.append(
            f"| {name} | {'not run' if theirs is None else f'{theirs:.3g}'} | "
            + " | ".join(
                _spread(cell[kind, what])
                for what in ("value", "gradient")
                for kind in ("exact", "networks")
            )
            + f" | {', '.join(gains)} | "
            + ("-" if theirs is None else f"{theirs / mine:.0f}")
            + " |"
        )
    lines += [
        "",
        "First call, compilation included [s]: "
        + "; ".join(
            f"{name}: exact {row['exact']['value']['first']:.1f}, networks "
            f"{row['networks']['value']['first']:.1f}"
            for name, row in result["models"].items()
        )
        + ".",
        "",
        "Networks alone, one vector being all regions of a topology at one point:",
        "",
        "| topology | regions | vectors per second | gradient over value |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['regions']} | {row['vectors_per_second']:.3g} "
        f"| {row['gradient_over_value']:.2f} |"
        for name, row in result["vectors"].items()
    ]
    lines += [
        "",
        "Where maps have two dimensions and few topologies are live, interpolation is faster on a",
        "CPU than three layers of 48 units. With many topologies, three dimensions or points off",
        "the plane of a grid (electroweak) networks are, as the walk through simplices and",
        "SModelS's estimate for projections fall away.",
    ]
    return "\n".join(lines) + "\n"


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _spread(values: list[float]) -> str:
    return f"{_middle(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--text", type=Path, help="SModelS text database, to time SModelS too")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--chunk-exact", type=int, default=8)
    parser.add_argument("--chunk-networks", type=int, default=64)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    one_core()
    compile_short()
    enable_x64()
    result = run(options)
    text = report(result)
    sys.stdout.write(text)
    if options.output:
        options.output.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
