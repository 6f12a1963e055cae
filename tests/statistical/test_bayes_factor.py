"""Bayes factors of a counting toy with overlapping regions (T8), and its contents by quadrature.

Twelve regions in six pairs of which only one may enter a likelihood. If the choice does not use
the data, the mean Bayes factor of pseudo-experiments without signal is one, and large ones are rare
by Markov's inequality. False alarm of |z| < 3: 0.3 per cent; keys are fixed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_chains import batch_error
from toys import content_index, stacked_states

from jaxlik.typing import Array, Float
from walkers.posterior.kernel import run_chains, standard_kernel
from walkers.posterior.target import AbstractProductTarget
from walkers.posterior.warmup import warm_up

pytestmark = pytest.mark.statistical

NUM_PAIRS, NUM_EXPERIMENTS, NUM_NODES = 6, 6000, 16
RNG = np.random.default_rng(11)
BACKGROUND = RNG.uniform(4.0, 30.0, size=(NUM_PAIRS, 2))
YIELDS = 0.2 * np.sqrt(BACKGROUND)[..., None] * RNG.exponential(size=(NUM_PAIRS, 2, 2))
SHARED = 0.6
"""Part of the smaller background of a pair that is seen by both of its regions."""


class CountingToy(AbstractProductTarget):
    """Two particles; the coordinate of each is the logarithm of its rate, divided by 0.3."""

    observed: Float[Array, "pair 2"]
    num_bits: int = eqx.field(static=True, default=2)
    num_parameters: int = eqx.field(static=True, default=2)
    by_data: bool = eqx.field(static=True, default=False)

    def in_use(self, bits):
        return bits

    def log_prior_bits(self, bits):
        return -0.5 * jnp.sum(bits)

    def log_likelihood(self, bits, vector):
        """Relative to no signal; one region per pair, that of the larger expected ratio."""
        rates = jnp.where(bits, jnp.exp(0.3 * jnp.where(bits, vector, 0.0)), 0.0)
        signal = YIELDS @ rates
        gain = jnp.log1p(signal / BACKGROUND)
        found = self.observed * gain - signal
        expected = (BACKGROUND + signal) * gain - signal
        ranked = found if self.by_data else jax.lax.stop_gradient(expected)
        first = ranked[:, 0] >= ranked[:, 1]
        return jnp.sum(jnp.where(first, found[:, 0], found[:, 1]))


def joint_evidences(toy: CountingToy) -> jnp.ndarray:
    """p(content) Z(content) of all four contents, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    products = np.outer(weights, weights).ravel()
    contents = jnp.array([[False, False], [False, True], [True, False], [True, True]])
    prior = jax.nn.softmax(jax.vmap(toy.log_prior_bits)(contents))
    values = jax.vmap(jax.vmap(toy.log_likelihood, (None, 0)), (0, None))(contents, grid)
    return prior * (jnp.exp(values) @ products)


def background_experiments(count: int) -> np.ndarray:
    """Counts without signal; the regions of a pair share events."""
    rng = np.random.default_rng(3)
    shared = SHARED * BACKGROUND.min(axis=1, keepdims=True)
    common = rng.poisson(shared, size=(count, NUM_PAIRS, 1))
    return common + rng.poisson(BACKGROUND - shared, size=(count, NUM_PAIRS, 2)).astype(float)


@pytest.mark.parametrize("by_data", [False, True])
def test_mean_bayes_factor_without_signal_is_one(by_data):
    factors = jax.jit(
        jax.vmap(lambda observed: joint_evidences(CountingToy(observed, by_data=by_data)).sum())
    )(background_experiments(NUM_EXPERIMENTS))
    factors = np.asarray(factors)
    z = (factors.mean() - 1) / (factors.std(ddof=1) / np.sqrt(factors.size))
    if by_data:
        # The best region of the data at hand is no density: the excess is not a fluctuation.
        assert z > 10
        return
    assert abs(z) < 3
    for bound in (2, 3, 5, 10, 30):
        assert np.mean(factors > bound) <= 1 / bound


def test_contents_of_a_likelihood_with_kinks_agree_with_quadrature():
    rng = np.random.default_rng(8)
    observed = rng.poisson(BACKGROUND + 5 * YIELDS[..., 0]).astype(float)
    toy = CountingToy(jnp.asarray(observed))
    exact = np.asarray(joint_evidences(toy))
    exact = exact / exact.sum()
    kernel = standard_kernel(toy, jnp.arange(2), num_flips=3)
    bits = rng.uniform(size=(8, 2)) < 0.5
    states = stacked_states(toy, bits, rng.normal(size=(8, 2)))
    warm = warm_up(jax.random.key(0), kernel, states, num_rounds=3)
    _, draws, _ = run_chains(
        jax.random.key(0), warm.kernel, warm.states, num_draws=4000,
        first_sweep=warm.num_sweeps,
    )  # fmt: skip
    index = content_index(draws.bits)
    for content in np.flatnonzero(exact > 0.01):
        indicator = (index == content).astype(float)
        assert abs(indicator.mean() - exact[content]) < 4 * batch_error(indicator)
