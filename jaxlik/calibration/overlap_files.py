"""Overlaps as files, and as what combinations are chosen from."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

from jaxlik.calibration.overlaps import Method, OverlapEstimate
from jaxlik.combination.overlap import Combinability, Overlap, base_id
from jaxlik.errors import DatabaseError

SCHEMA = "jaxlik/overlaps/1"

MATRICES = ("correlation", "error", "lower", "upper")

SCALARS: dict[str, tuple[type, ...]] = {
    "num_events": (int,),
    "threshold": (float, int),
    "confidence": (float, int),
    "method": (str,),
    "num_replicas": (int,),
    "seed": (int,),
}


def region_overlap(estimate: OverlapEstimate) -> Overlap:
    """Combinable pairs of regions, for `best_combination`; also within one analysis."""
    return Overlap(estimate.combinable, estimate.names)


def combinability_of(
    estimate: OverlapEstimate, published: Combinability | None = None
) -> Combinability:
    """Combinable pairs of analyses, for `overlap_of`: those all of whose regions combine.

    Args:
        estimate: Between regions; names before the colon are analyses, their suffixes
            stripped as in every table of pairs.
        published: What is known of pairs that the estimate does not contain.
    """
    analyses = [base_id(name.partition(":")[0]) for name in estimate.names]
    measured = sorted(set(analyses))
    member = np.array([[one == name for one in analyses] for name in measured], dtype=int)
    compatible = member @ ~estimate.combinable @ member.T == 0
    partners = {
        name: {other for other, fits in zip(measured, row, strict=True) if fits}
        for name, row in zip(measured, compatible, strict=True)
    }
    sources = (
        f"overlaps of {estimate.num_events} events: correlations below {estimate.threshold:g} at "
        f"{100 * estimate.confidence:g} % confidence",
    )
    if published is not None:
        sources += published.sources
        for name, others in published.partners.items():
            known = others - set(measured) if name in partners else others
            partners.setdefault(name, set()).update(known)
    return Combinability({name: frozenset(others) for name, others in partners.items()}, sources)


def write_combinability(table: Combinability, path: str | Path) -> None:
    """Write pairs of analyses as `read_combinability` and `embed_combinability` read them."""
    lists = {name: sorted(others) for name, others in sorted(table.partners.items())}
    Path(path).write_text(json.dumps(lists, indent=1) + "\n", encoding="utf-8")


def write_overlaps(estimate: OverlapEstimate, path: str | Path) -> None:
    """Write an estimate as JSON; correlations of regions without events are null."""
    document: dict[str, Any] = {"schema": SCHEMA, "names": list(estimate.names)}
    document |= {name: getattr(estimate, name) for name in SCALARS}
    document["region_events"] = estimate.region_events.tolist()
    for name in MATRICES:
        rows = getattr(estimate, name).tolist()
        document[name] = [[None if np.isnan(one) else one for one in row] for row in rows]
    document["combinable"] = estimate.combinable.astype(int).tolist()
    # One row of a matrix per line: readable, and small differences stay small.
    lines = ",\n".join(f"{json.dumps(key)}: {_text(value)}" for key, value in document.items())
    Path(path).write_text("{" + lines + "}\n", encoding="utf-8")


def read_overlaps(path: str | Path) -> OverlapEstimate:
    """Read what `write_overlaps` wrote.

    Raises:
        DatabaseError: If the file is missing, damaged or of another kind, or contradicts
            itself; names file and field.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatabaseError(
            f"{path}: cannot be read as JSON ({error}); write it again with `write_overlaps`."
        ) from error
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != SCHEMA:
        raise DatabaseError(
            f"{path}: schema is {found!r}, wanted {SCHEMA!r}; give a file of `write_overlaps`."
        )
    names = document.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _damaged(path, "names", "a list of regions")
    scalars: dict[str, Any] = {name: document.get(name) for name in SCALARS}
    for name, value in scalars.items():
        if not isinstance(value, SCALARS[name]) or isinstance(value, bool):
            raise _damaged(path, name, f"of type {SCALARS[name][0].__name__}")
    size = len(names)
    arrays: dict[str, Any] = {
        name: _array(path, document, name, (size, size) if name in MATRICES else (size,))
        for name in (*MATRICES, "region_events")
    }
    estimate = OverlapEstimate(names=tuple(names), **arrays, **scalars)
    _check_consistent(path, estimate, document)
    return estimate


def _check_consistent(path: str | Path, estimate: OverlapEstimate, document: dict) -> None:
    if len(set(estimate.names)) != len(estimate.names):
        raise _damaged(path, "names", "a list of different regions")
    for name in MATRICES:
        matrix = getattr(estimate, name)
        if not np.array_equal(matrix, matrix.T, equal_nan=True):
            raise _damaged(path, name, "a symmetric matrix")
    if not np.all((estimate.lower >= 0) & (estimate.lower <= estimate.upper)):
        raise _damaged(path, "lower", "at least 0 and at most 'upper' everywhere")
    if estimate.method not in get_args(Method):
        raise _damaged(path, "method", f"one of {get_args(Method)}")
    if document.get("combinable") != estimate.combinable.astype(int).tolist():
        raise _damaged(path, "combinable", "1 where 'upper' is below 'threshold' and 0 elsewhere")


def _array(
    path: str | Path, document: dict[str, Any], name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Numbers of a field, null as nan."""
    try:
        array = np.array(document.get(name), dtype=float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    may_miss = name in ("correlation", "error")
    if array.shape != shape or np.isinf(array).any() or (np.isnan(array).any() and not may_miss):
        raise _damaged(path, name, f"numbers of shape {shape}")
    return array


def _damaged(path: str | Path, field: str, wanted: str) -> DatabaseError:
    return DatabaseError(
        f"{path}: field {field!r} is missing or not what it should be, wanted {wanted}; write the "
        "file again with `write_overlaps`."
    )


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[" + ",\n ".join(json.dumps(row) for row in value) + "]"
    return json.dumps(value)
