"""What the terminal shows of a verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlik.fit.report import table
from jaxlik.physics.spectrum import Spectrum
from jaxlik.verdict.atlas import Atlas
from jaxlik.verdict.gradients import Gradient
from jaxlik.verdict.point import Line, Verdict

MOST_LINES = 12
MOST_SLOPES = 8


def point_report(verdict: Verdict, atlas: Atlas, name: str, width: int) -> str:
    """Verdict, predictions, combination and derivatives of one model."""
    spectrum = verdict.sight.decomposition.spectrum
    parts = [_heading(verdict, atlas, name)]
    parts += [f"  note: {note}" for note in spectrum.notes]
    if verdict.lines:
        parts.append(_predictions(verdict.lines, atlas, width))
    parts.append(_combination(verdict, atlas))
    slopes = _slopes(verdict, spectrum, width)
    return "\n".join([*parts, *slopes])


def _heading(verdict: Verdict, atlas: Atlas, name: str) -> str:
    found = len(verdict.sight.decomposition.origins)
    if not verdict.lines:
        return f"{name}: no result sees it ({found} topologies)"
    best = verdict.lines[0]
    analysis = atlas.results[best.prediction.folder].provenance.analysis
    word = "EXCLUDED" if verdict.excluded else "allowed"
    return (
        f"{name}: {word} at 95 % CL, largest r = {verdict.r_max:.3g} ({analysis}); "
        f"{len(verdict.lines)} predictions from {found} topologies"
    )


def _predictions(lines: Sequence[Line], atlas: Atlas, width: int) -> str:
    rows = []
    for line in lines[:MOST_LINES]:
        p = line.prediction
        provenance = atlas.results[p.folder].provenance
        mu_hat = "-" if line.voice is None else f"{line.voice.best[0][0]:.3g}"
        rows.append(
            [
                provenance.analysis,
                f"{provenance.sqrts:g}",
                _kind(line),
                _number(p.cross_section),
                _number(p.upper_limit),
                _number(p.r),
                _number(p.r_expected),
                mu_hat,
                " ".join(p.txnames),
            ]
        )
    header = ["analysis", "TeV", "result", "σ [fb]", "limit", "r", "r exp", "μ̂", "topologies"]
    text = table(header, rows, "<><>>>>>|", width)
    left = len(lines) - MOST_LINES
    return text if left <= 0 else f"{text}\n  and {left} more with smaller r (--json has all)"


def _kind(line: Line) -> str:
    if line.prediction.kind == "upper_limit":
        return "upper limit"
    if line.voice is None or line.voice.kind == "region":
        return str(line.prediction.region)
    return f"combined ({line.voice.kind})"


def _combination(verdict: Verdict, atlas: Atlas) -> str:
    combined = verdict.combination
    if combined is None:
        return "  No result with a likelihood is sensitive enough to be combined."
    names = ", ".join(
        atlas.results[verdict.lines[i].prediction.folder].provenance.analysis
        for i in combined.members
    )
    word = "excluded" if combined.r > 1 else "allowed"
    return (
        f"  Most sensitive combination ({names}): r = {combined.r:.3g}, expected "
        f"{combined.r_expected:.3g}, μ̂ = {combined.mu_hat:.3g}, μ < {combined.mu_max:.3g} at "
        f"95 % CL, Z = {combined.significance:.2f}: {word}"
    )


def _slopes(verdict: Verdict, spectrum: Spectrum, width: int) -> list[str]:
    """Which parameters move the largest r, and that of the combination, most."""
    gradients: list[tuple[str, Gradient]] = []
    if verdict.lines and verdict.lines[0].gradient is not None:
        gradients.append(("largest r", verdict.lines[0].gradient))
    if verdict.combination is not None and verdict.combination.gradient is not None:
        gradients.append(("combination", verdict.combination.gradient))
    if not gradients:
        return []
    rows = []
    for pid in sorted({pid for _, gradient in gradients for pid in gradient.masses}):
        values = [gradient.masses.get(pid, 0.0) for _, gradient in gradients]
        cells = [f"{100 * value:+.3g}" for value in values]
        rows.append((max(map(abs, values)), [spectrum.quantum_numbers[pid].name, *cells]))
    rows.sort(key=lambda row: -row[0])
    header = ["mass", *(f"Δr ({which})" for which, _ in gradients)]
    body = table(
        header, [cells for _, cells in rows[:MOST_SLOPES]], "<" + ">" * len(gradients), width
    )
    return [f"  Change of r per 100 GeV, at fixed choices:\n{body}"] if rows else []


def points_report(rows: Sequence[dict[str, Any]], width: int) -> str:
    """One line per model."""
    cells = []
    shown = short_names([row["model"] for row in rows])
    for row, name in zip(rows, shown, strict=True):
        if row["status"] == "error":
            cells.append([name, "error", "", "", "", row["message"].replace(row["model"], name)])
            continue
        combined = row["combination_r"]
        cells.append(
            [
                name,
                "EXCLUDED" if row["excluded"] else "allowed",
                _number(row["r_max"]),
                "-" if row["r_expected"] is None else _number(row["r_expected"]),
                "-" if combined is None else _number(combined),
                row["analysis"] or "no result sees it",
            ]
        )
    header = ["model", "verdict", "r", "r exp", "r comb", "analysis of the largest r"]
    return table(header, cells, "<<>>>|", width)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folder that all share."""
    folders = {Path(name).parent for name in names}
    if len(folders) != 1:
        return list(names)
    return [Path(name).name for name in names]


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3g}"
