"""What searches can tell of a particle, and the labels of databases for it.

A *kind* is one of the Standard Model classes below, or the quantum numbers, mass and width
of a new particle; particles of one kind make equal topologies.
"""

from collections.abc import Callable
from typing import NamedTuple

STANDARD_MODEL_KINDS = (
    *("q", "c", "b", "t+", "t-", "e-", "e+", "mu-", "mu+", "ta-", "ta+", "nu"),
    *("g", "photon", "Z", "W+", "W-", "higgs", "pion"),
)
"""Light quarks and neutrinos are one kind each; charge matters for t, W and leptons."""

_SIGNED = {6: "t", 24: "W", 11: "e", 13: "mu", 15: "ta"}
_UNSIGNED = {
    **dict.fromkeys((1, 2, 3), "q"),
    **dict.fromkeys((12, 14, 16), "nu"),
    **dict.fromkeys((111, 211), "pion"),
    **{4: "c", 5: "b", 21: "g", 22: "photon", 23: "Z", 25: "higgs"},
}
_NEGATIVE = (11, 13, 15)
"""Particles whose positive PDG number has a negative charge."""

INVISIBLE_KINDS = ("nu",)

UNMATCHED = "*"
"""Label of a node that matches whole cascades."""


def standard_model_kind(pid: int) -> str:
    """Kind of a Standard Model particle."""
    size = abs(pid)
    if size in _UNSIGNED:
        return _UNSIGNED[size]
    positive = (pid > 0) != (size in _NEGATIVE)
    return _SIGNED[size] + ("+" if positive else "-")


class Look(NamedTuple):
    """What matching sees of a particle.

    Attributes:
        name: Of a Standard Model kind; empty for a new particle.
        three_charge: Of a new particle, in units of e/3.
        colour: Dimension of its SU(3) representation.
        two_spin: Twice its spin; -1 after invisible compression, which forgets it.
    """

    name: str
    three_charge: int = 0
    colour: int = 1
    two_spin: int = -1

    @property
    def is_new(self) -> bool:
        """Whether it is a particle beyond the Standard Model."""
        return not self.name


class Kind(NamedTuple):
    """A particle as far as topologies are concerned.

    Attributes:
        look: What matching sees.
        mass: GeV, rounded as SModelS does.
        width: GeV.
        escapes: Whether it is missing momentum if it does not decay.
        label: For display.
    """

    look: Look
    mass: float
    width: float
    escapes: bool
    label: str

    @property
    def identity(self) -> tuple:
        """Equal for particles that make equal topologies."""
        return (self.look, self.mass, self.width, self.escapes)


def _members(names: str) -> frozenset[str]:
    return frozenset(names.split())


STANDARD_MODEL_LABELS: dict[str, frozenset[str]] = {
    **{name: frozenset({name}) for name in STANDARD_MODEL_KINDS},
    "e": _members("e- e+"),
    "mu": _members("mu- mu+"),
    "ta": _members("ta- ta+"),
    "l+": _members("e+ mu+"),
    "l-": _members("e- mu-"),
    "l": _members("e- e+ mu- mu+"),
    "L+": _members("e+ mu+ ta+"),
    "L-": _members("e- mu- ta-"),
    "L": _members("e- e+ mu- mu+ ta- ta+"),
    "W": _members("W+ W-"),
    "t": _members("t+ t-"),
    "jet": _members("q c g pion"),
    "jetb": _members("q c g b"),
    "anySM": frozenset(STANDARD_MODEL_KINDS),
}
"""Kinds that each label of a database stands for (its file databaseParticles.py)."""


def _new(
    charges: tuple[int, ...] | None, colour: int | None, two_spin: int | None = None
) -> Callable[[Look], bool]:
    """Whether a new particle has one of the charges, a colour and a spin."""

    def allows(look: Look) -> bool:
        return (
            look.is_new
            and (charges is None or look.three_charge in charges)
            and (colour is None or look.colour == colour)
            and (two_spin is None or look.two_spin in (two_spin, -1))
        )

    return allows


NEW_LABELS: dict[str, Callable[[Look], bool]] = {
    "MET": _new((0,), 1),
    "HSCP": _new((3, -3), 1),
    "HSCP+": _new((3,), 1),
    "HSCP-": _new((-3,), 1),
    "RHadronG": _new((0,), 8),
    "RHadronU": _new((2, -2), 3),
    "RHadronD": _new((1, -1), 3),
    "RHadronQ": _new((2, -2, 1, -1), 3),
    "anyBSM": _new(None, None),
    "gluino": _new((0,), 8, 1),
    "C1+": _new((3,), 1, 1),
    "C1-": _new((-3,), 1, 1),
    "C1": _new((3, -3), 1, 1),
    "H+": _new((3,), 1, 0),
    "H-": _new((-3,), 1, 0),
    "Hpm": _new((3, -3), 1, 0),
    "Zprime": _new((0,), 1, 2),
    "Vprime": _new(None, 1, 2),
    "H0": _new((0,), 1, 0),
}
"""The same for new particles."""


def label_allows(label: str, look: Look) -> bool:
    """Whether a label of a database stands for a particle of this look."""
    if label in NEW_LABELS:
        return NEW_LABELS[label](look)
    return look.name in STANDARD_MODEL_LABELS[label]


def is_known_label(label: str) -> bool:
    """Whether a label of a database is in the tables."""
    return label in NEW_LABELS or label in STANDARD_MODEL_LABELS
