"""The whole kernel keeps the joint density of parameters and data (T2).

Chains start as exact draws of contents, coordinates and data. New data given the rest and a sweep
given the data take turns: both keep the joint density, so that all moments stay those of the prior,
which are known in closed form. Chains are independent, hence the errors of averages
over chains are honest. |z| < 4 for 14 moments: false alarm 10^-3; keys are fixed. Mistakes reach
|z| > 10.

Reference: J. Geweke, J. Am. Stat. Assoc. 99 (2004) 799.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mistakes import Forgetful, NoPrior
from scipy.special import expit
from toys import PRICE, DelayedToy, GaussianToy, gaussian_toy

from walkers.posterior.kernel import standard_kernel
from walkers.posterior.proposals import Gaussian, Mixture
from walkers.posterior.target import state_at
from walkers.posterior.trajectories import GIST, HMC

pytestmark = [pytest.mark.statistical, pytest.mark.slow]

NUM_CHAINS, NUM_CYCLES = 2000, 25


def kernel_for(toy, trajectory):
    """Proposals that are not the prior, so that forgetting them shows."""
    kernel = standard_kernel(toy, toy.block, num_flips=3, trajectory=trajectory)
    fitted = Gaussian(jnp.full(toy.num_parameters, 0.4), jnp.full(toy.num_parameters, 0.7))
    return eqx.tree_at(
        lambda k: k.auxiliary.entering, kernel, Mixture(fitted, jnp.asarray(toy.block))
    )


def exact_moments(toy) -> dict[str, float]:
    """Under the prior: bits are independent, with probability 1/(1 + exp(price))."""
    on, columns = expit(-PRICE), np.asarray(toy.matrix) ** 2
    bits, data = toy.num_bits, toy.data.shape[0]
    return {
        **{f"bit {index}": on for index in range(bits)},
        "number squared": bits * on * (1 - on) + (bits * on) ** 2,
        "pair": on**2,
        "coordinate": 0.0,
        "coordinate squared": on,
        "coordinates squared": on * toy.num_parameters,
        "out of use, squared": 1 - on,
        "datum": 0.0,
        "datum squared": 1 + on * columns[0].sum(),
        "residuals squared": float(data),
        "data times prediction": on * columns.sum(),
    }


def moments(toy, state, data) -> jnp.ndarray:
    """The same, of one state; in the same order."""
    used = toy.in_use(state.bits)
    vector = jnp.where(used, state.vector, 0.0)
    prediction = toy.matrix @ vector
    number = jnp.sum(state.bits)
    return jnp.stack(
        [
            *state.bits.astype(float),
            number.astype(float) ** 2,
            (state.bits[0] & state.bits[1]).astype(float),
            vector[0],
            vector[0] ** 2,
            jnp.sum(vector**2),
            jnp.where(used[0], 0.0, state.vector[0] ** 2),
            data[0],
            data[0] ** 2,
            jnp.sum((data - prediction) ** 2),
            jnp.sum(data * prediction),
        ]
    )


@eqx.filter_jit
def scores(key, kernel):
    """Averages of all moments over the cycles of every chain."""
    toy = kernel.target

    def renewed(key, bits, vector):
        noise = jax.random.normal(key, toy.data.shape)
        return toy.matrix @ jnp.where(toy.in_use(bits), vector, 0.0) + noise

    def one_chain(key):
        which, where, first, rest = jax.random.split(key, 4)
        bits = jax.random.bernoulli(which, jax.nn.sigmoid(-PRICE), (toy.num_bits,))
        vector = jax.random.normal(where, (toy.num_parameters,))
        data = renewed(first, bits, vector)

        def cycle(carry, key):
            bits, vector, data = carry
            sweep, new = jax.random.split(key)
            informed = eqx.tree_at(lambda k: k.target.data, kernel, data)
            state = state_at(informed.target, bits, vector)
            state, _ = informed.sweep(sweep, state)
            data = renewed(new, state.bits, state.vector)
            return (state.bits, state.vector, data), moments(toy, state, data)

        _, found = jax.lax.scan(cycle, (bits, vector, data), jax.random.split(rest, NUM_CYCLES))
        return jnp.mean(found, axis=0)

    return jax.vmap(one_chain)(jax.random.split(key, NUM_CHAINS))


def largest_z(kernel, key=0) -> float:
    averages = np.asarray(scores(jax.random.key(key), kernel))
    exact = np.array(list(exact_moments(kernel.target).values()))
    errors = averages.std(axis=0, ddof=1) / np.sqrt(len(averages))
    return np.abs((averages.mean(axis=0) - exact) / errors).max()


@pytest.mark.parametrize(
    ("kind", "trajectory"),
    [(GaussianToy, HMC(num_leapfrogs=4)), (DelayedToy, GIST(num_leapfrogs=4))],
    ids=["HMC", "GIST, two stages"],
)
def test_moments_of_parameters_and_data_stay_exact(kind, trajectory):
    toy = gaussian_toy(kind=kind)
    assert len(exact_moments(toy)) >= 11
    assert largest_z(kernel_for(toy, trajectory)) < 4


def test_a_forgotten_proposal_density_moves_moments():
    kernel = kernel_for(gaussian_toy(), HMC(num_leapfrogs=4))
    wrong = Forgetful(kernel.auxiliary.entering)
    assert largest_z(eqx.tree_at(lambda k: k.auxiliary.entering, kernel, wrong)) > 10


def test_a_forgotten_prior_moves_moments():
    kernel = kernel_for(gaussian_toy(kind=NoPrior), HMC(num_leapfrogs=4))
    assert largest_z(kernel) > 10
