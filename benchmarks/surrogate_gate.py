"""Physics gate of the surrogate: models of a walk, scored with exact and learned yields.

    python -m benchmarks.surrogate_gate DATABASE NETWORKS [--models 1000] [--json FILE]

Target A3: |delta ln L| below 0.1 in the median and 0.5 at 95 %, relative change of r
below 5 % at 95 %, and no verdict of the critic that changes where |r - 1| > 0.1.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.database.compile import load_database
from jaxlik.database.surrogate_file import open_surrogate
from jaxlik.engine import Engine
from jaxlik.errors import Status
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.config import SearchConfig
from jaxlik.fit.runtime import prepare
from jaxlik.physics.model import ModelPoint
from walkers import run as walk

CHUNK = 25
SMALL_R = 0.05
"""Relative changes of r are taken above this r, below which nothing depends on it."""


def walked_models(engine: Engine, count: int, steps: int, seed: int) -> list[ModelPoint]:
    """Distinct models where walkers stood, from the whole run."""
    found: list[ModelPoint] = []
    seen: set[bytes] = set()

    def collect(state: Any, progress: Any) -> None:
        points = jax.tree.map(np.asarray, state.walkers.point)
        score = np.asarray(state.walkers.score)
        for i in np.flatnonzero(np.isfinite(score)):
            key = points.masses[i].tobytes() + points.branching_ratios[i].tobytes()
            if key not in seen:
                seen.add(key)
                found.append(jax.tree.map(lambda leaf, i=i: leaf[i], points))
        bar.update(progress.step - bar.n)
        bar.set_postfix_str(f"{len(found)} models, best K = {progress.score:.2f}")

    with tqdm(total=steps, desc="walking") as bar:
        walk.search(engine, SearchConfig(seed=seed, steps=steps, block=5), on_block=collect)
    chosen = np.random.default_rng(seed).permutation(len(found))[:count]
    return [found[i] for i in sorted(chosen)]


@eqx.filter_jit
def _evaluate(engine: Engine, points: ModelPoint):
    return jax.vmap(engine.evaluate)(points)


@eqx.filter_jit
def _heights(engine: Engine, predictions, mu):
    return jax.vmap(lambda p, m: engine.log_ratios(p, m[None])[0][0])(predictions, mu)


def score_all(engine: Engine, points: list[ModelPoint], mu=None, members=None) -> dict[str, Any]:
    """K, r and the likelihoods of given combinations, for all models."""
    rows: dict[str, list] = {k: [] for k in ("K", "r", "r_max", "log_likelihood", "mu", "members")}
    rows["ok"], rows["demand"], rows["content"] = [], [], []
    for start in tqdm(range(0, len(points), CHUNK), desc="scoring"):
        some = points[start : start + CHUNK]
        padded = some + [some[-1]] * (CHUNK - len(some))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)
        found = _evaluate(engine, stacked)
        at = found.mu_hat if mu is None else jnp.resize(mu[start : start + CHUNK], CHUNK)
        who = found.members
        if members is not None:
            who = jnp.asarray(np.resize(members[start : start + CHUNK], who.shape))
        gains = _heights(engine, found.prediction, at)
        total = 0.5 * jnp.sum(jnp.where(who, gains, 0.0), axis=1)
        prediction = found.prediction
        for name, value in (
            ("K", found.score),
            ("r", prediction.r_region),
            ("r_max", prediction.r_max),
            ("log_likelihood", total),
            ("mu", at),
            ("members", who),
            ("ok", jax.vmap(lambda s: s == Status.success)(found.status)),
            ("demand", prediction.signals.demand),
        ):
            rows[name].append(np.asarray(value)[: len(some)])
    return {name: np.concatenate(values) for name, values in rows.items() if values}


def compare(exact: dict[str, Any], learned: dict[str, Any]) -> dict[str, Any]:
    """The figures of the gate."""
    both = exact["ok"] & learned["ok"]
    change = np.abs(learned["log_likelihood"] - exact["log_likelihood"])[both]
    r = exact["r"][both]
    relative = np.abs(learned["r"][both] - r)[r > SMALL_R] / r[r > SMALL_R]
    top, other = exact["r_max"][both], learned["r_max"][both]
    flips = ((top > 1) != (other > 1)) & (np.abs(top - 1) > 0.1)
    near = ((top > 1) != (other > 1)) & (np.abs(top - 1) <= 0.1)
    k = np.abs(learned["K"] - exact["K"])[both]
    k = k[np.isfinite(k)]
    return {
        "models": int(both.sum()),
        "overflow": int((~both).sum()),
        "delta_log_likelihood": _quantiles(change),
        "relative_r": _quantiles(relative),
        "relative_r_max": _quantiles(np.abs(other / np.where(top > 0, top, 1) - 1)[top > SMALL_R]),
        "flips": int(flips.sum()),
        "flips_near_one": int(near.sum()),
        "delta_K": _quantiles(k),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    names = {"median": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "worst": 1.0}
    return {name: round(float(np.quantile(values, q)), 5) for name, q in names.items()}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("networks", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    prepare(quiet=True, verbose=False)
    snapshot = load_database(options.database)
    exact, _ = build_engine(snapshot)
    learned, _ = build_engine(snapshot, surrogate=open_surrogate(options.networks))
    points = walked_models(exact, options.models, options.steps, options.seed)
    true = score_all(exact, points)
    guess = score_all(learned, points, mu=true["mu"], members=true["members"])
    result = compare(true, guess)
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
