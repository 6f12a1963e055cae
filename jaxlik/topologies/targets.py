"""Maps of a snapshot by the topologies they see.

A target is a set of maps of one result and topology that share grid, axes and constraint: an
analysis publishes the same plane for all its regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxlik.database.records import MapHeader, Result, place_key
from jaxlik.database.regions import coefficient_of
from jaxlik.topologies.published import PublishedNode, published_topologies

INNER, OUTER = 0.000769, 7.0
"""Effective size [m] of the parts of a detector where decays are prompt, and where a particle
leaves it; boost included (arXiv:1811.10624, section 3)."""


@dataclass(frozen=True)
class Target:
    """Maps that are evaluated at the same place.

    Attributes:
        folder: Result.
        txname: Name of the topology in the database.
        quantity: ``efficiency`` or ``upper_limit``.
        grid: Grid of the maps.
        coordinates: (node number, ``mass`` or ``totalwidth``) of each axis.
        factor: Of the constraint.
        energy: 0 for 8 TeV, 1 for 13 TeV.
        inner: Size of the part of the detector where decays are prompt [m].
        outer: Size of the detector [m].
        maps: Indices of the maps; of upper limits the observed one, then the expected one.
        topologies: Numbers of the topologies of its constraint.
    """

    folder: str
    txname: str
    quantity: str
    grid: int
    coordinates: tuple[tuple[int, str], ...]
    factor: float
    energy: int
    inner: float
    outer: float
    maps: tuple[int, ...]
    topologies: tuple[int, ...]

    @property
    def is_limit(self) -> bool:
        """Whether the maps hold upper limits."""
        return self.quantity == "upper_limit"


@dataclass(frozen=True)
class TargetTable:
    """All targets of a snapshot.

    Attributes:
        targets: In the order of their first map.
        published: Distinct topologies.
        users: Targets of each topology.
    """

    targets: tuple[Target, ...]
    published: tuple[PublishedNode, ...]
    users: tuple[tuple[int, ...], ...]


def build_targets(
    maps: Sequence[MapHeader], results: Sequence[Result], energies: tuple[float, ...] = (8.0, 13.0)
) -> TargetTable:
    """Group the maps of a snapshot by what they see.

    Raises:
        DatabaseError: a constraint does not parse, or names unknown particles.
    """
    by_folder = {result.provenance.folder: result for result in results}
    groups: dict[tuple, list[int]] = {}
    expected: dict[tuple[str, str], int] = {}
    for index, header in enumerate(maps):
        if header.quantity == "upper_limit_expected":
            expected[header.folder, header.txname] = index
            continue
        groups.setdefault(place_key(header), []).append(index)
    numbers: dict[PublishedNode, int] = {}
    targets: list[Target] = []
    users: list[list[int]] = []
    for members in groups.values():
        header = maps[members[0]]
        result = by_folder[header.folder]
        found = []
        nodes = published_topologies(
            header.constraint, header.final_state, header.intermediate_state
        )
        for node in nodes:
            number = numbers.setdefault(node, len(numbers))
            if number == len(users):
                users.append([])
            if len(targets) not in users[number]:
                users[number].append(len(targets))
            found.append(number)
        beside = expected.get((header.folder, header.txname))
        limit = header.quantity == "upper_limit"
        targets.append(
            Target(
                folder=header.folder,
                txname=header.txname,
                quantity=header.quantity,
                grid=header.grid,
                coordinates=header.coordinates,
                factor=coefficient_of(header.constraint),
                energy=energies.index(result.provenance.sqrts),
                inner=float(result.tags.get("Leff_inner", INNER)),
                outer=float(result.tags.get("Leff_outer", OUTER)),
                maps=(*members, beside) if limit and beside is not None else tuple(members),
                topologies=tuple(found),
            )
        )
    return TargetTable(tuple(targets), tuple(numbers), tuple(tuple(u) for u in users))
