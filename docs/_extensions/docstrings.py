r"""Docstrings of this package as reStructuredText.

Docstrings are written like the pages: formulae as ``$ ... $`` in a sentence and ``$$ ... $$`` by
themselves, tables with bars, code as an indented block. Characters that reStructuredText would
take for markup, such as ``*`` or a trailing underscore, mean themselves outside of code.
Sections (``Args:``, ...) are left to Napoleon.
"""

import re
from collections.abc import Iterator, Sequence

PIECE = re.compile(r"``.+?``|`[^`]+`|\$[^$\n]+\$")
EMPHASIS = re.compile(r"(?<![\w*])\*[A-Za-z][^*\n]*?\*(?![\w*])")
SECTIONS = "Args|Returns|Raises|Attributes|References|Yields|Note|Example|Examples"
SECTION = re.compile(rf"^\s*({SECTIONS}):\s*$")
RULE = re.compile(r"^\s*\|?[\s:|-]+\|[\s:|-]*$")


def converted(lines: Sequence[str]) -> list[str]:
    """The lines as reStructuredText."""
    found: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        for take in (formula, table, session, indented):
            block, length = take(lines, place, found)
            if length:
                found += block
                place += length
                break
        else:
            found.append(inline(line))
            place += 1
    return found


def depth(line: str) -> int:
    """Blanks before the text."""
    return len(line) - len(line.lstrip())


def formula(lines: Sequence[str], place: int, before: Sequence[str]) -> tuple[list[str], int]:
    """``$$ ... $$``, on one line or several, as a directive."""
    del before
    if not lines[place].lstrip().startswith("$$"):
        return [], 0
    indent = " " * depth(lines[place])
    body: list[str] = []
    for length, line in enumerate(lines[place:], start=1):
        text = line.strip()
        ends = text.endswith("$$") and (length > 1 or len(text) > 2)
        body.append(text.removeprefix("$$") if length == 1 else text)
        if ends:
            body[-1] = body[-1].removesuffix("$$")
            content = [f"{indent}   {one.strip()}" for one in body if one.strip()]
            return ["", f"{indent}.. math::", "", *content, ""], length
    return [], 0


def table(lines: Sequence[str], place: int, before: Sequence[str]) -> tuple[list[str], int]:
    """A table with bars as a directive."""
    del before
    rows = list(_rows(lines[place:]))
    if len(rows) < 2 or not RULE.match(rows[1]):
        return [], 0
    indent = " " * depth(rows[0])
    found = ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        for number, cell in enumerate(row.strip().strip("|").split("|")):
            mark = "* -" if number == 0 else "  -"
            found.append(f"{indent}   {mark} {inline(cell.strip())}".rstrip())
    return [*found, ""], len(rows)


def _rows(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if not line.lstrip().startswith("|"):
            return
        yield line


def session(lines: Sequence[str], place: int, before: Sequence[str]) -> tuple[list[str], int]:
    """An example, up to the next empty line, as it is."""
    del before
    if not lines[place].lstrip().startswith(">>>"):
        return [], 0
    rest = lines[place:]
    length = next((n for n, line in enumerate(rest) if not line.strip()), len(rest))
    return list(rest[:length]), length


def indented(lines: Sequence[str], place: int, before: Sequence[str]) -> tuple[list[str], int]:
    """A block that is indented after an empty line: code, as it is."""
    if not lines[place].strip() or not before or before[-1].strip():
        return [], 0
    above = next((one for one in reversed(before) if one.strip()), "")
    base = depth(above)
    if not above or depth(lines[place]) <= base or above.lstrip().startswith(("* -", "- ")):
        return [], 0
    rest = lines[place:]
    ends = (n for n, line in enumerate(rest) if line.strip() and depth(line) <= base)
    length = next(ends, len(rest))
    lead = [] if above.rstrip().endswith("::") else [f"{' ' * base}::", ""]
    return [*lead, *rest[:length]], length


def inline(line: str) -> str:
    """One line with inline formulae as roles and everything else as text."""
    if line.lstrip().startswith((".. ", ":")) or SECTION.match(line):
        return line
    parts, last = [], 0
    for piece in PIECE.finditer(line):
        parts.append(plain(line[last : piece.start()]))
        parts.append(wrapped(piece.group()))
        # A role must not touch letters; the escaped blank vanishes.
        if line[piece.end() : piece.end() + 1].isalnum():
            parts.append(r"\ ")
        last = piece.end()
    return "".join([*parts, plain(line[last:])])


def wrapped(piece: str) -> str:
    """Code and formulae."""
    if piece.startswith("$"):
        return rf":math:`{piece[1:-1].strip()}`"
    if piece.startswith("``"):
        return piece
    content = piece[1:-1]
    # Only names can be links.
    return piece if re.fullmatch(r"[\w.]+", content) else f"``{content}``"


def plain(text: str) -> str:
    """Text whose markup characters mean themselves; `*emphasis*` stays."""
    parts, last = [], 0
    for piece in EMPHASIS.finditer(text):
        parts += [escaped(text[last : piece.start()]), piece.group()]
        last = piece.end()
    return "".join([*parts, escaped(text[last:])])


def escaped(text: str) -> str:
    """Stars, bars and trailing underscores behind a backslash; not the star of a list."""
    text = re.sub(r"[*|](?=\S)|(?<=\S)[*|]", lambda found: "\\" + found.group(), text)
    return re.sub(r"_(?=[\s.,;:)\]]|$)", r"\\_", text)


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """Before Napoleon sees the docstring."""
    del app, what, name, obj, options
    lines[:] = converted(lines)


def types(app, what, name, obj, options, lines: list[str]) -> None:
    """After Napoleon: types of attributes are code, not markup."""
    del app, what, name, obj, options
    for place, line in enumerate(lines):
        found = re.match(r"^(\s*:vartype [^:]+:) (.+)$", line)
        if found:
            lines[place] = f"{found[1]} ``{short(found[2]).strip('`')}``"


def short(text: str) -> str:
    """Types by the names that the code uses."""
    text = re.sub(r"(?:jaxlib\._jax|jax|jaxtyping|numpy)\.(?=[A-Za-z])", "", text)
    return re.sub(r"\bndarray\b", "np.ndarray", text).replace(", '']", ', ""]')


def signature(app, what, name, obj, options, arguments: str, result: str):
    """Signatures with short types."""
    del app, what, name, obj, options
    return tuple(short(text) if text else text for text in (arguments, result))


def skip(app, what, name, obj, skipped, options) -> bool | None:
    """Fields of named tuples that have nothing but Python's own words."""
    del app, what, skipped, options
    text = getattr(obj, "__doc__", None) or ""
    if text.startswith("Alias for field number"):
        return True
    return True if name in ("__init__", "__post_init__", "__check_init__") else None


def setup(app) -> dict:
    """Register."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-docstring", types, priority=900)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
