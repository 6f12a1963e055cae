"""Checkpoints: named arrays in one file, replaced only by a complete one."""

import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxlik.errors import CheckpointError

_DAMAGE = (
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and NumPy raise for damaged archives."""


def write_arrays(path: Path, schema: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a checkpoint; an existing file is replaced only by a complete one.

    Args:
        path: File to write (NumPy archive, no pickle).
        schema: Name of the layout.
        arrays: What to keep, by name.
    """
    header = json.dumps({"schema": schema, "leaves": sorted(arrays)})
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **{"header": np.array(header), **arrays})  # type: ignore[reportArgumentType]
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_arrays(path: Path, schema: str) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Args:
        path: The file.
        schema: Name of the layout it must have.

    Raises:
        CheckpointError: no such file, damaged, incomplete, or of another format.
    """
    try:
        # From memory: NumPy leaves files open that turn out to be damaged.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            stored = {name: archive[name] for name in archive.files if name != "header"}
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist; start a new run") from None
    except _DAMAGE as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or no checkpoint ({error}); restore it from a copy "
            "or start a new run"
        ) from error
    found = header.get("schema") if isinstance(header, dict) else None
    if found != schema or sorted(stored) != header.get("leaves"):
        raise CheckpointError(
            f"checkpoint {path} has the format {found!r} or is incomplete, wanted {schema!r}; "
            "resume with the version of jaxlik that wrote it"
        )
    return stored
