"""Files of arrays and JSON documents: compressed, with digests, the same bytes every time."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np


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
