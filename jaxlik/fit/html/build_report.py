"""The page of a search: `jaxlik/run/1` and what else its directory holds."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlik.fit.html import build_results as results
from jaxlik.fit.html.charts import figure
from jaxlik.fit.html.elements import Html, details, element, facts, paragraph, tiles
from jaxlik.fit.html.film import film_chart, history_chart, read_film
from jaxlik.fit.html.names import content, decay, masses_text, pair, symbol
from jaxlik.fit.html.numbers import fixed, moment, percent, significant
from jaxlik.fit.html.page import Section, guarded, page
from jaxlik.fit.html.references import References, named_analyses, publications
from jaxlik.fit.html.run_parts import (
    database_text,
    load_manifest,
    missing,
    run_part,
    state_note,
    time_text,
)
from jaxlik.fit.html.spectrum import decay_chart, models_chart, ruler_chart
from jaxlik.fit.html.tables import Cell, numbers, table, words
from jaxlik.fit.report import MIN_CROSS_SECTION
from jaxlik.fit.store import HISTORY, MODELS, SUMMARY, read_lines
from jaxlik.plotting import kind_of

NOTHING = "No model was found that any combination of results prefers."
R_MAX = element("span", "r", element("sub", "max"))

UNSCORED = (
    "The run ended before its models were scored at the end; masses and branching ratios are "
    "those of the search."
)


def build_page(document: Mapping[str, Any], folder: Path | None, references: References) -> str:
    """The page of a search.

    Args:
        document: `summary.json`.
        folder: Run directory, for history, film, configuration and versions.
        references: Publications of the analyses.
    """
    manifest = load_manifest(folder)
    models = document.get("best") or []
    model = models[0] if models else None
    history = read_lines(folder / HISTORY) if folder else []
    head = [state_note(manifest, document.get("status")), *_head(document, manifest, model)]
    scored = model is not None and "combination" in model
    sections = []
    if model is not None:
        sections.append(guarded("model", "Best model", lambda: _model_part(model)))
    if model is not None and not scored:
        sections.append(Section("scores", "Results behind K", missing(UNSCORED)))
    if model is not None and scored:
        sections += [
            guarded("results", "Results behind K",
                    lambda: results.combination_part(model, references)),
            guarded("likelihood", "Likelihood", lambda: results.likelihood_part(model)),
            guarded("critic", "Critic", lambda: results.critic_part(model, references)),
            guarded("contributions", "What K owes to each",
                    lambda: results.contributions_part(model, references)),
        ]  # fmt: skip
    sections.append(guarded("walk", "Walk", lambda: _walk_part(folder, history)))
    if len(models) > 1:
        sections.append(guarded("models", "Best models", lambda: _models_part(models)))
    names = named_analyses(models)
    if names:
        sections.append(
            guarded("publications", "Publications", lambda: [publications(names, references)])
        )
    sections.append(guarded("run", "Run", lambda: run_part(folder, manifest, document)))
    return page(_title(document, folder), "jaxlik: search for the best model", head, sections)


def unfinished_document(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a run without a summary had found so far, as far as its files say.

    Args:
        folder: Run directory.
        manifest: Its manifest.
    """
    history = read_lines(folder / HISTORY)
    last = history[-1] if history else {}
    return {
        "schema": "jaxlik/run/1",
        "status": manifest.get("status"),
        "mode": manifest.get("mode"),
        "seed": manifest.get("seed"),
        "steps": last.get("step", 0),
        "seconds": last.get("seconds"),
        "steps_per_second": last.get("steps_per_second"),
        "database": manifest.get("database") or {},
        "best": read_lines(folder / MODELS),
    }


def _title(document: Mapping[str, Any], folder: Path | None) -> str:
    name = folder.resolve().name if folder else SUMMARY
    models = document.get("best") or []
    if not models:
        return f"{name}: no model found"
    particles = content([int(pid) for pid in models[0]["particles"]])
    return f"{name}: K = {models[0]['K']:.2f} with {particles}"


def _head(
    document: Mapping[str, Any], manifest: Mapping[str, Any], model: Mapping[str, Any] | None
) -> list[Html | None]:
    parts: list[Html | None] = []
    if model is None:
        parts.append(paragraph(NOTHING, class_="lead"))
    else:
        r_max, log_prior = model.get("r_max"), model.get("log_prior")
        bound = "at the critic's bound" if model.get("at_bound") else "largest the critic counts"
        parts.append(
            tiles(
                [
                    ("Test statistic K", fixed(model["K"], 2), _k_about(model)),
                    ("Z", _sigma(model.get("Z")), "√(2 ln L(μ̂)/L(0)), local"),
                    (R_MAX, fixed(r_max, 2) if r_max else "none",
                     bound if r_max else "no result is sensitive"),
                    ("2 ln π", None if log_prior is None else fixed(2 * log_prior, 2),
                     "prior: fewer parameters, larger"),
                    ("Particles", str(len(model["particles"])), masses_text(model["particles"])),
                ]
            )
        )  # fmt: skip
        if model.get("networks"):
            parts.append(_networks_note(model["networks"]))
        if model.get("complete") is False:
            parts.append(
                paragraph("A table was too small for this model: its numbers are incomplete.",
                          class_="warning")
            )  # fmt: skip
    walkers, steps = document.get("walkers"), document.get("steps")
    rate = document.get("steps_per_second")
    versions = manifest.get("versions") or {}
    parts.append(
        facts(
            [
                ("database", database_text(document)),
                ("mode, seed", f"{document.get('mode')}, {document.get('seed')}"),
                ("walkers × steps", f"{walkers} × {steps}" if walkers else steps),
                ("time of the walk", time_text(document.get("seconds"))),
                ("rate", f"{rate:.3g} steps/s" if rate else None),
                ("ended", moment(manifest.get("ended"))),
                ("jaxlik, JAX", f"{versions['jaxlik']}, {versions['jax']}" if versions else None),
                ("device", manifest.get("device")),
            ]
        )
    )
    return parts


def _k_about(model: Mapping[str, Any]) -> str:
    networks = model.get("networks")
    if networks and not networks["exact"]:
        return f"± {networks['K_band']:.2f} ({percent(networks['level'])} band of the networks)"
    return "Z² + 2 ln π"


def _sigma(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} σ"


def _networks_note(networks: Mapping[str, Any]) -> Html:
    level = percent(networks["level"])
    if networks["exact"]:
        text = (
            f"Scores are exact; the networks that found the model say K = {networks['K']:.2f} ± "
            f"{networks['K_band']:.2f} and r_max = {networks['r_max']:.2f} ({level} bands)."
        )
    else:
        text = (
            f"Yields are from networks: K is known to ± {networks['K_band']:.2f}"
            + (f", r_max to ± {100 * networks['r_band']:.1f} %" if networks["r_band"] else "")
            + f" ({level} bands)."
        )
    if networks["fading"]:
        text += f" {networks['fading']} topologies lie in the rim of a grid, where maps end."
    return paragraph(text)


def _model_part(model: Mapping[str, Any]) -> list[Html | None]:
    ruler, graph = figure(ruler_chart(model)), decay_chart(model)
    pictures = ruler
    if graph is not None:
        pictures = element("div", ruler, figure(graph), class_="pair")
    parts: list[Html | None] = [pictures, _particles(model)]
    if model.get("cross_sections"):
        parts += [element("h3", "Production"), _productions(model)]
    return parts


def _particles(model: Mapping[str, Any]) -> Html:
    rows = []
    for pid, entry in model["particles"].items():
        kind, colour = kind_of(int(pid))
        swatch = element("span", class_="swatch", style=f"background:{colour}", aria_hidden="true")
        ratios = sorted(model.get("branching_ratios", {}).get(pid, {}).items(), key=lambda i: -i[1])
        decays = ", ".join(
            f"{decay(key)}\N{NO-BREAK SPACE}({percent(value)})".replace(" ", "\N{NO-BREAK SPACE}")
            for key, value in ratios
            if value > 0
        )
        rows.append(
            [
                Cell(element("span", swatch, symbol(int(pid)), class_="id"), pid),
                entry["name"],
                pid,
                kind,
                fixed(entry["mass"], 1),
                decays or "stable",
            ]
        )
    header = [
        words("particle"),
        words("protomodel", "name in protomodels: quantum numbers only, no supersymmetry"),
        numbers("PDG number"),
        words("kind"),
        numbers("mass [GeV]"),
        words("decays"),
    ]
    return table("Particles of the best model", header, rows)


def _productions(model: Mapping[str, Any]) -> Html:
    rows = []
    sections = model["cross_sections"]
    for key in sorted(sections, key=lambda key: -sections[key]["13"]):
        values = sections[key]
        if max(values.values()) < MIN_CROSS_SECTION:
            continue
        strength = model.get("signal_strengths", {}).get(key, 0.0)
        first, second = ast.literal_eval(key)
        rows.append(
            [
                Cell(pair(key), f"{abs(first)} {abs(second)}"),
                Cell(significant(strength), strength),
                *(Cell(significant(values[e]), values[e]) for e in ("8", "13")),
            ]
        )
    header = [
        words("mode"),
        numbers("strength κ", "factor on the reference cross section"),
        numbers("σ at 8 TeV [fb]"),
        numbers("σ at 13 TeV [fb]"),
    ]
    return table("Cross sections of the best model", header, rows)


def _walk_part(folder: Path | None, history: list[dict[str, Any]]) -> list[Html | None]:
    film = film_chart(read_film(folder)) if folder else None
    curve = history_chart(history)
    if curve is None and film is None:
        return missing("No step of the walk has been recorded.")
    parts: list[Html | None] = []
    if curve is not None:
        parts.append(figure(curve))
    if film is not None:
        parts += [element("h3", "Film"), figure(film)]
    else:
        parts += missing("This run has no film: positions of walkers were not recorded.")
    acceptance = history[-1].get("acceptance") if history else None
    if acceptance:
        rows = [
            [name.replace("_", " "), Cell(percent(value), value)]
            for name, value in acceptance.items()
        ]
        body = table("Accepted moves", [words("move"), numbers("accepted")], rows)
        parts.append(details("Accepted moves", body))
    return parts


def _models_part(models: list[dict[str, Any]]) -> list[Html | None]:
    networks = [model.get("networks") for model in models]
    header = [
        numbers("no."),
        numbers("K"),
        numbers("Z"),
        numbers(R_MAX),
        words("particles and masses [GeV]"),
        numbers("step"),
        numbers("walker"),
    ]
    learned = all(networks)
    if learned:
        header.insert(2, numbers("K of the networks"))
    rows = []
    for rank, model in enumerate(models, start=1):
        row = [
            str(rank),
            fixed(model["K"], 2),
            fixed(model.get("Z"), 2),
            fixed(model.get("r_max"), 2),
            masses_text(model["particles"]),
            str(model.get("step", "")),
            str(model.get("walker", "")),
        ]
        one = model.get("networks")
        if learned and one:
            row.insert(2, f"{fixed(one['K'], 2)} ± {fixed(one['K_band'], 2)}")
        rows.append(row)
    return [figure(models_chart(models)), table("Best models", header, rows)]
