"""Learning cross sections: accuracy on rows never used, tables of a user, bad tables."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.cross_section_file import open_cross_sections, read_manifest
from jaxlik.errors import ConfigError, DatabaseError
from surrogates.__main__ import main
from surrogates.cross_section_tables import BUILT_IN, MIN_ROWS, RECIPE, built_in_tables, read_table
from surrogates.cross_sections import deal, hull, learn
from surrogates.maps import CALIBRATE, STOP, TEST, TRAIN

FAST = replace(RECIPE, steps=1000, every=125)


@pytest.mark.slow
@pytest.mark.parametrize("energy", [8, 13])
def test_squark_gluino_is_learned_to_half_a_per_cent(energy):
    (table,) = built_in_tables((f"squark-gluino-{energy}",))
    section, report = learn(table, FAST, members=2)
    assert report.held_out > 50
    # Three printed digits: 95 % of the rounding is below 0.3 %.
    assert report.q95 <= 0.005
    # One node of 200 to 300 GeV, where the next is half as heavy again.
    assert report.worst < 0.03
    assert report.q95 < report.spline_q95
    # Binomial, 57 and 85 rows: a band of 90 % covers fewer than 78 % once in 500 times.
    assert report.covered > 0.78
    inside = jax.vmap(section.inside)(jnp.asarray(table.inputs))
    assert inside.all()
    assert not section.inside(jnp.array([1000.0, 6000.0]))
    # Heavier squarks and gluinos are rarer, by 3 to 30 powers of their masses.
    masses = jnp.asarray(np.random.default_rng(0).uniform(400, 2000, (200, 2)))
    slopes = jax.vmap(jax.grad(section.log_sigma))(masses) * masses
    assert (slopes.sum(axis=1) < -3).all()
    assert (slopes.sum(axis=1) > -30).all()


def test_built_in_grids_are_read_as_published():
    tables = built_in_tables(least=0.0)
    assert tuple(table.name for table in tables) == BUILT_IN
    assert [len(table.sigma) for table in tables] == [576, 841] * 4
    table = built_in_tables(("squark-gluino-8",))[0]
    row = np.flatnonzero((table.inputs == [1000.0, 900.0]).all(axis=1))
    # NLL-fast 2.1 with MSTW2008: 0.136 pb.
    np.testing.assert_allclose(table.sigma[row], 136.0)
    np.testing.assert_allclose(table.rounding[row], 0.5 / 136)
    assert table.sigma.min() >= 1e-3


def test_rows_are_dealt_out_once_and_the_border_is_fitted():
    (table,) = built_in_tables(("squark-gluino-13",))
    place = 2 * (table.inputs - 200) / 2800 - 1
    facets, border = hull(place)
    assert len(facets) == 4
    np.testing.assert_array_equal(border, np.flatnonzero(np.abs(place).max(axis=1) > 0.999))
    use = deal(table, border)
    assert (use[border] == TRAIN).all()
    np.testing.assert_array_equal(np.bincount(use), [603, 68, 85, 85])
    assert {TRAIN, STOP, CALIBRATE, TEST} == set(use)
    np.testing.assert_array_equal(use, deal(table, border))
    # All border: the ends of every input are fitted at least.
    use = deal(table, np.arange(len(use)))
    assert np.bincount(use)[TEST] == 85
    assert (use[[0, -1]] == TRAIN).all()


def closed_form(masses, mixing):
    """fb; threshold, propagator and an interference of two couplings."""
    total = masses.sum(axis=1)
    left, right = np.cos(mixing), 0.5 * np.sin(mixing)
    strength = left**2 + right**2 + 1.2 * left * right * 4 * masses.prod(axis=1) / total**2
    return 1e3 * strength * (total / 500) ** -4 * np.exp(-total / 900)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    masses, mixing = rng.uniform(100, 800, (600, 2)), rng.uniform(0, 1.5, 600)
    return np.c_[masses, mixing, closed_form(masses, mixing) / 1e3]


def write(path, rows, header="m_1,m_2,angle,sigma"):
    lines = [",".join(f"{value:.8g}" for value in row) for row in rows]
    path.write_text("# made for a test\n" + header + "\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_table_with_a_mixing_through_the_command(tmp_path, rows, capsys):
    table = write(tmp_path / "pair.csv", rows)
    target = tmp_path / "out" / "pair.npz"
    words = ["cross-sections", "--table", table, "--unit", "pb", "--target", target, "--quiet"]
    code = main([*map(str, words), "--steps", "1000", "--members", "2"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "pair" in said.out
    learned = open_cross_sections(target)["pair"]
    assert learned.columns == ("m_1", "m_2", "angle")
    entry = read_manifest(target)["processes"][0]
    assert entry["rows"] == 600
    assert entry["q95"] < 0.005
    assert "spline_q95" not in entry
    rng = np.random.default_rng(4)
    fresh = np.c_[rng.uniform(150, 750, (300, 2)), rng.uniform(0.1, 1.4, 300)]
    found = jax.vmap(learned.predict)(jnp.asarray(fresh))
    truth = closed_form(fresh[:, :2], fresh[:, 2])
    assert found.inside.all()
    assert np.quantile(np.abs(found.sigma / truth - 1), 0.95) < 0.005
    # 300 points: below 80 % by chance is less than 1 in 1e6; the band itself is a quantile of 60.
    assert ((found.low <= truth) & (truth <= found.high)).mean() > 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("sigma", "xsec"), r"no column 'sigma', found m_1, m_2, angle, xsec"),
        (lambda text: text.replace("12.5,", "x,"), r"line 4, column 'm_2': found 'x', wanted a number"),
        (lambda text: text.replace("12.5,", "nan,"), r"line 4, column 'm_2': found nan, wanted a finite"),
        (lambda text: text.replace("12.5,", "-3,"), r"line 4, column 'm_2': found -3, wanted a positive mass"),
        (lambda text: text.replace(",77.5", ",0"), r"line 5, column 'sigma': found 0, wanted a positive cross"),
        (lambda text: text.replace(",77.5", ""), r"line 5, column 'sigma': found '', wanted a number"),
        (lambda text: "\n".join(text.splitlines()[:50]), rf"48 rows, wanted at least {MIN_ROWS}"),
        (lambda text: text + text.splitlines()[2] + "\n", r"lines 3 and 123 have the same inputs"),
        (lambda text: "", r"no column 'sigma', found none"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(tmp_path, rows, change, message):
    bad = rows[:120].copy()
    bad[1, 1], bad[2, 3] = 12.5, 77.5
    path = write(tmp_path / "bad.csv", bad)
    path.write_text(change(path.read_text()))
    with pytest.raises(DatabaseError, match=message):
        read_table(path)


def test_bad_options_are_named(tmp_path, rows, capsys):
    same = rows[:120].copy()
    same[:, 2] = 0.5
    path = write(tmp_path / "same.csv", same)
    with pytest.raises(DatabaseError, match=r"column 'angle' is 0.5 in all rows.*--inputs"):
        read_table(path)
    assert read_table(path, inputs=("m_1", "m_2")).columns == ("m_1", "m_2")
    with pytest.raises(DatabaseError, match=r"none.csv: no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match=r"--process stop: wanted one of squark-gluino-8"):
        built_in_tables(("stop",))
    with pytest.raises(DatabaseError, match=r"wanted a grid of squark-gluino-13; see --grids"):
        built_in_tables(("squark-gluino-13",), grids=tmp_path)
    with pytest.raises(DatabaseError, match=r"take a smaller --least"):
        built_in_tables(("squark-gluino-13",), least=1e9)
    for words, message in (
        (["--target", "x.txt"], "wanted a name that ends in .npz"),
        (["--target", "x.npz", "--inputs", "a"], "--inputs: wanted only together with --table"),
        (
            ["--target", "x.npz", "--table", "t.csv", "--process", "a"],
            "wanted only without --table",
        ),
        (["--target", "x.npz", "--rate", "0"], "--rate is 0"),
        (["--target", "x.npz", "--members", "0", "--quiet"], "--members is 0"),
    ):
        assert main(["cross-sections", *words]) == 1
        assert message in capsys.readouterr().err
