"""Learned cross sections as a file: arrays and a manifest with source and accuracy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlik.database.archive import MANIFEST, describe, own_version, read_archive, write_archive
from jaxlik.errors import DatabaseError
from jaxlik.physics.learned_cross_sections import LearnedCrossSection, Networks
from jaxlik.precision import require_x64

SCHEMA = "jaxlik/learned_cross_sections/1"
PLAIN = ("is_mass", "low", "high", "exponents", "coefficients", "residual", "band", "facets")
"""Arrays of a process besides those of its networks."""


def write_cross_sections(
    path: Path,
    sections: Mapping[str, LearnedCrossSection],
    reports: Mapping[str, Mapping[str, Any]],
    manifest: Mapping[str, Any],
) -> None:
    """Write learned cross sections to a file.

    Args:
        path: Target (``.npz``).
        sections: One per process.
        reports: Of each process, what is said about it: source, errors, ...
        manifest: What is said about all of them: the recipe.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, section in enumerate(sections.values()):
        for name in PLAIN:
            arrays[f"{number}.{name}"] = np.asarray(getattr(section, name))
        for name, value in section.networks._asdict().items():
            arrays[f"{number}.network.{name}"] = np.asarray(value)
    full = {
        "schema": SCHEMA,
        "jaxlik_version": own_version(),
        "units": {"mass": "GeV", "cross_section": "fb"},
        **manifest,
        "processes": [
            {"name": name, "columns": list(s.columns), "degree": s.degree, **reports[name]}
            for name, s in sections.items()
        ],
        "arrays": describe(arrays),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(path, arrays, {MANIFEST: full})


def read_manifest(path: Path) -> dict[str, Any]:
    """What a file says about itself: recipe, and source and errors of every process.

    Raises:
        DatabaseError: no such file, another schema, or damage.
    """
    return _read(path)[0]


def open_cross_sections(path: Path) -> dict[str, LearnedCrossSection]:
    """Learned cross sections of a file, by process.

    Raises:
        DatabaseError: no such file, another schema, or damage.
        PrecisionError: JAX is set to 32-bit floats.
    """
    require_x64()
    manifest, arrays = _read(path)
    found = {}
    for number, entry in enumerate(manifest["processes"]):
        plain = {name: jnp.asarray(arrays[f"{number}.{name}"]) for name in PLAIN}
        layers = [jnp.asarray(arrays[f"{number}.network.{name}"]) for name in Networks._fields]
        found[entry["name"]] = LearnedCrossSection(
            columns=tuple(entry["columns"]),
            degree=int(entry["degree"]),
            networks=Networks(*layers),
            **plain,
        )
    return found


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    remedy = "make it with `python -m surrogates cross-sections`"
    manifest, arrays = read_archive(path, SCHEMA, "learned cross sections", remedy)
    for number in range(len(manifest["processes"])):
        for name in (*PLAIN, *(f"network.{layer}" for layer in Networks._fields)):
            if f"{number}.{name}" not in arrays:
                raise DatabaseError(f"{path}: lacks array '{number}.{name}'; {remedy}")
    return manifest, arrays
