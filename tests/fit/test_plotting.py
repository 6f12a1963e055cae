"""Figures: they exist, hold what they should, and labels keep their distance."""

import numpy as np
import pytest

from jaxlik import plotting
from jaxlik.physics.particles import POOL

PNG = b"\x89PNG"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plotting.mass_ruler({1000022: 100.0}),
        lambda: plotting.mass_ruler({pid: 1000.0 + i for i, pid in enumerate(POOL)}),
        lambda: plotting.likelihood_scan(
            np.linspace(0, 2, 5), {"A": np.linspace(0, 1, 5)}, mu_hat=1.0, mu_max=np.inf
        ),
        lambda: plotting.likelihood_scan(np.linspace(0, 2, 5), {}, mu_hat=0.0, mu_max=1.0),
        lambda: plotting.r_values(["A" * 80], [1.2], [None], threshold=1.3),
        lambda: plotting.r_values([], [], [], threshold=1.3),
        lambda: plotting.history([10, 20], [None, 2.0]),
        lambda: plotting.history([], []),
    ],
    ids=["one mass", "full pool", "scan", "empty scan", "r", "no r", "history", "no history"],
)
def test_figures_are_written(tmp_path, draw):
    path = plotting.write(draw, tmp_path / "figure.png")
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert len(content) > 3000


def test_figures_leave_no_window_behind():
    import matplotlib.pyplot as plt

    plotting.history([1], [1.0])
    assert plt.get_fignums() == []


@pytest.mark.parametrize("wanted", [[0.0, 1.0, 2.0], [50.0] * 6, [1.0, 50.0, 50.5, 99.0], [3.0]])
def test_labels_keep_order_and_distance(wanted):
    placed = plotting.spread(wanted, 5.0, 0.0, 100.0)
    assert np.all(np.diff(placed) >= 5.0 - 1e-9)
    assert placed.min() >= 0
    assert placed.max() <= 100


def test_labels_that_fit_stay_where_they_are():
    wanted = [10.0, 40.0, 80.0]
    np.testing.assert_allclose(plotting.spread(wanted, 5.0, 0.0, 100.0), wanted)


def test_too_many_labels_share_the_room():
    placed = plotting.spread([50.0] * 40, 5.0, 0.0, 100.0)
    np.testing.assert_allclose(np.diff(placed), 2.5)


def test_the_ruler_names_every_particle():
    axes = plotting.mass_ruler({1000022: 100.0, 1000006: 900.0})
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["$X_Z^1$", "100", "$X_t^1$", "900"]
