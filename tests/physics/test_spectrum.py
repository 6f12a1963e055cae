"""Arbitrary SLHA files: every mistake is an error or a note, never a silent number."""

import dataclasses
import random

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import ModelPointError
from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import protomodel_space
from jaxlik.physics.spectrum import reference_slopes, with_reference_cross_sections
from jaxlik.physics.spectrum_file import read_spectrum

FILE = """BLOCK MASS
 1000021 1.2E+03
 1000022 -1.5E+02
 25 1.25E+02
DECAY 1000021 1.0E+00
 0.6 3 1 -1 1000022
 0.4 3 5 -5 1000022
DECAY 1000022 0.0E+00
XSECTION 1.30E+04 2212 2212 2 1000021 1000021 # pb
 0 0 0 0 0 0 6.0E-02 LO
 0 2 0 0 0 0 8.0E-02 NLL
XSECTION 8.00E+03 2212 2212 2 1000021 1000021
 0 2 0 0 0 0 4.0E-03 NLL
"""


def read(tmp_path, text, **options):
    path = tmp_path / "model.slha"
    path.write_text(text)
    return read_spectrum(path, **options)


def test_masses_decays_and_the_highest_order(tmp_path):
    found = read(tmp_path, FILE)
    assert found.masses == {1000021: 1200.0, 1000022: 150.0}
    assert [decay.branching_ratio for decay in found.decays] == [0.6, 0.4]
    (mode,) = found.productions
    assert mode.cross_sections == pytest.approx((4.0, 80.0))
    assert not mode.reference
    assert found.notes == ()


def test_missing_cross_sections_are_filled_and_said_so(tmp_path):
    found = read(tmp_path, FILE[: FILE.index("XSECTION")])
    (mode,) = found.productions
    assert mode.reference
    assert any("reference ones" in note for note in found.notes)
    space = protomodel_space()
    masses = np.full(space.num_particles, 1000.0)
    masses[space.pdg_ids.index(1000021)] = 1200.0
    row = space.productions.index((1000021, 1000021))
    wanted = np.asarray(reference_cross_sections(space)(jnp.asarray(masses)))[row]
    np.testing.assert_allclose(mode.cross_sections, wanted, rtol=1e-12)


def test_slopes_of_reference_cross_sections(tmp_path):
    found = read(tmp_path, FILE[: FILE.index("XSECTION")])
    slopes = reference_slopes(found)
    step = 0.5
    sides = []
    for sign in (1, -1):
        masses = {**found.masses, 1000021: 1200.0 + sign * step}
        moved = with_reference_cross_sections(dataclasses.replace(found, masses=masses))
        sides.append(np.log(moved.productions[0].cross_sections))
    column = sorted(found.masses).index(1000021)
    np.testing.assert_allclose(slopes[:, 0, column], (sides[0] - sides[1]) / (2 * step), rtol=1e-5)
    assert not reference_slopes(read(tmp_path, FILE)).any()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.2E+03", "NaN", "NaN is not a finite number"),
        ("1.2E+03", "inf", "not a finite number"),
        ("1.2E+03", "heavy", "could not convert"),
        (" 1000022 -1.5E+02", " 1000022 1.5E+02\n 1000006 -8.0E+02", "boson 1000006 is negative"),
        (" 1000022 -1.5E+02", " 1000022 1.5E+02\n 1000022 1.6E+02", "second mass of 1000022"),
        ("0.6 3", "0.9 3", "sum to 1.3"),
        ("0.6 3", "1.2 3", "not between 0 and 1"),
        ("0.6 3", "-0.6 3", "not between 0 and 1"),
        ("0.6 3 1 -1", "0.6 3 1", "2 daughters instead of 3"),
        ("DECAY 1000021 1.0E+00\n", "DECAY 1000021 NaN\n", "not a finite number"),
        ("1.30E+04 2212", "13 2212", "energies are in GeV"),
        ("8.0E-02 NLL", "nan NLL", "wanted a positive"),
        ("8.0E-02 NLL", "-8.0E-02 NLL", "wanted a positive"),
        ("2 1000021 1000021 # pb", "2 1000021 # pb", "1 final particles instead of 2"),
        ("BLOCK MASS", "BLOCK MESS", "no BLOCK MASS"),
        ("0.6 3 1 -1 1000022\n 0.4 3 5 -5 1000022\n", "", "no channel into known particles"),
    ],
)
def test_mistakes_are_errors_that_name_them(old, new, message, tmp_path):
    assert old in FILE
    with pytest.raises(ModelPointError, match=message) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert "model.slha" in str(caught.value)


def test_a_missing_decay_table_is_an_error(tmp_path):
    start, end = FILE.index("DECAY 1000021"), FILE.index("DECAY 1000022")
    with pytest.raises(ModelPointError, match="no DECAY table of gluino"):
        read(tmp_path, FILE[:start] + FILE[end:])


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("0.4 3 5", "0.1 3 5", "sum to 0.7"),
        ("0.4 3 5 -5 1000022", "0.4 3 5 -5 9900012", "unknown particles"),
        (" 25 1.25", " 9900014 1.0E+03\n 25 1.25", "without quantum numbers"),
        ("1.2E+03", "1.2", "are masses in TeV"),
        ("8.0E-02 NLL", "8.0E+01 NLL", "blocks are in pb"),
        ("XSECTION 8.00E+03", "XSECTION 7.00E+03", "results at this energy say nothing"),
        ("4.0E-03 NLL\n", "4.0E-03 NLL", "cut off"),
        ("-1.5E+02", "1.5E+03", "decays into heavier particles"),
        ("2 1000021 1000021\n", "2 1000021 1000099\n", "without a mass left out"),
    ],
)
def test_what_is_strange_is_said(old, new, note, tmp_path):
    assert old in FILE
    found = read(tmp_path, FILE.replace(old, new))
    assert any(note in text for text in found.notes), found.notes


def test_a_later_decay_table_replaces_an_earlier_one(tmp_path):
    more = "DECAY 1000021 2.0E+00\n 1.0 3 6 -6 1000022\n"
    found = read(tmp_path, FILE.replace("XSECTION 1.30", f"{more}XSECTION 1.30"))
    assert [decay.daughters for decay in found.decays] == [(6, -6, 1000022)]
    assert any("several DECAY tables" in note for note in found.notes)


def test_particles_of_qnumbers_blocks(tmp_path):
    blocks = "BLOCK QNUMBERS 55 # zprime\n 1 0\n 2 3\n 3 1\n 4 0\n"
    text = blocks + FILE.replace(" 1000021 1.2E+03", " 1000021 1.2E+03\n 55 2.0E+03") + (
        "DECAY 55 5.0E+01\n 1.0 2 1 -1\n"
        "XSECTION 1.30E+04 2212 2212 1 55\n 0 0 0 0 0 0 1.0E-02 LO\n"
    )  # fmt: skip
    found = read(tmp_path, text)
    numbers = found.quantum_numbers[55]
    assert (numbers.name, numbers.two_spin, numbers.self_conjugate) == ("zprime", 2, True)
    assert (55,) in [mode.pids for mode in found.productions]
    with pytest.raises(ModelPointError, match="lacks entries"):
        read(tmp_path, text.replace(" 3 1\n", ""))


def test_a_file_cut_anywhere_is_an_error_or_says_so(tmp_path):
    # A cut right behind a line leaves a valid shorter file: what is missing is then said.
    generator = random.Random(0)
    whole = read(tmp_path, FILE)
    silent = 0
    for position in generator.sample(range(5, len(FILE) - 1), 120):
        try:
            found = read(tmp_path, FILE[:position])
        except ModelPointError:
            continue
        if dataclasses.replace(found, notes=()) != dataclasses.replace(whole, notes=()):
            silent += not found.notes
    assert silent == 0
