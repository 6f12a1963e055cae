"""Tables of numbers: right-aligned, sorted by a click, in a box of their own on small screens."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlik.fit.html.elements import Html, element

TALL = 16
"""Rows from which a table scrolls under its header."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Text of the header.
        numeric: Whether cells are aligned to the right.
        about: What the title means, shown on hovering.
    """

    title: Any
    numeric: bool = False
    about: str | None = None


@dataclass(frozen=True)
class Cell:
    """A cell that is sorted by something other than its text.

    Attributes:
        shown: What is seen.
        order: Number or text that it is sorted by; last where it is nothing.
    """

    shown: Any
    order: float | str | None = None


def words(title: Any, about: str | None = None) -> Column:
    """A column of words."""
    return Column(title, False, about)


def numbers(title: Any, about: str | None = None) -> Column:
    """A column of numbers."""
    return Column(title, True, about)


def table(
    name: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, sortable: bool = True
) -> Html:
    """A table that can be sorted by any of its columns.

    Args:
        name: What it lists, read out by screen readers.
        columns: Headers.
        rows: Cells: text, markup, or `Cell`.
        sortable: Whether the order of rows may change.
    """
    body = [_row(columns, row) for row in rows]
    head = element("tr", *(_header(column, sortable) for column in columns))
    inner = element(
        "table",
        element("caption", name, class_="unseen"),
        element("thead", head),
        element("tbody", *body),
        class_="sortable" if sortable else None,
    )
    tall = " tall" if len(body) > TALL else ""
    return element(
        "div", inner, class_=f"scroll{tall}", tabindex="0", role="region", aria_label=name
    )


def _header(column: Column, sortable: bool) -> Html:
    kind = "n" if column.numeric else None
    title = column.title
    if sortable:
        title = element("button", title, type="button", title=column.about)
    return element("th", title, scope="col", class_=kind, title=column.about)


def _row(columns: Sequence[Column], row: Sequence[Any]) -> Html:
    cells = []
    for column, value in zip(columns, row, strict=True):
        shown, order = (value.shown, _order(value)) if isinstance(value, Cell) else (value, None)
        kind = "n" if column.numeric else None
        cells.append(element("td", shown, class_=kind, data_order=order))
    return element("tr", *cells)


def _order(cell: Cell) -> str:
    if cell.order is None or (isinstance(cell.order, float) and not math.isfinite(cell.order)):
        return ""
    return str(cell.order)
