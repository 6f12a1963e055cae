"""Neutralino-chargino production with mixing: limits, published tables, an event generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.integrate import quad

from jaxlik.physics.cross_sections import reference_document
from jaxlik.physics.electroweakino_couplings import pair_couplings
from jaxlik.physics.spline_fit import evaluate_spline
from surrogates.cross_section_tables import RECIPE
from surrogates.cross_sections import learn
from surrogates.electroweakino import (
    FITTED,
    MW,
    NAMES,
    cross_section,
    luminosity,
    neutralino_chargino_table,
)


def test_couplings_of_pure_states():
    wino = pair_couplings(jnp.array([0.0, 1, 0, 0]), jnp.array([1.0, 0]), jnp.array([1.0, 0]))
    np.testing.assert_allclose(wino, [1.0, 1.0])
    bino = pair_couplings(jnp.array([1.0, 0, 0, 0]), jnp.array([1.0, 0]), jnp.array([1.0, 0]))
    np.testing.assert_allclose(bino, [0.0, 0.0])
    half, chargino = np.sqrt(0.5), jnp.array([0.0, 1])
    # Both higgsinos, of either sign of mass, are half of one vector-like state each.
    for row, sign in (([0, 0, half, half], -1.0), ([0, 0, half, -half], 1.0)):
        higgsino = pair_couplings(jnp.array(row, dtype=float), chargino, chargino, sign)
        np.testing.assert_allclose(higgsino, [0.25, 1.0], rtol=1e-12)


def test_couplings_are_differentiable():
    u, v = jnp.array([0.85, -0.53]), jnp.array([0.95, -0.31])
    row = jnp.array([0.16, 0.9, -0.36, 0.2])
    check_grads(lambda n: pair_couplings(jnp.asarray(n), u, v).rho, (row,), 1, rtol=1e-6)
    slope = jax.grad(lambda n: pair_couplings(n, u, v).rho)(jnp.array([1.0, 0, 0, 0]))
    assert jnp.isfinite(slope).all()


def test_integral_agrees_with_adaptive_quadrature():
    first, second, rho, energy = 250.0, 700.0, -0.4, 13
    found = luminosity("plus", energy)

    def integrand(log_s):
        s = np.exp(log_s)
        p = np.sqrt((s - (first + second) ** 2) * (s - (first - second) ** 2) / (4 * s))
        both = np.sqrt((p**2 + first**2) * (p**2 + second**2))
        partonic = p * np.sqrt(s) / (s - MW**2) ** 2 * (both + p**2 / 3 + rho * first * second)
        return partonic * np.exp(np.polyval(found, np.log(s / 13e3**2)))

    expected, _ = quad(
        integrand, 2 * np.log(first + second), 2 * np.log(13e3), epsrel=1e-9, limit=200
    )
    mine = cross_section(np.array([[first, second]]), np.array([rho]), found, energy)
    np.testing.assert_allclose(mine, [expected], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_winos_have_their_published_cross_section(name):
    _, _, charge, energy = name.split("-")
    spline = reference_document()["tables"][f"wino_{charge}"][energy]
    mass = np.linspace(*FITTED[int(energy)], 57)
    mine = cross_section(
        np.c_[mass, mass], np.ones(57), luminosity(charge, int(energy)), int(energy)
    )
    # The polynomial of six degrees; the published digits at 8 TeV scatter by 1 %.
    np.testing.assert_allclose(mine, evaluate_spline(spline, mass), rtol=0.006)


@pytest.mark.parametrize(("mass", "published"), [(200.0, 424.166), (500.0, 10.8865)])
def test_higgsinos_agree_with_their_published_table_to_seven_per_cent(mass, published):
    # fb, both charges, equal masses, 13 TeV, LHC SUSY Cross Section Working Group, NLO+NLL,
    # SUSYCrossSections13TeVn2x1hino. The coupling is a quarter of the wino's; the published
    # ratio is 0.235 at both masses, 6 % less, and the tables state errors of 5 and 8 %.
    pair, one = np.array([[mass, mass]]), np.ones(1)
    higgsino = 0.25 * sum(
        cross_section(pair, one, luminosity(c, 13), 13)[0] for c in ("plus", "minus")
    )
    np.testing.assert_allclose(higgsino, published, rtol=0.07)


def test_axial_pairs_open_with_the_third_power_of_velocity():
    pair = np.array([[500.0, 500.0]])
    found = luminosity("plus", 13)
    values = [cross_section(pair, np.array([rho]), found, 13)[0] for rho in (-1.0, 0.0, 1.0)]
    assert 0 < values[0] < 0.4 * values[2]
    np.testing.assert_allclose(values[1], (values[0] + values[2]) / 2, rtol=1e-12)


def test_table_holds_its_corners_and_is_positive():
    table = neutralino_chargino_table("neutralino-chargino-minus-8")
    assert table.columns == ("m_neutralino", "m_chargino", "rho")
    np.testing.assert_allclose(table.inputs.min(axis=0), [100, 100, -1])
    np.testing.assert_allclose(table.inputs.max(axis=0), [1000, 1000, 1])
    assert (table.sigma > 0).all()


def read_mixed_point(path):
    """Mixing, masses and leading-order cross sections in pb of an SLHA file."""
    block, mixing, masses, sections = "", {}, {}, {}
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        keyword = words[0].upper()
        if keyword in ("BLOCK", "DECAY"):
            block = words[1].upper()
        elif keyword == "XSECTION":
            block = (float(words[1]) / 1e3, frozenset(map(int, words[5:7])))
        elif block in ("NMIX", "UMIX", "VMIX"):
            mixing.setdefault((block, int(words[0])), []).append(float(words[2]))
        elif block == "MASS":
            masses[int(words[0])] = float(words[1])
        elif isinstance(block, tuple) and words[1] == "0":
            sections.setdefault(block, float(words[6]))
    return {key: jnp.array(row) for key, row in mixing.items()}, masses, sections


@pytest.mark.reference
def test_strongly_mixed_pairs_agree_with_an_event_generator(reference):
    path = reference / "golden" / "smodels" / "points" / "smi_lightEWinos_simple.slha"
    mixing, masses, sections = read_mixed_point(path)
    neutralinos, charginos = (1000022, 1000023, 1000025, 1000035), (1000024, 1000037)
    for energy in (8, 13):
        mine, theirs = {}, {}
        for i, n in enumerate(neutralinos, 1):
            for j, c in enumerate(charginos, 1):
                rows = mixing["NMIX", i], mixing["UMIX", j], mixing["VMIX", j]
                couplings = pair_couplings(*rows, np.sign(masses[n]))
                pair, rho = np.abs([[masses[n], masses[c]]]), np.array([float(couplings.rho)])
                for sign, charge in ((1, "plus"), (-1, "minus")):
                    one = cross_section(pair, rho, luminosity(charge, energy), energy)[0]
                    mine[n, sign * c] = float(couplings.strength) * one
                    theirs[n, sign * c] = 1e3 * sections.get(
                        (energy, frozenset((n, sign * c))), 0.0
                    )
        wino_like = [(1000023, 1000024), (1000023, -1000024)]
        factor = sum(mine[k] for k in wino_like) / sum(theirs[k] for k in wino_like)
        # Higher orders, published for winos, over Pythia's leading order.
        assert 1.2 < factor < 1.6
        mixed = [k for k in mine if k not in wino_like]
        ratio = sum(mine[k] for k in mixed) / sum(theirs[k] for k in mixed) / factor
        # The mixed pairs are 592 and 370 events of the 10 000: 4 and 5 %, three of them.
        np.testing.assert_allclose(ratio, 1.0, atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mixing_is_learned_to_half_a_per_cent(name):
    section, report = learn(neutralino_chargino_table(name), RECIPE, members=2)
    assert report.q95 < 0.002
    assert report.worst < 0.01
    masses = jnp.array([300.0, 400.0, 0.5])
    assert section.inside(masses)
    assert (jax.grad(section.log_sigma)(masses)[:2] < 0).all()
