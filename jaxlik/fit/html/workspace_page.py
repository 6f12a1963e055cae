"""The page of a workspace, `jaxlik/workspace/1`: fit, pulls, impacts, CLs, limits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlik.fit.html.charts import (
    Chart,
    axis,
    bar_height,
    clipped,
    figure,
    hover_text,
    names_axis,
    rule,
)
from jaxlik.fit.html.elements import Html, element, facts, paragraph, tiles
from jaxlik.fit.html.numbers import fixed, measured, p_value, significant
from jaxlik.fit.html.page import guarded, page
from jaxlik.fit.html.run_parts import missing
from jaxlik.fit.html.tables import Cell, Column, numbers, table, words
from jaxlik.fit.html.theme import BLUE, BRAZIL_1, BRAZIL_2, INK, MUTED, RED

MOST_PULLS = 40
SIGMAS = ("−2 σ", "−1 σ", "median", "+1 σ", "+2 σ")


def workspace_page(document: Mapping[str, Any]) -> str:
    """The page of a workspace.

    Args:
        document: From the command `workspace`.
    """
    name = Path(document["name"]).name
    impacts = document.get("impacts")
    sections = [
        guarded("limits", "CLs and limits", lambda: _limits(document)),
        guarded("scan", "Likelihood", lambda: _scan(document)),
        guarded("pulls", "Pulls", lambda: _pulls(document["fit"]["parameters"])),
        guarded("impacts", "Impacts",
                lambda: _impacts(impacts, document["poi"]) if impacts else
                missing("Impacts were not asked for; --impacts computes them.")),
        guarded("parameters", "Parameters", lambda: _parameters(document["fit"]["parameters"])),
    ]  # fmt: skip
    return page(f"{name}: fit and limits", "jaxlik: workspace", _head(document), sections)


def _head(document: Mapping[str, Any]) -> list[Html | None]:
    fit, limit, found = document["fit"], document["upper_limit"], document["discovery"]
    entries: list[tuple[Any, Any, Any]] = []
    if limit:
        entries += [
            (f"Upper limit on {document['poi']}", significant(limit["observed"], 4),
             f"{100 * limit['level']:g} % CL, expected {significant(limit['expected'][2], 3)}"),
            (f"CLs at {document['mu']:g}", p_value(document["cls"]["observed"]),
             f"expected {p_value(document['cls']['expected'][2])}"),
            ("Best value", measured(fit["mu_hat"], fit["mu_error"]),
             "at its lower bound" if fit["mu_hat"] == 0 else document["poi"]),
            ("Significance", f"{found['significance']:.2f} σ", f"q0 = {significant(found['q0'])}"),
        ]  # fmt: skip
    return [
        tiles(entries),
        facts(
            [
                ("workspace", document["name"]),
                ("parameters", len(fit["parameters"])),
                ("−2 ln L at the minimum", fixed(fit["twice_nll"], 4)),
                ("largest projected gradient", significant(fit["gradient_norm"], 2)),
                ("steps of the fit", fit.get("steps")),
            ]
        ),
    ]


def _limits(document: Mapping[str, Any]) -> list[Html | None]:
    limit, cls, toys = document["upper_limit"], document["cls"], document["toys"]
    if limit is None:
        return missing("The workspace has no parameter of interest: its background is fitted.")
    rows = [
        [f"upper limit, {100 * limit['level']:g} % CL", significant(limit["observed"], 4),
         *(significant(value, 4) for value in limit["expected"])],
        [f"CLs at {document['mu']:g}", significant(cls["observed"], 4),
         *(significant(value, 4) for value in cls["expected"])],
    ]  # fmt: skip
    if toys is not None:
        known = toys["cls"] is not None
        rows.append(
            [f"CLs from {toys['number']} toys",
             measured(toys["cls"], toys["cls_error"]) if known else "too few toys",
             *(significant(value, 4) for value in toys["expected"])]
        )  # fmt: skip
    header = [words(""), numbers("observed"), *(numbers(sigma) for sigma in SIGMAS)]
    parts: list[Html | None] = [
        table("CLs and limits, observed and expected", header, rows, sortable=False),
        figure(_band_chart(document)),
    ]
    if document.get("scan"):
        parts.append(figure(_cls_chart(document)))
    return parts


def _band_chart(document: Mapping[str, Any]) -> Chart:
    """Observed limit on the band of those expected."""
    limit = document["upper_limit"]
    low_2, low_1, median, high_1, high_2 = limit["expected"]
    traces: list[dict[str, Any]] = []
    for name, low, high, colour in (
        ("expected ±2 σ", low_2, high_2, BRAZIL_2),
        ("expected ±1 σ", low_1, high_1, BRAZIL_1),
    ):
        traces.append(
            {"type": "bar", "orientation": "h", "y": [0], "base": [low], "x": [high - low],
             "width": 0.6, "marker": {"color": colour}, "name": name,
             "hovertemplate": f"{name}: {low:.4g} … {high:.4g}<extra></extra>"}
        )  # fmt: skip
    for name, value, dash, colour in (
        ("expected", median, "dash", INK),
        ("observed", limit["observed"], "solid", RED),
    ):
        traces.append(
            {"type": "scatter", "mode": "lines", "x": [value, value], "y": [-0.4, 0.4],
             "line": {"color": colour, "dash": dash, "width": 2.5}, "name": name,
             "hovertemplate": f"{name}: {value:.4g}<extra></extra>"}
        )  # fmt: skip
    layout = {
        "barmode": "overlay",
        "xaxis": axis(f"upper limit on {hover_text(document['poi'])}", rangemode="tozero"),
        "yaxis": axis(None, visible=False, range=[-0.6, 0.6], fixedrange=True),
        "showlegend": True,
        "margin": {"l": 16, "r": 16, "t": 40, "b": 48},
    }
    return Chart("band", "Observed upper limit on the band of expected ones", None, traces, layout,
                 190)  # fmt: skip


def _cls_chart(document: Mapping[str, Any]) -> Chart:
    """CLs against the signal strength with its expected band."""
    scan, limit = document["scan"], document["upper_limit"]
    mu, bands = scan["mu"], scan["cls_expected"]
    around = [*mu, *reversed(mu)]
    traces: list[dict[str, Any]] = []
    for name, low, high, colour in (
        ("expected ±2 σ", 0, 4, BRAZIL_2),
        ("expected ±1 σ", 1, 3, BRAZIL_1),
    ):
        traces.append(
            {"type": "scatter", "mode": "lines", "x": around, "fill": "toself",
             "y": [*bands[high], *reversed(bands[low])], "fillcolor": colour,
             "line": {"width": 0, "color": colour}, "name": name, "hoverinfo": "skip"}
        )  # fmt: skip
    hover = "μ = %{x:.3g}: CLs = %{y:.3g}<extra>%{fullData.name}</extra>"
    traces += [
        {"type": "scatter", "mode": "lines", "x": mu, "y": bands[2], "name": "expected",
         "line": {"color": INK, "dash": "dash", "width": 2}, "hovertemplate": hover},
        {"type": "scatter", "mode": "lines+markers", "x": mu, "y": scan["cls"], "name": "observed",
         "line": {"color": RED, "width": 2}, "marker": {"size": 5}, "hovertemplate": hover},
    ]  # fmt: skip
    alpha = 1 - limit["level"]
    shape, label = rule(alpha, INK, f"CLs = {alpha:.2g}", vertical=False, dash="dot")
    layout = {
        "xaxis": axis(hover_text(document["poi"])),
        "yaxis": axis("CLs", range=[0, 1.02]),
        "shapes": [shape],
        "annotations": [label],
        "showlegend": True,
        "margin": {"l": 56, "r": 16, "t": 40, "b": 48},
    }
    caption = "The limit is where CLs falls below the dotted line."
    return Chart("cls", "CLs against the signal strength, observed and expected", caption, traces,
                 layout, 400)  # fmt: skip


def _scan(document: Mapping[str, Any]) -> list[Html | None]:
    scan = document.get("scan")
    if not scan:
        return []
    fit, limit = document["fit"], document["upper_limit"]
    traces = [
        {"type": "scatter", "mode": "lines+markers", "x": scan["mu"], "y": scan["twice_nll_ratio"],
         "line": {"color": BLUE, "width": 2.5}, "marker": {"size": 5}, "name": "profile",
         "hovertemplate": "μ = %{x:.3g}: %{y:.3f}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "x": [fit["mu_hat"]], "y": [0.0],
         "marker": {"color": INK, "size": 10}, "name": "best value", "cliponaxis": False,
         "hovertemplate": "best value %{x:.4g}<extra></extra>"},
    ]  # fmt: skip
    lines = [
        rule(1.0, MUTED, "1 σ", vertical=False, dash="dot"),
        rule(4.0, MUTED, "2 σ", vertical=False, dash="dot"),
        rule(limit["observed"], RED, f"upper limit {limit['observed']:.3g}"),
    ]
    lines[2][1].update(xanchor="right", xshift=-4)
    layout = {
        "xaxis": axis(hover_text(document["poi"]), rangemode="tozero"),
        "yaxis": axis("−2 ln L(μ)/L(μ̂)", rangemode="tozero"),
        "shapes": [shape for shape, _ in lines],
        "annotations": [label for _, label in lines],
        "margin": {"l": 60, "r": 16, "t": 16, "b": 48},
    }
    return [figure(Chart("profile", "Profile likelihood ratio against the signal strength", None,
                         traces, layout, 360))]  # fmt: skip


def _pulls(parameters: Mapping[str, Mapping[str, Any]]) -> list[Html | None]:
    pulled = [(name, one) for name, one in parameters.items() if one["pull"] is not None]
    if not pulled:
        return missing("No parameter is constrained.")
    pulled.sort(key=lambda pair: -abs(pair[1]["pull"]))
    shown = pulled[:MOST_PULLS]
    places = list(range(len(shown)))
    names = [hover_text(name) for name, _ in shown]
    bands = [
        {"type": "rect", "x0": -width, "x1": width, "yref": "paper", "y0": 0, "y1": 1,
         "fillcolor": colour, "opacity": 0.25, "line": {"width": 0}, "layer": "below"}
        for width, colour in ((2, BRAZIL_2), (1, BRAZIL_1))
    ]  # fmt: skip
    traces = [
        {"type": "scatter", "mode": "markers", "y": places,
         "x": [one["pull"] for _, one in shown], "text": names,
         "marker": {"color": INK, "size": 7},
         "hovertemplate": "%{text}: pull %{x:.3f} σ<extra></extra>"}
    ]  # fmt: skip
    reach = max([2.4, *(1.1 * abs(one["pull"]) for _, one in shown)])
    layout = {
        "xaxis": axis("pull [σ]", range=[-reach, reach], zeroline=True, zerolinecolor=MUTED),
        "yaxis": names_axis(len(shown), tickvals=places, tickfont={"size": 11},
                            ticktext=[clipped(name) for name in names]),
        "shapes": bands,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 48},
    }  # fmt: skip
    caption = (
        f"The {len(shown)} largest of {len(pulled)} pulls."
        if len(pulled) > len(shown)
        else (
            "Distance of each constrained parameter from its centre, in widths of its constraint."
        )
    )
    return [figure(Chart("pulls", "Pulls of the constrained parameters", caption, traces, layout,
                         bar_height(len(shown), 18, 72)))]  # fmt: skip


def _impacts(impacts: Sequence[Mapping[str, Any]], poi: str | None) -> list[Html | None]:
    known = [one for one in impacts if one["up"] is not None and one["down"] is not None]
    shown = known[:MOST_PULLS]
    places = list(range(len(shown)))
    names = [hover_text(one["parameter"]) for one in shown]
    traces = [
        {"type": "bar", "orientation": "h", "y": places, "x": [one[key] for one in shown],
         "name": label, "width": 0.7, "marker": {"color": colour, "opacity": 0.75},
         "text": names, "textposition": "none",
         "hovertemplate": f"%{{text}} at {label}: %{{x:+.3g}}<extra></extra>"}
        for key, label, colour in (("up", "+1 σ", BLUE), ("down", "−1 σ", RED))
    ]  # fmt: skip
    layout = {
        "barmode": "overlay",
        "xaxis": axis(f"change of the best {hover_text(poi)}", zeroline=True, zerolinecolor=MUTED),
        "yaxis": names_axis(len(shown), tickvals=places, tickfont={"size": 11},
                            ticktext=[clipped(name) for name in names]),
        "showlegend": True,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 48},
    }  # fmt: skip
    chart = Chart("impacts-chart", "Impacts of the parameters on the best signal strength",
                  "Each parameter held one standard deviation off, everything else fitted again.",
                  traces, layout, bar_height(len(shown), 18))  # fmt: skip
    rows = [
        [one["parameter"], *(Cell(significant(one[key]), one[key])
                             for key in ("up", "down", "linear"))]
        for one in impacts
    ]  # fmt: skip
    header: list[Column] = [
        words("parameter"),
        numbers("+1 σ"),
        numbers("−1 σ"),
        numbers("linear", "from the covariance matrix"),
    ]
    return [figure(chart) if shown else None, table("Impacts of all parameters", header, rows)]


def _parameters(parameters: Mapping[str, Mapping[str, Any]]) -> list[Html | None]:
    rows = []
    for name, one in parameters.items():
        state = "fixed" if one["fixed"] else "at bound" if one["at_bound"] else ""
        rows.append(
            [
                element("code", name),
                Cell(measured(one["value"], one["error"]), one["value"]),
                fixed(one["pull"], 2, sign=True),
                state,
            ]
        )
    header = [words("parameter"), numbers("value"), numbers("pull [σ]"), words("state")]
    return [
        paragraph("Best values with errors from the second derivatives of the likelihood."),
        table("All parameters", header, rows),
    ]
