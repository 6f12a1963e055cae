"""From a full database to the small snapshot that ships with the package.

Run as ``python -m jaxlik.database.embed DATABASE TARGET``. It takes published
numbers (counts, covariances, limits on fewer grid points) with their references,
no files of the database: HistFactory workspaces and neural networks stay out, their
regions are single counts. Of efficiency maps it keeps the hull of the grid and the
largest value: enough to match topologies; the efficiencies come from trained networks.
With ``--analyses`` it takes some results only, with ``--efficiencies`` their efficiency
maps too, on fewer grid points.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.database.compile import load_database
from jaxlik.database.grids import triangulate
from jaxlik.database.locator import build_locator
from jaxlik.database.records import Grid, MapHeader, MapRecord, Result
from jaxlik.database.snapshot import HULLS_ONLY, Snapshot, write_snapshot
from jaxlik.database.thinning import (
    error_scale,
    hull_corners,
    interpolate,
    principal_coordinates,
    thin,
)
from jaxlik.errors import DatabaseError
from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import protomodel_space
from jaxlik.precision import enable_x64

logger = logging.getLogger(__name__)

POINT_LIMITS = {1: 200, 2: 400, 3: 600}
"""Grid points kept at most, by dimension; the hull is kept whole in any case."""

TOLERANCE = 0.02
"""Scaled interpolation error at which no more points are added."""

SIGNIFICANT_BITS = 17
"""Values are rounded to this many binary digits (relative error 4e-6)."""

SHARED_POINTS = 0.5
"""Maps of one topology share a grid if at least this fraction of all points is common."""

SMALL_GRID = 200
"""Grids with fewer points are shared only if they are equal."""

REFERENCE_SIGNALS = (
    ("TChi", (1000023, 1000024)),
    ("TS", (1000023, 1000024)),
    ("T2", (-1000006, 1000006)),
    ("T6", (-1000006, 1000006)),
    ("T", (1000021, 1000021)),
)
"""Production that sets the scale of efficiencies, by the start of the topology's name."""

TABLE_MASSES = np.geomspace(50.0, 3000.0, 120)
"""GeV; where the reference cross sections are tabulated."""


@dataclass
class _Group:
    """Maps of one result and topology, on the union of their grids."""

    folder: str
    txname: str
    quantity: str
    points: dict[bytes, np.ndarray] = field(default_factory=dict)
    maps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ThinningReport:
    """Size and error of one thinned group; errors scaled by `error_scale`, over all vertices."""

    folder: str
    txname: str
    quantity: str
    maps: int
    points_before: int
    points_after: int
    median_error: float
    error_95: float
    largest_error: float


def embed(
    database: Snapshot,
    target: Path,
    *,
    analyses: Sequence[str] = (),
    efficiencies: bool = False,
    quiet: bool = False,
) -> tuple[Snapshot, list[ThinningReport]]:
    """Write a thinned subset of a database as one file.

    Args:
        database: Full database, compiled for the protomodel pool.
        target: File to write, ``.npz``.
        analyses: Folders of the results to take; by default all that name an arXiv
            number or a DOI.
        efficiencies: Keep efficiency maps, on fewer grid points, instead of their hulls.
        quiet: No progress bar.

    Returns:
        The snapshot written, and what thinning did to each group of maps.

    Raises:
        DatabaseError: a result is missing, or names neither arXiv number nor DOI.
    """
    from jaxlik.database.topologies import build_channel_table  # SModelS is slow to import

    analyses = analyses or [r.provenance.folder for r in database.results if _is_citable(r)]
    results = [_facts(database, folder) for folder in analyses]
    groups = _groups(database, set(analyses))
    maps, grids, reports = [], [], []
    if not efficiencies:
        learned = [index for g in groups if g.quantity == "efficiency" for index in g.maps]
        maps, grids = _hulls(database, learned)
        groups = [group for group in groups if group.quantity != "efficiency"]
    for group in tqdm(groups, desc="thinning maps", unit="topology", disable=quiet):
        records, grid, report = _thin_group(database, group, len(grids))
        maps += records
        grids.append(grid)
        reports.append(report)
    order = {folder: position for position, folder in enumerate(analyses)}
    maps.sort(key=lambda record: order[record.folder])
    table = build_channel_table(protomodel_space(), maps, grids)
    snapshot = write_snapshot(
        target,
        results=results,
        maps=maps,
        locator=build_locator(grids),
        channels=table,
        database_version=f"{database.version}-embedded",
        database_sha256=database.sha256,
        notes={
            HULLS_ONLY: not efficiencies,
            "embedded": _notes(database, results, reports, efficiencies=efficiencies),
        },
    )
    return snapshot, reports


def _is_citable(result: Result) -> bool:
    return bool(result.provenance.arxiv or result.provenance.doi)


def _hulls(database: Snapshot, numbers: Sequence[int]) -> tuple[list[MapRecord], list[Grid]]:
    """Efficiency maps reduced to the corners of their grids and their largest value."""
    maps, place = [], {}
    for number in sorted(numbers):
        header = database.maps[number]
        largest = _map_values(database, header).max()
        if largest <= 0:
            continue
        if header.grid not in place:
            full = grid_points(database, header.grid)[:, : len(header.coordinates)]
            frame = principal_coordinates(full)
            corners = hull_corners(frame)
            grid = triangulate(full[corners], f"{header.folder}: {header.txname}")
            place[header.grid] = (len(place), grid)
        position, grid = place[header.grid]
        values = np.full(len(grid.points), float(largest))
        maps.append(_record(header, position, round_bits(values, SIGNIFICANT_BITS)))
    return maps, [grid for _, grid in place.values()]


def _facts(database: Snapshot, folder: str) -> Result:
    found = [r for r in database.results if r.provenance.folder == folder]
    if not found:
        raise DatabaseError(f"{database.path}: has no result {folder!r}; it cannot be embedded")
    (result,) = found
    if not _is_citable(result):
        raise DatabaseError(f"{folder}: names neither arXiv number nor DOI; do not embed it")
    kept = ("lastUpdate", "supersedes", "supersededBy", "type")
    tags = {name: value for name, value in result.tags.items() if name in kept}
    return replace(result, workspaces=(), networks=(), tags=tags)


def _matched_maps(database: Snapshot) -> set[int]:
    """Maps that some topology of the pool can fill, and expected limits beside them."""
    targets = np.unique(database.array("channels.match_target"))
    start, entries = database.array("channels.target_start"), database.array("channels.target_map")
    live = {int(i) for t in targets for i in entries[start[t] : start[t + 1]]}
    limits = {(database.maps[i].folder, database.maps[i].txname) for i in live}
    expected = {
        i
        for i, m in enumerate(database.maps)
        if m.quantity == "upper_limit_expected" and (m.folder, m.txname) in limits
    }
    return live | expected


def grid_points(database: Snapshot, grid: int) -> np.ndarray:
    """Grid points of a snapshot in the coordinates of the publication [GeV]."""
    bounds = database.array("grids.point_start")[grid : grid + 2]
    dimension = int(database.array("grids.dimension")[grid])
    stop = bounds[1] - (3 - dimension)  # apex points close the list
    rotated = database.array("grids.points")[bounds[0] : stop, :dimension]
    rotation = database.array("grids.rotation")[grid][:, :dimension]
    full = rotated @ rotation.T + database.array("grids.centre")[grid]
    return np.round(full, 6) + 0.0


def _groups(database: Snapshot, folders: set[str]) -> list[_Group]:
    """Maps that can share a thinned grid, for each result and topology."""
    groups: dict[tuple, list[_Group]] = {}
    for index in sorted(_matched_maps(database)):
        header = database.maps[index]
        if header.folder not in folders:
            continue
        points = {p.tobytes(): p for p in grid_points(database, header.grid)}
        kind = header.quantity.removesuffix("_expected")
        key = (header.folder, header.txname, kind, header.coordinates, header.constraint)
        same = groups.setdefault(key, [])
        for group in same:
            union = group.points.keys() | points.keys()
            common = group.points.keys() & points.keys()
            alike = kind == "efficiency" and len(union) > SMALL_GRID
            if len(common) >= (SHARED_POINTS if alike else 1.0) * len(union):
                break
        else:
            group = _Group(header.folder, header.txname, kind)
            same.append(group)
        group.points |= points
        group.maps.append(index)
    return [group for same in groups.values() for group in same]


def _map_values(database: Snapshot, header: MapHeader) -> np.ndarray:
    return np.asarray(database.array("values")[header.start : header.start + header.size])


def _common_values(database: Snapshot, group: _Group, frame: np.ndarray) -> np.ndarray:
    """Values of all maps at all points of a group; 0 outside the grid of a map."""
    keys = {key: row for row, key in enumerate(group.points)}
    values = np.zeros((len(frame), len(group.maps)))
    for column, index in enumerate(group.maps):
        header = database.maps[index]
        own = _map_values(database, header)
        rows = np.array([keys[p.tobytes()] for p in grid_points(database, header.grid)])
        values[rows, column] = own
        others = np.setdiff1d(np.arange(len(frame)), rows)
        if len(others):
            found, _ = interpolate(frame[rows], own[:, None], frame[others])
            values[others, column] = np.nan_to_num(found[:, 0])
    return values


def _thin_group(
    database: Snapshot, group: _Group, number: int
) -> tuple[list[MapRecord], Grid, ThinningReport]:
    full = np.array(list(group.points.values()))[:, : len(database.maps[group.maps[0]].coordinates)]
    frame = principal_coordinates(full)
    values = _common_values(database, group, frame)
    scale = error_scale(values, _sensitive_efficiencies(database, group, full[:, 0]))
    limit = POINT_LIMITS[frame.shape[1]]
    kept = thin(frame, values, scale, limit=limit, tolerance=TOLERANCE)
    grid = triangulate(full[kept], f"{group.folder}: {group.txname}")
    rounded = round_bits(values[kept], SIGNIFICANT_BITS)
    records = []
    for column, index in enumerate(group.maps):
        header = database.maps[index]
        if np.any(rounded[:, column]):
            records.append(_record(header, number, rounded[:, column]))
    thinned, _ = interpolate(frame[kept], values[kept], frame)
    errors = np.abs(thinned - values) / scale
    report = ThinningReport(
        group.folder,
        group.txname,
        group.quantity,
        len(records),
        len(full),
        len(kept),
        *(round(float(q), 4) for q in np.quantile(errors, [0.5, 0.95, 1.0])),
    )
    return records, grid, report


def _record(header: MapHeader, grid: int, values: np.ndarray) -> MapRecord:
    return MapRecord(
        header.folder,
        header.region,
        header.txname,
        header.quantity,
        header.constraint,
        header.coordinates,
        grid,
        values,
        header.final_state,
        header.intermediate_state,
        header.validated,
        header.source,
    )


@lru_cache
def _reference_table(pair: tuple[int, int]) -> np.ndarray:
    """Cross section [fb] at `TABLE_MASSES`, at 8 and 13 TeV."""
    space = protomodel_space()
    masses = jnp.asarray(np.repeat(TABLE_MASSES[:, None], space.num_particles, axis=1))
    table = jax.jit(jax.vmap(reference_cross_sections(space)))(masses)
    return np.asarray(table)[:, space.production_index(*pair)]


def _sensitive_efficiencies(
    database: Snapshot, group: _Group, masses: np.ndarray
) -> np.ndarray | None:
    """Efficiencies at which a reference signal reaches the expected limit, ``point map``.

    The signal is the pair of gluinos, stops, or of chargino and neutralino that a
    topology stands for, with the mass of its first particle [GeV].
    """
    if group.quantity != "efficiency":
        return None
    result = database.result(group.folder)
    counting = result.counting
    assert counting is not None
    limit = dict(zip(counting.region_ids, counting.upper_limit_expected, strict=True))
    limits = np.array([limit[str(database.maps[index].region)] for index in group.maps])
    limits = np.where(limits > 0, limits, np.nanmedian(limits))
    pair = next(pair for prefix, pair in REFERENCE_SIGNALS if group.txname.startswith(prefix))
    table = np.log(_reference_table(pair)[:, 0 if result.provenance.sqrts == 8.0 else 1])
    signal = np.exp(np.interp(np.log(masses), np.log(TABLE_MASSES), table))
    return limits / signal[:, None]


def round_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to a number of binary digits, so that zeros at the end compress."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


def _notes(
    database: Snapshot,
    results: Iterable[Result],
    reports: list[ThinningReport],
    *,
    efficiencies: bool,
) -> dict[str, Any]:
    return {
        "made_from": f"SModelS database {database.version}",
        "made_with": "python -m jaxlik.database.embed",
        "content": (
            "published numbers: event counts, covariances, upper-limit maps on fewer grid points, "
            + ("efficiency maps on fewer grid points; " if efficiencies else "hulls of grids; ")
            + "all signal regions are kept; HistFactory workspaces are left out"
        ),
        "sources": {
            r.provenance.folder: {"arxiv": r.provenance.arxiv, "doi": r.provenance.doi}
            for r in results
        },
        "significant_bits": SIGNIFICANT_BITS,
        "thinning": [
            [r.folder, r.txname, r.maps, r.points_before, r.points_after, r.error_95]
            for r in reports
        ],
        "thinning_columns": "folder, topology, maps, points before, points after, error (95 %)",
        "thinning_error": (
            "95 % quantile over maps and all grid points of |thinned - full| / full for limits, "
            "|thinned - full| / (full + a tenth of the efficiency at which a reference signal "
            "reaches the expected limit) for efficiencies"
        ),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: embed a database and print what thinning did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", help="SModelS database or snapshot")
    parser.add_argument("target", type=Path, help="file to write (.npz)")
    parser.add_argument("--analyses", nargs="+", default=(), help="results to take; default all")
    parser.add_argument(
        "--efficiencies", action="store_true", help="keep efficiency maps on fewer grid points"
    )
    options = parser.parse_args(arguments)
    enable_x64()
    snapshot, reports = embed(
        load_database(options.database),
        options.target,
        analyses=options.analyses,
        efficiencies=options.efficiencies,
    )
    write = sys.stdout.write
    columns = ("result", "topology", "maps", "before", "after", "median", "95 %")
    write("{:28} {:16} {:>5} {:>7} {:>6} {:>7} {:>7}\n".format(*columns))
    for r in reports:
        write(
            f"{r.folder:28} {r.txname:16} {r.maps:5d} {r.points_before:7d} {r.points_after:6d} "
            f"{r.median_error:7.3f} {r.error_95:7.3f}\n"
        )
    size = options.target.stat().st_size
    write(f"{len(snapshot.results)} results, {len(snapshot.maps)} maps, {size / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
