"""How far from the plane of its grid a map may be asked.

A topology with unequal branches lies off the plane of a grid made for equal ones.
SModelS projects such a point and keeps the value if its estimate of the error stays
below 5 %. The largest distance at which it does so, the *reach*, is smooth but for the
noise of the map; its logarithm is a linear function of the hidden layer.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.embed import grid_points
from jaxlik.database.snapshot import Snapshot
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.interpolation import locate
from jaxlik.yields.sums import MIN_EFFICIENCY
from surrogates.maps import MapSet
from surrogates.training import Networks

DISTANCES = tuple(0.5 * 1.8**k for k in range(12))
"""GeV; where the estimate is made."""

NUM_POINTS = 192
CHUNK = 8
"""Maps whose estimates are made together."""

NO_BOUND = 50.0
"""Logarithm of the reach where no point is off the plane of a grid."""

RIDGE = 1e-2
"""Penalty on the weights, per point."""


def reach_heads(
    yields: EfficiencyYields, snapshot: Snapshot, maps: MapSet, network: Networks
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights and biases that give the logarithm of the reach of all maps.

    Returns:
        Weights ``map width``, biases ``map``,
        and the root mean square residual of the logarithm.
    """
    width = network.trunk.weights.third_bias.shape[0]
    weight, bias = np.zeros((len(maps.regions), width)), np.full(len(maps.regions), NO_BOUND)
    residuals = []
    for grid in sorted(set(maps.grids)):
        if int(snapshot.array("grids.dimension")[grid]) >= len(maps.kinds):
            continue
        points, flat = _inner_points(snapshot, grid, maps.name)
        hidden = np.asarray(network.trunk.hidden(jnp.asarray(flat)), np.float64)
        columns = np.flatnonzero(np.array(maps.grids) == grid)
        for first in range(0, len(columns), CHUNK):
            some = columns[first : first + CHUNK]
            offsets = [snapshot.maps[maps.numbers[c]].start for c in some]
            labels = _log_reach(yields, grid, points, offsets)
            for column, label in zip(some, labels.T, strict=True):
                weight[column], bias[column], residual = _ridge(hidden, label)
                residuals.append(residual)
    return weight, bias, float(np.sqrt(np.mean(np.square(residuals)))) if residuals else 0.0


def _inner_points(snapshot: Snapshot, grid: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Points between nodes: principal coordinates, padded to six, and flat ones."""
    nodes = grid_points(snapshot, grid)
    rng = np.random.default_rng([grid, len(name)])
    one, other = rng.integers(0, len(nodes), (2, NUM_POINTS))
    flat = nodes[one] + rng.uniform(0, 0.3, (NUM_POINTS, 1)) * (nodes[other] - nodes[one])
    rotated = (flat - snapshot.array("grids.centre")[grid]) @ snapshot.array("grids.rotation")[grid]
    dimension = int(snapshot.array("grids.dimension")[grid])
    rotated[:, dimension:] = 0.0
    return rotated, flat


def _log_reach(
    yields: EfficiencyYields, grid: int, points: np.ndarray, offsets: list[int]
) -> np.ndarray:
    """Logarithm of the reach at points, ``point map``; ``nan`` where a map is zero."""
    padded = np.resize(np.asarray(offsets, np.int32), CHUNK)
    accepted, known = _accepted(yields, jnp.asarray(grid), jnp.asarray(points), jnp.asarray(padded))
    accepted, known = np.asarray(accepted), np.asarray(known)
    # The first distance that is refused; behind it SModelS may accept again by accident.
    first = np.where(accepted.all(axis=0), len(DISTANCES), accepted.argmin(axis=0))
    factor = DISTANCES[1] / DISTANCES[0]
    log_reach = np.log(DISTANCES[0]) + (first - 0.5) * np.log(factor)
    return np.where(known, log_reach, np.nan)[:, : len(offsets)]


@partial(jax.jit)
def _accepted(yields: EfficiencyYields, grid, points, offsets):
    """Whether SModelS keeps a value, ``distance point map``, and whether there is one."""
    count, num_maps = points.shape[0], offsets.shape[0]
    grids = jnp.full(count, grid)
    dimension = yields.grids.dimension[grid]
    in_plane = points[:, :3]
    simplex, found = locate(yields.grids, grids, in_plane, jnp.ones(count, bool))
    vertices, weights = yields.reader.vertices_at(grids, simplex, in_plane)
    place = jnp.repeat(jnp.arange(count), num_maps)
    offset = jnp.tile(offsets, count)
    value = jnp.where(
        found[place], yields.reader.values_of(offset, vertices[place], weights[place]), 0.0
    )
    everything = jnp.ones(count * num_maps, bool)

    def at(distance):
        moved = points.at[:, dimension].set(distance)
        kept, _ = yields.reader.drop_unreliable(
            value, offset, place, everything, grids, moved, simplex, count * num_maps
        )
        return kept > 0

    kept = jax.lax.map(at, jnp.asarray(DISTANCES))
    shape = (count, num_maps)
    return kept.reshape(-1, *shape), (value >= MIN_EFFICIENCY).reshape(shape)


def _ridge(hidden: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Regularised linear regression on the points with a label."""
    known = np.isfinite(label)
    if not known.any():
        return np.zeros(hidden.shape[1]), 0.0, 0.0
    x, y = hidden[known], label[known]
    centre, middle = x.mean(axis=0), y.mean()
    left = (x - centre).T @ (x - centre) + RIDGE * len(y) * np.eye(x.shape[1])
    weight = np.linalg.solve(left, (x - centre).T @ (y - middle))
    bias = middle - centre @ weight
    return weight, float(bias), float(np.sqrt(np.mean((x @ weight + bias - y) ** 2)))
