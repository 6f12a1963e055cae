"""The film of a walk: where all walkers are after each block of steps, kept in `walk.jsonl`.

One line per block: ``step``, ``best`` {``K``, ``r_max``, ``masses`` {pid: GeV}} and
``walkers``: [[K, r_max, {pid: GeV}], ...], ``null`` for a walker that no combination of
results sees. A resumed run repeats steps; the later line counts.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlik.fit.html.charts import Chart, Frame, axis
from jaxlik.fit.html.names import content, symbol
from jaxlik.fit.html.numbers import fixed
from jaxlik.fit.html.theme import BLUE, INK, MUTED, RED
from jaxlik.fit.store import append_line, read_lines
from jaxlik.physics.particles import LBP, POOL

if TYPE_CHECKING:
    from jaxlik.physics.model import ModelSpace

WALK = "walk.jsonl"

MOST_WALKERS = 200
"""Walkers in the film."""

LEAST = 0.03
"""Fraction of the scores that may lie below the picture."""

MOST_FRAMES = 60
"""Pictures on a page, spread evenly over the steps there are."""


def record(folder: Path, space: "ModelSpace", state: Any) -> None:
    """Add one line.

    Args:
        folder: Run directory.
        space: Layout of models.
        state: Of the search (`walkers.state.SearchState`).
    """
    walkers, hiscores = state.walkers, state.hiscores
    active, masses = np.asarray(walkers.point.active), np.asarray(walkers.point.masses)
    score, r_max = np.asarray(walkers.score), np.asarray(walkers.r_max)
    mu_hat = np.asarray(walkers.mu_hat)
    rows = [
        [_number(score[i]), _number(mu_hat[i] * r_max[i]), _masses(space, active[i], masses[i])]
        for i in range(min(len(score), MOST_WALKERS))
    ]
    top = float(np.asarray(hiscores.score)[0])
    best = None
    if math.isfinite(top):
        best = {
            "K": _number(top),
            "r_max": _number(np.asarray(hiscores.mu_hat)[0] * np.asarray(hiscores.r_max)[0]),
            "masses": _masses(
                space,
                np.asarray(hiscores.points.active)[0],
                np.asarray(hiscores.points.masses)[0],
            ),
        }
    append_line(folder / WALK, {"step": int(state.step), "best": best, "walkers": rows})


def _number(value: Any) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _masses(space: "ModelSpace", active: np.ndarray, masses: np.ndarray) -> dict[str, float]:
    return {
        str(pid): round(float(mass), 1)
        for pid, on, mass in zip(space.pdg_ids, active, masses, strict=True)
        if on
    }


def read_film(folder: Path) -> list[dict[str, Any]]:
    """Lines of a run directory in the order of steps; none where it has no film."""
    found: list[dict[str, Any]] = []
    for line in read_lines(folder / WALK):
        while found and found[-1]["step"] >= line["step"]:
            found.pop()
        found.append(line)
    return found


def film_chart(lines: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Walkers in K and size on the left, in masses on the right, and the best model.

    Args:
        lines: From `read_film`.
    """
    if not lines:
        return None
    chosen = [lines[i] for i in _spread(len(lines), MOST_FRAMES)]
    columns = _columns(lines)
    pictures = [_picture(line, columns) for line in chosen]
    frames = [
        Frame(_said(line), (0, 1, 2, 3), _update(picture))
        for line, picture in zip(chosen, pictures, strict=True)
    ]
    scores = [row[0] for line in lines for row in line["walkers"] if row[0] is not None]
    scores += [line["best"]["K"] for line in lines if line["best"]]
    # A few walkers far below the others would take all the room.
    low, high = (float(np.quantile(scores, LEAST)), max(scores)) if scores else (0.0, 1.0)
    margin = 0.08 * max(high - low, 0.5)
    heaviest = max(
        (m for line in lines for row in line["walkers"] for m in row[2].values()), default=1000.0
    )
    sizes = [len(row[2]) for line in lines for row in line["walkers"]]
    styles = [
        ("markers", {"size": 7, "color": BLUE, "opacity": 0.55, "line": {"width": 0}}),
        ("markers", {"size": 13, "color": RED, "symbol": "star", "line": {"width": 0}}),
        ("markers", {"size": 5, "color": BLUE, "opacity": 0.35, "line": {"width": 0}}),
        ("markers", {"size": 22, "color": RED, "symbol": "line-ew",
                     "line": {"width": 3, "color": RED}}),
    ]  # fmt: skip
    names = ["walkers", "best model so far", "their masses", "masses of the best model"]
    traces = []
    for place, ((mode, marker), name) in enumerate(zip(styles, names, strict=True)):
        right = place > 1
        traces.append(
            {
                "type": "scatter",
                "mode": mode,
                "marker": marker,
                "name": name,
                "hovertemplate": "%{text}<extra></extra>",
                "xaxis": "x2" if right else "x",
                "yaxis": "y2" if right else "y",
                **pictures[-1][place],
            }
        )
    ticks = list(range(max([*sizes, 2]) + 1))
    layout = {
        "xaxis": axis("particles", domain=[0, 0.36], tickvals=ticks,
                      range=[0.4, max([*sizes, 2]) + 0.6]),
        "yaxis": axis("K", range=[low - margin, high + margin]),
        "xaxis2": axis(None, anchor="y2", domain=[0.47, 1.0], tickvals=list(range(len(columns))),
                       ticktext=[symbol(pid) for pid in columns],
                       range=[-0.6, len(columns) - 0.4], tickangle=0),
        "yaxis2": axis("mass [GeV]", anchor="x2", range=[0, 1.06 * heaviest]),
        "margin": {"l": 56, "r": 16, "t": 16, "b": 56},
    }  # fmt: skip
    caption = (
        "Each walker is a point: its K against the number of its particles (the lightest one "
        "included) on the left, the masses of its particles on the right. Star and bars are the "
        "best model so far."
    )
    if len(lines) > len(chosen):
        caption += f" {len(chosen)} of {len(lines)} recorded blocks are shown."
    return Chart(
        "film",
        "Film of the walk: K, particle number and masses of all walkers after each block of steps",
        caption,
        traces,
        layout,
        420,
        frames=frames,
    )


def _spread(count: int, most: int) -> list[int]:
    """Positions spread evenly, first and last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(x) for x in np.linspace(0, count - 1, most)})


def _columns(lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """Particles that occur, in the order of the pool with the lightest one last."""
    seen = {int(pid) for line in lines for row in line["walkers"] for pid in row[2]}
    seen |= {int(pid) for line in lines if line["best"] for pid in line["best"]["masses"]}
    return sorted(seen, key=lambda pid: (pid == LBP, list(POOL).index(pid)))


def _picture(line: Mapping[str, Any], columns: Sequence[int]) -> list[dict[str, Any]]:
    """Points of the four traces."""
    place = {str(pid): number for number, pid in enumerate(columns)}
    walkers: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    cloud: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for number, (score, r_max, masses) in enumerate(line["walkers"]):
        # A fixed offset per walker keeps equal ones apart and does not flicker.
        offset = ((number * 0.618034) % 1.0 - 0.5) * 0.5
        who = f"walker {number}: {content([int(pid) for pid in masses])}"
        walkers["x"].append(len(masses) + offset)
        walkers["y"].append(score)
        walkers["text"].append(f"{who}<br>K = {fixed(score, 2)}, r_max = {fixed(r_max, 2)}")
        for pid, mass in masses.items():
            cloud["x"].append(place[pid] + 0.8 * offset)
            cloud["y"].append(mass)
            cloud["text"].append(f"{who}<br>{symbol(int(pid))}: {mass:.0f} GeV")
    best = line["best"]
    star: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    bars: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    if best:
        star = {"x": [len(best["masses"])], "y": [best["K"]], "text": [f"best: {_said(line)}"]}
        bars = {
            "x": [place[pid] for pid in best["masses"]],
            "y": list(best["masses"].values()),
            "text": [f"best: {symbol(int(p))} {m:.1f} GeV" for p, m in best["masses"].items()],
        }
    return [walkers, star, cloud, bars]


def _update(picture: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [trace[key] for trace in picture] for key in ("x", "y", "text")}


def _said(line: Mapping[str, Any]) -> str:
    best = line["best"]
    if not best:
        return f"step {line['step']}: no model yet"
    masses = ", ".join(f"{symbol(int(pid))} {mass:.0f}" for pid, mass in best["masses"].items())
    return f"step {line['step']}: best K = {best['K']:.2f} ({masses})"


def history_chart(history: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Best and mean K by step.

    Args:
        history: Lines of `history.jsonl`.
    """
    known = [entry for entry in history if entry.get("best") is not None]
    if not known:
        return None
    steps = [entry["step"] for entry in history]
    hover = "step %{x}: %{y:.2f}<extra>%{fullData.name}</extra>"
    traces = [
        {"type": "scatter", "mode": "lines+markers", "name": "best model",
         "x": steps, "y": [entry.get("best") for entry in history],
         "line": {"color": BLUE, "shape": "hv", "width": 2.5}, "marker": {"size": 6},
         "hovertemplate": hover},
        {"type": "scatter", "mode": "lines+markers", "name": "mean of the walkers",
         "x": steps, "y": [entry.get("mean") for entry in history],
         "line": {"color": MUTED, "width": 1.5, "dash": "dot"}, "marker": {"size": 4},
         "hovertemplate": hover},
    ]  # fmt: skip
    layout = {
        "xaxis": axis("steps of each walker", rangemode="tozero"),
        "yaxis": axis("test statistic K"),
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom",
                   "font": {"color": INK}},
        "margin": {"l": 56, "r": 16, "t": 36, "b": 48},
    }  # fmt: skip
    return Chart(
        "history",
        "Best K and mean K of the walkers against the number of steps",
        "As the search saw it; the scores at the end are computed again, exactly.",
        traces,
        layout,
        320,
    )
