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


class Branches(NamedTuple):
    """Branching ratios and mass gaps [GeV] of the branches in view.

    Attributes:
        full: Branching ratios of branches whose steps are all visible.
        hard: The same without steps that mass compression removes.
        soft: Branching ratios, soft decays between the vertices included.
        every: Branching ratios of the visible steps, soft or not.
        bound: No less than in any of the `Levels`; zero unless all steps are soft.
        gap: Of each visible step; minus infinity behind the last.
        is_soft: Whether mass compression may remove it.
        all_soft: Whether it may remove all.
    """

    full: Float[Array, " branch"]
    hard: Float[Array, " branch"]
    soft: Float[Array, " branch"]
    every: Float[Array, " branch"]
    bound: Float[Array, " branch"]
    gap: Float[Array, "branch 2"]
    is_soft: Bool[Array, "branch 2"]
    all_soft: Bool[Array, " branch"]

    @property
    def largest_gap(self) -> Float[Array, " branch"]:
        """Of all steps; minus infinity without."""
        return jnp.max(self.gap, axis=1)

    @property
    def smallest_gap(self) -> Float[Array, " branch"]:
        """Of all steps; infinity without."""
        return jnp.min(jnp.where(self.gap > -jnp.inf, self.gap, jnp.inf), axis=1)


class Feeds(NamedTuple):
    """Production modes that lead, by soft decays, to pairs of first visible particles.

    Attributes:
        pair: Of first visible particles; one past the last where not in use.
        production: Cross section times signal strength [fb], per energy.
        start: Particles produced.
        stop: Particles of the pair.
        count: Feeds there are.
    """

    pair: Int[Array, " feed"]
    production: Float[Array, "feed 2"]
    start: Int[Array, "feed 2"]
    stop: Int[Array, "feed 2"]
    count: Int[Array, ""]


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


class RowWeights(NamedTuple):
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


def fed(feeds: Feeds, transition: Float[Array, "p1 p1"], num_pairs: int) -> Float[Array, "pair 2"]:
    """Cross sections of pairs, of all that decays into them, by given transitions."""
    ways = transition[feeds.start, feeds.stop]
    share = feeds.production * (ways[:, 0] * ways[:, 1])[:, None]
    return jnp.zeros((num_pairs, 2), share.dtype).at[feeds.pair].add(share, mode="drop")


def only_largest_left(
    gap: Float[Array, "*#shape"], largest: Float[Array, "*#shape"] | Scalar
) -> Bool[Array, "*shape"]:
    """Which soft steps are removed where those of the largest gap have to stay."""
    return gap < LARGEST * largest


def size_bound(
    branches: Branches,
    direct: Float[Array, "pair 2"],
    effective: Float[Array, "pair 2"],
    pair: Int[Array, "branch branch"],
) -> Float[Array, "branch branch"]:
    """No less than the weight of any two branches [fb], at the energy where it is larger."""
    compressed = branches.soft[:, None] * branches.soft[None, :]
    compressed += branches.bound[:, None] * branches.bound[None, :]
    visible = branches.full[:, None] * branches.full[None, :]
    visible -= branches.hard[:, None] * branches.hard[None, :]
    produced = jnp.stack([jnp.max(effective, axis=1), jnp.max(direct, axis=1)], axis=1)[pair]
    return produced[..., 0] * compressed + produced[..., 1] * visible


def row_weights(
    branches: Branches,
    levels: Levels,
    direct: Float[Array, "pair 2"],
    effective: Float[Array, "pair 2"],
    pair: Int[Array, " row"],
    a: Int[Array, " row"],
    b: Int[Array, " row"],
) -> RowWeights:
    """Weights of rows, given their pair and their branches.

    Args:
        branches: In view.
        levels: Of cascades of soft steps only.
        direct: Cross section of pairs themselves [fb].
        effective: The same, and of all that decays softly into them [fb].
        pair: Of each row.
        a: First branch of each row, among those in view.
        b: Second branch.
    """
    compressed = branches.soft[a] * branches.soft[b]
    full = branches.full[a] * branches.full[b]
    visible = direct[pair] * (full - branches.hard[a] * branches.hard[b])[:, None]
    total = effective[pair] * compressed[:, None] + visible
    heavier = branches.largest_gap[a] >= branches.largest_gap[b]
    largest = jnp.where(heavier, branches.largest_gap[a], branches.largest_gap[b])
    level = jnp.where(heavier, levels.of_branch[a], levels.of_branch[b])
    smallest = jnp.minimum(branches.smallest_gap[a], branches.smallest_gap[b])
    applies = (level >= 0) & ~only_largest_left(smallest, largest)
    applies &= branches.all_soft[a] & branches.all_soft[b]
    partly = levels.effective[level, pair]
    partly *= (levels.soft[level, a] * levels.soft[level, b])[:, None]
    # Those from which nothing is removed are among the visible ones.
    partly = jnp.where(applies[:, None], partly - direct[pair] * full[:, None], 0.0)
    return RowWeights(total + partly, visible)


def groups(label: Int[Array, " row"], size: int) -> tuple[Packed, Int[Array, " row"]]:
    """Distinct labels in ascending order, and the position of each row's label there.

    Args:
        label: At least zero; negative where the row is not in use.
        size: Room for distinct labels.

    Returns:
        The labels, and positions; beyond the room for rows that are not in use.
    """
    beyond = jnp.iinfo(label.dtype).max
    number = jnp.where(label >= 0, label, beyond)
    ordered = jnp.sort(number)
    new = (ordered != jnp.roll(ordered, 1)).at[0].set(True) & (ordered < beyond)
    place = jnp.where(new, jnp.cumsum(new) - 1, size)
    distinct = jnp.full(size, beyond, label.dtype).at[place].set(ordered, mode="drop")
    position = jnp.where(label >= 0, jnp.searchsorted(distinct, number), size)
    live = distinct < beyond
    return Packed(jnp.where(live, distinct, 0), live, jnp.sum(new).astype(jnp.int32)), position


def families(
    packed: Packed, position: Int[Array, " row"], compressed: Int[Array, " row"]
) -> tuple[Int[Array, " site"], Bool[Array, " site"], Int[Array, ""]]:
    """Sites that show the same cascades, with soft steps and without.

    Args:
        packed: Live sites, ascending.
        position: Of the site of each row among them; beyond the last where not in use.
        compressed: Site of the same cascade compressed, or -1.

    Returns:
        Family of each packed site (-1 without), whether it is the compressed one, and
        the number of families.
    """
    size = packed.index.shape[0]
    ascending = jnp.where(packed.live, packed.index, jnp.iinfo(packed.index.dtype).max)
    found = jnp.searchsorted(ascending, compressed)
    there = jnp.where(
        (compressed >= 0) & (ascending.at[found].get(mode="clip") == compressed), found, size
    )
    here = jnp.where(there < size, position, size)
    other = jnp.full(size, -1).at[here].max(there, mode="drop")
    is_compressed = jnp.zeros(size, bool).at[there].set(True, mode="drop") & (other < 0)
    label = jnp.cumsum(is_compressed) - 1
    family = jnp.where(is_compressed, label, jnp.where(other >= 0, label[other], -1))
    return family.astype(jnp.int32), is_compressed, (label[-1] + 1).astype(jnp.int32)
