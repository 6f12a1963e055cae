"""Weights of all simplified-model topologies of a model point.

The channel table (`jaxlik.database.topologies`) as a pytree. A weight is a cross
section times branching ratios, summed over all cascades that look alike after
mass and invisible compression; it is polynomial in the branching ratios.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.database.table import ChannelTable
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.compaction import Packed, pack

SOFT_CHAIN = 3
"""Soft decays in a row that mass compression follows."""


class Sites(NamedTuple):
    """Places in maps that a model point fills, packed.

    Attributes:
        packed: Which sites; `packed.index` counts the sites of the table.
        weight: Cross section times branching ratios [fb], per energy (8, 13 TeV).
        num_rows: Live rows, for the check against the bucket.
        num_branches: Live branches, for the same.
    """

    packed: Packed
    weight: Float[Array, "site 2"]
    num_rows: Int[Array, ""]
    num_branches: Int[Array, ""]


class Weights(NamedTuple):
    """Factors of row weights.

    A row of branches a and b and of the pair p of first particles weighs
    effective_p soft_a soft_b + direct_p (full_a full_b - hard_a hard_b).

    Attributes:
        direct: Cross section of the pair itself [fb].
        effective: The same, and of all that decays softly into it [fb].
        full: Branching ratios of a branch whose steps are all visible.
        hard: The same without steps that mass compression removes.
        soft: Branching ratios of a branch, soft decays between its vertices included.
    """

    direct: Float[Array, "pair 2"]
    effective: Float[Array, "pair 2"]
    full: Float[Array, " branch"]
    hard: Float[Array, " branch"]
    soft: Float[Array, " branch"]


class _Products(NamedTuple):
    compressed: Float[Array, " row"]
    extra: Float[Array, " row"]


def _products(weights: Weights, first: Int[Array, " row"], second: Int[Array, " row"]) -> _Products:
    extra = weights.full[first] * weights.full[second] - weights.hard[first] * weights.hard[second]
    return _Products(weights.soft[first] * weights.soft[second], extra)


class Channels(eqx.Module):
    """The channel table on the device; see `jaxlik.database.topologies.ChannelTable`."""

    channel_parent: Int[Array, " channel"]
    channel_daughter: Int[Array, " channel"]
    channel_soft: Bool[Array, " channel"]
    channel_invisible: Bool[Array, " channel"]
    branch_channels: Int[Array, "branch 2"]
    branch_daughters: Int[Array, "branch 2"]
    branch_nodes: Int[Array, "branch 3"]
    branch_share: Float[Array, " branch"]
    branch_direct: Bool[Array, " branch"]
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
        length = (table.branch_nodes < table.num_particles).sum(axis=1)
        last = table.branch_nodes[np.arange(len(length)), length - 1]
        names = (
            "branch_channels branch_daughters branch_nodes branch_share branch_direct "
            "branch_invisible pair_production feed_pair feed_production feed_from feed_to "
            "row_pair row_site site_class site_nodes"
        ).split()
        row_of = np.full((len(length), len(length)), -1, dtype=np.int32)
        row_of[table.row_branches[:, 0], table.row_branches[:, 1]] = np.arange(len(table.row_pair))
        return cls(
            row_of=jnp.asarray(row_of),
            channel_parent=jnp.asarray(channel_parent),
            channel_daughter=jnp.asarray(channel_daughter),
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
        mass_gap: Scalar,
    ) -> "Weights":
        """Weights of pairs of particles and of branches, whose products are row weights.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother.
            production: Cross sections times signal strengths [fb], per energy.
            mass_gap: Largest mass difference [GeV] that is compressed.
        """
        gap = masses[self.channel_parent] - masses[self.channel_daughter]
        is_soft = self.channel_soft & (gap < mass_gap)
        hard = jnp.where(is_soft, 0.0, branching_ratios)
        transition = self._transitions(jnp.where(is_soft, branching_ratios, 0.0))
        full_branch, hard_branch, soft_branch = self._branch_weights(
            branching_ratios, hard, transition
        )
        padded = jnp.concatenate([production, jnp.zeros((1, 2), production.dtype)])
        direct = padded[self.pair_production]
        fed = (
            production[self.feed_production]
            * transition[self.feed_from[:, 0], self.feed_to[:, 0]][:, None]
            * transition[self.feed_from[:, 1], self.feed_to[:, 1]][:, None]
        )
        effective = jnp.zeros_like(direct).at[self.feed_pair].add(fed)
        return Weights(direct, effective, full_branch, hard_branch, soft_branch)

    def _transitions(self, soft: Float[Array, " channel"]) -> Float[Array, "particle1 particle1"]:
        """Sum over chains of soft decays between two particles; padded by one identity row."""
        size = self.num_particles + 1
        step = jnp.zeros((size, size), soft.dtype)
        step = step.at[self.channel_parent, self.channel_daughter].add(soft)
        identity = jnp.eye(size, dtype=soft.dtype)
        total = identity
        for _ in range(SOFT_CHAIN):
            total = identity + step @ total
        return total

    def _branch_weights(
        self,
        branching: Float[Array, " channel"],
        hard: Float[Array, " channel"],
        transition: Float[Array, "particle1 particle1"],
    ) -> tuple[Float[Array, " branch"], Float[Array, " branch"], Float[Array, " branch"]]:
        """Products along each branch: all steps visible; the same, hard only; with soft steps."""
        one = jnp.ones(1, branching.dtype)
        invisible = jnp.zeros(self.num_particles + 1, branching.dtype)
        invisible = invisible.at[self.channel_parent].add(
            # Soft steps are left to mass compression: SModelS counts related topologies once.
            jnp.where(self.channel_invisible, hard, 0.0)
        )
        ending = self.branch_share * jnp.where(
            self.branch_invisible, invisible[self.branch_last], 1.0
        )
        full = ending * jnp.prod(jnp.concatenate([branching, one])[self.branch_channels], axis=1)
        visible = ending * jnp.prod(jnp.concatenate([hard, one])[self.branch_channels], axis=1)
        between = transition[self.branch_daughters, self.branch_nodes[:, 1:]]
        soft = visible * jnp.prod(between, axis=1)
        direct = self.branch_direct
        return jnp.where(direct, full, 0.0), jnp.where(direct, visible, 0.0), soft

    def sites(
        self,
        masses: Float[Array, " particle"],
        branching_ratios: Float[Array, " channel"],
        production: Float[Array, "production 2"],
        mass_gap: Scalar,
        minimum_weight: Scalar,
        *,
        num_branches: int,
        num_rows: int,
        num_sites: int,
    ) -> Sites:
        """Sites that receive at least `minimum_weight` [fb] from some cascade.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother.
            production: Cross sections times signal strengths [fb], per energy.
            mass_gap: Largest mass difference [GeV] that is compressed.
            minimum_weight: Rows below it [fb] are dropped (SModelS ``sigmacut``).
            num_branches: Bucket for branches.
            num_rows: Bucket for rows.
            num_sites: Bucket for sites.
        """
        weights = self.weights(masses, branching_ratios, production, mass_gap)
        strongest = jnp.maximum(jnp.max(weights.direct), jnp.max(weights.effective))
        largest = jnp.maximum(weights.full, weights.soft)
        branches = pack(largest * strongest >= minimum_weight, num_branches)
        first, second = (
            jnp.repeat(branches.index, num_branches),
            jnp.tile(branches.index, num_branches),
        )
        both = jnp.repeat(branches.live, num_branches) & jnp.tile(branches.live, num_branches)
        row = jnp.where(both, self.row_of[first, second], -1)
        pair = self.row_pair[row]
        product = _products(weights, first, second)
        size = jnp.max(weights.effective, axis=1)[pair] * product.compressed
        size = size + jnp.max(weights.direct, axis=1)[pair] * product.extra
        rows = pack((row >= 0) & (size >= minimum_weight), num_rows)
        chosen = row[rows.index]
        part = _products(weights, first[rows.index], second[rows.index])
        pair = self.row_pair[chosen]
        live_weight = weights.effective[pair] * part.compressed[:, None]
        live_weight = live_weight + weights.direct[pair] * part.extra[:, None]
        live_weight = jnp.where(rows.live[:, None], live_weight, 0.0)
        number = jnp.where(rows.live, self.row_site[chosen], self.site_class.shape[0])
        total = jnp.zeros((self.site_class.shape[0], 2), live_weight.dtype)
        total = total.at[number].add(live_weight, mode="drop")
        packed = pack(jnp.max(total, axis=1) > 0, num_sites)
        site_weight = jnp.where(packed.live[:, None], total[packed.index], 0.0)
        return Sites(packed, site_weight, rows.count, branches.count)
