"""Keep the few live rows of a long table, at fixed shapes.

The cost of a model should follow its content, not the size of the tables. Live
rows are packed into a bucket of static size; what does not fit is counted, so
that the caller can report it.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Int


class Packed(NamedTuple):
    """Positions of live rows.

    Attributes:
        index: Row numbers in ascending order; 0 behind the last live one.
        live: Which entries of the bucket are in use.
        count: Number of live rows, also when it exceeds the bucket.
    """

    index: Int[Array, " bucket"]
    live: Bool[Array, " bucket"]
    count: Int[Array, ""]


def pack(mask: Bool[Array, " row"], size: int) -> Packed:
    """Find the first `size` live rows."""
    running = jnp.cumsum(mask.astype(jnp.int32))
    wanted = jnp.arange(1, size + 1, dtype=jnp.int32)
    index = jnp.searchsorted(running, wanted, side="left").astype(jnp.int32)
    count = running[-1]
    live = wanted <= count
    return Packed(jnp.where(live, index, 0), live, count)


class Expanded(NamedTuple):
    """Items of rows that hold a varying number of them.

    Attributes:
        row: Bucket position of the row each item belongs to.
        item: Number of the item within the table of all items.
        live: Which entries are in use.
        count: Number of items, also when it exceeds the bucket.
    """

    row: Int[Array, " bucket"]
    item: Int[Array, " bucket"]
    live: Bool[Array, " bucket"]
    count: Int[Array, ""]


def expand(
    start: Int[Array, " row"], stop: Int[Array, " row"], live: Bool[Array, " row"], size: int
) -> Expanded:
    """List the items ``start[row] .. stop[row] - 1`` of all live rows."""
    lengths = jnp.where(live, stop - start, 0)
    ends = jnp.cumsum(lengths)
    position = jnp.arange(size, dtype=ends.dtype)
    row = jnp.searchsorted(ends, position, side="right").astype(jnp.int32)
    used = position < ends[-1]
    row = jnp.where(used, row, 0)
    item = start[row] + (position - (ends[row] - lengths[row])).astype(start.dtype)
    return Expanded(row, jnp.where(used, item, 0), used, ends[-1])
