"""Chunk files: the result of one task each, complete or absent, and nothing about the way there.

chunk-000000.json    {"chunk", "payload": digest, "result", "schema", "sha256" of the rest}
"""

import errno
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from jaxlik.errors import CheckpointError
from jaxlik.fit.store import write_atomically

logger = logging.getLogger(__name__)

SCHEMA = "jaxlik/chunk/1"

Document = dict[str, Any]


def chunk_path(folder: Path, chunk: int) -> Path:
    """Where the result of a task is kept."""
    return folder / f"chunk-{chunk:06d}.json"


def remove_unfinished(folder: Path) -> None:
    """Remove what a driver left that was killed while it wrote."""
    for path in folder.glob(".chunk-*.json-*"):
        path.unlink(missing_ok=True)


def read_chunk(folder: Path, chunk: int, digest: str) -> Document | None:
    """Result of a chunk; `None` if there is no file or a damaged one.

    Raises:
        CheckpointError: the file cannot be read, or holds another task's result.
    """
    path = chunk_path(folder, chunk)
    try:
        entry = json.loads(path.read_bytes())
        signed = entry.pop("sha256") == digest_of(json_text(entry))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"chunk file {path} cannot be read: {error}") from error
    except (ValueError, LookupError, AttributeError, TypeError):
        signed = False
    if not signed:
        logger.warning("chunk file %s is damaged; its task is done again", path)
        return None
    if entry.get("schema") != SCHEMA or entry.get("payload") != digest:
        raise CheckpointError(
            f"chunk file {path} is of another run: format {entry.get('schema')!r}, payload "
            f"{str(entry.get('payload'))[:12]}, wanted {SCHEMA!r} and {digest[:12]}; choose "
            "another folder, or resume with the task and the payloads of that run"
        )
    return entry["result"]


def write_chunk(folder: Path, chunk: int, digest: str, result: Document, num_done: int) -> None:
    """Write a chunk file as a whole.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    entry = {"chunk": chunk, "payload": digest, "result": result, "schema": SCHEMA}
    signed = {**entry, "sha256": digest_of(json_text(entry))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(chunk_path(folder, chunk), json_text(signed) + "\n")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CheckpointError(
            f"{'disk full' if full else 'folder not writable'}: chunk {chunk} could not be "
            f"written ({error}); {num_done} chunks are intact in {folder}, "
            f"{'free space' if full else 'make it writable'} and resume"
        ) from error


def read_result(folder: Path, chunk: int, digest: str) -> Document:
    """Result of a chunk that is done."""
    found = read_chunk(folder, chunk, digest)
    if found is None:
        raise CheckpointError(
            f"chunk file {chunk_path(folder, chunk)} vanished or was damaged; resume the run"
        )
    return found


def json_text(value: Any) -> str:
    """The one way to write a value."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def digest_of(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
