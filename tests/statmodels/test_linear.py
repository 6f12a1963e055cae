"""Linear systems that may be batched, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxlik.statmodels import linear

MATRICES = np.random.default_rng(5).normal(size=(40, 40, 40)) + 8 * np.eye(40)
RIGHT = np.random.default_rng(6).normal(size=(40, 40))


def test_batches_side_by_side_finish_and_are_right():
    # Four independent batches in one program: what hangs jaxlib's own batched kernels.
    @jax.jit
    def several(matrices, right):
        positive = matrices @ jnp.swapaxes(matrices, 1, 2)
        return (
            jax.vmap(linear.solve)(matrices, right),
            jax.vmap(linear.solve)(jnp.swapaxes(matrices, 1, 2), right),
            jax.vmap(linear.solve_positive)(positive, right),
            jax.vmap(linear.inverse)(matrices),
        )

    plain, transposed, positive, inverse = several(MATRICES, RIGHT)
    rhs = RIGHT[..., None]
    np.testing.assert_allclose(plain, np.linalg.solve(MATRICES, rhs)[..., 0], rtol=1e-9)
    swapped = np.swapaxes(MATRICES, 1, 2)
    np.testing.assert_allclose(transposed, np.linalg.solve(swapped, rhs)[..., 0], rtol=1e-9)
    np.testing.assert_allclose(
        positive, np.linalg.solve(MATRICES @ swapped, rhs)[..., 0], rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(inverse, np.linalg.inv(MATRICES), rtol=1e-8, atol=1e-12)


def test_solve_is_differentiable_in_both_arguments():
    def fn(matrix, right):
        return linear.solve(jnp.asarray(matrix), jnp.asarray(right))

    arguments = (jnp.asarray(MATRICES[0, :3, :3]), jnp.asarray(RIGHT[0, :3]))
    check_grads(fn, arguments, order=2, modes=["fwd", "rev"], rtol=1e-5)


def test_cholesky_answers_an_indefinite_matrix_with_nan():
    assert jnp.isnan(linear.solve_positive(jnp.diag(jnp.array([1.0, -1.0])), jnp.ones(2))).any()
