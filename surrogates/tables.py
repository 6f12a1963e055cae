"""The closure of all networks as tables: targets, who misses them, and why."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlik.errors import ConfigError
from jaxlik.yields.neural import BAND_LEVEL
from surrogates.validation import Closure

FEW = 10
"""Held-out nodes below which a quantile says little."""

A1_MEDIAN, A1_MEDIAN_NOISY, A1_NOISY, A1_Q90 = 0.01, 0.025, 0.02, 0.06
A4_RATIO = (0.8, 1.25)
A6_COVERAGE = (0.88, 0.92)


class Check(NamedTuple):
    """One target on one set of maps.

    Attributes:
        target: ``A1 median``, ``A1 90 %``, ``A2 relative``, ``A2 rmse`` or ``A4``.
        met: Whether it is met; true where nothing can be said.
        value: Figure found.
        wanted: Bound.
        linear: The same figure of linear interpolation.
    """

    target: str
    met: bool
    value: float
    wanted: float
    linear: float


def checks(closure: Closure) -> list[Check]:
    """The targets of docs/surrogates.md for one set of maps."""
    noisy = closure.linear_total[0] > A1_NOISY
    median = A1_MEDIAN_NOISY if noisy else A1_MEDIAN
    rows = [
        ("A1 median", closure.total[0], median, closure.linear_total[0]),
        ("A1 90 %", closure.total[1], A1_Q90, closure.linear_total[1]),
        ("A2 relative", closure.relative[0], closure.linear_relative[0], math.nan),
        ("A2 rmse", closure.rmse, closure.linear_rmse, math.nan),
    ]
    found = [
        Check(name, not value > bound, value, bound, other) for name, value, bound, other in rows
    ]
    ratio = closure.train_rmse / closure.rmse if closure.rmse > 0 else math.nan
    met = not (ratio < A4_RATIO[0] or ratio > A4_RATIO[1])
    return [*found, Check("A4", met, ratio, A4_RATIO[0], math.nan)]


def reason(closure: Closure, check: Check) -> str:
    """Why a target is missed, as far as the figures say."""
    if closure.held_out < FEW:
        return f"{closure.held_out} held-out nodes"
    if check.linear > check.wanted:
        return f"noise of the map: linear interpolation is at {check.linear:.3f}"
    if check.target == "A4" and check.value < A4_RATIO[0]:
        return "noise of single nodes is partly learned"
    if check.target == "A4":
        return "held-out nodes happen to be quieter"
    return "linear interpolation is better"


def summary(closures: Sequence[Closure]) -> dict[str, Any]:
    """Shares of sets that meet each target, and the coverage of the bands."""
    tested = [c for c in closures if c.held_out]
    names = [check.target for check in checks(tested[0])] if tested else []
    every = [[check.met for check in checks(c)] for c in tested]
    linear = [[k.met for k in checks(replace(c, total=c.linear_total))[:2]] for c in tested]
    enough = [row for row, c in zip(every, tested, strict=True) if c.held_out >= FEW]
    covered, counted = sum(c.covered for c in tested), sum(c.counted for c in tested)

    def median(pick: Any) -> float:
        return float(np.nanmedian([pick(c) for c in tested])) if tested else math.nan

    return {
        "sets": len(closures),
        "maps": sum(c.regions for c in closures),
        "tested": len(tested),
        "well_tested": len(enough),
        "met": dict(zip(names, np.mean(every, axis=0).tolist(), strict=True)) if every else {},
        "met_well_tested": (
            dict(zip(names, np.mean(enough, axis=0).tolist(), strict=True)) if enough else {}
        ),
        "linear_met": (
            dict(zip(names, np.mean(linear, axis=0).tolist(), strict=False)) if linear else {}
        ),
        "coverage": covered / counted if counted else math.nan,
        "held_out_values": counted,
        "sum_median": median(lambda c: c.total[0]),
        "sum_median_linear": median(lambda c: c.linear_total[0]),
        "sum_q90": median(lambda c: c.total[1]),
        "sum_q90_linear": median(lambda c: c.linear_total[1]),
        "relative_median": median(lambda c: c.relative[0]),
        "relative_median_linear": median(lambda c: c.linear_relative[0]),
    }


def markdown(closures: Sequence[Closure]) -> str:
    """The page of closure tables."""
    s = summary(closures)
    low, high = (f"{100 * x:.0f}" for x in A6_COVERAGE)
    lines = [
        "# Closure of the surrogate",
        "",
        "Made by `python -m surrogates validate`. Errors on nodes of the published grids that were",
        "kept from the fit, beside linear interpolation on the nodes that were fitted. The targets",
        "A1, A2, A4 and A6 are explained in [the page on the surrogate](surrogates.md).",
        "",
        f"{s['sets']} networks, {s['maps']} maps; {s['tested']} networks have held-out nodes, "
        f"{s['well_tested']} at least {FEW}.",
        "",
        "| figure (median over networks) | network | linear |",
        "|---|---|---|",
        f"| sum over regions, median error | {s['sum_median']:.4f} "
        f"| {s['sum_median_linear']:.4f} |",
        f"| sum over regions, 90 % quantile | {s['sum_q90']:.3f} | {s['sum_q90_linear']:.3f} |",
        f"| single regions, median error | {s['relative_median']:.3f} "
        f"| {s['relative_median_linear']:.3f} |",
        "",
        f"| target | networks that meet it | with at least {FEW} held-out nodes | linear |",
        "|---|---|---|---|",
    ]
    shares = [s["met"], s["met_well_tested"], s["linear_met"]]
    lines += [
        f"| {name} | " + " | ".join(_share(column.get(name)) for column in shares) + " |"
        for name in s["met"]
    ]
    lines += [
        "",
        f"A6: {100 * s['coverage']:.1f} % of {s['held_out_values']} held-out values lie in their "
        f"{100 * BAND_LEVEL:.0f} % bands (wanted: {low} to {high} %).",
        "",
        "## All networks",
        "",
        "Median and 90 % quantile of relative errors; `rms` is over the largest efficiency.",
        "",
        "| network | nodes | maps | held out | sum | linear | regions | linear | rms | linear "
        "| fitted rms | coverage |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(c) for c in closures]
    lines += [
        "",
        "## Targets missed",
        "",
        "| network | target | found | wanted | reason |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.name} | {k.target} | {k.value:.4f} | {k.wanted:.4f} | {reason(c, k)} |"
        for c in closures
        if c.held_out
        for k in checks(c)
        if not k.met
    ]
    return "\n".join(lines) + "\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _row(c: Closure) -> str:
    def pair(values: tuple[float, float]) -> str:
        return " / ".join("-" if math.isnan(v) else f"{v:.3f}" for v in values)

    if not c.held_out:
        return f"| {c.name} | {c.nodes} | {c.regions} | 0 | - | - | - | - | - | - | - | - |"
    rms = " | ".join(
        "-" if math.isnan(v) else f"{v:.4f}" for v in (c.rmse, c.linear_rmse, c.train_rmse)
    )
    coverage = f"{100 * c.covered / c.counted:.0f} %" if c.counted else "-"
    return (
        f"| {c.name} | {c.nodes} | {c.regions} | {c.held_out} | {pair(c.total)} "
        f"| {pair(c.linear_total)} | {pair(c.relative)} | {pair(c.linear_relative)} | {rms} "
        f"| {coverage} |"
    )


def write_closures(closures: Sequence[Closure], path: Path) -> None:
    """Keep closures as JSON."""
    path.write_text(json.dumps([asdict(c) for c in closures], indent=1))


def read_closures(path: Path) -> list[Closure]:
    """Read closures.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    try:
        rows = json.loads(path.read_text())
        pairs = ("relative", "total", "linear_relative", "linear_total")
        return [Closure(**{**row, **{name: tuple(row[name]) for name in pairs}}) for row in rows]
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run `python -m surrogates validate` first") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: damaged ({error}); validate the run again") from None
