"""Weights of cascades in which mass compression removes soft steps.

A row of the channel table (two branches a and b, started by a pair p) is filled by

    effective_p soft_a soft_b                      cascades whose soft steps are removed,
    direct_p (full_a full_b - hard_a hard_b)       and those with soft steps, as they are.

Cascades of soft steps only would leave nothing to see. Of these SModelS since 3.1 keeps
the steps with the largest mass gap, and removes the others only.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.compaction import Packed

SOFT_CHAIN = 3
"""Soft decays in a row that mass compression follows."""

LARGEST = 0.999
"""Steps whose gap is this fraction of the largest one are removed no more (SModelS)."""


class Gaps(NamedTuple):
    """Mass differences that mass compression removes.

    Attributes:
        largest: Steps with smaller gaps [GeV] are removed.
        largest_unseen: If nothing visible would be left, only where all gaps are smaller
            than this [GeV]; infinite before SModelS 3.1.
    """

    largest: Scalar
    largest_unseen: Scalar


class BranchSteps(NamedTuple):
    """Mass gaps [GeV] along branches.

    Attributes:
        gap: Of each visible step; minus infinity behind the last.
        soft: Whether mass compression may remove it.
        all_soft: Whether it may remove all.
        largest: Of all steps.
        smallest: Of all steps.
    """

    gap: Float[Array, "branch 2"]
    soft: Bool[Array, "branch 2"]
    all_soft: Bool[Array, " branch"]
    largest: Float[Array, " branch"]
    smallest: Float[Array, " branch"]


class Levels(NamedTuple):
    """Weights of cascades of soft steps only; a level is one value of the largest gap.

    Attributes:
        of_branch: Level of the largest gap of a branch, -1 without.
        effective: Cross section of pairs and of all that decays into them by smaller gaps.
        soft: Branching ratios of a branch, steps of smaller gaps between included.
        count: Levels there are.
    """

    of_branch: Int[Array, " branch"]
    effective: Float[Array, "level pair 2"]
    soft: Float[Array, "level branch"]
    count: Int[Array, ""]


class Weights(NamedTuple):
    """Factors of row weights.

    Attributes:
        direct: Cross section of the pair itself [fb].
        effective: The same, and of all that decays softly into it [fb].
        full: Branching ratios of a branch whose steps are all visible.
        hard: The same without steps that mass compression removes.
        soft: Branching ratios of a branch, soft decays between its vertices included.
        steps: Mass gaps along branches.
        levels: Of cascades of soft steps only.
    """

    direct: Float[Array, "pair 2"]
    effective: Float[Array, "pair 2"]
    full: Float[Array, " branch"]
    hard: Float[Array, " branch"]
    soft: Float[Array, " branch"]
    steps: BranchSteps
    levels: Levels


class RowWeight(NamedTuple):
    """Weight of rows [fb], per energy.

    Attributes:
        total: Of all cascades.
        visible: Of those with soft steps, as they are.
    """

    total: Float[Array, "row 2"]
    visible: Float[Array, "row 2"]


def transitions(step: Float[Array, "p1 p1"]) -> Float[Array, "p1 p1"]:
    """Sum over chains of soft decays between two particles; padded by one identity row."""
    identity = jnp.eye(step.shape[-1], dtype=step.dtype)
    total = identity
    for _ in range(SOFT_CHAIN):
        total = identity + step @ total
    return total


def only_largest_left(
    gap: Float[Array, "*#shape"], largest: Float[Array, "*#shape"] | Scalar
) -> Bool[Array, "*shape"]:
    """Which soft steps are removed where those of the largest gap have to stay."""
    return gap < LARGEST * largest


def row_weight(
    weights: Weights, pair: Int[Array, " row"], a: Int[Array, " row"], b: Int[Array, " row"]
) -> RowWeight:
    """Weights of rows, given their pair and their branches."""
    compressed = weights.soft[a] * weights.soft[b]
    full, direct = weights.full[a] * weights.full[b], weights.direct[pair]
    visible = direct * (full - weights.hard[a] * weights.hard[b])[:, None]
    total = weights.effective[pair] * compressed[:, None] + visible
    steps, levels = weights.steps, weights.levels
    heavier = steps.largest[a] >= steps.largest[b]
    largest = jnp.where(heavier, steps.largest[a], steps.largest[b])
    level = jnp.where(heavier, levels.of_branch[a], levels.of_branch[b])
    smallest = jnp.minimum(steps.smallest[a], steps.smallest[b])
    apart = (level >= 0) & ~only_largest_left(smallest, largest)
    partly = (
        levels.effective[level, pair] * (levels.soft[level, a] * levels.soft[level, b])[:, None]
    )
    all_soft = (apart & steps.all_soft[a] & steps.all_soft[b])[:, None]
    # Those from which nothing is removed are among the visible ones.
    total = total + jnp.where(all_soft, partly - direct * full[:, None], 0.0)
    return RowWeight(total, visible)


def families(
    packed: Packed, site: Int[Array, " row"], compressed: Int[Array, " row"], num_sites: int
) -> tuple[Int[Array, " site"], Bool[Array, " site"], Int[Array, ""]]:
    """Sites that show the same cascades, with soft steps and without.

    Args:
        packed: Live sites.
        site: Site of each row; beyond the last where the row is not in use.
        compressed: Site of the same cascade compressed, or -1.
        num_sites: Sites of the table.

    Returns:
        Family of each packed site (-1 without), whether it is the compressed one, and
        the number of families.
    """
    size = packed.index.shape[0]
    number = jnp.where(packed.live, jnp.arange(size), size)
    position = jnp.full(num_sites, size).at[packed.index].min(number)
    there = jnp.where(compressed >= 0, position[compressed], size)
    here = jnp.where(there < size, position.at[site].get(mode="fill", fill_value=size), size)
    other = jnp.full(size, -1).at[here].max(there, mode="drop")
    is_compressed = jnp.zeros(size, bool).at[there].set(True, mode="drop") & (other < 0)
    label = jnp.cumsum(is_compressed) - 1
    family = jnp.where(is_compressed, label, jnp.where(other >= 0, label[other], -1))
    return family.astype(jnp.int32), is_compressed, (label[-1] + 1).astype(jnp.int32)
