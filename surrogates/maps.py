"""What is learned: the efficiency maps of one analysis and topology on all their nodes.

Maps of one topology often share their grid. Where they do not, the nodes of all grids
are joined and a map has no value (``nan``) at the nodes of the others.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from jaxlik.database.embed import grid_points
from jaxlik.database.snapshot import Snapshot
from jaxlik.database.thinning import hull_corners, principal_coordinates

TRAIN, STOP, CALIBRATE, TEST = range(4)
"""What a node is used for: fitting, early stopping, conformal bands, the tables."""

SHARES = {STOP: 0.08, CALIBRATE: 0.1, TEST: 0.1}
"""Shares of the nodes inside the hull; those on the hull are always fitted."""

WIDE = 2.0
"""Simplices this many times larger than the median one are gaps of a grid. They are
filled with one point per median volume."""

GAP_SHARE = 1.0
"""Points in gaps at most, relative to the nodes of all grids."""

MIN_NODES = 40
"""A topology with fewer nodes is fitted on all of them, without a check."""


@dataclass(frozen=True)
class MapSet:
    """The efficiency maps of one analysis and topology.

    Attributes:
        folder: Result.
        txname: Topology.
        kinds: ``mass`` or ``totalwidth``, for each flat coordinate.
        regions: Signal region of each map.
        numbers: Number of each map in the snapshot.
        grids: Grid of each map.
        nodes: Flat coordinates: masses [GeV], widths as SModelS scales them; ``node 6``.
        values: Efficiencies, ``node map``; ``nan`` where a map has no node.
        use: `TRAIN`, `STOP`, `CALIBRATE` or `TEST`, of each node.
        between: Flat coordinates of points in gaps of the grids, ``point 6``.
        between_values: What linear interpolation gives there, as SModelS does it: where
            nothing is published, networks follow the exact yields.
    """

    folder: str
    txname: str
    kinds: tuple[str, ...]
    regions: tuple[str, ...]
    numbers: tuple[int, ...]
    grids: tuple[int, ...]
    nodes: np.ndarray
    values: np.ndarray
    use: np.ndarray
    between: np.ndarray
    between_values: np.ndarray

    @property
    def name(self) -> str:
        """Result and topology."""
        return f"{self.folder}:{self.txname}"

    @property
    def scale(self) -> np.ndarray:
        """Largest efficiency of each map; 1 where a map is zero everywhere."""
        largest = np.nanmax(self.values, axis=0)
        return np.where(largest > 0, largest, 1.0)


def read_map_sets(snapshot: Snapshot, only: tuple[str, ...] = ()) -> list[MapSet]:
    """All efficiency maps of a snapshot, by analysis and topology.

    Args:
        snapshot: Compiled database.
        only: Folders, or ``FOLDER:TXNAME``, to read; all by default.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, header in enumerate(snapshot.maps):
        name = f"{header.folder}:{header.txname}"
        wanted = not only or header.folder in only or name in only
        if header.quantity == "efficiency" and wanted:
            groups[header.folder, header.txname].append(number)
    # The simplices of a grid lie together, in the order of the grids.
    corner = np.ascontiguousarray(snapshot.array("grids.simplices")[:, 0])
    bounds = np.searchsorted(corner, snapshot.array("grids.point_start"))
    return [_read(snapshot, numbers, bounds) for _, numbers in sorted(groups.items())]


def _read(snapshot: Snapshot, numbers: list[int], bounds: np.ndarray) -> MapSet:
    headers = [snapshot.maps[number] for number in numbers]
    first = headers[0]
    own = {grid: grid_points(snapshot, grid) for grid in {h.grid for h in headers}}
    nodes = np.unique(np.concatenate(list(own.values())), axis=0)
    place = {tuple(node): row for row, node in enumerate(nodes.tolist())}
    rows = {grid: np.array([place[tuple(n)] for n in own[grid].tolist()]) for grid in own}
    values = np.full((len(nodes), len(headers)), np.nan)
    every = snapshot.array("values")
    for column, header in enumerate(headers):
        values[rows[header.grid], column] = every[header.start : header.start + header.size]
    kinds = tuple(kind for _, kind in first.coordinates)
    fixed = np.zeros(len(nodes), bool)
    for at in rows.values():
        fixed[at[hull_corners(principal_coordinates(nodes[at]))]] = True
    use = _uses(f"{first.folder}:{first.txname}", fixed)
    between, between_values = [np.zeros((0, 6))], [np.zeros((0, len(headers)))]
    most = int(GAP_SHARE * len(nodes) / len(rows))
    for grid, at in rows.items():
        columns = np.flatnonzero([h.grid == grid for h in headers])
        corners, weights = _gaps(snapshot, grid, bounds, use[at] == TRAIN, most)
        between.append(np.einsum("sk,skc->sc", weights, nodes[at][corners]))
        found = np.full((len(corners), len(headers)), np.nan)
        found[:, columns] = np.einsum("sk,skm->sm", weights, values[at][corners][:, :, columns])
        between_values.append(found)
    return MapSet(
        first.folder,
        first.txname,
        kinds,
        tuple(str(h.region) for h in headers),
        tuple(numbers),
        tuple(h.grid for h in headers),
        nodes,
        values,
        use,
        np.concatenate(between),
        np.concatenate(between_values),
    )


def _gaps(
    snapshot: Snapshot, grid: int, bounds: np.ndarray, fitted: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random points in large simplices of one grid: corners and their weights.

    Args:
        snapshot: Compiled database.
        grid: Number of the grid.
        bounds: First simplex of each grid.
        fitted: Which nodes may be corners.
        most: Points wanted at most.
    """
    dimension = int(snapshot.array("grids.dimension")[grid])
    start = snapshot.array("grids.point_start")[grid]
    own = slice(*bounds[grid : grid + 2])
    # Behind the corners stand the apexes that make triangles tetrahedra.
    simplices = np.asarray(snapshot.array("grids.simplices")[own, : dimension + 1]) - start
    points = snapshot.array("grids.points")[start : start + len(fitted), :dimension]
    edges = points[simplices[:, 1:]] - points[simplices[:, :1]]
    volume = np.abs(np.linalg.det(edges))
    wide = (volume > WIDE * np.median(volume)) & fitted[simplices].all(axis=1)
    count = min(most, int((volume[wide] / np.median(volume)).sum()))
    if not count:
        return np.zeros((0, dimension + 1), int), np.zeros((0, dimension + 1))
    rng = np.random.default_rng([grid, count])
    chance = volume[wide] / volume[wide].sum()
    chosen = rng.choice(np.flatnonzero(wide), count, p=chance)
    return simplices[chosen], rng.dirichlet(np.ones(dimension + 1), count)


def _uses(name: str, fixed: np.ndarray) -> np.ndarray:
    """Deal the nodes out; the same for one topology in every run."""
    use = np.full(len(fixed), TRAIN)
    if len(fixed) < MIN_NODES:
        return use
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    free = np.random.default_rng(seed).permutation(np.flatnonzero(~fixed))
    start = 0
    for kind, share in SHARES.items():
        count = round(share * len(fixed))
        use[free[start : start + count]] = kind
        start += count
    return use
