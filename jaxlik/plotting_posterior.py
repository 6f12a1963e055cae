"""Figures of a posterior over models; each function draws on given axes and returns them.

Arrays and names come in, no files and no documents: see `jaxlik.fit.posterior_figures`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxlik.physics.pool import Channel
from jaxlik.plotting import EXPECTED, LIMIT, OBSERVED, kind_of, latex, new_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CONTENTS = 15
MAX_CORNER = 8
MAX_CORRELATED = 25
NUM_BINS = 30
MIN_CONTOUR = 200
"""Fewer draws are shown as points."""
LEVELS = (0.68, 0.95)
SHADES = ("#6baed6", "#c6dbef")
"""Of the 68 and the 95 % regions."""


def content_text(pids: Sequence[int]) -> str:
    """Particles of a content for matplotlib's mathematics mode."""
    return r"$\,$ ".join(latex(pid) for pid in pids)


def channel_text(channel: Channel) -> str:
    """A decay for matplotlib's mathematics mode."""
    mother, daughter, sm = channel
    products = r"\,".join(_inner(pid) for pid in (*sm, daughter))
    return rf"${_inner(mother)} \to {products}$"


def production_text(pair: tuple[int, int]) -> str:
    """A production mode for matplotlib's mathematics mode, antiparticles with a bar."""
    ordered = sorted(pair, key=lambda pid: (abs(pid), -pid))
    return "$" + r"\,".join(_inner(pid) for pid in ordered) + "$"


def _inner(pid: int) -> str:
    text = latex(pid).strip("$")
    if pid > 0:
        return text
    base, *rest = text.split("_", 1)
    return rf"\overline{{{base}}}" + "".join(f"_{part}" for part in rest)


def bars(
    names: Sequence[str],
    probabilities: Sequence[float],
    errors: Sequence[float | None],
    axes: "Axes | None" = None,
    *,
    label: str,
    colours: Sequence[str] | None = None,
) -> "Axes":
    """Horizontal bars of probabilities with their Monte-Carlo errors, in the order given.

    Args:
        names: Of the bars.
        probabilities: Between 0 and 1.
        errors: Standard errors; `None` where not known.
        axes: Where to draw; new ones by default.
        label: Of the axis.
        colours: Of the bars.
    """
    count = min(len(names), MAX_CONTENTS)
    axes = axes or new_axes(6.4, 1.1 + 0.36 * max(count, 2))
    places = np.arange(count)
    widths = [min(error or 0.0, 1.0) for error in errors[:count]]
    shown = list(colours[:count]) if colours is not None else OBSERVED
    axes.barh(places, probabilities[:count], 0.66, color=shown, alpha=0.85)
    axes.errorbar(probabilities[:count], places, xerr=widths, fmt="none", ecolor="black", lw=1.1)
    longest = max([p + w for p, w in zip(probabilities, widths, strict=False)], default=1.0)
    for place, probability, width in zip(places, probabilities, widths, strict=False):
        axes.annotate(
            f"{100 * probability:.1f}%",
            (probability + width, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(places, list(names[:count]), fontsize=11)
    axes.set_ylim(max(count, 1) - 0.45, -0.55)
    axes.set_xlim(0.0, 1.16 * longest)
    axes.set_xlabel(label)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(names) > count:
        axes.set_title(f"{count} most probable of {len(names)}", fontsize=8)
    return axes


def inclusion(
    probabilities: Mapping[int, float],
    errors: Mapping[int, float | None],
    axes: "Axes | None" = None,
) -> "Axes":
    """Posterior probability that each particle exists, coloured by its kind.

    Args:
        probabilities: By PDG number, the largest first.
        errors: Monte-Carlo standard errors.
        axes: Where to draw; new ones by default.
    """
    pids = list(probabilities)
    return bars(
        [latex(pid) for pid in pids],
        [probabilities[pid] for pid in pids],
        [errors[pid] for pid in pids],
        axes,
        label="posterior probability that the particle exists",
        colours=[kind_of(pid)[1] for pid in pids],
    )


def mass_spectrum(
    masses: Mapping[int, np.ndarray],
    probabilities: Mapping[int, float],
    axes: "Axes | None" = None,
) -> "Axes":
    """Mass ladder with posterior bands: widths are densities, opacity is the inclusion.

    Each particle is a violin of its mass where it exists, with bars over the central 68 and
    95 % and a line at the median; below its name stands the probability that it exists.

    Args:
        masses: GeV, draws by PDG number; at least one each.
        probabilities: That the particles exist.
        axes: Where to draw; new ones by default.
    """
    ordered = sorted(masses, key=lambda pid: float(np.median(masses[pid])))
    axes = axes or new_axes(max(3.6, 1.6 + 0.62 * len(ordered)), 5.2)
    top = max((float(np.quantile(masses[pid], 0.99)) for pid in ordered), default=1.0)
    for place, pid in enumerate(ordered):
        draws, colour = masses[pid], kind_of(pid)[1]
        # Rare particles stay visible.
        alpha = 0.35 + 0.6 * probabilities[pid]
        low_95, low, median, high, high_95 = np.quantile(draws, [0.025, 0.16, 0.5, 0.84, 0.975])
        heights, density = _density(draws)
        shape = 0.42 * density / density.max()
        axes.fill_betweenx(
            heights, place - shape, place + shape, color=colour, alpha=0.4 * alpha, lw=0
        )
        axes.vlines(place, low_95, high_95, color=colour, alpha=alpha, lw=1.2)
        axes.vlines(place, low, high, color=colour, alpha=alpha, lw=5)
        axes.hlines(median, place - 0.28, place + 0.28, color=colour, alpha=alpha, lw=2.5)
        value = _with_errors(low, median, high)
        _note(axes, value, (place, heights[-1]), 5, colour, "data", size=8)
        _note(axes, latex(pid), (place, 0.0), -17, colour, "axes fraction", size=12)
        share = _percent(probabilities[pid])
        _note(axes, share, (place, 0.0), -33, colour, "axes fraction", size=9)
    axes.set_xticks([])
    axes.set_xlim(-0.7, max(len(ordered), 1) - 0.3)
    axes.set_ylim(0.0, 1.08 * top)
    axes.set_ylabel("mass [GeV]")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _density(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed histogram of the central 99 % of the draws, at least 2 GeV wide."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.quantile(draws, [0.005, 0.995])
    # Of two draws both lie just outside of their central 99 %.
    middle, half = 0.5 * (low + high), max(0.51 * (high - low), 1.0)
    density, edges = np.histogram(draws, 60, (middle - half, middle + half))
    smooth = gaussian_filter1d(density.astype(float), 2.5, mode="nearest")
    return 0.5 * (edges[1:] + edges[:-1]), smooth


def _note(
    axes: "Axes", text: str, place: tuple[float, float], rise: float, colour: str, y: str, size: int
) -> None:
    """Centred text some points above a place whose height is in the coordinates `y`."""
    axes.annotate(
        text,
        place,
        xytext=(0, rise),
        xycoords=("data", y),
        textcoords="offset points",
        ha="center",
        va="baseline",
        color=colour,
        fontsize=size,
    )


def _with_errors(low: float, median: float, high: float) -> str:
    """Median with the distances to both ends of an interval."""
    digits = next((d for d in range(4) if high - low >= 10.0 ** (1 - d)), 3)
    errors = f"^{{+{high - median:.{digits}f}}}_{{-{median - low:.{digits}f}}}"
    return f"{median:.{digits}f}${errors}$"


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f}%" if probability >= 0.0095 else f"{100 * probability:.1g}%"


def corner(names: Sequence[str], draws: np.ndarray, figure: "Figure | None" = None) -> "Figure":
    """One- and two-dimensional marginals of the first parameters of a content.

    Histograms on the diagonal, with the median and the central 68 %; below it regions of
    highest density that hold 68 and 95 %, from a smoothed histogram.

    Args:
        names: Of the parameters.
        draws: Axes `parameter` and `draw`; the first of a long list are shown.
        figure: Where to draw; a new one by default.
    """
    count = min(len(names), MAX_CORNER)
    figure = figure or new_figure(1.2 + 1.55 * count, 1.0 + 1.55 * count)
    if count == 0:
        return figure
    panels = figure.subplots(count, count, squeeze=False, sharex="col")
    ranges = [_range(draws[i]) for i in range(count)]
    for row in range(count):
        for column in range(count):
            axes = panels[row, column]
            if column > row:
                axes.axis("off")
                continue
            axes.set_xlim(*ranges[column])
            if column == row:
                _marginal(axes, draws[row], ranges[row])
            else:
                _joint(axes, draws[column], draws[row], (ranges[column], ranges[row]))
                axes.set_ylim(*ranges[row])
            _ticks(axes, names, row, column, count)
    figure.align_labels()
    return figure


def _ticks(axes: "Axes", names: Sequence[str], row: int, column: int, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    axes.tick_params(labelsize=7)
    if row == count - 1:
        axes.tick_params(axis="x", rotation=45)
        axes.set_xlabel(names[column], fontsize=9)
    else:
        axes.tick_params(labelbottom=False)
    if column == row:
        axes.set_yticks([])
        return
    axes.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
    if column == 0:
        axes.set_ylabel(names[row], fontsize=9)
    else:
        axes.tick_params(labelleft=False)


def _range(values: np.ndarray) -> tuple[float, float]:
    """The central 99.6 % of some values and a margin; never empty."""
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.04 * (high - low) or 0.5 * max(abs(low), 1.0)
    return float(low - margin), float(high + margin)


def _marginal(axes: "Axes", values: np.ndarray, limits: tuple[float, float]) -> None:
    bins = int(np.clip(np.sqrt(len(values)), 5, NUM_BINS))
    axes.hist(values, bins, range=limits, histtype="stepfilled", color=SHADES[1], ec=OBSERVED)
    low, median, high = np.quantile(values, [0.16, 0.5, 0.84])
    axes.axvline(median, color=OBSERVED, lw=1.2)
    for edge in (low, high):
        axes.axvline(edge, color=OBSERVED, lw=0.9, ls=":")
    axes.set_title(_with_errors(low, median, high), fontsize=9)


def _joint(
    axes: "Axes", x: np.ndarray, y: np.ndarray, limits: Sequence[tuple[float, float]]
) -> None:
    """Regions of highest density that hold the levels."""
    from scipy.ndimage import gaussian_filter

    counts, x_edges, y_edges = np.histogram2d(x, y, NUM_BINS, limits)
    smooth = gaussian_filter(counts, 1.0, mode="constant").T
    heights = [_height(smooth, level) for level in reversed(LEVELS)]
    centres = [0.5 * (edges[1:] + edges[:-1]) for edges in (x_edges, y_edges)]
    cuts = sorted({*heights, 1.001 * float(smooth.max())})
    if len(x) >= MIN_CONTOUR and len(cuts) == len(LEVELS) + 1:
        axes.contourf(*centres, smooth, cuts, colors=SHADES[::-1])
        axes.contour(*centres, smooth, cuts[:-1], colors=[OBSERVED], linewidths=0.7)
    else:
        axes.plot(x, y, ".", color=OBSERVED, ms=3, alpha=0.5)


def _height(density: np.ndarray, level: float) -> float:
    """The height above which cells hold a fraction `level` of the total."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / np.sum(ordered)
    return float(ordered[min(np.searchsorted(held, level), len(ordered) - 1)])


def correlation_map(names: Sequence[str], matrix: np.ndarray, axes: "Axes | None" = None) -> "Axes":
    """Correlations of parameters, written into the cells where these are few.

    Args:
        names: Of the parameters.
        matrix: Their correlations; `nan` where unknown.
        axes: Where to draw; new ones by default.
    """
    count = min(len(names), MAX_CORRELATED)
    size = 2.6 + 0.42 * max(count, 2)
    axes = axes or new_axes(size + 0.8, size)
    shown = np.ma.masked_invalid(matrix[:count, :count])
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(count), list(names[:count]), rotation=90, fontsize=8)
    axes.set_yticks(range(count), list(names[:count]), fontsize=8)
    if count <= 14:
        for i, j in np.argwhere(~np.ma.getmaskarray(shown)):
            colour = "white" if abs(shown[i, j]) > 0.6 else "black"
            text = f"{shown[i, j]:z.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=colour)
    figure: Figure = axes.figure  # type: ignore[assignment]
    figure.colorbar(image, ax=axes, label="correlation", shrink=0.8)
    if len(names) > count:
        axes.set_title(f"the first {count} of {len(names)}", fontsize=8)
    return axes


def traces(
    log_likelihood: np.ndarray,
    content: np.ndarray,
    names: Sequence[str],
    figure: "Figure | None" = None,
) -> "Figure":
    """Each chain against the number of its draw: ln L above, the content below.

    Args:
        log_likelihood: ln L over that of the Standard Model, axes `chain` and `draw`.
        content: Rank of the content of each draw, the most probable 0; those without a name
            share the last line.
        names: Of the most probable contents.
        figure: Where to draw; a new one by default.
    """
    chains, count = log_likelihood.shape
    lines = [*names, "other"] if content.max(initial=0) >= len(names) else list(names)
    figure = figure or new_figure(8.0, 3.4 + 0.32 * len(lines))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 0.32 * len(lines) + 0.4])
    step = max(1, count // 2000)
    places = np.arange(0, count, step)
    spread_out = np.linspace(-0.3, 0.3, chains) if chains > 1 else np.zeros(1)
    for chain in range(chains):
        colour = f"C{chain % 10}"
        upper.plot(places, log_likelihood[chain, ::step], color=colour, lw=0.6, alpha=0.7)
        rank = np.minimum(content[chain, ::step], len(lines) - 1)
        lower.plot(places, rank + spread_out[chain], "|", color=colour, ms=2.6, alpha=0.7)
    finite = log_likelihood[np.isfinite(log_likelihood)]
    if finite.size:
        low, high = np.quantile(finite, [0.001, 1.0])
        upper.set_ylim(low - 0.05 * (high - low + 1), high + 0.08 * (high - low + 1))
    upper.axhline(0.0, color="0.6", lw=0.8)
    upper.set_ylabel(r"$\ln\,[L/L_\mathrm{SM}]$")
    lower.set_yticks(range(len(lines)), lines, fontsize=9)
    lower.set_ylim(len(lines) - 0.5, -0.5)
    lower.set_ylabel("content")
    lower.set_xlabel(f"draw of each of {chains} chains" if chains > 1 else "draw")
    lower.set_xlim(0, max(count - 1, 1))
    return figure


def effective_draws(
    names: Sequence[str],
    bulk: Sequence[float],
    tail: Sequence[float],
    axes: "Axes | None" = None,
    *,
    target: float,
) -> "Axes":
    """Effective numbers of draws for location and tails, the smallest first.

    Args:
        names: Of the quantities.
        bulk: Effective numbers for the location, ascending.
        tail: The same for the tails.
        axes: Where to draw; new ones by default.
        target: Number wanted.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    count = min(len(names), MAX_CORRELATED)
    axes = axes or new_axes(6.8, 1.3 + 0.25 * max(count, 3))
    places = np.arange(count)
    axes.axvline(target, color=LIMIT, lw=1.3, ls="--", label=f"target {target:g}")
    axes.plot(bulk[:count], places, "o", color=OBSERVED, ms=5, label="bulk")
    axes.plot(tail[:count], places, "D", color=EXPECTED, mec=OBSERVED, ms=4, label="tail")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    values = [value for value in (*bulk[:count], *tail[:count], target) if np.isfinite(value)]
    axes.set_xlim(min(values) / 1.5, 1.5 * max(values))
    axes.set_yticks(places, list(names[:count]), fontsize=8)
    axes.set_ylim(max(count, 1) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("effective number of draws")
    figure: Figure = axes.figure  # type: ignore[assignment]
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)
    if len(names) > count:
        axes.set_title(f"{count} smallest of {len(names)}", fontsize=8, loc="left")
    return axes
