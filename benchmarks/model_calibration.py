r"""The sampler on the likelihoods of a database: does it know the data it is given?

A small model space (a stop, a gluino and the lightest particle, with all their channels) and the
counts of all results. Models are drawn from the prior, counts from the density that the posterior
assumes: under a model $\theta$ the regions of its most sensitive combination hold signal and
background, all others background. Counts and models, renewed in turn from exact joint draws, must
leave the prior as it is (Geweke's test, with fixed keys).

Backgrounds are taken as known and results as independent, so that this density is exact:
nuisances, where there are some, are profiled, which is no density. Otherwise the engine, the moves
and the target are those of `python -m jaxlik.fit sample`. False-alarm rate 1e-3.

    python -m benchmarks.model_calibration [--chains N] [--cycles N]

References:
    J. Geweke, J. Am. Stat. Assoc. 99 (2004) 799.
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


def quantities(target: Any, bits: Any, vector: Any) -> Any:
    """Functions of a model."""
    used = jnp.where(target.in_use(bits), vector, 0.0)
    number = jnp.sum(bits).astype(float)
    return jnp.stack([number, jnp.sum(used), jnp.sum(used**2), used[target.space.lbp]])


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
        return quantities(kernel.target, bits, vector)

    return jax.lax.map(one, (jnp.arange(len(bits)), bits, vectors), batch_size=CHAINS)


def geweke(kernel: Any, bits: Any, vectors: Any, fresh: tuple, num_cycles: int) -> float:
    """Smallest p-value against independent draws of the prior, times their number."""
    found = np.asarray(cycled(jax.random.key(2), kernel, bits, vectors, num_cycles))
    same = jax.vmap(lambda b, v: quantities(kernel.target, b, v))
    reference = np.asarray(same(jnp.asarray(fresh[0]), jnp.asarray(fresh[1])))
    pairs = zip(found.T, reference.T, strict=True)
    values = [stats.ks_2samp(*pair, method="asymp").pvalue for pair in pairs]
    return min(values) * len(values)


def main() -> int:
    """Print the p-value; exit code 1 if it is an alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=240)
    parser.add_argument("--cycles", type=int, default=24, help="of each chain")
    options = parser.parse_args()
    compile_short()
    jax.config.update("jax_enable_x64", True)
    from walkers.posterior import sampler
    from walkers.posterior.start import prior_draws

    config = SampleConfig(critic=False, leads=0, largest_lbp=400.0, strength_width=1.0)
    target = sampler.model_target(small_engine(), config)
    kernel = sampler.model_kernel(target, None, config)
    bits, vectors = map(jnp.asarray, prior_draws(target.space, target.widths, options.chains, 5))
    fresh = prior_draws(target.space, target.widths, 20_000, 6)
    start = time.perf_counter()
    value = geweke(kernel, bits, vectors, fresh, options.cycles)
    seconds = time.perf_counter() - start
    print(f"Geweke: p = {min(value, 1.0):.3g} (alarm below {ALARM:g}), {seconds:.0f} s")
    return int(value < ALARM)


if __name__ == "__main__":
    sys.exit(main())
