"""HS3, the HEP Statistics Serialization Standard, for HistFactory models.

The standard leaves room, and programs differ: ROOT writes the `vals` of a shapesys relative to
the events, pyhs3 takes them as events; without a stated type a staterror is Poisson in ROOT and
Gauss in pyhs3; `constraint` is a type or the name of a distribution; templates of a histosys are
the shifted events in both. Both spellings are read. What a document leaves open, and what a pyhf
workspace cannot hold, is refused with its place and the remedy.

References:
    https://github.com/hep-statistics-serialization-standard; the HistFactory import and export
    of ROOT (``JSONFactories_HistFactory``); pyhs3 0.4.2.
"""

from typing import Any

from jaxlik.database.hs3_read import from_hs3
from jaxlik.database.hs3_write import to_hs3

__all__ = ["from_hs3", "is_hs3", "to_hs3"]


def is_hs3(document: Any) -> bool:
    """Whether a JSON document is HS3 and no pyhf workspace."""
    return isinstance(document, dict) and "distributions" in document
