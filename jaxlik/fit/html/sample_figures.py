"""Figures of a posterior: probabilities, spectra with bands, correlations, traces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlik.fit.html.charts import (
    Chart,
    Variant,
    axis,
    bar_height,
    clipped,
    hover_text,
    names_axis,
    rule,
)
from jaxlik.fit.html.names import label, symbol
from jaxlik.fit.html.numbers import fixed, percent, probability
from jaxlik.fit.html.theme import BLUE, DIVERGING, INK, MUTED, RED, cycle
from jaxlik.fit.posterior_draws import PosteriorDraws
from jaxlik.physics.particles import LBP
from jaxlik.plotting import kind_of

MOST_BARS = 15
MOST_TRACED = 400
"""Draws of each chain in the traces, spread evenly."""

MOST_WRITTEN = 12
"""Parameters of a correlation matrix whose cells show their numbers."""

MIN_INCLUSION = 0.005
"""Particles of a smaller probability have no band."""

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)

Named = Sequence[tuple[str, Mapping[str, Any]]]
"""Entries of a document with the names of their contents."""


def _bars(
    name: str,
    alt: str,
    caption: str | None,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    colours: Sequence[str],
    title: str,
) -> Chart:
    """Horizontal bars of probabilities with their Monte-Carlo errors."""
    places = list(range(len(rows)))
    traces = [
        {"type": "bar", "orientation": "h", "y": places,
         "x": [100 * entry["probability"] for _, entry in rows],
         "error_x": {"type": "data", "array": [100 * (entry["error"] or 0) for _, entry in rows],
                     "color": INK, "thickness": 1.2, "width": 3},
         "marker": {"color": list(colours), "opacity": 0.8}, "width": 0.65,
         "text": [f"{hover_text(text)}: {probability(entry['probability'], entry['error'])}"
                  for text, entry in rows],
         "textposition": "none", "hovertemplate": "%{text}<extra></extra>"}
    ]  # fmt: skip
    layout = {
        "xaxis": axis(title, rangemode="tozero", ticksuffix=" %"),
        "yaxis": names_axis(
            len(rows),
            tickvals=places,
            ticktext=[hover_text(clipped(text)) for text, _ in rows],
        ),
        "margin": {"l": 8, "r": 16, "t": 8, "b": 48},
    }
    return Chart(name, alt, caption, traces, layout, bar_height(len(rows), 26, 76))


def contents_chart(entries: Named) -> Chart:
    """Probabilities of the first contents."""
    rows = entries[:MOST_BARS]
    caption = f"The first {len(rows)} of {len(entries)} contents with a probability above 0.001."
    return _bars(
        "contents-chart",
        "Posterior probabilities of particle contents",
        caption if len(entries) > len(rows) else None,
        rows,
        [BLUE] * len(rows),
        "posterior probability",
    )


def inclusion_chart(entries: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Probabilities that a model contains each particle."""
    rows = [(symbol(int(pid)), entry) for pid, entry in entries.items()]
    colours = [kind_of(int(pid))[1] for pid in entries]
    return _bars(
        "inclusion-chart",
        "Posterior probabilities that a model contains each particle",
        "Coloured by kind: squarks, stops and sbottoms, gluino, charginos, neutralinos, sleptons.",
        rows,
        colours,
        "inclusion probability",
    )


def spectra_chart(detailed: Named, draws: PosteriorDraws | None) -> Chart | None:
    """Masses with bands: of all models that contain a particle, and content by content."""
    variants = []
    if draws is not None:
        bands = {}
        for place, pid in enumerate(draws.pdg_ids):
            active = draws.active[..., place]
            share = float(active.mean())
            if share >= MIN_INCLUSION or pid == LBP:
                values = np.quantile(draws.masses[..., place][active], QUANTILES)
                bands[pid] = (values.tolist(), share)
        variants.append(_spectrum("all models that contain the particle", bands))
    for name, entry in detailed:
        bands = {}
        for pid, mass in entry["details"]["masses"].items():
            (low_95, high_95), (low_68, high_68) = mass["interval_95"], mass["interval_68"]
            quantiles = [low_95, low_68, mass["median"], high_68, high_95]
            bands[int(pid)] = (quantiles, None)
        variants.append(
            _spectrum(f"{name}, {probability(entry['probability'], entry['error'])}", bands)
        )
    if not variants:
        return None
    return Chart(
        "spectra-chart",
        "Posterior intervals of masses: medians with 68 and 95 per cent bands",
        "Line: median; dark band: 68 %; light band: 95 % of the posterior, equal tails.",
        variants=variants,
        choose="Models:",
    )


def _spectrum(name: str, bands: Mapping[int, tuple[list[float], float | None]]) -> Variant:
    ordered = sorted(bands, key=lambda pid: -bands[pid][0][2])
    traces: list[dict[str, Any]] = []
    for place, pid in enumerate(ordered):
        (low_95, low_68, median, high_68, high_95), share = bands[pid]
        _, colour = kind_of(pid)
        text = f"<b>{symbol(pid)}</b>" + ("" if share is None else f", in {percent(share)} of all")
        text += (
            f"<br>median {median:.0f} GeV<br>68 %: {low_68:.0f} … {high_68:.0f}"
            f"<br>95 %: {low_95:.0f} … {high_95:.0f}"
        )
        shared = {
            "type": "bar",
            "x": [place],
            "marker": {"color": colour, "line": {"width": 0}},
            "text": [text],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        }
        traces += [
            {**shared, "base": [low_95], "y": [high_95 - low_95], "width": 0.62, "opacity": 0.28},
            {**shared, "base": [low_68], "y": [high_68 - low_68], "width": 0.62, "opacity": 0.6},
            {
                "type": "scatter",
                "mode": "lines",
                "x": [place - 0.36, place + 0.36],
                "y": [median, median],
                "line": {"color": INK, "width": 2.5},
                "text": [text] * 2,
                "hovertemplate": "%{text}<extra></extra>",
            },
        ]
    labels = [
        symbol(pid) + ("" if bands[pid][1] is None else f"<br>{percent(bands[pid][1])}")
        for pid in ordered
    ]
    layout = {
        "barmode": "overlay",
        "xaxis": axis(None, tickvals=list(range(len(ordered))), ticktext=labels, showgrid=False,
                      range=[-0.7, max(len(ordered), 3) - 0.3], tickangle=0),
        "yaxis": axis("mass [GeV]", rangemode="tozero"),
        "margin": {"l": 64, "r": 12, "t": 12, "b": 56},
    }  # fmt: skip
    return Variant(name, traces, layout, 420)


def correlations_chart(detailed: Named) -> Chart | None:
    """Correlations of parameters, content by content."""
    variants = []
    for name, entry in detailed:
        found = entry["details"]["correlations"]
        if len(found["labels"]) < 2:
            continue
        names = [hover_text(clipped(label(one), 28)) for one in found["labels"]]
        size = len(names)
        matrix = found["matrix"]
        pairs = [[f"{names[i]}<br>{names[j]}" for j in range(size)] for i in range(size)]
        trace = {
            "type": "heatmap",
            "z": matrix,
            "x": list(range(size)),
            "y": list(range(size)),
            "zmin": -1,
            "zmax": 1,
            "colorscale": DIVERGING,
            "colorbar": {
                "title": {"text": "correlation", "side": "right", "font": {"size": 13}},
                "thickness": 12,
                "outlinewidth": 0,
            },
            "customdata": pairs,
            "hovertemplate": "%{customdata}<br>%{z:.3f}<extra></extra>",
            "xgap": 1,
            "ygap": 1,
        }
        if size <= MOST_WRITTEN:
            trace["text"] = [[fixed(value, 2) for value in row] for row in matrix]
            trace |= {"texttemplate": "%{text}", "textfont": {"size": 11}}
        ticks = {"tickvals": list(range(size)), "ticktext": names, "showgrid": False}
        layout = {
            "xaxis": axis(None, **ticks, tickangle=-45, tickfont={"size": 11}),
            "yaxis": axis(None, **ticks, autorange="reversed", tickfont={"size": 11}),
            "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        }
        variants.append(Variant(name, [trace], layout, min(760, 200 + 34 * size)))
    if not variants:
        return None
    return Chart(
        "correlations-chart",
        "Correlation matrix of the parameters of a content",
        "Over the draws of one content; parameters that never vary are left out.",
        variants=variants,
        choose="Content:",
    )


def evidence_chart(entries: Named) -> Chart:
    """2 ln B of contents with errors."""
    rows = entries[:MOST_BARS]
    places = list(range(len(rows)))
    traces = [
        {"type": "scatter", "mode": "markers", "y": places,
         "x": [entry["twice_log_bayes_factor"] for _, entry in rows],
         "error_x": {"type": "data", "array": [entry["twice_error"] for _, entry in rows],
                     "color": BLUE, "thickness": 1.5, "width": 4},
         "marker": {"color": BLUE, "size": 9}, "text": [hover_text(name) for name, _ in rows],
         "hovertemplate": "%{text}<br>2 ln B = %{x:.2f}<extra></extra>"}
    ]  # fmt: skip
    layout = {
        "xaxis": axis("2 ln B", zeroline=True, zerolinecolor=MUTED),
        "yaxis": names_axis(
            len(rows),
            tickvals=places,
            ticktext=[hover_text(clipped(name)) for name, _ in rows],
        ),
        "margin": {"l": 8, "r": 16, "t": 8, "b": 48},
    }
    more = f"The first {len(rows)} of {len(entries)}. " if len(entries) > len(rows) else ""
    return Chart(
        "evidence-chart",
        "Twice the logarithm of the Bayes factor of contents against the Standard Model",
        f"{more}Right of zero: data prefer the content to the Standard Model.",
        traces,
        layout,
        bar_height(len(rows), 26, 76),
    )


def convergence_chart(
    rows: Sequence[tuple[str, Mapping[str, Any]]], targets: Mapping[str, float]
) -> Chart:
    """R-hat against effective draws of all quantities."""
    known = [row for row in rows if row[1].get("ess_bulk") is not None]
    good = [
        entry["r_hat"] < targets["r_hat"]
        and min(entry["ess_bulk"], entry.get("ess_tail") or np.inf) > targets["ess"]
        for _, entry in known
    ]
    traces = [
        {"type": "scatter", "mode": "markers",
         "x": [max(entry["ess_bulk"], 1.0) for _, entry in known],
         "y": [entry["r_hat"] for _, entry in known],
         "marker": {"color": [BLUE if one else RED for one in good], "size": 7, "opacity": 0.7},
         "text": [hover_text(name) for name, _ in known],
         "hovertemplate": "%{text}<br>R-hat %{y:.4f}, bulk ESS %{x:.0f}<extra></extra>"}
    ]  # fmt: skip
    lines = [
        rule(targets["r_hat"], RED, f"R-hat {targets['r_hat']:g}", vertical=False),
        rule(targets["ess"], RED, f"ESS {targets['ess']:g}"),
    ]
    # On a logarithmic axis annotations are placed by the logarithm, shapes by the value.
    lines[1][1]["x"] = float(np.log10(targets["ess"]))
    layout = {
        "xaxis": axis("bulk ESS", type="log", dtick="D2"),
        "yaxis": axis("R-hat"),
        "shapes": [shape for shape, _ in lines],
        "annotations": [note for _, note in lines],
        "margin": {"l": 64, "r": 16, "t": 12, "b": 48},
    }
    return Chart(
        "convergence-chart",
        "R-hat against effective draws of all quantities, with the targets",
        "Each quantity is a point; red: a target is missed. Quantities of contents less probable "
        "than 0.01 are shown, but have no targets.",
        traces,
        layout,
        360,
    )


def traces_chart(draws: PosteriorDraws) -> Chart:
    """Log-likelihood and number of particles along the chains."""
    total = draws.num_draws
    chosen = np.unique(np.linspace(0, total - 1, min(total, MOST_TRACED)).round().astype(int))
    size = draws.active.sum(axis=-1)
    traces: list[dict[str, Any]] = []
    for row, (values, kind) in enumerate(((draws.log_likelihood, "ln L"), (size, "particles"))):
        for chain in range(draws.num_chains):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": chosen,
                    "y": values[chain, chosen].astype(float),
                    "line": {"color": cycle(chain), "width": 1},
                    "opacity": 0.75,
                    "name": f"chain {chain}",
                    "legendgroup": f"chain {chain}",
                    "showlegend": row == 0,
                    "xaxis": "x",
                    "yaxis": "y2" if row else "y",
                    "hovertemplate": f"draw %{{x}}: {kind} %{{y:.3g}}"
                    "<extra>%{fullData.name}</extra>",
                }
            )
    layout = {
        "xaxis": axis("draw", anchor="y2"),
        "yaxis": axis("ln L", domain=[0.53, 1.0]),
        "yaxis2": axis("particles", domain=[0.0, 0.47]),
        "showlegend": True,
        "margin": {"l": 64, "r": 16, "t": 40, "b": 48},
    }
    caption = "ln L relative to the Standard Model, and number of particles, along the chains."
    if len(chosen) < total:
        caption += f" {len(chosen)} of {total} draws of each chain are shown."
    return Chart("traces-chart", "Traces of all chains", caption, traces, layout, 460)
