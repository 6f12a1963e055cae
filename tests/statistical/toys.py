"""Toys whose posteriors over contents are known exactly, and exact draws from them."""

from itertools import product
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxlik.typing import Array, Bool, Float, Scalar
from walkers.posterior.target import AbstractProductTarget, state_at

PRICE = 0.5 + 2 / 4 + 1 / 8
"""Prior of the toy of the specification (2.1): ln p = -PRICE times the number of blocks."""


class GaussianToy(AbstractProductTarget):
    """Linear Gaussian data; each bit owns a block of coordinates.

    y ~ N(A u, 1) with u zero out of use; evidences are exact: y ~ N(0, 1 + A A^T).
    """

    matrix: Float[Array, "datum parameter"]
    data: Float[Array, " datum"]
    price: Scalar = eqx.field(converter=lambda x: jnp.asarray(x, dtype=float))
    num_bits: int = eqx.field(static=True)

    @property
    def num_parameters(self) -> int:  # type: ignore[override]
        return self.matrix.shape[1]

    @property
    def block(self) -> np.ndarray:
        return np.repeat(np.arange(self.num_bits), self.num_parameters // self.num_bits)

    def in_use(self, bits: Bool[Array, " bit"]) -> Bool[Array, " parameter"]:
        return bits[self.block]

    def log_prior_bits(self, bits: Bool[Array, " bit"]) -> Scalar:
        return -self.price * jnp.sum(bits)

    def log_likelihood(
        self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        rest = self.data - self.matrix @ jnp.where(self.in_use(bits), vector, 0.0)
        return -0.5 * jnp.sum(rest**2) - 0.5 * rest.size * np.log(2 * np.pi)


WALL = 0.4
"""Upper bound of the first coordinate in `WalledToy`."""


class WalledToy(GaussianToy):
    """The same with a hard wall that the guide does not know, and a wrong, smooth guide."""

    def log_likelihood(self, bits, vector):
        allowed = ~bits[0] | (vector[0] < WALL)
        return jnp.where(allowed, super().log_likelihood(bits, vector), -jnp.inf)

    def guide(self, bits, vector):
        return 0.8 * super().log_likelihood(bits, vector) + 0.1 * jnp.sum(jnp.tanh(vector))


class DelayedToy(GaussianToy):
    """The truth is `exact`; the cheap likelihood is wrong in width and place."""

    def log_likelihood(self, bits, vector):
        return 0.7 * super().log_likelihood(bits, vector)

    def exact(self, bits, vector):
        return super().log_likelihood(bits, vector)


class FunnelToy(AbstractProductTarget):
    """One content; the first coordinate sets the width of the others: ln s = 1.5 u_0."""

    num_bits: int = eqx.field(static=True, default=1)
    num_parameters: int = eqx.field(static=True, default=4)

    def in_use(self, bits):
        return jnp.ones(self.num_parameters, bool)

    def log_prior_bits(self, bits):
        return jnp.where(bits[0], 0.0, -jnp.inf)

    def log_likelihood(self, bits, vector):
        log_scale = 1.5 * vector[0]
        squares = vector[1:] ** 2
        return jnp.sum(0.5 * squares * -jnp.expm1(-2 * log_scale) - log_scale)


def funnel_draws(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact draws from `FunnelToy`."""
    vectors = np.random.default_rng(seed).normal(size=(count, 4))
    vectors[:, 1:] *= np.exp(1.5 * vectors[:, :1])
    return np.ones((count, 1), bool), vectors


def gaussian_toy(num_blocks: int = 4, size: int = 2, num_data: int = 10, kind=GaussianToy):
    """A toy with overlapping columns; data from a fixed point with half the blocks."""
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(num_data, num_blocks * size))
    # Columns of neighbours overlap, so that contents compete.
    matrix = 0.35 * (matrix + 0.8 * np.roll(matrix, size, axis=1))
    truth = np.where(np.repeat(np.arange(num_blocks) % 2 == 0, size), 0.9, 0.0)
    data = matrix @ truth + rng.normal(size=num_data)
    return kind(jnp.asarray(matrix), jnp.asarray(data), PRICE, num_blocks)


class Answer(NamedTuple):
    """The exact posterior; coordinates out of use have mean 0 and variance 1."""

    contents: np.ndarray
    probabilities: np.ndarray
    log_evidence: float
    means: np.ndarray
    roots: np.ndarray


def exact_answer(toy: GaussianToy) -> Answer:
    """Contents, their probabilities, ln Z under a normalised prior, and Gaussians."""
    matrix, data = np.asarray(toy.matrix), np.asarray(toy.data)
    contents = np.array(list(product([False, True], repeat=toy.num_bits)))
    log_prior = -float(toy.price) * contents.sum(axis=1)
    log_prior -= np.log(np.sum(np.exp(log_prior)))
    log_evidences, means, roots = [], [], []
    for bits in contents:
        columns = matrix * bits[toy.block]
        covariance = np.eye(len(data)) + columns @ columns.T
        log_evidences.append(
            stats.multivariate_normal(np.zeros(len(data)), covariance).logpdf(data)
        )
        posterior = np.linalg.inv(columns.T @ columns + np.eye(matrix.shape[1]))
        means.append(posterior @ columns.T @ data)
        roots.append(np.linalg.cholesky(posterior))
    joint = log_prior + np.array(log_evidences)
    total = np.logaddexp.reduce(joint)
    return Answer(contents, np.exp(joint - total), total, np.array(means), np.array(roots))


def exact_draws(answer: Answer, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Independent draws of bits and vectors; coordinates out of use follow N(0, 1)."""
    rng = np.random.default_rng(seed)
    index = rng.choice(len(answer.probabilities), size=count, p=answer.probabilities)
    noise = rng.normal(size=(count, answer.means.shape[1]))
    vectors = answer.means[index] + np.einsum("nij,nj->ni", answer.roots[index], noise)
    return answer.contents[index], vectors


def content_index(bits) -> np.ndarray:
    """Position of each content in `Answer.contents`."""
    bits = np.asarray(bits)
    return bits @ (2 ** np.arange(bits.shape[-1])[::-1])


def coordinate_cdf(answer: Answer, which: int):
    """Exact distribution of one coordinate, in use or not, over all contents."""
    scales = np.sqrt(np.sum(answer.roots[:, which] ** 2, axis=1))

    def cdf(x):
        standard = (np.atleast_1d(x)[:, None] - answer.means[:, which]) / scales
        return stats.norm.cdf(standard) @ answer.probabilities

    return cdf


def walled(answer: Answer, bits, vectors) -> tuple[np.ndarray, np.ndarray]:
    """Draws of `GaussianToy` that `WalledToy` allows."""
    kept = ~bits[:, 0] | (vectors[:, 0] < WALL)
    return bits[kept], vectors[kept]


def stacked_states(toy, bits, vectors):
    """States at these places."""
    return jax.jit(jax.vmap(state_at, (None, 0, 0)))(toy, jnp.asarray(bits), jnp.asarray(vectors))
