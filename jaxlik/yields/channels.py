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
from jaxlik.yields.compaction import Packed, pack
from jaxlik.yields.compression import (
    BranchSteps,
    Gaps,
    Levels,
    Weights,
    families,
    only_largest_left,
    row_weight,
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
        num_rows: Live rows, for the check against the bucket.
        num_branches: Live branches, for the same.
        num_levels: Distinct soft steps, for the same.
    """

    packed: Packed
    weight: Float[Array, "site 2"]
    family: Int[Array, " site"]
    compressed: Bool[Array, " site"]
    num_families: Int[Array, ""]
    num_rows: Int[Array, ""]
    num_branches: Int[Array, ""]
    num_levels: Int[Array, ""]


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
        row_of = np.full((len(length), len(length)), -1, dtype=np.int32)
        row_of[table.row_branches[:, 0], table.row_branches[:, 1]] = np.arange(len(table.row_pair))
        return cls(
            row_of=jnp.asarray(row_of),
            channel_parent=jnp.asarray(channel_parent),
            channel_daughter=jnp.asarray(channel_daughter),
            soft_pairs=jnp.asarray(np.unique(pairs[table.soft_channels], axis=0)),
            channel_soft=jnp.asarray(np.isin(every, table.soft_channels)),
            channel_invisible=jnp.asarray(np.isin(every, table.invisible_channels)),
            branch_last=jnp.asarray(last),
            num_particles=table.num_particles,
            **{name: jnp.asarray(getattr(table, name)) for name in names},
        )

    def weights(
        self,
        masses: Float[Array, " particle"],
        branching_ratios: Float[Array, " channel"],
        production: Float[Array, "production 2"],
        gaps: Gaps,
        num_levels: int,
    ) -> Weights:
        """Weights of pairs of particles and of branches, whose products are row weights.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother.
            production: Cross sections times signal strengths [fb], per energy.
            gaps: Mass differences [GeV] that are compressed.
            num_levels: Bucket for distinct soft steps.
        """
        gap = masses[self.channel_parent] - masses[self.channel_daughter]
        is_soft = self.channel_soft & (gap < gaps.largest)
        hard = jnp.where(is_soft, 0.0, branching_ratios)
        soft = jnp.where(is_soft, branching_ratios, 0.0)
        size = self.num_particles + 1
        step = jnp.zeros((size, size), soft.dtype)
        step = step.at[self.channel_parent, self.channel_daughter].add(soft)
        transition = transitions(step)
        steps = self._branch_steps(gap, is_soft)
        padded = jnp.concatenate([production, jnp.zeros((1, 2), production.dtype)])
        every, visible = self._branch_products(branching_ratios, hard)
        return Weights(
            padded[self.pair_production],
            self._fed(production, transition),
            jnp.where(self.branch_direct, every, 0.0),
            jnp.where(self.branch_direct, visible, 0.0),
            visible * self._between(transition),
            steps,
            self._levels(masses, step, production, every, steps, gaps, num_levels),
        )

    def _fed(
        self, production: Float[Array, "production 2"], transition: Float[Array, "p1 p1"]
    ) -> Float[Array, "pair 2"]:
        """Cross sections of pairs, of all that decays softly into them."""
        fed = (
            production[self.feed_production]
            * transition[self.feed_from[:, 0], self.feed_to[:, 0]][:, None]
            * transition[self.feed_from[:, 1], self.feed_to[:, 1]][:, None]
        )
        empty = jnp.zeros((self.pair_production.shape[0], 2), fed.dtype)
        return empty.at[self.feed_pair].add(fed)

    def _between(self, transition: Float[Array, "p1 p1"]) -> Float[Array, " branch"]:
        """Soft decays between the vertices of branches."""
        return jnp.prod(transition[self.branch_daughters, self.branch_nodes[:, 1:]], axis=1)

    def _branch_products(
        self, branching: Float[Array, " channel"], hard: Float[Array, " channel"]
    ) -> tuple[Float[Array, " branch"], Float[Array, " branch"]]:
        """Branching ratios along each branch: of all steps, and of hard ones only."""
        one = jnp.ones(1, branching.dtype)
        invisible = jnp.zeros(self.num_particles + 1, branching.dtype)
        invisible = invisible.at[self.channel_parent].add(
            # Soft steps are left to mass compression: SModelS counts related topologies once.
            jnp.where(self.channel_invisible, hard, 0.0)
        )
        ending = self.branch_share * jnp.where(
            self.branch_invisible, invisible[self.branch_last], 1.0
        )
        every = ending * jnp.prod(jnp.concatenate([branching, one])[self.branch_channels], axis=1)
        visible = ending * jnp.prod(jnp.concatenate([hard, one])[self.branch_channels], axis=1)
        return every, visible

    def _branch_steps(
        self, gap: Float[Array, " channel"], is_soft: Bool[Array, " channel"]
    ) -> BranchSteps:
        """Mass gaps along branches; padding is soft and has none."""
        soft = jnp.concatenate([is_soft, jnp.ones(1, bool)])[self.branch_channels]
        real = self.branch_channels < gap.shape[0]
        size = jnp.concatenate([gap, jnp.zeros(1, gap.dtype)])[self.branch_channels]
        return BranchSteps(
            jnp.where(real, size, -jnp.inf),
            soft & real,
            jnp.all(soft, axis=1) & ~self.branch_invisible,
            jnp.max(jnp.where(real, size, -jnp.inf), axis=1),
            jnp.min(jnp.where(real, size, jnp.inf), axis=1),
        )

    def _levels(
        self,
        masses: Float[Array, " particle"],
        step: Float[Array, "p1 p1"],
        production: Float[Array, "production 2"],
        every: Float[Array, " branch"],
        steps: BranchSteps,
        gaps: Gaps,
        num_levels: int,
    ) -> Levels:
        """Weights of cascades of soft steps only, for each gap that may be their largest."""
        heavy, light = self.soft_pairs[:, 0], self.soft_pairs[:, 1]
        size = masses[heavy] - masses[light]
        chosen = pack((step[heavy, light] > 0) & (size >= gaps.largest_unseen), num_levels)
        level_gap = jnp.where(chosen.live, size[chosen.index], jnp.nan)
        padded = jnp.concatenate([masses, jnp.zeros(1, masses.dtype)])
        distance = padded[:, None] - padded[None, :]
        # A level is known by its gap: equal gaps make equal levels.
        same = steps.largest[:, None] == level_gap[None, :]
        of_branch = jnp.where(jnp.any(same, axis=1), jnp.argmax(same, axis=1), -1)

        def level(largest: Scalar) -> tuple[Float[Array, "pair 2"], Float[Array, " branch"]]:
            smaller = jnp.where(only_largest_left(distance, largest), step, 0.0)
            transition = transitions(smaller)
            soft = jnp.where(steps.all_soft, every * self._between(transition), 0.0)
            return self._fed(production, transition), soft

        return Levels(of_branch, *jax.vmap(level)(level_gap), chosen.count)

    def sites(
        self,
        masses: Float[Array, " particle"],
        branching_ratios: Float[Array, " channel"],
        production: Float[Array, "production 2"],
        gaps: Gaps,
        minimum_weight: Scalar,
        *,
        num_branches: int,
        num_levels: int,
        num_rows: int,
        num_sites: int,
    ) -> Sites:
        """Sites that receive at least `minimum_weight` [fb] from some cascade.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother.
            production: Cross sections times signal strengths [fb], per energy.
            gaps: Mass differences [GeV] that are compressed.
            minimum_weight: Rows below it [fb] are dropped (SModelS ``sigmacut``).
            num_branches: Bucket for branches.
            num_levels: Bucket for distinct soft steps.
            num_rows: Bucket for rows.
            num_sites: Bucket for sites.
        """
        weights = self.weights(masses, branching_ratios, production, gaps, num_levels)
        strongest = jnp.maximum(jnp.max(weights.direct), jnp.max(weights.effective))
        largest = jnp.maximum(weights.full, weights.soft)
        largest = jnp.maximum(largest, jnp.max(weights.levels.soft, axis=0))
        branches = pack(largest * strongest >= minimum_weight, num_branches)
        first, second = (
            jnp.repeat(branches.index, num_branches),
            jnp.tile(branches.index, num_branches),
        )
        both = jnp.repeat(branches.live, num_branches) & jnp.tile(branches.live, num_branches)
        row = jnp.where(both, self.row_of[first, second], -1)
        size = row_weight(weights, self.row_pair[row], first, second).total
        rows = pack((row >= 0) & (jnp.max(size, axis=1) >= minimum_weight), num_rows)
        first, second, chosen = first[rows.index], second[rows.index], row[rows.index]
        live_weight = row_weight(weights, self.row_pair[chosen], first, second)
        number = jnp.where(rows.live, self.row_site[chosen], self.site_class.shape[0])
        total = jnp.zeros((self.site_class.shape[0], 2), size.dtype)
        total = total.at[number].add(live_weight.total, mode="drop")
        packed = pack(jnp.max(total, axis=1) > 0, num_sites)
        site_weight = jnp.where(packed.live[:, None], total[packed.index], 0.0)
        apart = rows.live & (jnp.max(live_weight.visible, axis=1) > 0)
        left = self._compressed_row(weights.steps, gaps, first, second)
        compressed = jnp.where(apart & (left >= 0), self.row_site[left], -1)
        return Sites(
            packed,
            site_weight,
            *families(packed, number, compressed, self.site_class.shape[0]),
            rows.count,
            branches.count,
            weights.levels.count,
        )

    def _compressed_row(
        self, steps: BranchSteps, gaps: Gaps, first: Int[Array, " row"], second: Int[Array, " row"]
    ) -> Int[Array, " row"]:
        """Row of two branches without their soft steps; -1 where no map sees it."""
        largest = jnp.maximum(steps.largest[first], steps.largest[second])
        nothing_left = steps.all_soft[first] & steps.all_soft[second]
        nothing_left &= largest >= gaps.largest_unseen

        def compressed(branch: Int[Array, " row"]) -> Int[Array, " row"]:
            small = only_largest_left(steps.gap[branch], largest[:, None])
            removed = steps.soft[branch] & (small | ~nothing_left[:, None])
            bits = removed.astype(jnp.int32)
            return self.branch_compressed[branch, bits[:, 0] + 2 * bits[:, 1]]

        one, two = compressed(first), compressed(second)
        # Compression may change which of the first particles has the smaller number.
        row = jnp.maximum(self.row_of[one, two], self.row_of[two, one])
        changed = (one != first) | (two != second)
        return jnp.where((one >= 0) & (two >= 0) & changed, row, -1)
