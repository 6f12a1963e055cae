r"""A small model space with the likelihoods of a database, for tests of the sampler.

A stop, a gluino and the lightest particle, with all their channels, and the counts of all results
that are embedded in the package. Models are drawn from the prior, counts from the density that the
posterior assumes: under a model $\theta$ the regions of its most sensitive combination hold
signal and background, all others background. Backgrounds are taken as known and results as
independent, so that this density is exact: nuisances, where there are some, are profiled, which
is no density.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.fit.config import SampleConfig
from jaxlik.typing import Array, Bool, Float, Int, Key
from walkers.posterior.contents import Fittings
from walkers.posterior.kernel import Kernel, chain_key
from walkers.posterior.proposals import AbstractDensity
from walkers.posterior.target import ChainState, state_at

PARTICLES = (1000006, 1000021, 1000022)

CHAINS = 4
"""Chains side by side in one compiled call."""

SMALLEST_BACKGROUND = 0.01
"""Events; without any background a single event excludes the Standard Model with certainty."""


def small_engine(*, known: bool = True) -> Any:
    """Counts of all results alone, for a few particles.

    Args:
        known: Take backgrounds as known.
    """
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
    if known:
        background = jnp.maximum(regions.background, SMALLEST_BACKGROUND)
        regions = replace(regions, background=background, background_error=1e-6 * background)
    return replace(engine, regions=regions, joint=())


def small_kernel(prior: str, *, known: bool = True) -> Kernel:
    """The kernel of `python -m jaxlik.fit sample` on the small space, not adapted.

    Args:
        prior: Of contents.
        known: Take backgrounds as known.
    """
    from walkers.posterior import sampler

    config = SampleConfig(
        prior=prior,  # type: ignore[reportArgumentType]
        critic=False,
        leads=0,
        largest_lbp=400.0,
        strength_width=1.0,
    )
    target = sampler.model_target(small_engine(known=known), config)
    return sampler.model_kernel(target, None, config)


def expected_signal(engine: Any, point: Any) -> Float[Array, " region"]:
    """Signal in the regions of the most sensitive combination, zero elsewhere."""
    prediction = engine.predict(point, engine.reference_production(point))
    members = engine.compare(point).members[: engine.num_results]
    signal = jnp.where(members, prediction.signals.events[prediction.region], 0.0)
    return jnp.zeros_like(engine.regions.background).at[prediction.region].add(signal)


def informed(thing: Any, counts: Float[Array, " region"]) -> Any:
    """A target, or a kernel with its target, with other data."""
    place = (lambda k: k.target) if isinstance(thing, Kernel) else (lambda t: t)
    return eqx.tree_at(lambda t: place(t).engine.regions.observed, thing, counts)


@eqx.filter_jit
def renewed(
    key: Key[Array, ""],
    target: Any,
    chains: Int[Array, " chain"],
    step: Int[Array, ""],
    bits: Bool[Array, "chain bit"],
    vectors: Float[Array, "chain parameter"],
) -> tuple[Float[Array, "chain region"], ChainState]:
    """Counts drawn for each model, and the model as a state of a chain on these data."""

    def one(chain: Array, bits: Array, vector: Array) -> tuple[Array, ChainState]:
        signal = expected_signal(target.engine, target.point(bits, vector))
        mean = target.engine.regions.background + signal
        counts = jax.random.poisson(chain_key(key, chain, step), mean).astype(float)
        return counts, state_at(informed(target, counts), bits, vector)

    return jax.vmap(one)(chains, bits, vectors)


@eqx.filter_jit
def swept(
    key: Key[Array, ""],
    kernel: Kernel,
    chains: Int[Array, " chain"],
    counts: Float[Array, "chain region"],
    states: ChainState,
    first: Int[Array, ""],
    number: Int[Array, ""],
    backwards: Bool[Array, ""],
) -> ChainState:
    """Chains after some sweeps, each on its own data.

    Args:
        key: Random key of all chains.
        kernel: From `with_way_back`.
        chains: Their numbers, for their keys.
        counts: Their data.
        states: Where they stand.
        first: Number of the first sweep.
        number: Of sweeps.
        backwards: Whether to go the way back.
    """
    period = len(kernel.schedule) // 2

    def one(chain: Array, observed: Array, state: ChainState) -> ChainState:
        here = informed(kernel, observed)

        def sweep(done: Array, state: ChainState) -> ChainState:
            step = first + done
            row = jnp.where(backwards, period, 0) + step % period
            return here.sweep(chain_key(key, chain, step), state, row)[0]

        return jax.lax.fori_loop(0, number, sweep, state)

    return jax.vmap(one)(chains, counts, states)


def with_way_back(kernel: Kernel) -> Kernel:
    """The kernel whose schedule is followed by the same tasks in the opposite order.

    Every task is reversible and a refresh stands between any two sweeps, so that the second half
    of the schedule is the time-reversed first half, as far as coordinates in use go.
    """
    return replace(kernel, schedule=kernel.schedule + backwards(kernel.schedule))


def backwards(schedule: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Rows in the opposite order, and the tasks in each of them."""
    return tuple(row[::-1] for row in schedule[::-1])


class ForgetfulDensity(AbstractDensity):
    """A density of which only a part of the logarithm enters acceptances.

    Attributes:
        inner: What is drawn from.
        part: One for no mistake, zero if the density is forgotten.
    """

    inner: AbstractDensity
    part: Float[Array, ""]

    def sample(
        self,
        key: Key[Array, ""],
        vector: Float[Array, " parameter"],
        which: Bool[Array, " parameter"],
    ) -> Float[Array, " parameter"]:
        """As it should be."""
        return self.inner.sample(key, vector, which)

    def log_density(
        self, vector: Float[Array, " parameter"], which: Bool[Array, " parameter"]
    ) -> Float[Array, ""]:
        """As it should be, times `part`."""
        return self.part * self.inner.log_density(vector, which)


class ForgetfulFittings(Fittings):
    """Fittings of newborn particles, the probability of which is forgotten or not.

    Attributes:
        part: One for no mistake, zero if the probability is forgotten.
    """

    part: Float[Array, ""]

    def log_probability(
        self, bits: Bool[Array, " bit"], number: Int[Array, ""], others: Bool[Array, " particle"]
    ) -> Float[Array, ""]:
        """As it should be, times `part`; what is impossible remains so."""
        value = super().log_probability(bits, number, others)
        return jnp.where(jnp.isfinite(value), self.part * value, value)


def forgetful(kernel: Kernel, *, density: float = 1.0, fittings: float = 1.0) -> Kernel:
    """The kernel with a mistake, or with none; the same program for all of them.

    Args:
        kernel: A right one.
        density: Part of the logarithm of the density of coordinates that moves remember.
        fittings: Part of the logarithm of the probability of fittings that births remember.
    """
    part = jnp.asarray(fittings)
    kernel = jax.tree.map(
        lambda leaf: ForgetfulFittings(leaf.space, part) if isinstance(leaf, Fittings) else leaf,
        kernel,
        is_leaf=lambda leaf: isinstance(leaf, Fittings),
    )
    entering = ForgetfulDensity(kernel.auxiliary.entering, jnp.asarray(density))
    return replace(kernel, auxiliary=kernel.auxiliary._replace(entering=entering))


def prior_models(
    target: Any, count: int, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, "draw bit"], Float[np.ndarray, "draw parameter"]]:
    """Independent draws of the prior within its kinematic support, at least so many.

    Exact for any prior of contents: those of a small space are few enough to list.
    """
    from jaxlik.physics.whitened import kinematically_allowed

    size = target.num_bits
    listed = (np.arange(2**size)[:, None] >> np.arange(size)) % 2 == 1
    weight = np.exp(np.asarray(jax.jit(jax.vmap(target.log_prior_bits))(jnp.asarray(listed))))

    @jax.jit
    @jax.vmap
    def allowed(bits: Array, vector: Array) -> Array:
        return kinematically_allowed(target.space, bits, target.point(bits, vector))

    kept: list[tuple[np.ndarray, np.ndarray]] = []
    while sum(len(bits) for bits, _ in kept) < count:
        bits = listed[rng.choice(len(listed), size=1000, p=weight / weight.sum())]
        vectors = rng.normal(size=bits.shape)
        good = np.asarray(allowed(jnp.asarray(bits), jnp.asarray(vectors)))
        kept.append((bits[good], vectors[good]))
    bits, vectors = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return bits, vectors


def joint_draws(
    target: Any, count: int, seed: int, label: str
) -> tuple[Float[np.ndarray, "draw region"], ChainState]:
    """Independent draws of data and models, the latter as states of chains on these data.

    Models for which tables of the engine are too small have no likelihood and are left out, as
    chains do.

    Args:
        target: Gives prior and likelihood.
        count: Number of draws.
        seed: Of the random numbers.
        label: Of the progress bar.
    """
    wanted = count + count // 10 + 20
    bits, vectors = prior_models(target, wanted, np.random.default_rng(seed))
    key = jax.random.key(seed)

    def work(group: np.ndarray) -> tuple[Array, ChainState]:
        places = jnp.asarray(bits[group]), jnp.asarray(vectors[group])
        return renewed(key, target, jnp.asarray(group), jnp.asarray(0), *places)

    found = in_groups(work, wanted, label)
    known = np.flatnonzero(np.isfinite(found[1].log_likelihood))[:count]
    if len(known) < count:
        raise RuntimeError(f"only {len(known)} of {wanted} models have a likelihood")
    return jax.tree.map(lambda leaf: leaf[known], found)


def in_groups(work: Callable[[np.ndarray], Any], count: int, label: str) -> Any:
    """Apply a function to all numbers below `count`, `CHAINS` at a time, with a progress bar.

    The first group alone, because it compiles; the others side by side on all cores.

    Args:
        work: From the numbers of a group to arrays with an axis for them. The last group
            repeats numbers from the beginning.
        count: How many.
        label: Of the bar.
    """
    groups = (np.arange(-(-count // CHAINS) * CHAINS) % count).reshape(-1, CHAINS)
    found = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(groups), desc=label, leave=False) as bar,
    ):
        found.append(jax.tree.map(np.asarray, work(groups[0])))
        bar.update()
        for part in pool.map(lambda group: jax.tree.map(np.asarray, work(group)), groups[1:]):
            found.append(part)
            bar.update()
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *found)
