"""Fit many small networks side by side: one per topology, all in one compiled step.

Networks of a group have equal shapes; their nodes and regions are padded. Adam acts
element by element, so that stacked networks do not know of one another.
"""

import hashlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlik.typing import Array, Float, Int, Scalar
from jaxlik.yields.neural import ROOT_OFFSET
from surrogates.maps import STOP, TRAIN, MapSet
from surrogates.recipe import Recipe
from surrogates.trunk import Trunk, initial_trunk

SUM_WEIGHT = 0.1
"""Weight of the sum over regions beside that of the single regions."""

SUM_FLOOR = 1e-3
"""Nodes whose sum over regions is below this share of the largest say nothing about it."""


class Heads(NamedTuple):
    """Last layer: one row per region of a network."""

    weight: Float[Array, "region width"]
    bias: Float[Array, " region"]


class Networks(NamedTuple):
    """Stacked networks: every leaf has a leading axis."""

    trunk: Trunk
    heads: Heads


class Data(NamedTuple):
    """Nodes of a group, padded, with a leading axis for the network.

    Attributes:
        inputs: Flat coordinates.
        root: Square root of the scaled efficiency plus `ROOT_OFFSET`.
        known: Weight of each value: 0 where a map has no node, and in the padding.
        total: Logarithm of the sum over regions.
        total_known: 0 where it says nothing.
        rows: Numbers of the nodes to fit, filled up with repetitions.
        stop: 1 for nodes kept for early stopping.
    """

    inputs: Float[Array, "network node 6"]
    root: Float[Array, "network node region"]
    known: Float[Array, "network node region"]
    total: Float[Array, "network node"]
    total_known: Float[Array, "network node"]
    rows: Int[Array, "network row"]
    count: Int[Array, " network"]
    stop: Float[Array, "network node"]


class State(NamedTuple):
    """Training of a group at one step."""

    networks: Networks
    optimiser: optax.OptState
    best: Networks
    best_loss: Float[Array, " network"]
    step: Int[Array, ""]
    stale: Int[Array, ""]
    key: Array


def prepare(group: list[MapSet], num_nodes: int, num_regions: int) -> Data:
    """Pad the nodes of a group to common sizes."""
    shape = (len(group), num_nodes, num_regions)
    root, known = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    inputs = np.zeros((len(group), num_nodes, 6))
    total = np.zeros(shape[:2], np.float32)
    total_known, stop = np.zeros_like(total), np.zeros_like(total)
    rows = np.zeros(shape[:2], np.int32)
    count = np.zeros(len(group), np.int32)
    for i, maps in enumerate(group):
        values = np.concatenate([maps.values, maps.between_values])
        size, regions = values.shape
        inputs[i, :size] = np.concatenate([maps.nodes, maps.between])
        inputs[i, size:] = maps.nodes[:1]
        here = np.isfinite(values)
        scaled = np.where(here, values, 0.0) / maps.scale
        root[i, :size, :regions] = np.sqrt(np.maximum(scaled, 0.0) + ROOT_OFFSET)
        known[i, :size, :regions] = here
        sums = np.where(here, values, 0.0).sum(axis=1)
        says = here.all(axis=1) & (sums > SUM_FLOOR * sums.max()) & (sums > 0)
        total[i, :size] = np.log(np.where(says, sums / maps.scale.max(), 1.0))
        total_known[i, :size] = says
        use = np.concatenate([maps.use, np.full(len(maps.between), TRAIN)])
        fitted = np.flatnonzero(use == TRAIN)
        rows[i] = np.resize(fitted, num_nodes)
        count[i] = len(fitted)
        stop[i, :size] = use == (STOP if (use == STOP).any() else TRAIN)
    return Data(
        *(jnp.asarray(a) for a in (inputs, root, known, total, total_known, rows, count, stop))
    )


def start(group: list[MapSet], recipe: Recipe, num_regions: int) -> State:
    """Random networks of a group."""
    networks = []
    for maps in group:
        digest = hashlib.sha256(maps.name.encode()).digest()
        seed = jax.random.fold_in(jax.random.key(recipe.seed), int.from_bytes(digest[:4], "little"))
        first, second = jax.random.split(seed)
        trunk = initial_trunk(first, maps.nodes, maps.kinds, recipe.width)
        scaled = np.nanmean(maps.values / maps.scale, axis=0)
        bias = np.zeros(num_regions, np.float32)
        bias[: len(scaled)] = np.log(np.expm1(np.maximum(scaled, 1e-3)))
        weight = jax.random.normal(second, (num_regions, recipe.width), jnp.float32)
        networks.append(Networks(trunk, Heads(weight / recipe.width, jnp.asarray(bias))))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    loss = jnp.full(len(group), jnp.inf, jnp.float32)
    zero = jnp.zeros((), jnp.int32)
    optimiser = _optimiser(recipe).init(_trained(stacked))
    return State(stacked, optimiser, stacked, loss, zero, zero, jax.random.key(recipe.seed + 1))


def _trained(networks: Networks):
    """The part that Adam sees: not the features."""
    return networks.trunk.weights, networks.heads


def _with_trained(networks: Networks, trained) -> Networks:
    return Networks(networks.trunk._replace(weights=trained[0]), trained[1])


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(recipe.rate, recipe.steps, 0.01)
    return optax.adamw(schedule, weight_decay=recipe.decay)


def scaled_values(network: Networks, inputs: Float[Array, "node 6"]) -> Float[Array, "node region"]:
    """Efficiencies over the scale of each map, of one network."""
    hidden = network.trunk.hidden(inputs)
    return jax.nn.softplus(hidden @ network.heads.weight.T + network.heads.bias[None])


def loss_of(
    network: Networks, data: Data, scale: Float[Array, " region"], rows: Int[Array, " row"]
) -> Scalar:
    """Mean square of differences of roots, and of the logarithm of the sum over regions."""
    value = scaled_values(network, data.inputs[rows])
    square = (jnp.sqrt(value + ROOT_OFFSET) - data.root[rows]) ** 2 * data.known[rows]
    regions = jnp.sum(square) / jnp.maximum(jnp.sum(data.known[rows]), 1.0)
    total = jnp.log(jnp.sum(value * scale[None], axis=1) + 1e-12)
    known = data.total_known[rows]
    # Far off at the start: the square of a bounded difference.
    sums = jnp.sum(known * jnp.minimum((total - data.total[rows]) ** 2, 1.0)) / rows.shape[0]
    return regions + SUM_WEIGHT * sums


@partial(jax.jit, static_argnames="recipe")
def advance(
    state: State, data: Data, scale: Float[Array, "network region"], recipe: Recipe
) -> State:
    """`Recipe.every` steps, then a look at the nodes kept for early stopping."""
    optimiser = _optimiser(recipe)

    def total_loss(trained, networks, rows):
        return jnp.sum(jax.vmap(loss_of)(_with_trained(networks, trained), data, scale, rows))

    def step(carry, _):
        networks, opt, key = carry
        key, use = jax.random.split(key)
        place = jax.random.uniform(use, (len(data.count), recipe.batch))
        place = (place * data.count[:, None]).astype(jnp.int32)
        rows = jnp.take_along_axis(data.rows, place, axis=1)
        trained = _trained(networks)
        slopes = jax.grad(total_loss)(trained, networks, rows)
        updates, opt = optimiser.update(slopes, opt, trained)
        return (_with_trained(networks, optax.apply_updates(trained, updates)), opt, key), None

    carry = (state.networks, state.optimiser, state.key)
    (networks, opt, key), _ = jax.lax.scan(step, carry, length=recipe.every)
    loss = jax.vmap(stop_loss)(networks, data)
    better = loss < state.best_loss

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best = jax.tree.map(keep, networks, state.best)
    stale = jnp.where(jnp.any(better), 0, state.stale + 1)
    return State(
        networks,
        opt,
        best,
        jnp.minimum(loss, state.best_loss),
        state.step + recipe.every,
        stale,
        key,
    )


def stop_loss(network: Networks, data: Data) -> Scalar:
    """Mean square difference of roots at the nodes kept for early stopping."""
    value = scaled_values(network, data.inputs)
    weight = data.known * data.stop[:, None]
    square = (jnp.sqrt(value + ROOT_OFFSET) - data.root) ** 2 * weight
    return jnp.sum(square) / jnp.maximum(jnp.sum(weight), 1.0)
