r"""A table of neutralino-chargino production with mixing, where none is published.

q q' -> W -> neutralino_i chargino_j at leading order, squarks being heavy. The W couples
with O_L P_L + O_R P_R, and summed over angles (S. Dawson, E. Eichten, C. Quigg, Phys. Rev.
D 31 (1985) 1581; couplings in `jaxlik.physics.electroweakino_couplings`)

$$ \hat\sigma \propto \frac{p\sqrt s}{(s-m_W^2)^2} S
   \left[E_i E_j + p^2/3 + \rho\, m_i m_j\right] $$

with momentum p and energies E of the pair in its rest frame, S = (|O_L|^2 + |O_R|^2)/2 and
rho = Re(O_L O_R^*) / S. The luminosity of the quarks is not that of a set of parton
densities: ln L is a polynomial in ln(tau), fitted such that a wino (S = rho = 1, equal
masses) has its published cross section. So higher orders enter as a factor that
depends on tau alone. Both S and the two masses apart from each other are then predictions
of leading order; S factors out and needs no table.
"""

from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import qmc

from jaxlik.physics.cross_sections import reference_document
from jaxlik.physics.spline_fit import evaluate_spline
from surrogates.cross_section_tables import Table

MW = 80.377
"""GeV; mass of the W boson (Particle Data Group 2022)."""

FITTED = {8: (100.0, 1000.0), 13: (100.0, 1500.0)}
"""GeV; masses over which the luminosity follows the published wino."""

DEGREE = 6
"""Of ln L in ln(tau)."""

NODES = 48
"""Points of the integral over the energy of the quarks."""

ROWS = 2048
"""Of a table."""

NAMES = tuple(
    f"neutralino-chargino-{charge}-{energy}" for charge in ("plus", "minus") for energy in FITTED
)


def neutralino_chargino_table(name: str) -> Table:
    """Cross sections in fb for S = 1: two masses in GeV and rho.

    Args:
        name: One of `NAMES`.
    """
    _, _, charge, energy = name.split("-")
    low, high = FITTED[int(energy)]
    # Denser towards the faces, as Chebyshev nodes are: there polynomials go astray.
    points = qmc.Halton(3, scramble=False).random(ROWS + 1)[1:]
    cube = 0.5 - 0.5 * np.cos(np.pi * points)
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T
    cube = np.concatenate([corners, cube])
    masses = low * (high / low) ** cube[:, :2]
    rho = 2 * cube[:, 2] - 1
    sigma = cross_section(masses, rho, luminosity(charge, int(energy)), int(energy))
    return Table(
        name,
        ("m_neutralino", "m_chargino", "rho"),
        (True, True, False),
        np.c_[masses, rho],
        sigma,
        np.zeros(len(sigma)),
        f"leading order with heavy squarks, {energy} TeV; luminosity fitted to the published wino",
    )


def cross_section(
    masses: np.ndarray, rho: np.ndarray, coefficients: np.ndarray, energy: int
) -> np.ndarray:
    """Cross sections in fb for S = 1.

    Args:
        masses: Of neutralino and chargino in GeV, positive, ``row 2``.
        rho: Interference of the left and right couplings, from -1 to 1.
        coefficients: Of ln L, from the highest power of ln(tau) down.
        energy: TeV.
    """
    x, weight = np.polynomial.legendre.leggauss(NODES)
    total = masses.sum(axis=1, keepdims=True)
    # s = s_min exp(v^2): the root of the threshold is smooth in v.
    end = np.sqrt(2 * np.log(1e3 * energy / total))
    v = 0.5 * end * (x + 1)
    s = total**2 * np.exp(v**2)
    first, second = masses[:, :1], masses[:, 1:]
    gap = (s - (first - second) ** 2) / s
    p2 = 0.25 * gap * total**2 * np.expm1(v**2)
    product = np.sqrt((p2 + first**2) * (p2 + second**2))
    strength = product + p2 / 3 + rho[:, None] * first * second
    partonic = np.sqrt(p2 * s) / (s - MW**2) ** 2 * strength
    flux = np.exp(np.polyval(coefficients, np.log(s / (1e3 * energy) ** 2)))
    return np.sum(partonic * flux * 0.5 * end * weight * 2 * v, axis=1)


@lru_cache
def luminosity(charge: str, energy: int) -> np.ndarray:
    """Coefficients of ln L that give the published wino its cross section.

    Args:
        charge: ``plus`` or ``minus``.
        energy: TeV.
    """
    spline = reference_document()["tables"][f"wino_{charge}"][str(energy)]
    mass = np.geomspace(*FITTED[energy], 60)
    wanted = np.log(evaluate_spline(spline, mass))
    pair, one = np.c_[mass, mass], np.ones(len(mass))
    # Well-conditioned: powers of ln(tau) about the middle of the range.
    middle = np.log(4 * mass[0] * mass[-1] / (1e3 * energy) ** 2)
    shift = np.poly1d([1.0, -middle])

    def absolute(found: np.ndarray) -> np.ndarray:
        return np.atleast_1d(np.poly1d(found)(shift).coeffs)

    def off(found: np.ndarray) -> np.ndarray:
        return np.log(cross_section(pair, one, absolute(found), energy)) - wanted

    begin = np.zeros(DEGREE + 1)
    begin[-2:] = -2.0, 10.0
    return absolute(least_squares(off, begin, method="lm").x)
