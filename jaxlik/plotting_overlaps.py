"""Figure of the overlaps of signal regions: how correlated they are, and which combine."""

from typing import TYPE_CHECKING

import numpy as np

from jaxlik.calibration.overlaps import OverlapEstimate
from jaxlik.plotting import MAX_NAME, OBSERVED, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_REGIONS = 80
"""More regions are labelled by their analyses only."""

DECADES = 2.0
"""Of correlations below the threshold that colours tell apart."""


def overlap_matrix(estimate: OverlapEstimate, axes: "Axes | None" = None) -> "Axes":
    """Correlations in colour, on a logarithmic scale; combinable and undecided pairs marked.

    Regions are ordered by analysis; white is no shared event.

    Args:
        estimate: Of the overlaps.
        axes: Where to draw; new ones by default.
    """
    from matplotlib.colors import LogNorm

    analyses = np.array([name.partition(":")[0] for name in estimate.names])
    order = np.argsort(analyses, kind="stable")
    names = [_shortened(estimate.names[i]) for i in order]
    if axes is None:
        side = float(np.clip(0.24 * len(order), 2.6, 12.0))
        margin = 0.4 + 0.06 * max(map(len, names))
        axes = new_axes(side + margin + 1.0, side + margin + 0.3)
    matrix = np.ma.masked_invalid(estimate.correlation[np.ix_(order, order)])
    matrix = np.ma.masked_less_equal(matrix, 0.0)
    scale = LogNorm(estimate.threshold * 10**-DECADES, 1.0)
    image = axes.imshow(matrix, cmap="YlOrRd", norm=scale, aspect="auto")
    figure: Figure = axes.figure  # type: ignore[assignment]
    bar = figure.colorbar(image, ax=axes, label="correlation", fraction=0.05, pad=0.02)
    bar.ax.axhline(estimate.threshold, color=OBSERVED, lw=1.5)
    _mark(axes, estimate.combinable[np.ix_(order, order)], "o", OBSERVED, "combinable")
    _mark(axes, estimate.unknown[np.ix_(order, order)], "x", "0.6", "too few events")
    _name(axes, names, analyses[order])
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8, frameon=False)
    return axes


def _mark(axes: "Axes", pairs: np.ndarray, marker: str, colour: str, label: str) -> None:
    row, column = np.nonzero(pairs)
    axes.scatter(
        column,
        row,
        s=float(np.clip(1000 / len(pairs), 2, 30)),
        marker=marker,
        color=colour,
        lw=0.8,
        label=f"{label} ({len(row) // 2} pairs)",
    )


def _name(axes: "Axes", names: list[str], analyses: np.ndarray) -> None:
    """Names of regions, or of analyses where there are many; lines between analyses."""
    starts = np.flatnonzero(np.r_[True, analyses[1:] != analyses[:-1]])
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="0.3", lw=0.6)
        axes.axvline(start - 0.5, color="0.3", lw=0.6)
    places = np.arange(len(names), dtype=float)
    if len(names) > MAX_REGIONS:
        places = (starts + np.r_[starts[1:], len(names)] - 1) / 2
        names = [str(analyses[start]) for start in starts]
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_yticks(places, names, fontsize=7)


def _shortened(name: str) -> str:
    """The end of a name tells regions of an analysis apart."""
    return name if len(name) <= MAX_NAME else ".." + name[2 - MAX_NAME :]
