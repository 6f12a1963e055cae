"""Compilation of the embedded engine, with the flags of commands, of tests, and without.

    python -m benchmarks.compilation [--json FILE]

Each case runs in a process of its own, in turn, so that none finds the other's work.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jaxlik.compilation import SHORT_COMPILATION, SHORTEST_COMPILATION, compile_short

BATCH = 10
REPEATS = 30

CASES = {"default": (), "short": SHORT_COMPILATION, "shortest": SHORTEST_COMPILATION}
"""Flags by name."""


def measure(flags: Sequence[str]) -> dict[str, float]:
    """Seconds to compile a batch of models, and milliseconds to evaluate it (median)."""
    if flags and not compile_short(flags):
        raise SystemExit("this release of JAX is not known to accept the flags")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    from jaxlik.database.compile import load_database
    from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
    from jaxlik.fit.assemble import build_engine
    from jaxlik.physics.model import point_from_dict

    networks = open_surrogate(shipped_surrogate())
    engine, _ = build_engine(load_database("embedded"), surrogate=networks)
    masses = {1000022: 163.0, 1000001: 735.0, 1000006: 1166.0}
    decays = {1000001: {(1000022, 1): 1.0}, 1000006: {(1000022, 6): 1.0}}
    point = point_from_dict(engine.space, {"masses": masses, "branching_ratios": decays})
    points = jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH), point)
    lowered = jax.jit(lambda e, p: jax.vmap(e.evaluate)(p).score).lower(engine, points)
    start = time.perf_counter()
    run = lowered.compile()
    compile_s = time.perf_counter() - start
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(engine, points).block_until_ready()
        times.append(time.perf_counter() - start)
    return {"compile_s": compile_s, "batch_ms": 1e3 * sorted(times)[REPEATS // 2]}


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        sys.stdout.write(json.dumps(measure(CASES[options.case])))
        return 0
    found = {}
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.compilation", "--case", case]
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[case] = json.loads(done.stdout)
    for case, entry in found.items():
        seconds, batch = entry["compile_s"], entry["batch_ms"]
        sys.stdout.write(f"{case:8} compile {seconds:.1f} s, {BATCH} models {batch:.1f} ms\n")
    for case in list(CASES)[1:]:
        ratios = {name: found[case][name] / found["default"][name] for name in found[case]}
        sys.stdout.write(f"{case} / default: compile {ratios['compile_s']:.2f}, ")
        sys.stdout.write(f"run {ratios['batch_ms']:.2f}\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
