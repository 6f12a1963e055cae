"""Figures of a census: histogram of significances and quantiles beside a standard normal."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from jaxlik.calibration.census import Census, spread
from jaxlik.plotting import new_figure
from jaxlik.typing import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#a6cee3", "#f4a582", "#2166ac", "#b2182b", "#1b7837", "#762a83")
"""Of experiments and energies, told apart by the colour-blind."""

EDGES = np.arange(-4.0, 5.01, 0.25)
LINE = "#333333"


def significance_histogram(census: Census, axes: "Axes") -> "Axes":
    """Significances stacked by experiment and energy, and what a standard normal gives."""
    groups = census.groups()
    z = np.clip(census.z, EDGES[0], EDGES[-1] - 1e-9)
    axes.hist(
        [z[mask] for mask in groups.values()],
        bins=EDGES.tolist(),
        stacked=True,
        color=[COLOURS[i % len(COLOURS)] for i in range(len(groups))],
        label=[f"{name} ({int(mask.sum())})" for name, mask in groups.items()],
    )
    x = np.linspace(EDGES[0], EDGES[-1], 400)
    width = EDGES[1] - EDGES[0]
    axes.plot(x, len(z) * width * stats.norm.pdf(x), color=LINE, lw=1.5, label="standard normal")
    found = spread(census.z)
    axes.set_title(
        f"database {census.version}: {found.number} regions, mean {found.mean:+.3f}, "
        f"sd {found.deviation:.3f}",
        fontsize=9,
    )
    axes.set_xlabel("significance of the region (mid-p)")
    axes.set_ylabel(f"regions / {width:g}")
    axes.legend(fontsize=8, frameon=False)
    return axes


def quantile_plot(census: Census, axes: "Axes") -> "Axes":
    """Ordered significances against those of a standard normal, with its 95 % band."""
    expected, low, high = _normal_quantiles(len(census.regions))
    axes.fill_between(expected, low, high, color="#dddddd", label="95 %, independent regions")
    axes.plot(expected, expected, color=LINE, lw=1.0)
    for values, colour, name in (
        (census.z, "#2166ac", "as published (mid-p)"),
        (census.decorrelated, "#e66101", "whitened where a covariance is published"),
    ):
        axes.plot(expected, np.sort(values), ".", ms=3, color=colour, label=name)
    axes.set_xlabel("quantile of a standard normal")
    axes.set_ylabel("significance")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return axes


def census_figure(census: Census) -> "Figure":
    """Histogram and quantiles side by side."""
    figure = new_figure(10.4, 4.4)
    left, right = figure.subplots(1, 2)
    significance_histogram(census, left)
    quantile_plot(census, right)
    return figure


def _normal_quantiles(
    number: int,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Median and central 95 % of each order statistic of standard normal numbers."""
    rank = np.arange(1, number + 1)
    shares = (special.betaincinv(rank, number + 1 - rank, q) for q in (0.5, 0.025, 0.975))
    median, low, high = (special.ndtri(share) for share in shares)
    return median, low, high
