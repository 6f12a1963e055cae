"""Likelihoods per second: single regions and simplified likelihoods in batches; one process.

    python -m benchmarks.throughput --text DATABASE [--output FILE]

Single regions have random counts, backgrounds and signals; the simplified likelihoods are those
of two results of the database, linear, with signals of a tenth of the background times a random
number. SModelS answers one call at a time, on a few of the same signals. Wall time; compilation
apart; the spread is that of the repeats.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from smodels.statistics.basicStats import observed as OBSERVED  # noqa: E402
from smodels.statistics.simplifiedLikelihoods import (  # noqa: E402
    SLData,
    SLLikelihoodComputer,
    SLUpperLimitComputer,
)

from jaxlik.database.compile import load_database  # noqa: E402
from jaxlik.database.records import CovarianceRecord  # noqa: E402
from jaxlik.inference.bank_mle import best_mu  # noqa: E402
from jaxlik.inference.limits import find_upper_limit  # noqa: E402
from jaxlik.inference.profile import likelihood_pair  # noqa: E402
from jaxlik.statmodels.bank import make_banks  # noqa: E402
from jaxlik.statmodels.build import build  # noqa: E402
from jaxlik.statmodels.poisson import PoissonCounting, profiled_twice_nll  # noqa: E402
from jaxlik.statmodels.simplified import SimplifiedLikelihood  # noqa: E402

REGIONS, LIMITS, SIGNALS, CALLS, REPEATS = 1_000_000, 100_000, 2000, 10, 5

RESULTS = ("CMS-SUS-20-004-eff", "CMS-SUS-19-006-agg")


def timed(function: Callable, *arguments: jax.Array) -> tuple[list[float], float]:
    """Seconds of repeated calls, ascending, and of the first."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    first = time.perf_counter() - begin
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - begin)
    return sorted(times), first


def single_regions() -> list[list[str]]:
    """Rows of the table of single regions."""
    rng = np.random.default_rng(0)
    background = 10 ** rng.uniform(-1, 3, REGIONS)
    error = background * rng.uniform(0.05, 0.5, REGIONS)
    observed = rng.poisson(background).astype(float)
    signal = 10 ** rng.uniform(-0.5, 1.5, REGIONS)
    arrays = [jnp.asarray(a) for a in (signal, observed, background, error)]

    def total(*terms: jax.Array) -> jax.Array:
        return jnp.sum(profiled_twice_nll(1.0, *terms))

    def limit(s: jax.Array, n: jax.Array, b: jax.Array, e: jax.Array) -> jax.Array:
        model = PoissonCounting(n[None], b[None], e[None])
        return find_upper_limit(*likelihood_pair(model, s[None])).mu

    few = [a[:LIMITS] for a in arrays]
    tasks = {
        "profiled -2 ln L": (jax.jit(lambda *t: profiled_twice_nll(1.0, *t)), arrays),
        "its slopes in signal, background, error": (
            jax.jit(jax.grad(total, argnums=(0, 2, 3))),
            arrays,
        ),
        "observed upper limits": (jax.jit(jax.vmap(limit)), few),
    }
    rows = []
    for name, (function, given) in tasks.items():
        times, first = timed(function, *given)
        size = given[0].shape[0]
        rates = [size / t for t in (statistics.median(times), times[-1], times[0])]
        spread = f"{rates[0]:.2g} ({rates[1]:.2g} to {rates[2]:.2g})"
        rows.append([name, f"{size}", spread, f"{first:.1f}"])
    return rows


def own_tasks(model: SimplifiedLikelihood) -> dict[str, Callable]:
    """Batched functions of signals."""
    (bank,) = make_banks([model])
    one = jnp.ones(1)

    def profile(signal: jax.Array) -> jax.Array:
        return bank.profile(one, signal[None]).twice_nll[0, 0]

    def best(signal: jax.Array) -> jax.Array:
        return best_mu(bank, signal[None]).mu_hat[0]

    def limit(signal: jax.Array) -> jax.Array:
        return find_upper_limit(*likelihood_pair(model, signal)).mu

    tasks = {"profile at mu = 1": profile, "best mu": best, "observed upper limit": limit}
    return {name: jax.jit(jax.vmap(task)) for name, task in tasks.items()}


def smodels_tasks(record: CovarianceRecord) -> dict[str, Callable]:
    """The same of SModelS, for one signal."""

    def data(signal: np.ndarray) -> SLData:
        return SLData(
            record.observed,
            record.background,
            record.covariance,
            nsignal=signal,
            deltas_rel=0.0,
        )

    return {
        "profile at mu = 1": lambda s: SLLikelihoodComputer(data(s)).nll(1.0, OBSERVED),
        "best mu": lambda s: SLLikelihoodComputer(data(s)).nll_min(OBSERVED),
        "observed upper limit": lambda s: SLUpperLimitComputer(data(s)).getUpperLimitOnMu(OBSERVED),
    }


def simplified(record: CovarianceRecord) -> list[list[str]]:
    """Rows of one simplified likelihood."""
    size = len(record.background)
    rng = np.random.default_rng(3)
    signals = 0.1 * record.background * rng.uniform(0, 2, (SIGNALS, size))
    peers = smodels_tasks(record)
    rows = []
    for name, task in own_tasks(build(record)).items():
        times, first = timed(task, jnp.asarray(signals))
        own = statistics.median(times) / SIGNALS
        others = []
        for signal in signals[:CALLS]:
            begin = time.perf_counter()
            peers[name](signal)
            others.append(time.perf_counter() - begin)
        other = statistics.median(others)
        rows.append(
            [
                record.analysis_id,
                f"{size}",
                name,
                f"{1e3 * own:.3g} ({1e3 * times[0] / SIGNALS:.3g} to "
                f"{1e3 * times[-1] / SIGNALS:.3g})",
                f"{1 / own:.2g}",
                f"{1e3 * other:.3g} ({1e3 * min(others):.3g} to {1e3 * max(others):.3g})",
                f"{other / own:.0f}",
                f"{first:.1f}",
            ]
        )
    return rows


def lines(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    body = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return [body[0], "|---" * len(header) + "|", *body[1:]]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    snapshot = load_database(given.text)
    regions, rows = single_regions(), []
    for folder in RESULTS:
        found = snapshot.result(folder).covariance
        assert found is not None
        record = CovarianceRecord(
            folder, found.region_ids, found.observed, found.background, found.covariance
        )
        rows += simplified(record)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = [
        "# Likelihoods per second",
        "",
        f"Made by `python -m benchmarks.throughput`. {platform.machine()}, {cores} core(s), Python "
        f"{platform.python_version()}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}; double "
        "precision. Medians (slowest to fastest).",
        "",
        "## Single regions, one batch",
        "",
        *lines(["what", "batch", "per second", "first call [s]"], regions),
        "",
        f"## Simplified likelihoods, {SIGNALS} signals in a batch",
        "",
        f"SModelS: {CALLS} of these signals, one call each; the gain contains that of the batch.",
        "",
        *lines(
            [
                "result",
                "bins",
                "what",
                "jaxlik [ms/signal]",
                "per second",
                "SModelS [ms]",
                "gain",
                "first call [s]",
            ],
            rows,
        ),
    ]
    page = "\n".join(text) + "\n"
    if given.output:
        given.output.write_text(page)
    else:
        print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
