"""Trained networks as a file: arrays, a manifest, the table of their validation.

The file is read as a whole on first use. It holds one network per analysis and
topology, one head per map, one domain per grid; no published map.
"""

from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.database.archive import MANIFEST, describe, own_version, read_archive, write_archive
from jaxlik.errors import DatabaseError

SCHEMA = "jaxlik/surrogate/1"

ARRAYS = (
    *"input.direction input.curved input.mean input.scale".split(),
    *"layer.first layer.first_bias layer.second layer.second_bias".split(),
    *"layer.third layer.third_bias".split(),
    *"head.network head.domain head.weight head.bias head.scale head.band".split(),
    *"head.reach_weight head.reach_bias".split(),
    *"domain.centre domain.rotation domain.dimension domain.facets".split(),
)
"""All arrays of a file; axes ``network``, ``head`` or ``domain`` first."""


class SurrogateFile:
    """Trained networks, as they lie in a file.

    Attributes:
        path: Where they lie.
        manifest: Schema, database, recipe, names of the heads, validation.
        arrays: Those of `ARRAYS`.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.path = path
        self.manifest = manifest
        self.arrays = arrays

    @property
    def database_sha256(self) -> str:
        """Digest of the database whose maps were learned."""
        return str(self.manifest["database_sha256"])

    @cached_property
    def heads(self) -> dict[tuple[str, str, str], int]:
        """Number of the head of each folder, topology and region."""
        names = [
            (entry["folder"], entry["txname"], region)
            for entry in self.manifest["networks"]
            for region in entry["regions"]
        ]
        return {name: number for number, name in enumerate(names)}


def write_surrogate(
    path: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
) -> SurrogateFile:
    """Write networks to a file.

    Args:
        path: Target (``.npz``).
        arrays: Those of `ARRAYS`.
        manifest: ``database_version``, ``database_sha256``, ``recipe``, ``networks``
            (folder, txname and regions of each, in the order of the heads), ``closure``.
    """
    ordered = {name: np.asarray(arrays[name]) for name in ARRAYS}
    full = {
        "schema": SCHEMA,
        "jaxlik_version": own_version(),
        **manifest,
        "arrays": describe(ordered),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(path, ordered, {MANIFEST: full})
    return SurrogateFile(path, full, ordered)


def shipped_surrogate() -> Path:
    """The networks that come with the package."""
    return Path(str(resources.files("jaxlik"))) / "data" / "networks.npz"


def open_surrogate(path: Path) -> SurrogateFile:
    """Read trained networks.

    Raises:
        DatabaseError: nothing there, no such file, another schema, or damage.
    """
    manifest, arrays = read_archive(
        path, SCHEMA, "trained networks", "export them with `python -m surrogates export`"
    )
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise DatabaseError(f"{path}: lacks array {missing[0]!r}; export the networks again")
    return SurrogateFile(path, manifest, arrays)
