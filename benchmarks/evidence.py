"""Evidence of all contents together, three ways: tempered particles, prior draws, chains.

Particles cross contents with the kernel of `python -m jaxlik.fit sample` (reversible-jump
sequential Monte Carlo); the mean likelihood over independent draws of the prior is the same number
without any kernel; and a run of chains says it by how often they are at the Standard Model. Shares
of the particles in contents are printed beside those of the chains.

    python -m benchmarks.evidence [--database PATH] [--particles N] [--summary RUN/summary.json]
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.sampler import engine_of
from jaxlik.compilation import compile_short
from jaxlik.fit.config import SampleConfig
from jaxlik.fit.posterior_draws import content_key, content_label, particles_of

WIDTH = 16
"""Particles side by side."""

SHOWN = 10
"""Contents printed."""


def shares(target: Any, bits: np.ndarray) -> dict[str, float]:
    """Share of each set of particles, by its key, the largest first."""
    space = target.space
    distinct, counts = np.unique(bits[:, : space.num_particles], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    keys = [content_key(particles_of(space.pdg_ids, distinct[n])) for n in order]
    return dict(zip(keys, counts[order] / counts.sum(), strict=True))


def likelihoods(target: Any, bits: jax.Array, vectors: jax.Array) -> jax.Array:
    """Ln L of many models; the target is an argument, so that its maps are no constants."""

    def one(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        return target.log_likelihood(*row)

    return jax.lax.map(one, (bits, vectors), batch_size=WIDTH)


def main() -> None:
    """Print the evidences and the contents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", default="embedded")
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", type=Path, help="of a run of chains to stand beside")
    options = parser.parse_args()
    compile_short()
    jax.config.update("jax_enable_x64", True)
    from walkers.posterior import sampler
    from walkers.posterior.smc import sequential_evidence
    from walkers.posterior.start import prior_draws

    config = SampleConfig()
    target = sampler.model_target(engine_of(options.database), config)
    kernel = sampler.model_kernel(target, None, config)
    bits, vectors = prior_draws(target.space, target.widths, options.particles, options.seed)
    start = time.perf_counter()
    found = sequential_evidence(
        jax.random.key(options.seed), kernel, jnp.asarray(bits), jnp.asarray(vectors), width=WIDTH
    )
    print(
        f"particles: ln Z = {found.log_evidence:+.4f} ± {found.error:.4f}, {options.particles} in "
        f"{len(found.temperatures)} levels, {time.perf_counter() - start:.0f} s with compilation"
    )
    other, places = prior_draws(target.space, target.widths, options.particles, options.seed + 1)
    states = eqx.filter_jit(likelihoods)(target, jnp.asarray(other), jnp.asarray(places))
    likelihood = np.exp(np.asarray(states))
    mean = likelihood.mean()
    error = likelihood.std() / mean / np.sqrt(len(likelihood))
    print(f"draws of the prior: ln Z = {np.log(mean):+.4f} ± {error:.4f}, as many")
    mine = shares(target, np.asarray(found.states.bits))
    theirs: dict[str, Any] = {}
    if options.summary:
        document = json.loads(options.summary.read_text())
        theirs = {entry["key"]: entry for entry in document["contents"]}
        alone = document["standard_model"]
        before = shares(target, prior_draws(target.space, target.widths, 200_000, 99)[0])
        prior = before[alone["key"]]
        spread = np.hypot(alone["error"] / alone["probability"], np.sqrt((1 - prior) / prior / 2e5))
        value = np.log(prior / alone["probability"])
        print(f"chains: ln Z = {value:+.4f} ± {spread:.4f}")
    for key in list(mine)[:SHOWN]:
        text = f"{100 * mine[key]:6.2f} %"
        if key in theirs:
            text += f"  chains {100 * theirs[key]['probability']:6.2f} %"
        print(f"{text}  {content_label([int(pid) for pid in key.split()])}")


if __name__ == "__main__":
    main()
