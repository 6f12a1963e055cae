r"""A likelihood from an observed and an expected upper limit on a cross section.

The expected limit fixes the width of a Gaussian in the signal cross section,
$\sigma = \mathrm{UL}_\mathrm{exp}/1.96$, the observed one its centre m: the Gaussian
truncated to positive signals puts 95 % of itself below the observed limit,

$$ \Phi\!\left(\frac{m - \mathrm{UL}}{\sigma}\right)
   = 0.05\;\Phi\!\left(\frac{m}{\sigma}\right) , $$

which is $[\mathrm{erf}((\mathrm{UL}-m)/\sqrt2\sigma) + \mathrm{erf}(m/\sqrt2\sigma)] /
[1 + \mathrm{erf}(m/\sqrt2\sigma)] = 0.95$ without cancellation. Two published forms:

* ``"protomodels"`` (arXiv:2012.12246): limits more than two sigma above expectation
  are capped, below expectation the centre is zero.
* ``"smodels"`` (SModelS 3): for excesses the expected limit grows to
  UL_exp/(1 - 0.6 r), r = (UL_obs - UL_exp)/(UL_obs + UL_exp); centres may be negative.

Functions work element by element and broadcast.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import ArrayLike

from jaxlik.precision import require_x64
from jaxlik.statmodels.base import (
    LN_TWO_PI,
    AbstractProfiledModel,
    ProfileFit,
    as_float64,
    unprofiled,
)
from jaxlik.typing import Array, Float, Scalar

Form = Literal["protomodels", "smodels"]

SIGMAS_OF_LIMIT = 1.96
"""Standard deviations between the centre of a background-like result and its limit."""

CAP_ASYMMETRY = 0.338
CAP_RATIO = 2.021
"""Above this asymmetry the observed limit counts as this many expected ones (+2 sigma)."""

EXCESS_WIDENING = 0.6
"""How fast the expected limit grows with an excess in SModelS' form."""

_LN_TAIL = -2.995732273553991  # ln 0.05
_NUM_STEPS = 8


class GaussianLimit(NamedTuple):
    """Centre and width of the Gaussian that two limits imply [fb]."""

    centre: Float[Array, "*shape"]
    width: Float[Array, "*shape"]


def gaussian_from_limits(
    upper_limit: Float[ArrayLike, "*#shape"],
    upper_limit_expected: Float[ArrayLike, "*#shape"],
    form: Form = "protomodels",
) -> GaussianLimit:
    """Centre and width from the observed and expected 95 % limits [fb], both positive.

    Derivatives with respect to both limits follow from the implicit function theorem.

    Examples:
        >>> centre, width = gaussian_from_limits(1.96, 1.96)
        >>> print(f"{centre:.2f} {width:.2f}")
        0.00 1.00
    """
    observed, expected = jnp.broadcast_arrays(
        as_float64(upper_limit), as_float64(upper_limit_expected)
    )
    asymmetry = (observed - expected) / (observed + expected)
    if form == "protomodels":
        width = expected / SIGMAS_OF_LIMIT
        observed = jnp.where(asymmetry > CAP_ASYMMETRY, CAP_RATIO * expected, observed)
        excess = observed >= expected
        limit = jnp.where(excess, observed, expected) / width
        return GaussianLimit(jnp.where(excess, width * _centre(limit), 0.0), width)
    widening = 1 - EXCESS_WIDENING * jnp.maximum(asymmetry, 0.0)
    width = expected / widening / SIGMAS_OF_LIMIT
    return GaussianLimit(width * _centre(observed / width), width)


def twice_nll(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    upper_limit: Float[ArrayLike, "*#shape"],
    upper_limit_expected: Float[ArrayLike, "*#shape"],
    form: Form = "protomodels",
) -> Float[Array, "*shape"]:
    """((mu s - m)/sigma)^2: -2 ln L counted from its peak.

    Args:
        mu: Signal strength.
        signal: Signal cross section at mu = 1 [fb].
        upper_limit: Observed limit [fb].
        upper_limit_expected: Expected limit [fb].
        form: Which of the two published conventions.
    """
    mu, signal, upper_limit, upper_limit_expected = _broadcast(
        mu, signal, upper_limit, upper_limit_expected
    )
    centre, width = gaussian_from_limits(upper_limit, upper_limit_expected, form)
    return ((mu * signal - centre) / width) ** 2


def log_ratio(
    mu: Float[ArrayLike, "*#shape"],
    signal: Float[ArrayLike, "*#shape"],
    upper_limit: Float[ArrayLike, "*#shape"],
    upper_limit_expected: Float[ArrayLike, "*#shape"],
    form: Form = "protomodels",
) -> Float[Array, "*shape"]:
    """Log-likelihood ratio ln L(mu) - ln L(0); arguments as in `twice_nll`."""
    mu, signal, upper_limit, upper_limit_expected = _broadcast(
        mu, signal, upper_limit, upper_limit_expected
    )
    centre, width = gaussian_from_limits(upper_limit, upper_limit_expected, form)
    signal = mu * signal
    return signal * (centre - 0.5 * signal) / width**2


class TruncatedGaussian(AbstractProfiledModel):
    """Gaussian likelihoods of signal cross sections; make it with `truncated_gaussian`.

    Its "observed" value is the centre, so that Asimov data at mu = 0 centre it at zero,
    where observed and expected limits agree.

    Attributes:
        observed: Centres [fb].
        width: Standard deviations [fb].
        region_ids: Names.
    """

    observed: Float[Array, " region"] = eqx.field(converter=as_float64)
    width: Float[Array, " region"] = eqx.field(converter=as_float64)
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        require_x64()

    @property
    def num_nuisances(self) -> int:
        """None: the limits have profiled them already."""
        return 0

    @property
    def nominal(self) -> Float[Array, " region"]:
        """No signal."""
        return jnp.zeros_like(self.observed)

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Signal cross section [fb]."""
        return mu * signal

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """Sum of ((mu s - m)/sigma)^2."""
        return jnp.sum(((mu * signal - self.observed) / self.width) ** 2)

    def with_observed(self, observed: Float[Array, " region"]) -> "TruncatedGaussian":
        """The same widths around other centres."""
        return TruncatedGaussian(observed, self.width, self.region_ids)

    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """There is nothing to profile."""
        return unprofiled(self.profiled_twice_nll(mu, signal))

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """Equal to `twice_nll` without nuisances."""
        return self.twice_nll(mu, signal, jnp.zeros(0))


def truncated_gaussian(
    upper_limit: Float[ArrayLike, " region"],
    upper_limit_expected: Float[ArrayLike, " region"],
    form: Form = "protomodels",
    region_ids: tuple[str, ...] = (),
) -> TruncatedGaussian:
    """A model from limits [fb]; see `gaussian_from_limits`."""
    centre, width = gaussian_from_limits(upper_limit, upper_limit_expected, form)
    return TruncatedGaussian(centre, width, region_ids)


def _broadcast(*arguments: ArrayLike) -> list[Array]:
    return jnp.broadcast_arrays(*(as_float64(value) for value in arguments))


@jax.custom_jvp
def _centre(limit: Array) -> Array:
    """Root c of ln Phi(c - t) - ln Phi(c) = ln 0.05 for a limit t > 0, units of sigma.

    The left side grows with c. Mills' ratio bounds the root from below by -3/t, the
    untruncated Gaussian from above by t - 1.644. Newton, by bisection where it leaves
    the bracket.
    """
    safe = jnp.where(limit > 0, limit, 1.0)

    def step(_, state):
        centre, low, high = state
        left, right = log_ndtr(centre - safe, 10), log_ndtr(centre, 10)
        value = left - right - _LN_TAIL
        low = jnp.where(value < 0, centre, low)
        high = jnp.where(value < 0, high, centre)
        slope = _hazard(centre - safe, left) - _hazard(centre, right)
        newton = centre - value / slope
        inside = (newton >= low) & (newton <= high)
        return jnp.where(inside, newton, 0.5 * (low + high)), low, high

    low, high = -3.0 / safe, safe - 1.6448
    start = jnp.clip(safe - 1.65 - 0.6 / safe**2, low, high)
    centre, _, _ = jax.lax.fori_loop(0, _NUM_STEPS, step, (start, low, high))
    return jnp.where(limit > 0, centre, jnp.nan)


@_centre.defjvp
def _centre_jvp(primals, tangents):
    (limit,), (limit_dot,) = primals, tangents
    centre = _centre(limit)
    left = _hazard(centre - limit, log_ndtr(centre - limit, 10))
    right = _hazard(centre, log_ndtr(centre, 10))
    return centre, limit_dot * left / (left - right)


def _hazard(x: Array, log_cumulative: Array) -> Array:
    """phi(x)/Phi(x), from the logarithm of Phi."""
    return jnp.exp(-0.5 * (x**2 + LN_TWO_PI) - log_cumulative)
