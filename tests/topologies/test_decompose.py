"""Decomposition of random spectra against SModelS's, without a database."""

import random

import numpy as np
import pytest

from jaxlik.database.smodels_oracle import OracleSettings, decompose_file, topologies
from jaxlik.errors import ModelPointError
from jaxlik.physics.spectrum_file import read_spectrum
from jaxlik.topologies.decompose import Rules, decompose
from jaxlik.topologies.forest import Shapes

WIDTHS = (1.0, 1.0, 1.0, 3e-14, 1e-16, 0.0)
"""Prompt, long-lived, stable [GeV]."""

FINAL = {
    1000021: [(1, -1, 1000022), (5, -5, 1000023), (6, -5, -1000024), (2, -1000002)],
    1000002: [(2, 1000022), (2, 1000023), (1, 1000024)],
    1000024: [(24, 1000022), (-11, 12, 1000022), (211, 1000022)],
    1000023: [(23, 1000022), (25, 1000022), (12, -12, 1000022), (11, -11, 1000022)],
    1000011: [(11, 1000022), (11, 1000023)],
}

MODES = (
    *((1000021, 1000021), (-1000002, 1000002), (1000002, 1000021), (-1000024, 1000023)),
    *((-1000024, 1000024), (1000023, 1000024), (-1000011, 1000011)),
)


def random_file(seed):
    """A spectrum with soft gaps, long lives and rare decays."""
    generator = random.Random(seed)
    lightest = generator.uniform(50, 300)
    masses = {1000022: lightest}
    for pid in (1000023, 1000024, 1000011, 1000002, 1000021):
        gap = generator.choice([0.7, 3.0, generator.uniform(5, 200)])
        masses[pid] = max(masses.values()) + gap
    lines = ["BLOCK MASS", *(f" {pid} {mass:.3f}" for pid, mass in masses.items())]
    lines += [" 25 125.0", "DECAY 1000022 0.0"]
    for pid, options in FINAL.items():
        width = generator.choice(WIDTHS)
        lines.append(f"DECAY {pid} {width:.3E}")
        if width > 0:
            shares = np.array([generator.random() ** 3 for _ in options])
            for share, state in zip(shares / shares.sum(), options, strict=True):
                lines.append(f" {share:.6E} {len(state)} {' '.join(map(str, state))}")
    for pair in MODES:
        for energy, scale in ((1.3e4, 1.0), (8e3, 0.3)):
            lines.append(f"XSECTION {energy:.2E} 2212 2212 2 {pair[0]} {pair[1]}")
            lines.append(f" 0 0 0 0 0 0 {scale * 10 ** generator.uniform(-4, -1):.6E} LO")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(12))
def test_the_same_topologies_with_the_same_weights(seed, tmp_path):
    path = tmp_path / "model.slha"
    path.write_text(random_file(seed))
    found = decompose(read_spectrum(path), Rules(0.02), Shapes())
    names = found.forest.shapes.canonical_names
    mine = sorted(
        (names[found.forest.shape[root]], *map(float, weight))
        for root, weight in found.weights.items()
    )
    peer = topologies(decompose_file(path, OracleSettings(minimum_weight=0.02)))
    wanted = sorted((t.canonical_name, *t.weight) for t in peer)
    # Names have more digits than floating-point numbers.
    assert [row[0] for row in mine] == [row[0] for row in wanted]
    np.testing.assert_allclose([row[1:] for row in mine], [row[1:] for row in wanted], rtol=1e-9)


def test_origins_explain_the_weights(tmp_path):
    path = tmp_path / "model.slha"
    path.write_text(random_file(3))
    found = decompose(read_spectrum(path), Rules(0.02), Shapes())
    sections = np.array([mode.cross_sections for mode in found.spectrum.productions])
    for root, origins in found.origins.items():
        total = np.zeros(2)
        for origin in origins:
            assert len(origin.positions) == found.forest.size[root]
            for source in found.sources[origin.tree]:
                ratios = [found.spectrum.decays[d].branching_ratio for d in source.decays]
                assert np.prod(ratios) == pytest.approx(source.branching, rel=1e-12)
                assert len(source.pids) == found.forest.size[origin.tree]
                total += sections[source.production] * source.branching
        np.testing.assert_allclose(total, found.weights[root], rtol=1e-12)


def test_too_many_cascades_are_an_error(tmp_path, monkeypatch):
    import jaxlik.topologies.decompose as module

    monkeypatch.setattr(module, "MOST_CASCADES", 10)
    path = tmp_path / "model.slha"
    path.write_text(random_file(0))
    with pytest.raises(ModelPointError, match="raise the minimum weight"):
        decompose(read_spectrum(path), Rules(0.02), Shapes())
