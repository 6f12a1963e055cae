"""Names on the axes of an engine, for tables, figures and documents (host side)."""

from dataclasses import dataclass

from jaxlik.combination.overlap import Overlap
from jaxlik.database.records import Provenance
from jaxlik.yields.build import LimitKey


@dataclass(frozen=True)
class Labels:
    """What the numbers of an `Evaluation` belong to.

    Attributes:
        results: Efficiency-map results, the first candidates of a combination.
        regions: (folder, region) of every signal region.
        limits: Result and topology of every upper-limit map.
        limit_results: Upper-limit results among the candidates.
        provenance: All results by folder.
        overlap: Which candidates may be multiplied.
    """

    results: tuple[Provenance, ...]
    regions: tuple[tuple[str, str], ...]
    limits: tuple[LimitKey, ...]
    limit_results: tuple[Provenance, ...]
    provenance: dict[str, Provenance]
    overlap: Overlap

    @property
    def candidates(self) -> tuple[Provenance, ...]:
        """Results that may enter a combination, in the order of its axis."""
        return self.results + self.limit_results
