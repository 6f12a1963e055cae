"""Pages, their blocks, and the extensions that the site is made with."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<what>\{?[\w-]*\}?).*?\n(?P<body>.*?)^(?P=fence)\s*$", re.M | re.S
)
BUILT = {"_build", "jupyter_execute"}


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        page: Its file, relative to the repository.
        kind: What stands behind the fence: ``bash``, ``python``, ``{code-cell}``, ...
        text: What is inside.
    """

    page: str
    kind: str
    text: str


def pages() -> list[Path]:
    """README and all pages, not those of a build."""
    found = [path for path in (ROOT / "docs").rglob("*.md") if not BUILT & set(path.parts)]
    return [ROOT / "README.md", *sorted(found)]


def blocks() -> Iterator[Block]:
    """All fenced blocks."""
    for path in pages():
        for match in FENCE.finditer(path.read_text(encoding="utf-8")):
            yield Block(str(path.relative_to(ROOT)), match["what"], match["body"])
