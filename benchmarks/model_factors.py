r"""Bayes factors on data of the Standard Model.

If the choice of the combination does not use the data, the likelihood ratio of every model
$\theta$ is one of normalised densities, and so is that of any mixture of models,

$$ B(D) = \frac{1}{J} \sum_{j=1}^J \frac{p(D|\theta_j)}{p(D|\text{SM})}, \qquad
   E_\text{SM}[B] = 1. $$

Models are draws of the prior that some result sees. As they are, most of them would be excluded
with certainty: B has a mean of one, but it is carried by data sets that nobody will draw. Their
signal strengths are therefore multiplied by one factor each, which makes all of them equally
significant, and which knows nothing of the data. With known backgrounds b the variance follows
from the signals s in the regions r of both combinations,

$$ \mathrm{Var}_\text{SM}[B]
   = \frac{1}{J^2} \sum_{jk} \exp\Big(\sum_r s_{jr} s_{kr} / b_r\Big) - 1, $$

so that an error needs no estimate from a long tail. The second test has no tail: where the
Standard Model and the mixture are equally probable, the posterior probability B/(1 + B) of
the mixture must on average be how often it is true.

References:
    I. J. Good, J. Stat. Comput. Simul. 22 (1985) 155: E[B] = 1, after A. M. Turing.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.small_space import expected_signal, in_groups, informed, joint_draws
from jaxlik.combination.cliques import choose, restrict
from jaxlik.physics.bijections import layout
from jaxlik.typing import Array, Bool, Float

SIGNIFICANCE = 1.5
"""Root of the sum of s^2/b of every model."""

BOUNDS = (2.0, 5.0, 10.0)
"""Bayes factors of which the frequency without signal is reported."""

BATCH = 200
"""Data sets side by side for one model."""


class Factors(NamedTuple):
    """What data sets gave: means with their errors.

    Attributes:
        unsignalled: Bayes factor on data of the Standard Model; the exact error.
        spread: Its error from the data sets.
        by_data: The same where the data choose the combination; error from the data sets.
        balance: Truth of the mixture less its probability, on balanced data.
        above: Share of Bayes factors above 2, 5 and 10, without signal.
    """

    unsignalled: tuple[float, float]
    spread: float
    by_data: tuple[float, float]
    balance: tuple[float, float]
    above: tuple[float, float, float]


def p_value(found: tuple[float, float], expected: float) -> float:
    """Two-sided, of a mean with its error."""
    return float(2 * stats.norm.sf(abs(found[0] - expected) / found[1]))


@eqx.filter_jit
def faint(
    target: Any, bits: Bool[Array, "model bit"], vectors: Float[Array, "model parameter"]
) -> tuple[Float[Array, "model parameter"], Float[Array, "model region"]]:
    """Models with strengths that make all of them equally significant, and their signals."""
    strengths = layout(target.space).strengths
    background = target.engine.regions.background

    def one(bits: Array, vector: Array) -> tuple[Array, Array]:
        def step(vector: Array, _: None) -> tuple[Array, Array]:
            signal = expected_signal(target.engine, target.point(bits, vector))
            power = jnp.sum(signal**2 / background)
            gain = jnp.log(SIGNIFICANCE) - 0.5 * jnp.log(jnp.where(power > 0, power, 1.0))
            shift = jnp.where(power > 0, gain / target.widths.strength, 0.0)
            return vector.at[strengths].add(shift), signal

        # A faint model may be seen by fewer results, so that one step is not quite enough.
        vector, _ = jax.lax.scan(step, vector, None, length=3)
        return vector, expected_signal(target.engine, target.point(bits, vector))

    return jax.vmap(one)(bits, vectors)


@eqx.filter_jit
def log_ratios(
    target: Any,
    bits: Bool[Array, "model bit"],
    vectors: Float[Array, "model parameter"],
    counts: Float[Array, "batch set region"],
) -> tuple[Float[Array, "model batch set"], Float[Array, "model batch set"]]:
    """ln(L/L_SM) of models on data sets: as the posterior has it, and as the data like it best.

    The second is that of the compatible results with the largest sum of ln(L/L_SM).
    """

    def one(bits: Array, vector: Array) -> tuple[Array, Array]:
        engine, point = target.engine, target.point(bits, vector)
        prediction = engine.predict(point, engine.reference_production(point))
        cliques = restrict(engine.cliques, engine.evaluate(point).live, min_members=1)

        def on_data(observed: Array) -> tuple[Array, Array]:
            here = informed(target, observed)
            values, _ = here.engine.log_ratios(prediction, jnp.ones(1))
            return here.log_likelihood(bits, vector), values[0]

        def on_batch(observed: Array) -> tuple[Array, Array]:
            found, values = jax.vmap(on_data)(observed)
            return found, 0.5 * choose(engine.cliques, cliques, values).value

        return jax.lax.map(on_batch, counts)

    return jax.vmap(one)(bits, vectors)


def mean_factors(target: Any, num_models: int, num_sets: int) -> Factors:
    """Bayes factors of a mixture of models, on data with and without signal.

    Args:
        target: Gives prior and likelihood.
        num_models: Models of the mixture.
        num_sets: Data sets of the Standard Model; as many of the mixture.
    """
    _, states = joint_draws(target, 4 * num_models, 10, "models")
    seen = np.flatnonzero(states.log_likelihood != 0)
    bits, vectors = (np.asarray(part)[seen] for part in (states.bits, states.vector))

    def fainter(group: np.ndarray) -> tuple[Array, Array]:
        return faint(target, jnp.asarray(bits[group]), jnp.asarray(vectors[group]))

    vectors, signal = in_groups(fainter, len(seen), "strengths")
    background = np.asarray(target.engine.regions.background)
    power = np.sum(signal**2 / background, axis=1)
    kept = np.flatnonzero(np.abs(power - SIGNIFICANCE**2) < 0.1)[:num_models]
    bits, vectors, signal = bits[kept], vectors[kept], signal[kept]
    rng = np.random.default_rng(11)
    true = rng.integers(0, len(kept), num_sets)
    without = rng.poisson(background, (num_sets, len(background)))
    counts = np.concatenate([without, rng.poisson(background + signal[true])]).astype(float)
    padded = np.arange(-(-len(counts) // BATCH) * BATCH) % len(counts)
    batches = jnp.asarray(counts[padded].reshape(-1, BATCH, len(background)))

    def ratios(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = log_ratios(target, jnp.asarray(bits[group]), jnp.asarray(vectors[group]), batches)
        return tuple(np.asarray(part).reshape(len(group), -1) for part in found)  # type: ignore[reportReturnType]

    both = in_groups(ratios, len(kept), "Bayes factors")
    fair, by_data = (np.exp(part[:, : len(counts)]).mean(axis=0) for part in both)
    alone = fair[:num_sets]
    scaled = signal / np.sqrt(background)
    variance = np.exp(scaled @ scaled.T).mean() - 1
    probability = fair / (1 + fair)
    # One data set of each kind makes a pair.
    balance = 0.5 * (1 - probability[num_sets:] - probability[:num_sets])
    return Factors(
        (float(alone.mean()), float(np.sqrt(variance / num_sets))),
        mean_error(alone),
        (float(by_data[:num_sets].mean()), mean_error(by_data[:num_sets])),
        (float(balance.mean()), mean_error(balance)),
        tuple(float(np.mean(alone > bound)) for bound in BOUNDS),  # type: ignore[reportArgumentType]
    )


def mean_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent numbers."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
