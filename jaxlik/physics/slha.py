"""Models as SLHA files: masses, decays and cross sections (host only).

Reads and writes the SUSY Les Houches Accord (hep-ph/0311123) with the XSECTION
blocks of SModelS, whose cross sections are in pb and whose energies are in GeV.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyslha

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import ENERGIES
from jaxlik.physics.model import ModelPoint, ModelSpace, production_key
from jaxlik.physics.particles import (
    DECOUPLED_MASS,
    STANDARD_MODEL,
    signed_final_states,
)
from jaxlik.physics.reading import PointBuilder, ReadModel, arrange_cross_sections
from jaxlik.units import FB

MAX_BYTES = 5_000_000
"""A model file that is larger is taken for something else."""

ORDERS = ("LO", "NLO", "NLL")
"""Names of the QCD orders 0, 1 and 2 of XSECTION blocks."""

FROZEN_MASS = 1e6
"""GeV; written for particles of the MSSM that the model lacks."""

MSSM_PARTNERS = (
    *(pid for pid in range(2000001, 2000005)),
    *(2000011, 2000013, 2000015, 1000035),
)
"""MSSM states outside the pool; written decoupled, since readers expect them."""

PROMPT_WIDTH = 1.0
"""GeV; width of particles whose width is not given: prompt."""

HEAVY_HIGGS = (35, 36, 37)
"""H, A and H+-: in no topology of the pool, therefore left out and only noted."""

ROUNDING = 0.01
"""Distance from the interval 0 to 1 that the digits of a file may explain."""

HEAVIEST_KNOWN = 37
"""Larger PDG numbers in BLOCK MASS belong to particles of a new model."""


def read_slha(path: str | Path, space: ModelSpace, *, strict: bool = True) -> ReadModel:
    """Read a model from an SLHA file.

    Args:
        path: The file.
        space: Model space of the result.
        strict: Raise on light particles and channels outside the space; otherwise
            leave them out and list them in `ReadModel.dropped`.

    Raises:
        ModelPointError: unreadable file, missing block, particle or channel outside
            the space, contradictory numbers. The message names file and block.
    """
    path = Path(path)
    text = read_text(path)
    builder = PointBuilder(space, str(path), strict=strict)
    body, found = split_cross_sections(text, path)
    sections = [
        (production_key(*pids), energy, order, value)
        for pids, energy, order, value in found
        if len(pids) == 2
    ]
    _check_decays(text, path)
    try:
        document = pyslha.readSLHA(body, ignorenomass=True)
    except Exception as error:  # noqa: BLE001  (pyslha raises whatever its parsing hits)
        raise ModelPointError(f"{path} is not an SLHA file: {error}; check its blocks") from None
    block = dict(document.blocks or {}).get("MASS")
    if block is None:
        raise ModelPointError(f"{path} has no BLOCK MASS; a model needs the masses in GeV")
    for key, mass in block.items():
        _enter_mass(builder, path, key, mass)
    builder.check_particles()
    widths: dict[int, float] = {}
    for pid, entry in dict(document.decays or {}).items():
        if pid not in space.pdg_ids or not builder.active[space.pdg_ids.index(pid)]:
            continue
        widths[pid] = float(entry.totalwidth or 0.0)
        for decay in entry.decays:
            builder.add_decay(pid, tuple(decay.ids), float(decay.br))
    table, order = highest_order(sections)
    values, others = arrange_cross_sections(space, table)
    return ReadModel(
        point=builder.build(),
        cross_sections=values,
        other_cross_sections=others,
        widths=widths,
        order=order,
        dropped=tuple(builder.dropped),
    )


def write_slha(
    path: str | Path,
    space: ModelSpace,
    point: ModelPoint,
    cross_sections: np.ndarray | None = None,
    *,
    widths: dict[int, float] | None = None,
    comment: str = "written by jaxlik",
) -> None:
    """Write a model as an SLHA file that SModelS reads.

    Branching ratios of self-conjugate mothers are split over both charge conjugate
    final states. Numbers carry 12 digits.

    Args:
        path: The file to write.
        space: Layout of the point.
        point: The model.
        cross_sections: fb, shape (production, energy), signal strengths included;
            modes of absent particles, zeros and NaN are left out.
        widths: GeV by PDG number; by default everything but the LBP is prompt.
        comment: First line.
    """
    text = slha_text(space, point, cross_sections, widths=widths, comment=comment)
    Path(path).write_text(text, encoding="utf-8")


def slha_text(
    space: ModelSpace,
    point: ModelPoint,
    cross_sections: np.ndarray | None = None,
    *,
    widths: dict[int, float] | None = None,
    comment: str = "written by jaxlik",
) -> str:
    """The text of such a file; arguments as of `write_slha`."""
    masses, active = np.asarray(point.masses), np.asarray(point.active)
    lines = [f"# {comment}", "BLOCK MASS"]
    for pid, mass, on in zip(space.pdg_ids, masses, active, strict=True):
        lines.append(f" {pid:>9}  {mass if on else FROZEN_MASS:.12E}")
    lines += [f" {pid:>9}  {FROZEN_MASS:.12E}" for pid in MSSM_PARTNERS if pid not in space.pdg_ids]
    lines.append(f" {25:>9}  {STANDARD_MODEL[25].mass:.12E}")
    fractions = np.asarray(point.branching_ratios)
    for position, pid in enumerate(space.pdg_ids):
        rows = [
            (number, fractions[number])
            for number, channel in enumerate(space.channels)
            if channel[0] == pid and fractions[number] > 0 and active[position]
        ]
        width = (widths or {}).get(pid, PROMPT_WIDTH if rows else 0.0)
        lines.append(f"DECAY {pid} {width:.8E}")
        for number, fraction in rows:
            final_states = signed_final_states(*space.channels[number])
            for state in final_states:
                products = " ".join(str(p) for p in (*state[1:], state[0]))
                lines.append(f"   {fraction / len(final_states):.12E} {len(state)} {products}")
    if cross_sections is not None:
        lines += _cross_section_lines(space, active, np.asarray(cross_sections))
    return "\n".join(lines) + "\n"


def _cross_section_lines(
    space: ModelSpace, active: np.ndarray, cross_sections: np.ndarray
) -> list[str]:
    """XSECTION blocks of all existing production modes."""
    lines: list[str] = []
    pairs = np.asarray(space.production_pair)
    for (a, b), pair, row in zip(space.productions, pairs, cross_sections, strict=True):
        if not active[pair].all():
            continue
        for energy, value in zip(ENERGIES, row, strict=True):
            if math.isfinite(value) and value > 0:
                lines += [
                    "",
                    f"XSECTION  {1e3 * energy:.2E}  2212 2212 2 {a} {b} # xsec unit: pb",
                    f"  0  2  0  0  0  0    {value / FB['pb']:.12E} jaxlik",
                ]
    return lines


def read_text(path: Path) -> str:
    """Text of a file of reasonable size."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelPointError(
                f"{path} has {size} bytes, more than the {MAX_BYTES} of a model file"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelPointError(f"{path} cannot be read: {error}") from None


def _enter_mass(builder: PointBuilder, path: Path, key: object, mass: object) -> None:
    """Enter one line of BLOCK MASS, leaving out the Standard Model."""
    if not isinstance(key, int) or not isinstance(mass, int | float) or not math.isfinite(mass):
        raise ModelPointError(
            f"{path}: BLOCK MASS has the entry {key!r} {mass!r}, wanted a PDG number and a "
            "finite mass in GeV"
        )
    if key in HEAVY_HIGGS:
        if abs(mass) < DECOUPLED_MASS:
            builder.dropped.append(
                f"BLOCK MASS has the Higgs boson {key}, which is not in the pool"
            )
        return
    if key not in STANDARD_MODEL and key > HEAVIEST_KNOWN:
        builder.set_mass(key, float(mass))


def _check_decays(text: str, path: Path) -> None:
    """Raise on a branching ratio that is no probability; pyslha turns it into zero."""
    pid = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        keyword = words[0].upper()
        if keyword in ("BLOCK", "DECAY", "XSECTION"):
            pid = words[1] if keyword == "DECAY" and len(words) > 1 else ""
        elif pid:
            try:
                fraction = float(words[0])
            except ValueError:
                fraction = math.nan
            if not -ROUNDING <= fraction <= 1 + ROUNDING:
                raise ModelPointError(
                    f"{path}, line {number}: DECAY {pid} has the branching ratio {words[0]}, "
                    "wanted a number from 0 to 1"
                )


Section = tuple[tuple[int, ...], float, int, float]
"""Particles produced, energy [TeV], QCD order, cross section [fb]."""


def split_cross_sections(text: str, path: Path) -> tuple[str, list[Section]]:
    """The text without its XSECTION blocks, and what these say.

    Raises:
        ModelPointError: a block does not parse.
    """
    body: list[str] = []
    sections: list[Section] = []
    current: tuple[tuple[int, ...], float] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        keyword = words[0].upper() if words else ""
        if keyword in ("BLOCK", "DECAY", "XSECTION"):
            current = None
        try:
            if keyword == "XSECTION":
                pids = tuple(int(word) for word in words[5:])
                if not pids or len(pids) != int(words[4]):
                    raise ValueError(f"{len(pids)} final particles instead of {words[4]}")
                current = (pids, float(words[1]) / 1e3)
                continue
            if current is not None:
                if words:
                    sections.append((*current, int(words[1]), float(words[6]) * FB["pb"]))
                continue
        except (ValueError, IndexError) as error:
            raise ModelPointError(
                f"{path}, line {number}: block XSECTION does not parse ({error}); wanted "
                "'XSECTION sqrt(s) 2212 2212 2 pid pid' and lines of scheme, order, 4 numbers, pb"
            ) from None
        body.append(line)
    return "\n".join(body) + "\n", sections


Pids = TypeVar("Pids", bound=tuple[int, ...])


def highest_order(
    sections: Sequence[tuple[Pids, float, int, float]],
) -> tuple[dict[tuple[Pids, float], float], str]:
    """For each mode and energy the value of the highest order, and the best order seen."""
    best: dict[tuple[Pids, float], tuple[int, float]] = {}
    for pair, energy, order, value in sections:
        if order >= best.get((pair, energy), (-1, 0.0))[0]:
            best[pair, energy] = (order, value)
    highest = max((order for order, _ in best.values()), default=-1)
    name = ORDERS[highest] if 0 <= highest < len(ORDERS) else ""
    return {key: value for key, (_, value) in best.items()}, name
