"""A spectrum: any model as its file gives it, particles outside the protomodel pool included.

Where a `ModelPoint` lives in a fixed model space, a spectrum lists what it has: masses,
widths, decays and cross sections of its own particles. Host only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import ENERGIES, reference_cross_sections
from jaxlik.physics.model import ModelSpace, protomodel_space
from jaxlik.physics.pool import GLUINO
from jaxlik.physics.quantum_numbers import QuantumNumbers

STABLE_WIDTH = 1e-25
"""GeV; a particle of smaller width does not decay (SModelS)."""

PROMPT_WIDTH = 1e-11
"""GeV; a particle of larger width decays at the place it is produced (SModelS)."""

LIGHT_PARTNERS = {2000001: 1000001, 2000002: 1000002, 2000003: 1000003, 2000004: 1000004}
"""Squarks whose reference cross section is that of their partner."""


class Decay(NamedTuple):
    """One decay channel.

    Attributes:
        mother: PDG number, positive.
        daughters: PDG numbers with signs, for the decay of the particle.
        branching_ratio: As in the file; channels need not sum to one.
    """

    mother: int
    daughters: tuple[int, ...]
    branching_ratio: float


class Production(NamedTuple):
    """One production mode.

    Attributes:
        pids: Signed PDG numbers of what is produced, sorted.
        cross_sections: fb at 8 and 13 TeV; 0 where unknown.
        largest: fb, at any energy the file names; decides what is worth following.
        reference: Whether the numbers are reference cross sections, functions of the masses.
    """

    pids: tuple[int, ...]
    cross_sections: tuple[float, float]
    largest: float
    reference: bool = False


@dataclass(frozen=True)
class Spectrum:
    """Masses, widths, decays and cross sections of the new particles of a model.

    Attributes:
        name: What messages and tables call it.
        masses: GeV by positive PDG number.
        widths: GeV; a particle without decays has none.
        decays: All channels among known particles.
        productions: All modes with a new particle.
        quantum_numbers: Of each particle in `masses`.
        notes: What a user should know about the file, in words.
    """

    name: str
    masses: dict[int, float]
    widths: dict[int, float]
    decays: tuple[Decay, ...]
    productions: tuple[Production, ...]
    quantum_numbers: dict[int, QuantumNumbers]
    notes: tuple[str, ...] = field(default=())

    def conjugate(self, pid: int) -> int:
        """PDG number of the antiparticle of a new particle."""
        return pid if self.quantum_numbers[abs(pid)].self_conjugate else -pid


@lru_cache(maxsize=1)
def _reference() -> tuple[ModelSpace, Callable, Callable]:
    """The protomodel pool, its cross sections [fb] as a function of masses [GeV], their slopes.

    Slopes are those of the logarithm, axes production, energy, particle.
    """
    space = protomodel_space()
    table = reference_cross_sections(space)

    def logarithm(masses):
        values = table(masses)
        return jnp.log(jnp.where(values > 0, values, 1.0))

    return space, eqx.filter_jit(table), eqx.filter_jit(jax.jacfwd(logarithm))


class _Stand(NamedTuple):
    """Particles of a model in the places of those of the pool."""

    masses: np.ndarray
    pid_of: dict[int, int]


def _stands(masses: dict[int, float], space: ModelSpace) -> list[_Stand]:
    """The model itself, then its right-handed light squarks in the places of left-handed ones."""
    found = []
    for partner in ({}, LIGHT_PARTNERS):
        pid_of = {
            partner.get(pid, pid): pid
            for pid in masses
            if partner.get(pid, pid) in space.pdg_ids and pid not in partner.values()
        }
        values = [masses[pid_of[pid]] if pid in pid_of else 1000.0 for pid in space.pdg_ids]
        found.append(_Stand(np.array(values), pid_of))
    return found


def _modes(stand: _Stand, space: ModelSpace) -> list[tuple[int, tuple[int, ...]]]:
    """Production modes of the pool whose particles the model has, and their names there."""
    found = []
    for number, pair in enumerate(space.productions):
        if all(abs(pid) in stand.pid_of for pid in pair):
            pids = (int(np.sign(pid)) * stand.pid_of[abs(pid)] for pid in pair)
            found.append((number, tuple(sorted(pids))))
    return found


def with_reference_cross_sections(spectrum: Spectrum) -> Spectrum:
    """Fill in the reference cross sections of `jaxlik.physics.cross_sections`.

    Light squarks of both chiralities get the same; modes without a reference get none.

    Raises:
        ModelPointError: no production mode of the model has one.
    """
    space, table, _ = _reference()
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    for stand in _stands(spectrum.masses, space):
        values = np.asarray(table(jnp.asarray(stand.masses)))
        for number, pids in _modes(stand, space):
            if values[number].max() > 0:
                found.setdefault(pids, (float(values[number, 0]), float(values[number, 1])))
    if not found:
        raise ModelPointError(
            f"{spectrum.name} has no cross sections, and none of its particles "
            f"{sorted(spectrum.masses)} has a reference; add XSECTION blocks"
        )
    productions = tuple(
        Production(pids, values, max(values), reference=True) for pids, values in found.items()
    )
    note = (
        f"no cross sections in the file: {len(productions)} production modes have reference ones "
        f"at {' and '.join(map(str, ENERGIES))} TeV"
    )
    missing = sorted(set(spectrum.masses) - {abs(pid) for pids in found for pid in pids})
    if missing:
        names = ", ".join(spectrum.quantum_numbers[pid].name for pid in missing)
        note += f"; none has {names}"
    return replace(spectrum, productions=productions, notes=(*spectrum.notes, note))


def reference_slopes(spectrum: Spectrum) -> np.ndarray:
    """Derivatives of ln(cross section) by mass, axes energy, production, particle [1/GeV].

    Particles are in ascending order of PDG number. Zero where the file gives the cross section.
    """
    pids = sorted(spectrum.masses)
    found = np.zeros((len(ENERGIES), len(spectrum.productions), len(pids)))
    modes = {mode.pids: i for i, mode in enumerate(spectrum.productions) if mode.reference}
    if not modes:
        return found
    space, _, slopes = _reference()
    filled: set[tuple[int, ...]] = set()
    for stand in _stands(spectrum.masses, space):
        values = np.asarray(slopes(jnp.asarray(stand.masses)))
        for number, names in _modes(stand, space):
            if names not in modes or names in filled:
                continue
            filled.add(names)
            for place, pid in enumerate(space.pdg_ids):
                if pid in stand.pid_of:
                    column = pids.index(stand.pid_of[pid])
                    found[:, modes[names], column] += values[number, :, place]
    return found


def check(spectrum: Spectrum) -> tuple[str, ...]:
    """What looks like a mistake of the file rather than physics, in words."""
    found = []
    visible = [pid for pid, numbers in spectrum.quantum_numbers.items() if not numbers.is_neutral]
    light = [pid for pid in visible if spectrum.masses[pid] < 40.0]
    if light:
        names = ", ".join(
            f"{spectrum.quantum_numbers[pid].name} ({spectrum.masses[pid]:.4g} GeV)"
            for pid in sorted(light)
        )
        found.append(
            f"charged or coloured particles lighter than LEP allows: {names}; are masses in TeV?"
        )
    totals: dict[int, float] = {}
    for decay in spectrum.decays:
        totals[decay.mother] = totals.get(decay.mother, 0.0) + decay.branching_ratio
    for pid, total in sorted(totals.items()):
        if abs(total - 1) > 0.01:
            found.append(
                f"branching ratios of {spectrum.quantum_numbers[pid].name} ({pid}) sum to "
                f"{total:.4g}; what is missing is not counted"
            )
    heavier = [
        f"{spectrum.quantum_numbers[d.mother].name} -> {' '.join(map(str, d.daughters))}"
        for d in spectrum.decays
        if sum(spectrum.masses.get(abs(pid), 0.0) for pid in d.daughters)
        > spectrum.masses[d.mother]
        and d.branching_ratio > 0
    ]
    if heavier:
        found.append(f"decays into heavier particles, taken as they are: {'; '.join(heavier)}")
    found += _unlikely_cross_sections(spectrum)
    return tuple(found)


def _unlikely_cross_sections(spectrum: Spectrum) -> list[str]:
    """Coloured pairs far from their reference, above or below: a file in other units than pb."""
    space, table, _ = _reference()
    stand = _stands(spectrum.masses, space)[0]
    values = np.asarray(table(jnp.asarray(stand.masses)))
    coloured = {GLUINO, 1000005, 1000006}
    found = []
    for production in spectrum.productions:
        pids = production.pids
        if production.reference or len(pids) != 2 or not {abs(p) for p in pids} <= coloured:
            continue
        if pids not in space.productions:
            continue
        expected = values[space.productions.index(pids)]
        for energy, value, usual in zip(ENERGIES, production.cross_sections, expected, strict=True):
            if usual > 0 and value > 0 and not 0.01 < value / usual < 100:
                found.append(
                    f"cross section of {pids} at {energy} TeV is {value:.4g} fb, "
                    f"{value / usual:.2g} times the reference; XSECTION blocks are in pb"
                )
    return found
