"""Interpolation codes against pyhf, and their derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pyhf.interpolators as peer
import pytest

from jaxlik.errors import WorkspaceError
from jaxlik.statmodels.interpolation import (
    ADDITIVE,
    MULTIPLICATIVE,
    additive_shape,
    code4_coefficients,
    multiplicative_factor,
)

ALPHAS = np.concatenate([np.linspace(-3, 3, 61), [-1.0, 1.0, 0.0, 1 - 1e-9, -1 + 1e-9]])
HIGH = np.array([1.1, 0.8, 1.0, 105.6, 5.7])
LOW = np.array([0.9, 1.3, 1.0, 0.01, 0.01])


def by_pyhf(code, low, nominal, high):
    """Values of shape (entry, alpha); one histogram of one bin per entry."""
    sets = [[[[a], [b], [c]]] for a, b, c in zip(low, nominal, high, strict=True)]
    interpolate = getattr(peer, code)(sets)
    return np.asarray(interpolate(np.tile(ALPHAS, (len(low), 1))))[:, 0, :, 0]


@pytest.mark.parametrize("code", ADDITIVE)
def test_additive_shifts_are_those_of_pyhf(code):
    nominal, high, low = (
        np.array([5.0, 3.0, 0.0]),
        np.array([6.0, 2.0, 1.5]),
        np.array([4.5, 3.5, -0.2]),
    )
    shape = additive_shape(jnp.asarray(ALPHAS), code)
    shift = np.outer(high - nominal, shape.up) + np.outer(nominal - low, shape.down)
    # Beyond |alpha| = 1 pyhf's code 2 jumps; ROOT's goes on from where it is, and so does ours.
    same = np.abs(ALPHAS) <= 1 if code == "code2" else np.ones(len(ALPHAS), dtype=bool)
    wanted = by_pyhf(code, low, nominal, high)
    np.testing.assert_allclose(shift[:, same], wanted[:, same], rtol=1e-13, atol=1e-14)


def test_the_quadratic_code_goes_on_straight():
    """ROOT, PiecewiseInterpolation code 2: (2a + b)(alpha - 1) + hi - nominal above 1."""
    nominal, high, low = 5.0, 6.0, 4.5
    a, b = 0.5 * (high + low) - nominal, 0.5 * (high - low)
    shape = additive_shape(jnp.asarray([2.5, -2.5]), "code2")
    shift = (high - nominal) * np.array(shape.up) + (nominal - low) * np.array(shape.down)
    wanted = [(2 * a + b) * 1.5 + high - nominal, (b - 2 * a) * -1.5 + low - nominal]
    np.testing.assert_allclose(shift, wanted, rtol=1e-14)


@pytest.mark.parametrize("code", ADDITIVE)
def test_additive_derivatives_are_exact(code):
    inner = jnp.asarray([a for a in ALPHAS if min(abs(a), abs(abs(a) - 1)) > 1e-3])

    def part(name):
        return jax.vmap(lambda a: getattr(additive_shape(a[None], code), name)[0])

    shape = additive_shape(inner, code)
    for name in ("up", "down"):
        slope = jax.vmap(jax.grad(lambda a, n=name: part(n)(a[None])[0]))(inner)
        curvature = jax.vmap(jax.hessian(lambda a, n=name: part(n)(a[None])[0]))(inner)
        np.testing.assert_allclose(getattr(shape, f"{name}_slope"), slope, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            getattr(shape, f"{name}_curvature"), curvature, rtol=1e-11, atol=1e-12
        )


def factors(alpha, code):
    coefficients = code4_coefficients(HIGH, LOW)
    arguments = (np.log(HIGH), np.log(LOW), coefficients)
    return multiplicative_factor(jnp.full(len(HIGH), alpha), *map(jnp.asarray, arguments), code)


@pytest.mark.parametrize("code", MULTIPLICATIVE)
def test_factors_are_those_of_pyhf(code):
    found = np.stack([factors(a, code).value for a in ALPHAS], axis=1)
    wanted = by_pyhf(code, LOW, np.ones(len(LOW)), HIGH)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize("code", MULTIPLICATIVE)
@pytest.mark.parametrize("alpha", [-2.3, -0.7, -0.1, 0.4, 0.95, 1.8])
def test_factor_derivatives_are_exact(code, alpha):
    found = factors(alpha, code)
    slope = jax.jacfwd(lambda a: factors(a, code).value)(alpha)
    curvature = jax.jacfwd(jax.jacfwd(lambda a: factors(a, code).value))(alpha)
    np.testing.assert_allclose(found.slope * found.value, slope, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.curvature * found.value, curvature, rtol=1e-9, atol=1e-11)


def test_unknown_codes_are_refused():
    with pytest.raises(WorkspaceError, match=r"'code3'.*code4p"):
        additive_shape(jnp.zeros(1), "code3")
    with pytest.raises(WorkspaceError, match=r"'code0'.*code1"):
        factors(0.0, "code0")
