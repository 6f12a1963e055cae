"""Good models quickly: simple ones scored, climbed by gradients, and put together.

A random walk meets the parts of a good model one after the other, each by luck. Here all
simple models (`walkers.leads`) are scored once; the best climb the score; unions of the
best models with the best simple ones are scored, and climb, as long as K rises. What
results is where a walk should start, not where it should end.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.fit.config import SearchConfig
from jaxlik.physics.model import ModelPoint, point_to_dict
from jaxlik.physics.particles import LBP
from jaxlik.typing import Array, Float
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.neural import NeuralYields
from walkers.builder import ascend_chunk
from walkers.gauge import at, evaluate_all, score_in_gauge, stacked
from walkers.leads import find_leads, lead_models, sample_masses, settled_all
from walkers.run import initial_state
from walkers.state import SearchState
from walkers.step import default_chunk, enter, rescale
from walkers.target import AbstractTarget, EngineTarget
from walkers.union import union

SHARED = 1.0
"""What the LBP costs in K; a union has only one."""

LBP_SCALE = 50.0
"""GeV; distance of two LBP masses that counts as much as one unit of K."""

LEAST_RISE = 0.05
"""Rise of the best K for which another round of unions is worth it."""

PARTNERS = 60
"""Simple models that unions are made with."""

UNIONS_EACH = 4
"""Unions tried per round, for each place of the list of best models."""


class Grown(NamedTuple):
    """Models that were built.

    Attributes:
        points: Models in the gauge mu = 1, stacked, best first.
        score: Their K.
        evaluations: Evaluations it took, those with a gradient included.
        best: Evaluations and best K after each stage.
    """

    points: ModelPoint
    score: Float[np.ndarray, " model"]
    evaluations: int
    best: list[tuple[int, float]]


class Simple(NamedTuple):
    """Simple models, scored once.

    Attributes:
        points: Models, stacked, rescaled to their best signal strength.
        score: K before that; `-inf` for models without.
    """

    points: ModelPoint
    score: Float[np.ndarray, " model"]


def simple_models(
    target: AbstractTarget, yields: EfficiencyYields | NeuralYields, config: SearchConfig
) -> Simple:
    """All kinds of simple models at a few masses each, with their scores.

    Args:
        target: The score.
        yields: Topologies and maps behind it.
        config: `leads`, `seed`, `walkers`, `max_particles` and `chunk` count.
    """
    space = target.space
    leads = find_leads(space, yields)
    masses = sample_masses(leads, yields, config.leads, config.seed)
    points = lead_models(space, leads, masses, target.reference_fn, config.max_particles)
    chunk = min(config.chunk or default_chunk(config.walkers), config.walkers)
    outcome = evaluate_all(target, points, chunk)
    mu = np.asarray(outcome.mu_hat)
    usable = ~np.asarray(outcome.overflow) & (mu > 0)
    score = np.where(usable, np.asarray(outcome.score), -np.inf)
    return Simple(rescale(points, jnp.asarray(np.where(mu > 0, mu, 1.0))), score)


class _Pool:
    """Scored models in the gauge mu = 1, best first, and what they cost."""

    def __init__(self, target: AbstractTarget, config: SearchConfig, report: Callable | None):
        self.target, self.config, self.report = target, config, report
        self.chunk = min(config.chunk or default_chunk(config.walkers), config.walkers)
        self.points: list[ModelPoint] = []
        self.score: list[float] = []
        self.evaluations = 0
        self.best: list[tuple[int, float]] = []

    def enter(self, points: ModelPoint, score: np.ndarray) -> None:
        """Keep models that have a score."""
        host = jax.tree.map(np.asarray, points)
        for place in np.flatnonzero(np.isfinite(score)):
            self.points.append(at(host, int(place)))
            self.score.append(float(score[place]))
        order = np.argsort(-np.array(self.score), kind="stable")
        self.points = [self.points[i] for i in order]
        self.score = [self.score[i] for i in order]
        self.best.append((self.evaluations, max(self.score, default=-np.inf)))
        if self.report is not None:
            self.report(*self.best[-1])

    def distinct(self, count: int, *, per_content: int) -> list[int]:
        """Places of the best models, a few of each content."""
        seen: dict[bytes, int] = {}
        chosen: list[int] = []
        for place, point in enumerate(self.points):
            key = np.asarray(point.active).tobytes()
            key += (np.asarray(point.branching_ratios) > 0).tobytes()
            seen[key] = seen.get(key, 0) + 1
            if seen[key] <= per_content:
                chosen.append(place)
            if len(chosen) == count:
                break
        return chosen

    def add(self, points: ModelPoint) -> None:
        """Score models in the gauge mu = 1."""
        found = score_in_gauge(self.target, points, self.chunk)
        self.evaluations += found.evaluations
        self.enter(found.points, found.score)

    def climb(self, places: list[int]) -> None:
        """Let models climb the score; where they arrive counts as another model."""
        points = stacked([self.points[i] for i in places])
        count, steps = len(places), self.config.gradient_steps
        if not steps:
            return
        ends = []
        for start in range(0, count, self.chunk):
            rows = np.minimum(np.arange(start, start + self.chunk), count - 1)
            found = ascend_chunk(self.target, at(points, rows), steps, self.config.max_particles)
            mu = jnp.where(found.mu_hat > 0, found.mu_hat, 1.0)
            ends.append(rescale(found.point, mu))
        self.evaluations += count * (steps + 1)
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *ends)
        self.add(joined)


def grow(
    target: AbstractTarget,
    yields: EfficiencyYields | NeuralYields,
    config: SearchConfig,
    *,
    report: Callable[[int, float], None] | None = None,
    ready: Callable[[], None] | None = None,
) -> Grown:
    """Build models from simple ones.

    Args:
        target: The score.
        yields: Topologies and maps behind it.
        config: `leads`, `seed`, `keep`, `gradient_steps`, `max_particles` and `chunk` count.
        report: Called with the evaluations made and the best K after each stage.
        ready: Called before the first ascent, to wait for who compiles it.
    """
    return grow_from(
        target, simple_models(target, yields, config), config, report=report, ready=ready
    )


def grow_from(
    target: AbstractTarget,
    found: Simple,
    config: SearchConfig,
    *,
    report: Callable[[int, float], None] | None = None,
    ready: Callable[[], None] | None = None,
) -> Grown:
    """Build models from simple ones that have been scored; see `grow`.

    Args:
        target: The score.
        found: From `simple_models`.
        config: As for `grow`.
        report: As for `grow`.
        ready: As for `grow`.
    """
    space = target.space
    pool = _Pool(target, config, report)
    pool.evaluations += len(found.score)
    pool.enter(found.points, found.score)
    if not pool.score:
        return Grown(at(found.points, slice(0, 0)), np.zeros(0), pool.evaluations, pool.best)
    partners = [pool.points[i] for i in pool.distinct(PARTNERS, per_content=3)]
    scores = [pool.score[i] for i in pool.distinct(PARTNERS, per_content=3)]
    if ready is not None:
        ready()
    pool.climb(pool.distinct(config.keep, per_content=2))
    tried: set[tuple[bytes, int]] = set()
    for _ in range(config.max_particles):
        before = pool.score[0]
        unions = _unions(pool, partners, scores, tried)
        if not unions:
            break
        pool.add(
            settled_all(space, target.reference_fn, stacked(unions), config.max_particles).point
        )
        pool.climb(pool.distinct(config.keep, per_content=2))
        if pool.score[0] < before + LEAST_RISE:
            break
    places = pool.distinct(len(pool.points), per_content=2)
    return Grown(
        stacked([pool.points[i] for i in places]),
        np.array([pool.score[i] for i in places]),
        pool.evaluations,
        pool.best,
    )


def grown_state(
    engine: Engine | EngineTarget,
    config: SearchConfig,
    *,
    report: Callable[[int, float], None] | None = None,
    ready: Callable[[], None] | None = None,
) -> SearchState:
    """The state of a walk that starts from built models.

    Half of the walkers start from the best models, all of them equally often; the others
    from nothing, as in `walkers.run.initial_state`.

    Args:
        engine: The score, an engine or its target.
        config: Of the search.
        report: See `grow`.
        ready: See `grow`.
    """
    target = engine if isinstance(engine, EngineTarget) else EngineTarget(engine)  # type: ignore[reportCallIssue]
    state = initial_state(target, config)
    found = grow(target, target.engine.yields, config, report=report, ready=ready)
    number = min(len(found.score), config.keep)
    if number == 0:
        return state
    outcome = evaluate_all(target, at(found.points, slice(0, number)), config.chunk)
    places = np.arange(config.walkers)
    built = jnp.asarray(places < (config.walkers + 1) // 2)
    rows = jnp.asarray(places % number)

    def taken(new: Array, old: Array) -> Array:
        return jnp.where(built.reshape((-1,) + (1,) * (old.ndim - 1)), new[rows], old)

    old = state.walkers
    walkers = old._replace(
        point=jax.tree.map(taken, at(found.points, slice(0, number)), old.point),
        score=taken(outcome.score, old.score),
        z_squared=taken(outcome.z_squared, old.z_squared),
        mu_hat=taken(outcome.mu_hat, old.mu_hat),
        r_max=taken(outcome.r_max, old.r_max),
        log_prior=taken(outcome.log_prior, old.log_prior),
    )
    hiscores = enter(state.hiscores, walkers, built, state.step, jnp.asarray(config.distinct))
    return state._replace(walkers=walkers, hiscores=hiscores)


def _unions(
    pool: _Pool,
    partners: list[ModelPoint],
    scores: list[float],
    tried: set[tuple[bytes, int]],
) -> list[ModelPoint]:
    """Unions of good models with simple ones that promise the largest K."""
    space = pool.target.space
    documents = [point_to_dict(space, point) for point in partners]
    wanted: list[tuple[float, int, int]] = []
    elite = pool.distinct(pool.config.keep, per_content=2)
    for place in elite:
        lbp = float(pool.points[place].masses[space.lbp])
        for number, document in enumerate(documents):
            distance = abs(document["masses"][LBP] - lbp) / LBP_SCALE
            wanted.append((pool.score[place] + scores[number] + SHARED - distance, place, number))
    found: list[ModelPoint] = []
    for _, place, number in sorted(wanted, reverse=True):
        point = pool.points[place]
        key = (point.masses.tobytes() + point.branching_ratios.tobytes(), number)
        if key in tried:
            continue
        tried.add(key)
        both = union(space, point_to_dict(space, point), documents[number])
        if both is not None and np.sum(np.asarray(both.active)) <= pool.config.max_particles:
            found.append(both)
        if len(found) == pool.config.keep * UNIONS_EACH:
            break
    return found
