"""The page of verdicts, `jaxlik/point/1` and `jaxlik/points/1`: predictions, limits, slopes."""

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
from jaxlik.fit.html.elements import Html, element, facts, join, note, paragraph, tiles
from jaxlik.fit.html.names import symbol
from jaxlik.fit.html.numbers import fixed, significant
from jaxlik.fit.html.page import Section, guarded, page
from jaxlik.fit.html.references import References, analysis_cell, analysis_link, publications
from jaxlik.fit.html.run_parts import missing
from jaxlik.fit.html.tables import Cell, numbers, table, words
from jaxlik.fit.html.theme import BLUE, ORANGE, RED

MOST_BARS = 20
MOST_SLOPES = 12
KIND = "jaxlik: verdict on a model"


def point_page(document: Mapping[str, Any], references: References) -> str:
    """The page of one model.

    Args:
        document: From `jaxlik.fit.point_document.document`.
        references: Publications of the analyses.
    """
    name = Path(document["model"]).name
    if "error" in document:
        text = f"This model has no verdict: {document['error']}"
        return page(f"{name}: no verdict", KIND, [note(text, kind="warning")], [])
    predictions = document["predictions"]
    known = _references(predictions, references)
    sections = [
        guarded("r-values", "r-values", lambda: _r_part(predictions)),
        guarded("predictions", "Predictions and limits", lambda: _predictions(predictions, known)),
        guarded("combination", "Combination", lambda: _combination(document, known)),
        guarded("slopes", "What moves the verdict", lambda: _slopes(document)),
        _publications({one["analysis"] for one in predictions}, known),
    ]
    word = "excluded" if document["excluded"] else "allowed"
    if not predictions:
        word = "not seen by any result"
    return page(f"{name}: {word}", KIND, _head(document), sections)


def points_page(document: Mapping[str, Any], references: References) -> str:
    """The page of several models.

    Args:
        document: `jaxlik/points/1`: documents of the models under ``points``.
        references: Publications of the analyses.
    """
    points = document["points"]
    judged = [one for one in points if "error" not in one]
    names = {p["analysis"] for one in judged for p in one["predictions"][:1]}
    known = _references([p for one in judged for p in one["predictions"]], references)
    excluded = sum(bool(one["excluded"]) for one in judged)
    head: list[Html | None] = [
        tiles(
            [
                ("Models", str(len(points)), "in all"),
                ("Excluded", str(excluded), "at 95 % CL"),
                ("Allowed", str(len(judged) - excluded), "or not seen"),
                ("Without verdict", str(len(points) - len(judged)), "see the table"),
            ]
        )
    ]
    sections = [
        guarded("models", "Models", lambda: _models(points, known)),
        _publications(names, known),
    ]
    return page("Verdicts on several models", KIND, head, sections)


def _publications(names: set[str], references: References) -> Section:
    return guarded(
        "publications",
        "Publications",
        lambda: [publications(names, references)] if names else [],
    )


def _references(predictions: Sequence[Mapping[str, Any]], references: References) -> References:
    """Those given, and what the predictions say themselves."""
    own = {
        one["analysis"]: {"doi": one.get("doi"), "sqrts": one.get("sqrts")} for one in predictions
    }
    return {**own, **references}


def _head(document: Mapping[str, Any]) -> list[Html | None]:
    combined = document["combination"]
    predictions = document["predictions"]
    first = predictions[0] if predictions else None
    verdict = ("EXCLUDED" if document["excluded"] else "allowed") if first else "not seen"
    entries: list[tuple[Any, Any, Any]] = [
        ("Verdict", verdict, "at 95 % CL, by the largest r"),
        ("Largest r", significant(document["r_max"]) if first else None,
         first["analysis"] if first else ""),
        ("Predictions", str(len(predictions)), _topologies(document["topologies_found"])),
    ]  # fmt: skip
    if combined:
        about = f"expected {significant(combined['r_expected'])}"
        entries.append(("r of the combination", significant(combined["r"]), about))
    return [
        tiles(entries),
        facts(
            [
                ("model", document["model"]),
                ("database", document["database"]["version"]),
                ("excluded by the critic",
                 {True: "yes", False: "no"}.get(document["excluded_by_critic"])),
            ]
        ),
        *(note(text) for text in document["notes"]),
    ]  # fmt: skip


def _topologies(number: int) -> str:
    return f"of {number} {'topology' if number == 1 else 'topologies'}"


def _r_part(predictions: Sequence[Mapping[str, Any]]) -> list[Html | None]:
    shown = [one for one in predictions if one["r"] is not None][:MOST_BARS]
    if not shown:
        return missing("No result sees this model.")
    places = list(range(len(shown)))
    names = [f"{one['analysis']} {_kind(one)}" for one in shown]
    hovers = [
        f"{hover_text(name)}<br>{hover_text(' '.join(one['topologies']))}"
        for name, one in zip(names, shown, strict=True)
    ]
    traces = [
        {"type": "bar", "orientation": "h", "y": places, "x": [one["r"] for one in shown],
         "name": "observed", "width": 0.6, "text": hovers, "textposition": "none",
         "marker": {"color": [RED if one["r"] > 1 else BLUE for one in shown], "opacity": 0.8},
         "hovertemplate": "%{text}<br>r = %{x:.3g}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "y": places,
         "x": [one["r_expected"] for one in shown], "name": "expected",
         "marker": {"color": ORANGE, "symbol": "line-ns", "size": 16,
                    "line": {"width": 3, "color": ORANGE}},
         "text": hovers, "hovertemplate": "%{text}<br>expected r = %{x:.3g}<extra></extra>"},
    ]  # fmt: skip
    shape, label = rule(1.0, RED, "excluded above r = 1", where="above")
    layout = {
        "xaxis": axis("r", rangemode="tozero"),
        "yaxis": names_axis(len(shown), tickvals=places, tickfont={"size": 12},
                            ticktext=[hover_text(clipped(name, 44)) for name in names]),
        "shapes": [shape],
        "annotations": [label],
        "margin": {"l": 8, "r": 16, "t": 28, "b": 48},
    }  # fmt: skip
    chart = Chart(
        "r-chart",
        "r-values of the model, observed and expected, with the line at r = 1",
        "Bars: observed r, red above one; ticks: expected r.",
        traces,
        layout,
        bar_height(len(shown), 26),
    )
    return [figure(chart)]


def _kind(one: Mapping[str, Any]) -> str:
    if one["type"] == "upper_limit":
        return "upper limit"
    return "combined" if one["type"] == "combined" or not one["region"] else one["region"]


def _predictions(
    predictions: Sequence[Mapping[str, Any]], references: References
) -> list[Html | None]:
    if not predictions:
        return []
    rows = []
    for one in predictions:
        nll = one.get("nll") or {}
        rows.append(
            [
                analysis_cell(one["analysis"], references),
                significant(one["sqrts"]),
                _kind(one),
                " ".join(one["topologies"]),
                *(
                    Cell(significant(one[key]), one[key])
                    for key in ("cross_section_fb", "upper_limit_fb", "upper_limit_expected_fb",
                                "r", "r_expected", "signal", "mu_hat")
                ),
                *(fixed(nll.get(key), 3) for key in ("mu0", "mu1", "min")),
            ]
        )  # fmt: skip
    header = [
        words("analysis"),
        numbers("√s [TeV]"),
        words("result"),
        words("topologies"),
        numbers("σ [fb]", "predicted cross section"),
        numbers("limit [fb]"),
        numbers("expected [fb]", "expected limit"),
        numbers("r"),
        numbers("expected r"),
        numbers("signal", "events"),
        numbers("μ̂"),
        numbers("−ln L(0)"),
        numbers("−ln L(1)"),
        numbers("−ln L(μ̂)"),
    ]
    return [table("Predictions and limits at 95 % CL", header, rows)]


def _combination(document: Mapping[str, Any], references: References) -> list[Html | None]:
    combined = document["combination"]
    if combined is None:
        return missing("No result with a likelihood is sensitive enough to be combined.")
    nll = combined["nll"]
    members = [analysis_link(name, references) for name in combined["analyses"]]
    return [
        paragraph("The combination with the largest expected sensitivity: ", join(members, ", ")),
        facts(
            [
                ("r", significant(combined["r"])),
                ("expected r", significant(combined["r_expected"])),
                ("μ̂", significant(combined["mu_hat"])),
                ("μ below, 95 % CL", significant(combined["mu_max"])),
                ("expected", significant(combined["mu_max_expected"])),
                ("Z", fixed(combined["Z"], 2)),
                *((f"−ln L at {at}", fixed(nll[key], 3))
                  for key, at in (("mu0", "μ = 0"), ("mu1", "μ = 1"), ("min", "μ̂"))),
            ]
        ),
    ]  # fmt: skip


def _slopes(document: Mapping[str, Any]) -> list[Html | None]:
    """Derivatives of the largest r and of that of the combination."""
    given = []
    if document["predictions"] and document["predictions"][0]["gradient"]:
        given.append(("largest r", document["predictions"][0]["gradient"]))
    if document["combination"] and document["combination"]["gradient"]:
        given.append(("combination", document["combination"]["gradient"]))
    if not given:
        return []
    parts: list[Html | None] = [
        paragraph("Derivatives of r, with regions and combinations held; zeros are left out.")
    ]
    for kind, title, factor in (
        ("masses", "change of r per 100 GeV", 100.0),
        ("branching_ratios", "change of r per unit of branching ratio", 1.0),
        ("signal_strengths", "change of r per unit of signal strength", 1.0),
    ):
        keys = {key for _, gradient in given for key in gradient[kind]}
        ordered = sorted(keys, key=lambda key: -max(abs(g[kind].get(key, 0.0)) for _, g in given))
        rows = [
            [
                _named(kind, key),
                *(
                    Cell(significant(factor * g[kind].get(key, 0.0)), g[kind].get(key, 0.0))
                    for _, g in given
                ),
            ]
            for key in ordered[:MOST_SLOPES]
        ]
        if rows:
            what = kind.replace("_", " ")
            parts += [
                element("h3", f"{what.capitalize()}: {title}"),
                table(f"Derivatives by {what}", [words("of"), *(numbers(n) for n, _ in given)],
                      rows),
            ]  # fmt: skip
    return parts


def _named(kind: str, key: str) -> str:
    """A parameter in symbols where its particles have any."""

    def shown(word: str) -> str:
        return symbol(int(word)) if word.lstrip("-").isdigit() else word

    text = " ".join(shown(word) for word in key.split()).replace("->", "→")
    return f"m({text})" if kind == "masses" else text


def _models(points: Sequence[Mapping[str, Any]], references: References) -> list[Html | None]:
    rows = []
    for one in points:
        name = Path(one["model"]).name
        if "error" in one:
            rows.append([name, "no verdict", "", "", "", one["error"]])
            continue
        first = one["predictions"][0] if one["predictions"] else None
        combined = one["combination"]
        rows.append(
            [
                name,
                "excluded" if one["excluded"] else "allowed",
                Cell(significant(one["r_max"]), one["r_max"]),
                significant(first["r_expected"]) if first else "",
                significant(combined["r"]) if combined else "",
                analysis_cell(first["analysis"], references) if first else "no result sees it",
            ]
        )
    header = [
        words("model"),
        words("verdict"),
        numbers("largest r"),
        numbers("expected r"),
        numbers("r of the combination"),
        words("analysis of the largest r"),
    ]
    return [table("Verdicts on all models", header, rows)]
