"""One move on exact draws must leave them exact: cheap, and blind to nothing a move may break."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from toys import (
    WALL,
    Answer,
    DelayedToy,
    WalledToy,
    content_index,
    exact_answer,
    exact_draws,
    gaussian_toy,
    stacked_states,
    walled,
)

from walkers.posterior.moves import Auxiliary
from walkers.posterior.proposals import Gaussian, Mixture
from walkers.posterior.trajectories import Tuning

RIGHT, WRONG = 1e-5, 1e-10
NUM_DRAWS = 20_000
NUM_REFERENCE = 100_000


class Exam(NamedTuple):
    """A toy, exact draws from it, and what they are compared with."""

    toy: eqx.Module
    answer: Answer
    states: tuple
    probabilities: np.ndarray
    reference: np.ndarray


def prepare(kind) -> Exam:
    toy = gaussian_toy(kind=kind)
    answer = exact_answer(toy)
    bits, vectors = exact_draws(answer, NUM_DRAWS, seed=1)
    _, reference = exact_draws(answer, NUM_REFERENCE, seed=2)
    probabilities = answer.probabilities
    if kind is WalledToy:
        bits, vectors = walled(answer, bits, vectors)
        reference = walled(answer, *exact_draws(answer, NUM_REFERENCE, seed=2))[1]
        scales = np.sqrt(np.sum(answer.roots[:, 0] ** 2, axis=1))
        allowed = stats.norm.cdf((WALL - answer.means[:, 0]) / scales)
        probabilities = probabilities * np.where(answer.contents[:, 0], allowed, 1.0)
        probabilities = probabilities / probabilities.sum()
    states = stacked_states(toy, bits, vectors)
    if kind is DelayedToy:
        assert toy.has_exact
    return Exam(toy, answer, states, probabilities, reference)


def auxiliary_of(toy) -> Auxiliary:
    """A fitted mixture, and a pseudo-prior that is what exact draws follow."""
    size = toy.num_parameters
    fitted = Gaussian(jnp.full(size, 0.3), jnp.full(size, 0.6))
    return Auxiliary(Mixture(fitted, toy.block), Gaussian(jnp.zeros(size), jnp.ones(size)))


@eqx.filter_jit
def after_one(step, keys, states):
    """All states after `step(key, state)`."""
    return jax.vmap(step)(keys, states)


def p_value(exam: Exam, states) -> float:
    """Smallest of the p-values of occupancy and positions, times their number.

    chi2 of the contents against their exact probabilities; Kolmogorov-Smirnov of every coordinate
    and of their sum of squares against independent exact draws.
    """
    counts = np.bincount(content_index(states.bits), minlength=len(exam.probabilities))
    expected = exam.probabilities * counts.sum()
    values = [stats.chisquare(counts, expected).pvalue] if np.all(expected > 0) else []
    found = np.asarray(states.vector)
    for columns, reference in zip(_functionals(found), _functionals(exam.reference), strict=True):
        values.append(stats.ks_2samp(columns, reference, method="asymp").pvalue)
    return min(values) * len(values)


def _functionals(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors.T, np.sum(vectors**2, axis=1)[None]])


def repeated(step, times):
    """Several moves instead of one: a mistake adds up."""

    def again(index, carry):
        return step(jax.random.fold_in(carry[2], index), carry[0]) + carry[2:]

    def steps(key, state):
        first = (*step(key, state), key)
        return jax.lax.fori_loop(1, times, again, first)[:2] if times > 1 else first[:2]

    return steps


def moved(exam, move, toy=None, auxiliary=None, times=1):
    """p-value after content moves."""
    toy = exam.toy if toy is None else toy
    auxiliary = auxiliary_of(toy) if auxiliary is None else auxiliary
    step = repeated(lambda key, state: move(key, toy, state, auxiliary), times)
    states, info = after_one(step, keys_for(exam.states), exam.states)
    assert 0.02 < info.accepted.mean() < 1
    return p_value(exam, states)


def transported(exam, kernel, toy=None, step_size=0.5, times=1):
    """p-value after trajectories."""
    toy = exam.toy if toy is None else toy
    tuning = Tuning(jnp.asarray(step_size), jnp.linspace(0.6, 1.2, toy.num_parameters))
    step = repeated(lambda key, state: kernel(key, toy, state, tuning), times)
    states, info = after_one(step, keys_for(exam.states), exam.states)
    assert info.accepted.mean() > 0.02
    assert jnp.mean(jnp.any(states.vector != exam.states.vector, axis=1)) > 0.1
    return p_value(exam, states)


def keys_for(states, seed: int = 3):
    return jax.random.split(jax.random.key(seed), states.log_likelihood.shape[0])
