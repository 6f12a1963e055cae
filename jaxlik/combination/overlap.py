"""Which results are statistically independent enough to be multiplied.

Two results are compatible if the experiment differs, or the centre-of-mass energy
differs, or the table of published pairs says so. The table is data: a JSON file,
by default the one embedded in the package.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeGuard

import equinox as eqx
import numpy as np

from jaxlik.errors import DatabaseError
from jaxlik.typing import Bool

EMBEDDED_SCHEMA = "jaxlik/combinability/1"

SOURCES = (
    "W. Waltenberger, A. Lessa, S. Kraml, JHEP 03 (2021) 207, arXiv:2012.12246",
    "M. M. Altakach et al., arXiv:2312.16635; Zenodo record 10471553",
    "SModelS/protomodels, analysis combinations, symmetric closure, wildcards resolved",
)
"""Where the embedded pairs come from (arXiv:2012.12246, arXiv:2312.16635)."""

_SUFFIX = re.compile(r"(-(agg|ma5|eff|adl|trim\d*))+$")

ResultKind = Literal["efficiency_map", "upper_limit"]


@dataclass(frozen=True)
class Candidate:
    """One result that may enter a combination.

    Attributes:
        analysis: Identifier or folder of the analysis, with or without a suffix
            such as ``-eff``.
        experiment: ``ATLAS`` or ``CMS``.
        sqrts: Centre-of-mass energy [TeV].
        kind: What the result was made from; no influence on compatibility.
    """

    analysis: str
    experiment: str
    sqrts: float
    kind: ResultKind = "efficiency_map"


@dataclass(frozen=True)
class Combinability:
    """Pairs of analyses of one experiment and energy that are taken as uncorrelated.

    Attributes:
        partners: Base identifier of an analysis to those of its partners; symmetric.
        sources: Where the pairs come from.
    """

    partners: Mapping[str, frozenset[str]]
    sources: tuple[str, ...] = ()


class Overlap(eqx.Module):
    """Pairwise compatibility of results: symmetric, false on the diagonal."""

    compatible: Bool[np.ndarray, "candidate candidate"]
    analysis_ids: tuple[str, ...] = eqx.field(static=True)


def base_id(analysis: str) -> str:
    """Identifier without the suffixes that name an implementation of the same analysis.

    Stripped: ``-agg``, ``-ma5``, ``-eff``, ``-adl``, ``-trim``, also in sequence. Kept:
    ``-ewk``, ``-strong``, ``-hino``, ``-multibin``, which name selections that the
    table lists under their own key.

    Examples:
        >>> base_id("CMS-SUS-19-006-agg"), base_id("ATLAS-SUSY-2018-05-ewk-eff")
        ('CMS-SUS-19-006', 'ATLAS-SUSY-2018-05-ewk')
    """
    return _SUFFIX.sub("", analysis)


def combinable(first: Candidate, second: Candidate, table: Combinability) -> bool:
    """Whether two results may enter the same combination.

    An analysis is never combined with itself, whatever its suffixes and data types;
    one that the table does not know combines with nothing of its experiment and energy.
    """
    if first.experiment != second.experiment or first.sqrts != second.sqrts:
        return True
    return base_id(second.analysis) in table.partners.get(base_id(first.analysis), ())


def overlap_of(candidates: Sequence[Candidate], table: Combinability | None = None) -> Overlap:
    """Compatibility of every pair of candidates; the embedded table by default.

    Raises:
        DatabaseError: If an analysis carries two experiments or energies that differ.

    Examples:
        >>> names = ["ATLAS-SUSY-2016-07-eff", "CMS-SUS-19-006", "CMS-SUS-19-006-agg"]
        >>> found = overlap_of([Candidate(name, name.split("-")[0], 13.0) for name in names])
        >>> found.compatible.astype(int)
        array([[0, 1, 1],
               [1, 0, 0],
               [1, 0, 0]])
    """
    table = read_combinability() if table is None else table
    _check_candidates(candidates)
    compatible = np.zeros((len(candidates), len(candidates)), dtype=bool)
    for i, first in enumerate(candidates):
        for j in range(i):
            compatible[i, j] = compatible[j, i] = combinable(first, candidates[j], table)
    return Overlap(compatible, tuple(candidate.analysis for candidate in candidates))


def unknown_analyses(
    candidates: Iterable[Candidate], table: Combinability | None = None
) -> tuple[str, ...]:
    """Base identifiers that the table lacks, sorted; they combine with little."""
    table = read_combinability() if table is None else table
    return tuple(sorted({base_id(c.analysis) for c in candidates} - set(table.partners)))


def twin_classes(compatible: Bool[np.ndarray, "n n"]) -> tuple[tuple[int, ...], ...]:
    """Groups of results with equal compatibility, in order of their first member.

    Twins exclude each other and every clique may swap one for another, so that a class
    is one vertex with the largest weight of its members: exact at fixed weights, also
    under the maximality rule.
    """
    classes: dict[bytes, list[int]] = {}
    for vertex, row in enumerate(compatible):
        classes.setdefault(row.tobytes(), []).append(vertex)
    return tuple(map(tuple, classes.values()))


def conflict_components(compatible: Bool[np.ndarray, "n n"]) -> tuple[tuple[int, ...], ...]:
    """Connected components of the conflict graph, largest first.

    Members of different components are all compatible, so that every maximal clique is
    a union of one maximal clique per component.
    """
    left = set(range(len(compatible)))
    components = []
    while left:
        frontier = [left.pop()]
        component = list(frontier)
        while frontier:
            vertex = frontier.pop()
            reached = [other for other in left if not compatible[vertex, other]]
            left.difference_update(reached)
            frontier += reached
            component += reached
        components.append(tuple(sorted(component)))
    return tuple(sorted(components, key=lambda members: (-len(members), members)))


def read_combinability(path: str | Path | None = None) -> Combinability:
    """Read a table of compatible pairs; without a path the one embedded in the package.

    Args:
        path: JSON file, either ``{analysis: [analyses]}`` or what `embed_combinability`
            writes. Pairs given in one direction only count in both; suffixes are stripped.

    Raises:
        DatabaseError: If the file is missing or malformed; names file and field.
    """
    if path is None:
        return _embedded_table()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError(
            f"{path}: cannot be read as text ({error}); give a JSON file of the form "
            "{analysis: [compatible analyses]}."
        ) from error
    return _parse(text, str(path))


@cache
def _embedded_table() -> Combinability:
    source = resources.files("jaxlik") / "data" / "combinability.json"
    return _parse(source.read_text(encoding="utf-8"), str(source))


def embed_combinability(source_path: str | Path, target_path: str | Path) -> None:
    """Write a table in compact form: identifiers once, pairs as indices above the diagonal."""
    table = read_combinability(source_path)
    names = sorted(table.partners)
    index = {name: number for number, name in enumerate(names)}
    rows = [
        sorted(index[other] for other in table.partners[name] if index[other] > index[name])
        for name in names
    ]
    document = {
        "schema": EMBEDDED_SCHEMA,
        "sources": list(table.sources or SOURCES),
        "analyses": names,
        "compatible_above": rows,
    }
    lines = [f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in document.items()]
    Path(target_path).write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def _parse(text: str, source: str) -> Combinability:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DatabaseError(f"{source}: not JSON ({error}); restore the file.") from error
    if not isinstance(document, dict):
        raise DatabaseError(
            f"{source}: holds a {type(document).__name__}, wanted an object "
            "{analysis: [compatible analyses]}."
        )
    if "schema" not in document:
        return Combinability(_symmetric(document, source))
    if document["schema"] != EMBEDDED_SCHEMA:
        raise DatabaseError(
            f"{source}: field 'schema' is {document['schema']!r}, wanted {EMBEDDED_SCHEMA!r}; "
            "write the file again with `embed_combinability`."
        )
    return _parse_embedded(document, source)


def _parse_embedded(document: dict[str, Any], source: str) -> Combinability:
    names, rows = document.get("analyses"), document.get("compatible_above")
    if not _are_texts(names):
        raise DatabaseError(f"{source}: field 'analyses' must be a list of identifiers.")
    if not isinstance(rows, list) or len(rows) != len(names):
        raise DatabaseError(
            f"{source}: field 'compatible_above' must hold {len(names)} rows, one per analysis; "
            "write the file again with `embed_combinability`."
        )
    lists = {}
    for name, row in zip(names, rows, strict=True):
        if not isinstance(row, list) or not all(
            type(i) is int and 0 <= i < len(names) for i in row
        ):
            raise DatabaseError(
                f"{source}: field 'compatible_above' of {name} must list indices below "
                f"{len(names)}, found {str(row)[:80]}."
            )
        lists[name] = [names[i] for i in row]
    sources = document.get("sources")
    return Combinability(_symmetric(lists, source), tuple(sources) if _are_texts(sources) else ())


def _symmetric(lists: dict[str, Any], source: str) -> dict[str, frozenset[str]]:
    """Symmetric closure over base identifiers."""
    partners: dict[str, set[str]] = {}
    for name, others in lists.items():
        if not _are_texts(others):
            raise DatabaseError(
                f"{source}: field {name!r} must be a list of analysis identifiers, "
                f"found {str(others)[:80]}."
            )
        key = base_id(name)
        partners.setdefault(key, set())
        for other in map(base_id, others):
            if other == key:
                raise DatabaseError(
                    f"{source}: field {name!r} lists the analysis as compatible with itself; "
                    "remove the entry."
                )
            partners[key].add(other)
            partners.setdefault(other, set()).add(key)
    return {name: frozenset(others) for name, others in partners.items()}


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check_candidates(candidates: Sequence[Candidate]) -> None:
    blocks: dict[str, tuple[str, float]] = {}
    for candidate in candidates:
        block = (candidate.experiment, candidate.sqrts)
        known = blocks.setdefault(base_id(candidate.analysis), block)
        if known != block:
            raise DatabaseError(
                f"{candidate.analysis}: experiment and energy are {block} in one candidate and "
                f"{known} in another of the same analysis; wanted one value, correct the records."
            )
