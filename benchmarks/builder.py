"""Evaluations that building up from simple models takes to reach the best of a random walk.

    python -m benchmarks.builder DATABASE --json results.jsonl [--seeds 10] [--yields exact]

A seed is one random walk without gradients and without simple models, and one search that
builds up first. Evaluations with a gradient count as one. Results are appended to the file,
and seeds it holds are not repeated; the table is printed at the end.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.database.compile import load_database
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.engine import Engine
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.config import SearchConfig
from jaxlik.fit.labels import Labels
from jaxlik.fit.runtime import prepare
from jaxlik.physics.particles import particle
from walkers import run as walk
from walkers.grow import grown_state


def content_text(engine: Engine, state: Any) -> str:
    """Particles of the best model."""
    active = np.asarray(walk.best_point(state).active)
    return " ".join(
        particle(pid).name for pid, on in zip(engine.space.pdg_ids, active, strict=True) if on
    )


def random_walk(engine: Engine, config: SearchConfig) -> dict[str, Any]:
    """Best K of a walk from nothing, after each step."""
    started = time.perf_counter()
    state = walk.search(engine, replace(config, gradient_every=0))
    best = np.asarray(state.history.best)
    return {
        "K": float(best[-1]),
        "evaluations": config.walkers * config.steps,
        "seconds": round(time.perf_counter() - started, 1),
        "content": content_text(engine, state),
        "history": [round(float(k), 3) for k in best[::25]],
    }


def built_up(engine: Engine, config: SearchConfig, wanted: float) -> dict[str, Any]:
    """Evaluations until the wanted K is reached, and the K at the end of all steps."""
    started = time.perf_counter()
    curve: list[tuple[int, float]] = []
    state = grown_state(engine, config, report=lambda n, k: curve.append((n, k)))
    spent, grown = curve[-1]
    state = walk.search(engine, config, state=state)
    for step, best in enumerate(np.asarray(state.history.best), 1):
        spent += config.walkers
        if config.gradient_every and step % config.gradient_every == 0:
            spent += config.walkers * (config.gradient_steps + 1)
        curve.append((spent, float(best)))
    reached = [n for n, k in curve if k >= wanted]
    return {
        "K": float(curve[-1][1]),
        "K_grown": grown,
        "reached": reached[0] if reached else None,
        "evaluations": spent,
        "seconds": round(time.perf_counter() - started, 1),
        "content": content_text(engine, state),
        "curve": [(n, round(k, 3)) for n, k in curve[:: max(1, len(curve) // 40)]],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| seed | walk: best K | content | built up: evaluations to that K | share | K at the end "
        "| content |",
        "|---|---|---|---|---|---|---|",
    ]
    shares = []
    for row in rows:
        one, other = row["walk"], row["built"]
        share = other["reached"] / one["evaluations"] if other["reached"] else np.inf
        shares.append(share)
        text = f"1/{1 / share:.0f}" if np.isfinite(share) else "not reached"
        lines.append(
            f"| {row['seed']} | {one['K']:.2f} | {one['content']} | {other['reached']} | {text} | "
            f"{other['K']:.2f} ({other['evaluations']}) | {other['content']} |"
        )
    lines += ["", f"Median share: 1/{1 / np.median(shares):.0f}."]
    return "\n".join(lines)


def engine_of(database: str, yields: str) -> tuple[Engine, Labels]:
    """The engine of a database, with exact or learned yields."""
    snapshot = load_database(database)
    surrogate = open_surrogate(shipped_surrogate()) if yields == "networks" else None
    return build_engine(snapshot, surrogate=surrogate)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000, help="of the random walk")
    parser.add_argument("--after", type=int, default=40, help="steps after building up")
    parser.add_argument("--yields", choices=("exact", "networks"), default="exact")
    options = parser.parse_args(arguments)
    prepare(quiet=True, verbose=False)
    lines = options.json.read_text().splitlines() if options.json.is_file() else []
    rows = [row for row in map(json.loads, lines) if row["yields"] == options.yields]
    engine, _ = engine_of(options.database, options.yields)
    for seed in range(options.seeds):
        if any(row["seed"] == seed for row in rows):
            continue
        first = random_walk(engine, SearchConfig(seed=seed, steps=options.steps))
        other = built_up(engine, SearchConfig(seed=seed, steps=options.after), first["K"])
        row = {"yields": options.yields, "seed": seed, "walk": first, "built": other}
        rows.append(row)
        with options.json.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"seed {seed}: walk {first['K']:.2f}, built up {other['K']:.2f}", flush=True)
    print(table(sorted(rows, key=lambda row: row["seed"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
