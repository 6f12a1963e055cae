"""A smooth upper bound of the best combination: the log-sum over all maximal cliques.

Annealed to temperature zero it becomes the best combination; at positive temperature
its gradient spreads over the cliques that compete.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp
from jaxtyping import UInt32

from jaxlik.combination.cliques import (
    CliqueBlock,
    CliqueTable,
    LiveBlock,
    LiveCliques,
    SubsetBlock,
    block_classes,
    pack_live,
    restrict,
    row_sums,
    subset_sums,
)
from jaxlik.combination.selection import LOWEST_GAIN
from jaxlik.errors import Status, merge_status
from jaxlik.typing import Array, Bool, Float, Int, Scalar


class SoftCliques(NamedTuple):
    """Smooth best combination for each vector of weights.

    Attributes:
        value: At most `temperature * log_num_cliques` above the exact value and never
            below it; `-inf` where there is no combination.
        log_num_cliques: Logarithm of the number of maximal cliques of the live graph.
        status: As in `BestCliques`.
    """

    value: Float[Array, " node"]
    log_num_cliques: Scalar
    status: Status  # type: ignore[reportInvalidTypeForm]


def soft_cliques(
    table: CliqueTable,
    live: Bool[Array, " candidate"],
    weights: Float[Array, "node candidate"],
    temperature: Scalar | float,
    *,
    min_members: int = 2,
) -> SoftCliques:
    r"""Log-sum over maximal cliques instead of their maximum.

    $$ v_\tau = \sum_b \tau \ln \sum_{c_b} \exp\Big(\sum_{i \in c_b} w_i / \tau\Big),
       \qquad 0 \le v_\tau - v \le \tau \sum_b \ln |M_b| $$

    Every maximal clique of the live graph counts once. The gradient with respect to the
    weights is the mean membership under the softmax of the cliques.

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph.
        weights: In the unit of the result; with w = 2 ln[L(mu)/L(0)] the temperature is
            in units of 2 ln L.
        temperature: Positive.
        min_members: 0, 1 or 2; smaller combinations do not count.
    """
    cliques = _each_once(table, restrict(table, live, min_members=min_members))
    undefined = jnp.any(live[None, :] & (jnp.isnan(weights) | jnp.isposinf(weights)))
    usable = live[None, :] & (weights < jnp.inf) & (weights > LOWEST_GAIN)
    bounded = jnp.where(usable, weights, LOWEST_GAIN)
    possible = cliques.exists & ~cliques.overflow
    value = _log_sum(table, cliques, bounded, temperature)
    # Zero weights count; dead candidates must not.
    zeros = jnp.where(live, 0.0, LOWEST_GAIN).astype(weights.dtype)[None, :]
    log_num = lax.stop_gradient(_log_sum(table, cliques, zeros, 1.0)[0])
    status = merge_status(
        Status.where(cliques.overflow, Status.overflow, Status.success),
        Status.where(undefined, Status.not_finite, Status.success),
    )
    return SoftCliques(
        jnp.where(possible, value, -jnp.inf), jnp.where(possible, log_num, -jnp.inf), status
    )


def _log_sum(
    table: CliqueTable,
    cliques: LiveCliques,
    weights: Float[Array, "node candidate"],
    temperature: Scalar | float,
) -> Float[Array, " node"]:
    padded = jnp.pad(weights, ((0, 0), (0, 1)), constant_values=LOWEST_GAIN)[:, table.twins]
    class_weights = temperature * logsumexp(padded / temperature, axis=2)
    total = jnp.zeros(weights.shape[0], dtype=weights.dtype)
    for block, part in zip(table.blocks, cliques.blocks, strict=True):
        inner = class_weights[:, block_classes(block)]
        # Where nothing is feasible the caller answers -inf; keep the gradient finite.
        safe = part._replace(allowed=part.allowed | ~part.allowed.any())
        sums = (
            row_sums(block, safe, inner)
            if isinstance(block, CliqueBlock)
            else subset_sums(block, safe, inner)
        )
        total += temperature * logsumexp(sums / temperature, axis=1)
    return total


def _each_once(table: CliqueTable, cliques: LiveCliques) -> LiveCliques:
    """Keep one row for each live set: the one found by adding dead classes in order."""
    blocks = [
        part if isinstance(block, SubsetBlock) else _canonical(block, part)
        for block, part in zip(table.blocks, cliques.blocks, strict=True)
    ]
    return cliques._replace(blocks=tuple(blocks))


def _canonical(block: CliqueBlock, part: LiveBlock) -> LiveBlock:
    """Rows that equal the greedy extension of their live part.

    The live part of an allowed row is maximal among the live classes, so its greedy
    extension by dead ones is a maximal clique of the full graph: exactly one row.
    """
    num_words, num_classes = block.row_bits.shape[0], block.rows.shape[1]
    sets = block.row_bits & pack_live(part.live, num_words)[:, None]
    identity = pack_live(jnp.eye(num_classes, dtype=bool), num_words)

    def add(vertex: Int[Array, ""], sets: UInt32[Array, "word row"]) -> UInt32[Array, "word row"]:
        met = ((sets & block.conflict_bits[vertex][:, None]) != 0).any(axis=0)
        added = ~met & ~part.live[vertex]
        return jnp.where(added[None, :], sets | identity[vertex][:, None], sets)

    sets = lax.fori_loop(0, num_classes, add, sets)
    same = (sets == block.row_bits).all(axis=0)
    return part._replace(allowed=lax.optimization_barrier(part.allowed & same))
