"""Learned profile likelihoods as a file: arrays, and a manifest with their validation.

The manifest names the workspace by the SHA-256 of its file, the signal regions in the order
of the inputs, how labels and networks were made, and the errors found on held-out signals.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.database.archive import MANIFEST, describe, own_version, read_archive, write_archive
from jaxlik.errors import DatabaseError

SCHEMA = "jaxlik/learned-likelihood/1"

DATA_SETS = ("observed", "asimov")
"""What the outputs stand for: the data, and background-only Asimov data fitted to them."""

LAYERS = "first first_bias second second_bias head head_bias own".split()
"""Arrays of the networks; axis ``member`` first, single precision."""

ARRAYS = (
    *(f"member.{name}" for name in LAYERS),
    *"scale radius counts nominal twice_nll_background band".split(),
)
"""All arrays of a file."""


class LearnedFile:
    """A learned likelihood, as it lies in a file.

    Attributes:
        path: Where it lies.
        manifest: Schema, workspace, regions, recipe, validation, versions.
        arrays: Those of `ARRAYS`.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.path = path
        self.manifest = manifest
        self.arrays = arrays

    @property
    def region_ids(self) -> tuple[str, ...]:
        """Signal regions, in the order of the inputs."""
        return tuple(self.manifest["regions"])

    @property
    def validation(self) -> dict[str, Any]:
        """Errors on held-out signals."""
        return self.manifest["validation"]

    def check_workspace(self, content: bytes, name: str) -> None:
        """Make sure that a workspace is the one whose likelihood was learned.

        Args:
            content: The file, byte for byte.
            name: For messages.

        Raises:
            DatabaseError: it is another one.
        """
        wanted, found = self.manifest["workspace"]["sha256"], hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise DatabaseError(
                f"{self.path}: learned from {self.manifest['workspace']['name']} "
                f"({wanted[:12]}), given is {name} ({found[:12]}); learn this one, or give the "
                "other"
            )


def write_learned(
    path: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
) -> LearnedFile:
    """Write a learned likelihood to a file.

    Args:
        path: Target (``.npz``).
        arrays: Those of `ARRAYS`.
        manifest: ``workspace`` (name and sha256), ``regions``, ``recipe``, ``validation``,
            ``versions``.

    Raises:
        DatabaseError: the file cannot be written.
    """
    ordered = {name: np.asarray(arrays[name]) for name in ARRAYS}
    full = {
        "schema": SCHEMA,
        "jaxlik_version": own_version(),
        **manifest,
        "arrays": describe(ordered),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_archive(path, ordered, {MANIFEST: full})
    except OSError as error:
        raise DatabaseError(f"{path} cannot be written: {error}; give another file") from None
    return LearnedFile(path, full, ordered)


def open_learned(path: Path) -> LearnedFile:
    """Read a learned likelihood.

    Raises:
        DatabaseError: nothing there, no such file, another schema, or damage.
    """
    manifest, arrays = read_archive(
        path, SCHEMA, "a learned likelihood", "make it again with `python -m surrogates likelihood`"
    )
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise DatabaseError(f"{path}: lacks array {missing[0]!r}; copy or make the file again")
    return LearnedFile(path, manifest, arrays)
