"""A model as figures: its masses to scale, and its decays as a graph."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlik.fit.html.charts import Chart, axis, hover_text
from jaxlik.fit.html.names import decay, masses_text, symbol
from jaxlik.fit.html.numbers import percent
from jaxlik.fit.html.theme import INK, MUTED
from jaxlik.plotting import kind_of, spread

MIN_RATIO = 0.02
"""Decays with a smaller branching ratio have no arrow."""

LABELS = 0.052
"""Smallest distance of labels on the ruler, in units of its height."""

LEVELS = 0.25
"""Smallest distance of levels of the graph in units of its height."""

ABOVE = 0.015
"""Distance of a name from its level in units of the height."""

PADDING = "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}"
"""Between an arrow and its label."""

COLUMNS: dict[str, float] = {
    "light squarks": 0.0,
    "gluino": 1.0,
    "stops, sbottoms": 2.0,
    "charginos": 3.0,
    "neutralinos": 4.0,
    "sleptons, sneutrinos": 5.0,
    "other": 6.0,
}


def ruler_chart(model: Mapping[str, Any]) -> Chart:
    """Masses of a model, to scale; hovering tells decays."""
    masses = {int(pid): entry["mass"] for pid, entry in model["particles"].items()}
    top = 1.08 * max(masses.values(), default=1.0)
    ordered = sorted(masses.items(), key=lambda item: item[1])
    heights = spread([mass for _, mass in ordered], LABELS * top, 0.0, top)
    traces, notes = [], []
    for (pid, mass), height in zip(ordered, heights, strict=True):
        _, colour = kind_of(pid)
        hover = particle_text(model, pid)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [0.04, 0.2, 0.36],
                "y": [mass] * 3,
                "line": {"color": colour, "width": 4},
                "text": [hover] * 3,
                "hovertemplate": "%{text}<extra></extra>",
                "name": symbol(pid),
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+text",
                "x": [0.37, 0.5, 0.53],
                "y": [mass, float(height), float(height)],
                "line": {"color": colour, "width": 1},
                "text": ["", "", f" {symbol(pid)}   {mass:.0f}"],
                "textposition": "middle right",
                "textfont": {"color": colour, "size": 15},
                "hovertext": [hover] * 3,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "name": symbol(pid),
            }
        )
    layout = {
        "xaxis": axis(visible=False, range=[0, 1.05], fixedrange=True),
        "yaxis": axis("mass [GeV]", range=[0, top], showline=True, ticks="outside"),
        "annotations": notes,
        "margin": {"l": 64, "r": 8, "t": 12, "b": 16},
    }
    return Chart(
        "ruler",
        f"Masses of the best model in GeV: {masses_text(model['particles'])}",
        "Masses to scale; hover over a level for its decays.",
        traces,
        layout,
        440,
    )


def particle_text(model: Mapping[str, Any], pid: int) -> str:
    """Name, mass and decays of a particle in several lines."""
    entry = model["particles"][str(pid)]
    lines = [f"<b>{symbol(pid)}</b>  {entry['mass']:.1f} GeV  ({hover_text(entry['name'])})"]
    table = model.get("branching_ratios", {}).get(str(pid), {})
    ordered = sorted(table.items(), key=lambda item: -item[1])
    lines += [f"→ {decay(key)}  {percent(value)}" for key, value in ordered[:12]]
    if len(ordered) > 12:
        lines.append(f"and {len(ordered) - 12} more")
    return "<br>".join(lines if table else [*lines, "stable"])


def decay_chart(model: Mapping[str, Any]) -> Chart | None:
    """Levels with an arrow per decay; none where nothing decays."""
    arrows = _arrows(model)
    if not arrows:
        return None
    places = _places(model)
    traces: list[dict[str, Any]] = []
    for pid, (x, y) in places.items():
        _, colour = kind_of(pid)
        mass = model["particles"][str(pid)]["mass"]
        hover = particle_text(model, pid)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x - 0.3, x, x + 0.3],
                "y": [y, y, y],
                "line": {"color": colour, "width": 4},
                "hovertext": [hover] * 3,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "name": symbol(pid),
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "x": [x - 0.3],
                "y": [y + ABOVE],
                "text": [f"{symbol(pid)}{PADDING}{mass:.0f}"],
                "textposition": "top right",
                "textfont": {"color": colour, "size": 14},
                "hovertext": [hover],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "name": symbol(pid),
            }
        )
    labels: dict[str, list[Any]] = {"x": [], "y": [], "text": [], "hovertext": []}
    annotations = []
    for number, (mother, daughter, decays) in enumerate(arrows):
        start, end = places[mother], places[daughter]
        total = sum(value for _, value in decays)
        shift = _shift(number, mother, daughter, arrows)
        x0, x1 = start[0] + shift, end[0] + 0.5 * shift
        y0, y1 = start[1] - 0.012, end[1] + 0.012
        annotations.append(
            {
                "x": x1, "y": y1, "ax": x0, "ay": y0,
                "xref": "x", "yref": "y", "axref": "x", "ayref": "y",
                "showarrow": True, "arrowhead": 2, "arrowsize": 0.9, "text": "",
                "arrowwidth": 1.0 + 2.2 * total, "arrowcolor": MUTED, "opacity": 0.75,
            }
        )  # fmt: skip
        share = 0.45
        labels["x"].append(x0 + share * (x1 - x0))
        labels["y"].append(y0 + share * (y1 - y0))
        emitted = _emitted(decays[0][0])
        more = f" +{len(decays) - 1}" if len(decays) > 1 else ""
        labels["text"].append(f"{PADDING}{emitted} {percent(total)}{more}")
        lines = [f"{symbol(mother)} → {decay(key)}  {percent(value)}" for key, value in decays]
        labels["hovertext"].append("<br>".join(lines))
    traces.append(
        {
            "type": "scatter",
            "mode": "text",
            **labels,
            "textposition": "middle right",
            "textfont": {"color": INK, "size": 12},
            "hovertemplate": "%{hovertext}<extra></extra>",
            "name": "branching ratio",
        }
    )
    columns = sorted({x for x, _ in places.values()})
    layout = {
        "xaxis": axis(visible=False, range=[columns[0] - 0.5, columns[-1] + 0.65], fixedrange=True),
        "yaxis": axis(visible=False, range=[-0.06, 1.1], fixedrange=True),
        "annotations": annotations,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 16},
    }
    text = "; ".join(
        f"{symbol(mother)} to {symbol(daughter)} {percent(sum(v for _, v in decays))}"
        for mother, daughter, decays in arrows
    )
    return Chart(
        "decays",
        f"Decays of the best model: {text}",
        "Decays: Standard Model particles beside each arrow, with the branching ratio; heavier "
        "particles higher, but not to scale. +n: so many more decays to the same particle.",
        traces,
        layout,
        440,
    )


def _arrows(model: Mapping[str, Any]) -> list[tuple[int, int, list[tuple[str, float]]]]:
    """Mother, daughter and the decays that lead from one to the other, most frequent first."""
    known = set(model["particles"])
    found: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for mother, table in model.get("branching_ratios", {}).items():
        for key, value in sorted(table.items(), key=lambda item: -item[1]):
            daughter = ast.literal_eval(key)[0]
            if value > 0 and mother in known and str(daughter) in known:
                found.setdefault((int(mother), int(daughter)), []).append((key, value))
    return [
        (mother, daughter, decays)
        for (mother, daughter), decays in found.items()
        if sum(value for _, value in decays) >= MIN_RATIO
    ]


def _emitted(key: str) -> str:
    """Standard Model particles of a decay."""
    _, *others = ast.literal_eval(key)
    return " ".join(symbol(abs(pid)) for pid in others)


def _places(model: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Column by kind and height by mass, with room between levels."""
    masses = {int(pid): entry["mass"] for pid, entry in model["particles"].items()}
    ordered = sorted(masses, key=lambda pid: masses[pid])
    top = max(masses.values())
    gap = min(LEVELS, 1.0 / len(ordered))
    heights = spread([masses[pid] / top for pid in ordered], gap, 0.0, 1.0)
    kinds = sorted({COLUMNS[kind_of(pid)[0]] for pid in ordered})
    column = {place: float(number) for number, place in enumerate(kinds)}
    return {
        pid: (column[COLUMNS[kind_of(pid)[0]]], float(height))
        for pid, height in zip(ordered, heights, strict=True)
    }


def _shift(
    number: int, mother: int, daughter: int, arrows: Sequence[tuple[int, int, Any]]
) -> float:
    """Offset that keeps the arrows of one mother apart."""
    del daughter
    mine = [place for place, arrow in enumerate(arrows) if arrow[0] == mother]
    if len(mine) == 1:
        return 0.0
    return 0.36 * (mine.index(number) / (len(mine) - 1) - 0.5)


def models_chart(models: Sequence[Mapping[str, Any]]) -> Chart:
    """Masses of all models of a list side by side, the best one first."""
    traces: list[dict[str, Any]] = []
    by_kind: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for rank, model in enumerate(models, start=1):
        for pid, entry in model["particles"].items():
            kind = kind_of(int(pid))
            points = by_kind.setdefault(kind, {"x": [], "y": [], "text": []})
            points["x"].append(rank)
            points["y"].append(entry["mass"])
            points["text"].append(
                f"model {rank}, K = {model['K']:.2f}<br>{particle_text(model, int(pid))}"
            )
    for (kind, colour), points in by_kind.items():
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "marker": {
                    "symbol": "line-ew",
                    "size": 20,
                    "line": {"width": 3.5, "color": colour},
                    "color": colour,
                },
                "hovertemplate": "%{text}<extra></extra>",
                **points,
            }
        )
    ranks = list(range(1, len(models) + 1))
    layout = {
        "xaxis": axis(
            "model and its K",
            tickvals=ranks,
            ticktext=[f"{rank}<br>{model['K']:.2f}" for rank, model in enumerate(models, start=1)],
            range=[0.4, len(models) + 0.6],
            showgrid=False,
        ),
        "yaxis": axis("mass [GeV]", rangemode="tozero"),
        "showlegend": True,
        "margin": {"l": 60, "r": 12, "t": 40, "b": 64},
    }
    return Chart(
        "models-chart",
        "Masses of the particles of all models of the list",
        "Masses of the best models; hover over a level for its decays.",
        traces,
        layout,
        400,
    )
