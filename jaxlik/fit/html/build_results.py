"""Results behind the score of a model: members of its combination, r-values, likelihoods."""

import math
from collections.abc import Mapping, Sequence
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
from jaxlik.fit.html.elements import Html, element, facts, join, paragraph
from jaxlik.fit.html.names import symbol
from jaxlik.fit.html.numbers import DASH, fixed, measured, significant
from jaxlik.fit.html.references import References, analysis_cell, analysis_link
from jaxlik.fit.html.run_parts import missing
from jaxlik.fit.html.tables import Cell, numbers, table, words
from jaxlik.fit.html.theme import BLUE, GOLD, INK, LIMIT_SHADE, MUTED, ORANGE, RED, cycle
from jaxlik.plotting import kind_of

MOST_BARS = 15
"""r-values with a bar; the table has all."""


def pull(
    observed: float, background: float, error: float | None, signal: float = 0.0
) -> float | None:
    """Data above expectation in standard deviations: Poisson and background error together."""
    variance = background + signal + (error or 0.0) ** 2
    return (observed - background - signal) / math.sqrt(variance) if variance > 0 else None


def combination_part(model: Mapping[str, Any], references: References) -> list[Html | None]:
    """Table and pulls of the members of the best combination."""
    members = model["combination"]
    if not members:
        return missing("No combination of results prefers this model.")
    total = sum(member["log_ratio"] for member in members)
    parts: list[Html | None] = [
        paragraph(
            f"{len(members)} results that may be combined and together prefer the model most; "
            f"2 ln L(μ̂)/L(0) = {total:.2f} in all. Events at the best signal strength; pull: "
            "observed less expected events, in standard deviations of the latter (Poisson and "
            "background error)."
        ),
        _combination_table(members, references),
    ]
    counted = [member for member in members if member["type"] != "upper_limit"]
    if counted:
        parts.append(figure(_pulls_chart(counted)))
    return parts


def _combination_table(members: Sequence[Mapping[str, Any]], references: References) -> Html:
    rows = []
    for member in members:
        known = {member["analysis"]: member, **references}
        limit = member["type"] == "upper_limit"
        unit = " fb" if limit else ""
        counts = [member] if member["type"] != "combined" else [member, member["best_region"]]
        pulls = [_pulls(one) if not limit else (None, None) for one in counts]
        cells: list[Any] = [analysis_cell(member["analysis"], known), significant(member["sqrts"])]
        cells.append(_lines(_what(member)))
        for shown in (
            [f"{significant(one['observed'])}{unit}" for one in counts],
            [f"{measured(one['background'], one['background_error'])}{unit}" for one in counts],
            [f"{significant(one['signal'])}{unit}" for one in counts],
            [fixed(without, 1, sign=True) for without, _ in pulls],
            [fixed(with_, 1, sign=True) for _, with_ in pulls],
        ):
            cells.append(_lines(shown))
        cells.append(fixed(member["log_ratio"], 2, sign=True))
        rows.append(cells)
    header = [
        words("analysis"),
        numbers("√s [TeV]"),
        words("region"),
        numbers("observed"),
        numbers("background"),
        numbers("signal", "events, or fb, at the best signal strength"),
        numbers("pull", "observed less background"),
        numbers("with signal", "pull: observed less background and signal"),
        numbers("2 ln L ratio", "2 ln L(μ̂)/L(0) of this result"),
    ]
    return table("Members of the best combination", header, rows)


def _what(member: Mapping[str, Any]) -> list[str]:
    """Region of a member; for a joint likelihood all of them, and the most sensitive one."""
    if member["type"] == "combined":
        return [f"joint fit of {member['num_regions']} regions", f"best: {member['region']}"]
    if member["type"] == "upper_limit":
        return [f"limit on {member.get('topology')} (observed and expected limit)"]
    return [str(member["region"])]


def _lines(lines: Sequence[Any]) -> Cell:
    """One entry, and a second one below it in small letters."""
    parts = [lines[0], *(join([element("br"), element("small", line)]) for line in lines[1:])]
    return Cell(join(parts), str(lines[0]).replace("−", "-").split(" ±")[0])


def _pulls(one: Mapping[str, Any]) -> tuple[float | None, float | None]:
    numbers_of = (one["observed"], one["background"], one["background_error"])
    return pull(*numbers_of), pull(*numbers_of, one["signal"])


def _pulls_chart(members: Sequence[Mapping[str, Any]]) -> Chart:
    names, without, with_, hovers = [], [], [], []
    for member in members:
        one = member.get("best_region") or member
        names.append(hover_text(clipped(f"{member['analysis']}, {member['region']}", 46)))
        low, high = _pulls(one)
        without.append(low)
        with_.append(high)
        hovers.append(
            f"{hover_text(member['analysis'])}<br>{hover_text(member['region'])}<br>observed "
            f"{significant(one['observed'])}, background "
            f"{measured(one['background'], one['background_error'])}, signal "
            f"{significant(one['signal'])}"
        )
    places = list(range(len(names)))
    common = {"type": "scatter", "mode": "markers", "y": places, "text": hovers}
    hover = "%{text}<br>%{fullData.name}: %{x:+.2f} σ<extra></extra>"
    traces = [
        {**common, "x": without, "name": "background alone", "hovertemplate": hover,
         "marker": {"color": INK, "size": 10, "symbol": "circle"}},
        {**common, "x": with_, "name": "background and signal", "hovertemplate": hover,
         "marker": {"color": RED, "size": 11, "symbol": "diamond-open", "line": {"width": 2}}},
    ]  # fmt: skip
    reach = max(2.4, *(1.15 * abs(x) for x in [*without, *with_] if x is not None))
    bands = [
        {"type": "rect", "x0": -width, "x1": width, "yref": "paper", "y0": 0, "y1": 1,
         "fillcolor": colour, "opacity": 0.22, "line": {"width": 0}, "layer": "below"}
        for width, colour in ((2, "#f0d34a"), (1, "#5cb85f"))
    ]  # fmt: skip
    layout = {
        "xaxis": axis("pull [σ]", range=[-reach, reach], zeroline=True, zerolinecolor=MUTED),
        "yaxis": names_axis(len(names), tickvals=places, ticktext=names),
        "shapes": bands,
        "showlegend": True,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 48},
    }
    return Chart(
        "pulls",
        "Pulls of the contributing regions with the background alone and with the signal",
        "Regions that speak for the model (of joint fits, the most sensitive one): what the signal "
        "takes away from their excess.",
        traces,
        layout,
        bar_height(len(names), 42),
    )


def likelihood_part(model: Mapping[str, Any]) -> list[Html | None]:
    """L(mu) of the combination and of its members."""
    scan = model.get("likelihood_scan")
    if not scan:
        return missing("The likelihood was not scanned in this run.")
    mu = scan["mu"]
    total = [sum(column) for column in zip(*(c["values"] for c in scan["curves"]), strict=True)]
    hover = "μ = %{x:.2f}: %{y:.2f}<extra>%{fullData.name}</extra>"
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": mu, "y": total, "name": "combination",
         "line": {"color": INK, "width": 3}, "hovertemplate": hover}
    ]  # fmt: skip
    for number, curve in enumerate(scan["curves"]):
        traces.append(
            {"type": "scatter", "mode": "lines", "x": mu, "y": curve["values"],
             "name": hover_text(curve["analysis"]),
             "line": {"color": cycle(number), "width": 1.8}, "hovertemplate": hover}
        )  # fmt: skip
    mu_hat, mu_max = scan["mu_hat"], scan["mu_max"]
    best = [i for i, value in enumerate(mu) if value <= mu_hat]
    peak = _between(mu, total, mu_hat, best[-1] if best else 0)
    traces.append(
        {"type": "scatter", "mode": "markers", "x": [mu_hat], "y": [peak],
         "name": f"μ̂ = {mu_hat:.2f}", "marker": {"color": INK, "size": 10},
         "hovertemplate": hover}
    )  # fmt: skip
    high = max(0.5, max(total), *(max(c["values"]) for c in scan["curves"]))
    low = max(min(0.0, min(total)), -1.5 * high)
    shapes, annotations = [], []
    if mu_max is not None and mu_max < mu[-1]:
        shape, label = rule(mu_max, RED, f"μ<sub>max</sub> = {mu_max:.2f}")
        shapes += [
            shape,
            {"type": "rect", "x0": mu_max, "x1": mu[-1], "yref": "paper", "y0": 0, "y1": 1,
             "fillcolor": LIMIT_SHADE, "line": {"width": 0}, "layer": "below"},
        ]  # fmt: skip
        annotations.append(label)
    layout = {
        "xaxis": axis("signal strength μ", range=[0, mu[-1]]),
        "yaxis": axis("2 ln L(μ)/L(0)", range=[low - 0.06 * high, 1.1 * high], zeroline=True,
                      zerolinecolor=MUTED),
        "shapes": shapes,
        "annotations": annotations,
        "showlegend": True,
        "margin": {"l": 60, "r": 16, "t": 56, "b": 48},
    }  # fmt: skip
    chart = Chart(
        "scan",
        "Likelihood ratio of the combination and of each member against the signal strength",
        "A factor on all cross sections of the model; 1 is the model as the search left it. The "
        "critic forbids the shaded part, if there is one.",
        traces,
        layout,
        420,
    )
    return [figure(chart)]


def _between(mu: Sequence[float], values: Sequence[float], at: float, place: int) -> float:
    """Linear interpolation in a table."""
    if place >= len(mu) - 1:
        return values[-1]
    share = (at - mu[place]) / (mu[place + 1] - mu[place])
    return values[place] + share * (values[place + 1] - values[place])


def critic_part(model: Mapping[str, Any], references: References) -> list[Html | None]:
    """What bounds the model: r-values, the most sensitive combination, mu_max."""
    critic = model.get("critic") or {}
    rows = model.get("r_values") or []
    threshold = critic.get("threshold")
    scan = model.get("likelihood_scan") or {}
    mu_max = scan.get("mu_max")
    names = [analysis_link(name, references) for name in critic.get("analyses", ())]
    parts: list[Html | None] = [
        paragraph(
            "The critic knows no combination that prefers the model: it asks whether single "
            "results, or the combination with the largest expected sensitivity, exclude it. r is "
            "the predicted cross section over its upper limit at 95 % CL."
        ),
        facts(
            [
                ("largest r that counts", fixed(critic.get("r_max"), 2)),
                ("threshold on r", None if threshold is None else significant(threshold)),
                ("largest μ the critic allows", None if mu_max is None else fixed(mu_max, 2)),
                ("best μ", fixed(scan.get("mu_hat", model.get("mu_hat")), 2)),
                ("CLs of the most sensitive combination",
                 None if critic.get("cls") is None else significant(critic["cls"], 2)),
                ("its members", join(names, ", ") if names else None),
            ]
        ),
    ]  # fmt: skip
    if not rows:
        return [*parts, *missing("No result has an r-value above 0.001.")]
    parts += [figure(_r_chart(rows, threshold)), _r_table(rows, references)]
    return parts


def _r_name(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, [row["analysis"], row["region"] or ", ".join(row["topologies"])]))


def _r_chart(rows: Sequence[Mapping[str, Any]], threshold: float | None) -> Chart:
    shown = rows[:MOST_BARS]
    places = list(range(len(shown)))
    hovers = [
        f"{hover_text(row['analysis'])} ({hover_text(row['result'])})<br>"
        f"{hover_text(row['region'] or '')} {hover_text(', '.join(row['topologies']))}"
        for row in shown
    ]
    traces = [
        {"type": "bar", "orientation": "h", "y": places, "x": [row["r"] for row in shown],
         "name": "observed", "marker": {"color": BLUE, "opacity": 0.8}, "width": 0.6,
         "text": hovers, "textposition": "none",
         "hovertemplate": "%{text}<br>r = %{x:.3f}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "y": places,
         "x": [row["r_expected"] for row in shown], "name": "expected",
         "marker": {"color": ORANGE, "symbol": "line-ns", "size": 16,
                    "line": {"width": 3, "color": ORANGE}},
         "text": hovers, "hovertemplate": "%{text}<br>expected r = %{x:.3f}<extra></extra>"},
    ]  # fmt: skip
    lines = [rule(1.0, RED, "r = 1", where="bottom")]
    # Both lines may be close to each other: one label is on the left, one on the right.
    lines[0][1].update(xanchor="right", xshift=-3)
    if threshold is not None and threshold != 1.0:
        lines.append(rule(threshold, GOLD, f"threshold {threshold:g}", dash="dot", where="bottom"))
    longest = max([1.1, 1.15 * (threshold or 0)] + [r for row in shown
                  for r in (row["r"], row["r_expected"]) if r is not None])  # fmt: skip
    layout = {
        "xaxis": axis("r", range=[0, 1.08 * longest]),
        "yaxis": names_axis(
            len(shown),
            tickvals=places,
            ticktext=[hover_text(clipped(_r_name(row), 44)) for row in shown],
            tickfont={"size": 12},
        ),
        "shapes": [shape for shape, _ in lines],
        "annotations": [label for _, label in lines],
        "showlegend": True,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 48},
    }
    return Chart(
        "r-values",
        "Largest r-values, observed and expected, with the line at r = 1 and the threshold",
        f"The {len(shown)} largest of {len(rows)} r-values. A single result excludes a model at "
        "95 % CL above r = 1; a search over many results tolerates more, up to the threshold.",
        traces,
        layout,
        bar_height(len(shown), 26),
    )


def _r_table(rows: Sequence[Mapping[str, Any]], references: References) -> Html:
    kinds = {"upper_limit": "upper limit", "efficiency_map": "region", "combined": "joint fit"}
    cells = []
    for row in rows:
        expected = row["r_expected"]
        cells.append(
            [
                analysis_cell(row["analysis"], references),
                kinds.get(row["type"], row["type"]),
                row["region"] or DASH,
                ", ".join(row["topologies"]),
                fixed(row["r"], 3),
                fixed(expected, 3),
                "yes" if row["r"] > 1 else "no",
            ]
        )
    header = [
        words("analysis"),
        words("type"),
        words("region"),
        words("topologies"),
        numbers("r"),
        numbers("expected r"),
        words("r > 1"),
    ]
    return table("r-values of all results", header, cells)


def contributions_part(model: Mapping[str, Any], references: References) -> list[Html | None]:
    """K without each particle, and without each analysis."""
    given = model.get("contributions") or {}
    entries: list[tuple[Any, str, str, Mapping[str, Any]]] = []
    for pid, entry in (given.get("particles") or {}).items():
        _, colour = kind_of(int(pid))
        entries.append((symbol(int(pid)), symbol(int(pid)), colour, entry))
    for name, entry in (given.get("analyses") or {}).items():
        entries.append((analysis_cell(name, references), name, MUTED, entry))
    if not entries:
        return missing("How much K owes to each part was not computed in this run.")
    entries.sort(key=lambda one: -(one[3]["loss"] if one[3]["loss"] is not None else math.inf))
    rows = []
    for shown, name, _, entry in entries:
        what = "analysis" if isinstance(shown, Cell) else "particle"
        k = entry["K"]
        rows.append(
            [
                what,
                shown if isinstance(shown, Cell) else Cell(name, name),
                "none" if k is None else fixed(k, 2),
                fixed(entry["loss"], 2),
            ]
        )
    header = [
        words("part"),
        words("without"),
        numbers("K", "of the model without it; none where nothing is left to combine"),
        numbers("loss of K"),
    ]
    drawn = [one for one in entries if one[3]["loss"] is not None]
    chart = _loss_chart(drawn, given.get("K", model["K"])) if drawn else None
    return [
        paragraph(
            "K of the model after a particle is taken out, and of the database after an analysis "
            "is. What loses nothing is not needed."
        ),
        figure(chart) if chart else None,
        table("K without each particle and analysis", header, rows),
    ]


def _loss_chart(entries: Sequence[tuple[Any, str, str, Mapping[str, Any]]], k: float) -> Chart:
    places = list(range(len(entries)))
    traces = [
        {"type": "bar", "orientation": "h", "y": places,
         "x": [entry["loss"] for *_, entry in entries],
         "marker": {"color": [colour for _, _, colour, _ in entries], "opacity": 0.85},
         "width": 0.6,
         "customdata": [fixed(entry["K"], 2) for *_, entry in entries],
         "text": [hover_text(name) for _, name, _, _ in entries], "textposition": "none",
         "hovertemplate": "without %{text}: K = %{customdata}, loss %{x:.2f}<extra></extra>"}
    ]  # fmt: skip
    layout = {
        "xaxis": axis(f"loss of K (of {k:.2f})", rangemode="tozero"),
        "yaxis": names_axis(
            len(entries),
            tickvals=places,
            ticktext=[hover_text(clipped(name)) for _, name, _, _ in entries],
        ),
        "margin": {"l": 8, "r": 16, "t": 8, "b": 48},
    }
    return Chart(
        "losses",
        "How much K falls without each particle and without each analysis",
        None,
        traces,
        layout,
        bar_height(len(entries), 32, 76),
    )
