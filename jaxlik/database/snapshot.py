"""Snapshots: a database compiled to arrays and a manifest.

A snapshot is a folder (arrays as ``.npy``, mapped into memory on first use) or one
``.npz`` file. It holds the records of all results, their maps on shared grids with
SModelS's simplices, and the channel table of a model space. Foreign pickles are
never loaded.
"""

import base64
import binascii
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.database.archive import MANIFEST, describe, digest, own_version, write_archive
from jaxlik.database.documents import header_from, records_document, result_from
from jaxlik.database.locator import LocatorArrays
from jaxlik.database.records import MapHeader, MapRecord, NetworkRecord, Result, WorkspaceRecord
from jaxlik.errors import DatabaseError

SCHEMA = "jaxlik/snapshot/1"
RECORDS = "records.json"
DOCUMENTS = "workspaces.json"
NETWORKS = "networks.json"
HULLS_ONLY = "hulls_only"
"""Key of the manifest: efficiency maps are reduced to the hulls of their grids."""


class Snapshot:
    """A compiled database, loaded lazily.

    Attributes:
        path: Where it lies.
        manifest: Schema, versions, digests, sources.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], read: Callable[[str], bytes | Path]):
        self.path = path
        self.manifest = manifest
        self._read = read
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def version(self) -> str:
        """Version of the database, e.g. ``3.0.0``."""
        return str(self.manifest["database_version"])

    @property
    def sha256(self) -> str:
        """Digest of the database the snapshot was made from."""
        return str(self.manifest["database_sha256"])

    def array(self, name: str) -> np.ndarray:
        """One array; mapped into memory where the snapshot is a folder.

        Raises:
            DatabaseError: the array is missing or damaged.
        """
        if name not in self._arrays:
            entry = self.manifest["arrays"].get(name)
            if entry is None:
                raise DatabaseError(
                    f"{self.path}: holds no array {name!r}; compile the database again"
                )
            source = self._read(f"{name}.npy")
            try:
                if isinstance(source, Path):
                    value = np.load(source, mmap_mode="r", allow_pickle=False)
                else:
                    value = np.load(io.BytesIO(source), allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise DatabaseError(
                    f"{self.path}: array {name!r} is damaged ({error}); compile the database again"
                ) from error
            if list(value.shape) != entry["shape"] or str(value.dtype) != entry["dtype"]:
                raise DatabaseError(
                    f"{self.path}: array {name!r} is {value.dtype}{list(value.shape)}, the "
                    f"manifest says {entry['dtype']}{entry['shape']}; compile the database again"
                )
            self._arrays[name] = value
        return self._arrays[name]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """All arrays whose name starts with ``prefix.``, by the rest of their names."""
        start = f"{prefix}."
        names = [name for name in self.manifest["arrays"] if name.startswith(start)]
        return {name.removeprefix(start): self.array(name) for name in names}

    def verify(self) -> None:
        """Compare every array with the digest in the manifest.

        Raises:
            DatabaseError: an array was changed or damaged.
        """
        for name, entry in self.manifest["arrays"].items():
            found = digest(self.array(name))
            if found != entry["sha256"]:
                raise DatabaseError(
                    f"{self.path}: array {name!r} has digest {found[:12]}, the manifest says "
                    f"{entry['sha256'][:12]}; compile the database again"
                )

    def _document(self, name: str) -> Any:
        source = self._read(name)
        try:
            return json.loads(source.read_bytes() if isinstance(source, Path) else source)
        except json.JSONDecodeError as error:
            raise DatabaseError(f"{self.path}: {name} is damaged ({error})") from error

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """Records of all results; workspaces and networks come with their own properties."""
        return tuple(result_from(entry) for entry in self._document(RECORDS)["results"])

    @cached_property
    def workspaces(self) -> tuple[WorkspaceRecord, ...]:
        """HistFactory workspaces of all results."""
        entries = self._document(DOCUMENTS)
        return tuple(
            WorkspaceRecord(**{**entry, "regions": tuple(entry["regions"])}) for entry in entries
        )

    @cached_property
    def networks(self) -> tuple[NetworkRecord, ...]:
        """Neural networks of all results; none in snapshots older than they are."""
        entries = self._document(NETWORKS) if self.manifest.get("num_networks") else []
        try:
            return tuple(
                NetworkRecord(
                    entry["analysis_id"],
                    entry["name"],
                    base64.b64decode(entry["content"], validate=True),
                    tuple(entry["regions"]),
                )
                for entry in entries
            )
        except (KeyError, TypeError, binascii.Error) as error:
            raise DatabaseError(
                f"{self.path}: {NETWORKS} is damaged ({error!r}); compile the database again"
            ) from error

    @cached_property
    def maps(self) -> tuple[MapHeader, ...]:
        """Headers of all maps."""
        document = self._document(RECORDS)
        strings = document["strings"]
        return tuple(header_from(row, strings) for row in document["maps"])

    def result(self, folder: str) -> Result:
        """The result of one folder.

        Raises:
            DatabaseError: the snapshot has no such result.
        """
        for result in self.results:
            if folder in (result.provenance.folder, result.provenance.analysis):
                return result
        known = ", ".join(r.provenance.folder for r in self.results[:8])
        raise DatabaseError(
            f"{self.path}: has no result {folder!r}; it has {len(self.results)}, such as {known}"
        )


def open_snapshot(path: Path) -> Snapshot:
    """Open a snapshot folder or ``.npz`` file without reading its arrays.

    Raises:
        DatabaseError: nothing there, not a snapshot, or of another schema.
    """
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise DatabaseError(
                f"{path}: has no {MANIFEST}; wanted the folder of a jaxlik snapshot"
            )

        def read(name: str) -> bytes | Path:
            if not (path / name).is_file():
                raise DatabaseError(f"{path}: file {name} is missing; compile the database again")
            return path / name

        raw = (path / MANIFEST).read_bytes()
    elif path.is_file():
        try:
            archive = zipfile.ZipFile(path)
            raw = archive.read(MANIFEST)
        except (zipfile.BadZipFile, KeyError) as error:
            raise DatabaseError(f"{path}: not a jaxlik snapshot ({error})") from error

        def read(name: str) -> bytes | Path:
            try:
                return archive.read(name)
            except (KeyError, zipfile.BadZipFile) as error:
                raise DatabaseError(f"{path}: member {name} is missing or damaged") from error

    else:
        raise DatabaseError(f"{path}: no such file or folder")
    try:
        manifest = json.loads(raw)
    except json.JSONDecodeError as error:
        raise DatabaseError(f"{path}: {MANIFEST} is damaged ({error})") from error
    if manifest.get("schema") != SCHEMA:
        raise DatabaseError(
            f"{path}: schema is {manifest.get('schema')!r}, this jaxlik reads {SCHEMA!r}; "
            "compile the database again"
        )
    return Snapshot(path, manifest, read)


def write_snapshot(
    path: Path,
    *,
    results: Iterable[Result],
    maps: Iterable[MapRecord],
    locator: LocatorArrays,
    channels: Any,
    database_version: str,
    database_sha256: str,
    notes: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Write a snapshot; ``.npz`` in the name makes one compressed file.

    Args:
        path: Target; replaced as a whole once everything is written.
        results: Records of all results.
        maps: All maps.
        locator: Grids laid out for walking.
        channels: A `ChannelTable`.
        database_version: Version of the source.
        database_sha256: Digest of the source.
        notes: Further entries for the manifest.
    """
    results, maps = list(results), list(maps)
    starts = np.concatenate([[0], np.cumsum([len(m.values) for m in maps])]).astype(np.int64)
    arrays: dict[str, np.ndarray] = {
        "values": np.concatenate([m.values for m in maps]) if maps else np.zeros(0)
    }
    arrays |= {f"grids.{name}": np.asarray(value) for name, value in locator._asdict().items()}
    scalars = {}
    for item in fields(channels):
        value = getattr(channels, item.name)
        if isinstance(value, np.ndarray):
            arrays[f"channels.{item.name}"] = value
        else:
            scalars[item.name] = value
    networks = [network for result in results for network in result.networks]
    manifest = {
        "schema": SCHEMA,
        "database_version": database_version,
        "database_sha256": database_sha256,
        "jaxlik_version": own_version(),
        "channels": scalars,
        "num_results": len(results),
        "num_maps": len(maps),
        "num_networks": len(networks),
        "analyses": [_summary(result) for result in results],
        "arrays": describe(arrays),
        **(notes or {}),
    }
    documents = {
        RECORDS: records_document(results, maps, starts),
        DOCUMENTS: [asdict(w) for result in results for w in result.workspaces],
        MANIFEST: manifest,
    }
    if networks:
        documents[NETWORKS] = [
            {**asdict(network), "content": base64.b64encode(network.content).decode()}
            for network in networks
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        write_archive(path, arrays, documents)
    else:
        _write_folder(path, arrays, documents)
    return open_snapshot(path)


def _write_folder(path: Path, arrays: dict[str, np.ndarray], documents: dict[str, Any]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        for name, document in documents.items():
            (temporary / name).write_text(json.dumps(document))
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _summary(result: Result) -> dict[str, Any]:
    p = result.provenance
    return {
        "id": p.analysis,
        "folder": p.folder,
        "sqrts": p.sqrts,
        "luminosity": p.luminosity,
        "arxiv": p.arxiv,
        "doi": p.doi,
    }
