"""Pseudo-databases per hour, and where their seconds go.

A pseudo-database is drawn, models are built up on it, and they walk, as
`python -m jaxlik.fit calibrate` does (`walkers.pseudo_search.search_one`). A full run has the
budget of that command, in this process and with a worker for every core.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.batches import guarded, peak_memory
from benchmarks.harness import Options, Row, spread
from jaxlik.calibration.universe import Multiverse
from jaxlik.fit.commands.calibrate import STEPS, CalibrateConfig, payloads_of
from jaxlik.fit.config import SearchConfig
from walkers import pseudo_search
from walkers.executors import Workers, open_executor
from walkers.farm import run_chunks
from walkers.pseudo_search import Campaign, search_one, search_pseudo_databases

SUITE = "pseudo_databases"

HOUR = 3600.0


class Plan(NamedTuple):
    """Sizes of a run.

    Attributes:
        databases: Pseudo-databases after the first, which compiles.
        steps: Of each walk after models are built up.
        each: Pseudo-databases of a task for workers; 0 for no workers.
        hypotheses: Simple models of each kind in the Bayes factor; 0 for none.
    """

    databases: int
    steps: int
    each: int
    hypotheses: int


QUICK = Plan(2, 5, 0, 0)
FULL = Plan(7, STEPS, 4, 1)


@dataclass
class Clock:
    """Seconds by what was done.

    Attributes:
        seconds: Sums since the last reset.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def listening(self, places: dict[str, list[tuple[Any, str]]]) -> Iterator[None]:
        """Time the calls of some functions.

        Args:
            places: Owners and names of functions, by what they do.
        """
        with ExitStack() as stack:
            for what, functions in places.items():
                for owner, name in functions:
                    timed = self._timed(what, getattr(owner, name))
                    stack.enter_context(patch.object(owner, name, timed))
            yield

    def _timed(self, what: str, function: Callable) -> Callable:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took = time.perf_counter() - start
                self.seconds[what] = self.seconds.get(what, 0.0) + took

        return timed


STAGES: dict[str, list[tuple[Any, str]]] = {
    "drawing": [(Multiverse, "data"), (Multiverse, "engine_of")],
    "building models": [(pseudo_search, "grown_state")],
    "walking": [(pseudo_search, "search")],
}
"""What a search of a pseudo-database spends its time in; the rest is its report."""

REST = "report and Bayes factor"


def measure(options: Options) -> Iterator[Row]:
    """All rows of the suite."""
    plan = QUICK if options.quick else FULL
    yield from guarded(SUITE, "one process", _one_process(options, plan))
    if plan.each:
        yield from guarded(SUITE, "worker processes", _workers(options, plan))


def campaign_of(options: Options, plan: Plan) -> Campaign:
    """As `python -m jaxlik.fit calibrate` makes it, but for the number of steps."""
    search = SearchConfig(steps=plan.steps, seed=options.seed)
    return Campaign(database=options.database, search=search, hypotheses=plan.hypotheses)


def _one_process(options: Options, plan: Plan) -> Iterator[Row]:
    campaign = campaign_of(options, plan)
    with peak_memory(options.device) as peak:
        start = time.perf_counter()
        search_one(campaign, 0)
        first = time.perf_counter() - start
        spent = [stages_of(campaign, 1 + number) for number in range(plan.databases)]
    yield from stage_rows(spent, plan.steps, campaign.search.walkers, first)
    yield peak.row(SUITE, "one process", plan.databases)


def stages_of(campaign: Campaign, index: int) -> dict[str, float]:
    """Seconds of one pseudo-database by stage, `REST` included."""
    clock = Clock()
    start = time.perf_counter()
    with clock.listening(STAGES):
        search_one(campaign, index)
    total = time.perf_counter() - start
    seconds = {stage: clock.seconds.get(stage, 0.0) for stage in STAGES}
    return seconds | {REST: total - sum(seconds.values())}


def stage_rows(
    spent: list[dict[str, float]], steps: int, walkers: int, first: float
) -> Iterator[Row]:
    """Rate, shares of stages, and seconds per step.

    Args:
        spent: Seconds by stage, for each pseudo-database.
        steps: Of a walk.
        walkers: That take them.
        first: Seconds of the first pseudo-database, preparation and compilation included.
    """
    totals = np.array([sum(one.values()) for one in spent])
    count = len(spent)
    budget = f"{walkers} walkers, {steps} steps after building up"
    compiled = max(0.0, first - float(np.median(totals)))
    yield Row(
        SUITE, "one process", count, "per hour", spread((HOUR / totals).tolist()),
        compile_seconds=compiled, note=f"{budget}; the default has {STEPS} steps",
    )  # fmt: skip
    for stage in spent[0]:
        seconds = np.array([one[stage] for one in spent])
        yield Row(SUITE, f"one process, {stage}", count, "s", spread(seconds.tolist()), note=budget)
        share = spread((seconds / totals).tolist())
        yield Row(SUITE, f"one process, {stage}", count, "share", share, note=budget)
    each = np.array([one["walking"] for one in spent]) / steps
    yield Row(
        SUITE, "one process, a step of all walkers", count, "s", spread(each.tolist()), note=budget
    )
    if steps != STEPS:
        default = (HOUR / (totals + (STEPS - steps) * each)).tolist()
        yield Row(
            SUITE, "one process, default budget", count, "per hour", spread(default),
            note=f"from the seconds of {steps} steps and of a step, not measured",
        )  # fmt: skip


def _workers(options: Options, plan: Plan) -> Iterator[Row]:
    """All cores: a worker for each, after every one of them has compiled."""
    cores = os.cpu_count() or 1
    config = CalibrateConfig(databases=2 * cores * plan.each, real=0, each=plan.each)
    payloads = payloads_of(config, asdict(campaign_of(options, plan)))
    ends: list[float] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for _ in run_chunks(
            search_pseudo_databases,
            payloads,
            Path(folder),
            executor_fn=partial(open_executor, Workers(workers=cores)),
            on_done=lambda *_: ends.append(time.perf_counter()),
        ):
            pass
    # The first task of every worker compiles; those that follow say how fast they are.
    later, begin = ends[cores:], ends[cores - 1]
    rate = HOUR * plan.each * len(later) / (later[-1] - begin)
    note = f"{plan.steps} steps after building up; {plan.each} pseudo-databases per task"
    yield Row(
        SUITE, "worker processes", cores, "per hour", spread([rate]),
        compile_seconds=ends[0] - start, note=f"{note}; compilation: until the first task is done",
    )  # fmt: skip
