r"""How time grows: with analyses, regions, walkers, particles.

An analysis is a result of the database: counts of regions, or upper limits. Each case has sizes
that double. The exponent a of $t \propto n^a$ is the slope of ln t against ln n by least squares
over all rounds, with the standard error of that slope. What does not grow makes a small exponent:
a score has parts that no analysis changes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.across_devices import on_all_devices
from benchmarks.batches import (
    YIELDS,
    case_of,
    chunk_sizes,
    chunks,
    guarded,
    snapshot_of,
)
from benchmarks.example_models import batch_of, mixed_models, model_point
from benchmarks.harness import OURS, Contender, Options, Row, Spread, Timing, rows_of, side_by_side
from benchmarks.reduced import reduced, some_folders
from benchmarks.walks import step_timing
from jaxlik.database.records import CovarianceRecord
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.engine import Engine
from jaxlik.errors import ConvergenceError
from jaxlik.fit.assemble import build_engine
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.statmodels.bank import StatModelBank, make_banks
from jaxlik.statmodels.build import build
from jaxlik.statmodels.poisson import profiled_twice_nll
from jaxlik.typing import Array, Float
from walkers.pseudo_search import FixedTarget
from walkers.target import evaluate_chunk

SUITE = "scaling"

NETWORKS = YIELDS[0]

CONTENT = (1000022, 1000006, 1000001, 1000021, 1000023, 1000024, 1000005, 1000002)
"""Particles of models in the order in which they are added."""

SPACING = 250.0
"""GeV between neighbours in mass."""


class Plan(NamedTuple):
    """Sizes, doubling.

    Attributes:
        analyses: How many sizes of the database; the largest is all of it.
        independent: Regions that are independent.
        correlated: Regions of one simplified likelihood.
        walkers: Walkers.
        particles: Of a model, the lightest included.
        draws: Particles of sequential Monte Carlo; none in a quick run.
    """

    analyses: int
    independent: tuple[int, ...]
    correlated: tuple[int, ...]
    walkers: tuple[int, ...]
    particles: tuple[int, ...]
    draws: tuple[int, ...]


QUICK = Plan(2, (16_384, 32_768, 65_536), (8, 16, 32), (10, 20, 40), (2, 4), ())
FULL = Plan(
    5,
    (65_536, 131_072, 262_144, 524_288, 1_048_576),
    (8, 16, 32, 64, 128),
    (10, 20, 40, 80, 160),
    (2, 4, 8),
    (128, 256, 512, 1024),
)

SIGNALS = 256
"""Signals of a simplified likelihood that are evaluated side by side."""

Timings = dict[int, Timing]


def measure(options: Options) -> Iterator[Row]:
    """All rows of the suite."""
    plan = QUICK if options.quick else FULL
    cases: dict[str, Callable[[Options, Plan], tuple[Timings, str]]] = {
        "analyses": _analyses,
        "independent regions": _independent,
        "correlated regions": _correlated,
        "walkers": _walkers,
        "particles of a model": _particles,
    }
    if plan.draws:
        cases["particles of sequential Monte Carlo"] = _draws
    for name, timings_fn in cases.items():
        yield from guarded(SUITE, name, _rows(options, plan, name, timings_fn))


def exponent(sizes: list[int], seconds: list[list[float]]) -> Spread:
    """Slope of ln seconds against ln size: the value, and one standard error on either side.

    Args:
        sizes: At least two.
        seconds: Of each size, all rounds.
    """
    pairs = zip(sizes, seconds, strict=True)
    x = np.concatenate([np.full(len(some), np.log(size)) for size, some in pairs])
    y = np.log(np.concatenate([np.asarray(some) for some in seconds]))
    found: Any = stats.linregress(x, y)
    return Spread(found.slope, found.slope - found.stderr, found.slope + found.stderr)


def _rows(
    options: Options,
    plan: Plan,
    name: str,
    timings_fn: Callable[[Options, Plan], tuple[Timings, str]],
) -> Iterator[Row]:
    """Seconds at each size, then the exponent."""
    timings, note = timings_fn(options, plan)
    for size, timing in timings.items():
        yield from rows_of(SUITE, name, {OURS: timing}, size=size, note=note)
    sizes, seconds = list(timings), [timing.rounds for timing in timings.values()]
    text = f"{note}; {sizes[0]} to {sizes[-1]}, with one standard error"
    yield Row(SUITE, name, None, "exponent", exponent(sizes, seconds), note=text)


def _in_turn(
    tasks: Mapping[int, Callable[[], object]], rounds: int, units: dict[int, float] | None = None
) -> Timings:
    """All sizes in turn, so that a machine that slows down bends no exponent."""
    done = units or {}
    contenders = {str(n): Contender(task, done.get(n, 1.0)) for n, task in tasks.items()}
    return {int(size): one for size, one in side_by_side(contenders, rounds).items()}


def _score_task(target: FixedTarget, points: ModelPoint, chunk: int) -> Callable[[], Array]:
    """Scores one chunk of models."""
    (part,) = chunks(points, chunk)
    none = jnp.zeros((chunk, target.num_candidates), dtype=bool)
    return lambda: evaluate_chunk(target, part, none).score


def _analyses(options: Options, plan: Plan) -> tuple[Timings, str]:
    """Scores of one chunk of models with parts of the database."""
    case = case_of(options.database, NETWORKS)
    snapshot, networks = snapshot_of(options.database), open_surrogate(shipped_surrogate())
    chunk = chunk_sizes(options)[0]
    points = mixed_models(case.engine.space, chunk)
    every = len(snapshot.results)
    tasks, regions = {}, []
    for halving in reversed(range(plan.analyses)):
        count = every >> halving
        target = case.target
        if halving:
            part = reduced(snapshot, some_folders(snapshot, count, options.seed))
            engine, _ = build_engine(part, surrogate=networks)
            target = FixedTarget(engine)  # type: ignore[reportCallIssue]
        regions.append(target.engine.regions.background.shape[0])
        tasks[count] = _score_task(on_all_devices(target), points, chunk)
    many = ", ".join(map(str, regions))
    return _in_turn(tasks, options.rounds), f"{chunk} scores, networks; {many} regions"


@eqx.filter_jit
def independent_nll(arrays: tuple[Array, ...]) -> Float[Array, ""]:
    """Profiled -2 ln L of signal, counts, background and its error, summed over regions."""
    return jnp.sum(profiled_twice_nll(1.0, *arrays))


def _independent(options: Options, plan: Plan) -> tuple[Timings, str]:
    """One likelihood of many independent regions."""
    rng = np.random.default_rng(options.seed)
    tasks = {}
    for size in plan.independent:
        background = 10 ** rng.uniform(-1, 3, size)
        counts = rng.poisson(background).astype(float)
        columns = (0.2 * background, counts, background, 0.2 * background)
        arrays = tuple(map(jnp.asarray, columns))
        tasks[size] = lambda arrays=arrays: independent_nll(arrays)
    return _in_turn(tasks, options.rounds), "profiled -2 ln L"


@eqx.filter_jit
def correlated_nll(
    bank: StatModelBank, signals: Float[Array, "signal region"]
) -> Float[Array, " signal"]:
    """Profiled -2 ln L of one simplified likelihood at mu = 1, for each signal."""
    one = jnp.ones(1)
    return jax.vmap(lambda signal: bank.profile(one, signal[None]).twice_nll[0, 0])(signals)


def correlated_record(size: int, rng: np.random.Generator) -> CovarianceRecord:
    """Counts in regions whose backgrounds share three uncertainties."""
    background = 10 ** rng.uniform(0.5, 2.0, size)
    shared = 0.15 * background[:, None] * rng.normal(size=(size, 3))
    covariance = shared @ shared.T + np.diag((0.1 * background) ** 2)
    names = tuple(f"region {number}" for number in range(size))
    counts = rng.poisson(background).astype(float)
    return CovarianceRecord("random", names, counts, background, covariance)


def _correlated(options: Options, plan: Plan) -> tuple[Timings, str]:
    """One simplified likelihood."""
    rng = np.random.default_rng(options.seed)
    tasks = {}
    for size in plan.correlated:
        record = correlated_record(size, rng)
        (bank,) = make_banks([build(record)])  # type: ignore[list-item]
        signals = jnp.asarray(0.1 * record.background * rng.uniform(0, 2, (SIGNALS, size)))
        tasks[size] = lambda bank=bank, signals=signals: correlated_nll(bank, signals)
    return _in_turn(tasks, options.rounds), f"simplified likelihood, {SIGNALS} signals"


def _walkers(options: Options, plan: Plan) -> tuple[Timings, str]:
    """A step of all walkers."""
    case = case_of(options.database, NETWORKS)
    found = {}
    for walkers in plan.walkers:
        timing = step_timing(on_all_devices(case.target), walkers, 2, options.rounds, options.seed)
        seconds = [walkers * one for one in timing.rounds]
        found[walkers] = Timing(timing.first, seconds, timing.units / walkers)
    return found, f"a step of all, networks; chunks of {chunk_sizes(options)[0]}"


def models_of_size(space: ModelSpace, particles: int, count: int) -> ModelPoint:
    """Models of one content, masses scattered; all decay to the lightest particle directly.

    Args:
        space: Layout.
        particles: The lightest one included.
        count: Models.
    """
    masses = {pid: 100.0 + SPACING * place for place, pid in enumerate(CONTENT[:particles])}
    point = model_point(space, masses)
    direct = np.asarray(point.branching_ratios) * (np.asarray(space.channel_daughter) == space.lbp)
    mothers, first = np.unique(np.asarray(space.channel_parent)[direct > 0], return_index=True)
    assert len(mothers) == particles - 1
    single = np.zeros_like(direct)
    single[np.flatnonzero(direct)[first]] = 1.0
    point = eqx.tree_at(lambda p: p.branching_ratios, point, jnp.asarray(single))
    return batch_of(point, space, count)


def _particles(options: Options, plan: Plan) -> tuple[Timings, str]:
    """Scores of one chunk of models with more and more particles: one program for all."""
    engine = case_of(options.database, NETWORKS).engine
    chunk = chunk_sizes(options)[0]
    parts = {
        particles: jax.tree.map(jnp.asarray, models_of_size(engine.space, particles, chunk))
        for particles in plan.particles
    }
    target = _holding(engine, list(parts.values()))
    tasks = {size: _score_task(target, part, chunk) for size, part in parts.items()}
    return _in_turn(tasks, options.rounds), f"{chunk} scores, networks, one program"


def _holding(engine: Engine, batches: list[ModelPoint]) -> FixedTarget:
    """The score with tables that are large enough for all models.

    Raises:
        ConvergenceError: larger ones do not help.
    """
    while True:
        target = on_all_devices(FixedTarget(engine))  # type: ignore[reportCallIssue]
        chunk = batches[0].masses.shape[0]
        none = jnp.zeros((chunk, target.num_candidates), dtype=bool)
        found = [evaluate_chunk(target, batch, none) for batch in batches]
        if not any(bool(one.overflow.any()) for one in found):
            return target
        demand = np.max([np.asarray(one.demand).max(axis=0) for one in found], axis=0)
        wanted = engine.buckets.holding(demand.tolist())
        if wanted == engine.buckets:
            raise ConvergenceError("tables of the size that models ask for do not hold them")
        engine = replace(engine, buckets=wanted)


def _draws(options: Options, plan: Plan) -> tuple[Timings, str]:
    """Sequential Monte Carlo on a toy of 64 contents: a level of all particles."""
    from benchmarks.sampler_toy import gaussian_toy  # type: ignore[reportAttributeAccessIssue]
    from walkers.posterior.kernel import standard_kernel
    from walkers.posterior.smc import sequential_evidence
    from walkers.posterior.trajectories import HMC

    toy = gaussian_toy(num_blocks=6, size=3, num_data=24)
    kernel = standard_kernel(toy, toy.block, trajectory=HMC(), num_rebirths=0)
    rng, key = np.random.default_rng(options.seed), jax.random.key(options.seed)
    tasks, levels, first = {}, {}, {}
    for size in plan.draws:
        bits = jnp.asarray(
            rng.uniform(size=(size, toy.num_bits)) < 1 / (1 + np.exp(float(toy.price)))
        )
        vectors = jnp.asarray(rng.normal(size=(size, toy.num_parameters)))
        tasks[size] = partial(sequential_evidence, key, kernel, bits, vectors)
        start = time.perf_counter()
        levels[size] = float(len(tasks[size]().temperatures))
        first[size] = time.perf_counter() - start
    timings = _in_turn(tasks, options.rounds, levels)
    for size, seconds in first.items():
        timings[size].first = seconds
    return timings, f"a level of all, toy with {2**toy.num_bits} contents"
