"""Fixtures shared by all tests: double precision, and the reference data."""

import contextlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from jaxlik.compilation import SHORTEST_COMPILATION, compile_short
from jaxlik.database.compile import cache_folder, load_database
from jaxlik.database.snapshot import Snapshot, open_snapshot

# Most programs of tests run once: their compilation is what takes the time. Set XLA_FLAGS to
# `jaxlik.compilation.SHORT_COMPILATION` to test what commands run.
compile_short(SHORTEST_COMPILATION)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Workers and files that compile the same engine share the work.
jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the full database are slow ones: compiling it takes minutes, once per machine."""
    for item in items:
        if "snapshot" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def reference_folder() -> Path | None:
    """Folder with databases and golden results: ``JAXLIK_REFERENCE`` or ``../shared``."""
    given = os.environ.get("JAXLIK_REFERENCE")
    folder = Path(given) if given else ROOT.parent / "shared"
    return folder if (folder / "golden").is_dir() else None


@pytest.fixture(scope="session")
def thinned() -> Snapshot:
    """Results of database 3.0.0 with efficiency and upper-limit maps on fewer grid points."""
    return open_snapshot(ROOT / "tests" / "data" / "thinned.npz")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference folder; skips with a reason where it is absent, fails in CI."""
    folder = reference_folder()
    if folder is None:
        message = (
            "reference data not found: set JAXLIK_REFERENCE to a folder with data/ and golden/"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Let one process of this machine at a time in (POSIX; no lock elsewhere)."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


MOST_MAPPINGS = 20_000
"""XLA maps memory for every compiled program; Linux allows a process 65530 mappings."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Forget compiled programs after a file if there are too many."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_text().count("\n") > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def snapshot(reference) -> Snapshot:
    """Database 3.0.0, compiled into the cache of the user at most once per machine."""
    with exclusive("test-database-3.0.0"):
        return load_database(reference / "data" / "smodels-database-3.0.0.tar.xz", quiet=True)


@pytest.fixture(scope="session")
def workspace_of(reference) -> Callable[[str], tuple[dict, dict]]:
    """From ``FOLDER/FILE``, without ATLAS-SUSY and .json, to the golden file and the workspace."""
    golden = {}
    for path in (reference / "golden" / "pyhf").glob("*.json"):
        document = json.loads(path.read_text())
        golden[document["workspace"]] = document
    found: dict[str, dict] = {}
    archive = reference / "data" / "smodels-database-3.0.0.tar.xz"
    with tarfile.open(archive) as stream:
        for member in stream:
            name = "/".join(member.name.split("/")[-2:])
            content = stream.extractfile(member) if name in golden else None
            if content is not None:
                found[name] = json.load(content)
            if len(found) == len(golden):
                break

    def find(name: str) -> tuple[dict, dict]:
        key = f"ATLAS-SUSY-{name}.json"
        return golden[key], found[key]

    return find


@pytest.fixture(scope="session")
def every_workspace(reference) -> dict[str, dict]:
    """All HistFactory workspaces of database 3.0.0, copies once, by folder and file."""
    found: dict[str, dict] = {}
    seen: set[bytes] = set()
    with tarfile.open(reference / "data" / "smodels-database-3.0.0.tar.xz") as stream:
        for member in stream:
            content = stream.extractfile(member) if member.name.endswith(".json") else None
            text = content.read() if content is not None else b"null"
            document = json.loads(text)
            if isinstance(document, dict) and "channels" in document and text not in seen:
                seen.add(text)
                found["/".join(member.name.split("/")[-2:])] = document
    return found
