"""The terminal's side of `sample`: contents, particles, parameters, convergence, evidence."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlik.fit.report import duration, shorten, table

MAX_CONTENTS = 12
MAX_FAILURES = 8
MAPS_LAST = "exact, proposed by networks"
"""Entry ``yields`` of a run with delayed acceptance."""

YIELDS = {"networks": "yields from networks", MAPS_LAST: "yields from maps, proposed by networks"}
"""How ``yields`` read in the head line; the usual, exact ones go without saying."""

MIN_INCLUSION = 1e-3
"""Particles of a smaller probability are not listed."""


def posterior_report(document: Mapping[str, Any], width: int = 100) -> str:
    """Tables of a `jaxlik/posterior/1` document.

    Args:
        document: From `posterior_document`.
        width: Columns of the terminal.
    """
    parts = [
        _head(document, width),
        _contents(document, width),
        _particles(document, width),
        *[_parameters(content, width) for content in _leading(document)],
        _convergence(document["convergence"], width),
    ]
    if document["evidence"]:
        parts.append(_evidence(document["evidence"], width))
    if document["best_model"]:
        parts.append(_best_model(document["best_model"], width))
    return "\n\n".join(part for part in parts if part)


def _head(document: Mapping[str, Any], width: int) -> str:
    database = document.get("database")
    known = [
        f"database {database['version']}" if database else "",
        YIELDS.get(document.get("yields", ""), ""),
        f"mode {document['mode']}" if "mode" in document else "",
        f"seed {document['seed']}" if "seed" in document else "",
    ]
    size = f"{document['chains']} chains x {document['draws']} draws"
    if document.get("seconds") is not None:
        size += f" in {duration(document['seconds'])}"
    about = ", ".join(filter(None, known))
    text = f"Posterior over models: {size}" + (f" ({about})" if about else "")
    return textwrap.fill(text, width)


def _contents(document: Mapping[str, Any], width: int) -> str:
    rows = []
    shown = document["contents"][:MAX_CONTENTS]
    for content in shown:
        details = content["details"]
        middle = "-" if details is None else f"{details['log_likelihood']['median']:+.2f}"
        probability = probability_text(content["probability"], content["error"])
        chains = f"{content['chains']}/{document['chains']}"
        rows.append([probability, chains, middle, _name(content)])
    others = document["other_contents"]
    rest = document["contents"][MAX_CONTENTS:]
    number = len(rest) + others["number"]
    if number > 0:
        total = sum(one["probability"] for one in rest) + others["probability"]
        rows.append([probability_text(total, None), "", "", f"{number} others together"])
    header = ["probability", "chains", "median ln L", "content"]
    text = "Particle contents\n" + table(header, rows, ">>>|", width)
    standard_model = document["standard_model"]
    if standard_model is None:
        text += "\n  No chain visited the content without particles above the lightest one."
    elif all(content["key"] != standard_model["key"] for content in shown):
        value = probability_text(standard_model["probability"], standard_model["error"])
        text += f"\n  Nothing but {standard_model['label']}, as in the Standard Model: {value}"
    return text


def _name(content: Mapping[str, Any]) -> str:
    alone = len(content["particles"]) == 1
    return content["label"] + (" (as in the Standard Model)" if alone else "")


def _particles(document: Mapping[str, Any], width: int) -> str:
    rows = [
        [entry["name"], probability_text(entry["probability"], entry["error"])]
        for entry in document["particles"].values()
        if entry["probability"] >= MIN_INCLUSION
    ]
    numbers = ", ".join(
        f"{entry['number']}: {100 * entry['probability']:.1f}%"
        for entry in document["num_particles"]
        if entry["probability"] >= MIN_INCLUSION
    )
    foot = textwrap.fill(
        f"Number of particles, the lightest one included: {numbers}",
        width,
        initial_indent="  ",
        subsequent_indent="  ",
    )
    if not rows:
        return f"Particles\n{foot}"
    return "Particles\n" + table(["particle", "probability"], rows, "<>", width) + "\n" + foot


def _leading(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The most probable content, and the most probable one with particles if that has none."""
    detailed = [content for content in document["contents"] if content["details"] is not None]
    beyond = [content for content in detailed if len(content["particles"]) > 1]
    return detailed[:1] if detailed[:1] == beyond[:1] else detailed[:1] + beyond[:1]


def quantities(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Entries of all quantities of a content, in the order of its tables."""
    ratios = [entry for decays in details["branching_ratios"].values() for entry in decays.values()]
    return [
        *details["masses"].values(),
        *ratios,
        *details["signal_strengths"].values(),
        details["log_likelihood"],
        details["log_posterior"],
    ]


def _parameters(content: Mapping[str, Any], width: int) -> str:
    rows, fixed = [], []
    for entry in quantities(content["details"]):
        low, high = entry["interval_95"]
        partly = "" if entry["fraction"] > 0.995 else f"{100 * entry['fraction']:.0f}%"
        if low == high and not partly:
            fixed.append(f"{entry['label']} = {entry['median']:.3g}")
            continue
        unit = "" if entry["unit"] == "1" else f" [{entry['unit']}]"
        digits = digits_of(entry["interval_68"])
        cells = [f"{entry['median']:z.{digits}f}"]
        cells += [interval_text(entry[name], digits) for name in ("interval_68", "interval_95")]
        rows.append([entry["label"] + unit, *cells, partly])
    header = ["quantity", "median", "68 %", "95 %", "in use"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    probability = probability_text(content["probability"], content["error"])
    text = f"{_name(content)}, probability {probability}\n"
    text += table(header, rows, "<" + ">" * (len(header) - 1), width)
    if fixed:
        line = "Fixed: " + ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in fixed)
        wrapped = textwrap.fill(line, width, initial_indent="  ", subsequent_indent="  ")
        text += "\n" + wrapped.replace("\N{NO-BREAK SPACE}", " ")
    return text


def _convergence(convergence: Mapping[str, Any], width: int) -> str:
    targets, worst = convergence["targets"], convergence["worst"]
    wanted = f"R-hat < {targets['r_hat']:g}, ESS > {targets['ess']:g}"
    if convergence["quantities"] == 0:
        return "Convergence: not known, nothing changed in any chain."
    parts = [
        f"{name} {'-' if worst[key] is None else _value(worst[key]['value'], digits)}"
        for name, key, digits in (
            ("R-hat", "r_hat", 3),
            ("bulk ESS", "ess_bulk", 0),
            ("tail ESS", "ess_tail", 0),
        )
    ]
    failures = convergence["failures"]
    state = f"MISSED by {len(failures)} of" if failures else "reached by all"
    text = f"Convergence: {state} {convergence['quantities']} quantities ({wanted}); worst "
    lines = textwrap.wrap(text + ", ".join(parts), width)
    for failure in failures[:MAX_FAILURES]:
        lines.append(shorten(f"  {failure['quantity']}: {failure['reason']}", width))
    if len(failures) > MAX_FAILURES:
        lines.append(f"  and {len(failures) - MAX_FAILURES} more")
    return "\n".join(lines)


def _value(value: float | None, digits: int) -> str:
    """A statistic; JSON holds `null` for an infinite one."""
    return "inf" if value is None else f"{value:.{digits}f}"


def _evidence(entries: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = []
    for entry in entries[:MAX_CONTENTS]:
        bayes = entry["bayes_factor"]
        rows.append(
            [
                f"{entry['log_evidence']:+.2f} ± {entry['error']:.2f}",
                "-" if bayes is None else f"{bayes:.3g}",
                f"{entry['twice_log_bayes_factor']:+.2f} ± {entry['twice_error']:.2f}",
                "-" if entry["K"] is None else f"{entry['K']:.2f}",
                entry["label"],
            ]
        )
    header = ["ln Z", "Bayes factor", "2 ln B", "best K", "content"]
    title = "Evidence relative to the Standard Model\n"
    text = title + table(header, rows, ">>>>|", width)
    shown = [
        entry
        for entry in entries
        if any(one["change"] is not None for one in entry.get("sensitivity", ()))
    ][:MAX_CONTENTS]
    return text + ("\n\n" + _sensitivity(shown, width) if shown else "")


def _sensitivity(entries: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = []
    for entry in entries:
        changes = [one["change"] for one in entry["sensitivity"]]
        cells = ["-" if change is None else f"{change:+z.2f}" for change in changes]
        rows.append([*cells, entry["label"]])
    labels = [one["label"] for one in entries[0]["sensitivity"]]
    text = "Change of ln Z with another prior\n"
    text += table([*labels, "content"], rows, ">" * len(labels) + "|", width)
    foot = (
        "κ, BR: this standard deviation of ln κ, of logits of branching ratios; LBP, gap: "
        "largest mass, smallest mass difference [GeV]; -: too few draws to say"
    )
    return text + "\n" + textwrap.fill(foot, width, initial_indent="  ", subsequent_indent="  ")


def _best_model(best: Mapping[str, Any], width: int) -> str:
    rows = []
    for entry in best["quantities"]:
        unit = "" if entry["unit"] == "1" else f" [{entry['unit']}]"
        cells = ["-"] * 3
        if entry["median"] is not None:
            digits = digits_of(entry["interval_68"])
            cells = [f"{entry['median']:z.{digits}f}"]
            cells += [interval_text(entry[name], digits) for name in ("interval_68", "interval_95")]
        model = _with_error(entry["best"], entry["fisher_error"])
        rows.append([entry["label"] + unit, model, *cells])
    header = ["quantity", "model, Fisher", "median", "68 %", "95 %"]
    score = "" if best["K"] is None else f", K = {best['K']:.2f}"
    evidence = f"ln Z = {best['log_evidence']:+.2f} ± {best['error']:.2f}"
    head = (
        f"Best model, {best['label']}{score}, beside the posterior with its particles, decays and "
        f"productions alone: {evidence} relative to the Standard Model"
    )
    return textwrap.fill(head, width) + "\n" + table(header, rows, "<>>>>", width)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    if error is None:
        return f"{value:.4g} ± -"
    digits = digits_of((value - error, value + error))
    return f"{value:z.{digits}f} ± {error:.{digits}f}"


def probability_text(probability: float, error: float | None) -> str:
    """A probability in per cent with its Monte-Carlo error, to the digits of the latter."""
    percent = 100 * probability
    if error is None:
        return f"{percent:.1f}%" if percent >= 0.1 or percent == 0 else f"{percent:.1g}%"
    digits = 1 if 100 * error >= 0.1 else 2 if 100 * error >= 0.01 else 3
    return f"{percent:.{digits}f} ± {100 * error:.{digits}f}%"


def digits_of(interval: Sequence[float]) -> int:
    """Decimals that show a tenth of the width of an interval, at most four."""
    width = interval[1] - interval[0]
    return next((digits for digits in range(4) if width >= 10.0 ** (1 - digits)), 4)


def interval_text(interval: Sequence[float], digits: int) -> str:
    """Both ends of an interval."""
    return f"{interval[0]:z.{digits}f} .. {interval[1]:z.{digits}f}"
