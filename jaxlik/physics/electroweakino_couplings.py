r"""Couplings of the W boson to a neutralino and a chargino, from their mixing matrices.

In units of the weak coupling g (H. E. Haber, G. L. Kane, Phys. Rept. 117 (1985) 75,
Feynman rules of appendix C), with neutralinos as (bino, wino, down-higgsino, up-higgsino):

$$ O_L = N_{i2} V_{j1}^* - N_{i4} V_{j2}^* / \sqrt 2, \quad
   O_R = N_{i2}^* U_{j1} + N_{i3}^* U_{j2} / \sqrt 2 $$
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlik.typing import Array, Float, Scalar

TINY = 1e-30
"""Squared coupling below which a pair is not made at all."""


class PairCouplings(NamedTuple):
    """What production through a W depends on besides the masses.

    Attributes:
        strength: (|O_L|^2 + |O_R|^2) / 2; 1 for a wino, 1/4 for a higgsino.
        rho: Interference Re(O_L O_R^*) / strength, from -1 to 1, for positive masses.
    """

    strength: Scalar
    rho: Scalar


def pair_couplings(
    neutralino: Float[Array, " 4"],
    chargino_u: Float[Array, " 2"],
    chargino_v: Float[Array, " 2"],
    sign: Scalar | float = 1.0,
) -> PairCouplings:
    """Strength and interference of one neutralino with one chargino; real mixing.

    Args:
        neutralino: Row N_i of the SLHA block NMIX.
        chargino_u: Row U_j of the block UMIX.
        chargino_v: Row V_j of the block VMIX.
        sign: 1 or -1: sign of the mass of the neutralino in the block MASS.
    """
    left = neutralino[1] * chargino_v[0] - neutralino[3] * chargino_v[1] / jnp.sqrt(2.0)
    right = neutralino[1] * chargino_u[0] + neutralino[2] * chargino_u[1] / jnp.sqrt(2.0)
    strength = 0.5 * (left**2 + right**2)
    # A gradient runs through both branches of `where`.
    safe = jnp.where(strength > TINY, strength, 1.0)
    rho = jnp.where(strength > TINY, sign * left * right / safe, 0.0)
    return PairCouplings(strength, rho)
