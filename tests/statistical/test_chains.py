"""Chains visit contents as often as exact evidences say (T1), reproducibly (T9), compiled once.

Keys are fixed. False alarms: |z| < 4 for a handful of contents, about 10^-3 per key.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import content_index, exact_answer, exact_draws, gaussian_toy, stacked_states

from walkers.posterior import kernel as kernel_module
from walkers.posterior.kernel import run_chains, standard_kernel
from walkers.posterior.nuts import NUTS
from walkers.posterior.trajectories import GIST, HMC

pytestmark = pytest.mark.statistical

NUM_CHAINS = 8


def starts(toy, answer, count=NUM_CHAINS, seed=5):
    """All contents alike, coordinates from the prior: not the posterior."""
    rng = np.random.default_rng(seed)
    bits = answer.contents[rng.integers(len(answer.contents), size=count)]
    return stacked_states(toy, bits, rng.normal(size=(count, toy.num_parameters)))


def batch_error(values: np.ndarray, num_batches: int = 10) -> np.ndarray:
    """Standard error of the mean over chains and draws, from batch means."""
    chains, draws = values.shape[:2]
    batches = values[:, : draws - draws % num_batches].reshape(chains, num_batches, -1)
    means = batches.mean(axis=2).ravel()
    return means.std(ddof=1) / np.sqrt(len(means))


def check_occupancy(answer, bits, most_tv=0.02):
    """T1: |z| < 4 for contents with p > 0.01, total variation below 0.02."""
    index = content_index(bits)
    found = np.bincount(index.ravel(), minlength=len(answer.contents)) / index.size
    for content in np.flatnonzero(answer.probabilities > 0.01):
        error = batch_error((index == content).astype(float))
        assert abs(found[content] - answer.probabilities[content]) < 4 * error
    assert 0.5 * np.abs(found - answer.probabilities).sum() < most_tv


@pytest.mark.parametrize(
    "trajectory",
    [HMC(), GIST(), pytest.param(NUTS(max_depth=4), marks=pytest.mark.slow)],
    ids=["HMC", "GIST", "NUTS"],
)
def test_contents_are_visited_as_evidences_say(trajectory):
    toy = gaussian_toy()
    answer = exact_answer(toy)
    kernel = standard_kernel(toy, toy.block, trajectory=trajectory)
    states, _, _ = run_chains(jax.random.key(1), kernel, starts(toy, answer), num_draws=100)
    _, draws, info = run_chains(
        jax.random.key(2), kernel, states, num_draws=3000, thin=2, first_sweep=100
    )
    check_occupancy(answer, draws.bits)
    assert (info.accepted.sum(axis=0) > 0.02 * info.proposed.sum(axis=0)).all()
    # Coordinates: means of the exact mixture, whether in use or not.
    exact = answer.probabilities @ answer.means
    for which in range(toy.num_parameters):
        values = np.asarray(draws.vector[:, :, which])
        assert abs(values.mean() - exact[which]) < 4 * batch_error(values)


@pytest.mark.slow
def test_contents_of_the_toy_of_the_specification():
    toy = gaussian_toy(num_blocks=6, size=3, num_data=24)
    answer = exact_answer(toy)
    kernel = standard_kernel(toy, toy.block)
    states, _, _ = run_chains(jax.random.key(1), kernel, starts(toy, answer), num_draws=200)
    _, draws, _ = run_chains(
        jax.random.key(2), kernel, states, num_draws=8000, thin=3, first_sweep=200
    )
    check_occupancy(answer, draws.bits)


def test_a_chain_depends_neither_on_its_company_nor_on_pauses():
    toy = gaussian_toy()
    answer = exact_answer(toy)
    kernel = standard_kernel(toy, toy.block)
    key, states = jax.random.key(3), starts(toy, answer)
    _, together, _ = run_chains(key, kernel, states, num_draws=60, width=4)
    for chain in (0, 5):
        alone = jax.tree.map(lambda leaf, c=chain: leaf[c : c + 1], states)
        _, single, _ = run_chains(
            key, kernel, alone, num_draws=60, chains=jnp.array([chain]), width=4
        )
        for ours, theirs in zip(single, together, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[chain])
    halfway, first, _ = run_chains(key, kernel, states, num_draws=30, width=4)
    _, second, _ = run_chains(key, kernel, halfway, num_draws=30, first_sweep=30, width=4)
    for whole, *halves in zip(together, first, second, strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(halves, axis=1))


def test_contents_seeds_and_tuning_are_data(monkeypatch):
    toy = gaussian_toy()
    answer = exact_answer(toy)
    once = eqx.debug.assert_max_traces(max_traces=1)(kernel_module._run.__wrapped__)
    monkeypatch.setattr(kernel_module, "_run", eqx.filter_jit(once))
    kernel = standard_kernel(toy, toy.block)
    for seed in range(3):
        bits, vectors = exact_draws(answer, 2, seed)
        kernel = eqx.tree_at(lambda k: k.tuning.step_size, kernel, jnp.asarray(0.1 * seed + 0.1))
        states = stacked_states(toy, bits, vectors)
        run_chains(jax.random.key(seed), kernel, states, num_draws=3, first_sweep=seed)


def test_forbidden_contents_are_never_visited():
    class OrderedToy(type(gaussian_toy())):
        def log_prior_bits(self, bits):
            ordered = jnp.all(~bits[1:] | bits[:-1])
            return jnp.where(ordered, super().log_prior_bits(bits), -jnp.inf)

    toy = gaussian_toy(kind=OrderedToy)
    bits, vectors = np.zeros((2, 4), bool), np.zeros((2, 8))
    kernel = standard_kernel(toy, toy.block, free=jnp.array([True, True, True, False]))
    states = stacked_states(toy, bits, vectors)
    _, draws, _ = run_chains(jax.random.key(0), kernel, states, num_draws=300)
    assert set(np.unique(content_index(draws.bits))) == {0b0000, 0b1000, 0b1100, 0b1110}
