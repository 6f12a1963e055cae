"""What a model file gives, and the translations that all file formats share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import ENERGIES
from jaxlik.physics.model import ModelPoint, ModelSpace, fill_masses, production_key, validate
from jaxlik.physics.particles import DECOUPLED_MASS, particle

LIGHT_QUARKS = (1, 2, 3, 4)
NEUTRINOS = (12, 14, 16)

NORMALISATION = 0.01
"""Largest distance from one of a sum of branching ratios that rounding may explain."""


@dataclass(frozen=True)
class ReadModel:
    """A model as its file gives it.

    Attributes:
        point: The model; its signal strengths are 1 where the file has none.
        cross_sections: fb, shape (production, energy) for 8 and 13 TeV, signal
            strengths included; `None` if the file gives none. NaN marks a mode at an
            energy that the file does not mention.
        other_cross_sections: fb by signed pair and energy in TeV: modes that the
            space lacks or other energies.
        widths: GeV by PDG number; empty if the file gives none.
        order: Perturbative order of the cross sections: LO, NLO or NLL, or empty.
        dropped: What a lenient reading left out, in words.
        meta: Remaining entries of the file.
    """

    point: ModelPoint
    cross_sections: np.ndarray | None = None
    other_cross_sections: dict[tuple[tuple[int, int], float], float] = field(default_factory=dict)
    widths: dict[int, float] = field(default_factory=dict)
    order: str = ""
    dropped: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def pool_channel(
    space: ModelSpace, mother: int, daughter: int, standard_model: tuple[int, ...]
) -> int | None:
    """Position of the channel that stands for a decay, `None` without one.

    Signs are ignored. Where the pool has one channel for several flavours, each of
    them counts: light quark pairs, and neutrino pairs. A channel of charm is used
    for charm where the pool has one.
    """
    sm = tuple(sorted(abs(pid) for pid in standard_model))
    candidates = [sm]
    if len(sm) == 2 and sm[0] == sm[1]:
        if sm[0] in LIGHT_QUARKS:
            candidates += [(1, 1), (2, 2)]
        elif sm[0] in NEUTRINOS:
            candidates.append((12, 12))
    elif sm == (3, 4):
        candidates.append((1, 2))
    for candidate in candidates:
        key = (abs(mother), abs(daughter), candidate)
        if key in space.channels:
            return space.channels.index(key)
    return None


class PointBuilder:
    """Collects masses, decays and signal strengths of one file and checks them.

    With `strict` false, what the space lacks is left out and listed; the remaining
    branching ratios then sum to less than one, which keeps the rates right.
    """

    def __init__(self, space: ModelSpace, origin: str, *, strict: bool):
        self.space, self.origin, self.strict = space, origin, strict
        self.masses = np.zeros(space.num_particles)
        self.active = np.zeros(space.num_particles, dtype=bool)
        self.fractions = np.zeros(space.num_channels)
        self.strengths = np.ones(space.num_productions)
        self.lost = np.zeros(space.num_particles)
        self.dropped: list[str] = []
        self.outside: list[tuple[int, float]] = []

    def reject(self, what: str, remedy: str) -> None:
        """Raise, or note down, something that the model space cannot hold."""
        if self.strict:
            raise ModelPointError(f"{self.origin}: {what}; {remedy}")
        self.dropped.append(what)

    def set_mass(self, pid: int, mass: float) -> None:
        """Enter the mass of a BSM particle; decoupled ones stay absent."""
        if abs(mass) >= DECOUPLED_MASS:
            return
        if pid not in self.space.pdg_ids:
            self.outside.append((pid, abs(mass)))
            return
        position = self.space.pdg_ids.index(pid)
        self.masses[position], self.active[position] = abs(mass), True

    def check_particles(self) -> None:
        """Reject all light particles that the space lacks at once; call after the masses."""
        if self.outside:
            names = ", ".join(f"{pid} at {mass:g} GeV" for pid, mass in self.outside)
            self.reject(
                f"the masses name particles outside the pool: {names}",
                f"decouple them (mass above {DECOUPLED_MASS:g} GeV) or read with strict=False; "
                f"the pool has {self.space.pdg_ids}",
            )

    def add_decay(self, mother: int, products: tuple[int, ...], fraction: float) -> None:
        """Enter one decay of an existing particle; products in any order."""
        if fraction == 0:
            return
        position = self.space.particle_index(mother)
        bsm = [pid for pid in products if abs(pid) > 100000 and abs(pid) in self.space.pdg_ids]
        rest = tuple(pid for pid in products if pid not in bsm)
        number = pool_channel(self.space, mother, bsm[0], rest) if len(bsm) == 1 else None
        if number is None:
            self.lost[position] += fraction
            self.reject(
                f"DECAY {mother} ({particle(mother).name}) has the channel {products} with "
                f"branching ratio {fraction:g}, which is not in the pool",
                "see `ModelSpace.channels`, or read with strict=False",
            )
            return
        if not self.active[self.space.pdg_ids.index(abs(bsm[0]))]:
            self.lost[position] += fraction
            self.reject(
                f"DECAY {mother} leads to particle {bsm[0]}, which has no mass below "
                f"{DECOUPLED_MASS:g} GeV",
                "give its mass or remove the channel",
            )
            return
        self.fractions[number] += fraction

    def build(self) -> ModelPoint:
        """The model point, branching ratios rescaled where rounding explains it.

        Raises:
            ModelPointError: the numbers contradict each other.
        """
        parent = np.asarray(self.space.channel_parent)
        totals = np.bincount(parent, weights=self.fractions, minlength=len(self.active))
        totals += self.lost
        rounded = (totals > 0) & (np.abs(totals - 1) < NORMALISATION)
        scale = np.where(rounded, 1 / np.where(rounded, totals, 1.0), 1.0)
        fractions = self.fractions * scale[parent]
        complete = fractions + 0.0
        masses = fill_masses(self.space, self.masses, self.active)
        point = ModelPoint(masses, self.active, fractions, self.strengths)
        # Leniently dropped channels are put back for the check of the sums.
        for position in np.flatnonzero(self.lost > 0):
            first = int(np.flatnonzero(parent == position)[0])
            complete[first] += self.lost[position] * scale[position]
        checked = ModelPoint(masses, self.active, complete, self.strengths)
        try:
            validate(self.space, checked, allow_stable=True)
        except ModelPointError as error:
            raise ModelPointError(f"{self.origin}: {error}") from None
        return point


def arrange_cross_sections(
    space: ModelSpace, table: dict[tuple[tuple[int, int], float], float]
) -> tuple[np.ndarray | None, dict[tuple[tuple[int, int], float], float]]:
    """Cross sections on the axes production and energy, and those that do not fit.

    Args:
        space: Layout of the production axis.
        table: fb by signed pair and energy in TeV.
    """
    if not table:
        return None, {}
    values = np.full((space.num_productions, len(ENERGIES)), np.nan)
    others: dict[tuple[tuple[int, int], float], float] = {}
    for ((first, second), energy), value in table.items():
        pair = production_key(first, second)
        column = next((i for i, e in enumerate(ENERGIES) if abs(energy - e) < 0.01), None)
        if pair in space.productions and column is not None:
            values[space.productions.index(pair), column] = value
        else:
            others[pair, round(energy, 3)] = value
    return values, others
