r"""The sampler on the likelihoods of a database: is it calibrated on data of its own making?

A small model space (a stop, a gluino and the lightest particle, with all their channels) and the
counts of all results. Models are drawn from the prior, counts from the density that the posterior
assumes: under a model $\theta$ the regions of its most sensitive combination hold signal and
background, all others background. Two tests, each with fixed keys:

- Simulation-based calibration: the truth must rank uniformly among the draws of a chain.
- Geweke: counts and models renewed in turn must leave the prior as it is.

Backgrounds are taken as known and results as independent, so that this density is exact:
nuisances, where there are some, are profiled, which is no density. Otherwise the engine, the moves
and the target are those of `python -m jaxlik.fit sample`. False-alarm rate 1e-3 for each test.

    python -m benchmarks.model_calibration [--sets N] [--cycles N]

References:
    S. Talts et al., arXiv:1804.06788. J. Geweke, J. Am. Stat. Assoc. 99 (2004) 799.
"""

import argparse
import sys
import time
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxlik.compilation import compile_short
from jaxlik.fit.config import SampleConfig

PARTICLES = (1000006, 1000021, 1000022)
CHAINS = 4
"""Chains side by side in one compiled call."""

BURNED, RANKED, THIN = 12, 15, 6
"""Sweeps before the first draw of a data set, draws that the truth is ranked among, and sweeps
per draw: about one turn of the kernel before the first, half of one between draws."""

ALARM = 1e-3


def small_engine() -> Any:
    """Counts of all results alone, with known backgrounds, for a few particles."""
    from jaxlik.database.compile import load_database
    from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
    from jaxlik.fit.assemble import build_engine
    from jaxlik.physics.model import make_space, protomodel_space

    pool = protomodel_space()
    channels = [
        (mother, daughter, sm)
        for mother, daughter, sm in pool.channels
        if mother in PARTICLES and daughter in PARTICLES
    ]
    modes = [pair for pair in pool.productions if {abs(pid) for pid in pair} <= set(PARTICLES)]
    space = make_space(PARTICLES, channels, modes)
    networks = open_surrogate(shipped_surrogate())
    engine, _ = build_engine(load_database("embedded"), space=space, surrogate=networks)
    regions = engine.regions
    known = replace(regions, background_error=1e-6 * regions.background)
    return replace(engine, regions=known, joint=())


def simulated(engine: Any, key: Any, point: Any) -> Any:
    """Counts of all regions, drawn from the density that the posterior assumes."""
    prediction = engine.predict(point, engine.reference_production(point))
    members = engine.compare(point).members[: engine.num_results]
    signal = jnp.where(members, prediction.signals.events[prediction.region], 0.0)
    regions = engine.regions
    mean = regions.background.at[prediction.region].add(jnp.where(members, signal, 0.0))
    return jax.random.poisson(key, mean).astype(float)


def informed(kernel: Any, counts: Any) -> Any:
    """The kernel with other data."""
    return eqx.tree_at(lambda k: k.target.engine.regions.observed, kernel, counts)


def quantities(target: Any, bits: Any, vector: Any, log_likelihood: Any) -> Any:
    """Functions of a model, with the likelihood, which knows the data."""
    used = jnp.where(target.in_use(bits), vector, 0.0)
    lbp = used[target.space.lbp]
    return jnp.stack(
        [jnp.sum(bits).astype(float), jnp.sum(used), jnp.sum(used**2), lbp, log_likelihood]
    )


@eqx.filter_jit
def ranked(key: Any, kernel: Any, bits: Any, vectors: Any) -> tuple[Any, Any]:
    """Quantities of every truth, and of draws given its data."""
    from walkers.posterior.kernel import chain_key
    from walkers.posterior.target import state_at

    def one(task: tuple) -> tuple[Any, Any]:
        number, truth, place, start_bits, start = task
        data, walk = jax.random.split(jax.random.fold_in(key, number))
        target = kernel.target
        counts = simulated(target.engine, data, target.point(truth, place))
        here = informed(kernel, counts)
        state = state_at(here.target, start_bits, start)

        def sweep(state: Any, step: Any) -> tuple[Any, None]:
            return here.sweep(chain_key(walk, number, step), state, step)[0], None

        def keep(state: Any, first: Any) -> tuple[Any, Any]:
            state, _ = jax.lax.scan(sweep, state, first + jnp.arange(THIN))
            return state, quantities(here.target, *state[:3])

        state, _ = jax.lax.scan(sweep, state, jnp.arange(BURNED))
        _, found = jax.lax.scan(keep, state, BURNED + THIN * jnp.arange(RANKED))
        exact = here.target.log_likelihood(truth, place)
        return quantities(here.target, truth, place, exact), found

    tasks = (jnp.arange(len(bits)), bits, vectors, jnp.roll(bits, 1, 0), jnp.roll(vectors, 1, 0))
    return jax.lax.map(one, tasks, batch_size=CHAINS)


def calibration(kernel: Any, bits: Any, vectors: Any) -> float:
    """Smallest p-value of the ranks of all quantities, times their number."""
    exact, found = (np.asarray(a) for a in ranked(jax.random.key(1), kernel, bits, vectors))
    rng = np.random.default_rng(0)
    below = np.sum(found < exact[:, None], axis=1)
    ties = np.sum(found == exact[:, None], axis=1)
    ranks = below + rng.integers(0, ties + 1)
    values = [
        stats.chisquare(np.bincount(column, minlength=RANKED + 1)).pvalue for column in ranks.T
    ]
    return min(values) * len(values)


@eqx.filter_jit
def cycled(key: Any, kernel: Any, bits: Any, vectors: Any, num_cycles: int) -> Any:
    """Quantities after data and model were renewed in turn, from draws of the prior."""
    from walkers.posterior.kernel import chain_key
    from walkers.posterior.target import state_at

    def one(task: tuple) -> Any:
        number, begin, place = task

        def cycle(carry: tuple, step: Any) -> tuple[tuple, Any]:
            bits, vector = carry
            data, walk = jax.random.split(chain_key(key, number, step))
            target = kernel.target
            counts = simulated(target.engine, data, target.point(bits, vector))
            here = informed(kernel, counts)
            state, _ = here.sweep(walk, state_at(here.target, bits, vector), step)
            return state[:2], None

        (bits, vector), _ = jax.lax.scan(cycle, (begin, place), jnp.arange(num_cycles))
        return quantities(kernel.target, bits, vector, 0.0)[:4]

    return jax.lax.map(one, (jnp.arange(len(bits)), bits, vectors), batch_size=CHAINS)


def geweke(kernel: Any, bits: Any, vectors: Any, fresh: tuple, num_cycles: int) -> float:
    """Smallest p-value against independent draws of the prior, times their number."""
    found = np.asarray(cycled(jax.random.key(2), kernel, bits, vectors, num_cycles))
    zero = jnp.zeros(len(fresh[0]))
    same = jax.vmap(lambda b, v, z: quantities(kernel.target, b, v, z)[:4])
    reference = np.asarray(same(jnp.asarray(fresh[0]), jnp.asarray(fresh[1]), zero))
    pairs = zip(found.T, reference.T, strict=True)
    values = [stats.ks_2samp(*pair, method="asymp").pvalue for pair in pairs]
    return min(values) * len(values)


def main() -> int:
    """Print both p-values; exit code 1 if one is an alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=320, help="data sets of the calibration")
    parser.add_argument("--chains", type=int, default=320, help="chains of Geweke's test")
    parser.add_argument("--cycles", type=int, default=36, help="cycles of each of them")
    options = parser.parse_args()
    compile_short()
    jax.config.update("jax_enable_x64", True)
    from walkers.posterior import sampler
    from walkers.posterior.start import prior_draws

    config = SampleConfig(critic=False, leads=0, largest_lbp=400.0, strength_width=1.0)
    target = sampler.model_target(small_engine(), config)
    kernel = sampler.model_kernel(target, None, config)
    count = max(options.sets, options.chains)
    space = target.space
    bits, vectors = prior_draws(space, target.widths, count, 5, max_particles=config.max_particles)
    fresh = prior_draws(space, target.widths, 20_000, 6, max_particles=config.max_particles)
    bits, vectors = jnp.asarray(bits), jnp.asarray(vectors)
    alarm = False
    for name, test in (
        ("calibration", lambda: calibration(kernel, bits[: options.sets], vectors[: options.sets])),
        (
            "Geweke",
            lambda: geweke(
                kernel, bits[: options.chains], vectors[: options.chains], fresh, options.cycles
            ),
        ),
    ):
        start = time.perf_counter()
        value = test()
        alarm |= value < ALARM
        seconds = time.perf_counter() - start
        print(f"{name}: p = {min(value, 1.0):.3g} (alarm below {ALARM:g}), {seconds:.0f} s")
    return int(alarm)


if __name__ == "__main__":
    sys.exit(main())
