"""A committee of small networks that learn a profile likelihood, trained side by side.

All members see all labels, values and slopes, from different first weights and in batches of
their own. Where they disagree most the next labels may be asked for (query by committee,
arXiv:1905.08628); their spread is used for nothing else.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike

from jaxlik.statmodels.learned import BENDS, Member, changes, relative_weight
from jaxlik.typing import Array, Float, Int, Scalar
from surrogates.labels import Labels
from surrogates.likelihood_recipe import LikelihoodRecipe

POINTS = 1024
"""Signals evaluated in one call of the compiled committee."""


class TrainingData(NamedTuple):
    """Labels in single precision, padded to the whole budget, so that one program serves all.

    Attributes:
        signal: Scaled.
        change: Of -2 ln L.
        slope: In the scaled signal.
        count: Of labels that are there.
    """

    signal: Float[Array, "point region"]
    change: Float[Array, "point set"]
    slope: Float[Array, "point set region"]
    count: Int[Array, ""]


class Training(NamedTuple):
    """Members, their optimiser, and the random numbers of their batches."""

    members: Member
    optimiser: optax.OptState
    key: Array


def training_data(labels: Labels, size: int) -> TrainingData:
    """Pad labels to a common size."""
    size = max(size, len(labels.signal), 1)

    def padded(values: np.ndarray) -> Array:
        full = np.zeros((size, *values.shape[1:]), np.float32)
        full[: len(values)] = values
        return jnp.asarray(full)

    count = jnp.asarray(len(labels.signal))
    return TrainingData(padded(labels.signal), padded(labels.change), padded(labels.slope), count)


def initial_members(num_regions: int, recipe: LikelihoodRecipe) -> Member:
    """Random weights of all members."""

    def one(key: Array) -> Member:
        keys = jax.random.split(key, 4)
        width, inputs = recipe.width, num_regions + 1

        def layer(key: Array, *shape: int) -> Array:
            return jax.random.normal(key, shape, jnp.float32) / np.float32(np.sqrt(shape[-1]))

        return Member(
            1.5 * layer(keys[0], width, inputs),
            0.3 * jax.random.normal(keys[1], (width,), jnp.float32),
            1.5 * layer(keys[2], width, width),
            jnp.zeros(width, jnp.float32),
            0.3 * layer(keys[3], 2, num_regions, width),
            jnp.zeros((2, num_regions), jnp.float32),
            jnp.zeros((len(BENDS), 2, num_regions), jnp.float32),
        )

    return jax.vmap(one)(jax.random.split(jax.random.key(recipe.seed), recipe.members))


def train(
    members: Member, data: TrainingData, recipe: LikelihoodRecipe, steps: int, key: Array
) -> Member:
    """Fit all members; learning rates begin anew and fall along a cosine.

    Args:
        members: Where to begin.
        data: Labels.
        recipe: How.
        steps: Of Adam; rounded down to whole calls of the compiled step, at least one.
        key: Random, for the batches.
    """
    blocks = max(steps // recipe.block, 1)
    state = Training(members, _optimiser(recipe, 1).init(members), key)
    for _ in range(blocks):
        state = advance(state, data, recipe, jnp.asarray(blocks * recipe.block, jnp.float32))
    return state.members


def _optimiser(recipe: LikelihoodRecipe, steps: Scalar | int) -> optax.GradientTransformation:
    def rate(count: ArrayLike) -> Array:
        count = jnp.asarray(count)
        left = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / steps, 1.0)))
        return recipe.rate * (1e-3 + (1 - 1e-3) * left)

    return optax.adam(rate)


@partial(jax.jit, static_argnames="recipe")
def advance(
    state: Training, data: TrainingData, recipe: LikelihoodRecipe, steps: Scalar
) -> Training:
    """`LikelihoodRecipe.block` steps of all members."""
    optimiser = _optimiser(recipe, steps)

    def total_loss(members: Member, rows: Int[Array, "member row"]) -> Scalar:
        return jnp.sum(jax.vmap(loss_of, (0, None, 0, None))(members, data, rows, recipe.slopes))

    def step(state: Training, _: None) -> tuple[Training, None]:
        key, use = jax.random.split(state.key)
        place = jax.random.uniform(use, (recipe.members, recipe.batch))
        rows = (place * data.count).astype(jnp.int32)
        gradient = jax.grad(total_loss)(state.members, rows)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser)
        return Training(optax.apply_updates(state.members, updates), optimiser_state, key), None  # type: ignore[reportArgumentType]

    return jax.lax.scan(step, state, length=recipe.block)[0]


def loss_of(member: Member, data: TrainingData, rows: Int[Array, " row"], slopes: float) -> Scalar:
    """Mean square of relative differences of values, and of slopes with a weight of their own."""

    def one(signal: Array, change: Array, slope: Array) -> Scalar:
        value, pull = jax.vjp(lambda u: changes(member, u), signal)
        jacobian = jax.vmap(pull)(jnp.eye(2, dtype=signal.dtype))[0]
        square = (value - change) ** 2 + slopes * jnp.sum((jacobian - slope) ** 2, axis=1)
        return jnp.sum(relative_weight(change) ** 2 * square)

    return jnp.mean(jax.vmap(one)(data.signal[rows], data.change[rows], data.slope[rows]))


def predictions(
    members: Member, signals: Float[np.ndarray, "point region"]
) -> Float[np.ndarray, "member point set"]:
    """Changes of -2 ln L of every member, in single precision."""
    found = []
    for first in range(0, len(signals), POINTS):
        some = signals[first : first + POINTS]
        padded = np.zeros((POINTS, signals.shape[1]), np.float32)
        padded[: len(some)] = some
        found.append(np.asarray(_predict(members, jnp.asarray(padded)))[:, : len(some)])
    return np.concatenate(found, axis=1)


@jax.jit
def _predict(
    members: Member, signals: Float[Array, "point region"]
) -> Float[Array, "member point set"]:
    return jax.vmap(lambda member: jax.vmap(lambda u: changes(member, u))(signals))(members)


def disagreement(
    members: Member, signals: Float[np.ndarray, "point region"]
) -> Float[np.ndarray, " point"]:
    """Spread of the members, relative as errors are counted; the larger of both data sets."""
    found = predictions(members, signals)
    weight = np.asarray(relative_weight(jnp.asarray(found.mean(axis=0))))
    return np.max(weight * found.std(axis=0), axis=1)


def most_disputed(
    members: Member,
    signals: Float[np.ndarray, "point region"],
    unused: Int[np.ndarray, " candidate"],
    count: int,
) -> Int[np.ndarray, " chosen"]:
    """The candidates about which the committee disagrees most.

    Args:
        members: The committee.
        signals: All points of the design.
        unused: Positions of those that have no label.
        count: How many to choose.
    """
    order = np.argsort(-disagreement(members, signals[unused]), kind="stable")
    return np.sort(unused[order[:count]])
