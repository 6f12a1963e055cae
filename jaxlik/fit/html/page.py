"""The page: one file with its styles, its scripts and its data, and nothing from elsewhere."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jaxlik.fit.html.charts import script_json
from jaxlik.fit.html.elements import Html, element, join, note, text
from jaxlik.fit.html.theme import DARK

logger = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Browsers refuse whatever would come from the network."""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: Identifier, unique on the page.
        title: Heading.
        parts: Content.
    """

    anchor: str
    title: str
    parts: Sequence[Html | None]


def guarded(anchor: str, title: str, make_fn: Callable[[], Sequence[Html | None]]) -> Section:
    """A section; where it cannot be made the page says so, and keeps the others.

    Args:
        anchor: Identifier.
        title: Heading.
        make_fn: Makes the content; none where there is nothing to say.
    """
    try:
        return Section(anchor, title, make_fn())
    except Exception as error:  # noqa: BLE001  (documents of any age and any damage)
        logger.warning("report: the part %r could not be made: %r", title, error)
        message = f"This part could not be made ({type(error).__name__}: {error})."
        return Section(anchor, title, [note(message, kind="warning")])


def page(title: str, kind: str, head: Sequence[Html | None], sections: Sequence[Section]) -> str:
    """A whole page.

    Args:
        title: Of the page, plain text.
        kind: What it is, above the title.
        head: What stands before the first section.
        sections: Those without content are left out.
    """
    shown = [section for section in sections if any(section.parts)]
    body = [
        element(
            "section",
            element("h2", section.title, id=f"{section.anchor}-title"),
            *section.parts,
            id=section.anchor,
            aria_labelledby=f"{section.anchor}-title",
        )
        for section in shown
    ]
    contents = [element("li", element("a", one.title, href=f"#{one.anchor}")) for one in shown]
    values: dict[str, Any] = {
        "policy": text(POLICY),
        "title": text(title),
        "kind": text(kind),
        "style": Html(asset("page.css")),
        "head": join(part for part in head if part is not None),
        "contents": join(contents),
        "sections": join(body),
        "dark": Html(script_json(DARK)),
        "plotly": Html(plotly_script() if any('class="plot"' in part for part in body) else ""),
        "script": Html(asset("page.js")),
    }
    whole = asset("page.html")
    pieces = whole.split("{{")
    parts = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        parts += [values[name.strip()], rest]
    return "".join(parts)


@cache
def asset(name: str) -> str:
    """A file of this package."""
    return resources.files("jaxlik.fit.html").joinpath(name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """The script that draws, as the plotly package ships it."""
    from plotly.offline import get_plotlyjs

    source = get_plotlyjs()
    if "</script" in source.lower():
        raise ValueError("the script of plotly ends its element itself; wanted another version")
    return source
