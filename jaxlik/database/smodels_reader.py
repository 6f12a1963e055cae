"""Read a SModelS text database (releases 1.2 to 3.2) into records.

SModelS evaluates these files as Python; this reader parses them, uses every
core, and triangulates each distinct grid once instead of once per region.
"""

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxlik import units
from jaxlik.database import regions, text_format
from jaxlik.database.grids import triangulate
from jaxlik.database.records import (
    CountingRecord,
    CovarianceRecord,
    Grid,
    MapRecord,
    NetworkRecord,
    Provenance,
    Result,
    WorkspaceRecord,
)
from jaxlik.errors import DatabaseError

logger = logging.getLogger(__name__)

QUANTITIES = {
    "efficiencyMap": "efficiency",
    "upperLimits": "upper_limit",
    "expectedUpperLimits": "upper_limit_expected",
}

SUFFIXES = (".txt", ".json", ".onnx")
"""Files that make a database what it is."""


@dataclass(frozen=True)
class ResultData:
    """One result with its maps; ``MapRecord.grid`` indexes `grids`."""

    result: Result
    maps: tuple[MapRecord, ...]
    grids: tuple[Grid, ...]


def database_version(root: Path) -> str:
    """Content of the ``version`` file of a database.

    Raises:
        DatabaseError: the folder is not a SModelS text database.
    """
    path = root / "version"
    if not path.is_file():
        raise DatabaseError(
            f"{root}: no file 'version' found; wanted the root folder of a SModelS text database"
        )
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    if not lines:
        raise DatabaseError(f"{path}: is empty; wanted the version number of the database")
    return lines[0].strip()


def result_folders(root: Path) -> list[Path]:
    """Folders of all results, in order of energy, experiment and name."""
    folders = sorted(path.parent for path in root.glob("*TeV/*/*/globalInfo.txt"))
    if not folders:
        raise DatabaseError(
            f"{root}: holds no result (<energy>TeV/<experiment>/<id>/globalInfo.txt)"
        )
    return folders


def content_digest(root: Path) -> str:
    """SHA-256 over names and contents of all text, JSON and ONNX files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_database(
    root: Path,
    *,
    folders: list[Path] | None = None,
    processes: int | None = None,
    on_result: Callable[[int], object] | None = None,
) -> Iterator[ResultData]:
    """Read all results of a database, in order.

    Args:
        root: Root folder of the database.
        folders: Result folders to read; all by default.
        processes: Worker processes; one per core by default, 0 for none.
        on_result: Called with the bytes read after each result, for a progress bar.

    Raises:
        DatabaseError: a file is missing, damaged, or holds an unknown tag.
    """
    folders = result_folders(root) if folders is None else folders
    processes = os.cpu_count() or 1 if processes is None else processes
    if processes <= 1 or len(folders) < 4:
        for folder in folders:
            yield read_result(folder)
            if on_result:
                on_result(folder_bytes(folder))
        return
    sizes = {folder: folder_bytes(folder) for folder in folders}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        # Largest first, so that no worker is left with a long one at the end.
        largest_first = sorted(folders, key=sizes.__getitem__, reverse=True)
        try:
            futures = {folder: pool.submit(read_result, folder) for folder in largest_first}
            folder_of = {future: folder for folder, future in futures.items()}
            for future in as_completed(folder_of):
                future.result()
                if on_result:
                    on_result(sizes[folder_of[future]])
        except BrokenProcessPool as error:
            raise DatabaseError(
                f"{root}: the processes that read it died ({error}); a script that calls this "
                'needs `if __name__ == "__main__":` around its code, or pass processes=0'
            ) from error
        folder_of.clear()
        for folder in folders:
            yield futures.pop(folder).result()


def folder_bytes(folder: Path) -> int:
    """Size of the files of one result."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_result(folder: Path) -> ResultData:
    """Read one result: provenance, counts, statistical model and maps."""
    info_path = folder / "globalInfo.txt"
    tags = text_format.read_tags(info_path)
    provenance = _provenance(tags, info_path)
    datasets = _datasets(folder, tags, info_path)
    kinds = {kind for _, _, kind in datasets}
    if len(kinds) != 1:
        raise DatabaseError(f"{folder}: mixes data types {sorted(kinds)}; wanted one")
    kind = kinds.pop()
    counting = _counting(datasets, provenance) if kind == "efficiency_map" else None
    covariance = _covariance(datasets, tags, info_path, counting) if counting else None
    workspaces = _workspaces(folder, tags, info_path, counting) if counting else ()
    networks = _networks(folder, tags, info_path, counting) if counting else ()
    maps, grids = _maps(datasets, provenance, kind)
    kept = (
        "lastUpdate",
        "supersedes",
        "supersededBy",
        "type",
        "contact",
        "Leff_inner",
        "Leff_outer",
    )
    result = Result(
        provenance,
        kind,
        counting,
        covariance,
        workspaces,
        {name: tags[name] for name in kept if name in tags},
        networks,
    )
    return ResultData(result, maps, grids)


def read_counts(folder: Path) -> tuple[Provenance, CountingRecord, CovarianceRecord | None] | None:
    """Read the counts of one result, also of regions that its covariance leaves out.

    Returns:
        Provenance, counts and covariance; `None` for upper limits.
    """
    info_path = folder / "globalInfo.txt"
    tags = text_format.read_tags(info_path)
    listed = _all_datasets(folder)
    if {kind for _, _, kind in listed.values()} != {"efficiency_map"}:
        return None
    provenance = _provenance(tags, info_path)
    ordered = _datasets(folder, tags, info_path)
    covariance = _covariance(ordered, tags, info_path, _counting(ordered, provenance))
    return provenance, _counting(list(listed.values()), provenance), covariance


def _provenance(tags: dict[str, str], path: Path) -> Provenance:
    folder = path.parent
    try:
        sqrts = units.parse_quantity(text_format.required(tags, "sqrts", path), {"TeV": 1.0})
        luminosity = units.parse_luminosity(text_format.required(tags, "lumi", path))
    except ValueError as error:
        raise DatabaseError(f"{path}: {error}") from error
    return Provenance(
        analysis=text_format.required(tags, "id", path),
        folder=folder.name,
        experiment=folder.parent.name,
        sqrts=sqrts,
        luminosity=luminosity,
        arxiv=tags.get("arxiv", ""),
        doi=tags.get("publicationDOI", ""),
        url=tags.get("url", ""),
        title=tags.get("prettyName", tags.get("publication", "")),
    )


Dataset = tuple[Path, dict[str, str], str]


def _all_datasets(folder: Path) -> dict[str, Dataset]:
    """All data sets of a result by name."""
    found: dict[str, Dataset] = {}
    for info in sorted(folder.glob("*/dataInfo.txt")):
        data_tags = text_format.read_tags(info)
        written = text_format.required(data_tags, "dataType", info)
        kinds = {"efficiencyMap": "efficiency_map", "upperLimit": "upper_limit"}
        if written not in kinds:
            raise DatabaseError(f"{info}: dataType {written!r} is unknown; wanted {list(kinds)}")
        name = data_tags.get("dataId", "None")
        name = info.parent.name if name == "None" else name
        found[name] = (info, data_tags, kinds[written])
    if not found:
        raise DatabaseError(f"{folder}: holds no data set (*/dataInfo.txt)")
    return found


def _datasets(folder: Path, tags: dict[str, str], path: Path) -> list[Dataset]:
    """Those that likelihoods use, in their order."""
    found = _all_datasets(folder)
    order = _dataset_order(tags, path)
    if order is None or "covariance" not in tags:
        return list(found.values())
    missing = [name for name in order if name not in found]
    if missing:
        raise DatabaseError(f"{path}: datasetOrder names {missing}, which are not in {folder.name}")
    return [found[name] for name in order]


def _dataset_order(tags: dict[str, str], path: Path) -> list[str] | None:
    if "datasetOrder" not in tags:
        return None
    order = text_format.literal(f"[{tags['datasetOrder']}]", "datasetOrder", path)
    if len(order) == 1 and isinstance(order[0], list | tuple):
        order = order[0]
    return [str(name) for name in order]


def _counting(datasets: list[Dataset], provenance: Provenance) -> CountingRecord:
    def column(name: str) -> np.ndarray:
        return np.array([text_format.number(tags, name, path) for path, tags, _ in datasets])

    def limit(name: str) -> np.ndarray:
        return np.array([text_format.cross_section(tags, name, path) for path, tags, _ in datasets])

    return CountingRecord(
        provenance.folder,
        tuple(tags.get("dataId", path.parent.name) for path, tags, _ in datasets),
        column("observedN"),
        column("expectedBG"),
        column("bgError"),
        limit("upperLimit"),
        limit("expectedUpperLimit"),
    )


def _covariance(
    datasets: list[Dataset], tags: dict[str, str], path: Path, counting: CountingRecord
) -> CovarianceRecord | None:
    if "covariance" in tags:
        matrix = text_format.literal(tags["covariance"], "covariance", path)
        order = counting.region_ids
    else:
        found = regions.covariance_of(tags, path)
        if found is None:
            return None
        order, matrix = found
    covariance = np.array(matrix, dtype=np.float64)
    if covariance.shape != (len(order), len(order)):
        raise DatabaseError(
            f"{path}: covariance has shape {covariance.shape}, wanted {(len(order),) * 2} "
            "(one row per region of datasetOrder)"
        )
    index = {name: i for i, name in enumerate(counting.region_ids)}
    unknown = [name for name in order if name not in index]
    if unknown:
        raise DatabaseError(f"{path}: the covariance names regions {unknown} that have no data set")
    rows = [index[name] for name in order]
    moments = [datasets[row][1].get("thirdMoment") for row in rows]
    third = None
    if all(moment is not None for moment in moments):
        values = np.array([float(moment) for moment in moments])  # type: ignore[arg-type]
        third = values if np.abs(values).sum() >= 1e-10 else None
    return CovarianceRecord(
        counting.analysis_id,
        tuple(order),
        counting.observed[rows],
        counting.background[rows],
        covariance,
        third,
    )


def _workspaces(
    folder: Path, tags: dict[str, str], path: Path, counting: CountingRecord
) -> tuple[WorkspaceRecord, ...]:
    control = tags.get("includeCRs", "False").strip() == "True"
    uncertainty = float(tags.get("signalUncertainty", "0") or 0)
    records = []
    for name, listed in regions.workspace_files(tags, path).items():
        file = folder / name
        if not file.is_file():
            logger.warning(
                "%s: workspace %s is missing; its regions stay single counts", path, name
            )
            continue
        document = file.read_text()
        mapped = regions.map_regions(listed, document, control, file)
        digest = hashlib.sha256(document.encode()).hexdigest()
        records.append(
            WorkspaceRecord(
                counting.analysis_id, name, document, digest, mapped, control, uncertainty
            )
        )
    return tuple(records)


def _networks(
    folder: Path, tags: dict[str, str], path: Path, counting: CountingRecord
) -> tuple[NetworkRecord, ...]:
    records = []
    for name, listed in regions.network_files(tags, path).items():
        if not (folder / name).is_file():
            logger.warning("%s: network %s is missing; its regions stay single counts", path, name)
            continue
        content = (folder / name).read_bytes()
        records.append(NetworkRecord(counting.analysis_id, name, content, listed))
    return tuple(records)


def _maps(
    datasets: list[Dataset], provenance: Provenance, kind: str
) -> tuple[tuple[MapRecord, ...], tuple[Grid, ...]]:
    maps: list[MapRecord] = []
    grids: list[Grid] = []
    known: dict[bytes, int] = {}
    for info, data_tags, _ in datasets:
        region = None if kind == "upper_limit" else data_tags.get("dataId", info.parent.name)
        for file in sorted(info.parent.glob("*.txt")):
            if file.name == "dataInfo.txt":
                continue
            tags = text_format.read_tags(file)
            if "txName" not in tags:
                continue
            data_map = regions.data_map_of(tags, file)
            for tag, quantity in QUANTITIES.items():
                if tag not in tags:
                    continue
                widths = tuple(i for i, (_, name) in enumerate(data_map or ()) if name != "mass")
                block = text_format.read_data_block(tags[tag], tag, file, widths)
                key = block.coordinates.tobytes()
                if key not in known:
                    known[key] = len(grids)
                    grids.append(triangulate(block.coordinates, f"{file}: {tag}"))
                process = regions.processes_of(tags, file, block.layout, data_map)
                maps.append(
                    MapRecord(
                        folder=provenance.folder,
                        region=region,
                        txname=tags["txName"],
                        quantity=quantity,
                        constraint=process.constraint,
                        coordinates=process.coordinates,
                        grid=known[key],
                        values=block.values,
                        final_state=process.final_state,
                        intermediate_state=process.intermediate_state,
                        validated=tags.get("validated", ""),
                        source=tags.get("source", ""),
                    )
                )
    return tuple(maps), tuple(grids)


def renumber(data: ResultData, first_grid: int) -> ResultData:
    """The same result with its grid indices shifted into a common list."""
    maps = tuple(replace(record, grid=record.grid + first_grid) for record in data.maps)
    return replace(data, maps=maps)
