"""The best combination of regions by several programs: equal weights, and how long it takes.

    python -m benchmarks.overlaps [--instances N] [--output FILE]

Random matrices of combinable pairs, each pair with the same probability, and positive random
weights. Peers are PathFinder's weighted hereditary depth-first search (arXiv:2209.00025,
https://github.com/J-Yellen/PathFinder), if that package is installed, and the maximum-weight
clique of networkx. On PyPI the name `pathfinder` is another program; PathFinder comes from
its repository. Wall time of one call each, with its preparation, on one core.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import networkx as nx
import numpy as np

from jaxlik.combination.overlap import Overlap
from jaxlik.combination.selection import best_combination

CASES = (
    (0.3, 20),
    (0.3, 50),
    (0.3, 100),
    (0.3, 150),
    (0.5, 20),
    (0.5, 50),
    (0.5, 100),
    (0.7, 20),
    (0.7, 50),
    (0.7, 80),
)
"""Fraction of combinable pairs and number of regions."""

UNIT = 1 / 1024
"""Weights are multiples of it: their sums are exact in every program."""

Solver = Callable[[np.ndarray, np.ndarray], float]


def pathfinder() -> ModuleType | None:
    """PathFinder, if it and not its namesake is installed."""
    try:
        module = import_module("pathfinder")
    except ImportError:
        return None
    return module if hasattr(module, "WHDFS") else None


def by_jaxlik(compatible: np.ndarray, weights: np.ndarray) -> float:
    """Weight of the best combination, from jaxlik."""
    names = tuple(map(str, range(len(weights))))
    members = best_combination(Overlap(compatible, names), weights, min_members=0)
    return float(weights[members].sum())


def by_networkx(compatible: np.ndarray, weights: np.ndarray) -> float:
    """Weight of the best combination, from networkx, which wants whole numbers."""
    graph = nx.Graph()
    graph.add_nodes_from((i, {"weight": round(w / UNIT)}) for i, w in enumerate(weights))
    graph.add_edges_from((int(i), int(j)) for i, j in np.argwhere(np.triu(compatible)))
    return nx.max_weight_clique(graph)[1] * UNIT


def by_pathfinder(module: ModuleType) -> Solver:
    """Weight of the best combination, from PathFinder."""

    def solve(compatible: np.ndarray, weights: np.ndarray) -> float:
        search = module.WHDFS(module.BinaryAcceptance(compatible, weights=weights), top=1)
        search.find_paths()
        return float(search.get_weights[0])

    return solve


def measure(fraction: float, size: int, instances: int, solvers: dict[str, Solver]) -> list[str]:
    """Cells of one row: median milliseconds and ratios to jaxlik of each program."""
    rng = np.random.default_rng([size, round(100 * fraction)])
    times: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(instances):
        upper = np.triu(rng.random((size, size)) < fraction, 1)
        weights = rng.integers(1, 1 << 20, size) * UNIT
        found = {}
        for name, solve in solvers.items():
            start = time.perf_counter()
            found[name] = solve(upper | upper.T, weights)
            times[name].append(1e3 * (time.perf_counter() - start))
        if len(set(found.values())) != 1:
            raise AssertionError(f"best weights differ at {size} regions: {found}")
    cells = [f"{fraction:g}", f"{size}"]
    for name, taken in times.items():
        cells.append(f"{statistics.median(taken):.3g}")
        if name != "jaxlik":
            ratios = sorted(a / b for a, b in zip(taken, times["jaxlik"], strict=True))
            cells.append(f"{statistics.median(ratios):.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g})")
    return cells


def table(instances: int) -> str:
    """The table of this benchmark and what it was made with."""
    solvers: dict[str, Solver] = {"jaxlik": by_jaxlik, "networkx": by_networkx}
    module = pathfinder()
    if module is not None:
        solvers["PathFinder"] = by_pathfinder(module)
    heads = ["combinable pairs", "regions"]
    for name in solvers:
        heads += [f"{name} [ms]"] + ([f"{name} / jaxlik"] if name != "jaxlik" else [])
    by_jaxlik(np.zeros((2, 2), dtype=bool), np.ones(2))
    rows = [measure(*case, instances, solvers) for case in CASES]
    state = "WHDFS, top=1" if module is not None else "not installed (it is not on PyPI), left out"
    return "\n".join(
        [
            f"{platform.machine()}, one core, Python {platform.python_version()}, numpy "
            f"{np.__version__}, networkx {nx.__version__}, PathFinder: {state}; "
            f"{time.strftime('%Y-%m-%d')}. Medians of {instances} matrices each; ratios of times "
            f"with the smallest and the largest. Best weights equal in all {instances * len(rows)} "
            "matrices.",
            "",
            *("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows]),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    text = table(given.instances)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
