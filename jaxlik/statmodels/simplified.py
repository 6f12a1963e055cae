r"""Simplified likelihoods: regions with correlated backgrounds, linear or skewed.

$$ L(\mu, z) = \prod_r \mathrm{Pois}(n_r \mid \lambda_r)\, N(z; 0, 1), \qquad
   \lambda = \mu s + A + \theta + \kappa\,\theta^2 \ge 0, \quad \theta = L z, \; L L^T = V $$

Linear form (CMS-NOTE-2017-001): A the background, V its covariance, no kappa. With
third moments (arXiv:1809.05548): A, V and kappa from `skewed_terms`.

**Covariances that are not positive semi-definite.** Published matrices are rounded
and may have slightly negative eigenvalues; as inverses (SModelS) they make the
likelihood unbounded. The nearest matrix without negative eigenvalues is used instead
if they are at least -1 % of the largest one in the correlation matrix; worse ones are
no covariances and are refused by `jaxlik.statmodels.build`. All eleven matrices of
SModels database 3.0.0 are positive definite and left exactly as published.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import Status
from jaxlik.precision import require_x64
from jaxlik.statmodels.base import (
    LN_TWO_PI,
    AbstractProfiledModel,
    ProfileFit,
    as_float64,
    poisson_deviance,
    poisson_nll_constant,
)
from jaxlik.statmodels.dual import (
    DualProblem,
    DualSolution,
    attach_derivatives,
    default_scale,
    dual_optimum,
    pull_from_force,
    solve_dual,
    x_from_force,
)
from jaxlik.typing import Array, Float, Scalar

_VANISHING_MOMENT = 1e-30


class SkewedTerms(NamedTuple):
    """Central values, covariance and curvature of a skewed simplified likelihood.

    Attributes:
        central: A, the expectation at theta = 0 [events].
        covariance: Of theta [events^2].
        curvature: kappa = C/B^2 [1/events].
    """

    central: Float[np.ndarray, " region"]
    covariance: Float[np.ndarray, "region region"]
    curvature: Float[np.ndarray, " region"]


def skewed_terms(
    background: Float[np.ndarray, " region"],
    covariance: Float[np.ndarray, "region region"],
    third_moments: Float[np.ndarray, " region"],
) -> SkewedTerms:
    r"""Coefficients of the quadratic expansion from the first three moments.

    With $m_2 = V_{ii}$:

    $$ C = -\mathrm{sign}(m_3)\sqrt{2 m_2}\cos\!\left(\tfrac{4\pi}{3}
       + \tfrac13\arctan\sqrt{8 m_2^3/m_3^2 - 1}\right), \quad
       B = \sqrt{m_2 - 2C^2}, \quad A = b - C $$

    $$ \rho_{ij} = \frac{\sqrt{(B_iB_j)^2 + 8 C_iC_jV_{ij}} - B_iB_j}{4C_iC_j} $$

    A vanishing third moment is replaced by 1e-30, as SModelS does. Off the small
    C_i C_j the numerator is rationalised, which is free of cancellation.

    Args:
        background: Expected background [events].
        covariance: Of the background [events^2].
        third_moments: Third central moments [events^3].

    Returns:
        `nan` where the moments are impossible (8 m2^3 < m3^2).

    References:
        A. Buckley, M. Citron, S. Fichet, S. Kraml, W. Waltenberger, N. Wardle,
        arXiv:1809.05548, eqs. 1.27-1.30.
    """
    m2 = np.diagonal(covariance)
    m3 = np.where(third_moments == 0, _VANISHING_MOMENT, third_moments)
    with np.errstate(invalid="ignore"):
        angle = 4 * np.pi / 3 + np.arctan(np.sqrt(8 * m2**3 / m3**2 - 1)) / 3
        skew = -np.sign(m3) * np.sqrt(2 * m2) * np.cos(angle)
        width = np.sqrt(m2 - 2 * skew**2)
        widths = np.outer(width, width)
        product = np.outer(skew, skew)
        # (sqrt(p^2 + 8 c V) - p) / 4c = 2 V / (sqrt(p^2 + 8 c V) + p)
        correlation = 2 * covariance / (np.sqrt(widths**2 + 8 * product * covariance) + widths)
    return SkewedTerms(background - skew, widths * correlation, skew / width**2)


class SimplifiedLikelihood(AbstractProfiledModel):
    """Poisson regions whose backgrounds vary together; make it with `simplified_likelihood`.

    Attributes:
        observed: Observed events.
        background: Published expectation, the a-priori data [events].
        central: Expectation at nuisances zero; equal to `background` when linear.
        covariance: V [events^2].
        root: L with L L^T = V; turns standardised nuisances into events.
        curvature: kappa [1/events], `None` when linear.
        log_normalisation: ln of the Gaussian's normalisation, (k ln 2 pi + ln det V)/2.
        region_ids: Names of the regions.
    """

    observed: Float[Array, " region"] = eqx.field(converter=as_float64)
    background: Float[Array, " region"] = eqx.field(converter=as_float64)
    central: Float[Array, " region"] = eqx.field(converter=as_float64)
    covariance: Float[Array, "region region"] = eqx.field(converter=as_float64)
    root: Float[Array, "region region"] = eqx.field(converter=as_float64)
    curvature: Float[Array, " region"] | None
    log_normalisation: Scalar = eqx.field(converter=as_float64)
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        require_x64()

    @property
    def num_nuisances(self) -> int:
        """One per region."""
        return self.central.shape[-1]

    @property
    def nominal(self) -> Float[Array, " region"]:
        """The published background."""
        return self.background

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Signal and background: mu s + A + theta + kappa theta^2, theta = L z."""
        shift = self.root @ nuisances
        rate = mu * signal + self.central + shift
        return rate if self.curvature is None else rate + self.curvature * shift**2

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """Deviance plus the sum of squared nuisances."""
        rate = self.expected(mu, signal, nuisances)
        return jnp.sum(poisson_deviance(rate, self.observed)) + jnp.sum(nuisances**2)

    def with_observed(self, observed: Float[Array, " region"]) -> "SimplifiedLikelihood":
        """The same model with other data."""
        return eqx.tree_at(lambda model: model.observed, self, as_float64(observed))

    def problem(self, mu: Scalar, signal: Float[Array, " region"]) -> DualProblem:
        """The profile at mu as data of the dual solver."""
        mean = mu * signal + self.central
        return DualProblem(mean, self.observed, self.covariance, self.curvature)

    def profile(
        self,
        mu: Scalar,
        signal: Float[Array, " region"],
        *,
        start: Float[Array, " nuisance"] | None = None,
    ) -> ProfileFit:
        """Maximum over the nuisances by damped Newton, see `jaxlik.statmodels.dual`.

        Args:
            mu: Signal strength.
            signal: Events at mu = 1.
            start: Nuisances of a fit nearby; at rest by default.
        """
        problem = self.problem(mu, signal)
        solution = _solve(problem, None if start is None else self._force(start))
        force = attach_derivatives(solution.force, problem)
        twice_nll = dual_optimum(solution.force, problem)
        status = _status(solution, twice_nll)
        return ProfileFit(-self.root.T @ force, twice_nll, solution.num_steps, status)

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """-2 ln L with the nuisances profiled, deviance form; derivatives of all orders."""
        problem = self.problem(mu, signal)
        return dual_optimum(_solve(problem, None).force, problem)

    def pulls(self, mu: Scalar, signal: Float[Array, " region"]) -> Float[Array, " region"]:
        """1 - n/lambda at the optimum; d(-2 ln L)/d(mu) is twice their product with s."""
        problem = self.problem(mu, signal)
        return pull_from_force(attach_derivatives(_solve(problem, None).force, problem), problem)

    def _force(self, nuisances: Float[Array, " nuisance"]) -> Float[Array, " region"]:
        """Forces in every bin when the nuisances rest at these values; a guess, no fit."""
        shift = self.root @ nuisances
        return -shift / jnp.maximum(jnp.diagonal(self.covariance), 1e-12)

    def nll_constant(self) -> Scalar:
        """What to add to half the deviance form for SModelS' absolute nll."""
        return jnp.sum(poisson_nll_constant(self.observed)) + self.log_normalisation


def simplified_likelihood(
    observed: Float[np.ndarray, " region"],
    background: Float[np.ndarray, " region"],
    covariance: Float[np.ndarray, "region region"],
    third_moments: Float[np.ndarray, " region"] | None = None,
    region_ids: tuple[str, ...] = (),
) -> SimplifiedLikelihood:
    """Prepare a simplified likelihood on the host.

    Args:
        observed: Observed events.
        background: Expected background [events].
        covariance: Of the background [events^2], symmetric.
        third_moments: Third central moments [events^3]; `None` or all zero: linear.
        region_ids: Names of the regions.
    """
    background = np.asarray(background, float)
    covariance = np.asarray(covariance, float)
    central, curvature = background, None
    if third_moments is not None and np.sum(np.abs(third_moments)) >= 1e-10:
        third_moments = np.asarray(third_moments, float)
        central, covariance, curvature = skewed_terms(background, covariance, third_moments)
    covariance, root, log_determinant = positive_part(covariance)
    return SimplifiedLikelihood(
        observed=observed,
        background=background,
        central=central,
        covariance=covariance,
        root=root,
        curvature=None if curvature is None else jnp.asarray(curvature),
        log_normalisation=0.5 * (len(background) * LN_TWO_PI + log_determinant),
        region_ids=region_ids,
    )


def positive_part(
    covariance: Float[np.ndarray, "region region"],
) -> tuple[Float[np.ndarray, "region region"], Float[np.ndarray, "region region"], float]:
    """The covariance without negative eigenvalues, a root of it, and ln of its determinant.

    Eigenvalues are those of the correlation matrix, so that regions of all sizes count
    alike. A matrix without negative ones is returned as it is; vanishing ones do not
    enter the determinant.
    """
    spread = np.sqrt(np.diagonal(covariance))
    safe = np.where(spread > 0, spread, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    kept = np.maximum(values, 0.0)
    root = safe[:, None] * vectors * np.sqrt(kept)[None, :]
    if values[0] < 0:
        covariance = root @ root.T
    live = (spread > 0).sum() if (spread > 0).any() else 0
    positive = np.sort(kept)[::-1][:live]
    positive = positive[positive > 1e-14]
    log_determinant = float(np.sum(np.log(positive)) + 2 * np.sum(np.log(spread[spread > 0])))
    return covariance, root, log_determinant


def _solve(problem: DualProblem, start: Array | None) -> DualSolution:
    # The solver sees no derivative; they are attached to its result.
    fixed = jax.lax.stop_gradient(problem)
    scale = default_scale(fixed)
    force = jnp.zeros_like(fixed.mean) if start is None else jax.lax.stop_gradient(start)
    return solve_dual(fixed, x_from_force(force, fixed, scale), scale)


def _status(solution: DualSolution, twice_nll: Array) -> Status:
    finite = jnp.isfinite(twice_nll)
    outcome = Status.where(solution.converged, Status.success, Status.max_steps)
    return Status.where(finite, outcome, Status.not_finite)
