"""Models to judge, from files, folders and tables; a bad one is an error of its own."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jaxlik.errors import ConfigError, ModelPointError
from jaxlik.fit.tables import read_table
from jaxlik.physics.model import protomodel_space
from jaxlik.physics.protomodels import read_protomodels
from jaxlik.physics.slha import slha_text
from jaxlik.physics.spectrum import Production, Spectrum, with_reference_cross_sections
from jaxlik.physics.spectrum_file import read_spectrum, spectrum_from_text

SLHA, DICTIONARIES, TABLES = (".slha", ".SLHA"), (".dict", ".json"), (".csv", ".parquet")

COLUMN = re.compile(r"(mass|width):(\d+)|br:(\d+):(-?\d+(?:,-?\d+)*)|xsec(8|13):(-?\d+(?:,-?\d+)*)")
"""Columns of a table: mass:PID, width:PID [GeV], br:PID:daughters, xsec13:particles [fb]."""


class Entry(NamedTuple):
    """One model to judge.

    Attributes:
        name: For tables and messages.
        spectrum: The model, if it could be read.
        error: Why not, if not.
    """

    name: str
    spectrum: Spectrum | None
    error: str = ""


def entries(
    paths: tuple[Path, ...], template: Path | None, particles: Path | None
) -> Iterator[Entry]:
    """All models of some files, folders and tables, in their order.

    Raises:
        ConfigError: a folder holds no models, a table has no template or unknown columns.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in (*SLHA, *DICTIONARIES))
            if not inside:
                raise ConfigError(f"{path} holds no model (*.slha, *.dict, *.json)")
            yield from entries(tuple(inside), template, particles)
        elif path.suffix in TABLES:
            yield from _rows(path, template, particles)
        elif path.suffix in DICTIONARIES:
            yield from _protomodels(path)
        else:
            yield _one(str(path), lambda path=path: read_spectrum(path, particles=particles))


def _one(name: str, read) -> Entry:
    try:
        return Entry(name, read())
    except ModelPointError as error:
        return Entry(name, None, str(error))


def _protomodels(path: Path) -> Iterator[Entry]:
    """Models of a dictionary file; without cross sections they get reference ones."""
    space = protomodel_space()
    try:
        models = read_protomodels(path, space, strict=False)
    except ModelPointError as error:
        yield Entry(str(path), None, str(error))
        return
    for number, model in enumerate(models):
        name = f"{path}#{number}" if len(models) > 1 else str(path)

        def read(model=model, name=name) -> Spectrum:
            text = slha_text(space, model.point, model.cross_sections, widths=model.widths)
            spectrum = spectrum_from_text(text, Path(name))
            if model.cross_sections is None:
                strengths: dict[tuple[int, ...], float] = dict(
                    zip(space.productions, model.point.signal_strengths.tolist(), strict=True)
                )
                modes = tuple(
                    _scaled(mode, strengths.get(mode.pids, 1.0)) for mode in spectrum.productions
                )
                spectrum = replace(spectrum, productions=modes)
            return replace(spectrum, notes=(*spectrum.notes, *model.dropped))

        yield _one(name, read)


def _scaled(mode: Production, strength: float) -> Production:
    """A production mode times a signal strength."""
    low, high = mode.cross_sections
    both = (strength * low, strength * high)
    return mode._replace(cross_sections=both, largest=strength * mode.largest)


def _rows(path: Path, template: Path | None, particles: Path | None) -> Iterator[Entry]:
    """The template with the changes of each row."""
    if template is None:
        raise ConfigError(f"table {path} needs a --template, an SLHA file that its rows change")
    try:
        base = read_spectrum(template, particles=particles)
    except ModelPointError as error:
        raise ConfigError(f"--template: {error}") from None
    header, rows = read_table(path)
    unknown = [name for name in header if name != "name" and not COLUMN.fullmatch(name)]
    if unknown:
        raise ConfigError(
            f"table {path} has the columns {unknown}; wanted name, mass:PID, width:PID, "
            "br:PID:daughters, xsec8:particles or xsec13:particles"
        )
    for number, row in enumerate(rows):
        name = row.get("name") or f"{path}#{number}"
        yield _one(str(name), lambda row=row, name=name: _changed(base, row, str(name)))


def _changed(base: Spectrum, row: dict[str, str], name: str) -> Spectrum:
    """A spectrum with the numbers of one row."""
    masses, widths = dict(base.masses), dict(base.widths)
    decays, modes = list(base.decays), list(base.productions)
    for column, text in row.items():
        match = COLUMN.fullmatch(column)
        if match is None or text in ("", None):
            continue
        try:
            value = float(text)
        except ValueError:
            raise ModelPointError(f"{name}: {column} is {text!r}, wanted a number") from None
        if not 0 <= value < float("inf"):
            raise ModelPointError(f"{name}: {column} is {text}, wanted a number that is not "
                                  "negative")  # fmt: skip
        if match[1]:
            table, pid = (masses if match[1] == "mass" else widths), int(match[2])
            if pid not in base.masses:
                raise ModelPointError(f"{name}: {column} names a particle the template lacks")
            table[pid] = value
        elif match[3]:
            mother, daughters = int(match[3]), sorted(int(p) for p in match[4].split(","))
            found = [
                i
                for i, decay in enumerate(decays)
                if decay.mother == mother and sorted(decay.daughters) == daughters
            ]
            if not found:
                raise ModelPointError(f"{name}: {column} names a decay the template lacks")
            decays[found[0]] = decays[found[0]]._replace(branching_ratio=value)
        else:
            pids = tuple(sorted(int(p) for p in match[6].split(",")))
            found = [i for i, mode in enumerate(modes) if mode.pids == pids]
            if not found:
                raise ModelPointError(f"{name}: {column} names a production the template lacks")
            low, high = modes[found[0]].cross_sections
            both = (value, high) if match[5] == "8" else (low, value)
            modes[found[0]] = modes[found[0]]._replace(
                cross_sections=both, largest=max(both), reference=False
            )
    changed = replace(
        base,
        name=name,
        masses=masses,
        widths=widths,
        decays=tuple(decays),
        productions=tuple(modes),
    )
    return _at_its_masses(changed, base)


def _at_its_masses(changed: Spectrum, base: Spectrum) -> Spectrum:
    """Reference cross sections at the masses of the row; a note where given ones stay."""
    if changed.masses == base.masses:
        return changed
    if any(mode.reference for mode in changed.productions):
        notes = tuple(note for note in base.notes if not note.startswith("no cross sections"))
        moved = with_reference_cross_sections(replace(changed, notes=notes))
        given = {mode.pids: mode for mode in changed.productions if not mode.reference}
        modes = tuple(given.pop(mode.pids, mode) for mode in moved.productions)
        return replace(moved, productions=(*modes, *given.values()))
    columns = sorted(pid for pid, mass in changed.masses.items() if mass != base.masses[pid])
    note = (
        f"masses of {columns} differ from the template's, while cross sections without an xsec "
        "column are the template's"
    )
    return replace(changed, notes=(*changed.notes, note))
