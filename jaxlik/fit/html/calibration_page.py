"""The page of a calibration, `jaxlik/calibration/1`: K of pseudo-databases and of the data."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.calibration.published import FAMILIES
from jaxlik.fit.html.charts import Chart, axis, figure, rule
from jaxlik.fit.html.elements import Html, element, facts, paragraph, tiles
from jaxlik.fit.html.names import content, symbol
from jaxlik.fit.html.numbers import fixed, p_value, significant
from jaxlik.fit.html.page import guarded, page
from jaxlik.fit.html.run_parts import missing
from jaxlik.fit.html.tables import Cell, numbers, table, words
from jaxlik.fit.html.theme import BLUE, GREEN, RED

MOST_LISTED = 200
"""Pseudo-databases in the table; the document has all."""


def calibration_page(document: Mapping[str, Any], folder: Path | None) -> str:
    """The page of a calibration.

    Args:
        document: `summary.json`.
        folder: Where it lies, for the title.
    """
    name = folder.resolve().name if folder else "summary.json"
    sections = [
        guarded("distribution", "Test statistic K", lambda: _distribution(document)),
        guarded("closure", "Closure", lambda: _closure(document)),
        guarded("families", "Published runs", lambda: _families(document)),
        guarded("bayes", "Bayes factor", lambda: _bayes(document)),
        guarded("data", "Searches of the data", lambda: _data(document)),
        guarded("searches", "Searches of pseudo-databases", lambda: _searches(document)),
        guarded("campaign", "Campaign", lambda: _campaign(document)),
    ]
    return page(f"{name}: calibration", "jaxlik: global p-value", _head(document), sections)


def _head(document: Mapping[str, Any]) -> list[Html | None]:
    p, spread = document.get("p_global"), document.get("K") or {}
    factor = document.get("trials_factor")
    entries: list[tuple[Any, Any, Any]] = []
    if p:
        bound = p["is_bound"]
        low, high = p["interval"]
        entries += [
            ("Global p-value", f"< {p_value(high)}" if bound else p_value(p["p"]),
             f"68 %: {p_value(low)} … {p_value(high)}; {p['above']} of {p['number']}"),
            ("Global significance", f"{'> ' if bound else ''}{p['significance']:.2f} σ",
             "of K of the data"),
            ("K of the data", fixed(p["observed"], 2), "first search"),
        ]  # fmt: skip
    if spread.get("mean") is not None:
        about = f"standard deviation {spread['deviation']:.2f}"
        entries.append(("Mean K of pseudo-databases", fixed(spread["mean"], 2), about))
    if document.get("closure"):
        found = document["closure"]
        entries.append(("Injected model found", f"{found['all_found']} of {found['number']}",
                        "all its particles"))  # fmt: skip
    database = document.get("database") or {}
    campaign = document.get("campaign") or {}
    return [
        tiles(entries),
        facts(
            [
                ("database", database.get("version")),
                ("mode", campaign.get("mode")),
                ("pseudo-databases", document.get("number")),
                ("trials factor", None if factor is None else significant(factor)),
                ("p by kernel density", p_value(p["p_kde"]) if p and p["p_kde"] else None),
                ("halves agree: KS p",
                 p_value(p["halves_ks_p"]) if p and p.get("halves_ks_p") is not None else None),
            ]
        ),
    ]  # fmt: skip


def _known(results: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [one[name] for one in results if one.get(name) is not None]


def histogram(
    name: str,
    values: Sequence[float],
    data: Sequence[float],
    *,
    title: str,
    caption: str,
    colour: str = BLUE,
    label: str = "pseudo-databases",
) -> Chart:
    """Distribution of a statistic over pseudo-databases with lines where the data lie."""
    bins = max(8, min(40, int(1.5 * math.sqrt(max(len(values), 1)))))
    everything = np.asarray([*values, *data], dtype=float)
    counts, edges = np.histogram(values, bins=bins, range=(everything.min(), everything.max()))
    hover = [
        f"{low:.2f} … {high:.2f}: {count}"
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    traces = [
        {"type": "bar", "x": (edges[:-1] + edges[1:]) / 2, "y": counts,
         "width": (0.94 * np.diff(edges)).tolist(), "text": hover, "textposition": "none",
         "marker": {"color": colour, "opacity": 0.75}, "name": label,
         "hovertemplate": "%{text}<extra></extra>"}
    ]  # fmt: skip
    lines = []
    for number, value in enumerate(data):
        found = rule(value, RED, f"data {fixed(value, 2)}" if number == 0 else "",
                     dash="solid" if number == 0 else "dot")  # fmt: skip
        # The data lie at the right end, where a label has room on its left.
        found[1].update(xanchor="right", xshift=-4)
        lines.append(found)
    layout = {
        "xaxis": axis(title),
        "yaxis": axis("pseudo-databases", rangemode="tozero"),
        "shapes": [shape for shape, _ in lines],
        "annotations": [note for _, note in lines if note["text"]],
        "margin": {"l": 60, "r": 16, "t": 16, "b": 48},
    }
    return Chart(name, f"Distribution of {title} and the data", caption, traces, layout, 360)


def tail_chart(values: Sequence[float], data: float, title: str) -> Chart:
    """Fraction of pseudo-databases at or above a value."""
    ordered = np.sort(np.asarray(values, dtype=float))
    fraction = 1.0 - np.arange(len(ordered)) / len(ordered)
    traces = [
        {"type": "scatter", "mode": "lines", "x": ordered, "y": fraction,
         "line": {"color": BLUE, "shape": "vh", "width": 2},
         "hovertemplate": f"{title} ≥ %{{x:.2f}}: %{{y:.3f}}<extra></extra>"}
    ]  # fmt: skip
    shape, note = rule(data, RED, f"data {fixed(data, 2)}", dash="solid")
    note.update(xanchor="right", xshift=-4)
    layout = {
        "xaxis": axis(title),
        "yaxis": axis("fraction at or above", type="log", dtick="D2"),
        "shapes": [shape],
        "annotations": [note],
        "margin": {"l": 72, "r": 16, "t": 16, "b": 48},
    }
    caption = "Where the curve meets the line of the data is the global p-value."
    return Chart("tail", "Fraction of pseudo-databases above a K", caption, traces, layout, 360)


def _distribution(document: Mapping[str, Any]) -> list[Html | None]:
    results = document.get("results")
    if results is None:
        return []
    fake, real = _known(results, "K"), _known(document.get("real", []), "K")
    if not fake:
        return missing("No pseudo-database has been searched yet.")
    lost = len(results) - len(fake)
    caption = f"{len(fake)} pseudo-databases"
    caption += f"; in {lost} more the search found nothing" if lost else ""
    injected = "closure" in document
    caption += ", all with the injected signal." if injected else " of the Standard Model."
    first = histogram(
        "kvalues", fake, real, title="K", caption=caption, colour=GREEN if injected else BLUE
    )
    if real and not injected:
        pair = element(
            "div", figure(first), figure(tail_chart(fake, real[0], "K")), class_="halves"
        )
        return [pair]
    return [figure(first)]


def _closure(document: Mapping[str, Any]) -> list[Html | None]:
    found = document.get("closure")
    if not found:
        return []
    number = found["number"]
    rows = [[symbol(int(pid)), f"{count}/{number}"] for pid, count in found["found"].items()]
    rows += [
        ["all of them", f"{found['all_found']}/{number}"],
        ["these and no others", f"{found['exact']}/{number}"],
    ]
    parts: list[Html | None] = [
        paragraph(
            "How often searches find the particles of the injected model. Light squarks count as "
            "one kind."
        ),
        table("Injected particles found", [words("injected"), numbers("found")], rows),
    ]
    if "K_injected" in found:
        spread = found["K_injected"]
        text = (
            f"The injected model itself has a mean K of {spread['mean']:.2f} on the same data, "
            f"{spread['low']:.2f} to {spread['high']:.2f}. {found['reached']} of "
            f"{spread['number']} searches end at least there: what they find describes the data "
            "as well as the truth does."
        )
        parts.append(paragraph(text))
    return parts


def _families(document: Mapping[str, Any]) -> list[Html | None]:
    families = document.get("families")
    if not families:
        return []
    rows = [
        [
            name,
            FAMILIES.get(name, ""),
            str(one["number"]),
            fixed(one["mean"], 2),
            fixed(one["deviation"], 2),
            fixed(one["low"], 2),
            fixed(one["high"], 2),
        ]
        for name, one in families.items()
    ]
    header = [
        words("family"),
        words("what"),
        *(numbers(name) for name in ("runs", "mean K", "sd", "lowest", "highest")),
    ]
    return [table("Published runs by family", header, rows)]


def _bayes(document: Mapping[str, Any]) -> list[Html | None]:
    found = document.get("bayes_factor")
    if not found:
        return []
    logs = _known(document.get("results", []), "log_bayes_factor")
    chart = histogram(
        "bayes-chart",
        logs,
        [found["observed"]],
        title="ln B",
        caption="Logarithm of the Bayes factor of simple models over pseudo-databases.",
    )
    low, high = found["interval"]
    return [
        facts(
            [
                ("Bayes factor of the data", significant(math.exp(found["observed"]))),
                ("p-value", f"{p_value(found['p'])} ({p_value(low)} … {p_value(high)})"),
                ("mean over pseudo-databases, 1 is expected",
                 f"{significant(found['mean'])} ± {significant(found['mean_error'], 2)}"),
            ]
        ),
        figure(chart) if logs else None,
    ]  # fmt: skip


def _search_rows(results: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    rows = []
    for one in results:
        masses = {int(pid): mass for pid, mass in (one.get("masses") or {}).items()}
        ordered = sorted(masses, key=lambda pid: -masses[pid])
        shown = ", ".join(f"{symbol(pid)} {masses[pid]:.0f}" for pid in ordered)
        rows.append(
            [
                Cell(str(one["index"]) if one["index"] >= 0 else f"data {-one['index']}",
                     one["index"]),
                fixed(one["K"], 2),
                fixed(one.get("Z"), 2),
                fixed(one.get("r_max"), 2),
                fixed(one.get("largest_z"), 2),
                Cell(shown or "nothing found", content(ordered)),
            ]
        )  # fmt: skip
    return rows


_SEARCH_HEADER = [
    numbers("no."),
    numbers("K"),
    numbers("Z"),
    numbers(element("span", "r", element("sub", "max"))),
    numbers("largest z", "largest significance of a single region"),
    words("particles and masses [GeV]"),
]


def _data(document: Mapping[str, Any]) -> list[Html | None]:
    real = document.get("real")
    if not real:
        return []
    return [table("Searches of the data", _SEARCH_HEADER, _search_rows(real))]


def _searches(document: Mapping[str, Any]) -> list[Html | None]:
    results = document.get("results")
    if not results:
        return []
    ordered = sorted(results, key=lambda one: -math.inf if one["K"] is None else one["K"],
                     reverse=True)  # fmt: skip
    parts: list[Html | None] = []
    if len(ordered) > MOST_LISTED:
        text = f"The {MOST_LISTED} largest of {len(ordered)}; summary.json has all."
        parts.append(paragraph(text, class_="quiet"))
    rows = _search_rows(ordered[:MOST_LISTED])
    return [*parts, table("Searches of pseudo-databases", _SEARCH_HEADER, rows)]


def _campaign(document: Mapping[str, Any]) -> list[Html | None]:
    campaign = document.get("campaign")
    if not campaign:
        return []
    pairs: list[tuple[Any, Any]] = []
    for name, value in campaign.items():
        if isinstance(value, Mapping):
            pairs += [(f"{name}: {key}".replace("_", " "), _plain(v)) for key, v in value.items()
                      if not isinstance(v, Mapping)]  # fmt: skip
        else:
            pairs.append((name.replace("_", " "), _plain(value)))
    return [facts(pairs)]


def _plain(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
