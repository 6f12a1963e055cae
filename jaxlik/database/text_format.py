"""The text format of SModelS databases: tags, literals and data blocks.

A file is a list of ``tag: value`` lines; a line that starts with white space
continues the one before. Nothing is evaluated: literals go through
`ast.literal_eval`, grids through a tokenizer that accepts numbers, brackets and
the units GeV, fb and pb only.
"""

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxlik import units
from jaxlik.errors import DatabaseError

MIN_WIDTH = 1e-30
"""Width [GeV] that SModelS takes as the unit of its logarithmic width axis."""

MAX_WIDTH = 1e50
"""Width [GeV] at which that axis is cut; prompt particles sit there."""

_UNIT = re.compile(r"\*\s*([A-Za-z]+)")
_TAG = re.compile(r"^(\w+)\s*:(.*)$")
_COMMENT = re.compile(r"(^|\s)#.*$")
_LITERAL_LIMIT = 4_000_000


def rescale_width(width: np.ndarray) -> np.ndarray:
    """Map widths [GeV] to the coordinate in which SModelS interpolates them."""
    scaled = np.minimum(width, MAX_WIDTH) / MIN_WIDTH
    # Not log1p: grids must agree with SModelS's to the last bit (see `grids`).
    return np.where(scaled < 1e-10, scaled, np.log(1 + scaled))


PROMPT_COORDINATE = float(rescale_width(np.array(math.inf)))
"""Width coordinate of a particle that decays promptly."""


def read_tags(path: Path) -> dict[str, str]:
    """Read the ``tag: value`` lines of one database file.

    Raises:
        DatabaseError: the file is missing, not text, or holds no tag.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DatabaseError(f"{path}: file not found; the database is incomplete") from error
    except UnicodeDecodeError as error:
        raise DatabaseError(f"{path}: not a text file; the database is damaged") from error
    tags: dict[str, list[str]] = {}
    current: list[str] | None = None
    open_value = False
    for line in text.splitlines():
        line = _COMMENT.sub("", line) if "#" in line else line
        match = None if line[:1] in (" ", "\t", "}") or open_value else _TAG.match(line)
        if match:
            current = tags.setdefault(match[1], [])
            current.append(match[2])
        elif current is not None and line.strip():
            current.append(line)
        elif line.strip():
            raise DatabaseError(f"{path}: line {line[:60]!r} has no tag; the file is damaged")
        open_value = line.strip()[-1:] in (",", "\\")
    if not tags:
        raise DatabaseError(f"{path}: holds no 'tag: value' line; is it a SModelS database file?")
    return {
        tag: "\n".join(part.rstrip("\\") for part in parts).strip() for tag, parts in tags.items()
    }


def required(tags: dict[str, str], name: str, path: Path) -> str:
    """The value of a tag that must be present."""
    if name not in tags or not tags[name]:
        raise DatabaseError(
            f"{path}: field {name!r} is missing; found {', '.join(sorted(tags)) or 'none'}"
        )
    return tags[name]


def number(tags: dict[str, str], name: str, path: Path) -> float:
    """The value of a numeric tag."""
    value = required(tags, name, path)
    try:
        return float(value)
    except ValueError as error:
        raise DatabaseError(f"{path}: field {name!r} is {value[:40]!r}, wanted a number") from error


def cross_section(tags: dict[str, str], name: str, path: Path) -> float:
    """A tag such as ``0.95*fb`` [fb]; ``nan`` where it is absent."""
    if name not in tags:
        return math.nan
    try:
        return units.parse_quantity(tags[name], units.FB)
    except ValueError as error:
        raise DatabaseError(
            f"{path}: field {name!r} is {tags[name][:40]!r}, wanted a cross section like 0.95*fb"
        ) from error


def literal(text: str, name: str, path: Path):
    """Read a Python literal without evaluating code."""
    if len(text) > _LITERAL_LIMIT:
        raise DatabaseError(f"{path}: field {name!r} is longer than {_LITERAL_LIMIT} characters")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DatabaseError(f"{path}: field {name!r} is not a literal: {text[:60]!r}") from error


@dataclass(frozen=True)
class DataBlock:
    """A grid of one map, as written.

    Attributes:
        coordinates: Axis ``point coordinate``; masses [GeV], widths rescaled.
        values: Axis ``point``; fb for limits, dimensionless for efficiencies.
        layout: For nested data the (branch, position, is_width) of each
            coordinate; ``None`` for flat data, which a ``dataMap`` describes.
    """

    coordinates: np.ndarray
    values: np.ndarray
    layout: tuple[tuple[int, int, bool], ...] | None


def read_data_block(
    text: str, name: str, path: Path, widths: tuple[int, ...] | None = None
) -> DataBlock:
    """Read ``efficiencyMap``, ``upperLimits`` or ``expectedUpperLimits``.

    Args:
        text: The data, a list of ``[point, value]``.
        name: Tag, for messages.
        path: File, for messages.
        widths: For flat data the coordinates that are widths, from ``dataMap``.

    Raises:
        DatabaseError: ragged data, unknown units, or anything but numbers.
    """
    found = set(_UNIT.findall(text))
    unknown = found - {"GeV", "fb", "pb"}
    if unknown or {"fb", "pb"} <= found:
        raise DatabaseError(
            f"{path}: field {name!r} uses units {sorted(found)}; wanted GeV and one of fb, pb"
        )
    scale = units.FB["pb"] if "pb" in found else 1.0
    layout, first_numbers = _layout(text, name, path)
    plain = _UNIT.sub("", text).translate(_BLANKS)
    try:
        table = np.array(plain.split(), dtype=np.float64)
    except ValueError as error:
        raise DatabaseError(f"{path}: field {name!r} holds {error}") from error
    if table.size % first_numbers:
        raise DatabaseError(
            f"{path}: field {name!r} holds {table.size} numbers, not a multiple of the "
            f"{first_numbers} of its first point; the block is damaged"
        )
    table = table.reshape(-1, first_numbers)
    coordinates, values = table[:, :-1], table[:, -1] * scale
    if layout is None:
        columns = list(range(coordinates.shape[1]))
        width_columns = list(widths or ())
    else:
        # SModelS puts all masses first, then all widths.
        masses = [i for i, entry in enumerate(layout) if not entry[2]]
        width_entries = [i for i, entry in enumerate(layout) if entry[2]]
        columns = masses + width_entries
        layout = tuple(layout[i] for i in columns)
        width_columns = list(range(len(masses), len(columns)))
    coordinates = np.ascontiguousarray(coordinates[:, columns])
    if width_columns:
        coordinates[:, width_columns] = rescale_width(coordinates[:, width_columns])
    if not (np.isfinite(coordinates).all() and np.isfinite(values).all()):
        raise DatabaseError(f"{path}: field {name!r} holds values that are not finite")
    return DataBlock(coordinates, values, layout)


_BLANKS = str.maketrans(dict.fromkeys("[](),'\"*\n\t", " "))


def _layout(
    text: str, name: str, path: Path
) -> tuple[tuple[tuple[int, int, bool], ...] | None, int]:
    """Layout of the first point, and how many numbers a point and its value hold."""
    end = _end_of_first_entry(text)
    if end is None:
        raise DatabaseError(f"{path}: field {name!r} does not start with a list of points")
    entry = literal(_UNIT.sub("", text[text.index("[") + 1 : end]), name, path)
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], list)):
        raise DatabaseError(
            f"{path}: field {name!r}: first entry is {entry!r}, wanted [point, value]"
        )
    point = entry[0]
    if not any(isinstance(branch, list | str) for branch in point):
        return None, len(point) + 1
    layout: list[tuple[int, int, bool]] = []
    for i, branch in enumerate(point):
        if branch == "*":  # an inclusive branch carries no data
            continue
        for j, value in enumerate(branch):
            layout.append((i, j, False))
            if isinstance(value, tuple):
                layout.append((i, j, True))
    return tuple(layout), len(layout) + 1


def _end_of_first_entry(text: str) -> int | None:
    depth = 0
    for position, character in enumerate(text):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if depth == 1:
                return position + 1
    return None
