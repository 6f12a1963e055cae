"""Two models in one: the particles of both above one LBP, names in order of mass."""

from collections.abc import Mapping
from typing import Any

from jaxlik.errors import ModelPointError
from jaxlik.physics.model import ModelPoint, ModelSpace, point_from_dict
from jaxlik.physics.particles import CANONICAL_PAIRS, LBP
from jaxlik.physics.pool import ISOSPIN_PARTNER, SQUARKS

NEAR = 100.0
"""GeV; particles this close to the LBP keep their distance when it moves."""

Document = Mapping[str, Any]
"""A model as `jaxlik.physics.model.point_to_dict` writes it."""


def union(space: ModelSpace, first: Document, second: Document) -> ModelPoint | None:
    """The model with the particles, decays and productions of two.

    The LBP is that of the first; masses of the second follow it where they lie close to
    their own. Interchangeable particles are renamed in order of mass, squarks to the next
    free flavour. Productions of a particle of one with a particle of the other are off.

    Args:
        space: Layout of the models.
        first: A model.
        second: Another model.

    Returns:
        The union, or `None` where names or channels do not suffice.
    """
    second = _above(first["masses"][LBP], second)
    names = _names(first, second)
    if names is None:
        return None
    parts = [
        _renamed(document, table) for document, table in zip((first, second), names, strict=True)
    ]
    strengths = dict.fromkeys(space.productions, 0.0)
    for part in parts:
        strengths |= part["signal_strengths"]
    document = {
        "masses": parts[1]["masses"] | parts[0]["masses"],
        "branching_ratios": parts[0]["branching_ratios"] | parts[1]["branching_ratios"],
        "signal_strengths": strengths,
    }
    try:
        return point_from_dict(space, document)
    except ModelPointError:
        return None


def _above(lbp: float, document: Document) -> Document:
    """The model with another mass of its LBP [GeV]."""
    old = document["masses"][LBP]

    def moved(mass: float) -> float:
        return mass if min(mass - old, mass - lbp) >= NEAR else lbp + (mass - old)

    return {**document, "masses": {pid: moved(m) for pid, m in document["masses"].items()}}


def _names(first: Document, second: Document) -> tuple[dict[int, int], dict[int, int]] | None:
    """New names of the particles of both models."""
    tables: tuple[dict[int, int], dict[int, int]] = ({LBP: LBP}, {LBP: LBP})
    groups = [*CANONICAL_PAIRS, SQUARKS]
    alone = {*first["masses"], *second["masses"]}
    for group in groups:
        members = [
            (document["masses"][pid], side, pid)
            for side, document in enumerate((first, second))
            for pid in group
            if pid in document["masses"]
        ]
        if len(members) > len(group):
            return None
        alone -= set(group)
        if group is SQUARKS:
            ordered = _flavours([pid for _, _, pid in members])
        else:
            members, ordered = sorted(members), list(group)
        for (_, side, pid), name in zip(members, ordered, strict=False):
            tables[side][pid] = name
    for pid in alone - {LBP}:
        if pid in first["masses"] and pid in second["masses"]:
            return None
        for table in tables:
            table[pid] = pid
    return tables


def _flavours(squarks: list[int]) -> list[int]:
    """New flavours of squarks: their own, or the next that is free."""
    taken: list[int] = []
    for pid in squarks:
        taken.append(pid if pid not in taken else next(p for p in SQUARKS if p not in taken))
    return taken


def _renamed(document: Document, names: Mapping[int, int]) -> dict[str, Any]:
    """The model with other names; quarks follow the flavour of their squark."""

    def signed(pid: int) -> int:
        return names[pid] if pid > 0 else -names[-pid]

    decays: dict[int, dict[tuple[int, ...], float]] = {}
    for mother, table in document["branching_ratios"].items():
        flavour: dict[int, int] = {}
        if mother in SQUARKS:
            old, new = mother - 1000000, names[mother] - 1000000
            flavour = {old: new, ISOSPIN_PARTNER[old]: ISOSPIN_PARTNER[new]}
        for (daughter, *sm), value in table.items():
            if daughter in SQUARKS:
                flavour = {daughter - 1000000: names[daughter] - 1000000}
            final = [flavour.get(f) or f for f in sm]
            decays.setdefault(names[mother], {})[(names[daughter], *sorted(final))] = value
    return {
        "masses": {names[pid]: mass for pid, mass in document["masses"].items()},
        "branching_ratios": decays,
        "signal_strengths": {
            tuple(sorted((signed(a), signed(b)))): value
            for (a, b), value in document["signal_strengths"].items()
            if value > 0
        },
    }
