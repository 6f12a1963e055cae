"""Figures of a posterior: all are drawn, labels do not overlap, regions hold what they say."""

import numpy as np
import pytest
from synthetic_draws import (
    CHARGINO,
    LBP,
    SQUARK,
    STOP,
    STOP_TO_TOP,
    independent_draws,
    two_decays,
)

from jaxlik import plotting_posterior as plots
from jaxlik.fit.posterior_figures import quantity_text, write_posterior_figures
from jaxlik.fit.posterior_quantities import BRANCHING_RATIO, MASS, SIGNAL_STRENGTH, Quantity
from jaxlik.fit.posterior_summary import posterior_document
from jaxlik.physics.particles import POOL
from jaxlik.plotting import new_axes

ALL = {"contents", "masses", "traces", "inclusion", "effective_draws", "correlations", "corner"}


def written(folder, draws):
    paths = write_posterior_figures(folder, draws, posterior_document(draws))
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 3000
    return {path.stem for path in paths}


def test_every_figure_of_a_posterior_is_written(tmp_path):
    draws = two_decays(independent_draws({(): 0.3, (STOP,): 0.5, (STOP, SQUARK): 0.2}, (2, 300)))
    assert written(tmp_path / "figures", draws) == ALL


@pytest.mark.parametrize(
    ("probabilities", "shape"),
    [({(): 1.0}, (1, 20)), ({(STOP,): 1.0}, (2, 10)), ({(STOP,): 1.0}, (1, 1))],
    ids=["no particle", "few draws", "one draw"],
)
def test_poor_posteriors_have_figures_too(tmp_path, probabilities, shape):
    names = written(tmp_path, independent_draws(probabilities, shape))
    assert {"contents", "masses", "traces"} <= names <= ALL


def overlaps(texts, axes):
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return [
        (i, j)
        for i in range(len(boxes))
        for j in range(i)
        if boxes[i].overlaps(boxes[j]) and boxes[i].width > 0
    ]


def test_the_spectrum_of_the_whole_pool_has_room_for_its_labels():
    rng = np.random.default_rng(0)
    masses = {pid: rng.normal(1500 + 3 * i, 80, 500) for i, pid in enumerate(POOL)}
    axes = plots.mass_spectrum(masses, dict.fromkeys(POOL, 0.5))
    texts = [text for text in axes.texts if "GeV" not in text.get_text()]
    assert len(texts) == 3 * len(POOL)
    assert not overlaps(texts, axes)


def test_the_spectrum_shows_medians_and_inclusion():
    rng = np.random.default_rng(1)
    masses = {STOP: rng.normal(1100, 60, 4000), LBP: rng.normal(150, 20, 4000)}
    axes = plots.mass_spectrum(masses, {STOP: 0.73, LBP: 1.0})
    texts = [text.get_text() for text in axes.texts]
    assert texts[1:3] == ["$X_Z^1$", "100%"]
    assert texts[4:] == ["$X_t^1$", "73%"]
    assert texts[3].startswith(f"{np.median(masses[STOP]):.0f}$^{{+")


def test_bars_are_cut_to_the_most_probable_and_say_so():
    names = [f"content {i}" for i in range(40)]
    axes = plots.bars(names, [1 / 40] * 40, [None] * 40, label="probability")
    assert axes.get_title() == "15 most probable of 40"
    assert not overlaps([*axes.texts, *axes.get_yticklabels()], axes)


@pytest.mark.slow
def test_labels_of_a_full_corner_do_not_overlap():
    rng = np.random.default_rng(2)
    quantities = [
        *(Quantity(MASS, (pid,)) for pid in (LBP, STOP, SQUARK, CHARGINO)),
        Quantity(BRANCHING_RATIO, STOP_TO_TOP),
        Quantity(BRANCHING_RATIO, (1000006, 1000005, (24,))),
        *(Quantity(SIGNAL_STRENGTH, (-pid, pid)) for pid in (STOP, SQUARK, CHARGINO)),
    ]
    names = [quantity_text(quantity) for quantity in quantities]
    figure = plots.corner(names, 1000 + 50 * rng.normal(size=(len(names), 400)))
    count = plots.MAX_CORNER
    assert len(figure.axes) == count**2
    bottom = [axes.xaxis.label for axes in figure.axes[-count:]]
    assert [label.get_text() for label in bottom] == names[:count]
    assert not overlaps(bottom, figure.axes[0])
    left = [axes.yaxis.label for axes in figure.axes[count::count]]
    assert not overlaps(left, figure.axes[0])


def test_regions_of_highest_density_hold_their_level():
    """Cells above the cut of a Gaussian hold 68 and 95 %, to one cell's weight and noise."""
    rng = np.random.default_rng(3)
    counts, *_ = np.histogram2d(*rng.normal(size=(2, 200_000)), bins=60)
    for level in plots.LEVELS:
        cut = plots._height(counts, level)
        assert counts[counts >= cut].sum() / counts.sum() == pytest.approx(level, abs=0.01)


def test_names_in_mathematics_mode():
    assert plots.channel_text(STOP_TO_TOP) == r"$X_t^1 \to t\,X_Z^1$"
    assert plots.production_text((-STOP, STOP)) == r"$X_t^1\,\overline{X}_t^1$"
    assert quantity_text(Quantity(MASS, (STOP,))) == "$m$($X_t^1$) [GeV]"


def test_given_axes_are_used():
    axes = new_axes()
    assert plots.correlation_map(["a", "b"], np.array([[1, np.nan], [np.nan, 1]]), axes) is axes
    assert [text.get_text() for text in axes.texts] == ["1.00", "1.00"]


def test_traces_name_other_contents_only_where_there_are_any():
    ranks = np.array([[0, 1, 2, 3]])
    figure = plots.traces(np.zeros((1, 4)), ranks, ["A", "B"])
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == ["A", "B", "other"]
    figure = plots.traces(np.array([[0.0, -np.inf]]), ranks[:, :2], ["A", "B"])
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["A", "B"]


def test_figures_leave_no_window_behind():
    import matplotlib.pyplot as plt

    plots.effective_draws(["a"], [300.0], [np.nan], target=400.0)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draws", [[400.0], [400.0, 900.0], [400.0, 900.0, 901.0]])
def test_particles_with_few_draws_have_a_shape(draws):
    heights, density = plots._density(np.array(draws))
    assert density.max() > 0
    assert np.isfinite(heights).all()
