r"""How HistFactory interpolates between a variation up, the nominal, and one down.

Additive codes (histosys) are linear in the two shifts U = hi - nominal, D = nominal - lo:
shift = U f_up(alpha) + D f_dn(alpha). The functions are evaluated once per parameter, not
once per entry:

    code0    f_up = alpha for alpha > 0, f_dn = alpha for alpha < 0, else 0
    code2    quadratic inside |alpha| < 1, linear beyond
    code4p   f_up, f_dn = alpha/2 +- alpha^2 (3 alpha^4 - 10 alpha^2 + 15)/16 inside, code 0 beyond

Multiplicative codes (normsys) give the factor of each entry:

    code1    hi^alpha for alpha > 0, lo^-alpha for alpha < 0
    code4    a polynomial of order six inside |alpha| < 1 that meets code 1 with two derivatives

References:
    K. Cranmer et al., CERN-OPEN-2012-016, section 4.1; pyhf 0.7 (codes 0, 1, 2, 4, 4p).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlik.errors import WorkspaceError
from jaxlik.typing import Array, Float

ADDITIVE = ("code0", "code2", "code4p")
MULTIPLICATIVE = ("code1", "code4")


class Shape(NamedTuple):
    """f_up and f_dn of additive codes and their first two derivatives, per parameter."""

    up: Float[Array, " parameter"]
    down: Float[Array, " parameter"]
    up_slope: Float[Array, " parameter"]
    down_slope: Float[Array, " parameter"]
    up_curvature: Float[Array, " parameter"]
    down_curvature: Float[Array, " parameter"]


class Factor(NamedTuple):
    """Multiplicative factors: value, and first and second derivative over the value."""

    value: Float[Array, " entry"]
    slope: Float[Array, " entry"]
    curvature: Float[Array, " entry"]


def additive_shape(alpha: Float[Array, " parameter"], code: str = "code4p") -> Shape:
    """f_up, f_dn and their derivatives.

    Args:
        alpha: Parameters, in standard deviations.
        code: One of `ADDITIVE`.
    """
    zero, one = jnp.zeros_like(alpha), jnp.ones_like(alpha)
    above, below = alpha > 0, alpha < 0
    if code == "code0":
        # At zero the average of both sides, as automatic differentiation of |alpha| has it.
        half = jnp.where(above | below, 0.0, 0.5)
        return Shape(
            jnp.where(above, alpha, 0.0),
            jnp.where(below, alpha, 0.0),
            jnp.where(above, one, half),
            jnp.where(below, one, half),
            zero,
            zero,
        )
    above, below = alpha > 1, alpha < -1
    if code == "code2":
        inside = (0.5 * alpha * (1 + alpha), 0.5 * alpha * (1 - alpha))
        slopes = (0.5 + alpha, 0.5 - alpha)
        return Shape(
            _choose(above, below, 1.5 * alpha - 0.5, -0.5 * (alpha + 1), inside[0]),
            _choose(above, below, -0.5 * (alpha - 1), 1.5 * alpha + 0.5, inside[1]),
            _choose(above, below, 1.5 * one, -0.5 * one, slopes[0]),
            _choose(above, below, -0.5 * one, 1.5 * one, slopes[1]),
            _choose(above, below, zero, zero, one),
            _choose(above, below, zero, zero, -one),
        )
    if code == "code4p":
        square = alpha * alpha
        even = square * (15 + square * (3 * square - 10)) / 16
        slope = alpha * (30 + square * (18 * square - 40)) / 16
        curvature = (30 + square * (90 * square - 120)) / 16
        return Shape(
            _choose(above, below, alpha, zero, 0.5 * alpha + even),
            _choose(above, below, zero, alpha, 0.5 * alpha - even),
            _choose(above, below, one, zero, 0.5 + slope),
            _choose(above, below, zero, one, 0.5 - slope),
            _choose(above, below, zero, zero, curvature),
            _choose(above, below, zero, zero, -curvature),
        )
    raise WorkspaceError(f"additive interpolation is {code!r}, wanted one of {ADDITIVE}")


def code4_coefficients(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Coefficients of alpha to alpha^6 of code 4, from factors at +1 and -1; shape (entry, 6).

    Value, slope and curvature are those of hi^alpha at +1 and of lo^-alpha at -1.
    """
    powers = np.arange(1, 7)
    ends = []
    for sign in (1.0, -1.0):
        ends.append(sign**powers)
        ends.append(powers * sign ** (powers - 1))
        ends.append(powers * (powers - 1) * sign ** (powers - 2))
    log_high, log_low = np.log(high), np.log(low)
    wanted = np.stack(
        [
            high - 1,
            high * log_high,
            high * log_high**2,
            low - 1,
            -low * log_low,
            low * log_low**2,
        ],
        axis=-1,
    )
    return np.linalg.solve(np.array(ends), wanted[..., None])[..., 0]


def multiplicative_factor(
    alpha: Float[Array, " entry"],
    log_high: Float[Array, " entry"],
    log_low: Float[Array, " entry"],
    coefficients: Float[Array, "entry 6"],
    code: str = "code4",
) -> Factor:
    """Factors of normsys entries.

    Args:
        alpha: Parameter of each entry, in standard deviations.
        log_high: Logarithm of the factor at +1.
        log_low: Logarithm of the factor at -1.
        coefficients: From `code4_coefficients`; unused by code 1.
        code: One of `MULTIPLICATIVE`.
    """
    if code not in MULTIPLICATIVE:
        raise WorkspaceError(
            f"multiplicative interpolation is {code!r}, wanted one of {MULTIPLICATIVE}"
        )
    rate = jnp.where(alpha >= 0, log_high, -log_low)
    if code == "code1":
        rate = jnp.where(alpha == 0, 0.5 * (log_high - log_low), rate)
        return Factor(jnp.exp(rate * alpha), rate, rate**2)
    inside = jnp.abs(alpha) < 1
    x = jnp.where(inside, alpha, 0.0)
    c = [coefficients[:, k] for k in range(6)]
    value = 1 + x * (c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * c[5])))))
    slope = c[0] + x * (2 * c[1] + x * (3 * c[2] + x * (4 * c[3] + x * (5 * c[4] + x * 6 * c[5]))))
    curvature = 2 * c[1] + x * (6 * c[2] + x * (12 * c[3] + x * (20 * c[4] + x * 30 * c[5])))
    safe = jnp.where(value == 0, 1.0, value)
    outside = jnp.exp(jnp.where(inside, 0.0, rate * alpha))
    return Factor(
        jnp.where(inside, value, outside),
        jnp.where(inside, slope / safe, rate),
        jnp.where(inside, curvature / safe, rate**2),
    )


def _choose(above: Array, below: Array, high: Array, low: Array, inside: Array) -> Array:
    return jnp.where(above, high, jnp.where(below, low, inside))
