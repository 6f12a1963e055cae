"""Yields from networks: smooth in masses, with a band on every map.

    efficiency(region, m) = scale * softplus(head(region) @ hidden(topology, m) + bias)
                            * edge(m) * reach(region, m)

The weights of topologies, and the upper limits that the critic asks for, are exact:
only efficiencies are learned.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.buckets import DEFAULT_BUCKETS, Buckets
from jaxlik.yields.channels import Channels, Sites
from jaxlik.yields.compaction import expand
from jaxlik.yields.compression import Gaps
from jaxlik.yields.domains import Domains, Projection, project, reach_gate
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.networks import Stack, hidden_layer
from jaxlik.yields.reader import MapReader
from jaxlik.yields.signals import Entries, Maps, Sightings, Signals
from jaxlik.yields.sums import cross_sections

ROOT_OFFSET = 1e-4
"""Share of the largest efficiency below which roots of efficiencies stop to differ."""


BAND_LEVEL = 0.9
"""Nominal coverage of the bands of maps."""


class Heads(NamedTuple):
    """The last layer: one row per map.

    Attributes:
        weight: Of the hidden units.
        bias: Added.
        scale: Largest efficiency of the map; 0 for a map that is zero everywhere.
        band: Half width of the 90 % band, in roots of the efficiency over the scale.
        reach_weight: Of the hidden units, for the logarithm of the reach.
        reach_bias: Added; large where the plane is the whole space.
    """

    weight: Float[Array, "head width"]
    bias: Float[Array, " head"]
    scale: Float[Array, " head"]
    band: Float[Array, " head"]
    reach_weight: Float[Array, "head width"]
    reach_bias: Float[Array, " head"]


class NeuralYields(eqx.Module):
    """Learned yields of every signal region, and the exact upper limits a model meets."""

    exact: EfficiencyYields
    """Only its upper-limit maps are asked."""
    maps: Maps
    """Targets of efficiency maps."""
    target_domain: Int[Array, " target"]
    entry_head: Int[Array, " entry"]
    stack: Stack
    domains: Domains
    heads: Heads
    shift: Float[Array, " head"]
    """Moves each map by so many half widths of its band; 0. For errors of what follows."""

    @property
    def channels(self) -> Channels:
        """The channel table."""
        return self.exact.channels

    @property
    def reader(self) -> MapReader:
        """Upper limits at given coordinates."""
        return self.exact.reader

    def __call__(
        self,
        masses: Float[Array, " particle"],
        branching_ratios: Float[Array, " channel"],
        production: Float[Array, "production 2"],
        *,
        gaps: Gaps,
        minimum_weight: Scalar,
        buckets: Buckets = DEFAULT_BUCKETS,
    ) -> Signals:
        """Evaluate one model point; arguments as of `EfficiencyYields`."""
        sites = self.channels.sites(
            masses, branching_ratios, production, gaps, minimum_weight, buckets
        )
        limits = self.exact.at_sites(masses, sites, buckets)
        label = self.channels.site_class[sites.packed.index]
        first, last = self.maps.class_start[label], self.maps.class_start[label + 1]
        places = expand(first, last, sites.packed.live, buckets.network_places)
        target = self.maps.match_target[places.item]
        nodes = self.channels.site_nodes[sites.packed.index[places.row]]
        flat = jax.vmap(self.maps.coordinates, (None, 0, 0))(masses, nodes, places.item)
        seen = project(self.domains, self.target_domain[target], flat)
        live = places.live & (seen.gate > 0)
        entries = self._entries(sites, places.row, target, seen, live, buckets)
        cross_section = cross_sections(self.maps, sites, places.row, entries, buckets.families)
        at = Buckets._fields.index
        demand = limits.demand.at[at("network_places")].set(places.count.astype(jnp.int32))
        demand = demand.at[at("network_entries")].set(entries.count.astype(jnp.int32))
        sizes = jnp.asarray(tuple(buckets), dtype=jnp.int32)
        status = Status.where(jnp.any(demand > sizes), Status.overflow, Status.success)  # type: ignore[reportAttributeAccessIssue]
        sightings = Sightings(sites.packed.index[places.row], target, live)
        events = cross_section * self.maps.luminosity
        fading = jnp.sum(live & ~seen.inside).astype(jnp.int32)
        return Signals(cross_section, events, limits.limits, sightings, demand, fading, status)

    def _entries(
        self,
        sites: Sites,
        site: Int[Array, " place"],
        target: Int[Array, " place"],
        seen: Projection,
        live: Bool[Array, " place"],
        buckets: Buckets,
    ) -> Entries:
        """Values and weights of all maps at all places."""
        hidden = hidden_layer(self.stack, self.target_domain[target], seen.point)
        start, stop = self.maps.target_start[target], self.maps.target_start[target + 1]
        entries = expand(start, stop, live, buckets.network_entries)
        place, of_entry = entries.row, target[entries.row]
        value = self.efficiencies(
            self.entry_head[entries.item], hidden[place], seen.gate[place], seen.distance[place]
        )
        energy = self.maps.target_energy[of_entry]
        weight = sites.weight[site[place], energy] * self.maps.target_factor[of_entry]
        none = jnp.zeros((), jnp.int32)
        return Entries(
            place, of_entry, entries.item, weight, value, entries.live, entries.count, none
        )

    def efficiencies(
        self,
        head: Int[Array, " entry"],
        hidden: Float[Array, "entry width"],
        gate: Float[Array, " entry"],
        distance: Float[Array, " entry"],
    ) -> Float[Array, " entry"]:
        """Efficiencies of maps, `learned_efficiencies`, moved by the shift of each map."""
        return learned_efficiencies(self.heads, self.shift, head, hidden, gate, distance)


def learned_efficiencies(
    rows: Heads,
    shift: Float[Array, " head"],
    head: Int[Array, " entry"],
    hidden: Float[Array, "entry width"],
    gate: Float[Array, " entry"],
    distance: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Efficiencies of maps, double precision.

    Args:
        rows: Last layers.
        shift: Of each map, in half widths of its band.
        head: Number of each map.
        hidden: Last hidden layer of its network.
        gate: Of the hull.
        distance: To the plane of the grid.
    """
    raw = jnp.sum(rows.weight[head] * hidden, axis=-1) + rows.bias[head]
    scaled = jax.nn.softplus(raw).astype(gate.dtype)
    band = 2.0 * rows.band[head] * jnp.sqrt(scaled + ROOT_OFFSET)
    value = rows.scale[head] * (scaled + shift[head] * band)
    log_reach = jnp.sum(rows.reach_weight[head] * hidden, axis=-1) + rows.reach_bias[head]
    reach = jnp.exp(jnp.clip(log_reach, -5.0, 12.0)).astype(gate.dtype)
    return value * gate * reach_gate(distance, reach)
