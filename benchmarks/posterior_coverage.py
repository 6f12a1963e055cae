"""Do posterior intervals cover what was injected?

A model is injected into pseudo-databases with sampled data; the posterior at its content, that of
`python -m jaxlik.fit sample` restricted to it, gives an interval for each mass and signal strength.
The share of intervals that contain the truth is their coverage.

- ``--truth fixed``: always the given model. A posterior does not promise coverage there: its prior
  pulls, and searches only see what they are sensitive to.
- ``--truth prior``: each time another model of that content, drawn from the prior. Coverage is then
  that of the level if data are drawn from the likelihood that the posterior uses; it tests whether
  a signal in all regions can be described by the combination chosen for each model.

Productions are pairs of a particle with its antiparticle and, for squarks of one kind, with itself.
Posteriors come from importance sampling (`benchmarks.importance`), independent of the sampler.

    python -m benchmarks.posterior_coverage MODEL --output FOLDER [--databases 64] [--workers 2]

goes on where it was stopped, and with a larger number adds to what is there.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from tqdm import tqdm

from benchmarks.importance import importance, quantiles
from jaxlik.calibration.injection import inject
from jaxlik.calibration.pseudo_data import Recipe
from jaxlik.calibration.universe import Multiverse, make_multiverse
from jaxlik.database.compile import load_database
from jaxlik.fit.config import EngineConfig, FitConfig
from jaxlik.fit.engines import choose_networks, make_engine
from jaxlik.physics.bijections import layout
from jaxlik.physics.particles import particle
from jaxlik.physics.protomodels import read_protomodels
from jaxlik.physics.whitened import kinematically_allowed
from walkers.executors import Workers, open_executor, tasks_in_flight
from walkers.farm import run_chunks
from walkers.posterior.model import ModelTarget

LEVELS = (0.68, 0.95)
WIDTH = 16
"""Models evaluated side by side."""

FIRST, LATER, ROUNDS = 2048, 1024, 6
"""Draws from the prior, draws of each later round, later rounds."""

FEWEST = 100
"""Effective draws below which a posterior is not counted."""


class Bench(NamedTuple):
    """What all pseudo-databases share."""

    multiverse: Multiverse
    bits: np.ndarray
    truth: np.ndarray
    used: np.ndarray
    names: tuple[str, ...]


@lru_cache(maxsize=1)
def bench(database: str, model: str) -> Bench:
    """Open the database and place the model in the coordinates of the posterior."""
    snapshot = load_database(database, quiet=True)
    config = EngineConfig()
    engine, _ = make_engine(
        FitConfig(database=database, engine=config), snapshot, choose_networks(config, snapshot)
    )
    space = engine.space
    blocks = layout(space)
    bits, vector = ModelTarget(engine).coordinates(
        read_protomodels(Path(model), space, strict=False)[0].point
    )
    bits, pairs = np.array(bits), np.asarray(space.production_pair)
    kept = np.array([_is_pair(space, first, second) for first, second in pairs])
    bits[blocks.strengths] &= kept
    # A single channel has the branching ratio one: its logit says nothing.
    parents = np.asarray(space.channel_parent)
    channels = bits[blocks.branching]
    several = np.array([channels[parents == parent].sum() > 1 for parent in parents])
    free = bits.copy()
    free[blocks.branching] &= several
    names = [f"m({particle(pid).name})" for pid in space.pdg_ids]
    names += ["logit" for _ in parents]
    names += [f"ln kappa {_pair_name(space, pair)}" for pair in pairs]
    used = np.flatnonzero(free)
    return Bench(make_multiverse(snapshot, engine), bits, np.where(bits, vector, 0.0), used,
                 tuple(names[i] for i in used))  # fmt: skip


def _is_pair(space: Any, first: int, second: int) -> bool:
    return first == second and first != space.lbp


def _pair_name(space: Any, pair: np.ndarray) -> str:
    return " ".join(particle(space.pdg_ids[int(i)]).name for i in pair)


def cover(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Posterior intervals on one pseudo-database."""
    shop = bench(payload["database"], payload["model"])
    engine = shop.multiverse.engine
    target = ModelTarget(engine, critic=payload["critic"])
    rng = np.random.default_rng([payload["seed"], payload["index"]])
    truth = shop.truth
    if payload["truth"] == "prior":
        truth = _drawn(target, shop, rng)
    injection = inject(engine, target.point(jnp.asarray(shop.bits), jnp.asarray(truth)))
    recipe = Recipe(payload["seed"])
    data = shop.multiverse.data(payload["index"], recipe, injection)
    target = ModelTarget(
        shop.multiverse.engine_of(data, recipe, injection), critic=payload["critic"]
    )

    def log_likelihoods(rows: np.ndarray) -> np.ndarray:
        return np.asarray(_log_likelihoods(target, shop.bits, truth, shop.used, rows))

    found = importance(
        log_likelihoods, len(shop.used), rng, first=FIRST, later=LATER, rounds=ROUNDS
    )
    places = np.tile(truth, (len(found.places), 1))
    places[:, shop.used] = found.places
    values = np.asarray(_quantities(target, shop.bits, places))[:, shop.used]
    true = np.asarray(_quantities(target, shop.bits, truth[None]))[0, shop.used]
    ranks = [
        float(found.weights[column < t].sum()) for column, t in zip(values.T, true, strict=True)
    ]
    at = np.array([0.5 - LEVELS[1] / 2, 0.5 - LEVELS[0] / 2, 0.5, 0.5 + LEVELS[0] / 2,
                   0.5 + LEVELS[1] / 2])  # fmt: skip
    return {
        "index": payload["index"],
        "names": list(shop.names),
        "truth": true.tolist(),
        "rank": ranks,
        "quantiles": [quantiles(column, found.weights, at).tolist() for column in values.T],
        "effective": found.effective,
        "log_evidence": found.log_evidence,
        "allowed": bool(np.isfinite(log_likelihoods(truth[None, shop.used])[0])),
    }


def _drawn(target: ModelTarget, shop: Bench, rng: np.random.Generator) -> np.ndarray:
    """A model of the content from the prior, within the region of protomodels."""
    while True:
        vector = np.zeros(len(shop.truth))
        vector[shop.used] = rng.normal(size=len(shop.used))
        point = target.point(jnp.asarray(shop.bits), jnp.asarray(vector))
        if bool(kinematically_allowed(target.space, jnp.asarray(shop.bits), point)):
            return vector


@eqx.filter_jit
def _compiled(target: ModelTarget, bits, vector, used, rows):
    def one(row):
        return target.log_likelihood(bits, vector.at[used].set(row))

    return jax.lax.map(one, rows, batch_size=WIDTH)


def _log_likelihoods(target: ModelTarget, bits, vector, used, rows: np.ndarray) -> np.ndarray:
    """ln(L/L_SM) of rows, in calls of one size."""
    size = LATER
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    arrays = [jnp.asarray(a) for a in (bits, vector, used)]
    parts = [
        np.asarray(_compiled(target, *arrays, jnp.asarray(padded[start : start + size])))
        for start in range(0, len(padded), size)
    ]
    return np.concatenate(parts)[: len(rows)]


@eqx.filter_jit
def _quantities(target: ModelTarget, bits, rows):
    """Masses [GeV], logits and logarithms of signal strengths of all rows."""
    blocks = layout(target.space)

    def one(row):
        point = target.point(jnp.asarray(bits), row)
        strengths = jnp.log(jnp.maximum(point.signal_strengths, 1e-30))
        return jnp.concatenate([point.masses, row[blocks.branching], strengths])

    return jax.vmap(one)(jnp.asarray(rows))


def table(found: list[dict[str, Any]]) -> str:
    """Coverage of each quantity, with binomial errors, and how uniform ranks are."""
    counted = [one for one in found if one["effective"] >= FEWEST]
    effective = [one["effective"] for one in found]
    lines = [
        f"{len(found)} pseudo-databases, {len(counted)} with at least {FEWEST} effective draws "
        f"(median {np.median(effective):.0f}); the truth is allowed by the critic in "
        f"{sum(one['allowed'] for one in found)}",
        "",
        "| quantity | 68 % | 95 % | median width of 68 % | ranks uniform, KS p |",
        "|---|---|---|---|---|",
    ]
    for place, name in enumerate(counted[0]["names"]):
        limits = np.array([one["quantiles"][place] for one in counted])
        truth = np.array([one["truth"][place] for one in counted])
        cells = []
        for low, high in ((1, 3), (0, 4)):
            inside = int(np.sum((limits[:, low] <= truth) & (truth <= limits[:, high])))
            bounds = stats.binomtest(inside, len(counted)).proportion_ci(0.68, "exact")
            cells.append(f"{inside / len(counted):.2f} ({bounds.low:.2f} to {bounds.high:.2f})")
        ranks = [one["rank"][place] for one in counted]
        width = np.median(limits[:, 3] - limits[:, 1])
        uniform = stats.kstest(ranks, "uniform").pvalue
        lines.append(f"| {name} | {' | '.join(cells)} | {width:.3g} | {uniform:.2g} |")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="file of a protomodel; its first model counts")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--database", default="embedded")
    parser.add_argument("--databases", type=int, default=64)
    parser.add_argument("--truth", choices=("fixed", "prior"), default="fixed")
    parser.add_argument("--no-critic", dest="critic", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not options.model.is_file():
        parser.error(f"{options.model}: no such file; wanted a protomodel")
    place = options.database
    shared = {
        "model": str(options.model.resolve()),
        "database": place if place == "embedded" else str(Path(place).resolve()),
        "truth": options.truth,
        "critic": options.critic,
        "seed": options.seed,
    }
    payloads = [{**shared, "index": index} for index in range(options.databases)]
    workers = Workers(options.workers)
    with tqdm(total=len(payloads), desc="posteriors", unit="db") as bar:
        found = list(
            run_chunks(
                # By its importable name: as a script, this module is called __main__.
                _importable(),
                payloads,
                options.output,
                executor_fn=partial(open_executor, workers),
                in_flight=tasks_in_flight(workers),
                on_done=lambda chunk, result: bar.update(),
            )
        )
    print(table(found))
    return 0


def _importable():
    from benchmarks.posterior_coverage import cover as task

    return task


if __name__ == "__main__":
    sys.exit(main())
