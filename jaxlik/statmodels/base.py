"""What every statistical model answers, and the Poisson terms they share.

All of them count -2 ln L from the saturated model (deviance form): it is zero
where the rates equal the data and the nuisances rest, and keeps its precision
where a region holds 1e5 events.
"""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import ArrayLike

from jaxlik.errors import Status
from jaxlik.typing import Array, Float, Scalar

LN_TWO_PI = math.log(2 * math.pi)

_STIRLING_FROM = 30.0
"""Events above which four terms of Stirling's series are exact to 1e-16."""

_ROUNDING = 1e-9
"""Negative rate [events] still taken for zero where a region is empty and at its wall."""


class ProfileFit(NamedTuple):
    """A likelihood maximised over its nuisances at fixed mu.

    Attributes:
        nuisances: Where the maximum is, in units of their constraint's width.
        twice_nll: -2 ln L there, deviance form.
        num_steps: Steps the solver took.
        status: `Status.success`, or why the numbers should not be used.
    """

    nuisances: Float[Array, " nuisance"]
    twice_nll: Scalar
    num_steps: Array
    status: Status


def unprofiled(twice_nll: Scalar) -> ProfileFit:
    """The fit of a model without nuisances."""
    status = Status.where(jnp.isfinite(twice_nll), Status.success, Status.not_finite)
    return ProfileFit(jnp.zeros(0), twice_nll, jnp.asarray(0), status)


class AbstractStatModel(eqx.Module):
    """A likelihood of mu, of the signal in every region, and of nuisances.

    Nuisances are standardised: each carries a Gaussian constraint of width one,
    so that one Newton scale serves all models.
    """

    observed: eqx.AbstractVar[Float[Array, " region"]]

    @property
    @abc.abstractmethod
    def num_nuisances(self) -> int:
        """How many nuisance parameters there are."""

    @property
    @abc.abstractmethod
    def nominal(self) -> Float[Array, " region"]:
        """The background as published: the data of an a-priori expectation."""

    @abc.abstractmethod
    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Expected events in every region."""

    @abc.abstractmethod
    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """-2 ln L in deviance form, constraints included."""

    @abc.abstractmethod
    def with_observed(self, observed: Float[Array, " region"]) -> "AbstractStatModel":
        """The same model with other data."""


class AbstractProfiledModel(AbstractStatModel):
    """A model that knows a faster way to its profile than the generic Newton solver."""

    @abc.abstractmethod
    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """Maximise over the nuisances; derivatives of all orders are exact."""

    @abc.abstractmethod
    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """-2 ln L maximised over the nuisances, deviance form."""


class AbstractFixedDataModel(AbstractProfiledModel):
    """A model of given data and of their Asimov data, unable to take others."""

    @abc.abstractmethod
    def background_asimov(self, *, fitted: bool = True) -> "AbstractFixedDataModel":
        """The model of background-only Asimov data.

        Args:
            fitted: Background as fitted to the data at mu = 0, else as published.
        """


EMPTY = 1e-12
"""Events; less is none."""


def asimov_events(expected: Float[Array, "*#shape"]) -> Float[Array, "*#shape"]:
    """Expected events as data: exactly none where rounding leaves next to none.

    On the wall of an empty region rates come out as 1e-16 or -1e-16. XLA may compute them in
    several places of a program, with other rounding in each: there would be events in one of
    them and no rate in the other, which is impossible.

    Args:
        expected: Expected events, of any shape.

    Returns:
        Events of the same shape; those up to `EMPTY` are zero, with zero derivatives.
    """
    return jnp.where(expected > EMPTY, expected, 0.0)


def asimov(
    model: AbstractStatModel,
    mu: Scalar,
    signal: Float[Array, " region"],
    nuisances: Float[Array, " nuisance"],
) -> AbstractStatModel:
    """The model with its data replaced by its own expectation.

    "Expected" results are not a mode of the model but this function: nominal
    nuisances (zero) give the a-priori expectation, profiled ones at mu = 0 the
    a-posteriori one, which observed CLs values need (arXiv:1007.1727, section 3.2).

    Args:
        model: Any statistical model.
        mu: Signal strength of the pseudo-data.
        signal: Events at mu = 1.
        nuisances: In units of their constraint's width.
    """
    expected = model.expected(mu, signal, nuisances)
    return model.with_observed(asimov_events(expected))


def poisson_deviance(
    rate: Float[ArrayLike, "*#shape"], observed: Float[ArrayLike, "*#shape"]
) -> Float[Array, "*shape"]:
    r"""Poisson deviance, element by element.

    $$ D = 2\,[\lambda - n + n \ln(n/\lambda)] = 2n\,[\delta - \ln(1+\delta)], \quad
       \delta = (\lambda - n)/n $$

    Equals the change of -2 ln L from the saturated model. A region without events
    gives the straight line 2 lambda.

    Args:
        rate: Expected events, signal and background together.
        observed: Observed events; not necessarily integers (Asimov data).

    Returns:
        At least zero; `inf` where a rate is negative, or zero in spite of events,
        with a finite gradient.

    Examples:
        >>> print(poisson_deviance(jnp.array([1.5, 3.0]), jnp.array([0.0, 3.0])))
        [3. 0.]

    References:
        S. Baker, R. D. Cousins, Nucl. Instrum. Meth. 221 (1984) 437.
    """
    rate, observed = jnp.broadcast_arrays(jnp.asarray(rate), jnp.asarray(observed))
    # A gradient runs through both branches of `where`: keep the unused one finite.
    counted = observed > 0
    possible = jnp.where(counted, rate > 0, rate >= -_ROUNDING)
    safe_observed = jnp.where(counted, observed, 1.0)
    safe_rate = jnp.where(counted & possible, rate, safe_observed)
    excess = (safe_rate - safe_observed) / safe_observed
    terms = 2 * safe_observed * (excess - jnp.log1p(excess))
    return jnp.where(possible, jnp.where(counted, terms, 2 * rate), jnp.inf)


def poisson_nll_constant(observed: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""-ln L of the saturated Poisson model, element by element.

    $$ n - n \ln n + \ln\Gamma(n+1) $$

    Half a deviance plus this is the absolute -ln L that SModelS quotes. Stirling's
    series where the terms cancel.
    """
    observed = jnp.asarray(observed)
    safe = jnp.where(observed > 0, observed, 1.0)
    exact = safe - safe * jnp.log(safe) + gammaln(safe + 1)
    large = jnp.maximum(safe, _STIRLING_FROM)
    inverse = 1 / large**2
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / large
    stirling = 0.5 * (LN_TWO_PI + jnp.log(large)) + series
    constant = jnp.where(safe > _STIRLING_FROM, stirling, exact)
    return jnp.where(observed > 0, constant, 0.0)


def as_float64(value: ArrayLike) -> Array:
    """A double-precision array; converter of numeric model fields."""
    return value if isinstance(value, jax.core.Tracer) else jnp.asarray(value, dtype=jnp.float64)  # type: ignore[reportReturnType]
