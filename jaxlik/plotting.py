"""Figures: each function draws on given axes and returns them.

Matplotlib is imported when the first figure is made; no global state of it is
touched, and figures are written without a display.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlik.physics.particles import particle
from jaxlik.physics.pool import (
    CHARGINOS,
    GLUINO,
    NEUTRALINOS,
    SBOTTOMS,
    SLEPTONS,
    SNEUTRINOS,
    SQUARKS,
    STOPS,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS: dict[str, tuple[tuple[int, ...], str]] = {
    "gluino": ((GLUINO,), "#b2182b"),
    "light squarks": (SQUARKS, "#e66101"),
    "stops, sbottoms": (STOPS + SBOTTOMS, "#d19a00"),
    "charginos": (CHARGINOS, "#1b7837"),
    "neutralinos": (NEUTRALINOS, "#2166ac"),
    "sleptons, sneutrinos": ((*SLEPTONS, *SNEUTRINOS), "#762a83"),
}
"""Particles of each kind and the colour of the kind, told apart by the colour-blind."""

OBSERVED, EXPECTED, LIMIT = "#2166ac", "#f4a582", "#b2182b"
MAX_BARS = 12
MAX_NAME = 44
MAX_PULLS, MAX_CORRELATED = 40, 25
DPI = 150


def new_figure(width: float = 6.4, height: float = 4.4) -> "Figure":
    """A new figure that belongs to no window system; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float = 6.4, height: float = 4.4) -> "Axes":
    """Axes that fill a new figure; sizes in inches."""
    return new_figure(width, height).add_subplot()


def save(drawn: "Axes | Figure", path: Path) -> None:
    """Write a figure, or the figure of some axes, as PNG."""
    figure: Figure = drawn.figure  # type: ignore[assignment]
    figure.savefig(path, dpi=DPI, format="png")


def kind_of(pid: int) -> tuple[str, str]:
    """Kind and colour of a particle of the pool."""
    for name, (members, colour) in KINDS.items():
        if abs(pid) in members:
            return name, colour
    return "other", "#555555"


def latex(pid: int) -> str:
    """Name of a particle for matplotlib's mathematics mode."""
    text = particle(pid).latex
    return f"${text}$".replace(r"X_\nu", r"X_{\nu}")


def mass_ruler(masses: Mapping[int, float], axes: "Axes | None" = None) -> "Axes":
    """Vertical ladder of masses, coloured by the kind of particle.

    Args:
        masses: GeV by PDG number.
        axes: Where to draw; new ones by default.
    """
    axes = axes or new_axes(3.6, 5.6)
    top = 1.08 * max(masses.values(), default=1.0)
    axes.set_ylim(0.0, top)
    axes.set_xlim(0.0, 1.0)
    ordered = sorted(masses.items(), key=lambda item: item[1])
    heights = spread([mass for _, mass in ordered], 0.052 * top, 0.0, top)
    seen: dict[str, Any] = {}
    for (pid, mass), height in zip(ordered, heights, strict=True):
        kind, colour = kind_of(pid)
        (line,) = axes.plot([0.06, 0.40], [mass, mass], color=colour, lw=2.5)
        seen.setdefault(kind, line)
        axes.plot([0.40, 0.48], [mass, height], color=colour, lw=0.8)
        axes.text(0.50, height, latex(pid), color=colour, va="center", fontsize=13)
        axes.text(0.90, height, f"{mass:.0f}", color=colour, va="center", ha="right", fontsize=10)
    axes.set_ylabel("mass [GeV]")
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    if seen:
        axes.legend(
            list(seen.values())[::-1],
            list(seen)[::-1],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.02),
            ncols=2,
            fontsize=8,
            frameon=False,
        )
    return axes


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions at least `gap` apart and as close to the wanted ones as that allows.

    Args:
        wanted: In ascending order.
        gap: Smallest distance; reduced where the positions would not fit.
        low: Smallest position.
        high: Largest position.
    """
    count = len(wanted)
    if count == 0:
        return np.zeros(0)
    gap = min(gap, (high - low) / count)
    steps = gap * np.arange(count)
    # Minus the steps, "at least a gap apart" is "ascending": isotonic regression.
    blocks: list[tuple[float, int]] = []
    for value in np.asarray(wanted, dtype=float) - steps:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            other, many = blocks.pop()
            mean, size = (mean * size + other * many) / (size + many), size + many
        blocks.append((mean, size))
    level = np.concatenate([np.full(size, mean) for mean, size in blocks])
    half = 0.5 * gap
    return np.clip(level, low + half, high - half - steps[-1]) + steps


def likelihood_scan(
    mu: np.ndarray,
    members: Mapping[str, np.ndarray],
    axes: "Axes | None" = None,
    *,
    mu_hat: float,
    mu_max: float,
) -> "Axes":
    """2 ln(L(mu)/L(0)) of a combination and of its members.

    Args:
        mu: Signal strengths.
        members: Values at `mu`, by name.
        axes: Where to draw; new ones by default.
        mu_hat: Preferred signal strength.
        mu_max: Largest signal strength the critic allows; may be infinite.
    """
    axes = axes or new_axes(6.8, 4.6)
    total = np.sum(list(members.values()), axis=0) if members else np.zeros_like(mu)
    axes.axhline(0.0, color="0.6", lw=0.8)
    axes.plot(mu, total, color="black", lw=2.4, label="combination", zorder=3)
    for number, (name, values) in enumerate(members.items()):
        axes.plot(mu, values, lw=1.3, color=f"C{number % 10}", label=name)
    largest = float(mu[-1])
    if mu_max < largest:
        axes.axvspan(mu_max, largest, color=LIMIT, alpha=0.10, lw=0)
        axes.axvline(
            mu_max, color=LIMIT, lw=1.2, ls="--", label=rf"$\mu_\mathrm{{max}}$ = {mu_max:.2f}"
        )
    peak = float(np.interp(mu_hat, mu, total))
    axes.plot(
        [mu_hat], [peak], "o", color="black", ms=7, zorder=4, label=rf"$\hat\mu$ = {mu_hat:.2f}"
    )
    curves = [total, *members.values()]
    high = max(0.5, *(float(values.max()) for values in curves))
    low = min(0.0, *(float(values.min()) for values in curves))
    axes.set_ylim(max(low, -1.5 * high) - 0.05 * high, 1.1 * high)
    axes.set_xlim(0.0, largest)
    axes.set_xlabel(r"signal strength $\mu$")
    axes.set_ylabel(r"$2\,\ln\,[L(\mu)/L(0)]$")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return axes


def r_values(
    names: Sequence[str],
    observed: Sequence[float],
    expected: Sequence[float | None],
    axes: "Axes | None" = None,
    *,
    threshold: float,
) -> "Axes":
    """Bars of the largest r-values, observed and expected.

    Args:
        names: Of the results, largest r first.
        observed: Observed r-values.
        expected: Expected ones, `None` where unknown.
        axes: Where to draw; new ones by default.
        threshold: r-value that excludes a model.
    """
    count = min(len(names), MAX_BARS)
    axes = axes or new_axes(6.8, 1.4 + 0.36 * max(count, 2))
    places = np.arange(count)
    known = [i for i in range(count) if expected[i] is not None]
    axes.barh(places - 0.19, list(observed[:count]), 0.36, color=OBSERVED, label="observed")
    axes.barh(
        [i + 0.19 for i in known],
        [float(expected[i] or 0.0) for i in known],
        0.36,
        color=EXPECTED,
        label="expected",
    )
    axes.axvline(threshold, color=LIMIT, lw=1.4, ls="--", label=f"excluded above {threshold:g}")
    short = [_clipped(name) for name in names]
    axes.set_yticks(places, short[:count], fontsize=8)
    axes.set_ylim(max(count, 1) - 0.45, -0.55)
    longest = max([threshold, *observed[:count], *(expected[i] or 0.0 for i in known)])
    axes.set_xlim(0.0, 1.08 * longest)
    axes.set_xlabel("r = predicted cross section / upper limit")
    figure: Figure = axes.figure  # type: ignore[assignment]
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)
    return axes


def history(
    steps: Sequence[float | int], best: Sequence[float | None], axes: "Axes | None" = None
) -> "Axes":
    """Best K so far against the number of steps.

    Args:
        steps: Ascending.
        best: K, `None` before the first model.
        axes: Where to draw; new ones by default.
    """
    axes = axes or new_axes()
    points = [(s, k) for s, k in zip(steps, best, strict=True) if k is not None]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=OBSERVED, lw=2, drawstyle="steps-post", marker="o", ms=3)
        axes.annotate(
            f"K = {y[-1]:.2f}",
            (x[-1], y[-1]),
            xytext=(-4, 7),
            textcoords="offset points",
            ha="right",
            color=OBSERVED,
        )
        span = max(max(y) - min(y), 0.5)
        axes.set_ylim(min(y) - 0.08 * span, max(y) + 0.16 * span)
    axes.set_xlim(left=0)
    axes.set_xlabel("steps of each walker")
    axes.set_ylabel("best test statistic K")
    axes.grid(alpha=0.3)
    return axes


def pulls(
    names: Sequence[str],
    values: Sequence[float],
    errors: Sequence[float],
    axes: "Axes | None" = None,
) -> "Axes":
    """Pulls of constrained parameters, the largest first, with their uncertainties.

    Args:
        names: Of the parameters.
        values: Pulls in standard deviations of the constraint.
        errors: Uncertainties after the fit in the same unit.
        axes: Where to draw; new ones by default.
    """
    order = np.argsort(-np.abs(np.asarray(values, dtype=float)), kind="stable")[:MAX_PULLS]
    axes = axes or new_axes(6.4, 1.3 + 0.19 * max(len(order), 3))
    places = np.arange(len(order))
    axes.axvspan(-2, 2, color="#fee391", alpha=0.5, lw=0)
    axes.axvspan(-1, 1, color="#a1d99b", alpha=0.7, lw=0)
    axes.axvline(0, color="0.4", lw=0.8)
    axes.errorbar(
        np.asarray(values)[order],
        places,
        xerr=np.asarray(errors)[order],
        fmt="o",
        color="black",
        ms=3.5,
        lw=1,
    )
    axes.set_yticks(places, [_clipped(names[int(i)]) for i in order], fontsize=7)
    axes.set_ylim(max(len(order), 1) - 0.4, -0.6)
    reach = max([2.3, *(1.05 * (np.abs(values) + np.asarray(errors)))])
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("pull [σ]")
    if len(values) > len(order):
        axes.set_title(f"{len(order)} largest of {len(values)}", fontsize=8)
    return axes


def impacts(ranked: Sequence[Mapping[str, Any]], axes: "Axes | None" = None) -> "Axes":
    """How far parameters one standard deviation off move the best signal strength.

    Args:
        ranked: Entries with ``parameter``, ``up`` and ``down``, the largest first.
        axes: Where to draw; new ones by default.
    """
    shown = [entry for entry in ranked if entry["up"] is not None and entry["down"] is not None]
    chosen = shown[:MAX_PULLS]
    axes = axes or new_axes(6.4, 1.3 + 0.19 * max(len(chosen), 3))
    places = np.arange(len(chosen))
    for key, colour, label in (("up", OBSERVED, "+1 σ"), ("down", LIMIT, "-1 σ")):
        values = [entry[key] for entry in chosen]
        axes.barh(places, values, height=0.7, color=colour, alpha=0.7, label=label)
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_yticks(places, [_clipped(entry["parameter"]) for entry in chosen], fontsize=7)
    axes.set_ylim(max(len(chosen), 1) - 0.4, -0.6)
    axes.set_xlabel(r"change of $\hat\mu$")
    axes.legend(frameon=False, fontsize=8)
    if len(ranked) > len(chosen):
        axes.set_title(f"{len(chosen)} largest of {len(ranked)}", fontsize=8)
    return axes


def correlations(names: Sequence[str], matrix: np.ndarray, axes: "Axes | None" = None) -> "Axes":
    """Correlations of those parameters that are correlated most.

    Args:
        names: Of the parameters.
        matrix: Correlation matrix.
        axes: Where to draw; new ones by default.
    """
    apart = np.abs(matrix - np.diag(np.diagonal(matrix))).max(axis=1)
    chosen = np.sort(np.argsort(-apart, kind="stable")[:MAX_CORRELATED])
    size = max(3.6, 1.8 + 0.24 * len(chosen))
    axes = axes or new_axes(size + 0.8, size)
    image = axes.imshow(matrix[np.ix_(chosen, chosen)], cmap="RdBu_r", vmin=-1, vmax=1)
    labels = [_clipped(names[int(i)]) for i in chosen]
    axes.set_xticks(np.arange(len(chosen)), labels, rotation=90, fontsize=7)
    axes.set_yticks(np.arange(len(chosen)), labels, fontsize=7)
    figure: Figure = axes.figure  # type: ignore[assignment]
    figure.colorbar(image, ax=axes, label="correlation", shrink=0.8)
    if len(names) > len(chosen):
        axes.set_title(f"{len(chosen)} most correlated of {len(names)}", fontsize=8)
    return axes


def profile_scan(
    mu: np.ndarray,
    values: np.ndarray,
    axes: "Axes | None" = None,
    *,
    mu_hat: float,
    limit: float,
) -> "Axes":
    """-2 ln of the profile likelihood ratio against mu.

    Args:
        mu: Signal strengths.
        values: -2 ln [L(mu)/L(mu_hat)] at these.
        axes: Where to draw; new ones by default.
        mu_hat: Best signal strength.
        limit: Observed upper limit on mu.
    """
    axes = axes or new_axes()
    axes.plot(mu, values, color=OBSERVED, lw=2)
    for height, label in ((1.0, "1 σ"), (4.0, "2 σ")):
        axes.axhline(height, color="0.6", lw=0.8, ls=":")
        axes.annotate(
            label,
            (mu[-1], height),
            xytext=(-4, 1),
            textcoords="offset points",
            fontsize=8,
            color="0.4",
            ha="right",
        )
    axes.plot(
        [mu_hat], [0.0], "o", color="black", clip_on=False, label=rf"$\hat\mu$ = {mu_hat:.3g}"
    )
    axes.axvline(limit, color=LIMIT, lw=1.4, ls="--", label=f"upper limit {limit:.3g}")
    axes.set_xlim(0.0, float(mu[-1]))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(r"signal strength $\mu$")
    axes.set_ylabel(r"$-2\,\ln\,[L(\mu)/L(\hat\mu)]$")
    axes.legend(frameon=False)
    return axes


def _clipped(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 2] + ".."


def write(draw_fn: Callable[[], "Axes | Figure"], path: Path) -> Path:
    """Draw a figure and write it; returns the path."""
    save(draw_fn(), path)
    return path
