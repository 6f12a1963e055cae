r"""Nuisances integrated over instead of profiled: Laplace's approximation.

$$ \ln \int L(\theta)\,d\theta \approx \ln L(\hat\theta) + \tfrac k2 \ln 2\pi
   - \tfrac12 \ln\det H(\hat\theta), \qquad H = -\nabla^2 \ln L(\hat\theta), $$

with constraints as priors and flat priors, of density one, for parameters without constraint
(over all values; their bounds do not cut the Gaussian). L is relative to the saturated model,
as everywhere here; constraints count with their normalisation where they are normal ones, so
that a region without nuisances and one with a nuisance of no effect agree. Differences in mu and
Bayes factors between signals of one data set are meaningful; absolute values contain the
constant of the data.

**At bounds.** A parameter that a bound holds, its slope not zero, is not integrated over: it
stays at the bound, as in the profile, and k counts the others. Where that set changes with mu
the result jumps; `MarginalFit.num_free` tells.

**Derivatives** in mu, signal, data and every other number are exact to first order: those of
the fit follow from the implicit function theorem, and that of the determinant from
d ln det H = tr(H^-1 dH), with dH the total derivative. Second derivatives lack terms.

References:
    L. Tierney, J. B. Kadane, J. Am. Stat. Assoc. 81 (1986) 82.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status
from jaxlik.inference.profile import profile
from jaxlik.inference.workspace_profile import CERTIFIED, at_bounds, attached, fit_from, free_block
from jaxlik.statmodels.base import LN_TWO_PI, AbstractFixedDataModel, AbstractStatModel
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.linear import log_determinant
from jaxlik.typing import Array, Float, Int, Scalar


class MarginalFit(NamedTuple):
    """A likelihood integrated over its nuisances, and the fit that was expanded.

    Attributes:
        log_marginal: ln of the integral; not a number where the fit or H is unusable.
        parameters: At the maximum, all of them, or the nuisances of other models.
        num_free: Parameters integrated over.
        status: `not_finite` where H is not positive, or why the fit failed.
    """

    log_marginal: Scalar
    parameters: Float[Array, " parameter"]
    num_free: Int[Array, ""]
    status: Status


def laplace_workspace(
    model: HistFactory,
    poi: Int[Array, ""] | int,
    mu: Scalar | float,
    data: Data | None = None,
) -> MarginalFit:
    """Likelihood of mu, its logarithm, all other parameters integrated over.

    Around the minimum that a fit from the model's start finds; others do not count. Pure; may
    be `vmap`ped over models of one bucket, mu and data.

    Args:
        model: The packed workspace.
        poi: Position of the signal strength.
        mu: Its value.
        data: Events and auxiliary data, those of the model by default.
    """
    data = model.data if data is None else data
    held, start = model.fixed.at[poi].set(True), model.init.at[poi].set(mu)
    fixed = jax.lax.stop_gradient((model, data, start))
    fit = fit_from(fixed[0], fixed[1], held, fixed[2][None])
    parameters = attached(model, data, held, start, fit.parameters)
    stays = held | at_bounds(model, jax.lax.stop_gradient(fit.parameters))
    hessian = model.expand(parameters, data).hessian
    matrix = free_block(hessian, stays)
    # Normal constraints are densities: each brings -ln(width) - ln(2 pi)/2.
    densities = jnp.where(model.normal & ~stays, jnp.log(model.width) + 0.5 * LN_TWO_PI, 0.0)
    twice_nll = model.twice_nll(parameters, data)
    free = jnp.sum(~stays)
    value = _laplace(twice_nll, matrix, free) - jnp.sum(densities)
    good = fit.certificate <= CERTIFIED
    return MarginalFit(
        jnp.where(good, value, jnp.nan), parameters, free, _status(value, fit.status)
    )


def laplace_log_marginal(
    model: AbstractStatModel, mu: Scalar, signal: Float[Array, " region"]
) -> MarginalFit:
    """Likelihood of mu and a signal, its logarithm, standardised nuisances integrated over.

    An empty region whose rate is fitted to zero ends the domain there: its Gaussian is cut, and
    the approximation off by up to ln 2 for each.

    Args:
        model: With nuisances of a Gaussian constraint of width one; not a network or a
            limit, which have none left.
        mu: Signal strength.
        signal: Events at mu = 1.

    Raises:
        TypeError: the model has profiled its nuisances already.
    """
    if isinstance(model, AbstractFixedDataModel):
        raise TypeError(
            f"{type(model).__name__} answers profiled likelihoods only, wanted a model with "
            "nuisances to integrate over: use its full statistical model"
        )
    fit = profile(model, mu, signal)
    count = fit.nuisances.shape[0]
    hessian = 0.5 * jax.hessian(model.twice_nll, argnums=2)(mu, signal, fit.nuisances)
    free = jnp.asarray(count)
    value = _laplace(fit.twice_nll, hessian, free) - 0.5 * count * LN_TWO_PI
    return MarginalFit(value, fit.nuisances, free, _status(value, fit.status))


def _laplace(
    twice_nll: Scalar, hessian: Float[Array, "parameter parameter"], free: Int[Array, ""]
) -> Scalar:
    return -0.5 * twice_nll + 0.5 * free * LN_TWO_PI - 0.5 * log_determinant(hessian)


def _status(value: Scalar, fit: Status) -> Status:
    return Status.where(jnp.isfinite(value), fit, Status.not_finite)
