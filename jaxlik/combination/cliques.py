"""The best maximal clique of any live subset of fixed candidates, under `jit` and `vmap`.

The host lists the maximal cliques of the full graph once. Every maximal clique of the
subgraph on the live vertices A is C & A for a listed clique C; those C & A that are not
maximal are recognised with a few bit operations. A change of the live set is data.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import UInt32

from jaxlik.combination.overlap import Overlap, conflict_components, twin_classes
from jaxlik.combination.selection import LOWEST_GAIN, check_min_members, maximal_cliques
from jaxlik.errors import ConfigError, Status, merge_status
from jaxlik.typing import Array, Bool, Float, Int

WORD = 32
"""Bits per word of a packed set."""

MERGED_ROWS = 16
"""Blocks are merged while their cliques multiply to no more rows than this."""

MAX_SUBSET_SIZE = 20
"""A million subsets per block and model: more would exhaust memory under `vmap`."""


class CliqueBlock(eqx.Module):
    """All maximal cliques of one block; its classes start at index `start`."""

    rows: Bool[Array, "row class"]
    row_bits: UInt32[Array, "word row"]
    conflict_bits: UInt32[Array, "class word"]
    start: int = eqx.field(static=True)


class SubsetBlock(eqx.Module):
    """A block with too many cliques for a list: subsets of at most `max_live` live classes."""

    conflicts: Bool[Array, "class class"]
    start: int = eqx.field(static=True)
    max_live: int = eqx.field(static=True)


class CliqueTable(eqx.Module):
    """Blocks without mutual conflicts, over classes of twins.

    Attributes:
        class_of: Class of each candidate.
        twins: Candidates of each class, padded with the number of candidates.
        blocks: Partition of the classes, contiguous and in order.
    """

    class_of: Int[Array, " candidate"]
    twins: Int[Array, "class twin"]
    blocks: tuple[CliqueBlock | SubsetBlock, ...]


class LiveBlock(NamedTuple):
    """Feasible sets of one block: `allowed` over rows, or over subsets of `vertices`."""

    live: Bool[Array, " class"]
    allowed: Bool[Array, " choice"]
    vertices: Int[Array, " position"] | None


class LiveCliques(NamedTuple):
    """The part of a table that belongs to one live set; reusable for many weights."""

    live: Bool[Array, " candidate"]
    blocks: tuple[LiveBlock, ...]
    exists: Bool[Array, ""]
    overflow: Bool[Array, ""]


class BestCliques(NamedTuple):
    """Best combination for each vector of weights.

    Attributes:
        value: Sum of the weights of the members; `-inf` where there is no combination.
        members: Mask of the members.
        status: `overflow` if a `SubsetBlock` has too many live classes (value `-inf`),
            `not_finite` if a live weight is nan or +inf (taken as impossible).
    """

    value: Float[Array, " node"]
    members: Bool[Array, "node candidate"]
    status: Status  # type: ignore[reportInvalidTypeForm]


def make_clique_table(
    overlap: Overlap,
    blocks: Sequence[Sequence[int]] | None = None,
    *,
    max_rows: int = 8192,
    max_live: int = 14,
) -> CliqueTable:
    """List the maximal cliques of every block (host, once per set of candidates).

    Args:
        overlap: Compatibility of the candidates.
        blocks: Partition of the candidates without conflicts between parts; by default
            the components of the conflict graph, small ones merged.
        max_rows: A block with more maximal cliques than this, twins collapsed, becomes a
            `SubsetBlock`. The list is 15 to 200 times faster.
        max_live: Live classes a `SubsetBlock` can hold; cost 2**max_live.

    Raises:
        ConfigError: If the blocks are no partition or conflict with each other, or
            `max_live` is out of range.
    """
    if not 1 <= max_live <= MAX_SUBSET_SIZE:
        raise ConfigError(f"max_live is {max_live}, wanted 1 to {MAX_SUBSET_SIZE}.")
    compatible = np.asarray(overlap.compatible)
    if blocks is None:
        blocks = _merged_components(compatible)
    _check_blocks(compatible, blocks)
    classes: list[tuple[int, ...]] = []
    built: list[CliqueBlock | SubsetBlock] = []
    for block in blocks:
        members = np.asarray(block, dtype=int)
        groups = twin_classes(compatible[np.ix_(members, members)])
        first = members[[group[0] for group in groups]]
        graph = compatible[np.ix_(first, first)]
        built.append(_make_block(graph, len(classes), max_rows, max_live))
        classes += [tuple(int(members[i]) for i in group) for group in groups]
    count = len(compatible)
    twins = np.full((len(classes), max(map(len, classes), default=1)), count)
    class_of = np.zeros(count, dtype=int)
    for number, group in enumerate(classes):
        twins[number, : len(group)] = group
        class_of[list(group)] = number
    return CliqueTable(jnp.asarray(class_of), jnp.asarray(twins), tuple(built))


def best_cliques(
    table: CliqueTable,
    live: Bool[Array, " candidate"],
    weights: Float[Array, "node candidate"],
    *,
    min_members: int = 2,
) -> BestCliques:
    r"""Best maximal clique among the live candidates, for each vector of weights.

    $$ v_n = \sum_b \max_{c_b} \sum_{i \in c_b} w_{ni} $$

    over the maximal cliques $c_b$ of the live part of block b. Exact; the gradient with
    respect to the weights is the membership of the best combination (envelope theorem).

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph: with a prediction and, in the default mode, with
            expected sensitivity. The others neither enter nor block.
        weights: For instance 2 ln[L(mu)/L(0)] at nodes of mu; ignored where not live.
        min_members: 0, 1 or 2; smaller combinations do not count.
    """
    return choose(table, restrict(table, live, min_members=min_members), weights)


def restrict(
    table: CliqueTable, live: Bool[Array, " candidate"], *, min_members: int = 2
) -> LiveCliques:
    """Feasible sets of each block for one live set."""
    check_min_members(min_members)
    padded = jnp.append(live, False)
    class_live = padded[table.twins].any(axis=1)
    parts = [class_live[block_classes(block)] for block in table.blocks]
    # Two live blocks already give two members.
    num_blocks = sum((part.any().astype(jnp.int32) for part in parts), jnp.int32(0))
    min_size = jnp.where(num_blocks > 1, 0, min_members)
    blocks, overflow = [], jnp.asarray(False)
    exists = jnp.asarray(num_blocks > 0) | (min_members == 0)
    for block, part in zip(table.blocks, parts, strict=True):
        size = jnp.where(part.any(), min_size, 0)
        if isinstance(block, CliqueBlock):
            restricted = _live_rows(block, part, size)
        else:
            restricted = _live_subsets(block, part, size)
            overflow |= jnp.sum(part) > block.max_live
        blocks.append(restricted)
        exists &= restricted.allowed.any()
    return LiveCliques(live, tuple(blocks), exists, overflow)


def choose(
    table: CliqueTable, cliques: LiveCliques, weights: Float[Array, "node candidate"]
) -> BestCliques:
    """Best of the feasible sets for each vector of weights; see `best_cliques`."""
    live = cliques.live[None, :]
    fixed = lax.stop_gradient(weights)
    undefined = jnp.any(live & (jnp.isnan(fixed) | jnp.isposinf(fixed)))
    usable = jnp.where(fixed < jnp.inf, jnp.maximum(fixed, LOWEST_GAIN), LOWEST_GAIN)
    # Below every live twin, also an impossible one.
    usable = jnp.where(live, usable, -jnp.inf)
    class_weights, best_twin = _best_twins(table, usable)
    chosen = [
        _best_set(block, part, class_weights[:, block_classes(block)])
        for block, part in zip(table.blocks, cliques.blocks, strict=True)
    ]
    no_class = jnp.zeros((weights.shape[0], 0), dtype=bool)
    in_class = jnp.concatenate([no_class, *chosen], axis=1)[:, table.class_of]
    is_best = best_twin[:, table.class_of] == jnp.arange(live.shape[1])[None, :]
    possible = cliques.exists & ~cliques.overflow
    members = in_class & is_best & live & possible
    total = jnp.sum(jnp.where(members, weights, 0.0), axis=1)
    total = jnp.where(jnp.isnan(total) | jnp.isposinf(total), -jnp.inf, total)
    status = merge_status(
        Status.where(cliques.overflow, Status.overflow, Status.success),
        Status.where(undefined, Status.not_finite, Status.success),
    )
    return BestCliques(jnp.where(possible, total, -jnp.inf), members, status)


def _best_set(
    block: CliqueBlock | SubsetBlock, part: LiveBlock, weights: Float[Array, "node class"]
) -> Bool[Array, "node class"]:
    """Classes of the best feasible set of one block."""
    if isinstance(block, CliqueBlock):
        sums = row_sums(block, part, weights)
        return block.rows[jnp.argmax(sums, axis=1)] & part.live[None, :]
    subset = jnp.argmax(subset_sums(block, part, weights), axis=1)
    positions = jnp.arange(block.max_live)
    inside = ((subset[:, None] >> positions[None, :]) & 1).astype(bool)
    empty = jnp.zeros((weights.shape[0], weights.shape[1] + 1), dtype=bool)
    return empty.at[:, part.vertices].set(inside)[:, :-1]


def row_sums(
    block: CliqueBlock, part: LiveBlock, weights: Float[Array, "node class"]
) -> Float[Array, "node row"]:
    """Weight of the live part of each row; `-inf` where it is not feasible."""
    masked = jnp.where(part.live[None, :], weights, 0.0)
    return jnp.where(part.allowed[None, :], masked @ block.rows.T.astype(masked.dtype), -jnp.inf)


def subset_sums(
    block: SubsetBlock, part: LiveBlock, weights: Float[Array, "node class"]
) -> Float[Array, "node subset"]:
    """Weight of each subset of the live classes; `-inf` where it is not feasible."""
    padded = jnp.pad(weights, ((0, 0), (0, 1)))[:, part.vertices]
    sums = padded @ _subset_bits(block.max_live).astype(weights.dtype)
    return jnp.where(part.allowed[None, :], sums, -jnp.inf)


def _live_rows(
    block: CliqueBlock, live: Bool[Array, " class"], min_size: Int[Array, ""]
) -> LiveBlock:
    """Rows whose live part is maximal: every live class is in it or conflicts with it."""
    sets = block.row_bits & pack_live(live, block.row_bits.shape[0])[:, None]
    # Bit operations in one fused pass: 3 to 60 times faster than a matrix product.
    met = ((sets[None, :, :] & block.conflict_bits[:, :, None]) != 0).any(axis=1)
    allowed = (met | ~live[:, None]).all(axis=0)
    sizes = lax.population_count(sets).sum(axis=0).astype(min_size.dtype)
    # The barrier keeps the test out of the loops over nodes and columns that follow.
    allowed = lax.optimization_barrier(allowed & (sizes >= min_size))
    return LiveBlock(live, allowed, None)


def _live_subsets(
    block: SubsetBlock, live: Bool[Array, " class"], min_size: Int[Array, ""]
) -> LiveBlock:
    """Maximal cliques among all subsets of the live classes."""
    count = live.shape[0]
    vertices = jnp.nonzero(live, size=block.max_live, fill_value=count)[0]
    real = vertices < count
    inner = jnp.pad(block.conflicts, ((0, 1), (0, 1)))[vertices[:, None], vertices[None, :]]
    inner &= real[:, None] & real[None, :] & ~jnp.eye(block.max_live, dtype=bool)
    conflict_bits = pack_live(inner, 1)[:, :1]
    inside = _subset_bits(block.max_live)
    conflicting = jnp.bitwise_or.reduce(jnp.where(inside, conflict_bits, 0), axis=0)
    subsets = jnp.arange(1 << block.max_live, dtype=jnp.uint32)
    everyone = pack_live(real, 1)[0]
    clique = ((conflicting & subsets) == 0) & ((subsets & ~everyone) == 0)
    sizes = lax.population_count(subsets).astype(min_size.dtype)
    allowed = clique & ((conflicting | subsets) == everyone) & (sizes >= min_size)
    return LiveBlock(live, lax.optimization_barrier(allowed), vertices)


def _subset_bits(size: int) -> Bool[Array, "position subset"]:
    """Whether each position is in each of the 2**size subsets."""
    subsets = jnp.arange(1 << size, dtype=jnp.uint32)
    positions = jnp.arange(size, dtype=jnp.uint32)
    return ((subsets[None, :] >> positions[:, None]) & 1).astype(bool)


def _best_twins(
    table: CliqueTable, weights: Float[Array, "node candidate"]
) -> tuple[Float[Array, "node class"], Int[Array, "node class"]]:
    """Largest weight of each class and the candidate that has it."""
    if table.twins.shape[1] == 1:
        single = table.twins[:, 0]
        return weights[:, single], jnp.broadcast_to(
            single[None, :], (weights.shape[0], len(single))
        )
    padded = jnp.pad(weights, ((0, 0), (0, 1)), constant_values=-jnp.inf)[:, table.twins]
    best = jnp.argmax(padded, axis=2)
    candidate = jnp.take_along_axis(table.twins[None, :, :], best[:, :, None], axis=2)[:, :, 0]
    return jnp.max(padded, axis=2), candidate


def pack_live(mask: Bool[Array, "*batch class"], num_words: int) -> UInt32[Array, "*batch word"]:
    """Bits of a mask, lowest first, in words of 32."""
    spare = num_words * WORD - mask.shape[-1]
    padded = jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, spare)])
    words = padded.reshape(*mask.shape[:-1], num_words, WORD).astype(jnp.uint32)
    shifts = jnp.arange(WORD, dtype=jnp.uint32).reshape((1,) * mask.ndim + (WORD,))
    return jnp.sum(words << shifts, axis=-1, dtype=jnp.uint32)


def _make_block(
    graph: Bool[np.ndarray, "class class"], start: int, max_rows: int, max_live: int
) -> CliqueBlock | SubsetBlock:
    rows = maximal_cliques(graph, at_most=max_rows + 1)
    conflicts = jnp.asarray(~graph)
    if len(rows) > max_rows:
        return SubsetBlock(conflicts, start, min(max_live, len(graph)))
    num_words = max(1, -(-len(graph) // WORD))
    packed = jnp.asarray(rows)
    return CliqueBlock(
        packed, pack_live(packed, num_words).T, pack_live(conflicts, num_words), start
    )


def block_classes(block: CliqueBlock | SubsetBlock) -> slice:
    """Indices of the classes of a block."""
    size = block.rows.shape[1] if isinstance(block, CliqueBlock) else block.conflicts.shape[0]
    return slice(block.start, block.start + size)


def _merged_components(compatible: Bool[np.ndarray, "n n"]) -> list[tuple[int, ...]]:
    """Conflict components, small ones joined: fewer, but never much longer, blocks."""
    sized = []
    for component in conflict_components(compatible):
        graph = compatible[np.ix_(component, component)]
        first = [group[0] for group in twin_classes(graph)]
        rows = maximal_cliques(graph[np.ix_(first, first)], at_most=MERGED_ROWS + 1)
        sized.append((len(rows), component))
    blocks: list[tuple[int, tuple[int, ...]]] = []
    for rows, component in sorted(sized):
        if blocks and blocks[-1][0] * rows <= MERGED_ROWS:
            last_rows, last = blocks.pop()
            rows, component = last_rows * rows, last + component
        blocks.append((rows, component))
    return [tuple(sorted(component)) for _, component in blocks]


def _check_blocks(compatible: Bool[np.ndarray, "n n"], blocks: Sequence[Sequence[int]]) -> None:
    flat = sorted(int(vertex) for block in blocks for vertex in block)
    if flat != list(range(len(compatible))):
        raise ConfigError(
            f"blocks hold candidates {flat[:5]}..., wanted each of 0 to {len(compatible) - 1} "
            "once; leave `blocks` out to use the conflict components."
        )
    block_of = np.zeros(len(compatible), dtype=int)
    for number, block in enumerate(blocks):
        block_of[list(block)] = number
    clash = np.argwhere(~compatible & (block_of[:, None] != block_of[None, :]))
    if clash.size:
        raise ConfigError(
            f"candidates {clash[0].tolist()} conflict but lie in different blocks; "
            "leave `blocks` out to use the conflict components."
        )
