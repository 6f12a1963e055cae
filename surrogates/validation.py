"""How good the networks are: closure on nodes never seen, beside linear interpolation.

The targets are A1, A2, A4 and A6 of the table in docs/surrogates.md.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from jaxlik.database.thinning import principal_coordinates
from jaxlik.yields.neural import BAND_LEVEL, ROOT_OFFSET
from surrogates.maps import CALIBRATE, STOP, TEST, TRAIN, MapSet
from surrogates.run import next_power
from surrogates.training import Heads, Networks, scaled_values

RELEVANT = 0.1
"""Relative errors are taken where an efficiency exceeds this share of its largest."""

SMALLEST = 1e-3
"""Maps whose largest efficiency is below this do not enter relative errors."""

SUM_RELEVANT = 0.01
"""Sums over regions count where they exceed this share of the largest."""


_compiled = jax.jit(scaled_values)


@dataclass(frozen=True)
class Closure:
    """Errors of one set of maps on held-out nodes.

    Attributes:
        name: Result and topology.
        nodes: Nodes of the grids.
        regions: Maps.
        held_out: Held-out nodes.
        relative: Relative error of relevant values: median, 90 % quantile.
        rmse: Root mean square error over the largest value, median map.
        total: Relative error of the sum over regions: median, 90 % quantile.
        linear_relative: The same of linear interpolation on the same fitted nodes.
        linear_rmse: Likewise.
        linear_total: Likewise.
        train_rmse: As `rmse`, on fitted nodes.
        covered: Held-out values in their bands.
        counted: Held-out values with a band.
    """

    name: str
    nodes: int
    regions: int
    held_out: int
    relative: tuple[float, float]
    rmse: float
    total: tuple[float, float]
    linear_relative: tuple[float, float]
    linear_rmse: float
    linear_total: tuple[float, float]
    train_rmse: float
    covered: int
    counted: int


def predictions(maps: MapSet, network: Networks) -> np.ndarray:
    """Efficiencies at all nodes, ``node map``."""
    nodes, regions = len(maps.nodes), len(maps.regions)
    # Few shapes, so that little is compiled.
    rows = np.resize(np.arange(nodes), next_power(nodes, 64))
    more = next_power(regions, 1) - regions
    weight, bias = network.heads
    heads = Heads(jnp.pad(weight, ((0, more), (0, 0))), jnp.pad(bias, (0, more)))
    found = _compiled(network._replace(heads=heads), jnp.asarray(maps.nodes[rows]))
    return np.asarray(found, np.float64)[:nodes, :regions] * maps.scale


def conformal_bands(maps: MapSet, predicted: np.ndarray) -> np.ndarray:
    """Half widths of the bands of all maps, in roots of the scaled efficiency.

    The quantile of the scores at the nodes kept for it, at a rank that makes coverage at
    least `BAND_LEVEL` for a new node (split conformal prediction; arXiv:1604.04173, algorithm 2).
    Maps with too few such nodes share those of the whole topology, and topologies
    without any take twice the largest residual of their fit.
    """
    scores = _scores(maps, predicted)
    kept = scores[maps.use == CALIBRATE]
    pooled = _quantile(kept[np.isfinite(kept)])
    if not math.isfinite(pooled):
        fitted = np.where(np.isfinite(scores), scores, 0.0)
        return np.full(scores.shape[1], 2.0 * fitted.max())
    bands = np.array([_quantile(column[np.isfinite(column)]) for column in kept.T])
    return np.where(np.isfinite(bands), bands, pooled)


def _scores(maps: MapSet, predicted: np.ndarray) -> np.ndarray:
    roots = [
        np.sqrt(np.maximum(v, 0.0) / maps.scale + ROOT_OFFSET) for v in (predicted, maps.values)
    ]
    return np.abs(roots[0] - roots[1])


def _quantile(scores: np.ndarray) -> float:
    rank = math.ceil((len(scores) + 1) * BAND_LEVEL)
    return float(np.sort(scores)[rank - 1]) if 0 < rank <= len(scores) else math.inf


def closure(maps: MapSet, network: Networks) -> Closure:
    """Errors of one set of maps."""
    predicted = predictions(maps, network)
    test = maps.use == TEST
    bands = conformal_bands(maps, predicted)
    scores = _scores(maps, predicted)[test]
    known = np.isfinite(scores)
    linear = linear_predictions(maps)
    mine = _errors(maps, predicted, test)
    theirs = _errors(maps, linear, test)
    train = _errors(maps, predicted, maps.use == TRAIN)
    return Closure(
        maps.name,
        len(maps.nodes),
        len(maps.regions),
        int(test.sum()),
        mine[0],
        mine[1],
        mine[2],
        theirs[0],
        theirs[1],
        theirs[2],
        train[1],
        int((scores <= bands)[known].sum()),
        int(known.sum()),
    )


def linear_predictions(maps: MapSet) -> np.ndarray:
    """Linear interpolation on the nodes a network was fitted to; ``nan`` outside."""
    found = np.full(maps.values.shape, np.nan)
    test = np.flatnonzero(maps.use == TEST)
    for grid in set(maps.grids):
        columns = np.flatnonzero(np.array(maps.grids) == grid)
        own = np.isfinite(maps.values[:, columns[0]])
        given = own & ((maps.use == TRAIN) | (maps.use == STOP))
        asked = test[own[test]]
        if not len(asked):
            continue
        place = principal_coordinates(maps.nodes[own])
        rows = np.cumsum(own) - 1
        if place.shape[1] < 2:
            order = np.argsort(place[rows[given], 0])
            x = place[rows[given], 0][order]
            for column in columns:
                y = maps.values[given, column][order]
                found[asked, column] = np.interp(place[rows[asked], 0], x, y)
            continue
        known = LinearNDInterpolator(place[rows[given]], maps.values[given][:, columns])
        found[np.ix_(asked, columns)] = known(place[rows[asked]])
    return found


def _errors(
    maps: MapSet, predicted: np.ndarray, at: np.ndarray
) -> tuple[tuple[float, float], float, tuple[float, float]]:
    """Relative errors, root mean square over the largest value, errors of the sum."""
    value, wanted = predicted[at], maps.values[at]
    known = np.isfinite(value) & np.isfinite(wanted)
    loud = maps.scale > SMALLEST
    relevant = known & (wanted > RELEVANT * maps.scale) & loud
    difference = np.where(known, value - wanted, 0.0)
    relative = np.abs(difference[relevant]) / wanted[relevant]
    counts = known.sum(axis=0)
    square = (difference**2).sum(axis=0) / np.maximum(counts, 1)
    rms = (np.sqrt(square) / maps.scale)[(counts > 0) & loud]
    whole = known.all(axis=1)
    sums = wanted[whole].sum(axis=1)
    every = np.isfinite(maps.values).all(axis=1)
    largest = maps.values[every].sum(axis=1).max(initial=0.0)
    strong = sums > SUM_RELEVANT * largest
    total = np.abs(difference[whole].sum(axis=1))[strong] / sums[strong]
    return _two(relative), float(np.median(rms)) if len(rms) else math.nan, _two(total)


def _two(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return math.nan, math.nan
    return float(np.median(values)), float(np.quantile(values, 0.9))
