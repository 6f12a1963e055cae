"""Read any SLHA file as a `Spectrum` (host only).

Every line that counts is read here, with its number in messages: a file that ends in the
middle, holds NaN or sums branching ratios to 1.2 is an error or a note, never a silent number.
"""

import math
from pathlib import Path
from typing import NamedTuple

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import ENERGIES
from jaxlik.physics.particles import STANDARD_MODEL
from jaxlik.physics.quantum_numbers import MSSM, QuantumNumbers
from jaxlik.physics.slha import ROUNDING, Section, highest_order, read_text, split_cross_sections
from jaxlik.physics.spectrum import (
    STABLE_WIDTH,
    Decay,
    Production,
    Spectrum,
    check,
    with_reference_cross_sections,
)

LIGHT_MESONS = (111, 211)
"""Pions, which maps of soft decays name."""

KNOWN = frozenset(STANDARD_MODEL) | frozenset(LIGHT_MESONS)
"""Standard Model particles that maps can name, by positive PDG number."""

MAX_SUM = 1.05
"""A larger sum of branching ratios is a mistake of the file."""

OUT_OF_REACH = 2e4
"""GeV; a heavier particle needs no decays (SModelS)."""

LIGHTEST = 1.0
"""GeV; lighter new particles count as this heavy (SModelS)."""


class _Content(NamedTuple):
    """The lines of a file that count."""

    masses: dict[int, float]
    widths: dict[int, float]
    decays: list[Decay]
    numbers: dict[int, QuantumNumbers]
    repeated: list[int]


def read_spectrum(path: str | Path, *, particles: str | Path | None = None) -> Spectrum:
    """Read a model from an SLHA file with any particles.

    Args:
        path: The file. Cross sections come from its XSECTION blocks; without any, from the
            reference tables, which `Spectrum.notes` says.
        particles: Another SLHA file whose QNUMBERS blocks define particles.

    Raises:
        ModelPointError: the file cannot be read, lacks masses or a decay table that is
            needed, or holds a number that is none. The message names file and line.
    """
    path = Path(path)
    text = read_text(path)
    extra = _numbers_of(read_text(Path(particles)), Path(particles)) if particles else {}
    return spectrum_from_text(text, path, extra)


def spectrum_from_text(
    text: str, path: Path, particles: dict[int, QuantumNumbers] | None = None
) -> Spectrum:
    """The same from the text of a file; `path` is for messages.

    Examples:
        >>> lines = ["BLOCK MASS", " 1000021 1500.0", " 1000022 200.0"]
        >>> lines += ["DECAY 1000021 1.0", " 1.0 3 1 -1 1000022", "DECAY 1000022 0.0", ""]
        >>> spectrum = spectrum_from_text(chr(10).join(lines), Path("gluino.slha"))
        >>> spectrum.masses
        {1000021: 1500.0, 1000022: 200.0}
    """
    body, sections = split_cross_sections(text, path)
    content = _content(body, path)
    numbers = {**MSSM, **content.numbers, **(particles or {})}
    notes = []
    if text and not text.endswith("\n"):
        notes.append("the file does not end with a line break; it may have been cut off")
    if content.repeated:
        notes.append(f"several DECAY tables of {sorted(set(content.repeated))}; the last counts")
    masses = {pid: mass for pid, mass in content.masses.items() if pid in numbers}
    unknown = sorted(pid for pid in content.masses if pid not in numbers and _is_new(pid))
    if unknown:
        notes.append(f"particles without quantum numbers left out: {unknown}; add QNUMBERS blocks")
    if not masses:
        raise ModelPointError(
            f"{path}: BLOCK MASS has no new particle; wanted PDG numbers of the MSSM, or "
            "QNUMBERS blocks of the particles it has"
        )
    used = {pid: numbers[pid] for pid in masses}
    decays, dropped = _known_decays(content.decays, masses, used, path)
    notes += dropped
    productions = _productions(sections, used, path, notes)
    spectrum = Spectrum(
        name=path.name,
        masses={pid: max(mass, LIGHTEST) for pid, mass in masses.items()},
        widths={pid: content.widths.get(pid, 0.0) for pid in masses},
        decays=tuple(decays),
        productions=tuple(productions),
        quantum_numbers=used,
    )
    _check_tables(spectrum, content, path)
    spectrum = Spectrum(**{**spectrum.__dict__, "notes": (*notes, *check(spectrum))})
    return spectrum if productions else with_reference_cross_sections(spectrum)


def _is_new(pid: int) -> bool:
    """Whether a PDG number is that of a particle beyond the Standard Model and its ghosts."""
    return pid not in KNOWN and pid > 50 and not 9000000 <= pid < 9900000


def _content(body: str, path: Path) -> _Content:
    """Masses, decays and quantum numbers of a file without its cross sections."""
    masses: dict[int, float] = {}
    widths: dict[int, float] = {}
    decays: list[Decay] = []
    repeated: list[int] = []
    block, mother = "", 0
    for number, line in enumerate(body.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        keyword = words[0].upper()
        try:
            if keyword == "BLOCK":
                block, mother = " ".join(words[1:2]).upper(), 0
            elif keyword == "DECAY":
                block, mother = "", int(words[1])
                if abs(mother) in widths:
                    repeated.append(abs(mother))
                    decays = [decay for decay in decays if decay.mother != abs(mother)]
                widths[abs(mother)] = abs(_finite(words[2]))
            elif block == "MASS":
                _enter_mass(masses, int(words[0]), _finite(words[1]))
            elif mother:
                decays.append(_decay(mother, words))
        except (ValueError, IndexError) as error:
            where = f"DECAY {mother}" if mother else f"BLOCK {block}"
            raise ModelPointError(
                f"{path}, line {number} of {where} ({line.strip()[:60]!r}) does not parse: {error}"
            ) from None
    if not masses:
        raise ModelPointError(f"{path} has no BLOCK MASS; a model needs the masses in GeV")
    return _Content(masses, widths, decays, _numbers_of(body, path), repeated)


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a finite number")
    return value


def _enter_mass(masses: dict[int, float], pid: int, mass: float) -> None:
    """Majorana fermions may carry the sign of their phase; nothing else may be negative."""
    known = MSSM.get(pid)
    may_be_negative = known is None or known.two_spin == 1
    if mass < 0 and not may_be_negative:
        raise ValueError(f"the mass {mass:g} GeV of the boson {pid} is negative")
    if pid in masses and masses[pid] != abs(mass):
        raise ValueError(f"a second mass of {pid}")
    masses[pid] = abs(mass)


def _decay(mother: int, words: list[str]) -> Decay:
    """One line of a decay table; of an antiparticle's table, conjugated."""
    fraction, count = float(words[0]), int(words[1])
    pids = tuple(int(word) for word in words[2 : 2 + count])
    if not -ROUNDING <= fraction <= 1 + ROUNDING:
        raise ValueError(f"the branching ratio {words[0]} is not between 0 and 1")
    if len(pids) != count or count < 1:
        raise ValueError(f"{len(pids)} daughters instead of {words[1]}")
    if mother < 0:
        pids = tuple(-pid for pid in pids)
    return Decay(abs(mother), pids, max(fraction, 0.0))


def _numbers_of(text: str, path: Path) -> dict[int, QuantumNumbers]:
    """Particles that QNUMBERS blocks define, by positive PDG number."""
    blocks: dict[int, tuple[str, dict[int, int]]] = {}
    current = 0
    for number, line in enumerate(text.splitlines(), 1):
        plain, _, comment = line.partition("#")
        words = plain.split()
        keyword = words[0].upper() if words else ""
        try:
            if keyword in ("BLOCK", "DECAY", "XSECTION"):
                current = 0
                if keyword == "BLOCK" and words[1].upper() == "QNUMBERS":
                    current = int(words[2])
                    label = (words[3:] or comment.split() or [str(current)])[0]
                    blocks[current] = (label, {})
            elif current and words:
                blocks[current][1][int(words[0])] = int(float(words[1]))
        except (ValueError, IndexError) as error:
            raise ModelPointError(
                f"{path}, line {number}: block QNUMBERS does not parse ({error})"
            ) from None
    found = {}
    for pid, (label, entries) in blocks.items():
        if abs(pid) in KNOWN or pid < 0 or 9000000 <= pid < 9900000:
            continue
        missing = [key for key in (1, 2, 3) if key not in entries]
        if missing:
            raise ModelPointError(
                f"{path}: QNUMBERS {pid} lacks entries {missing}; wanted 1 (three times the "
                "charge), 2 (spin states) and 3 (colour)"
            )
        found[pid] = QuantumNumbers(
            label, entries[1], abs(entries[3]), entries[2] - 1, self_conjugate=entries.get(4) == 0
        )
    return found


def _known_decays(
    decays: list[Decay],
    masses: dict[int, float],
    numbers: dict[int, QuantumNumbers],
    path: Path,
) -> tuple[list[Decay], list[str]]:
    """Decays of the model's particles into known ones, and what was left out."""
    kept, lost = [], {}
    totals: dict[int, float] = {}
    for decay in decays:
        if decay.mother not in masses:
            continue
        totals[decay.mother] = totals.get(decay.mother, 0.0) + decay.branching_ratio
        strangers = [p for p in decay.daughters if abs(p) not in KNOWN and abs(p) not in masses]
        if strangers:
            lost.setdefault(decay.mother, []).append((decay.branching_ratio, strangers))
        elif decay.branching_ratio > 0:
            kept.append(decay)
    for pid, total in totals.items():
        if total > MAX_SUM:
            raise ModelPointError(
                f"{path}: branching ratios of {numbers[pid].name} ({pid}) sum to {total:.4g}, "
                "more than 1"
            )
    notes = [
        f"decays of {numbers[mother].name} into unknown particles "
        f"{sorted({p for _, pids in entries for p in pids})} left out, "
        f"{100 * sum(fraction for fraction, _ in entries):.3g} % of all"
        for mother, entries in lost.items()
    ]
    return kept, notes


def _productions(
    sections: list[Section],
    numbers: dict[int, QuantumNumbers],
    path: Path,
    notes: list[str],
) -> list[Production]:
    """Modes with a new particle, at the highest order the file has."""
    plain: list[Section] = []
    strangers: set[int] = set()
    for pids, energy, order, value in sections:
        if not math.isfinite(value) or value < 0:
            raise ModelPointError(
                f"{path}: XSECTION of {pids} at {energy:g} TeV is {value:g} fb, wanted a positive "
                "number"
            )
        if not 0.5 <= energy <= 200:
            raise ModelPointError(
                f"{path}: XSECTION of {pids} is at {1e3 * energy:g} GeV; energies are in GeV, for "
                "example 1.30E+04"
            )
        unknown = {abs(p) for p in pids if abs(p) not in numbers and abs(p) not in KNOWN}
        strangers |= unknown
        if unknown or not any(abs(p) in numbers for p in pids):
            continue
        plain.append((_signed(pids, numbers), energy, order, value))
    if strangers:
        notes.append(f"cross sections of particles without a mass left out: {sorted(strangers)}")
    best, _ = highest_order(plain)
    found: dict[tuple[int, ...], dict[float, float]] = {}
    for (pids, energy), value in best.items():
        found.setdefault(pids, {})[energy] = value
    covered = {energy for values in found.values() for energy in values}
    absent = [energy for energy in ENERGIES if energy not in covered]
    if found and absent:
        notes.append(f"no cross sections at {absent} TeV: results at this energy say nothing")
    other = sorted(covered - set(ENERGIES))
    if other:
        notes.append(f"cross sections at {other} TeV are of no use: no result has this energy")
    low, high = ENERGIES
    return [
        Production(pids, (values.get(low, 0.0), values.get(high, 0.0)), max(values.values()))
        for pids, values in found.items()
    ]


def _signed(pids: tuple[int, ...], numbers: dict[int, QuantumNumbers]) -> tuple[int, ...]:
    """Sorted; particles equal to their antiparticles without sign."""
    plain = (abs(p) if abs(p) in numbers and numbers[abs(p)].self_conjugate else p for p in pids)
    return tuple(sorted(plain))


def _check_tables(spectrum: Spectrum, content: _Content, path: Path) -> None:
    """Raise where a particle the model can produce has no decay table."""
    reached = {abs(pid) for mode in spectrum.productions for pid in mode.pids}
    reached |= {abs(pid) for decay in spectrum.decays for pid in decay.daughters}
    if not spectrum.productions:
        reached |= set(spectrum.masses)
    lightest = min(spectrum.masses, key=lambda pid: spectrum.masses[pid])
    for pid in sorted(reached & set(spectrum.masses)):
        if pid in content.widths or pid == lightest or spectrum.masses[pid] > OUT_OF_REACH:
            continue
        raise ModelPointError(
            f"{path} has no DECAY table of {spectrum.quantum_numbers[pid].name} ({pid}, "
            f"{spectrum.masses[pid]:g} GeV); write 'DECAY {pid} 0.' for a stable particle"
        )
    for pid, width in spectrum.widths.items():
        decays = any(decay.mother == pid for decay in spectrum.decays)
        if width >= STABLE_WIDTH and not decays and spectrum.masses[pid] < OUT_OF_REACH:
            raise ModelPointError(
                f"{path}: DECAY {pid} has the width {width:g} GeV but no channel into known "
                f"particles; write width 0 if {spectrum.quantum_numbers[pid].name} is stable"
            )
