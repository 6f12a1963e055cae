"""From a database on disk to a snapshot, once, in a cache."""

import contextlib
import ctypes
import hashlib
import logging
import tarfile
import tempfile
from pathlib import Path

import platformdirs
from tqdm import tqdm

from jaxlik.database import smodels_reader
from jaxlik.database.locator import build_locator
from jaxlik.database.snapshot import Snapshot, open_snapshot, write_snapshot
from jaxlik.errors import DatabaseError
from jaxlik.physics.model import ModelSpace, protomodel_space

logger = logging.getLogger(__name__)

CACHE_VERSION = 4
"""Raised when the content of compiled snapshots changes, so that old ones are redone."""


def cache_folder() -> Path:
    """Folder for compiled databases; ``JAXLIK_CACHE`` overrides the platform's."""
    import os

    given = os.environ.get("JAXLIK_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("jaxlik")


def load_database(
    path: str | Path,
    *,
    quiet: bool = False,
    processes: int | None = None,
    cache: Path | None = None,
) -> Snapshot:
    """Open any kind of database.

    Args:
        path: A snapshot, a SModelS text database (folder or tar archive), or the
            word ``embedded``.
        quiet: No progress bars.
        processes: Worker processes for compiling; one per core by default.
        cache: Where compiled databases go, `cache_folder` by default.

    Raises:
        DatabaseError: nothing there, or neither snapshot nor database.
    """
    if str(path) == "embedded":
        return open_embedded()
    path = Path(path)
    if not path.exists():
        raise DatabaseError(f"{path}: no such file or folder; give a database, or 'embedded'")
    if path.is_dir() and (path / "manifest.json").is_file():
        return open_snapshot(path)
    if path.is_file() and path.suffix == ".npz":
        return open_snapshot(path)
    cache = cache or cache_folder()
    key = _key(path)
    target = cache / f"snapshot-{key}"
    if (target / "manifest.json").is_file():
        return open_snapshot(target)
    if path.is_dir():
        return compile_database(path, target, quiet=quiet, processes=processes)
    with tempfile.TemporaryDirectory(prefix="jaxlik-") as folder:
        root = _unpack(path, Path(folder), quiet=quiet)
        return compile_database(root, target, quiet=quiet, processes=processes)


def open_embedded() -> Snapshot:
    """The snapshot that ships with the package."""
    return open_snapshot(Path(__file__).resolve().parents[1] / "data" / "embedded.npz")


def compile_database(
    root: Path,
    target: Path,
    *,
    space: ModelSpace | None = None,
    quiet: bool = False,
    processes: int | None = None,
) -> Snapshot:
    """Compile a SModelS text database into a snapshot.

    Args:
        root: Root folder of the database.
        target: Snapshot folder to write.
        space: Model space of the channel table, the protomodel pool by default.
        quiet: No progress bars.
        processes: Worker processes; one per core by default.
    """
    from jaxlik.database.topologies import build_channel_table  # SModelS is slow to import

    _hand_memory_back()
    version = smodels_reader.database_version(root)
    folders = smodels_reader.result_folders(root)
    results, maps, grids = [], [], []
    size = sum(smodels_reader.folder_bytes(folder) for folder in folders)
    with tqdm(
        total=size, unit="B", unit_scale=True, desc=f"reading database {version}", disable=quiet
    ) as bar:
        for data in smodels_reader.read_database(
            root, folders=folders, processes=processes, on_result=bar.update
        ):
            data = smodels_reader.renumber(data, len(grids))
            results.append(data.result)
            maps.extend(data.maps)
            grids.extend(data.grids)
    with tqdm(desc="matching topologies", disable=quiet, unit="pair") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        table = build_channel_table(space or protomodel_space(), maps, grids, on_progress=advance)
    locator = build_locator(grids, consume=True)
    digest = smodels_reader.content_digest(root)
    logger.info("writing snapshot %s", target)
    return write_snapshot(
        target,
        results=results,
        maps=maps,
        locator=locator,
        channels=table,
        database_version=version,
        database_sha256=digest,
    )


def _hand_memory_back() -> None:
    """Let freed grids leave the process; glibc else keeps blocks of up to 32 MB (mallopt(3))."""
    m_mmap_threshold, block = -3, 1 << 16
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries
        ctypes.CDLL(None).mallopt(m_mmap_threshold, block)


def _key(path: Path) -> str:
    """Digest that changes with a database: content of an archive, listing of a folder."""
    digest = hashlib.sha256(str(CACHE_VERSION).encode())
    if path.is_file():
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest()[:24]
    smodels_reader.database_version(path)
    for file in sorted(path.rglob("*")):
        if file.suffix in smodels_reader.SUFFIXES:
            status = file.stat()
            entry = f"{file.relative_to(path)}:{status.st_size}:{status.st_mtime_ns}"
            digest.update(entry.encode())
    return digest.hexdigest()[:24]


def _unpack(archive: Path, folder: Path, *, quiet: bool) -> Path:
    """Unpack a tar archive and return the root of the database in it."""
    try:
        with tarfile.open(archive) as stream:
            members = tqdm(stream, desc=f"unpacking {archive.name}", unit="file", disable=quiet)
            for member in members:
                if member.isfile() or member.isdir():
                    stream.extract(member, folder, filter="data")
    except tarfile.TarError as error:
        raise DatabaseError(
            f"{archive}: neither a snapshot nor a tar archive ({error}); wanted a SModelS "
            "database, unpacked or as .tar.xz"
        ) from error
    return root_of(folder, archive)


def root_of(folder: Path, archive: Path) -> Path:
    """Root of the database in the folder that an archive was unpacked to.

    Raises:
        DatabaseError: there is none.
    """
    for candidate in (folder, *sorted(folder.iterdir())):
        if (candidate / "version").is_file():
            return candidate
    raise DatabaseError(f"{archive}: holds no SModelS database (no file 'version')")
