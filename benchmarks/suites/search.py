"""Searches: steps of walkers per second, and the best K at fixed budgets."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.across_devices import on_all_devices
from benchmarks.batches import YIELDS, Case, case_of, chunk_sizes, guarded
from benchmarks.harness import MISSING, OURS, Options, Row, Spread, failed_row, rows_of, spread
from benchmarks.walks import SEARCHES, Curve, best_at, reached, step_timing
from jaxlik.errors import JaxlikError
from jaxlik.fit.config import SearchConfig

SUITE = "search"

PEER = "plain random walk"


class Plan(NamedTuple):
    """Sizes of a run.

    Attributes:
        walkers: Walkers of each case of the speed.
        block: Steps of a round.
        seeds: Searches of each kind.
        steps: Of walks from nothing.
        after: Steps after models were built up.
        budgets: Evaluations at which the best K is read off.
        searches: Kinds of searches, each of which compiles for a while.
    """

    walkers: tuple[int, ...]
    block: int
    seeds: int
    steps: int
    after: int
    budgets: tuple[int, ...]
    searches: tuple[str, ...] = tuple(SEARCHES)


QUICK = Plan((50,), 5, 2, 30, 5, (1500,), ("built up", PEER))
FULL = Plan((1, 10, 50, 256), 20, 5, 400, 40, (1500, 5000, 20_000))
GPU = Plan((256, 8192), 5, 5, 400, 40, (1500, 5000, 20_000))
"""Walkers that fill a chip; the best K with as many walkers as elsewhere."""

BLOCK = 5
"""Steps between two readings of the best K."""


def measure(options: Options) -> Iterator[Row]:
    """All rows of the suite."""
    plan = plan_of(options)
    for yields in YIELDS:
        try:
            case = case_of(options.database, yields)
        except JaxlikError as error:
            yield failed_row(SUITE, f"steps, {yields} yields", OURS, str(error))
            continue
        yield from guarded(SUITE, f"steps, {yields} yields", _speed(options, plan, case))
        if yields == YIELDS[0] or not options.quick:
            yield from guarded(SUITE, f"best K, {yields} yields", _quality(options, plan, case))


def plan_of(options: Options) -> Plan:
    """Sizes for a device."""
    if options.quick:
        return QUICK
    return GPU if options.device == "gpu" else FULL


def _speed(options: Options, plan: Plan, case: Case) -> Iterator[Row]:
    """Steps of a walker per second."""
    target = on_all_devices(case.target)
    for walkers in plan.walkers:
        timing = step_timing(target, walkers, plan.block, options.rounds, options.seed)
        note = f"{case.note}; chunks of {min(walkers, chunk_sizes(options)[0])}, no ascents"
        yield from rows_of(
            SUITE,
            f"steps of a walker, {case.yields} yields",
            {OURS: timing},
            size=walkers,
            unit="per s",
            note=note,
        )


def _quality(options: Options, plan: Plan, case: Case) -> Iterator[Row]:
    """Best K of three searches at fixed numbers of evaluations, over seeds."""
    target = on_all_devices(case.target)
    found: dict[str, list[Curve]] = {name: [] for name in plan.searches}
    for number in range(plan.seeds):
        for name in plan.searches:
            config = config_of(plan, name, options.seed + number)
            found[name].append(SEARCHES[name](target, config))
    yield from quality_rows(found, plan.budgets, f"{case.yields} yields", case.note)


def config_of(plan: Plan, name: str, seed: int) -> SearchConfig:
    """Of one search: shorter where models are built up first."""
    steps = plan.after if name == "built up" else plan.steps
    return SearchConfig(steps=steps, seed=seed, block=BLOCK)


def quality_rows(
    found: dict[str, list[Curve]], budgets: tuple[int, ...], what: str, note: str
) -> Iterator[Row]:
    """Best K at budgets, and what it takes to reach the best K of the random walk.

    Args:
        found: Curves of each kind of search, the same seeds in the same order.
        budgets: Evaluations.
        what: Goes into the name of the case.
        note: For the reader.
    """
    walks = found[PEER]
    many = f"{note}; {len(walks)} seeds"
    for name, curves in found.items():
        if name == PEER:
            continue
        for budget in budgets:
            ours, theirs = (_scores_at(some, budget) for some in (curves, walks))
            if ours is None or theirs is None:
                continue  # Simple models come first: there is no best one before all are scored.
            yield Row(
                SUITE, f"best K, {name}, {what}", budget, "K", ours,
                peer=PEER, peer_value=theirs, note=f"{many}; size: evaluations",
            )  # fmt: skip
        yield from _to_the_same(name, curves, walks, what, many)


def _scores_at(curves: list[Curve], budget: int) -> Spread | None:
    """Best K of seeds that have one by then; `None` if no seed has."""
    found = [best_at(curve, budget) for curve in curves]
    known = [score for score in found if np.isfinite(score)]
    return spread(known) if known else None


def _to_the_same(
    name: str, curves: list[Curve], walks: list[Curve], what: str, note: str
) -> Iterator[Row]:
    """Evaluations and seconds until the best K of the random walk of the same seed."""
    goals = [reached(walk, walk[-1].score) for walk in walks]
    met = [reached(curve, walk[-1].score) for curve, walk in zip(curves, walks, strict=True)]
    every = list(zip(met, goals, strict=True))
    pairs = [(one, goal) for one, goal in every if one and goal]
    note = f"{note}; reached by {len(pairs)} of {len(walks)}"
    case = f"to the best K of the walk, {name}, {what}"
    if not pairs:
        yield failed_row(SUITE, case, OURS, note, unit=MISSING)
        return
    # Of the first seed the seconds are those of compilation, too.
    timed = [(one, goal) for one, goal in every[1:] if one and goal]
    for unit, place, some in (("evaluations", 0, pairs), ("s", 1, timed)):
        if some:
            ours, theirs = ([one[place] for one in side] for side in zip(*some, strict=True))
            yield Row(
                SUITE, case, None, unit, spread(ours), peer=PEER, peer_value=spread(theirs),
                ratio=spread(np.divide(theirs, ours).tolist()), note=note,
            )  # fmt: skip
