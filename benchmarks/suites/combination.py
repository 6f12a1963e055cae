"""The best combination of N candidates: exact solvers on the host, and the compiled table.

Three families of compatibility: the results of the embedded database, all their signal regions
(regions of one result exclude each other), and random matrices. Weights are positive multiples
of `benchmarks.overlaps.UNIT`, so that the sums of all programs can be compared exactly; a peer
that finds another best weight is reported as failed.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import (
    FAILED,
    MISSING,
    Contender,
    Maker,
    Options,
    Row,
    measured_rows,
    missing_row,
)
from benchmarks.kernel_peers import EXTRA
from jaxlik.combination.cliques import CliqueTable, best_cliques, make_clique_table
from jaxlik.combination.overlap import Candidate, Overlap, overlap_of
from jaxlik.combination.selection import best_combination
from jaxlik.database.compile import open_embedded
from jaxlik.interop.optional import require

SUITE = "combination"

DRAWS = 3
"""Matrices, or vectors of weights, that one call solves."""

MOST_LISTED = 50
"""Candidates for which igraph is asked: it lists all cliques, in C, where nothing stops it."""

MOST_QUICK = 300
"""Candidates for which peers are asked in a quick run: later they take minutes."""

BATCHES, BATCHES_QUICK = (1, 100, 10_000), (1, 1000)
"""Vectors of weights that one call of the compiled table solves."""

Solver = Callable[[np.ndarray, np.ndarray], float]


class Problem(NamedTuple):
    """Compatibility and weights.

    Attributes:
        compatible: Pairs that may be combined.
        weights: Of the candidates.
    """

    compatible: np.ndarray
    weights: np.ndarray


class Family(NamedTuple):
    """Problems of one kind.

    Attributes:
        name: For tables.
        sizes: Numbers of candidates.
        sizes_quick: The same of a quick run.
        draw: A problem of some size.
    """

    name: str
    sizes: tuple[int, ...]
    sizes_quick: tuple[int, ...]
    draw: Callable[[np.random.Generator, int], Problem]


def measure(options: Options) -> Iterator[Row]:
    """Host solvers over N, then batches of the compiled table."""
    for family in families():
        for size in family.sizes_quick if options.quick else family.sizes:
            yield from host_rows(family, size, options)
    yield from table_rows(options)


def families() -> tuple[Family, ...]:
    """Kinds of problems, smallest first."""
    return (
        Family("results of the database", (10, 20, 40, 60), (10, 40), drawn_results),
        Family("signal regions of the database", (10, 30, 100, 300, 1000), (10, 100, 1000),
               drawn_regions),
        Family("random, 30 % of pairs combinable", (10, 20, 50, 100, 150), (10, 50, 100),
               partial(drawn_randomly, 0.3)),
        Family("random, 5 % of pairs combinable", (300, 1000), (300,),
               partial(drawn_randomly, 0.05)),
    )  # fmt: skip


def embedded_candidates() -> tuple[list[Candidate], list[int]]:
    """Results with counts of the embedded database, and how many signal regions each has."""
    results = [result for result in open_embedded().results if result.counting is not None]
    candidates, regions = [], []
    for result in results:
        where = result.provenance
        candidates.append(Candidate(where.analysis, where.experiment, where.sqrts))
        regions.append(len(result.counting.region_ids) if result.counting else 0)
    return candidates, regions


def drawn_weights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Positive multiples of a unit."""
    from benchmarks.overlaps import UNIT  # networkx is not always installed

    return rng.integers(1, 1 << 20, size) * UNIT


def drawn_results(rng: np.random.Generator, size: int) -> Problem:
    """Some results of the embedded database."""
    candidates, _ = embedded_candidates()
    chosen = rng.choice(len(candidates), min(size, len(candidates)), replace=False)
    overlap = overlap_of([candidates[i] for i in chosen])
    return Problem(np.asarray(overlap.compatible), drawn_weights(rng, len(chosen)))


def drawn_regions(rng: np.random.Generator, size: int) -> Problem:
    """Some signal regions of the embedded database; those of one result exclude each other."""
    candidates, regions = embedded_candidates()
    each = np.repeat(np.arange(len(candidates)), regions)
    chosen = rng.choice(len(each), min(size, len(each)), replace=False)
    results = np.asarray(overlap_of(candidates).compatible)
    owner = each[chosen]
    return Problem(results[np.ix_(owner, owner)], drawn_weights(rng, len(chosen)))


def drawn_randomly(fraction: float, rng: np.random.Generator, size: int) -> Problem:
    """Each pair with the same probability."""
    upper = np.triu(rng.random((size, size)) < fraction, 1)
    return Problem(upper | upper.T, drawn_weights(rng, size))


def host_rows(family: Family, size: int, options: Options) -> Iterator[Row]:
    """One size of one family."""
    case = f"host, {family.name}"
    try:
        require("networkx", extra=EXTRA)
    except ImportError:
        yield missing_row(SUITE, case, "networkx", EXTRA)
        return
    rng = np.random.default_rng([options.seed, size])
    problems = [family.draw(rng, size) for _ in range(DRAWS)]
    solvers, note = peer_solvers(), ""
    if options.quick and size > MOST_QUICK:
        solvers, note = {}, "peers are asked in full runs"
    elif size > MOST_LISTED:
        solvers.pop("igraph")
    ours = _every(by_jaxlik, problems)
    best = [by_jaxlik(*problem) for problem in problems]
    peers = {name: _checked(name, make, problems, best) for name, make in solvers.items()}
    size = len(problems[0].weights)
    yield from measured_rows(SUITE, case, ours, peers, options, size=size, note=note)


def _every(solve: Solver, problems: list[Problem]) -> Contender:
    """Each call solves all problems: no one gets the easy ones."""
    return Contender(lambda: [solve(*one) for one in problems], len(problems), compiles=False)


def _checked(
    name: str, make: Callable[[], Solver], problems: list[Problem], best: list[float]
) -> Maker:
    """A peer that has found the best weight of the first problem."""

    def prepared() -> Contender:
        solve = make()
        found = solve(*problems[0])
        if found != best[0]:
            raise ValueError(f"{name} finds the weight {found}, jaxlik {best[0]}")
        return _every(solve, problems)

    return prepared


def by_jaxlik(compatible: np.ndarray, weights: np.ndarray) -> float:
    """Weight of the best combination."""
    names = tuple(map(str, range(len(weights))))
    members = best_combination(Overlap(compatible, names), weights, min_members=0)
    return float(weights[members].sum())


def peer_solvers() -> dict[str, Callable[[], Solver]]:
    """Other exact solvers; each is prepared, or says that it is missing."""
    return {"networkx": _networkx, "igraph": _igraph, "PathFinder": _pathfinder}


def _networkx() -> Solver:
    require("networkx", extra=EXTRA)
    from benchmarks.overlaps import by_networkx

    return by_networkx


def _igraph() -> Solver:
    igraph = require("igraph", extra=EXTRA)

    def solve(compatible: np.ndarray, weights: np.ndarray) -> float:
        """The best of all maximal cliques: igraph weighs none in Python."""
        pairs = np.argwhere(np.triu(compatible)).tolist()
        graph = igraph.Graph(n=len(weights), edges=pairs)
        return max(float(weights[list(clique)].sum()) for clique in graph.maximal_cliques())

    return solve


def _pathfinder() -> Solver:
    from benchmarks.overlaps import by_pathfinder, pathfinder
    from jaxlik.errors import MissingPackageError

    module = pathfinder()
    if module is None:
        raise MissingPackageError(
            "PathFinder is not installed, and no extra can install it: it is not on PyPI, where "
            "that name is another program; see benchmarks/overlaps.py"
        )
    return by_pathfinder(module)


@jax.jit
def solved(table: CliqueTable, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Best sums and members for many vectors of weights, all candidates live."""
    live = jnp.ones(weights.shape[1], dtype=bool)

    def one(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = best_cliques(table, live, row[None], min_members=0)
        return found.value[0], found.members[0]

    return jax.lax.map(one, weights, batch_size=min(256, weights.shape[0]))


def table_rows(options: Options) -> Iterator[Row]:
    """All results of the database at once, many weights in one program."""
    candidates, _ = embedded_candidates()
    overlap = overlap_of(candidates)
    table = make_clique_table(overlap)
    compatible, count = np.asarray(overlap.compatible), len(candidates)
    case = f"compiled table, {count} results of the database, batches of weights"
    peers: dict[str, Any] = {"networkx": _networkx}
    for size in BATCHES_QUICK if options.quick else BATCHES:
        rng = np.random.default_rng([options.seed, size])
        weights = np.stack([drawn_weights(rng, count) for _ in range(size)])
        problems = [Problem(compatible, row) for row in weights[:DRAWS]]
        best = [by_jaxlik(*problem) for problem in problems]
        batch = jnp.asarray(weights)
        if not np.array_equal(np.asarray(solved(table, batch)[0][: len(best)]), best):
            raise AssertionError("the compiled table and the host disagree about the best weight")
        ours = Contender(partial(solved, table, batch), units=size)
        asked = {name: _checked(name, make, problems, best) for name, make in peers.items()}
        found = measured_rows(SUITE, case, ours, asked, options, size=size, unit="per s")
        if any(row.unit in (FAILED, MISSING) for row in found):
            peers = {}
        yield from found
