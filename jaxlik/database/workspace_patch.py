"""Signals added to workspaces: JSON patches (RFC 6902) and pyhf patch sets."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import numpy as np

from jaxlik.errors import WorkspaceError


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        WorkspaceError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise WorkspaceError(f"{path} is not text: {error}") from None
    except json.JSONDecodeError as error:
        raise WorkspaceError(f"{path} is not JSON: {error}") from None


def apply_patch(
    document: dict, patch: Any, *, name: str = "patch", member: str | None = None
) -> dict:
    """A workspace with a patch applied; the given one stays as it is.

    Args:
        document: The workspace.
        patch: List of operations, or a patch set (an object with ``patches``).
        name: For messages.
        member: Which patch of a set; may be left out where there is one only.

    Raises:
        WorkspaceError: no patch, no such member, or an operation that does not apply.
    """
    operations = _member(patch, name, member) if isinstance(patch, dict) else patch
    if not isinstance(operations, list):
        raise WorkspaceError(
            f"{name}: found {type(operations).__name__}, wanted a list of operations or a patch set"
        )
    patched = document
    for number, operation in enumerate(operations):
        try:
            patched = jsonpatch.apply_patch(patched, [operation])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            place = operation.get("path") if isinstance(operation, dict) else operation
            raise WorkspaceError(
                f"{name}: operation {number} at {place!r} does not apply ({error}); is it made "
                "for this workspace?"
            ) from None
        except (TypeError, AttributeError, KeyError) as error:
            raise WorkspaceError(f"{name}: operation {number} is malformed ({error})") from None
    return patched


def with_synthetic_signal(
    document: dict, *, poi: str = "mu_SIG", fraction: float = 0.1, bins: int = 3
) -> dict:
    """A background-only workspace with a made-up signal, for tests and benchmarks.

    Args:
        document: The workspace; stays as it is.
        poi: Parameter that scales the signal, and its name in the measurement.
        fraction: Of the background, in the fullest bins of every channel named SR...
        bins: How many bins of a channel carry signal.
    """
    document = copy.deepcopy(document)
    for channel in document["channels"]:
        if channel["name"].startswith("SR"):
            total = np.sum([sample["data"] for sample in channel["samples"]], axis=0)
            fullest = np.argsort(-total, kind="stable")[:bins]
            signal = np.zeros(len(total))
            signal[fullest] = fraction * total[fullest]
            modifier = {"name": poi, "type": "normfactor", "data": None}
            channel["samples"].append(
                {"name": "signal", "data": signal.tolist(), "modifiers": [modifier]}
            )
    config = document["measurements"][0]["config"]
    others = [entry for entry in config.get("parameters", []) if entry["name"] != poi]
    entry = {"name": poi, "inits": [1.0], "bounds": [[0, 1000]], "fixed": False}
    config |= {"poi": poi, "parameters": [*others, entry]}
    return document


def _member(patches: dict, name: str, member: str | None) -> Any:
    entries = patches.get("patches")
    if not isinstance(entries, list) or not entries:
        raise WorkspaceError(f"{name}: /patches is {entries!r}, wanted a list that is not empty")
    found = {}
    for number, entry in enumerate(entries):
        try:
            found[entry["metadata"]["name"]] = entry["patch"]
        except (TypeError, KeyError):
            raise WorkspaceError(
                f'{name}: /patches/{number} lacks "metadata" with a "name", or "patch"'
            ) from None
    if member is None and len(found) == 1:
        return next(iter(found.values()))
    if member not in found:
        some = ", ".join(list(found)[:5]) + (", ..." if len(found) > 5 else "")
        raise WorkspaceError(f"{name}: no patch {member!r}; choose one of {some} (--patch-name)")
    return found[member]
