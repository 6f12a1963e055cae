"""Markup that escapes everything but itself.

`Html` is text that is markup already; any other text that enters an element is escaped, so
that names of models, regions and files cannot break a page.
"""

from collections.abc import Iterable
from html import escape
from typing import Any

VOID = frozenset({"br", "hr", "input", "meta"})
"""Elements without content."""

SAFE_HOSTS = ("https://doi.org/", "https://arxiv.org/")
"""Pages link to publications and to nothing else."""


class Html(str):
    """Text that is markup and enters a page as it is."""

    __slots__ = ()


def text(value: Any) -> Html:
    """A value as escaped text; markup stays markup."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def join(parts: Iterable[Any], separator: str = "") -> Html:
    """Several values one after the other."""
    return Html(escape(separator).join(text(part) for part in parts))


def element(name: str, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: Of the element.
        children: Its content; what is not `Html` is escaped, `None` is left out.
        attributes: Values by name; a trailing underscore is dropped and others become hyphens.
            `True` gives an attribute without value, `False` and `None` none.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(str(value), quote=True)}"')
    start = f"<{' '.join(words)}>"
    if name in VOID:
        return Html(start)
    content = "".join(text(child) for child in children if child is not None)
    return Html(f"{start}{content}</{name}>")


def paragraph(*children: Any, **attributes: Any) -> Html:
    """A paragraph."""
    return element("p", *children, **attributes)


def link(address: str, *children: Any) -> Html:
    """A link to a publication; plain text where the address is of another kind."""
    if not address.startswith(SAFE_HOSTS):
        return join(children)
    return element("a", *children, href=address, rel="noopener noreferrer")


def note(*children: Any, kind: str = "note") -> Html:
    """A remark that stands out.

    Args:
        children: Content.
        kind: `note`, or `warning` for what a reader must not miss.
    """
    return element("p", *children, class_=kind, role="note")


def facts(pairs: Iterable[tuple[Any, Any]]) -> Html:
    """Names and values as a list of definitions; pairs without a value are left out."""
    rows = [
        element("div", element("dt", name), element("dd", value))
        for name, value in pairs
        if value is not None
    ]
    return element("dl", *rows, class_="facts")


def tiles(entries: Iterable[tuple[Any, Any, Any]]) -> Html:
    """The few numbers that matter most: name, value and a word about it."""
    parts = [
        element(
            "div",
            element("dt", name),
            element("dd", element("span", value, class_="big"), element("small", about)),
        )
        for name, value, about in entries
        if value is not None
    ]
    return element("dl", *parts, class_="tiles")


def details(summary: Any, *children: Any, opened: bool = False) -> Html:
    """Content that a click on its summary shows."""
    return element("details", element("summary", summary), *children, open=opened)
