"""Exact yields: cross sections, branching ratios and published efficiency maps.

    signal(region) = luminosity * sum over sites of weight * efficiency(region, masses)

One jitted function of the model point serves every particle content: what is
alive is packed into buckets of static size (`jaxlik.yields.compaction`).
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.buckets import DEFAULT_BUCKETS, Buckets
from jaxlik.yields.channels import Channels, Sites
from jaxlik.yields.compaction import Expanded, expand, pack
from jaxlik.yields.compression import Gaps
from jaxlik.yields.interpolation import Grids, locate
from jaxlik.yields.reader import MapReader
from jaxlik.yields.signals import Entries, LimitEntries, Maps, Places, Sightings, Signals
from jaxlik.yields.sums import cross_sections


class EfficiencyYields(eqx.Module):
    """Exact yields of every signal region, and the upper limits a model meets."""

    channels: Channels
    grids: Grids
    maps: Maps

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
        """Evaluate one model point.

        Args:
            masses: GeV.
            branching_ratios: Of open channels, normalised per mother; 0 if closed.
            production: Cross sections times signal strengths [fb], at 8 and 13 TeV.
            gaps: Mass differences [GeV] removed by mass compression.
            minimum_weight: Cascades below this weight [fb] are dropped.
            buckets: Static sizes of the packed tables.
        """
        sites = self.channels.sites(
            masses, branching_ratios, production, gaps, minimum_weight, buckets
        )
        return self.at_sites(masses, sites, buckets)

    def at_sites(
        self, masses: Float[Array, " particle"], sites: Sites, buckets: Buckets
    ) -> Signals:
        """What the maps say at the sites of one model point."""
        label = self.channels.site_class[sites.packed.index]
        first, last = self.maps.class_start[label], self.maps.class_start[label + 1]
        places = self._places(masses, sites, expand(first, last, sites.packed.live, buckets.places))
        entries = self._entries(sites, places, buckets)
        cross_section = cross_sections(self.maps, sites, places.site, entries, buckets.families)
        limits, num_limits = self._limits(sites, places, entries, buckets.limits)
        nothing = jnp.zeros_like(places.count)
        demand = jnp.stack(
            [
                *sites.demand,
                sites.packed.count,
                places.count,
                entries.count,
                entries.num_off_plane,
                sites.num_families,
                nothing,
                nothing,
                num_limits,
                nothing,
                nothing,
            ]
        ).astype(jnp.int32)
        sizes = jnp.asarray(tuple(buckets), dtype=jnp.int32)
        status = Status.where(jnp.any(demand > sizes), Status.overflow, Status.success)  # type: ignore[reportAttributeAccessIssue]
        events = cross_section * self.maps.luminosity
        sightings = Sightings(
            sites.packed.index[places.site],
            places.target,
            places.live & ~self._is_limit(places.target),
        )
        fading = jnp.zeros((), jnp.int32)
        return Signals(cross_section, events, limits, sightings, demand, fading, status)

    def _places(self, masses: Float[Array, " particle"], sites: Sites, wanted: Expanded) -> Places:
        nodes = self.channels.site_nodes[sites.packed.index[wanted.row]]
        target = self.maps.match_target[wanted.item]
        grid = self.maps.target_grid[target]
        flat = jax.vmap(self.maps.coordinates, (None, 0, 0))(masses, nodes, wanted.item)
        rotated = jax.vmap(self.grids.rotate)(grid, flat)
        point = jax.vmap(self.grids.in_plane)(grid, rotated)
        off_plane = jax.vmap(self.grids.is_off_plane)(grid, rotated)
        simplex, found = locate(self.grids, grid, point, wanted.live)
        vertices, weights = self.reader.vertices_at(grid, simplex, point)
        return Places(
            wanted.row,
            target,
            found,
            off_plane & found,
            flat,
            rotated,
            simplex,
            vertices,
            weights,
            wanted.count,
        )

    @property
    def reader(self) -> MapReader:
        """Values of the maps at any point."""
        maps = self.maps
        return MapReader(self.grids, maps.grid_points, maps.grid_size, maps.values)

    def _is_limit(self, target: Int[Array, " place"]) -> Bool[Array, " place"]:
        """Whether targets are maps of upper limits, rather than of efficiencies."""
        region = self.maps.entry_region[self.maps.target_start[target]]
        return region == self.maps.luminosity.shape[0]

    def _entries(self, sites: Sites, places: Places, buckets: Buckets) -> Entries:
        """Values and weights of all maps at all places."""
        start = self.maps.target_start[places.target]
        stop = self.maps.target_start[places.target + 1]
        entries = expand(start, stop, places.live, buckets.entries)
        place, target = entries.row, places.target[entries.row]
        offset = self.maps.entry_value[entries.item]
        value = self.reader.values_of(offset, places.vertices[place], places.weights[place])
        value, num_off_plane = self.reader.drop_unreliable(
            value,
            offset,
            place,
            entries.live & places.off_plane[place],
            self.maps.target_grid[places.target],
            places.rotated,
            places.simplex,
            buckets.off_plane,
        )
        energy = self.maps.target_energy[target]
        weight = sites.weight[places.site[place], energy] * self.maps.target_factor[target]
        return Entries(
            place,
            target,
            entries.item,
            weight,
            value,
            entries.live,
            entries.count,
            num_off_plane,
        )

    def _limits(
        self, sites: Sites, places: Places, entries: Entries, size: int
    ) -> tuple[LimitEntries, Int[Array, ""]]:
        """The upper limits among the entries, and how many there are."""
        wanted = entries.live & (entries.value > 0) & (entries.weight > 0)
        chosen = pack(wanted & self._is_limit(entries.target), size)
        index, live = chosen.index, chosen.live
        place = entries.place[index]
        found = LimitEntries(
            self.maps.target_limit[entries.target[index]],
            sites.packed.index[places.site[place]],
            jnp.where(live, entries.weight[index], 0.0),
            places.flat[place],
            jnp.where(live, entries.value[index], 1.0),
            live,
        )
        return found, chosen.count
