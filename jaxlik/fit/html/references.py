"""Publications behind the numbers: DOI and arXiv of every analysis that a report names."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxlik.fit.html.elements import Html, element, join, link
from jaxlik.fit.html.numbers import significant
from jaxlik.fit.html.tables import Cell, numbers, table, words

FIELDS = ("experiment", "sqrts", "luminosity", "title", "arxiv", "doi")

References = Mapping[str, Mapping[str, Any]]
"""Entries with `FIELDS` by identifier of the analysis."""


def reference_entries(
    provenance: Mapping[str, Any], names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Publications of some analyses.

    Args:
        provenance: All results of a database by folder (`jaxlik.database.records.Provenance`).
        names: Identifiers of analyses.
    """
    wanted = set(names)
    found: dict[str, dict[str, Any]] = {}
    for source in provenance.values():
        if source.analysis in wanted:
            entry = {field: getattr(source, field) for field in FIELDS}
            known = found.setdefault(source.analysis, entry)
            # One analysis may have several results, of which one names the publication.
            known.update({key: value for key, value in entry.items() if value and not known[key]})
    return dict(sorted(found.items()))


def named_analyses(models: Iterable[Mapping[str, Any]]) -> set[str]:
    """Analyses that the documents of models name."""
    names: set[str] = set()
    for model in models:
        names |= {row["analysis"] for row in model.get("combination", ())}
        names |= {row["analysis"] for row in model.get("r_values", ())}
        names |= set((model.get("critic") or {}).get("analyses", ()))
    return names


def embedded_references() -> dict[str, dict[str, Any]]:
    """Publications of the embedded database, for documents that do not bring their own."""
    from jaxlik.database.compile import load_database

    snapshot = load_database("embedded", quiet=True)
    provenance = {result.provenance.folder: result.provenance for result in snapshot.results}
    return reference_entries(provenance, {one.analysis for one in provenance.values()})


def doi_address(text: str | None) -> str | None:
    """Address of a DOI, whichever way it is written."""
    if not text:
        return None
    for start in ("https://doi.org/", "http://doi.org/", "https://dx.doi.org/",
                  "http://dx.doi.org/", "doi:"):  # fmt: skip
        text = text.removeprefix(start)
    return f"https://doi.org/{text}" if text.startswith("10.") else None


def arxiv_address(text: str | None) -> str | None:
    """Address of an article on arXiv, whichever way it is written."""
    if not text:
        return None
    for start in ("https://", "http://", "www.", "arxiv.org/abs/", "arxiv.org/pdf/", "arXiv:"):
        text = text.removeprefix(start)
    known = text[:1].isdigit() or text.startswith(("hep-", "astro-"))
    return f"https://arxiv.org/abs/{text}" if known else None


def analysis_link(name: str, references: References) -> Html:
    """Identifier of an analysis, a link to its publication where that is known."""
    entry = references.get(name, {})
    address = doi_address(entry.get("doi")) or arxiv_address(entry.get("arxiv"))
    shown = element("span", name, class_="id")
    return link(address, shown) if address else shown


def analysis_cell(name: str, references: References) -> Cell:
    """The same for a table."""
    return Cell(analysis_link(name, references), name)


def publications(names: Iterable[str], references: References) -> Html:
    """Table of what to cite."""
    rows = []
    for name in sorted(set(names)):
        entry = references.get(name, {})
        doi, arxiv = doi_address(entry.get("doi")), arxiv_address(entry.get("arxiv"))
        links = [
            link(address, address.removeprefix(start))
            for address, start in ((doi, "https://doi.org/"), (arxiv, "https://"))
            if address
        ]
        rows.append(
            [
                analysis_cell(name, references),
                entry.get("title") or "",
                Cell(significant(entry.get("sqrts")), entry.get("sqrts")),
                Cell(significant(entry.get("luminosity")), entry.get("luminosity")),
                join(links, ", ") if links else "no publication in the database",
            ]
        )
    header = [
        words("analysis"),
        words("reference"),
        numbers("√s [TeV]"),
        numbers("L [fb⁻¹]"),
        words("publication"),
    ]
    return table("Publications of the analyses", header, rows)
