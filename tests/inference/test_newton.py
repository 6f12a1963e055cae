"""Solvers, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxlik.errors import Status
from jaxlik.inference.newton import first_zero_above, implicit_root, minimise


def test_minimise_finds_rosenbrocks_valley():
    def fn(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    result = jax.jit(lambda start: minimise(fn, start, max_steps=64))(jnp.array([-1.2, 1.0]))
    assert result.status == Status.success
    np.testing.assert_allclose(result.position, [1.0, 1.0], rtol=1e-8)


def test_minimise_respects_an_infinite_wall_and_reports_too_few_steps():
    def fn(x):
        safe = jnp.where(x[0] > 0, x[0], 1.0)
        return jnp.where(x[0] > 0, 5 * safe - jnp.log(safe), jnp.inf)

    result = minimise(fn, jnp.array([2.0]))
    np.testing.assert_allclose(result.position, [0.2], rtol=1e-8)
    assert minimise(fn, jnp.array([2.0]), max_steps=1).status == Status.max_steps


def test_first_zero_matches_brent():
    def fn(x):
        return jnp.tanh(3 * (x - 2.3)) + 0.1 * (x - 2.3)

    expected = optimize.brentq(lambda x: float(fn(x)), 0, 10, xtol=1e-13)
    for first_step in (0.0, 0.1, 50.0):
        result = first_zero_above(
            fn, jnp.asarray(0.0), first_step=jnp.asarray(first_step), bound=jnp.asarray(100.0)
        )
        assert result.status == Status.success
        np.testing.assert_allclose(result.position, expected, rtol=1e-10)
        assert result.num_steps < 30


def test_first_zero_knows_its_start_and_its_bound():
    def fn(x):
        return x - 5.0

    zero = jnp.asarray(0.0)
    start = first_zero_above(fn, jnp.asarray(7.0), first_step=zero, bound=jnp.asarray(9.0))
    assert (start.position, start.status == Status.success) == (7.0, True)
    bound = first_zero_above(fn, zero, first_step=zero, bound=jnp.asarray(3.0))
    assert bound.status == Status.no_bracket
    assert bound.position == 3.0


def test_implicit_root_differentiates_twice():
    # x^3 = a: x' = a^(-2/3)/3, x'' = -2/9 a^(-5/3)
    def root(a):
        return implicit_root(lambda x: x**3 - a, jax.lax.stop_gradient(jnp.cbrt(a)))

    a = jnp.asarray(8.0)
    np.testing.assert_allclose(jax.grad(root)(a), 8.0 ** (-2 / 3) / 3, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(jax.grad(root))(a), -2 / 9 * 8.0 ** (-5 / 3), rtol=1e-12)
