"""The page of a census, `jaxlik/census/1`: significances of all signal regions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from jaxlik.fit.html.charts import Chart, axis, figure, hover_text
from jaxlik.fit.html.elements import Html, element, facts, paragraph, tiles
from jaxlik.fit.html.numbers import fixed, measured, p_value, significant
from jaxlik.fit.html.page import guarded, page
from jaxlik.fit.html.references import References, analysis_cell, publications
from jaxlik.fit.html.run_parts import missing
from jaxlik.fit.html.tables import Cell, numbers, table, words
from jaxlik.fit.html.theme import BLUE, INK, ORANGE, cycle

EDGES = np.arange(-4.0, 5.01, 0.25)
MOST_LISTED = 100
BAND = "rgba(120,130,140,0.28)"


def census_page(document: Mapping[str, Any], folder: Path | None, references: References) -> str:
    """The page of a census.

    Args:
        document: `census.json`.
        folder: Where it lies, for the title.
        references: Publications of the analyses.
    """
    name = folder.resolve().name if folder else "census.json"
    analyses = {region["analysis"] for region in document["regions"]}
    sections = [
        guarded("significances", "Significances", lambda: _charts(document["regions"])),
        guarded("spread", "Moments", lambda: _spreads(document)),
        guarded("largest", "Largest excesses", lambda: _largest(document, references, -1)),
        guarded("smallest", "Largest deficits", lambda: _largest(document, references, 1)),
        guarded("whitened", "Whitening", lambda: _whitened(document)),
        guarded("fudge", "Scaled background errors", lambda: _fudge(document)),
        guarded("publications", "Publications", lambda: [publications(analyses, references)]),
    ]
    return page(f"{name}: census of signal regions", "jaxlik: census", _head(document), sections)


def _head(document: Mapping[str, Any]) -> list[Html | None]:
    found = document["spread"]["all"]
    return [
        tiles(
            [
                ("Signal regions", str(found["number"]), "with observed and expected events"),
                ("Mean significance", fixed(found["mean"], 3, sign=True), "0 expected"),
                ("Standard deviation", fixed(found["deviation"], 3), "1 expected"),
                ("Above 3 σ", str(found["large"]),
                 f"{significant(found['large_expected'], 2)} expected if independent"),
            ]
        ),
        facts(
            [
                ("database", document["database"]["version"]),
                ("Kolmogorov–Smirnov p against a standard normal", p_value(found["ks_p"])),
            ]
        ),
        paragraph(
            "Regions share events, so that their significances are not independent; p-values "
            "against a standard normal take them as if they were."
        ),
    ]  # fmt: skip


def _charts(regions: Sequence[Mapping[str, Any]]) -> list[Html | None]:
    if not regions:
        return missing("The database has no region with expected events.")
    pair = [figure(_histogram(regions)), figure(_quantiles(regions))]
    return [element("div", *pair, class_="halves")]


def _histogram(regions: Sequence[Mapping[str, Any]]) -> Chart:
    groups: dict[str, list[float]] = {}
    for region in regions:
        key = f"{region['experiment']} {region['sqrts']:g} TeV"
        groups.setdefault(key, []).append(region["z"])
    width = float(EDGES[1] - EDGES[0])
    traces: list[dict[str, Any]] = []
    for number, (name, values) in enumerate(groups.items()):
        counts, _ = np.histogram(np.clip(values, EDGES[0], EDGES[-1] - 1e-9), bins=EDGES)
        traces.append(
            {"type": "bar", "x": (EDGES[:-1] + EDGES[1:]) / 2, "y": counts, "width": width,
             "name": f"{hover_text(name)} ({len(values)})",
             "marker": {"color": cycle(number), "opacity": 0.75, "line": {"width": 0}},
             "hovertemplate": "z = %{x:.2f}: %{y}<extra>%{fullData.name}</extra>"}
        )  # fmt: skip
    x = np.linspace(EDGES[0], EDGES[-1], 181)
    traces.append(
        {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip",
         "y": len(regions) * width * stats.norm.pdf(x), "name": "standard normal",
         "line": {"color": INK, "width": 2}}
    )  # fmt: skip
    layout = {
        "barmode": "stack",
        "bargap": 0,
        "xaxis": axis("significance z"),
        "yaxis": axis(f"regions / {width:g}"),
        "showlegend": True,
        "margin": {"l": 56, "r": 12, "t": 64, "b": 48},
    }
    return Chart("z-histogram", "Histogram of significances beside a standard normal",
                 "Significance of each region (mid-p), stacked by experiment and energy.",
                 traces, layout, 420)  # fmt: skip


def _quantiles(regions: Sequence[Mapping[str, Any]]) -> Chart:
    number = len(regions)
    rank = np.arange(1, number + 1)
    median, low, high = (
        special.ndtri(special.betaincinv(rank, number + 1 - rank, q)) for q in (0.5, 0.025, 0.975)
    )
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": np.concatenate([median, median[::-1]]),
         "y": np.concatenate([low, high[::-1]]), "fill": "toself", "fillcolor": BAND,
         "line": {"width": 0}, "hoverinfo": "skip", "name": "95 %, independent regions"},
        {"type": "scatter", "mode": "lines", "x": median[[0, -1]], "y": median[[0, -1]],
         "line": {"color": INK, "width": 1}, "hoverinfo": "skip", "showlegend": False},
    ]  # fmt: skip
    plain = sorted(regions, key=lambda region: region["z"])
    traces.append(_points(plain, median, [region["z"] for region in plain], BLUE, "as published"))
    whitened = [(region, region.get("z_white")) for region in regions]
    if any(value is not None for _, value in whitened):
        # A region without a covariance keeps its significance.
        both = sorted(
            ((region["z"] if value is None else value, region) for region, value in whitened),
            key=lambda one: one[0],
        )
        name = "whitened where a covariance is published"
        traces.append(_points([one[1] for one in both], median, [one[0] for one in both],
                              ORANGE, name))  # fmt: skip
    layout = {
        "xaxis": axis("quantile of a standard normal"),
        "yaxis": axis("significance z"),
        "showlegend": True,
        "margin": {"l": 56, "r": 12, "t": 64, "b": 48},
    }
    return Chart("z-quantiles", "Ordered significances against quantiles of a standard normal",
                 "Ordered significances against those of a standard normal.",
                 traces, layout, 420)  # fmt: skip


def _points(
    regions: Sequence[Mapping[str, Any]],
    x: np.ndarray,
    y: Sequence[float],
    colour: str,
    name: str,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": list(y),
        "name": name,
        "marker": {"color": colour, "size": 5},
        "text": [
            f"{hover_text(one['analysis'])}<br>{hover_text(one['region'])}" for one in regions
        ],
        "hovertemplate": "%{text}<br>z = %{y:.2f}<extra></extra>",
    }


def _spreads(document: Mapping[str, Any]) -> list[Html | None]:
    rows = [
        [
            name,
            str(one["number"]),
            fixed(one["mean"], 3, sign=True),
            fixed(one["deviation"], 3),
            fixed(one["skewness"], 2, sign=True),
            str(one["large"]),
            Cell(significant(one["large_expected"], 2), one["large_expected"]),
            Cell(p_value(one["ks_p"]), one["ks_p"]),
        ]
        for name, one in document["spread"].items()
    ]
    header = [
        words("regions"),
        *(numbers(name) for name in ("number", "mean", "sd", "skewness", "above 3 σ", "expected")),
        numbers("KS p"),
    ]
    return [table("Moments of the significances", header, rows)]


def _largest(document: Mapping[str, Any], references: References, sign: int) -> list[Html | None]:
    ordered = sorted(document["regions"], key=lambda region: sign * region["z"])[:MOST_LISTED]
    rows = [
        [
            analysis_cell(one["analysis"], references),
            significant(one["sqrts"]),
            one["region"],
            Cell(significant(one["observed"]), one["observed"]),
            Cell(measured(one["background"], one["error"]), one["background"]),
            fixed(one["z"], 2, sign=True),
            fixed(one.get("z_white"), 2, sign=True),
        ]
        for one in ordered
    ]
    header = [
        words("analysis"),
        numbers("√s [TeV]"),
        words("region"),
        numbers("observed"),
        numbers("background"),
        numbers("z", "significance from the mid-p-value"),
        numbers("whitened", "with the covariance of its result, where published"),
    ]
    name = "Largest excesses" if sign < 0 else "Largest deficits"
    return [table(name, header, rows)]


def _whitened(document: Mapping[str, Any]) -> list[Html | None]:
    if not document["whitened"]:
        return []
    rows = [
        [
            one["folder"],
            str(one["number"]),
            *(fixed(value, 2, sign=place == 0) for name in ("before", "after")
              for place, value in enumerate(one[name])),
            fixed(one["chi2"], 1),
            "skewed" if one["skewed"] else Cell(p_value(one["p"]), one["p"]),
        ]
        for one in document["whitened"]
    ]  # fmt: skip
    header = [
        words("result"),
        *(numbers(name) for name in ("regions", "mean before", "sd before", "mean after",
                                     "sd after", "χ²", "p")),
    ]  # fmt: skip
    return [
        paragraph("Results with a covariance matrix, before and after whitening."),
        table("Results with a covariance matrix", header, rows),
    ]


def _fudge(document: Mapping[str, Any]) -> list[Html | None]:
    if not document["fudge_scan"]:
        return []
    rows = [
        [significant(one["factor"]), fixed(one["mean"], 3, sign=True), fixed(one["deviation"], 3),
         str(one["large"])]
        for one in document["fudge_scan"]
    ]  # fmt: skip
    header = [numbers(name) for name in ("factor", "mean", "sd", "above 3 σ")]
    return [
        paragraph("The same significances with all background errors scaled by a factor."),
        table("Scaled background errors", header, rows),
    ]
