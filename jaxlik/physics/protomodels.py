"""Models as protomodels dictionaries: Python literals, never evaluated (host only).

A file holds one dictionary or a list of them, with the keys ``masses``, ``decays``,
``ssmultipliers`` and optionally ``xsecs[fb]`` and book-keeping (arXiv:2012.12246).
Two-quark final states of the gluino are written with one quark there: (1000022, 1)
is q q-bar X_Z^1, (1000024, 1) is u d X_W^1.
"""

import ast
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import ENERGIES
from jaxlik.physics.model import ModelPoint, ModelSpace, production_key
from jaxlik.physics.pool import CHARGINOS, GLUINO, NEUTRALINOS
from jaxlik.physics.reading import PointBuilder, ReadModel, arrange_cross_sections

MAX_BYTES = 2_000_000
"""A larger file is no list of models."""

REQUIRED = ("masses", "decays")

_DOUBLETS = {1: (1, 2), 2: (1, 2), 3: (3, 4), 4: (3, 4), 5: (5, 6), 6: (5, 6)}


def read_protomodels(
    path: str | Path, space: ModelSpace, *, strict: bool = True
) -> list[ReadModel]:
    """Read every model of a dictionary file, in the order of the file.

    Args:
        path: A Python literal, or JSON if the name ends in ``.json`` (whose keys are
            then strings such as ``"(1000022, 1)"``).
        space: Model space of the results.
        strict: Raise on particles and channels outside the space; otherwise leave
            them out and list them in `ReadModel.dropped`.

    Raises:
        ModelPointError: not a literal, a key is missing, or contradictory numbers.
            The message names the file and the number of the model.
    """
    path = Path(path)
    document = _parse(path)
    entries = document if isinstance(document, list) else [document]
    models = []
    for number, entry in enumerate(entries):
        origin = f"{path}, model {number}" if isinstance(document, list) else str(path)
        models.append(from_protomodel(entry, space, origin=origin, strict=strict))
    return models


def from_protomodel(
    entry: Any, space: ModelSpace, *, origin: str = "protomodel", strict: bool = True
) -> ReadModel:
    """Turn one protomodels dictionary into a model.

    Signal strengths of processes that the space lacks are ignored; they were
    parameters without an effect.

    Args:
        entry: The dictionary.
        space: Model space of the result.
        origin: What messages call this dictionary.
        strict: As in `read_protomodels`.

    Raises:
        ModelPointError: as `read_protomodels`.
    """
    if not isinstance(entry, dict) or any(key not in entry for key in REQUIRED):
        found = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise ModelPointError(
            f"{origin} is no protomodel: found {found}, wanted a dictionary with masses, decays "
            "and ssmultipliers"
        )
    builder = PointBuilder(space, origin, strict=strict)
    try:
        for pid, mass in entry["masses"].items():
            builder.set_mass(int(pid), float(mass))
        builder.check_particles()
        for mother, table in entry["decays"].items():
            if int(mother) not in space.pdg_ids or not builder.active[space.particle_index(mother)]:
                continue
            for key, fraction in table.items():
                builder.add_decay(int(mother), _products(int(mother), key), float(fraction))
        for pair, value in entry.get("ssmultipliers", {}).items():
            key = production_key(*map(int, pair))
            if key in space.productions:
                builder.strengths[space.productions.index(key)] = float(value)
        sections = _cross_sections(entry.get("xsecs[fb]", {}))
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelPointError):
            raise
        raise ModelPointError(f"{origin} has an entry of the wrong form: {error}") from None
    values, others = arrange_cross_sections(space, sections)
    known = {*REQUIRED, "ssmultipliers", "xsecs[fb]", "widths"}
    return ReadModel(
        point=builder.build(),
        cross_sections=values,
        other_cross_sections=others,
        widths={int(pid): float(width) for pid, width in entry.get("widths", {}).items()},
        dropped=tuple(builder.dropped),
        meta={key: value for key, value in entry.items() if key not in known},
    )


def to_protomodel(
    space: ModelSpace,
    point: ModelPoint,
    cross_sections: np.ndarray | None = None,
    meta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The protomodels dictionary of a model, with full precision.

    Args:
        space: Layout of the point.
        point: The model.
        cross_sections: fb, shape (production, energy), signal strengths included.
        meta: Further entries, such as K and Z.
    """
    masses, active = np.asarray(point.masses), np.asarray(point.active)
    existing = [i for i, on in enumerate(active) if on]
    decays: dict[int, dict[tuple[int, ...], float]] = {space.pdg_ids[i]: {} for i in existing}
    for (mother, daughter, sm), value in zip(
        space.channels, np.asarray(point.branching_ratios), strict=True
    ):
        if mother in decays and value > 0:
            decays[mother][_written_key(mother, daughter, sm)] = float(value)
    pairs = np.asarray(space.production_pair)
    modes = [i for i, pair in enumerate(pairs) if active[pair].all()]
    strengths = np.asarray(point.signal_strengths)
    document: dict[str, Any] = {
        "masses": {space.pdg_ids[i]: float(masses[i]) for i in existing},
        "ssmultipliers": {space.productions[i]: float(strengths[i]) for i in modes},
        "decays": decays,
    }
    if cross_sections is not None:
        values = np.asarray(cross_sections)
        document["xsecs[fb]"] = {
            (space.productions[i], energy): float(values[i, column])
            for i in modes
            for column, energy in enumerate(ENERGIES)
            if math.isfinite(values[i, column])
        }
    return {**document, **(meta or {})}


def write_protomodels(path: str | Path, documents: list[dict[str, Any]]) -> None:
    """Write dictionaries made by `to_protomodel` as a Python literal, one per line."""
    lines = ",\n".join(repr(document) for document in documents)
    Path(path).write_text(f"[{lines}]\n", encoding="utf-8")


def _parse(path: Path) -> Any:
    """The literal in a file."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelPointError(f"{path} has {size} bytes, more than the {MAX_BYTES} allowed")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return _tuple_keys(json.loads(text))
        return ast.literal_eval(text)
    except ModelPointError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ModelPointError(f"{path} cannot be read: {error}") from None
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ModelPointError(
            f"{path} is not a Python literal ({error}); wanted a dictionary or a list of "
            "dictionaries, without calls or names"
        ) from None


def _tuple_keys(document: Any) -> Any:
    """JSON with its string keys turned back into numbers and tuples."""
    if isinstance(document, list):
        return [_tuple_keys(entry) for entry in document]
    if not isinstance(document, dict):
        return document
    return {
        ast.literal_eval(key) if key[:1] in "(-0123456789" and key else key: _tuple_keys(value)
        for key, value in document.items()
    }


def _products(mother: int, key: Any) -> tuple[int, ...]:
    """Decay products of a key, with the second quark that protomodels leaves out."""
    products = tuple(int(pid) for pid in key)
    if mother == GLUINO and len(products) == 2 and abs(products[1]) <= 6:
        quark = abs(products[1])
        if abs(products[0]) in NEUTRALINOS:
            return (products[0], quark, quark)
        if abs(products[0]) in CHARGINOS:
            return (products[0], *_DOUBLETS[quark])
    return products


def _written_key(mother: int, daughter: int, sm: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of `_products` for a channel of the pool."""
    if mother == GLUINO and len(sm) == 2:
        return (daughter, sm[0])
    return (daughter, *sm)


def _cross_sections(
    table: dict[Any, float],
) -> dict[tuple[tuple[int, int], float], float]:
    """Femtobarns by signed pair and energy, from keys ((pid, pid), TeV)."""
    found: dict[tuple[tuple[int, int], float], float] = {}
    for (pair, energy), value in table.items():
        first, second = pair
        found[(int(first), int(second)), float(energy)] = float(value)
    return found
