"""Where a network may be asked: the hulls of published grids, with smooth edges.

Exact maps end at their hull with a step, and answer points off the plane of their grid
up to a distance at which SModelS holds the projection for reliable. Here both fade: a
factor falls from one to zero, with two continuous derivatives.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.spatial import ConvexHull

from jaxlik.typing import Array, Bool, Float, Int

EDGE = 0.003
"""Width of the fading rim outside a hull, of the extent of the hull across it."""

REACH_FADE = (0.8, 1.25)
"""Distances to the plane, over the reach of a map, between which it fades."""

SAME_FACET = 6
"""Decimals to which normals and offsets of one facet agree."""


class Domains(NamedTuple):
    """Hulls of grids in their principal coordinates.

    Attributes:
        centre: Origin of the principal coordinates.
        rotation: Flat to principal coordinates.
        dimension: Coordinates a grid extends in.
        facets: Outward normal and offset of each facet, in units of its rim; a point is
            outside by ``normal @ point + offset``. Padding is never outside.
    """

    centre: Float[Array, "domain 6"]
    rotation: Float[Array, "domain 6 6"]
    dimension: Int[Array, " domain"]
    facets: Float[Array, "domain facet 4"]


class Projection(NamedTuple):
    """Points seen from their domains.

    Attributes:
        point: In-plane coordinates.
        distance: To the plane of the grid.
        gate: 1 in the hull, falling to 0 across its rim.
        inside: Whether a point lies in the hull.
    """

    point: Float[Array, "place 3"]
    distance: Float[Array, " place"]
    gate: Float[Array, " place"]
    inside: Bool[Array, " place"]


def project(
    domains: Domains, domain: Int[Array, " place"], flat: Float[Array, "place 6"]
) -> Projection:
    """Project flat coordinates on the planes of grids.

    Args:
        domains: All domains.
        domain: Of each point.
        flat: Masses [GeV] and scaled widths.
    """
    rotated = jnp.einsum("pi,pij->pj", flat - domains.centre[domain], domains.rotation[domain])
    in_plane = jnp.arange(6)[None] < domains.dimension[domain][:, None]
    point = jnp.where(in_plane, rotated, 0.0)[:, :3]
    square = jnp.sum(jnp.where(in_plane, 0.0, rotated) ** 2, axis=1)
    distance = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    facets = domains.facets[domain]
    outside = jnp.sum(facets[..., :3] * point[:, None], axis=-1) + facets[..., 3]
    excess = jnp.sum(jnp.maximum(outside, 0.0) ** 2, axis=1)
    return Projection(point, distance, smooth_step(1.0 - excess), excess <= 1e-12)


def reach_gate(
    distance: Float[Array, " entry"], reach: Float[Array, " entry"]
) -> Float[Array, " entry"]:
    """1 close to the plane of a grid, 0 beyond the reach of a map."""
    near, far = REACH_FADE
    return smooth_step((far - distance / reach) / (far - near))


def smooth_step(value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """From 0 to 1 as the argument does, with two continuous derivatives."""
    u = jnp.clip(value, 0.0, 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))


def hull_facets(points: np.ndarray) -> np.ndarray:
    """Facets of the hull of points, ``facet 4``, in units of its rim.

    Args:
        points: Principal coordinates, ``point dimension`` with at most three dimensions.
    """
    dimension = points.shape[1]
    if dimension == 1:
        planes = np.array([[1.0, -points.max()], [-1.0, points.min()]])
    else:
        # Triangles of one face share their plane.
        equations = ConvexHull(points).equations
        _, first = np.unique(np.round(equations, SAME_FACET), axis=0, return_index=True)
        planes = equations[first]
    heights = points @ planes[:, :-1].T
    rim = EDGE * (heights.max(axis=0) - heights.min(axis=0))
    facets = np.zeros((len(planes), 4))
    facets[:, :dimension] = planes[:, :-1] / rim[:, None]
    facets[:, 3] = planes[:, -1] / rim
    return facets


def stack_facets(hulls: list[np.ndarray]) -> np.ndarray:
    """Pad lists of facets to one length; padding lies far away from every point."""
    longest = max((len(hull) for hull in hulls), default=1)
    stacked = np.zeros((len(hulls), longest, 4))
    stacked[..., 3] = -1.0
    for i, hull in enumerate(hulls):
        stacked[i, : len(hull)] = hull
    return stacked
