"""What yields are computed from and into: maps, table sizes, entries, signals."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.typing import Array, Bool, Float, Int


class Places(NamedTuple):
    """Points in grids: one per live site and target.

    Attributes:
        site: Bucket position of the site.
        target: Target each place belongs to.
        live: Whether the place is in use and lies in the hull of its grid.
        off_plane: Whether the point had to be projected on the plane of its grid.
        flat: Flat coordinates [GeV].
        rotated: Principal coordinates [GeV].
        simplex: Simplex around each place.
        vertices: Vertex numbers within the grid.
        weights: Barycentric weights.
        count: Places wanted.
    """

    site: Int[Array, " place"]
    target: Int[Array, " place"]
    live: Bool[Array, " place"]
    off_plane: Bool[Array, " place"]
    flat: Float[Array, "place 6"]
    rotated: Float[Array, "place 6"]
    simplex: Int[Array, " place"]
    vertices: Int[Array, "place 4"]
    weights: Float[Array, "place 4"]
    count: Int[Array, ""]


class Entries(NamedTuple):
    """Values of maps: one per live place and map of its target.

    Attributes:
        place: Bucket position of the place.
        target: Target of the channel table.
        number: Number of the entry in the table of all entries.
        weight: Cross section times branching ratios, times the factor of the constraint [fb].
        value: Efficiency, or upper limit [fb]; 0 where the projection is not reliable.
        live: Which entries are in use.
        count: Entries wanted.
        num_off_plane: Entries off the plane of their grid with a value.
    """

    place: Int[Array, " entry"]
    target: Int[Array, " entry"]
    number: Int[Array, " entry"]
    weight: Float[Array, " entry"]
    value: Float[Array, " entry"]
    live: Bool[Array, " entry"]
    count: Int[Array, ""]
    num_off_plane: Int[Array, ""]


class LimitEntries(NamedTuple):
    """Upper limits that the sites of a model meet, not yet clustered.

    Attributes:
        limit: Number of the upper-limit map.
        site: Site of the channel table it is met at.
        weight: Cross section times branching ratios, times the factor of the constraint [fb].
        flat: Flat coordinates of the site [GeV].
        value: Observed upper limit there [fb].
        live: Which entries are in use.
    """

    limit: Int[Array, " entry"]
    site: Int[Array, " entry"]
    weight: Float[Array, " entry"]
    flat: Float[Array, "entry 6"]
    value: Float[Array, " entry"]
    live: Bool[Array, " entry"]


class Sightings(NamedTuple):
    """Which topologies efficiency maps see: sites inside the hull of a target's grid.

    Attributes:
        site: Site of the channel table.
        target: Target of the channel table.
        live: Which entries are in use.
    """

    site: Int[Array, " place"]
    target: Int[Array, " place"]
    live: Bool[Array, " place"]


class Signals(NamedTuple):
    """What a model point predicts.

    Attributes:
        cross_section: Cross section times efficiency of each region [fb].
        events: Expected signal events of each region.
        limits: Upper-limit maps the model meets.
        sightings: Topologies behind the efficiency-map predictions.
        demand: Size each bucket needs, in the order of `Buckets`; the critic, which
            groups the limits, fills in the last two.
        fading: Learned yields: topologies in the rim around a grid. 0 for exact ones.
        status: ``overflow`` where the buckets were too small.
    """

    cross_section: Float[Array, " region"]
    events: Float[Array, " region"]
    limits: LimitEntries
    sightings: Sightings
    demand: Int[Array, " bucket"]
    fading: Int[Array, ""]
    status: Status  # type: ignore[reportInvalidTypeForm]


class Maps(eqx.Module):
    """Targets of the channel table and the values of their maps.

    Attributes:
        class_start: First match of each class.
        match_target: Target of each match.
        match_coordinates: Slot of the node array behind each coordinate.
        match_swapped: The same for the other order of branches.
        target_grid: Grid of each target.
        target_factor: Factor of the constraint.
        target_energy: 0 for 8 TeV, 1 for 13 TeV.
        target_limit: Upper-limit result of a target, or the number of results.
        target_start: First entry of each target.
        entry_value: Offset of the map of each entry in `values`.
        entry_region: Region of each entry (efficiency maps).
        grid_points: Offset of the first vertex of each grid.
        grid_size: Number of vertices of each grid, apexes excluded.
        values: All maps; efficiencies, or limits [fb].
        luminosity: Of each region [1/fb].
        constant_slots: Coordinates of the slots behind the six nodes: prompt width,
            stable width.
    """

    class_start: Int[Array, " class_bounds"]
    match_target: Int[Array, " match"]
    match_coordinates: Int[Array, "match 6"]
    match_swapped: Int[Array, "match 6"]
    target_grid: Int[Array, " target"]
    target_factor: Float[Array, " target"]
    target_energy: Int[Array, " target"]
    target_limit: Int[Array, " target"]
    target_start: Int[Array, " target_bounds"]
    entry_value: Int[Array, " entry"]
    entry_region: Int[Array, " entry"]
    grid_points: Int[Array, " grid"]
    grid_size: Int[Array, " grid"]
    values: Float[Array, " value"]
    luminosity: Float[Array, " region"]
    constant_slots: Float[Array, " 2"]

    def coordinates(
        self, masses: Float[Array, " particle"], nodes: Int[Array, " 6"], match: Int[Array, ""]
    ) -> Float[Array, " 6"]:
        """Flat coordinates of a site in the axes of a match.

        Of two possible orders of the branches the one with the larger
        coordinates, compared one after the other, is taken (SModelS).
        """
        padded = jnp.concatenate([masses, jnp.zeros(1, masses.dtype)])
        slots = jnp.concatenate([padded[nodes], self.constant_slots])
        one = slots[self.match_coordinates[match]]
        other = slots[self.match_swapped[match]]
        different = one != other
        at = jnp.argmax(different)
        return jnp.where(other[at] > one[at], other, one)
