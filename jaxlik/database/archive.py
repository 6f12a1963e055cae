"""Files of arrays and JSON documents: compressed, with digests, the same bytes every time."""

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.errors import DatabaseError

MANIFEST = "manifest.json"


def write_archive(
    path: Path, arrays: Mapping[str, np.ndarray], documents: Mapping[str, Any]
) -> None:
    """Write one file; it is replaced as a whole once everything is written."""
    temporary = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(_stamp(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_LZMA)
        for name, document in documents.items():
            archive.writestr(_stamp(name), json.dumps(document), zipfile.ZIP_LZMA)
    temporary.replace(path)


def read_archive(
    path: Path, schema: str, what: str, remedy: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file of arrays with a manifest, and compare all digests.

    Args:
        path: The file.
        schema: What the manifest has to say under ``schema``.
        what: Content in words, for errors.
        remedy: What to do about a bad file.

    Raises:
        DatabaseError: no such file, another schema, or damage.
    """
    if not path.is_file():
        raise DatabaseError(f"{path}: no such file; wanted {what} (.npz); {remedy}")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            if manifest.get("schema") != schema:
                raise DatabaseError(
                    f"{path}: schema is {manifest.get('schema')!r}, this jaxlik reads {schema!r}; "
                    f"{remedy}"
                )
            arrays = {
                name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                for name in manifest["arrays"]
            }
            for name, array in arrays.items():
                if digest(array) != manifest["arrays"][name]["sha256"]:
                    raise DatabaseError(f"{path}: array {name!r} is damaged; {remedy}")
    except DatabaseError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
        *(AttributeError, KeyError, TypeError, ValueError),
    ) as error:
        raise DatabaseError(f"{path}: not a file of {what} ({error})") from error
    return manifest, arrays


def describe(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Shape, type and digest of arrays, for a manifest."""
    return {
        name: {"shape": list(a.shape), "dtype": str(a.dtype), "sha256": digest(a)}
        for name, a in arrays.items()
    }


def digest(array: np.ndarray) -> str:
    """SHA-256 of the numbers of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def own_version() -> str:
    """Version of this package."""
    try:
        return version("jaxlik")
    except PackageNotFoundError:
        return "0+unknown"


def _stamp(name: str) -> zipfile.ZipInfo:
    """A member without time stamp, so that equal content gives equal files."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
