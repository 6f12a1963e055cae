"""Physics gate of the surrogate: models of a walk, scored with exact and learned yields.

    python -m benchmarks.surrogate_gate DATABASE NETWORKS [--models 1000] [--walk networks]

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


def score_all(
    engine: Engine, points: list[ModelPoint], given: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """K, r and the likelihood of the best combination, for all models.

    Args:
        engine: With exact or learned yields.
        points: Models.
        given: From an earlier call: its combinations, mu and regions are taken for the
            likelihoods; ``same_regions`` is the likelihood with its regions as well.
    """
    rows: dict[str, list] = {}
    for start in tqdm(range(0, len(points), CHUNK), desc="scoring"):
        some = points[start : start + CHUNK]
        padded = some + [some[-1]] * (CHUNK - len(some))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)

        def here(name: str, own: Any, start: int = start, some: list = some) -> Any:
            if given is None:
                return own
            values = given[name][start : start + len(some)]
            rest = np.repeat(values[-1:], CHUNK - len(some), axis=0)
            return jnp.asarray(np.concatenate([values, rest]))

        found = _evaluate(engine, stacked)
        prediction = found.prediction
        mu, members = here("mu", found.mu_hat), here("members", found.members)
        same = prediction._replace(
            region=here("region", prediction.region),
            region_live=here("region_live", prediction.region_live),
        )
        heights = [
            0.5 * jnp.sum(jnp.where(members, _heights(engine, p, mu), 0.0), axis=1)
            for p in (prediction, same)
        ]
        for name, value in {
            "K": found.score,
            "r": prediction.r_region,
            "r_max": prediction.r_max,
            "log_likelihood": heights[0],
            "same_regions": heights[1],
            "mu": mu,
            "members": members,
            "region": prediction.region,
            "region_live": prediction.region_live,
            "ok": jax.vmap(lambda s: s == Status.success)(found.status),
            "demand": prediction.signals.demand,
        }.items():
            rows.setdefault(name, []).append(np.asarray(value)[: len(some)])
    return {name: np.concatenate(values) for name, values in rows.items()}


def compare(exact: dict[str, np.ndarray], learned: dict[str, np.ndarray]) -> dict[str, Any]:
    """The figures of the gate."""
    both = exact["ok"] & learned["ok"]
    change = np.abs(learned["log_likelihood"] - exact["log_likelihood"])[both]
    signed = (learned["same_regions"] - exact["log_likelihood"])[both]
    moved = (learned["region"] != exact["region"]) & exact["members"][:, : exact["region"].shape[1]]
    r = exact["r"][both]
    loud = (r > SMALL_R) & (learned["region"] == exact["region"])[both]
    relative = np.abs(learned["r"][both] - r)[loud] / r[loud]
    top, other = exact["r_max"][both], learned["r_max"][both]
    crossed = (top > 1) != (other > 1)
    seen = top > SMALL_R
    k = np.abs(learned["K"] - exact["K"])[both]
    return {
        "models": int(both.sum()),
        "overflow": int((~both).sum()),
        "delta_log_likelihood_same_regions": _quantiles(np.abs(signed)),
        "mean_change_same_regions": round(float(np.mean(signed)), 4),
        "share_lower": round(float(np.mean(signed < 0)), 3),
        "delta_log_likelihood": _quantiles(change),
        "models_with_another_region": int(moved[both].any(axis=1).sum()),
        "relative_r_max": _quantiles(np.abs(other[seen] / top[seen] - 1)),
        "relative_r_of_results": _quantiles(relative),
        "flips": int((crossed & (np.abs(top - 1) > 0.1)).sum()),
        "flips_near_one": int((crossed & (np.abs(top - 1) <= 0.1)).sum()),
        "delta_K": _quantiles(k[np.isfinite(k)]),
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
    parser.add_argument(
        "--walk", choices=("exact", "networks"), default="exact", help="yields of the walk"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    prepare(quiet=True, verbose=False)
    snapshot = load_database(options.database)
    exact, _ = build_engine(snapshot)
    learned, _ = build_engine(snapshot, surrogate=open_surrogate(options.networks))
    walker = exact if options.walk == "exact" else learned
    points = walked_models(walker, options.models, options.steps, options.seed)
    true = score_all(exact, points)
    guess = score_all(learned, points, true)
    result = compare(true, guess)
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
