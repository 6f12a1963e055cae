"""Interactive figures: traces and a layout for plotly.js, in the colours of the light theme.

Figures are plain dictionaries, so that the plotly package is needed for its script alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlik.fit.html.elements import Html, element
from jaxlik.fit.html.theme import GRID, INK, MUTED, PAPER

Trace = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
CLEAR = "rgba(0,0,0,0)"

DIGITS = 6
"""Significant digits of numbers in figures."""


@dataclass(frozen=True)
class Variant:
    """One of several figures in one place, chosen from a list.

    Attributes:
        label: In the list.
        traces: What is drawn.
        layout: Axes and more.
        height: Pixels.
    """

    label: str
    traces: list[Trace]
    layout: dict[str, Any]
    height: int


@dataclass(frozen=True)
class Frame:
    """One picture of a film.

    Attributes:
        label: Said below it.
        traces: Positions of the traces that change.
        update: New values by attribute, one per trace.
    """

    label: str
    traces: Sequence[int]
    update: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """A figure of a page.

    Attributes:
        name: Identifier, unique on its page.
        alt: What it shows, for those who do not see it.
        caption: Below it.
        traces: What is drawn.
        layout: Axes and more, beside those of `layout`.
        height: Pixels.
        variants: Figures to choose from, instead of `traces` and `layout`.
        choose: What is chosen.
        frames: Pictures of a film, if it is one.
    """

    name: str
    alt: str
    caption: Any
    traces: list[Trace] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 380
    variants: Sequence[Variant] = ()
    choose: str = ""
    frames: Sequence[Frame] = ()


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis with a quiet grid."""
    found: dict[str, Any] = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        "automargin": True,
        "title": {"text": title or "", "standoff": 8, "font": {"size": 13}},
    }
    return found | more


def names_axis(count: int, **more: Any) -> dict[str, Any]:
    """A vertical axis of names, the first one on top."""
    return axis(
        showgrid=False,
        ticks="",
        range=[count - 0.4, -0.6],
        fixedrange=True,
        **more,
    )


def layout(**more: Any) -> dict[str, Any]:
    """What all figures share; axes are given by the figure."""
    found: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "modebar": {"bgcolor": CLEAR, "color": MUTED, "activecolor": INK},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
        },
        "showlegend": False,
        "uirevision": "kept",
    }
    return found | more


def rule(value: float, colour: str, text: str, *, vertical: bool = True, dash: str = "dash",
         where: str = "top") -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """A line across a figure and its label.

    Args:
        value: Where it lies.
        colour: Of line and label.
        text: Label.
        vertical: Whether it stands at a value of x.
        dash: Kind of line.
        where: Place of the label of a vertical line: `top`, `bottom`, or `above` the figure.

    Returns:
        The shape and the annotation.
    """
    line = {"color": colour, "width": 1.5, "dash": dash}
    if vertical:
        shape = {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1}
        y, anchor = {"top": (1, "top"), "bottom": (0, "bottom"), "above": (1, "bottom")}[where]
        label = {"x": value, "yref": "paper", "y": y, "yanchor": anchor, "xanchor": "left"}
        label["xshift"] = 3
    else:
        shape = {"type": "line", "y0": value, "y1": value, "xref": "paper", "x0": 0, "x1": 1}
        label = {"y": value, "xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom"}
    annotation = {"text": text, "showarrow": False, "font": {"color": colour, "size": 12}}
    return shape | {"line": line}, annotation | label


def bar_height(count: int, each: int = 30, around: int = 100) -> int:
    """Height of a figure with a row per name."""
    return around + each * max(count, 2)


def clipped(name: str, most: int = 40) -> str:
    """A name that leaves room for its figure."""
    return name if len(name) <= most else name[: most - 1] + "…"


def figure(chart: Chart) -> Html:
    """A figure with its data, which the script of the page draws."""
    variants = chart.variants or [Variant("", chart.traces, chart.layout, chart.height)]
    spec: dict[str, Any] = {
        "name": chart.name,
        "variants": [
            {"data": one.traces, "layout": layout(**one.layout, height=one.height)}
            for one in variants
        ],
    }
    if chart.frames:
        spec["frames"] = [
            {"label": one.label, "traces": list(one.traces), "update": dict(one.update)}
            for one in chart.frames
        ]
    height = variants[0].height
    return element(
        "figure",
        _chooser(chart) if chart.variants else None,
        element(
            "div", class_="plot", role="img", aria_label=chart.alt, style=f"min-height:{height}px"
        ),
        _player(chart) if chart.frames else None,
        element("figcaption", chart.caption) if chart.caption else None,
        element("script", Html(script_json(spec)), type="application/json"),
        id=f"figure-{chart.name}",
        class_="chart",
    )


def _chooser(chart: Chart) -> Html:
    options = [
        element("option", one.label, value=str(place)) for place, one in enumerate(chart.variants)
    ]
    name = f"{chart.name}-choice"
    return element(
        "p",
        element("label", f"{chart.choose} ", for_=name),
        element("select", *options, id=name),
        class_="choice",
    )


def _player(chart: Chart) -> Html:
    last = len(chart.frames) - 1
    name = f"{chart.name}-frame"
    return element(
        "div",
        element("button", "▶ Play", type="button", class_="play"),
        element("label", "Picture of the film", for_=name, class_="unseen"),
        element("input", type="range", id=name, min="0", max=str(last), value=str(last), step="1"),
        element("output", chart.frames[last].label, for_=name),
        class_="player",
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    plain = json.dumps(_rounded(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"),
                         ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):  # fmt: skip
        plain = plain.replace(letter, code)
    return plain


def _rounded(value: Any) -> Any:
    """The same value with numbers to a few digits and nothing that JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _rounded(value.tolist())
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def hover_text(value: Any) -> str:
    """Text of a figure; plotly reads some markup, so that names are escaped for it, too."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
