"""The terminal's side of `workspace`: a fit, its largest pulls, CLs and limits."""

from collections.abc import Mapping
from typing import Any

from jaxlik.fit.report import number, table

MAX_PULLS = 12
"""Constrained parameters listed, those that moved most; as many impacts."""


def workspace_report(document: Mapping[str, Any], width: int = 100) -> str:
    """Tables of a `jaxlik/workspace/1` document."""
    fit = document["fit"]
    head = (
        f"-2 ln L = {fit['twice_nll']:.6f} after {fit['steps']} steps, largest projected gradient "
        f"{fit['gradient_norm']:.0e}"
    )
    parts = [head]
    if document["poi"] is not None:
        parts.append(_signal(document))
        parts.append(_limits(document, width))
    if document["impacts"] is not None:
        parts.append(_impacts(document["impacts"], document["poi"], width))
    parts.append(_parameters(fit["parameters"], document["poi"], width))
    return "\n\n".join(parts)


def _signal(document: Mapping[str, Any]) -> str:
    fit, discovery = document["fit"], document["discovery"]
    error = fit["mu_error"]
    # At the bound of zero the curvature is no error of mu.
    text = f"{document['poi']} = {number(fit['mu_hat'])}"
    if error is not None:
        text += f" ± {number(error)}"
    elif fit["mu_hat"] == 0:
        text += " (at its lower bound)"
    return f"Best signal strength: {text}, {discovery['significance']:.2f} σ from zero"


def _limits(document: Mapping[str, Any], width: int) -> str:
    cls, limit, toys = document["cls"], document["upper_limit"], document["toys"]
    title = f"CLs at mu = {document['mu']:g}"
    rows = [[title, _short(cls["observed"]), *map(_short, cls["expected"])]]
    if toys is not None:
        title = f"the same from {toys['number']} toys"
        rows.append([title, _with_error(toys), *map(_short, toys["expected"])])
    rows += [
        [
            f"upper limit on mu, {100 * limit['level']:g} % CL",
            _short(limit["observed"]),
            *map(_short, limit["expected"]),
        ],
    ]
    header = ["", "observed", "-2 σ", "-1 σ", "expected", "+1 σ", "+2 σ"]
    text = table(header, rows, "<>>>>>>", width)
    if toys is not None and toys["cls"] is None:
        text += "\n  No background toy is as far from the signal as the data: more toys are needed."
    if toys is not None and toys["failed"]:
        text += (
            f"\n  {toys['failed']} of {2 * toys['number']} toys have no certified fit and are left "
            "out."
        )
    return text


def _impacts(ranked: list[Mapping[str, Any]], poi: str | None, width: int) -> str:
    rows = [
        [
            entry["parameter"],
            *("-" if v is None else f"{v:+.3g}" for v in (entry["up"], entry["down"])),
        ]
        for entry in ranked[:MAX_PULLS]
    ]
    body = table(["parameter", "+1 σ", "-1 σ"], rows, "<>>", width)
    return f"Impacts on {poi}, largest first\n{body}"


def _with_error(toys: Mapping[str, Any]) -> str:
    if toys["cls"] is None:
        return "-"
    return f"{_short(toys['cls'])} ± {toys['cls_error']:.1g}"


def _parameters(parameters: Mapping[str, Any], poi: str | None, width: int) -> str:
    free = [
        [name, f"{entry['value']:.4g}", _error(entry)]
        for name, entry in parameters.items()
        if entry["pull"] is None and not entry["fixed"] and name != poi
    ]
    pulls = sorted(
        ((name, entry) for name, entry in parameters.items() if entry["pull"] is not None),
        key=lambda pair: -abs(pair[1]["pull"]),
    )
    rows = [
        [name, f"{entry['value']:.4g}", _error(entry), f"{entry['pull']:+.2f}"]
        for name, entry in pulls[:MAX_PULLS]
    ]
    parts = []
    if free:
        parts.append("Free normalisations\n" + table(["parameter", "value", "error"], free, "<>>"))
    if rows:
        title = "Constrained parameters" + (", largest pulls" if len(pulls) > MAX_PULLS else "")
        body = table(["parameter", "value", "error", "pull [σ]"], rows, "<>>>", width)
        rest = len(pulls) - len(rows)
        parts.append(f"{title}\n{body}" + (f"\n  and {rest} smaller ones" if rest else ""))
    return "\n\n".join(parts)


def _error(entry: Mapping[str, Any]) -> str:
    if entry["at_bound"]:
        return "at bound"
    return "-" if entry["error"] is None else f"{entry['error']:.2g}"


def _short(value: float) -> str:
    return f"{value:.4g}" if value >= 1e-4 else f"{value:.2e}"
