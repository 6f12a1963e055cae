r"""One signal region whose background has a Gaussian uncertainty, in closed form.

$$ L(\mu,\theta) = \mathrm{Pois}(n \mid \lambda)\,N(\theta; 0, \delta_b^2), \qquad
   \lambda = \mu s + b + \theta \ge 0 $$

The maximum over theta is the larger root of a quadratic equation. With
$m = \mu s + b$, $V = \delta_b^2$ and $x = m - V$,

$$ \hat\lambda = \tfrac12\left(x + \sqrt{x^2 + 4Vn}\right), \qquad
   w = 1 - n/\hat\lambda = (m - n)/(\hat\lambda + V), \qquad \hat\theta = -Vw, $$

where w, the *pull*, is half the slope of -2 ln L in m. Both forms are free of
cancellation, hold at V = 0, and at n = 0 put the optimum on the wall lambda = 0
where the unconstrained one would be negative. (SModelS writes
$\hat\theta = -p/2 + \sqrt{p^2/4-q}$ and forces theta = 0 at n = 0.)

Every function here works element by element and broadcasts; derivatives of all
orders are exact and finite.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

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
from jaxlik.typing import Array, Float, Scalar


class RegionProfile(NamedTuple):
    """Best rate and pull of each region at fixed mu.

    Attributes:
        rate: Expected events with the background profiled.
        pull: 1 - n/rate at the optimum; half the slope of -2 ln L in the mean.
    """

    rate: Float[Array, "*shape"]
    pull: Float[Array, "*shape"]


def profiled_region(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    background_error: Float[ArrayLike, "*#shape"],
) -> RegionProfile:
    """Best rate and pull in closed form; arguments as in `profiled_twice_nll`."""
    mean, observed, variance, _ = _arguments(mu, signal, observed, background, background_error)
    rate = _best_rate(mean, observed, variance)
    return RegionProfile(rate, _pull(mean, observed, variance, rate))


def profiled_twice_nll(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    background_error: Float[ArrayLike, "*#shape"],
) -> Float[Array, "*shape"]:
    r"""-2 ln L with the background profiled, deviance form, element by element.

    $$ D(\hat\lambda, n) + V w^2 $$

    Args:
        mu: Signal strength.
        signal: Events at mu = 1.
        observed: Observed events, at least zero, not necessarily integers.
        background: Expected background events.
        background_error: Its standard deviation [events]; zero means plain Poisson.

    Returns:
        At least zero; `inf` (with finite derivatives) where no positive rate is
        possible. Half of it plus `nll_constant` is SModelS' absolute nll. The
        derivative with respect to `observed` at exactly zero events is set to zero.

    Examples:
        >>> print(profiled_twice_nll(jnp.array([0.0, 1.0]), 4.0, 9.0, 6.5, 1.3).round(6))
        [0.671456 0.195029]
    """
    mean, observed, variance, _ = _arguments(mu, signal, observed, background, background_error)
    return _twice_nll(mean, observed, variance)


def profiled_slope(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    background_error: Float[ArrayLike, "*#shape"],
) -> Float[Array, "*shape"]:
    """Derivative of `profiled_twice_nll` with respect to mu: 2 s w, by the envelope theorem."""
    mean, observed, variance, signal = _arguments(
        mu, signal, observed, background, background_error
    )
    return 2 * signal * _pull(mean, observed, variance, _best_rate(mean, observed, variance))


def log_ratio(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    background_error: Float[ArrayLike, "*#shape"],
) -> Float[Array, "*shape"]:
    """Log-likelihood ratio ln L(mu) - ln L(0), both profiled; positive for an excess."""
    mean, observed, variance, signal = _arguments(
        mu, signal, observed, background, background_error
    )
    null = jnp.broadcast_to(jnp.asarray(background), mean.shape)
    return 0.5 * (_twice_nll(null, observed, variance) - _twice_nll(mean, observed, variance))


def mu_hat(
    signal: Float[ArrayLike, "*#shape"],
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    lower: Float[ArrayLike, "*#shape"] = 0.0,
) -> Float[Array, "*shape"]:
    """Best signal strength (n - b)/s, not below `lower`; `lower` where there is no signal.

    The background uncertainty does not enter: at the best mu it rests at zero.

    Examples:
        >>> print(mu_hat(4.0, 9.0, 5.0), mu_hat(4.0, 3.0, 5.0))
        1.0 0.0
    """
    signal, observed, background, lower = _broadcast(signal, observed, background, lower)
    safe = jnp.where(signal > 0, signal, 1.0)
    best = jnp.where(signal > 0, (observed - background) / safe, lower)
    return jnp.maximum(best, lower)


def asimov_observed(
    observed: Float[ArrayLike, "*#shape"],
    background: Float[ArrayLike, "*#shape"],
    background_error: Float[ArrayLike, "*#shape"],
) -> Float[Array, "*shape"]:
    """Asimov data of the background fitted to the observation: b + theta_hat(mu = 0).

    Observed CLs values use these; expected (a-priori) ones use the background itself.
    """
    return profiled_region(0.0, 0.0, observed, background, background_error).rate


def nll_constant(
    observed: Float[ArrayLike, "*#shape"], background_error: Float[ArrayLike, "*#shape"]
) -> Float[Array, "*shape"]:
    """What to add to half of `profiled_twice_nll` for SModelS' absolute nll."""
    observed, error = _broadcast(observed, background_error)
    safe = jnp.where(error > 0, error, 1.0)
    normalisation = jnp.where(error > 0, 0.5 * LN_TWO_PI + jnp.log(safe), 0.0)
    return poisson_nll_constant(observed) + normalisation


class PoissonCounting(AbstractProfiledModel):
    """Signal regions that share nothing, each with a Gaussian background uncertainty.

    The likelihood is the product over regions; for one region among several
    overlapping ones, take a model of that region alone (`single`).
    """

    observed: Float[Array, " region"] = eqx.field(converter=as_float64)
    background: Float[Array, " region"] = eqx.field(converter=as_float64)
    background_error: Float[Array, " region"] = eqx.field(converter=as_float64)
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        require_x64()

    @property
    def num_nuisances(self) -> int:
        """One per region."""
        return self.background.shape[-1]

    @property
    def nominal(self) -> Float[Array, " region"]:
        """The published background."""
        return self.background

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Signal, background and its shift: mu s + b + delta_b z."""
        return mu * signal + self.background + self.background_error * nuisances

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """Deviance plus the sum of squared nuisances."""
        rate = self.expected(mu, signal, nuisances)
        return jnp.sum(poisson_deviance(rate, self.observed)) + jnp.sum(nuisances**2)

    def with_observed(self, observed: Float[Array, " region"]) -> "PoissonCounting":
        """The same regions with other data."""
        return PoissonCounting(observed, self.background, self.background_error, self.region_ids)

    def single(self, index: int) -> "PoissonCounting":
        """The region at `index` as a model of its own."""
        keep = slice(index, index + 1)
        return PoissonCounting(
            self.observed[keep],
            self.background[keep],
            self.background_error[keep],
            self.region_ids[keep],
        )

    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """Maximum over the nuisances, in closed form."""
        terms = (signal, self.observed, self.background, self.background_error)
        nuisances = -self.background_error * profiled_region(mu, *terms).pull
        twice_nll = jnp.sum(profiled_twice_nll(mu, *terms))
        status = Status.where(jnp.isfinite(twice_nll), Status.success, Status.not_finite)
        return ProfileFit(nuisances, twice_nll, jnp.asarray(0), status)

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """-2 ln L with all backgrounds profiled, deviance form."""
        terms = (signal, self.observed, self.background, self.background_error)
        return jnp.sum(profiled_twice_nll(mu, *terms))

    def nll_constant(self) -> Scalar:
        """What to add to half the deviance form for SModelS' absolute nll."""
        return jnp.sum(nll_constant(self.observed, self.background_error))


def _broadcast(*arguments: ArrayLike) -> list[Array]:
    return jnp.broadcast_arrays(*(jnp.asarray(value, dtype=jnp.float64) for value in arguments))


def _arguments(mu, signal, observed, background, background_error):
    mu, signal, observed, background, error = _broadcast(
        mu, signal, observed, background, background_error
    )
    return mu * signal + background, observed, error**2, signal


@jax.custom_jvp
def _best_rate(mean: Array, observed: Array, variance: Array) -> Array:
    """Larger root of lambda^2 - (m - V) lambda - V n = 0, without cancellation."""
    shifted = mean - variance
    gap = jnp.sqrt(shifted**2 + 4 * variance * observed)
    positive = shifted > 0
    tail = jnp.where(positive | (gap <= 0), 1.0, gap - shifted)
    return jnp.where(positive, 0.5 * (shifted + gap), 2 * variance * observed / tail)


@_best_rate.defjvp
def _best_rate_jvp(primals, tangents):
    mean, observed, variance = primals
    mean_dot, observed_dot, variance_dot = tangents
    rate = _best_rate(mean, observed, variance)
    gap = 2 * rate - (mean - variance)
    # At gap = 0 (no events, optimum just touching the wall) the root has a kink;
    # the branch without the wall is taken.
    safe = jnp.where(gap > 0, gap, 1.0)
    kink = mean_dot - variance_dot
    slope = rate * mean_dot + (observed - rate) * variance_dot + variance * observed_dot
    return rate, jnp.where(gap > 0, slope / safe, kink)


def _pull(mean: Array, observed: Array, variance: Array, rate: Array) -> Array:
    total = rate + variance
    return jnp.where(total > 0, (mean - observed) / jnp.where(total > 0, total, 1.0), 1.0)


@jax.custom_jvp
def _twice_nll(mean: Array, observed: Array, variance: Array) -> Array:
    rate = _best_rate(mean, observed, variance)
    pull = _pull(mean, observed, variance, rate)
    deviance = jnp.where(
        observed > 0,
        2 * (rate * pull - observed * jnp.log1p(_excess(rate, pull, observed))),
        2 * rate,
    )
    possible = (rate > 0) | ((observed <= 0) & ((variance > 0) | (mean >= 0)))
    return jnp.where(possible, deviance + variance * pull**2, jnp.inf)


@_twice_nll.defjvp
def _twice_nll_jvp(primals, tangents):
    # Envelope theorem: at the optimum only the explicit dependence counts. The
    # second derivative then follows from the derivative of the pull.
    mean, observed, variance = primals
    mean_dot, observed_dot, variance_dot = tangents
    rate = _best_rate(mean, observed, variance)
    pull = _pull(mean, observed, variance, rate)
    from_data = jnp.where(observed > 0, -2 * jnp.log1p(_excess(rate, pull, observed)), 0.0)
    slope = 2 * pull * mean_dot - pull**2 * variance_dot + from_data * observed_dot
    return _twice_nll(mean, observed, variance), slope


def _excess(rate: Array, pull: Array, observed: Array) -> Array:
    """(lambda - n)/n at the optimum, zero where it has no meaning."""
    usable = (observed > 0) & (rate > 0)
    return jnp.where(usable, rate * pull / jnp.where(usable, observed, 1.0), 0.0)
