"""The page of a snapshot, `jaxlik/snapshot/1`: what a database holds."""

from collections.abc import Mapping
from typing import Any

from jaxlik.fit.html.elements import Html, facts, tiles
from jaxlik.fit.html.numbers import significant
from jaxlik.fit.html.page import guarded, page
from jaxlik.fit.html.references import publications
from jaxlik.fit.html.tables import Cell, numbers, table, words

COUNTS = ("analyses", "results", "regions", "maps", "covariances", "workspaces")
KINDS = {"efficiency_map": "efficiency maps", "upper_limit": "upper limits"}


def snapshot_page(document: Mapping[str, Any]) -> str:
    """The page of a snapshot.

    Args:
        document: From the command `snapshot`.
    """
    head: list[Html | None] = [
        tiles(
            [
                (name, str(document[f"num_{name}"]), "")
                for name in ("analyses", "results", "regions", "maps")
            ]
        ),
        facts(
            [
                ("version", document["version"]),
                ("SHA-256", f"{document['sha256'][:16]}…"),
                ("compiled by jaxlik", document["jaxlik_version"]),
                ("arrays compared with their digests", "yes" if document["verified"] else "no"),
                ("place", document["path"]),
            ]
        ),
    ]
    known: dict[str, dict[str, Any]] = {}
    for entry in document["analyses"]:
        known.setdefault(entry["id"], {}).update(
            {key: value for key, value in entry.items() if value}
        )
    sections = [
        guarded("groups", "Content", lambda: _groups(document)),
        guarded("analyses", "Analyses", lambda: [publications(known, known)]),
    ]
    title = f"Database {document['version']}"
    return page(title, "jaxlik: snapshot", head, sections)


def _groups(document: Mapping[str, Any]) -> list[Html | None]:
    rows = [
        [
            group["experiment"],
            significant(group["sqrts"]),
            KINDS.get(group["kind"], group["kind"]),
            *(Cell(str(group[name]), group[name]) for name in COUNTS),
        ]
        for group in document["groups"]
    ]
    header = [words("experiment"), numbers("√s [TeV]"), words("kind"), *map(numbers, COUNTS)]
    return [table("Content of the database", header, rows)]
