"""Figures of a calibration: K of pseudo-databases beside that of the data."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from jaxlik.calibration.global_p import FEWEST, GlobalP
from jaxlik.plotting import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAKE, REAL, SIGNAL = "#2166ac", "#b2182b", "#1b7837"
SHADE = "#d1e5f0"


def k_values(
    fake: Sequence[float],
    real: Sequence[float],
    result: GlobalP | None = None,
    signals: Mapping[str, Sequence[float]] | None = None,
    axes: "Axes | None" = None,
    name: str = "K",
) -> "Axes":
    """Distribution of a statistic over pseudo-databases, and where the data lie.

    Args:
        fake: On pseudo-databases of the Standard Model.
        real: On the data, one value per search.
        result: Its p-value, for the title.
        signals: On pseudo-databases with a signal, by name.
        axes: Where to draw; new ones by default.
        name: Of the statistic.
    """
    axes = axes or new_axes(6.8, 4.4)
    values = np.asarray([x for x in fake if np.isfinite(x)])
    others = [x for some in (signals or {}).values() for x in some if np.isfinite(x)]
    everything = np.concatenate([values, [x for x in real if np.isfinite(x)], others])
    margin = 0.08 * max(float(np.ptp(everything)), 1.0)
    low, high = everything.min() - margin, everything.max() + margin
    bins = max(10, min(40, int(np.sqrt(max(len(values), 1)) * 1.5)))
    if len(values):
        heights, edges, _ = axes.hist(
            values, bins=bins, color=SHADE, label=f"Standard Model ({len(fake)})"
        )
        top = float(np.max(heights))
        if len(np.unique(values)) >= FEWEST:
            x = np.linspace(low, high, 400)
            density = stats.gaussian_kde(values)(x) * len(values) * (edges[1] - edges[0])
            axes.plot(x, density, color=FAKE, lw=1.5, label="kernel density")
            if result is not None:
                tail = x >= result.observed
                axes.fill_between(x[tail], density[tail], color=FAKE, alpha=0.5, lw=0)
    else:
        top = 1.0
    for i, (label, some) in enumerate((signals or {}).items()):
        axes.plot(some, np.full(len(some), -0.05 * top * (i + 1)), "o", ms=4, color=SIGNAL,
                  label=label)  # fmt: skip
    if len(real):
        axes.plot(real, np.full(len(real), 0.03 * top), "*", ms=11, color=REAL, label="data",
                  clip_on=False)  # fmt: skip
    axes.axhline(0.0, color="#333333", lw=0.8)
    axes.set_xlim(low, high)
    axes.set_xlabel(name)
    axes.set_ylabel("pseudo-databases")
    axes.legend(fontsize=8, frameon=False)
    if result is not None:
        axes.set_title(p_text(result), fontsize=9)
    return axes


def p_text(result: GlobalP) -> str:
    """A p-value in words."""
    low, high = result.interval
    if result.is_bound:
        return f"p < {high:.3g} (none of {result.number}; 68 % CL)"
    kde = "" if np.isnan(result.p_kde) else f", kernel density {result.p_kde:.3g}"
    return f"p = {result.p:.3g} [{low:.3g}, {high:.3g}] ({result.above} of {result.number}){kde}"
