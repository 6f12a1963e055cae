"""The posterior sampler beside plain Metropolis-Hastings, on a toy with known evidences.

Six optional blocks of three coordinates, 24 data, 64 contents (tests/statistical/toys.py).
Plain Metropolis-Hastings is a fair one: births from the prior, a random walk of one block with
a tuned width, one evaluation per step, the same compiled likelihood and the same loop. A
gradient counts as three evaluations. Effective draws are the smallest over the indicators of
blocks and of contents with p > 0.01, and over all predictions (A u).

    python -m benchmarks.sampler_toy [--draws N] [--nuts]
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

from jaxlik.compilation import compile_short

compile_short()
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "statistical"))

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from toys import content_index, exact_answer, gaussian_toy, stacked_states  # noqa: E402

from benchmarks.random_walk import RandomWalk  # noqa: E402
from jaxlik.fit.diagnostics import bulk_ess, r_hat  # noqa: E402
from walkers.posterior.kernel import Kernel, run_chains, standard_kernel  # noqa: E402
from walkers.posterior.nuts import NUTS  # noqa: E402
from walkers.posterior.proposals import unfitted_mixture  # noqa: E402
from walkers.posterior.trajectories import GIST, HMC, AbstractTrajectory  # noqa: E402
from walkers.posterior.warmup import warm_up  # noqa: E402

NUM_CHAINS = 8
GRADIENT = 3
"""Evaluations that a value with its gradient costs."""

WIDTHS = (0.25, 0.4, 0.6)
"""Of the random walk; the best by predictions is kept."""


class Row(NamedTuple):
    """One sampler.

    Attributes:
        name: Of the sampler.
        contents: Smallest effective number of draws of an indicator.
        predictions: Smallest effective number of draws of a prediction.
        evaluations: Of all chains, in units of one likelihood.
        seconds: Of all chains side by side, compilation apart.
        compilation: Seconds of the first run, less `seconds`.
        r_hat: Largest of all quantities.
        distance: Total variation from the exact probabilities of the contents.
    """

    name: str
    contents: float
    predictions: float
    evaluations: float
    seconds: float
    compilation: float
    r_hat: float
    distance: float


def measure(name: str, kernel: Kernel, states, num_draws: int) -> Row:
    """Run a kernel that is ready; the second run is timed."""
    times = []
    for seed in (1, 2):
        start = time.perf_counter()
        _, draws, info = jax.block_until_ready(
            run_chains(jax.random.key(seed), kernel, states, num_draws=num_draws)
        )
        times.append(time.perf_counter() - start)
    toy, answer = kernel.target, exact_answer(kernel.target)
    index = content_index(draws.bits)
    often = np.flatnonzero(answer.probabilities > 0.01)
    indicators = [*np.moveaxis(np.asarray(draws.bits), 2, 0), *(index == c for c in often)]
    used = np.where(np.asarray(draws.bits)[..., toy.block], draws.vector, 0.0)
    predictions = np.moveaxis(used @ np.asarray(toy.matrix).T, 2, 0)
    contents = [bulk_ess(one) for one in indicators if 0.01 < one.mean() < 0.99]
    found = np.bincount(index.ravel(), minlength=len(answer.contents)) / index.size
    gradients = int(info.trajectory.gradients.sum())
    evaluations = int(info.proposed.sum()) + GRADIENT * gradients
    evaluations += index.size if gradients else 0
    return Row(
        name,
        min(contents),
        min(bulk_ess(one) for one in predictions),
        evaluations,
        times[1],
        times[0] - times[1],
        np.nanmax([r_hat(one) for one in (*indicators, *predictions)]),
        0.5 * np.abs(found - answer.probabilities).sum(),
    )


def samplers(nuts: bool, num_draws: int) -> list[Row]:
    """All rows."""
    toy = gaussian_toy(num_blocks=6, size=3, num_data=24)
    rng = np.random.default_rng(0)
    bits = rng.uniform(size=(NUM_CHAINS, 6)) < 0.5
    states = stacked_states(toy, bits, rng.normal(size=(NUM_CHAINS, 18)))
    trajectories: dict[str, AbstractTrajectory] = {"GIST": GIST(), "HMC": HMC()}
    if nuts:
        trajectories["NUTS"] = NUTS()
    rows = []
    for label, trajectory in trajectories.items():
        cold = standard_kernel(toy, toy.block, trajectory=trajectory, num_rebirths=0)
        warm = warm_up(jax.random.key(0), cold, states)
        births = unfitted_mixture(jnp.asarray(toy.block))
        prior = eqx.tree_at(lambda k: k.auxiliary.entering, warm.kernel, births)
        for name, kernel in (("prior", prior), ("fitted", warm.kernel)):
            rows.append(measure(f"{label}, births {name}", kernel, warm.states, num_draws))
    plain = standard_kernel(toy, toy.block)
    walks = []
    for width in WIDTHS:
        walk = RandomWalk(jnp.asarray(toy.block), jnp.asarray(width))
        tasks = ((0,) * 10 + (1,) * 10,)
        moves = (plain.moves[0], walk)
        kernel = Kernel(toy, moves, tasks, plain.trajectory, plain.tuning, plain.auxiliary)
        burned, _, _ = run_chains(jax.random.key(0), kernel, states, num_draws=500)
        walks.append(measure(f"plain, walk {width}", kernel, burned, num_draws))
    return [*rows, max(walks, key=lambda row: row.predictions)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3000, help="kept draws of each chain")
    parser.add_argument("--nuts", action="store_true", help="also numpyro's NUTS; slow")
    options = parser.parse_args()
    rows = samplers(options.nuts, options.draws)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"jax {jax.__version__}; {NUM_CHAINS} chains x {options.draws} sweeps\n")  # fmt: skip
    titles = ("ESS contents", "ESS predictions", "per 1000 evaluations", "per second")
    print(f"| sampler | {' | '.join(titles)} | evaluations/sweep | run, compile [s] | R-hat | TV |")
    print("|---" * 9 + "|")
    for row in rows:
        both = (row.contents, row.predictions)
        cost = [f"{one / row.evaluations * 1000:.2f}" for one in both]
        speed = [f"{one / row.seconds:.0f}" for one in both]
        sweeps = NUM_CHAINS * options.draws
        print(
            f"| {row.name} | {both[0]:.0f} | {both[1]:.0f} | {', '.join(cost)} | "
            f"{', '.join(speed)} | {row.evaluations / sweeps:.0f} | "
            f"{row.seconds:.1f}, {row.compilation:.0f} | {row.r_hat:.3f} | {row.distance:.4f} |"
        )


if __name__ == "__main__":
    main()
