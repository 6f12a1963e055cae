"""Weights of all simplified-model topologies of a model point.

The channel table (`jaxlik.database.topologies`) as a pytree. A weight is a cross
section times branching ratios, summed over all cascades that look alike after
mass and invisible compression; it is polynomial in the branching ratios.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.table import ChannelTable
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.compaction import Packed, pack
from jaxlik.yields.compression import (
    Branches,
    Feeds,
    Gaps,
    Levels,
    families,
    fed,
    groups,
    only_largest_left,
    row_weights,
    size_bound,
    transitions,
)


class Sites(NamedTuple):
    """Places in maps that a model point fills, packed.

    A cascade with soft steps is visible twice: as it is, and compressed. Where both fill
    maps of one region, only one of them counts; sites that exclude each other so are a
    *family*: one compressed site and all those whose cascades it holds.

    Attributes:
        packed: Which sites; `packed.index` counts the sites of the table.
        weight: Cross section times branching ratios [fb], per energy (8, 13 TeV).
        family: Number of the family, -1 without.
        compressed: Whether the site is the compressed one of its family.
        num_families: Families, for the check against the bucket.
        demand: Live branches, feeds, levels and rows, for the check against the buckets.
    """

    packed: Packed
    weight: Float[Array, "site 2"]
    family: Int[Array, " site"]
    compressed: Bool[Array, " site"]
    num_families: Int[Array, ""]
    demand: Int[Array, " 4"]


class Channels(eqx.Module):
    """The channel table on the device; see `jaxlik.database.topologies.ChannelTable`."""

    channel_parent: Int[Array, " channel"]
    channel_daughter: Int[Array, " channel"]
    channel_soft: Bool[Array, " channel"]
    channel_invisible: Bool[Array, " channel"]
    soft_pairs: Int[Array, "step 2"]
    """Mother and daughter of channels that may be soft, each pair once."""
    branch_channels: Int[Array, "branch 2"]
    branch_daughters: Int[Array, "branch 2"]
    branch_nodes: Int[Array, "branch 3"]
    branch_share: Float[Array, " branch"]
    branch_direct: Bool[Array, " branch"]
    branch_compressed: Int[Array, "branch 4"]
    branch_invisible: Bool[Array, " branch"]
    branch_last: Int[Array, " branch"]
    pair_production: Int[Array, " pair"]
    feed_pair: Int[Array, " feed"]
    feed_production: Int[Array, " feed"]
    feed_from: Int[Array, "feed 2"]
    feed_to: Int[Array, "feed 2"]
    row_of: Int[Array, "branch branch"]
    """Row of two branches, -1 where no map sees them."""
    row_pair: Int[Array, " row"]
    row_site: Int[Array, " row"]
    site_class: Int[Array, " site"]
    site_nodes: Int[Array, "site 6"]
    num_particles: int = eqx.field(static=True)

    @classmethod
    def from_table(
        cls, table: ChannelTable, channel_parent: np.ndarray, channel_daughter: np.ndarray
    ) -> "Channels":
        """Put a channel table on the device.

        Args:
            table: Host arrays.
            channel_parent: Particle index of the mother of each channel.
            channel_daughter: Particle index of its new-physics daughter.
        """
        every = np.arange(table.num_channels)
        pairs = np.stack([channel_parent, channel_daughter], axis=1)
        length = (table.branch_nodes < table.num_particles).sum(axis=1)
        last = table.branch_nodes[np.arange(len(length)), length - 1]
        names = (
            "branch_channels branch_daughters branch_nodes branch_share branch_direct "
            "branch_compressed branch_invisible pair_production feed_pair feed_production "
            "feed_from feed_to row_pair row_site site_class site_nodes"
        ).split()
        soft = np.unique(pairs[table.soft_channels], axis=0)
        row_of = np.full((len(length), len(length)), -1, dtype=np.int32)
        row_of[table.row_branches[:, 0], table.row_branches[:, 1]] = np.arange(len(table.row_pair))
        return cls(
            row_of=jnp.asarray(row_of),
            channel_parent=jnp.asarray(channel_parent),
            channel_daughter=jnp.asarray(channel_daughter),
            # A particle and itself where nothing is soft: never live.
            soft_pairs=jnp.asarray(soft if len(soft) else np.zeros((1, 2), dtype=np.int32)),
            channel_soft=jnp.asarray(np.isin(every, table.soft_channels)),
            channel_invisible=jnp.asarray(np.isin(every, table.invisible_channels)),
            branch_last=jnp.asarray(last),
            num_particles=table.num_particles,
            **{name: jnp.asarray(getattr(table, name)) for name in names},
        )

    def sites(
        self,
        masses: Float[Array, " particle"],
        branching_ratios: Float[Array, " channel"],
        production: Float[Array, "production 2"],
        gaps: Gaps,
        minimum_weight: Scalar,
        buckets: Buckets,
    ) -> Sites:
        """Sites that receive at least `minimum_weight` [fb] from some cascade.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother.
            production: Cross sections times signal strengths [fb], per energy.
            gaps: Mass differences [GeV] that are compressed.
            minimum_weight: Rows below it [fb] are dropped (SModelS ``sigmacut``).
            buckets: Static sizes; those of branches, feeds, levels, rows and sites count.
        """
        gap = masses[self.channel_parent] - masses[self.channel_daughter]
        is_soft = self.channel_soft & (gap < gaps.largest)
        step = jnp.zeros((self.num_particles + 1,) * 2, gap.dtype)
        soft = jnp.where(is_soft, branching_ratios, 0.0)
        step = step.at[self.channel_parent, self.channel_daughter].add(soft)
        transition = transitions(step)
        feeds = self._feeds(production, transition, buckets.feeds)
        num_pairs = self.pair_production.shape[0]
        effective = fed(feeds, transition, num_pairs)
        padded = jnp.concatenate([production, jnp.zeros((1, 2), production.dtype)])
        direct = padded[self.pair_production]

        strongest = jnp.maximum(jnp.max(direct), jnp.max(effective))
        index, branches = self._branches(
            branching_ratios, gap, is_soft, transition, minimum_weight / strongest, buckets.branches
        )
        levels = self._levels(
            masses, step, feeds, index.index, branches, gaps.largest_unseen, buckets.levels
        )
        number = index.index
        row = self.row_of[number[:, None], number[None, :]]
        used = (row >= 0) & index.live[:, None] & index.live[None, :]
        size = size_bound(branches, direct, effective, self.row_pair[row])
        rows = pack((used & (size >= minimum_weight)).reshape(-1), buckets.rows)
        first, second = jnp.divmod(rows.index, buckets.branches)
        row = row[first, second]
        weight = row_weights(branches, levels, direct, effective, self.row_pair[row], first, second)
        live = rows.live & (jnp.max(weight.total, axis=1) >= minimum_weight)
        packed, label = groups(jnp.where(live, self.row_site[row], -1), buckets.sites)
        empty = jnp.zeros((buckets.sites, 2), weight.total.dtype)
        site_weight = empty.at[label].add(weight.total, mode="drop")
        apart = live & (jnp.max(weight.visible, axis=1) > 0)
        left = self._compressed_row(number, branches, gaps.largest_unseen, first, second)
        compressed = jnp.where(apart & (left >= 0), self.row_site[left], -1)
        demand = jnp.stack([index.count, feeds.count, levels.count, rows.count])
        return Sites(packed, site_weight, *families(packed, label, compressed), demand)

    def _feeds(
        self,
        production: Float[Array, "production 2"],
        transition: Float[Array, "p1 p1"],
        size: int,
    ) -> Feeds:
        """Production modes and the pairs of first visible particles they lead to."""
        some = jnp.any(production > 0, axis=1)[self.feed_production]
        reach = transition > 0
        some &= reach[self.feed_from[:, 0], self.feed_to[:, 0]]
        some &= reach[self.feed_from[:, 1], self.feed_to[:, 1]]
        chosen = pack(some, size)
        index = chosen.index
        return Feeds(
            jnp.where(chosen.live, self.feed_pair[index], self.pair_production.shape[0]),
            production[self.feed_production[index]],
            self.feed_from[index],
            self.feed_to[index],
            chosen.count,
        )

    def _branches(
        self,
        branching: Float[Array, " channel"],
        gap: Float[Array, " channel"],
        is_soft: Bool[Array, " channel"],
        transition: Float[Array, "p1 p1"],
        smallest: Scalar,
        size: int,
    ) -> tuple[Packed, Branches]:
        """Branches with a noticeable branching ratio."""
        hard = jnp.where(is_soft, 0.0, branching)
        # Soft steps are left to mass compression: SModelS counts related topologies once.
        invisible = jnp.zeros(self.num_particles + 1, branching.dtype)
        invisible = invisible.at[self.channel_parent].add(
            jnp.where(self.channel_invisible, hard, 0.0)
        )
        kinds = jnp.stack([branching, hard, branching - hard], axis=1)
        kinds = jnp.concatenate([kinds, jnp.ones((1, 3), kinds.dtype)])

        def products(branch: Int[Array, " branch"] | slice) -> Float[Array, "branch 3"]:
            """Branching ratios of all steps, if all are hard, if all are soft."""
            ending = self.branch_share[branch] * jnp.where(
                self.branch_invisible[branch], invisible[self.branch_last[branch]], 1.0
            )
            steps = kinds[self.branch_channels[branch]]
            return ending[:, None] * steps[:, 0] * steps[:, 1]

        def between(branch: Int[Array, " branch"] | slice) -> Float[Array, " branch"]:
            """Soft decays between the vertices."""
            ways = transition[self.branch_daughters[branch], self.branch_nodes[branch, 1:]]
            return ways[:, 0] * ways[:, 1]

        every = slice(None)
        along = products(every)
        largest = jnp.maximum(along[:, 1], along[:, 2]) * between(every)
        largest = jnp.maximum(largest, jnp.where(self.branch_direct, along[:, 0], 0.0))
        chosen = pack(jax.lax.stop_gradient(largest) >= smallest, size)
        at = chosen.index
        along, channels = products(at), self.branch_channels[at]
        real = channels < gap.shape[0]
        gaps = jnp.where(real, jnp.concatenate([gap, jnp.zeros(1, gap.dtype)])[channels], -jnp.inf)
        soft = jnp.concatenate([is_soft, jnp.zeros(1, bool)])[channels]
        direct = self.branch_direct[at]
        return chosen, Branches(
            jnp.where(direct, along[:, 0], 0.0),
            jnp.where(direct, along[:, 1], 0.0),
            along[:, 1] * between(at),
            along[:, 0],
            jnp.where(self.branch_invisible[at], 0.0, along[:, 2] * between(at)),
            gaps,
            soft,
            jnp.all(soft | ~real, axis=1) & ~self.branch_invisible[at],
        )

    def _levels(
        self,
        masses: Float[Array, " particle"],
        step: Float[Array, "p1 p1"],
        feeds: Feeds,
        branch: Int[Array, " branch"],
        branches: Branches,
        largest_unseen: Scalar,
        size: int,
    ) -> Levels:
        """Weights of cascades of soft steps only, for each gap that may be their largest."""
        heavy, light = self.soft_pairs[:, 0], self.soft_pairs[:, 1]
        difference = masses[heavy] - masses[light]
        chosen = pack((step[heavy, light] > 0) & (difference >= largest_unseen), size)
        level_gap = jnp.where(chosen.live, difference[chosen.index], jnp.nan)
        padded = jnp.concatenate([masses, jnp.zeros(1, masses.dtype)])
        distance = padded[:, None] - padded[None, :]
        # A level is known by its gap: equal gaps make equal levels.
        same = branches.largest_gap[:, None] == level_gap[None, :]
        of_branch = jnp.where(jnp.any(same, axis=1), jnp.argmax(same, axis=1), -1)
        start, stop = self.branch_daughters[branch], self.branch_nodes[branch, 1:]

        def level(largest: Scalar) -> tuple[Float[Array, "pair 2"], Float[Array, " branch"]]:
            smaller = jnp.where(only_largest_left(distance, largest), step, 0.0)
            transition = transitions(smaller)
            between = jnp.prod(transition[start, stop], axis=1)
            soft = jnp.where(branches.all_soft, branches.every * between, 0.0)
            return fed(feeds, transition, self.pair_production.shape[0]), soft

        return Levels(of_branch, *jax.vmap(level)(level_gap), chosen.count)

    def _compressed_row(
        self,
        number: Int[Array, " branch"],
        branches: Branches,
        largest_unseen: Scalar,
        first: Int[Array, " row"],
        second: Int[Array, " row"],
    ) -> Int[Array, " row"]:
        """Row of two branches without their soft steps; -1 where no map sees it."""
        largest = jnp.maximum(branches.largest_gap[first], branches.largest_gap[second])
        nothing_left = branches.all_soft[first] & branches.all_soft[second]
        nothing_left &= largest >= largest_unseen

        def compressed(branch: Int[Array, " row"]) -> Int[Array, " row"]:
            small = only_largest_left(branches.gap[branch], largest[:, None])
            removed = branches.is_soft[branch] & (small | ~nothing_left[:, None])
            bits = removed.astype(jnp.int32)
            return self.branch_compressed[number[branch], bits[:, 0] + 2 * bits[:, 1]]

        one, two = compressed(first), compressed(second)
        # Compression may change which of the first particles has the smaller number.
        row = jnp.maximum(self.row_of[one, two], self.row_of[two, one])
        changed = (one != number[first]) | (two != number[second])
        return jnp.where((one >= 0) & (two >= 0) & changed, row, -1)
