"""A calibration as a JSON document (`jaxlik/calibration/1`) and as tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlik.calibration.global_p import (
    GlobalP,
    Summary,
    global_p,
    split_uniformity,
    summary,
    trials_factor,
)
from jaxlik.calibration.published import FAMILIES
from jaxlik.fit.report import table
from jaxlik.physics.particles import particle
from jaxlik.physics.pool import SQUARKS
from jaxlik.plotting_calibration import p_text

SCHEMA = "jaxlik/calibration/1"

Results = Sequence[Mapping[str, Any]]


def statistic(results: Results, name: str) -> list[float]:
    """A number of every pseudo-database; -inf where a search found nothing."""
    return [-math.inf if one[name] is None else float(one[name]) for one in results]


def calibration_document(
    campaign: Mapping[str, Any],
    database: Mapping[str, Any],
    real: Results,
    fake: Results,
    injected: Sequence[int] | None,
) -> dict[str, Any]:
    """All results and what follows from them.

    Args:
        campaign: What was asked for.
        database: Version and digest.
        real: Searches of the data.
        fake: Searches of pseudo-databases, in the order of their index.
        injected: PDG numbers of the injected model, `None` without one.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "database": dict(database),
        "campaign": dict(campaign),
        "number": len(fake),
        "real": list(real),
        "results": list(fake),
        "K": _known(asdict(summary(statistic(fake, "K")))),
    }
    if injected is not None:
        return document | {"closure": closure(fake, injected)}
    if real and real[0]["K"] is not None and fake:
        document["p_global"] = _p_document(float(real[0]["K"]), statistic(fake, "K"))
        document["trials_factor"] = _number(
            trials_factor(float(real[0]["Z"]), document["p_global"]["p"])
        )
    if real and real[0]["log_bayes_factor"] is not None and fake:
        logs = statistic(fake, "log_bayes_factor")
        factors = np.exp(logs)
        document["bayes_factor"] = _p_document(float(real[0]["log_bayes_factor"]), logs) | {
            "mean": float(factors.mean()),
            "mean_error": float(factors.std() / math.sqrt(len(factors))),
        }
    return document


def p_value(document: Mapping[str, Any]) -> GlobalP | None:
    """The global p-value of a document, if it has one."""
    return _p_of(document["p_global"]) if "p_global" in document else None


def closure(results: Results, injected: Sequence[int]) -> dict[str, Any]:
    """How often searches find what was injected, particle by particle and as a whole.

    Light squarks count as one kind, as published maps do not tell them apart. Where a search ends
    below the K of the injected model, it has missed something; elsewhere the data like what it
    found at least as much, whatever its content.
    """
    contents = [{_kind(int(pid)) for pid in one["masses"]} for one in results]
    wanted = {_kind(pid) for pid in injected}
    return {
        "injected": sorted(wanted),
        "number": len(results),
        "found": {str(pid): sum(pid in one for one in contents) for pid in sorted(wanted)},
        "all_found": sum(wanted <= one for one in contents),
        "exact": sum(wanted == one for one in contents),
        **_beside_injected(results),
    }


def _beside_injected(results: Results) -> dict[str, Any]:
    """K of the injected model where it is known, and how many searches reach it."""
    known = [one for one in results if one.get("K_injected") is not None]
    if not known:
        return {}
    reached = sum(one["K"] is not None and one["K"] >= one["K_injected"] for one in known)
    spread = summary([float(one["K_injected"]) for one in known])
    return {"K_injected": _known(asdict(spread)), "reached": reached}


def calibration_report(document: Mapping[str, Any], width: int) -> str:
    """What the terminal shows."""
    spread = document["K"]
    lines = [
        f"database {document['database']['version']}, mode {document['campaign']['mode']}: "
        f"{document['number']} pseudo-databases"
    ]
    if spread["mean"] is not None:
        lines.append(
            f"  K of pseudo-databases: mean {spread['mean']:.2f}, sd {spread['deviation']:.2f}, "
            f"{spread['low']:.2f} to {spread['high']:.2f}"
        )
    if "closure" in document:
        return "\n".join([*lines, "", *_closure_lines(document["closure"], width)])
    if "p_global" in document:
        others = ", ".join(f"{one['K']:.2f}" for one in document["real"] if one["K"] is not None)
        p = document["p_global"]
        lines += [
            f"  K of the data: {others}",
            f"  global {p_text(_p_of(p))}, "
            f"{'more than ' if p['is_bound'] else ''}{p['significance']:.2f} sigma",
        ]
        if document["trials_factor"] is not None:
            z = document["real"][0]["Z"]
            lines.append(
                f"  look elsewhere: local {z:.2f} sigma, as {document['trials_factor']:.3g} "
                "independent searches"
            )
        if p["halves_ks_p"] is not None:
            lines.append(f"  both halves of the pseudo-databases agree: KS p = "
                         f"{p['halves_ks_p']:.2f}")  # fmt: skip
    if "bayes_factor" in document:
        b = document["bayes_factor"]
        lines.append(
            f"  Bayes factor of simple models: {math.exp(b['observed']):.3g}, {p_text(_p_of(b))}"
        )
    return "\n".join(lines)


def published_report(
    summaries: Mapping[str, Summary], result: GlobalP, width: int
) -> tuple[str, dict[str, Any]]:
    """Table and document of the published runs."""
    rows = [
        [
            name,
            str(s.number),
            f"{s.mean:.2f}",
            f"{s.deviation:.2f}",
            f"{s.low:.2f}",
            f"{s.high:.2f}",
            FAMILIES[name],
        ]
        for name, s in summaries.items()
    ]
    header = ["family", "runs", "mean K", "sd", "lowest", "highest", "what"]
    text = table(header, rows, "<>>>>>|", width)
    text += (
        f"\n\n  mean K of the data {result.observed:.3f}: p = {result.p_kde:.4f} by kernel "
        f"density, {result.p:.2f} by counting ({result.above} of {result.number})"
    )
    document = {
        "schema": SCHEMA,
        "p_global": _p_fields(result),
        "families": {name: _known(asdict(s)) for name, s in summaries.items()},
    }
    return text, document


def _kind(pid: int) -> int:
    return SQUARKS[0] if pid in SQUARKS else pid


def _closure_lines(found: Mapping[str, Any], width: int) -> list[str]:
    number = found["number"]
    rows = [[particle(int(pid)).name, f"{count}/{number}"] for pid, count in found["found"].items()]
    rows += [["all of them", f"{found['all_found']}/{number}"]]
    rows += [["these and no others", f"{found['exact']}/{number}"]]
    lines = [table(["injected", "found"], rows, "<>", width)]
    if "K_injected" in found:
        spread = found["K_injected"]
        lines += [
            "",
            f"  K of the injected model: mean {spread['mean']:.2f}, {spread['low']:.2f} to "
            f"{spread['high']:.2f}; reached by {found['reached']} of {spread['number']} searches",
        ]
    return lines


def _kind_name(pid: int) -> str:
    return "X_q" if pid in SQUARKS else particle(pid).name


def _p_document(observed: float, found: list[float]) -> dict[str, Any]:
    _, halves = split_uniformity(found)
    return _p_fields(global_p(observed, found)) | {"halves_ks_p": _number(halves)}


def _p_fields(result: GlobalP) -> dict[str, Any]:
    return _known(asdict(result)) | {"interval": list(result.interval)}


def _p_of(document: Mapping[str, Any]) -> GlobalP:
    """The p-value that a document holds."""
    fields: dict[str, Any] = {name: document[name] for name in GlobalP.__dataclass_fields__}
    fields["p_kde"] = math.nan if fields["p_kde"] is None else fields["p_kde"]
    fields["interval"] = tuple(fields["interval"])
    return GlobalP(**fields)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows neither nan nor infinity."""
    return {
        key: _number(value) if isinstance(value, float) else value for key, value in row.items()
    }
