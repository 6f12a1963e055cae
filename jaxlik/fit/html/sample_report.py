"""The page of a posterior: `jaxlik/posterior/1` and, where they are, the draws themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlik.fit.html import sample_figures as figures
from jaxlik.fit.html.charts import figure
from jaxlik.fit.html.elements import Html, details, element, facts, paragraph, tiles
from jaxlik.fit.html.names import content, label, symbol
from jaxlik.fit.html.numbers import (
    DASH,
    fixed,
    interval,
    measured,
    moment,
    percent,
    probability,
    significant,
)
from jaxlik.fit.html.page import guarded, page
from jaxlik.fit.html.run_parts import (
    database_text,
    load_manifest,
    missing,
    run_part,
    state_note,
    time_text,
)
from jaxlik.fit.html.tables import Cell, Column, numbers, table, words
from jaxlik.fit.posterior_draws import PosteriorDraws
from jaxlik.fit.posterior_report import digits_of, quantities

JUDGED = (
    numbers("R-hat", "between and within chains; 1 where chains agree"),
    numbers("bulk ESS", "effective draws for the centre"),
    numbers("tail ESS", "effective draws for the intervals"),
)


def sample_page(
    document: Mapping[str, Any], folder: Path | None, draws: PosteriorDraws | None
) -> str:
    """The page of a posterior.

    Args:
        document: `summary.json`.
        folder: Run directory, for configuration and versions.
        draws: Of its chains, for spectra and traces; `None` where they cannot be read.
    """
    manifest = load_manifest(folder)
    head = [state_note(manifest, document.get("status")), *_head(document, manifest)]
    sections = [
        guarded("contents", "Particle contents", lambda: _contents_part(document)),
        guarded("particles", "Particles", lambda: _particles_part(document)),
        guarded("spectra", "Spectra", lambda: _spectra_part(document, draws)),
        guarded("parameters", "Parameters by content", lambda: _parameters_part(document)),
        guarded("correlations", "Correlations", lambda: _correlations_part(document)),
        guarded("evidence", "Evidence", lambda: _evidence_part(document)),
        guarded("best", "Best model", lambda: _best_part(document)),
        guarded("convergence", "Convergence", lambda: _convergence_part(document, draws)),
        guarded("moves", "Moves", lambda: _moves_part(document)),
        guarded("run", "Run", lambda: run_part(folder, manifest, document)),
    ]
    name = folder.resolve().name if folder else "summary.json"
    return page(f"{name}: posterior over models", "jaxlik: posterior", head, sections)


def unfinished_posterior(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The document of the draws that a run without a summary has so far.

    Args:
        folder: Run directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: there are no draws yet, or they are damaged.
    """
    from jaxlik.fit.chain_files import read_chains
    from jaxlik.fit.posterior_summary import posterior_document

    known = {
        key: manifest[key] for key in ("status", "seed", "mode", "database") if key in manifest
    }
    return posterior_document(read_chains(folder), facts=known)


def content_name(entry: Mapping[str, Any]) -> str:
    """Particles of a content in symbols; the one without particles is named."""
    pids = [int(pid) for pid in entry.get("particles") or str(entry["key"]).split()]
    if not pids:
        return entry["label"]
    return content(pids) + (" (Standard Model)" if len(pids) == 1 else "")


def _head(document: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Html | None]:
    first = document["contents"][0] if document["contents"] else None
    model = document.get("standard_model")
    convergence = document["convergence"]
    failures = len(convergence["failures"])
    evidence = document.get("evidence") or []
    overall = next((one for one in evidence if not one["key"]), None)
    state = "reached" if convergence["converged"] else f"missed by {failures}"
    versions = manifest.get("versions") or {}
    return [
        tiles(
            [
                ("Most probable content", content_name(first) if first else None,
                 _share(first) if first else ""),
                ("Standard Model alone", _share(model) if model else "not visited",
                 "no particle above the lightest one"),
                ("Bayes factor", None if overall is None else significant(overall["bayes_factor"]),
                 "any particle, over the Standard Model"),
                ("Convergence", state, f"{convergence['quantities']} quantities judged"),
            ]
        ),
        facts(
            [
                ("database", database_text(document)),
                ("chains × draws", f"{document['chains']} × {document['draws']}"),
                ("prior, seed", f"{document.get('prior', DASH)}, {document.get('seed', DASH)}"),
                ("time", time_text(document.get("seconds"))),
                ("ended", moment(manifest.get("ended"))),
                ("jaxlik, JAX", f"{versions['jaxlik']}, {versions['jax']}" if versions else None),
                ("device", manifest.get("device")),
            ]
        ),
    ]  # fmt: skip


def _share(entry: Mapping[str, Any]) -> str:
    return probability(entry["probability"], entry["error"])


def _judged(entry: Mapping[str, Any]) -> list[Cell]:
    cells = [(entry.get("r_hat"), 3), (entry.get("ess_bulk"), 0), (entry.get("ess_tail"), 0)]
    return [Cell(fixed(value, digits), value) for value, digits in cells]


def _contents_part(document: Mapping[str, Any]) -> list[Html | None]:
    entries = document["contents"]
    if not entries:
        return missing("No content has a probability above 0.001.")
    rows = []
    for entry in entries:
        likelihood = entry["details"]["log_likelihood"]["median"] if entry["details"] else None
        rows.append(
            [
                Cell(content_name(entry), entry["label"]),
                Cell(_share(entry), entry["probability"]),
                f"{entry['chains']}/{document['chains']}",
                fixed(likelihood, 2, sign=True),
                *_judged(entry),
            ]
        )
    others = document["other_contents"]
    if others["number"]:
        rows.append(
            [
                Cell(f"{others['number']} others together", "~"),
                Cell(_share(others), others["probability"]),
                "", "", *_judged(others),
            ]
        )  # fmt: skip
    header = [
        words("content"),
        numbers("probability"),
        numbers("chains", "that visit it"),
        numbers("median ln L", "relative to the Standard Model"),
        *JUDGED,
    ]
    return [
        figure(figures.contents_chart([(content_name(e), e) for e in entries])),
        table("Particle contents by probability", header, rows),
    ]


def _particles_part(document: Mapping[str, Any]) -> list[Html | None]:
    entries = document["particles"]
    sizes = [
        [str(one["number"]), Cell(_share(one), one["probability"]), *_judged(one)]
        for one in document["num_particles"]
    ]
    parts: list[Html | None] = []
    if entries:
        rows = [
            [
                symbol(int(pid)),
                entry["name"],
                Cell(_share(entry), entry["probability"]),
                f"{entry['chains']}/{document['chains']}",
                *_judged(entry),
            ]
            for pid, entry in entries.items()
        ]
        header = [
            words("particle"),
            words("protomodel"),
            numbers("probability", "that the model contains it"),
            numbers("chains"),
            *JUDGED,
        ]
        parts += [
            figure(figures.inclusion_chart(entries)),
            table("Inclusion probabilities", header, rows),
        ]
    else:
        parts += missing("No chain left the Standard Model.")
    parts += [
        element("h3", "Number of particles"),
        table(
            "Number of particles, the lightest one included",
            [numbers("particles"), numbers("probability"), *JUDGED],
            sizes,
        ),
    ]
    return parts


def _spectra_part(document: Mapping[str, Any], draws: PosteriorDraws | None) -> list[Html | None]:
    detailed = [(content_name(e), e) for e in document["contents"] if e["details"]]
    chart = figures.spectra_chart(detailed, draws)
    if chart is None:
        return missing("No content is probable enough for a spectrum.")
    return [figure(chart)]


def _parameters_part(document: Mapping[str, Any]) -> list[Html | None]:
    detailed = [entry for entry in document["contents"] if entry["details"]]
    if not detailed:
        return missing("No content is probable enough for intervals of its parameters.")
    parts: list[Html | None] = [
        paragraph(
            "Medians and equal-tailed intervals of each content that is more probable than 0.01. "
            "In use: fraction of its draws in which the quantity is a parameter."
        )
    ]
    for number, entry in enumerate(detailed):
        rows = [_quantity_row(one) for one in quantities(entry["details"])]
        header = [
            words("quantity"),
            numbers("median"),
            numbers("68 %"),
            numbers("95 %"),
            numbers("mean ± MC error"),
            numbers("in use"),
            *JUDGED,
        ]
        name = content_name(entry)
        body = table(f"Parameters of {name}", header, rows)
        parts.append(details(f"{name}: {_share(entry)}", body, opened=number == 0))
    return parts


def _quantity_row(entry: Mapping[str, Any]) -> list[Any]:
    unit = "" if entry["unit"] == "1" else f" [{entry['unit']}]"
    decimals = _decimals(entry["interval_68"])
    return [
        label(entry["label"]) + unit,
        Cell(fixed(entry["median"], decimals), entry["median"]),
        *(interval(entry[name], decimals) for name in ("interval_68", "interval_95")),
        Cell(measured(entry["mean"], entry["error"]), entry["mean"]),
        Cell(percent(entry["fraction"]), entry["fraction"]),
        *_judged(entry),
    ]


def _decimals(ends: Sequence[float | None]) -> int:
    low, high = ends
    return 2 if low is None or high is None or low == high else digits_of((low, high))


def _correlations_part(document: Mapping[str, Any]) -> list[Html | None]:
    detailed = [(content_name(e), e) for e in document["contents"] if e["details"]]
    chart = figures.correlations_chart(detailed)
    if chart is None:
        return missing("No content with details has two parameters that vary.")
    return [figure(chart)]


def _evidence_part(document: Mapping[str, Any]) -> list[Html | None]:
    entries = document.get("evidence")
    if not entries:
        return missing("Evidences need the prior `count`; this run has another one, or no draws.")
    rows = [
        [
            Cell(content_name(entry), entry["label"]),
            Cell(measured(entry["log_evidence"], entry["error"]), entry["log_evidence"]),
            significant(entry["bayes_factor"]),
            Cell(measured(entry["twice_log_bayes_factor"], entry["twice_error"]),
                 entry["twice_log_bayes_factor"]),
            fixed(entry["K"], 2),
        ]
        for entry in entries
    ]  # fmt: skip
    header = [
        words("content"),
        numbers("ln Z", "evidence relative to the Standard Model"),
        numbers("Bayes factor"),
        numbers("2 ln B"),
        numbers("best K"),
    ]
    parts: list[Html | None] = [
        paragraph(
            "Marginal likelihood of each content relative to the Standard Model: a Bayes factor "
            "above one speaks for it. K, a maximum over models, stands beside it."
        ),
        figure(figures.evidence_chart([(content_name(e), e) for e in entries])),
        table("Evidence of contents", header, rows),
    ]
    varied = [entry for entry in entries if entry.get("sensitivity")]
    if varied:
        labels = [one["label"] for one in varied[0]["sensitivity"]]
        body = [
            [
                Cell(content_name(entry), entry["label"]),
                *(
                    Cell(
                        DASH if one["change"] is None else fixed(one["change"], 2, sign=True),
                        one["change"],
                    )
                    for one in entry["sensitivity"]
                ),
            ]
            for entry in varied
        ]
        columns: list[Column] = [words("content"), *(numbers(name) for name in labels)]
        parts += [
            element("h3", "Change of ln Z with another prior"),
            paragraph(
                "κ, BR: another standard deviation of ln κ, of logits of branching ratios; LBP, "
                "gap: another largest mass, smallest mass difference [GeV]. A dash: too few draws.",
                class_="quiet",
            ),
            table("Change of the evidence with other priors", columns, body),
        ]
    return parts


def _best_part(document: Mapping[str, Any]) -> list[Html | None]:
    best = document.get("best_model")
    if not best:
        return []
    rows = []
    for entry in best["quantities"]:
        unit = "" if entry["unit"] == "1" else f" [{entry['unit']}]"
        known = entry["median"] is not None
        decimals = _decimals(entry["interval_68"]) if known else 2
        rows.append(
            [
                label(entry["label"]) + unit,
                Cell(measured(entry["best"], entry["fisher_error"]), entry["best"]),
                Cell(fixed(entry["median"], decimals), entry["median"]),
                interval(entry["interval_68"], decimals),
                interval(entry["interval_95"], decimals),
            ]
        )
    header = [
        words("quantity"),
        numbers("model ± Fisher error"),
        numbers("median"),
        numbers("68 %"),
        numbers("95 %"),
    ]
    score = "" if best["K"] is None else f", K = {best['K']:.2f}"
    return [
        paragraph(
            f"{label(best['label'])}{score}, beside the posterior with its particles, decays and "
            f"productions alone: ln Z = {measured(best['log_evidence'], best['error'])} relative "
            "to the Standard Model."
        ),
        table("The best model beside its posterior", header, rows),
    ]


def _convergence_part(
    document: Mapping[str, Any], draws: PosteriorDraws | None
) -> list[Html | None]:
    convergence = document["convergence"]
    targets, failures = convergence["targets"], convergence["failures"]
    wanted = f"R-hat < {targets['r_hat']:g}, bulk and tail ESS > {targets['ess']:g}"
    if convergence["quantities"] == 0:
        return missing("Not known: nothing changed in any chain.")
    state = f"missed by {len(failures)} of" if failures else "reached by all"
    parts: list[Html | None] = [
        paragraph(f"Targets ({wanted}) {state} {convergence['quantities']} quantities."),
        facts(
            [
                (f"worst {name}", f"{fixed(worst['value'], digits)}: {label(worst['quantity'])}")
                for name, key, digits in (
                    ("R-hat", "r_hat", 3), ("bulk ESS", "ess_bulk", 0), ("tail ESS", "ess_tail", 0))
                if (worst := convergence["worst"][key]) is not None
            ]
        ),
    ]  # fmt: skip
    if failures:
        rows = [[label(one["quantity"]), one["reason"], *_judged(one)] for one in failures]
        parts += [
            element("h3", "Targets missed"),
            table(
                "Quantities that miss a target", [words("quantity"), words("why"), *JUDGED], rows
            ),
        ]
    rows = _every_quantity(document)
    parts += [
        element("h3", "All quantities"),
        figure(figures.convergence_chart(rows, targets)),
        table(
            "Convergence of all quantities",
            [words("quantity"), *JUDGED],
            [[name, *_judged(entry)] for name, entry in rows],
        ),
    ]
    traces = figures.traces_chart(draws) if draws is not None else None
    if traces is not None:
        parts += [element("h3", "Traces"), figure(traces)]
    else:
        parts += missing("The chains could not be read: there are no traces.")
    return parts


def _every_quantity(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Everything with an R-hat, by name."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for entry in document["contents"]:
        name = content_name(entry)
        rows.append((f"p({name})", entry))
        for one in quantities(entry["details"]) if entry["details"] else ():
            rows.append((f"{label(one['label'])} in {name}", one))
    for pid, entry in document["particles"].items():
        rows.append((f"inclusion of {symbol(int(pid))}", entry))
    for entry in document["num_particles"]:
        rows.append((f"p({entry['number']} particles)", entry))
    return [row for row in rows if row[1].get("r_hat") is not None]


def _moves_part(document: Mapping[str, Any]) -> list[Html | None]:
    acceptance = document.get("acceptance")
    if not acceptance:
        return []
    rows = [[name, Cell(percent(value), value)] for name, value in acceptance.items()]
    return [table("Accepted moves", [words("move"), numbers("accepted")], rows)]
