"""Tables for the terminal: plain text, made of the documents that are also written as JSON."""

import ast
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlik.physics.particles import particle, signed_name

MAX_R_VALUES = 8
"""Rows of the table of r-values."""

MIN_BRANCHING_RATIO = 5e-3
"""Smaller branching ratios are summed up as `other`."""

MIN_CROSS_SECTION = 1e-3
"""fb; production modes that stay below this are not listed."""

INDENT = "  "
HARD_SPACE = "\N{NO-BREAK SPACE}"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], align: str, width: int = 100
) -> str:
    """Aligned columns under a ruled header.

    Args:
        header: One title per column.
        rows: Cells as text.
        align: One of ``<``, ``>`` per column; ``|`` for a last column that is wrapped.
        width: Columns of the terminal.
    """
    cells = [list(header), *[list(row) for row in rows]]
    sizes = [max(len(row[i]) for row in cells) for i in range(len(header))]
    wrapped = align.endswith("|")
    if wrapped:
        used = len(INDENT) + sum(size + 2 for size in sizes[:-1])
        sizes[-1] = min(sizes[-1], max(24, width - used))
    lines = []
    for row in cells:
        parts = [
            f"{cell:{'<' if how == '|' else how}{size}}"
            for cell, size, how in zip(row, sizes, align, strict=True)
        ]
        if not wrapped:
            lines.append(INDENT + "  ".join(parts))
            continue
        pieces = textwrap.wrap(row[-1], sizes[-1]) or [""]
        lead = INDENT + "  ".join(parts[:-1]) + "  "
        lines.append(lead + pieces[0])
        lines += [" " * len(lead) + piece for piece in pieces[1:]]
    rule = INDENT + "-" * (sum(sizes) + 2 * (len(sizes) - 1))
    text = "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])
    return text.replace(HARD_SPACE, " ")


def run_report(document: Mapping[str, Any], width: int = 100) -> str:
    """The best model in full, and the others in one line each."""
    best = document["best"]
    database = document["database"]
    head = (
        f"database {database['version']}"
        + (", yields from networks" if document.get("yields") == "networks" else "")
        + f", mode {document['mode']}, seed {document['seed']}: "
        f"{document['walkers']} walkers x {document['steps']} steps in "
        f"{duration(document['seconds'])} ({document['steps_per_second']:.3g} steps/s)"
    )
    if not best:
        return f"{head}\n\nNo model was found that any combination of results prefers."
    parts = [head, model_report(best[0], width)]
    if len(best) > 1:
        parts.append("Best models\n" + models_table(best, width))
    return "\n\n".join(parts)


def model_report(model: Mapping[str, Any], width: int = 100) -> str:
    """Everything about one model: content, rates, combination, critic, contributions."""
    if "combination" not in model:
        return "\n\n".join([_headline(model), _particles(model, width)])
    parts = [_headline(model), _particles(model, width), _productions(model, width)]
    parts += [_combination(model, width), _r_values(model, width)]
    critic = model.get("critic", {})
    if critic.get("cls") is not None:
        text = (
            f"The most sensitive combination ({', '.join(critic['analyses'])}) allows the model: "
            f"CLs = {critic['cls']:.2f} (0.05 would exclude it)."
        )
        parts.append(textwrap.fill(text, width))
    contributions = _contributions(model, width)
    return "\n\n".join([*parts, contributions] if contributions else parts)


def _headline(model: Mapping[str, Any]) -> str:
    line = f"Best model: K = {model['K']:.2f}"
    if model.get("Z") is not None:
        line += f", Z = {model['Z']:.2f} σ"
    if model.get("log_prior") is not None:
        line += f", 2 ln(prior) = {2 * model['log_prior']:.2f}"
    if model.get("r_max") is not None:
        line += f", {r_max_text(model['r_max'])}"
        line += " (critic's bound)" if model.get("at_bound") else ""
    if model.get("networks"):
        line += "\n" + _networks_line(model["networks"])
    if model.get("complete") is False:
        line += "\nA table was too small for this model: its numbers are incomplete."
    return line


def _networks_line(networks: Mapping[str, Any]) -> str:
    """What learned yields say of a model, with their bands."""
    level = f"{100 * networks['level']:.0f} % bands"
    if networks["exact"]:
        text = f"K = {networks['K']:.2f} ± {networks['K_band']:.2f}"
        r = f", {r_max_text(networks['r_max'])}" if networks["r_max"] > 0 else ""
        line = f"Exact yields above; the networks that found it say {text}{r}"
    else:
        line = f"Yields from networks: K ± {networks['K_band']:.2f}"
    line += f", r_max ± {100 * networks['r_band']:.1f} % ({level})"
    if networks["fading"]:
        line += f"\n{networks['fading']} topologies lie in the rim of a grid, where maps end."
    return line


def r_max_text(r_max: float) -> str:
    """The largest r-value that counts; none if no result is sensitive to the model."""
    return f"r_max = {r_max:.2f}" if r_max > 0 else "no sensitive limit"


def _particles(model: Mapping[str, Any], width: int) -> str:
    rows = []
    for pid, entry in model["particles"].items():
        decays = model["branching_ratios"].get(pid, {})
        rows.append([entry["name"], f"{entry['mass']:.1f}", decays_text(decays)])
    return "Particles\n" + table(["particle", "mass [GeV]", "decays"], rows, "<>|", width)


def decays_text(decays: Mapping[str, float]) -> str:
    """Decays of one particle, most frequent first."""
    if not decays:
        return "stable"
    ordered = sorted(decays.items(), key=lambda item: -item[1])
    shown = [(key, value) for key, value in ordered if value >= MIN_BRANCHING_RATIO]
    parts = []
    for key, value in shown:
        daughter, *sm = ast.literal_eval(key)
        names = " ".join(particle(pid).name for pid in (*sm, daughter))
        # Hard spaces: a decay is not broken over two lines.
        parts.append(f"{names} {percent(value)}".replace(" ", HARD_SPACE))
    rest = sum(value for _, value in ordered[len(shown) :])
    if rest > 1e-4:
        parts.append(f"other {percent(rest)}".replace(" ", HARD_SPACE))
    return ", ".join(parts)


def percent(fraction: float) -> str:
    """A fraction in per cent, with a decimal only where it matters."""
    value = 100 * fraction
    return f"{value:.0f}%" if value >= 9.95 else f"{value:.1f}%"


def production_name(key: str) -> str:
    """The pair of a production mode, such as `X_t^1 X_t^1~`."""
    first, second = ast.literal_eval(key)
    return " ".join(signed_name(pid) for pid in sorted((first, second), key=lambda p: (abs(p), -p)))


def _productions(model: Mapping[str, Any], width: int) -> str:
    rows = []
    sections = model["cross_sections"]
    for key in sorted(sections, key=lambda key: -sections[key]["13"]):
        values = sections[key]
        if max(values.values()) < MIN_CROSS_SECTION:
            continue
        strength = model["signal_strengths"].get(key, 0.0)
        rows.append(
            [
                production_name(key),
                f"{strength:.3g}",
                number(values["8"]),
                number(values["13"]),
            ]
        )
    header = ["production", "strength", "8 TeV [fb]", "13 TeV [fb]"]
    return "Cross sections\n" + table(header, rows, "<>>>", width)


def _combination(model: Mapping[str, Any], width: int) -> str:
    rows = []
    for member in model["combination"]:
        unit = " fb" if member["type"] == "upper_limit" else ""
        rows.append(
            [
                member["analysis"],
                f"{member['sqrts']:g}",
                _region_text(member),
                f"{number(member['observed'])}{unit}",
                with_error(member["background"], member["background_error"]) + unit,
                number(member["signal"]) + unit,
                f"{member['log_ratio']:+.2f}",
            ]
        )
        if member["type"] == "combined":
            best = member["best_region"]
            rows.append(
                [
                    "",
                    "",
                    f"  best: {member['region']}",
                    number(best["observed"]),
                    with_error(best["background"], best["background_error"]),
                    number(best["signal"]),
                    "",
                ]
            )
    header = ["analysis", "TeV", "region", "observed", "background", "signal", "2 ln L ratio"]
    room = (
        width
        - len(INDENT)
        - 12
        - sum(max(len(row[i]) for row in [header, *rows]) for i in range(7) if i != 2)
    )
    for row in rows:
        row[2] = shorten(row[2], max(room, 16))
    total = sum(member["log_ratio"] for member in model["combination"])
    title = f"Combination of {len(model['combination'])} results, 2 ln L ratio = {total:.2f}"
    return title + "\n" + table(header, rows, "<><>>>>", width)


def _region_text(member: Mapping[str, Any]) -> str:
    if member["type"] == "combined":
        return f"joint fit, {member['num_regions']} regions"
    if member["type"] == "upper_limit":
        return f"limit on {member['topology']}"
    return member["region"]


def _r_values(model: Mapping[str, Any], width: int) -> str:
    rows = []
    for entry in model["r_values"][:MAX_R_VALUES]:
        expected = entry["r_expected"]
        what = " ".join(filter(None, [entry["region"], ", ".join(entry["topologies"])]))
        rows.append(
            [
                entry["analysis"],
                {"upper_limit": "limit", "efficiency_map": "region"}[entry["type"]],
                shorten(what, max(16, width - 60)),
                f"{entry['r']:.2f}",
                "-" if expected is None else f"{expected:.2f}",
            ]
        )
    header = ["analysis", "type", "region, topologies", "r", "expected"]
    more = len(model["r_values"]) - len(rows)
    foot = f"\n{INDENT}and {more} smaller ones" if more > 0 else ""
    return "Largest r-values\n" + table(header, rows, "<<<>>", width) + foot


def _contributions(model: Mapping[str, Any], width: int) -> str:
    given = model["contributions"]
    rows = [
        [f"particle {model['particles'].get(str(pid), {}).get('name', pid)}", *_loss(entry)]
        for pid, entry in given.get("particles", {}).items()
    ]
    rows += [[f"analysis {name}", *_loss(entry)] for name, entry in given["analyses"].items()]
    if not rows:
        return ""
    return "What K owes to each\n" + table(["without", "K", "loss"], rows, "<>>", width)


def _loss(entry: Mapping[str, float | None]) -> list[str]:
    """K without a part, and what it loses; no K where nothing is left to combine."""
    k, loss = entry["K"], entry["loss"]
    return ["none" if k is None else f"{k:.2f}", "-" if loss is None else f"{loss:.2f}"]


def models_table(models: Sequence[Mapping[str, Any]], width: int) -> str:
    """One line per model."""
    rows = []
    for position, model in enumerate(models, start=1):
        content = ", ".join(f"{p['name']} {p['mass']:.0f}" for p in model["particles"].values())
        z = model.get("Z")
        row = [str(position), f"{model['K']:.2f}", "-" if z is None else f"{z:.2f}"]
        rows.append([*row, *_networks_cells(model), content])
    exact = bool(models and models[0].get("networks", {}).get("exact"))
    names = ["K (exact)", "Z", "K (networks)"] if exact else ["K", "Z"]
    if models and models[0].get("networks"):
        names.append("90 % band")
    align = ">" * (1 + len(names)) + "|"
    return table(["no.", *names, "particles and masses [GeV]"], rows, align, width)


def _networks_cells(model: Mapping[str, Any]) -> list[str]:
    networks = model.get("networks")
    if not networks:
        return []
    own = [f"{networks['K']:.2f}"] if networks["exact"] else []
    return [*own, f"± {networks['K_band']:.2f}"]


def number(value: float | None) -> str:
    """Three significant digits; counts in full."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def with_error(value: float, error: float | None) -> str:
    """A background with its uncertainty, both to the digits of the latter."""
    if error is None:
        return number(value)
    digits = 0 if error >= 10 else 1 if error >= 1 else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def shorten(text: str, width: int) -> str:
    """At most `width` letters, the end cut off visibly."""
    return text if len(text) <= width else text[: width - 2] + ".."


def duration(seconds: float) -> str:
    """A time span in the units people use."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
