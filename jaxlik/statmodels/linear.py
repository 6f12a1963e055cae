"""Small dense linear systems, safe to batch on a CPU.

The LAPACK kernels of jaxlib spread a *batch* of matrices over XLA's thread pool from a
thread of that pool and wait for it. Two of them running side by side can occupy every
thread and wait for ever (jaxlib 0.10.2: four independent batched Cholesky
factorisations of 100 matrices hang a 2-core machine). Single matrices are factorised in
place. Under `vmap` the functions here therefore go through their batch one by one;
nothing else in `jaxlik.statmodels` and `jaxlik.inference` calls LAPACK.
"""

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.scipy.linalg import cho_solve

from jaxlik.typing import Array, Float


def solve(matrix: Float[Array, "row row"], right: Float[Array, " row"]) -> Float[Array, " row"]:
    """Solution of a square system by LU; differentiable to all orders in both arguments."""
    fixed = jax.lax.stop_gradient(matrix)
    return jax.lax.custom_linear_solve(
        lambda vector: matrix @ vector,
        right,
        lambda _, vector: _solve_one(fixed, vector),
        lambda _, vector: _solve_one(fixed.T, vector),
    )


@sequential_vmap
def inverse(matrix: Array) -> Array:
    """Inverse of a square matrix; not differentiable in reverse mode."""
    return jnp.linalg.inv(matrix)


@sequential_vmap
def solve_positive(matrix: Array, right: Array) -> Array:
    """Solution by Cholesky, `nan` where the matrix is not positive; not differentiable."""
    return cho_solve((jnp.linalg.cholesky(matrix), True), right)


@sequential_vmap
def solve_newton(hessian: Array, factor: Array, diagonal: Array, right: Array) -> Array:
    """Solution with a Hessian, or with `factor`^T `factor` + `diagonal` if it is not positive."""
    solution = solve_positive(hessian, right)

    def fallback() -> Array:
        return solve_positive(factor.T @ factor + jnp.diag(diagonal), right)

    return jax.lax.cond(jnp.all(jnp.isfinite(solution)), lambda: solution, fallback)


@sequential_vmap
def _solve_one(matrix: Array, right: Array) -> Array:
    return jnp.linalg.solve(matrix, right)


@jax.custom_jvp
def log_determinant(matrix: Float[Array, "row row"]) -> Float[Array, ""]:
    """Logarithm of the determinant of a positive matrix, else `nan`; first derivatives exact."""
    return _log_determinant_one(matrix)


@log_determinant.defjvp
def _log_determinant_jvp(primals, tangents):
    (matrix,), (change,) = primals, tangents
    # tr(M^-1 dM); the inverse is a constant, so that its LAPACK kernel is never batched.
    fixed = jax.lax.stop_gradient(matrix)
    return _log_determinant_one(fixed), jnp.sum(inverse(fixed).T * change)


@sequential_vmap
def _log_determinant_one(matrix: Array) -> Array:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(matrix))))
