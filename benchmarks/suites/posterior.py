"""Effective draws per second of the posterior sampler beside three others.

`benchmarks.sampler` measures: our kernel beside a plain Metropolis-Hastings walk over all contents,
and at one content beside that walk, emcee and dynesty, on the same compiled likelihood. Values are
the smallest effective number of draws per second over all quantities of a kind. A quick run has a
small model space (`benchmarks.small_space`), seconds for each sampler, and asks no peers at one
content. Chains that have not converged give no number.
"""

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import sampler as samplers
from benchmarks.batches import guarded
from benchmarks.harness import MISSING, OURS, Options, Row, failed_row, missing_row, spread
from jaxlik.errors import JaxlikError
from jaxlik.fit.config import SampleConfig, SearchConfig

SUITE = "posterior"

PACKAGES = ("emcee", "dynesty")
"""Peers that are asked at one content."""

MOST_R_HAT = 1.1
"""Beyond it an effective number of draws means nothing."""


class Plan(NamedTuple):
    """Sizes of a run.

    Attributes:
        effort: How long samplers work.
        repeats: Runs of everything, from other starting points.
    """

    effort: samplers.Effort
    repeats: int


QUICK = Plan(samplers.Effort(4.0, block=10), 1)
FULL = Plan(samplers.Effort(30.0), 3)


class Setting(NamedTuple):
    """What is sampled.

    Attributes:
        target: The posterior.
        kernel: Ours, not adapted.
        good: Models that chains start from, if any.
        point: Whose content is sampled alone, if any: a simple model, with fewer coordinates than
            the best one, at whose content no chain converges (docs/posterior.md).
        note: For the reader.
    """

    target: Any
    kernel: Any
    good: Any
    point: Any
    note: str


def measure(options: Options) -> Iterator[Row]:
    """All rows of the suite."""
    plan = QUICK if options.quick else FULL
    try:
        setting = small_setting() if options.quick else full_setting(options)
    except JaxlikError as error:
        yield failed_row(SUITE, "all contents", OURS, str(error))
        return
    yield from guarded(SUITE, "all contents", _contents(options, plan, setting))
    if options.quick:
        for name in PACKAGES:
            why = "asked in full runs, where chains at one content have the time to converge"
            yield failed_row(SUITE, "one content", name, why, unit=MISSING)
        return
    yield from guarded(SUITE, "one content", _fixed(plan, setting))


def small_setting() -> Setting:
    """A stop, a gluino and the lightest particle, with the counts of all embedded results."""
    from benchmarks.small_space import small_kernel

    kernel, note = small_kernel("count", known=False), "3 particles, counts of all embedded results"
    return Setting(kernel.target, kernel, None, None, note)


def full_setting(options: Options) -> Setting:
    """All particles; chains start from models that a search builds."""
    from walkers.grow import grow_from, simple_models
    from walkers.posterior import sampler
    from walkers.target import EngineTarget

    engine = samplers.engine_of(options.database)
    search = SearchConfig(gradient_steps=0, seed=options.seed)
    score = EngineTarget(engine)  # type: ignore[reportCallIssue]
    simple = simple_models(score, engine.yields, search)
    good = grow_from(score, simple, search).points
    config = SampleConfig(chains=samplers.CHAINS)
    target = sampler.model_target(engine, config)
    kernel = sampler.model_kernel(target, simple, config)
    best = int(np.argmax(simple.score))
    point = jax.tree.map(lambda leaf: leaf[best], simple.points)
    return Setting(target, kernel, good, point, f"{Path(options.database).name}, 20 particles")


def _contents(options: Options, plan: Plan, setting: Setting) -> Iterator[Row]:
    """Ours and the plain walk over all contents."""
    from walkers.posterior.sampler import first_state

    runs = []
    for number in range(plan.repeats):
        config = SampleConfig(chains=samplers.CHAINS, seed=options.seed + number)
        states = first_state(setting.target, setting.kernel, setting.good, config).states
        with silence():
            runs.append(
                samplers.compare_contents(setting.target, setting.kernel, states, plan.effort)
            )
    yield from rows_of_runs(runs, "all contents", f"{setting.note}; {plan.effort.seconds:g} s each")


def _fixed(plan: Plan, setting: Setting) -> Iterator[Row]:
    """Ours, the plain walk, emcee and dynesty at one content."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            yield missing_row(SUITE, "one content", name, "bench")
    runs = []
    for _ in range(plan.repeats):
        with silence():
            runs.append(samplers.compare_fixed(setting.target, setting.point, plan.effort))
    start = f"chains from {samplers.PARTICLES} particles"
    content = "content of the best simple model"
    note = f"{setting.note}; {content}; {plan.effort.seconds:g} s each, {start}"
    yield from rows_of_runs(runs, "one content", note)


def rows_of_runs(runs: list[list[samplers.Row]], case: str, note: str) -> Iterator[Row]:
    """One row for each peer and kind of quantity.

    Args:
        runs: Samplers of each run, ours first.
        case: What was sampled.
        note: For the reader.
    """
    ours = [run[0] for run in runs]
    if not _largest(ours) <= MOST_R_HAT:
        why = f"chains have not converged: R-hat {_largest(ours):.3f}, wanted at most {MOST_R_HAT}"
        yield failed_row(SUITE, case, OURS, f"{why} ({note})")
        return
    for kind in ours[0].effective:
        speed = spread([row.effective[kind] / row.seconds for row in ours])
        for place in range(1, len(runs[0])):
            theirs = [run[place] for run in runs]
            # Tuned peers may choose another width in each run.
            name = theirs[0].name.split(", width")[0]
            known = [row for row in theirs if kind in row.effective]
            if not known:
                yield failed_row(SUITE, f"{case}: {kind}", name, f"{name} moved none of them")
                continue
            pairs = [(one, row) for one, row in zip(ours, theirs, strict=True) if row in known]
            peers = spread([row.effective[kind] / row.seconds for row in known])
            ratios = [one.effective[kind] / one.seconds * row.seconds / row.effective[kind]
                      for one, row in pairs]  # fmt: skip
            r_hats = f"R-hat {_largest(ours):.3f}, of the peer {_largest(known):.3f}"
            yield Row(
                SUITE, f"{case}: {kind}", None, "ESS/s", speed, peer=name, peer_value=peers,
                ratio=spread(ratios), note=f"{note}; {len(runs)} run(s); {r_hats}",
            )  # fmt: skip


def _largest(rows: list[samplers.Row]) -> float:
    return max(row.r_hat for row in rows)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what samplers print for people who run them by hand to themselves."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
