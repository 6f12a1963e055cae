r"""The probability models of spey's default backends, in JAX, with certified fits.

Bins i with events n, signal s at mu = 1, one background nuisance x each, and if asked for
nuisances y of the signal:

$$ L = \prod_i \mathrm{Pois}(n_i \mid \lambda_i)\,N(x; 0, \rho)\,N(y; 0, 1), \qquad
   \lambda_i = \mu s_i\, e^{(My)_i} + g_i(x_i), \qquad g_i(x_i) \ge 0 $$

g is $b + \sigma x$ (uncorrelated, correlated), $A + B x + C x^2$ (third moments) or
$b + x\sqrt{\sigma^+\sigma^- + (\sigma^+-\sigma^-)(x - b)}$ (effective sigma), as in spey 0.2.7. The
background itself may not be negative, which is stronger than a rate that is not. Since g
depends on one nuisance only, that condition is a bound of each nuisance, and all fits are
Newton's method between bounds (`jaxlik.inference.bounded`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import WorkspaceError
from jaxlik.inference.bounded import BoundedMinimum, minimise_bounded
from jaxlik.statmodels.base import LN_TWO_PI, poisson_deviance
from jaxlik.statmodels.histfactory import Expansion
from jaxlik.typing import Array, Bool, Float, Scalar

SMALLEST_VARIANCE = 1e-10
"""Floor of the square of an effective sigma, as in spey."""

SMALLEST_RATE = 1e-20
"""Floor of rates where spey's own optimiser asks for the likelihood [events]."""


class Response(eqx.Module):
    """A yield of each bin as a function of one nuisance.

    Attributes:
        offset: A [events].
        slope: B [events].
        curvature: C [events].
        square: c in sigma^2 = c + d x [events^2]; used by effective sigmas only.
        tilt: d [events^2].
        effective: Whether the yield is A + x sigma(x), else A + B x + C x^2.
    """

    offset: Float[Array, " region"]
    slope: Float[Array, " region"]
    curvature: Float[Array, " region"]
    square: Float[Array, " region"]
    tilt: Float[Array, " region"]
    effective: bool = eqx.field(static=True, default=False)

    def __call__(self, x: Float[Array, " region"]) -> tuple[Array, Array, Array]:
        """Yield, its first and its second derivative."""
        if not self.effective:
            value = self.offset + (self.slope + self.curvature * x) * x
            return value, self.slope + 2 * self.curvature * x, 2 * self.curvature
        variance = self.square + self.tilt * x
        free = variance > SMALLEST_VARIANCE
        sigma = jnp.sqrt(jnp.where(free, variance, SMALLEST_VARIANCE))
        first = jnp.where(free, self.tilt / (2 * sigma), 0.0)
        second = jnp.where(free, -(self.tilt**2) / (4 * sigma**3), 0.0)
        return self.offset + x * sigma, sigma + x * first, 2 * first + x * second

    def lowest(self, target: Float[np.ndarray, " region"]) -> Float[np.ndarray, " region"]:
        """Where the yield falls to a target, going down from x = 0 (host); -inf where never.

        Where the yield at 0 is below the target already, the place above 0 where it rises to it.
        """
        if self.effective:
            pairs = zip(self.square, self.tilt, np.asarray(self.offset) - target, strict=True)
            return np.array([_effective_root(*map(float, numbers)) for numbers in pairs])
        b, c, short = (np.asarray(v) for v in (self.slope, self.curvature, self.offset))
        short = short - target
        discriminant = b**2 - 4 * c * short
        possible = (discriminant >= 0) & ((b > 0) | (short < 0))
        root = b + np.sqrt(np.maximum(discriminant, 0.0))
        return np.where(possible & (root > 0), -2 * short / np.where(root > 0, root, 1.0), -np.inf)

    def highest(self) -> Float[np.ndarray, " region"]:
        """Where the yield falls to zero again, going up (host); inf where never."""
        a, b, c = (np.asarray(v) for v in (self.offset, self.slope, self.curvature))
        bent = (c < 0) & (not self.effective)
        safe = np.where(bent, c, -1.0)
        root = (b + np.sqrt(np.maximum(b**2 - 4 * safe * a, 0.0))) / (-2 * safe)
        return np.where(bent, root, np.inf)


def _effective_root(square: float, tilt: float, height: float) -> float:
    """The largest x below zero with x sqrt(square + tilt x) = -height."""
    if height <= 0:
        return 0.0
    roots = np.roots([tilt, square, 0.0, -(height**2)])
    real = roots[np.abs(roots.imag) <= 1e-9 * np.abs(roots)].real
    found = [x for x in real if x < 0 and square + tilt * x > SMALLEST_VARIANCE]
    flat = -height / np.sqrt(SMALLEST_VARIANCE)
    if square + tilt * flat <= SMALLEST_VARIANCE:
        found.append(flat)
    return max(found, default=-np.inf)


class BinnedModel(eqx.Module):
    """One model, padded to a bucket of bins so that models of similar size share programs.

    Parameters are mu in units of `BinnedLikelihood.scale`, the background nuisances, and the
    signal nuisances if there are any.

    Attributes:
        signal: Events at one unit of mu.
        background: Yield as a function of the background nuisances.
        morphing: M, what one standard deviation of a signal nuisance adds to ln of the signal.
        precision: Inverse of the correlation matrix of all nuisances.
        root: R with R^T R the precision.
        fixed: Parameters of the padding.
    """

    signal: Float[Array, " region"]
    background: Response
    morphing: Float[Array, "region source"]
    precision: Float[Array, "nuisance nuisance"]
    root: Float[Array, "nuisance nuisance"]
    fixed: Bool[Array, " parameter"]

    def _split(self, parameters: Array) -> tuple[Array, Array, Array]:
        """Signal at one unit of mu after morphing, background nuisances, and all nuisances."""
        size = self.signal.shape[0]
        morphed = self.signal * jnp.exp(self.morphing @ parameters[1 + size :])
        return morphed, parameters[1 : 1 + size], parameters[1:]

    def rate(self, parameters: Float[Array, " parameter"]) -> Float[Array, " region"]:
        """Expected events."""
        signal, nuisances, _ = self._split(parameters)
        return parameters[0] * signal + self.background(nuisances)[0]

    def half_deviance(self, parameters: Array, observed: Float[Array, " region"]) -> Scalar:
        """-ln L without its constants; infinite where a rate is not possible."""
        nuisances = parameters[1:]
        poisson = jnp.sum(poisson_deviance(self.rate(parameters), observed))
        return 0.5 * (poisson + nuisances @ self.precision @ nuisances)

    def clipped(self, parameters: Array, observed: Float[Array, " region"]) -> Scalar:
        """`half_deviance` with rates clipped from below, as spey does it: finite everywhere."""
        nuisances = parameters[1:]
        rate = jnp.maximum(self.rate(parameters), SMALLEST_RATE)
        poisson = jnp.sum(poisson_deviance(rate, observed))
        return 0.5 * (poisson + nuisances @ self.precision @ nuisances)

    def expand(self, parameters: Array, observed: Float[Array, " region"]) -> Expansion:
        """`half_deviance` with its gradient, Hessian and Fisher's information."""
        signal, x, nuisances = self._split(parameters)
        size = self.signal.shape[0]
        value, slope, curvature = self.background(x)
        morphed = parameters[0] * signal
        rate = morphed + value
        safe = jnp.where(rate == 0, 1.0, rate)
        counted = observed > 0
        excess = jnp.where(counted, 1 - observed / safe, 1.0)
        weight = jnp.where(counted, observed / safe**2, 0.0)
        varied = morphed[:, None] * self.morphing
        jacobian = jnp.concatenate([signal[:, None], jnp.diag(slope), varied], axis=1)
        pull = self.precision @ nuisances
        gradient = (excess @ jacobian).at[1:].add(pull)
        hessian = jacobian.T @ (weight[:, None] * jacobian)
        hessian = hessian.at[1:, 1:].add(self.precision)
        hessian = hessian.at[1 : 1 + size, 1 : 1 + size].add(jnp.diag(excess * curvature))
        mixed = (excess * signal) @ self.morphing
        hessian = hessian.at[0, 1 + size :].add(mixed).at[1 + size :, 0].add(mixed)
        both = self.morphing.T @ ((excess * morphed)[:, None] * self.morphing)
        hessian = hessian.at[1 + size :, 1 + size :].add(both)
        root = jnp.sqrt(jnp.where(rate > 0, 1 / safe, 0.0))
        constraint = jnp.pad(self.root, ((0, 0), (1, 0)))
        scores = jnp.concatenate([root[:, None] * jacobian, constraint])
        total = self.half_deviance(parameters, observed)
        return Expansion(total, gradient, hessian, scores, jnp.zeros_like(gradient))


class FitTask(NamedTuple):
    """Data of one fit.

    Attributes:
        observed: Events.
        near: Where a fit nearby ended.
        start: Where to begin if the likelihood is zero there.
        lower: Bounds.
        upper: Bounds.
        held: Parameters that stay at the start.
    """

    observed: Float[Array, " region"]
    near: Float[Array, " parameter"]
    start: Float[Array, " parameter"]
    lower: Float[Array, " parameter"]
    upper: Float[Array, " parameter"]
    held: Bool[Array, " parameter"]


@jax.jit
def certified_minimum(model: BinnedModel, task: FitTask) -> BoundedMinimum:
    """The minimum of -ln L between bounds; one program for all data, mu and models of a bucket."""
    near = jnp.where(task.held, task.start, jnp.clip(task.near, task.lower, task.upper))
    possible = jnp.isfinite(model.half_deviance(near, task.observed))
    return minimise_bounded(
        lambda parameters: model.expand(parameters, task.observed),
        jnp.where(possible, near, task.start),
        task.lower,
        task.upper,
        model.fixed | task.held,
        jnp.ones_like(near),
    )


response_at = jax.jit(Response.__call__)
rate_at = jax.jit(BinnedModel.rate)
clipped_at = jax.jit(BinnedModel.clipped)
slopes_at = jax.jit(jax.value_and_grad(BinnedModel.clipped, argnums=1))
curvature_at = jax.jit(jax.hessian(BinnedModel.clipped, argnums=1))


class Constraint(NamedTuple):
    """Multivariate normal constraint of nuisances around zero.

    Attributes:
        precision: Symmetric.
        log_normalisation: (k ln 2 pi + ln det rho)/2.
    """

    precision: Float[np.ndarray, "nuisance nuisance"]
    log_normalisation: float


def constraint_from(correlation: Float[np.ndarray, "nuisance nuisance"], name: str) -> Constraint:
    """The constraint as spey evaluates it.

    spey inverts the matrix as it is given; of a matrix that is not symmetric the symmetric part
    of the inverse counts, and the determinant of the matrix itself.

    Args:
        correlation: rho.
        name: For messages.

    Raises:
        WorkspaceError: the likelihood would be unbounded.
    """
    size = len(correlation)
    sign, log_determinant = np.linalg.slogdet(correlation)
    problem = "singular or without a real logarithm of its determinant"
    if sign > 0 and np.isfinite(log_determinant):
        inverse = np.linalg.inv(correlation)
        precision = 0.5 * (inverse + inverse.T)
        lowest = float(np.linalg.eigvalsh(precision)[0])
        if lowest > 0:
            return Constraint(precision, 0.5 * (size * LN_TWO_PI + float(log_determinant)))
        problem = f"its inverse has the eigenvalue {lowest:.3g}, so that -ln L has no minimum"
    raise WorkspaceError(
        f"{name} ({size} by {size}): {problem}; wanted positive definite. The nearest such matrix: "
        "jaxlik.statmodels.simplified.positive_part plus a small diagonal"
    )


def polynomial(offset, slope, curvature=None) -> Response:
    """A + B x + C x^2 from numbers of each bin."""
    first, second = (jnp.asarray(np.asarray(v, float)) for v in (offset, slope))
    zero = jnp.zeros_like(first)
    bend = zero if curvature is None else jnp.asarray(np.asarray(curvature, float))
    return Response(first, second, bend, zero, zero)


def effective(offset, upper, lower, centre) -> Response:
    """A + x sigma(x), sigma^2 = up down + (up - down)(x - centre), arXiv:physics/0406120 eq. 18."""
    up, down, centre = (np.abs(upper), np.abs(lower), np.asarray(centre, float))
    zero = jnp.zeros(len(up))
    square = jnp.asarray(up * down - (up - down) * centre)
    return Response(
        jnp.asarray(np.asarray(offset, float)), zero, zero, square, jnp.asarray(up - down), True
    )


class ThirdMoments(NamedTuple):
    """Coefficients of the third-moment expansion, in units of standardised nuisances.

    Attributes:
        offset: A [events].
        slope: B [events].
        curvature: C [events].
        correlation: rho.
    """

    offset: Float[np.ndarray, " region"]
    slope: Float[np.ndarray, " region"]
    curvature: Float[np.ndarray, " region"]
    correlation: Float[np.ndarray, "region region"]


_SKEW_FLOOR = 1e-5
"""spey moves C away from zero by this [events] where it divides by it."""


def third_moment_terms(
    expectation: Float[np.ndarray, " region"],
    covariance: Float[np.ndarray, "region region"],
    third_moment: Float[np.ndarray, " region"],
) -> ThirdMoments:
    """A, B, C and rho of arXiv:1809.05548, eqs. 2.9 to 2.12, with spey's treatment of corner cases.

    C is zero where 8 V^3 < m3^2 or m3 = 0; in rho alone it keeps a distance from zero, and the
    lower triangle of the covariance counts for both. `jaxlik.statmodels.simplified.skewed_terms`,
    as SModelS, has no such distance.
    """
    variance = np.diagonal(covariance)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.arctan(np.sqrt(8 * variance**3 / third_moment**2 - 1)) / 3 + 4 * np.pi / 3
        skew = -np.sign(third_moment) * np.sqrt(2 * variance) * np.cos(angle)
    skew = np.where(np.isnan(skew), 0.0, skew)
    width = np.sqrt(variance - 2 * skew**2)
    moved = skew + np.where(skew >= 0, _SKEW_FLOOR, -_SKEW_FLOOR)
    product, widths = np.outer(moved, moved), np.outer(width, width)
    root = np.sqrt(np.abs(widths**2 + 8 * product * covariance))
    correlation = (root - widths) / 4 / product
    lower = np.tril(correlation)
    return ThirdMoments(expectation - skew, width, skew, lower + np.tril(correlation, -1).T)
