"""Many small networks, evaluated together wherever a batch of models needs them.

Every row asks one network. Rows are sorted by network and cut into blocks, so that a
block reads the weights of one network once: a batch of models is a few products of
matrices, not a loop over networks. `jax.vmap` joins the rows of all models first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxlik.typing import Array, Float, Int

NUM_DIMENSIONS = 3
MIN_BLOCK, MAX_BLOCK = 8, 128
"""Rows that share one copy of the weights."""


class Weights(NamedTuple):
    """Three layers."""

    first: Float[Array, "width input"]
    first_bias: Float[Array, " width"]
    second: Float[Array, "width width"]
    second_bias: Float[Array, " width"]
    third: Float[Array, "width width"]
    third_bias: Float[Array, " width"]


class Stack(NamedTuple):
    """All networks, and what each sees of the points of a grid.

    The inputs of a network are ``direction @ point + offset``, or its asinh, standardised.

    Attributes:
        network: Network behind each domain.
        direction: Linear combinations of in-plane coordinates.
        offset: Added to them.
        curved: 1 where the asinh is taken.
        mean: Subtracted.
        scale: Multiplied.
        weights: Of all networks; single precision.
    """

    network: Int[Array, " domain"]
    direction: Float[Array, "domain input 3"]
    offset: Float[Array, "domain input"]
    curved: Float[Array, "domain input"]
    mean: Float[Array, "domain input"]
    scale: Float[Array, "domain input"]
    weights: Weights

    @property
    def num_networks(self) -> int:
        """Networks in the stack."""
        return self.weights.first.shape[0]


@jax.custom_jvp
def hidden_layer(
    stack: Stack, domain: Int[Array, " row"], point: Float[Array, "row 3"]
) -> Float[Array, "row width"]:
    """Last hidden layer of the network of each row; single precision.

    Derivatives with respect to points are exact, forward and backward; the weights
    count as constants.

    Args:
        stack: All networks.
        domain: Domain of each row.
        point: In-plane coordinates: masses [GeV], scaled widths, rotated.

    Raises:
        ValueError: `jax.vmap` maps over the networks.
    """
    return _values(stack, domain, point)


@hidden_layer.defjvp
def _hidden_layer_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, slopes = _values_and_slopes(*primals)
    return value, jnp.einsum("rkh,rk->rh", slopes, tangents[2].astype(slopes.dtype))


def _joined(function):
    """The function with a rule for `jax.vmap` that joins the rows of all models."""
    wrapped = custom_vmap(function)

    def rule(axis_size: int, batched, stack: Stack, domain: Array, point: Array):
        if any(jax.tree.leaves(batched[0])):
            raise ValueError(
                "hidden_layer: the stack of networks is batched, wanted one stack for all models; "
                "map over domains and points only"
            )
        rows = [
            value if is_batched else jnp.broadcast_to(value, (axis_size, *value.shape))
            for value, is_batched in ((domain, batched[1]), (point, batched[2]))
        ]
        count = domain.shape[-1]
        found = wrapped(stack, *(value.reshape(-1, *value.shape[2:]) for value in rows))
        split = jax.tree.map(lambda a: a.reshape(axis_size, count, *a.shape[1:]), found)
        return split, jax.tree.map(lambda _: True, split)

    wrapped.def_vmap(rule)
    return wrapped


@_joined
def _values(stack: Stack, domain: Array, point: Array) -> Array:
    inputs, _ = _inputs(stack, domain, point)
    return _through_blocks(stack, domain, inputs[:, None])[:, 0]


@_joined
def _values_and_slopes(stack: Stack, domain: Array, point: Array) -> tuple[Array, Array]:
    inputs, slopes = _inputs(stack, domain, point)
    rows = jnp.concatenate([inputs[:, None], slopes], axis=1)
    found = _through_blocks(stack, domain, rows)
    return found[:, 0], found[:, 1:]


def _inputs(
    stack: Stack, domain: Array, point: Array
) -> tuple[Float[Array, "row input"], Float[Array, "row 3 input"]]:
    """Standardised inputs, and their slopes along each in-plane coordinate."""
    direction, scale = stack.direction[domain], stack.scale[domain]
    raw = jnp.sum(direction * point[:, None], axis=-1) + stack.offset[domain]
    curved = stack.curved[domain] > 0
    bent = jnp.where(curved, jnp.arcsinh(raw), raw)
    inputs = ((bent - stack.mean[domain]) * scale).astype(jnp.float32)
    bend = jnp.where(curved, jax.lax.rsqrt(1.0 + raw**2), 1.0) * scale
    return inputs, jnp.swapaxes(direction * bend[..., None], 1, 2).astype(jnp.float32)


def _through_blocks(
    stack: Stack, domain: Array, rows: Float[Array, "row column input"]
) -> Float[Array, "row column width"]:
    """Send rows through their networks: the value in column 0, slopes in the others."""
    count = rows.shape[0]
    network = stack.network[domain]
    size = block_size(count, stack.num_networks)
    if size == 1:
        return _layers(jax.tree.map(lambda a: a[network], stack.weights), rows[:, None])[:, 0]
    order = jnp.argsort(network)
    ordered = network[order]
    number = jnp.bincount(network, length=stack.num_networks)
    blocks = -(-number // size)
    first_row = jnp.cumsum(number) - number
    first_slot = (jnp.cumsum(blocks) - blocks) * size
    slot = first_slot[ordered] + jnp.arange(count) - first_row[ordered]
    num_blocks = count // size + min(count, stack.num_networks)
    owner = jnp.searchsorted(jnp.cumsum(blocks), jnp.arange(num_blocks), side="right")
    owner = jnp.minimum(owner, stack.num_networks - 1)
    source = jnp.zeros(num_blocks * size, order.dtype).at[slot].set(order, unique_indices=True)
    laid_out = rows[source].reshape(num_blocks, size, *rows.shape[1:])
    found = _layers(jax.tree.map(lambda a: a[owner], stack.weights), laid_out)
    place = jnp.zeros(count, slot.dtype).at[order].set(slot, unique_indices=True)
    return found.reshape(-1, *found.shape[2:])[place]


def block_size(rows: int, networks: int) -> int:
    """Rows per block: a power of two that leaves about half of the slots in use; or one.

    Short blocks cost more than weights read anew for every row.
    """
    size = 1
    while 2 * size <= min(rows // networks, MAX_BLOCK):
        size *= 2
    return size if size >= MIN_BLOCK else 1


def _layers(weights: Weights, rows: Array) -> Array:
    """Three layers of each block: ``block row column input`` to ``block row column width``."""
    shape = rows.shape
    current = rows.reshape(shape[0], -1, shape[-1])
    for matrix, bias in (
        (weights.first, weights.first_bias),
        (weights.second, weights.second_bias),
        (weights.third, weights.third_bias),
    ):
        linear = jnp.einsum("bri,bhi->brh", current, matrix)
        linear = linear.reshape(*shape[:3], -1)
        value = linear[:, :, :1] + bias[:, None, None]
        gate = jax.nn.sigmoid(value)
        slope = gate * (1.0 + value * (1.0 - gate))
        current = jnp.concatenate([value * gate, slope * linear[:, :, 1:]], axis=2)
        current = current.reshape(shape[0], -1, current.shape[-1])
    return current.reshape(*shape[:3], -1)
