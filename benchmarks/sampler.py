"""The posterior sampler on the likelihoods of a database, beside other samplers, in one run.

All contents: the kernel of `python -m jaxlik.fit sample` beside a plain Metropolis-Hastings walk
that is corrected and tuned: births with their Hastings ratio, flips of channels and productions, a
random walk of one coordinate with the best of three widths; one evaluation per step. Same compiled
likelihood, same loop, same starting points, same time.

One content, that of the best model built: chains that start from tempered particles
(`walkers.posterior.one_content`) beside the same walk, emcee (32 walkers, the likelihood
vectorised over half of them) and dynesty, all but the last started from these particles.
Effective draws are the smallest over the quantities; for emcee from its own autocorrelation
time, for dynesty Kish's number of its weights.

    python -m benchmarks.sampler [--database PATH] [--only contents|one] [--seconds S] [--json FILE]
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.random_walk import RandomWalk
from jaxlik.compilation import compile_short
from jaxlik.fit.config import SampleConfig, SearchConfig
from jaxlik.fit.diagnostics import bulk_ess, r_hat

CHAINS = 4
WIDTHS = (0.3, 0.7, 1.5)
"""Of the random walk, in standard deviations of the prior."""

WALKERS = 32
"""Of emcee."""

MANY = WALKERS // 2
"""Chains at one content: as many likelihoods side by side as emcee has."""

PATIENCE = 20
"""Times as long as the others dynesty may take: it ends by itself, or there."""

PARTICLES = 500
"""Of sequential Monte Carlo at one content."""


class Effort(NamedTuple):
    """How long samplers work.

    Attributes:
        seconds: Of each sampler.
        block: Sweeps per compiled call, of which the first is not counted.
    """

    seconds: float
    block: int = 100

    def part(self, divisor: int) -> "Effort":
        """A fraction of the time."""
        return self._replace(seconds=self.seconds / divisor)


class Row(NamedTuple):
    """One sampler.

    Attributes:
        name: Of the sampler.
        effective: Smallest effective number of draws, by kind of quantity.
        evaluations: Likelihoods evaluated; those within gradients are counted in `gradients`.
        gradients: Likelihoods evaluated with their gradient.
        seconds: Of sampling; compilation and warm-up apart.
        r_hat: Largest of all quantities; `nan` where there is none.
    """

    name: str
    effective: dict[str, float]
    evaluations: int
    gradients: int
    seconds: float
    r_hat: float


def engine_of(database: str) -> Any:
    """The engine with networks."""
    from jaxlik.database.compile import load_database
    from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
    from jaxlik.fit.assemble import build_engine

    networks = open_surrogate(shipped_surrogate())
    return build_engine(load_database(database), surrogate=networks)[0]


def plain_kernel(target: Any, kernel: Any, width: float) -> Any:
    """Metropolis-Hastings with births from the prior and a random walk."""
    from walkers.posterior.contents import BirthDeath, Eligible, Fittings
    from walkers.posterior.kernel import Kernel
    from walkers.posterior.moves import ContentMove

    space = target.space
    size = target.num_parameters
    moves = (
        ContentMove(BirthDeath(Fittings(space))),
        ContentMove(Eligible(space, "channels")),
        ContentMove(Eligible(space, "productions")),
        RandomWalk(jnp.arange(size), jnp.asarray(width)),
    )
    tasks = ((0, 3, 1, 3, 0, 3, 2, 3),)
    return Kernel(target, moves, tasks, kernel.trajectory, kernel.tuning, kernel.auxiliary)


def run_for(kernel: Any, states: Any, effort: Effort, seed: int, label: str) -> tuple:
    """Draws for some time: where chains stand then, draws, counts, seconds spent."""
    from walkers.posterior.kernel import run_chains

    key = jax.random.key(seed)

    def run(here: Any, first: int) -> tuple:
        found = run_chains(key, kernel, here, num_draws=effort.block, first_sweep=first)
        return jax.block_until_ready(found)

    run(states, 0)  # compiles
    parts, counts, spent = [], [], 0.0
    with tqdm(total=round(effort.seconds), desc=label, unit="s") as bar:
        while spent < effort.seconds:
            start = time.perf_counter()
            states, draws, info = run(states, len(parts) * effort.block)
            spent += time.perf_counter() - start
            parts.append(jax.device_get(draws))
            counts.append(jax.device_get(info))
            bar.update(min(round(spent), bar.total) - bar.n)
    draws = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
    total = jax.tree.map(lambda *leaves: sum(leaves), *counts)
    return states, draws, total, spent


def row_of(name: str, kinds: dict[str, list[np.ndarray]], info: Any, seconds: float) -> Row:
    """Smallest effective numbers over quantities that vary."""
    numbers = {kind: [np.asarray(one, float) for one in ones] for kind, ones in kinds.items()}
    varying = {kind: [one for one in ones if np.ptp(one) > 0] for kind, ones in numbers.items()}
    effective = {kind: min(map(bulk_ess, ones)) for kind, ones in varying.items() if ones}
    worst = max(r_hat(one) for ones in varying.values() for one in ones)
    gradients = int(info.trajectory.gradients.sum())
    moved = int(info.trajectory.moved.sum())
    evaluations = int(info.proposed.sum()) + moved
    return Row(name, effective, evaluations, gradients, seconds, worst)


def all_contents(target: Any, draws: Any, often: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Indicators of particles, and quantities that every model has."""
    space = target.space
    active = draws.bits[..., : space.num_particles]
    size = active.sum(axis=-1)
    others = [n for n in np.flatnonzero(often) if n != space.lbp]
    return {
        "contents": [size == 1, size, *(active[..., n] for n in others)],
        "continuous": [draws.vector[..., space.lbp], draws.exact],
    }


def compare_contents(target: Any, kernel: Any, states: Any, effort: Effort) -> list[Row]:
    """Our kernel and the best plain one over all contents."""
    from walkers.posterior.warmup import learned

    for seed in range(3):
        states, draws, info, _ = run_for(kernel, states, effort.part(6), 10 + seed, "warming up")
        kernel = learned(kernel, draws.bits, draws.vector, info.trajectory)
    _, draws, info, spent = run_for(kernel, states, effort, 1, "jaxlik")
    often = draws.bits[..., : target.space.num_particles].mean(axis=(0, 1)) > 0.01
    rows = [row_of("jaxlik", all_contents(target, draws, often), info, spent)]
    return [
        *rows,
        best_plain(target, kernel, states, effort, lambda d: all_contents(target, d, often)),
    ]


def best_plain(
    target: Any,
    kernel: Any,
    states: Any,
    effort: Effort,
    kinds: Callable[[Any], dict[str, list[np.ndarray]]],
    *,
    fixed: bool = False,
) -> Row:
    """Plain Metropolis-Hastings with the width that does best in a pilot run."""
    found = []
    for width in WIDTHS:
        plain = plain_kernel(target, kernel, width)
        if fixed:
            plain = replace(plain, moves=plain.moves[3:], schedule=((0,) * 8,))
        after, draws, info, spent = run_for(plain, states, effort.part(4), 2, f"plain {width}")
        row = row_of(f"plain walk, width {width}", kinds(draws), info, spent)
        found.append((row.effective["continuous"], width, plain, after))
    _, width, plain, after = max(found, key=lambda one: one[0])
    _, draws, info, spent = run_for(plain, after, effort, 3, f"plain {width}")
    return row_of(f"plain walk, width {width}", kinds(draws), info, spent)


def compare_fixed(target: Any, point: Any, effort: Effort) -> list[Row]:
    """One content: tempered particles and chains from them, plain walk, emcee, dynesty."""
    from walkers.posterior.one_content import content_kernel, content_posterior
    from walkers.posterior.sampler import coordinate_blocks, starting_states
    from walkers.posterior.warmup import moments_of, refitted

    bits, _ = target.coordinates(point)
    used = np.flatnonzero(np.asarray(target.in_use(bits)))
    blocks = jnp.asarray(coordinate_blocks(target.space))

    def kinds(draws: Any) -> dict[str, list[np.ndarray]]:
        return {"continuous": [*np.moveaxis(draws.vector[..., used], -1, 0), draws.exact]}

    for seed in range(2):  # the first one compiles
        start = time.perf_counter()
        found = content_posterior(
            jax.random.key(seed), target, bits, blocks, particles=PARTICLES,
            on_step=lambda text: print(f"particles: {text}", end="\r"),
        )  # fmt: skip
        took = time.perf_counter() - start
        print(f"\n{PARTICLES} particles: {took:.0f} s, ln Z = {found.log_evidence:+.2f} "
              f"± {found.error:.2f}, {found.levels} levels")  # fmt: skip
    every, places = jnp.asarray(found.bits), jnp.asarray(found.vectors)
    kernel = refitted(content_kernel(target, blocks), moments_of(target, every, places))
    states = starting_states(target, every[:MANY], places[:MANY])
    _, draws, info, spent = run_for(kernel, states, effort, 4, "jaxlik, one content")
    rows = [row_of("jaxlik, from the particles", kinds(draws), info, spent)]
    rows.append(best_plain(target, kernel, states, effort, kinds, fixed=True))
    starts = found.vectors[:WALKERS, used]
    return [*rows, *peers(target, bits, places[0], used, starts, effort)]


def peers(
    target: Any, bits: Any, vector: Any, used: np.ndarray, starts: np.ndarray, effort: Effort
) -> list[Row]:
    """Emcee and dynesty on the same compiled likelihood; those that are installed."""

    @eqx.filter_jit
    def log_likelihoods(target: Any, rows: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: target.log_likelihood(bits, vector.at[used].set(row)))(rows)

    calls = 0

    def compiled(rows: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += len(rows)
        return np.asarray(log_likelihoods(target, jnp.asarray(rows)))

    rows = []
    try:
        import emcee
    except ImportError:
        print("emcee is not installed: left out")
    else:

        def log_density(places: np.ndarray) -> np.ndarray:
            return compiled(places) - 0.5 * np.sum(places**2, axis=1)

        compiled(starts[: WALKERS // 2])
        spread = starts + 1e-3 * np.random.default_rng(0).normal(size=starts.shape)
        sampler = emcee.EnsembleSampler(WALKERS, len(used), log_density, vectorize=True)
        state = sampler.run_mcmc(spread, 50)
        sampler.reset()
        calls, start = 0, time.perf_counter()
        with tqdm(total=round(effort.seconds), desc="emcee", unit="s") as bar:
            while time.perf_counter() - start < effort.seconds:
                state = sampler.run_mcmc(state, 20)
                bar.update(min(round(time.perf_counter() - start), bar.total) - bar.n)
        spent = time.perf_counter() - start
        tau = sampler.get_autocorr_time(quiet=True, tol=0)
        effective = sampler.get_chain(flat=True).shape[0] / float(np.max(tau))
        rows.append(Row("emcee", {"continuous": effective}, calls, 0, spent, float("nan")))
    try:
        import dynesty
    except ImportError:
        print("dynesty is not installed: left out")
    else:
        from scipy.stats import norm

        def one(place: np.ndarray) -> float:
            return float(max(compiled(place[None])[0], -1e10))

        one(starts[0])
        start = time.perf_counter()
        one(starts[0])
        most = round(PATIENCE * effort.seconds / (time.perf_counter() - start))
        sampler = dynesty.NestedSampler(one, norm.ppf, len(used), nlive=100, sample="rwalk")
        calls, start = 0, time.perf_counter()
        sampler.run_nested(dlogz=0.5, maxcall=most, print_progress=False)
        spent = time.perf_counter() - start
        weights = np.exp(sampler.results.logwt - sampler.results.logz[-1])
        effective = float(weights.sum() ** 2 / np.square(weights).sum())
        rows.append(
            Row(
                "dynesty, 100 live points", {"continuous": effective}, calls, 0, spent, float("nan")
            )
        )
    return rows


def table(title: str, rows: list[Row]) -> str:
    """Rows as Markdown, with ratios to the first one."""
    kinds = list(rows[0].effective)
    head = ["sampler", *(f"ESS/s {kind} (ratio)" for kind in kinds), "per 1000 evaluations",
            "evaluations, gradients", "seconds", "R-hat"]  # fmt: skip
    lines = [f"{title}\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        speed = {kind: value / row.seconds for kind, value in row.effective.items()}
        first = {kind: value / rows[0].seconds for kind, value in rows[0].effective.items()}
        cells = [f"{speed[kind]:.3g} ({first[kind] / speed[kind]:.1f})" for kind in kinds]
        cost = (row.evaluations + row.gradients) / 1000
        cells.append(", ".join(f"{value / cost:.3g}" for value in row.effective.values()))
        cells += [f"{row.evaluations}, {row.gradients}", f"{row.seconds:.0f}", f"{row.r_hat:.3f}"]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", default="embedded")
    parser.add_argument("--only", choices=("contents", "one"), help="one of the two tables")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each sampler")
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    compile_short()
    jax.config.update("jax_enable_x64", True)
    from walkers.grow import grow_from, simple_models
    from walkers.posterior import sampler
    from walkers.target import EngineTarget

    engine = engine_of(options.database)
    config = SampleConfig(chains=CHAINS)
    search = SearchConfig(gradient_steps=0)
    score = EngineTarget(engine)  # type: ignore[reportCallIssue]
    simple = simple_models(score, engine.yields, search)
    good = grow_from(score, simple, search).points
    target = sampler.model_target(engine, config)
    kernel = sampler.model_kernel(target, simple, config)
    results, effort = {}, Effort(options.seconds)
    if options.only != "one":
        states = sampler.first_state(target, kernel, good, config).states
        results["All contents"] = compare_contents(target, kernel, states, effort)
    if options.only != "contents":
        best = jax.tree.map(lambda leaf: leaf[0], good)
        results["The content of the best model"] = compare_fixed(target, best, effort)
    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {options.database}; {CHAINS} chains\n")
    for title, rows in results.items():
        print(table(title, rows) + "\n")
    if options.json:
        document = {title: [row._asdict() for row in rows] for title, rows in results.items()}
        Path(options.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
