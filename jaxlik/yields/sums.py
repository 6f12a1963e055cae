"""From values at places to cross sections of regions."""

import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int
from jaxlik.yields.channels import Sites
from jaxlik.yields.signals import Entries, Maps

MIN_EFFICIENCY = 1e-14
"""Efficiencies below this count as none (SModelS)."""


def cross_sections(
    maps: Maps,
    sites: Sites,
    site_of_place: Int[Array, " place"],
    entries: Entries,
    num_families: int,
) -> Float[Array, " region"]:
    """Cross section times efficiency of each region [fb].

    Args:
        maps: Targets of the channel table.
        sites: Sites of a model point.
        site_of_place: Bucket position of the site of each place.
        entries: Values of all maps at all places.
        num_families: Bucket of sites that hold compressed cascades.
    """
    num_regions = maps.luminosity.shape[0]
    seen = entries.live & (entries.value >= MIN_EFFICIENCY)
    # Upper limits have no region: their number lies behind the last one.
    region = jnp.where(seen, maps.entry_region[entries.number], num_regions)
    share = jnp.where(seen, entries.weight * entries.value, 0.0)
    site = site_of_place[entries.place]
    # The factor of a constraint plays no role in the choice (SModelS).
    factor = maps.target_factor[entries.target]
    counts = _once_per_family(
        jax.lax.stop_gradient(share / factor),
        region,
        sites.family[site],
        sites.compressed[site],
        (num_regions, num_families),
    )
    share = jnp.where(counts, share, 0.0)
    return jnp.zeros_like(maps.luminosity).at[region].add(share, mode="drop")


def _once_per_family(
    share: Float[Array, " entry"],
    region: Int[Array, " entry"],
    family: Int[Array, " entry"],
    compressed: Bool[Array, " entry"],
    shape: tuple[int, int],
) -> Bool[Array, " entry"]:
    """Which entries count: of a compressed cascade and its originals, in each region.

    The compressed one if it is the largest, else the originals (SModelS, which walks
    through topologies in order of weight and drops those related to one it has).
    """
    num_regions, num_families = shape
    beyond = num_regions * num_families
    inside = (family >= 0) & (region < num_regions)
    slot = jnp.where(inside, region * num_families + family, beyond)
    nothing = jnp.zeros(beyond, share.dtype)
    whole = nothing.at[jnp.where(compressed, slot, beyond)].add(share, mode="drop")
    apart = nothing.at[jnp.where(compressed, beyond, slot)].max(share, mode="drop")
    whole, apart = (a.at[slot].get(mode="fill", fill_value=0.0) for a in (whole, apart))
    return ~inside | jnp.where(compressed, whole >= apart, share > whole)
