r"""HistFactory models to first order: an approximation with a stated error, for scans.

Around the fit at mu = 0, with rates $\lambda_0$, $r = 1 - n/\lambda_0$ and $J$ the slopes of
the rates in the parameters that are free to move, let $H$ be the Hessian of -ln L and

$$ K = H - J^T \mathrm{diag}(n/\lambda_0^2)\, J, \qquad V = J K^{-1} J^T : $$

what is left of H without the first order of the Poisson terms, that is the constraints, and
the residuals times the curvature of the rates. Then

$$ \lambda = \lambda_0 + V r + \theta + \mu s, \qquad \theta \sim N(0, V), \qquad
   s = d\lambda/d\mu\,|_0 $$

is a simplified likelihood of all bins, control regions included. Its fit at mu = 0 is the one
it was made from (theta = -V r), and so are the slope and the curvature in mu of its profile,
as far as signals do not depend on nuisances and K is positive. A parameter that a bound holds
stays there.

**Free parameters** have no constraint, and K has no inverse. The eigenvalues of
$H^{-1/2} K H^{-1/2}$ say which part of the fit's information on a direction is not from
counts: 1 where counts say nothing, 0 for free normalisations, below zero where curved rates
overrule the constraints. They are kept above `LEAST_SHARE`, which leaves free directions a
prior a thousand times wider than the fit's own uncertainty, in any coordinates.

**Asimov data** of the fitted background move the constraints along in HistFactory (r = 0 and
H another one), which a `SimplifiedLikelihood` with other data does not: their likelihood is
one of its own.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, with_signal
from jaxlik.statmodels.simplified import SimplifiedLikelihood, simplified_likelihood
from jaxlik.typing import Array, Bool, Float, Int, Scalar

LEAST_SHARE = 1e-6
"""Of the information on a direction that does not come from counts."""

FLAT = 1e-13
"""Directions on which the fit has less information than this, relative, are left out."""


class LinearisationError(NamedTuple):
    """Distance from the full model: the largest of the signals it was measured with.

    Attributes:
        observed: Of the observed limit, relative.
        expected: Of the expected ones from -2 to 2 sigma, relative.
        twice_nll: Of -2 ln L(mu) + 2 ln L(0) up to the observed limit.
        signals: How many were tried.
        without_limit: How many of them have none in the full model, and do not count.
    """

    observed: Scalar
    expected: Scalar
    twice_nll: Scalar
    signals: Int[Array, ""]
    without_limit: Int[Array, ""]


class LinearisedHistFactory(eqx.Module):
    """Simplified likelihoods in place of a workspace; from `inference.linearisation`.

    Attributes:
        likelihood: Of the data; axis `bin`, control regions included.
        asimov: Of background-only Asimov data, constraints moved along.
        transfer: Events in each bin for one event in each signal region.
        region_ids: Names of the signal regions.
        error: As measured; `None` if it was not.
    """

    likelihood: SimplifiedLikelihood
    asimov: SimplifiedLikelihood
    transfer: Float[Array, "bin region"]
    region_ids: tuple[str, ...] = eqx.field(static=True)
    error: LinearisationError | None = None

    def signal(self, events: Float[Array, " region"]) -> Float[Array, " bin"]:
        """Events at mu = 1 in each bin, from those in each signal region."""
        return self.transfer @ events


class _Slopes(NamedTuple):
    """What a linearisation needs to know of a model at one place."""

    rates: Float[Array, " bin"]
    nominal: Float[Array, " bin"]
    slopes: Float[Array, "bin parameter"]
    transfer: Float[Array, "bin region"]
    hessian: Float[Array, "parameter parameter"]
    hessian_asimov: Float[Array, "parameter parameter"]


def linearised(
    model: HistFactory,
    where: SignalInput,
    poi: int,
    parameters: Float[Array, " parameter"],
    asimov: Data,
    free: Bool[Array, " parameter"],
    region_ids: tuple[str, ...],
) -> LinearisedHistFactory:
    """The first order of a model around its fit at mu = 0; on the host.

    Args:
        model: The packed workspace, with any signal.
        where: Where signals enter.
        poi: Position of the signal strength.
        parameters: Of the fit at mu = 0 to the model's data.
        asimov: Data that the fit expects.
        free: Parameters that move: neither fixed, nor at a bound, nor the signal strength.
        region_ids: Names of the signal regions, in the order of `where`.
    """
    found = _slopes(model, where, jnp.asarray(poi), parameters, asimov, jnp.eye(len(region_ids)))
    real, moves = np.asarray(model.real_bins), np.asarray(free)
    rates, observed = np.asarray(found.rates)[real], np.asarray(model.data.observed)[real]
    slopes = np.asarray(found.slopes)[real][:, moves]
    hessian, resting = (
        np.asarray(h)[np.ix_(moves, moves)] for h in (found.hessian, found.hessian_asimov)
    )
    # An empty bin has no Poisson curvature; its rate may be zero.
    share = np.where(observed > 0, observed / np.where(observed > 0, rates, 1.0), 0.0)
    spread = covariance_of_rates(hessian, slopes, rates, share)
    spread_asimov = covariance_of_rates(resting, slopes, rates, np.where(rates > 0, 1.0, 0.0))
    likelihood = simplified_likelihood(observed, rates + spread @ (1 - share), spread)
    return LinearisedHistFactory(
        eqx.tree_at(lambda m: m.background, likelihood, found.nominal[real]),
        simplified_likelihood(rates, rates, spread_asimov),
        found.transfer[real],
        region_ids,
    )


def covariance_of_rates(
    hessian: Float[np.ndarray, "parameter parameter"],
    slopes: Float[np.ndarray, "bin parameter"],
    rates: Float[np.ndarray, " bin"],
    share: Float[np.ndarray, " bin"],
) -> Float[np.ndarray, "bin bin"]:
    """V as above [events^2].

    Args:
        hessian: Of -ln L at the fit.
        slopes: Of the rates.
        rates: Expected events.
        share: Events over rates, n/lambda.
    """
    if not slopes.shape[1]:
        return np.zeros((len(rates), len(rates)))
    diagonal = np.diagonal(hessian)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian * np.outer(scale, scale))
    known = values > FLAT
    reduced = (slopes * scale) @ (vectors[:, known] / np.sqrt(values[known]))
    root = np.sqrt(share / np.where(rates > 0, rates, 1.0))[:, None] * reduced
    part, directions = np.linalg.eigh(np.eye(reduced.shape[1]) - root.T @ root)
    turned = reduced @ directions
    covariance = (turned / np.maximum(part, LEAST_SHARE)) @ turned.T
    return 0.5 * (covariance + covariance.T)


@eqx.filter_jit
def _slopes(
    model: HistFactory,
    where: SignalInput,
    poi: Int[Array, ""],
    parameters: Float[Array, " parameter"],
    asimov: Data,
    unit: Float[Array, "region region"],
) -> _Slopes:
    """Rates and their derivatives, and the Hessians on data and Asimov data."""
    ahead = jnp.zeros_like(parameters).at[poi].set(1.0)

    def rates_of(signal: Float[Array, " region"]) -> Float[Array, " bin"]:
        return jax.jvp(with_signal(model, where, signal).expected, (parameters,), (ahead,))[1]

    return _Slopes(
        model.expected(parameters),
        model.expected(model.init.at[poi].set(0.0)),
        jax.jacfwd(model.expected)(parameters),
        jax.vmap(rates_of)(unit).T,
        model.expand(parameters).hessian,
        model.expand(parameters, asimov).hessian,
    )
