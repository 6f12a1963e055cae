"""Simulation-based calibration (T3).

256 data sets from the prior predictive density; the truth must rank uniformly among posterior
draws. p > 10^-3 over six tests with Bonferroni's factor: that is the false-alarm rate; keys are
fixed. The mistake must fail with p < 10^-10.

References:
    S. Talts et al., arXiv:1804.06788. M. Modrak et al., arXiv:2211.02383: data-dependent
    quantities such as the likelihood.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mistakes import Forgetful
from scipy import stats
from test_geweke import kernel_for
from toys import PRICE, gaussian_toy

from walkers.posterior.kernel import chain_key
from walkers.posterior.target import state_at
from walkers.posterior.trajectories import HMC

pytestmark = [pytest.mark.statistical, pytest.mark.slow]

NUM_SETS, NUM_RANKED, NUM_BURNED, THIN = 256, 27, 60, 10


def quantities(toy, bits, vector):
    """Functions of a state and the data; the number of blocks has ties."""
    used = jnp.where(toy.in_use(bits), vector, 0.0)
    prediction = toy.matrix @ used
    return jnp.stack(
        [
            jnp.sum(bits).astype(float),
            jnp.sum(used),
            jnp.sum(used**2),
            prediction[0],
            toy.log_likelihood(bits, vector),
        ]
    )


@eqx.filter_jit
def ranked(key, kernel):
    """Truth and draws of all quantities, truth and mean of the bits, for each data set."""
    toy = kernel.target

    def one(key):
        which, where, noise, start, walk = jax.random.split(key, 5)
        truth = jax.random.bernoulli(which, jax.nn.sigmoid(-PRICE), (toy.num_bits,))
        place = jax.random.normal(where, (toy.num_parameters,))
        data = toy.matrix @ jnp.where(toy.in_use(truth), place, 0.0)
        data = data + jax.random.normal(noise, data.shape)
        informed = eqx.tree_at(lambda k: k.target.data, kernel, data)
        begin = jax.random.normal(start, (toy.num_parameters,))
        state = state_at(informed.target, jnp.zeros(toy.num_bits, bool), begin)

        def sweep(state, step):
            return informed.sweep(chain_key(walk, 0, step), state)[0], None

        def keep(state, start):
            state, _ = jax.lax.scan(sweep, state, start + jnp.arange(THIN))
            found = quantities(informed.target, state.bits, state.vector)
            return state, (found, state.bits)

        state, _ = jax.lax.scan(sweep, state, jnp.arange(NUM_BURNED))
        starts = NUM_BURNED + THIN * jnp.arange(NUM_RANKED)
        _, (found, bits) = jax.lax.scan(keep, state, starts)
        exact = quantities(informed.target, truth, place)
        return exact, found, truth, jnp.mean(bits, axis=0)

    return jax.vmap(one)(jax.random.split(key, NUM_SETS))


def smallest_p(kernel) -> float:
    """Of chi2 tests of all ranks and a z test of the bits, times their number."""
    exact, found, truth, mean = (np.asarray(x) for x in ranked(jax.random.key(0), kernel))
    rng = np.random.default_rng(0)
    below = np.sum(found < exact[:, None], axis=1)
    # Among equals, any rank is as good.
    ties = np.sum(found == exact[:, None], axis=1)
    ranks = below + rng.integers(0, ties + 1)
    values = []
    for column in ranks.T:
        counts = np.bincount(column // 2, minlength=(NUM_RANKED + 1) // 2)
        values.append(stats.chisquare(counts).pvalue)
    shortfall = (truth - mean).sum(axis=1)
    z = shortfall.mean() / (shortfall.std(ddof=1) / np.sqrt(NUM_SETS))
    values.append(2 * stats.norm.sf(abs(z)))
    return min(values) * len(values)


def test_the_truth_ranks_uniformly():
    assert smallest_p(kernel_for(gaussian_toy(), HMC(num_leapfrogs=4))) > 1e-3


def test_ranks_show_a_forgotten_proposal_density():
    kernel = kernel_for(gaussian_toy(), HMC(num_leapfrogs=4))
    wrong = eqx.tree_at(
        lambda k: k.auxiliary.entering, kernel, Forgetful(kernel.auxiliary.entering)
    )
    assert smallest_p(wrong) < 1e-10
