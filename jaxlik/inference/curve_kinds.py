"""The curves of counting experiments, simplified likelihoods and workspaces."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.inference.curves import ASIMOV, DATA, EXPECTED, OBSERVED, Curves, Heights
from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_limits import bounded_below
from jaxlik.inference.workspace_profile import WorkspaceFit, asimov_data, fit_parameters
from jaxlik.statmodels import poisson
from jaxlik.statmodels.bank import StatModelBank
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, background_data, with_signal
from jaxlik.typing import Array, Float


class CountingCurves(Curves):
    """One signal region.

    Args:
        signal: Events at mu = 1.
        observed: Events.
        background: Expected.
        background_error: Its uncertainty.
    """

    num_regions = 1

    def __init__(self, signal: float, observed: float, background: float, background_error: float):
        self.signal = signal
        self.background, self.background_error = background, background_error
        data = np.array([observed, background])
        asimov = np.asarray(poisson.asimov_observed(data, background, background_error))
        self.counts = np.stack([data, asimov], axis=1)
        spread = np.sqrt(max(background, 1.0) + background_error**2)
        self.scale = float(spread / signal) if signal > 0 else np.inf

    def at(self, mu: Float[np.ndarray, "dataset kind"]) -> Heights:
        """In closed form."""
        value, slope = _counting(
            mu, self.signal, self.counts, self.background, self.background_error
        )
        safe = self.signal if self.signal > 0 else 1.0
        gradient = mu * np.asarray(slope) / safe
        return Heights(np.asarray(value), np.asarray(slope), gradient[:, :, None])

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """`poisson.nll_constant` of both data."""
        return np.asarray(poisson.nll_constant(self.counts[:, DATA], self.background_error))


@jax.jit
def _counting(
    mu: Float[Array, "dataset kind"],
    signal: Float[Array, ""],
    counts: Float[Array, "dataset kind"],
    background: Float[Array, ""],
    background_error: Float[Array, ""],
) -> tuple[Float[Array, "dataset kind"], Float[Array, "dataset kind"]]:
    arguments = (mu, signal, counts, background, background_error)
    return poisson.profiled_twice_nll(*arguments), poisson.profiled_slope(*arguments)


class FourfoldBank:
    """A simplified likelihood on its four data sets, ready for any signal.

    Args:
        bank: Holds the likelihood.
        model: Its position.
        constants: What half the deviance lacks to -ln L, on observed and expected data.
    """

    def __init__(self, bank: StatModelBank, model: int, constants: Float[np.ndarray, " dataset"]):
        four = bank.take(jnp.full(4, model))
        observed, background = four.models.observed, four.models.background
        first = four.with_observed(
            jnp.stack([observed[0], observed[0], background[0], background[0]])
        )
        fitted = first.with_asimov().models.observed
        columns = jnp.stack([observed[0], fitted[1], background[0], fitted[3]])
        self.bank = first.with_observed(columns).prepared()
        self.num_regions = int(np.sum(np.asarray(bank.region_mask[model])))
        self.constants = constants
        mask = np.asarray(bank.region_mask[model])
        models = bank.models
        variance = np.diagonal(np.asarray(models.covariance[model])) + np.asarray(
            models.background[model]
        )
        self.spread = np.where(mask, np.sqrt(np.maximum(variance, 1.0)), np.inf)


class BankCurves(Curves):
    """A simplified likelihood with a signal.

    Args:
        four: The likelihood.
        signal: Events at mu = 1, in the order of its regions.
    """

    def __init__(self, four: FourfoldBank, signal: Float[np.ndarray, " region"]):
        self.four = four
        self.num_regions = four.num_regions
        width = four.bank.region_index.shape[1]
        self.signal = np.zeros(width)
        self.signal[: self.num_regions] = signal
        weight = np.sum((self.signal / four.spread) ** 2)
        self.scale = float(weight**-0.5) if weight > 0 else np.inf

    def at(self, mu: Float[np.ndarray, "dataset kind"]) -> Heights:
        """One profile of each data set."""
        value, pulls = _bank_heights(self.four.bank, self.signal, mu.reshape(-1))
        pulls = np.asarray(pulls)
        slope = 2 * pulls @ self.signal
        gradient = 2 * mu.reshape(-1, 1) * pulls[:, : self.num_regions]
        shape = (2, 2)
        return Heights(
            np.asarray(value).reshape(shape),
            slope.reshape(shape),
            gradient.reshape(*shape, self.num_regions),
        )

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """With the normalisation of the constraints."""
        return self.four.constants


@jax.jit
def _bank_heights(
    bank: StatModelBank, signal: Float[Array, " region"], mu: Float[Array, " four"]
) -> tuple[Float[Array, " four"], Float[Array, "four region"]]:
    fit = bank.profile(jnp.ones(1), mu[:, None] * signal[None], rescue=True)
    return fit.twice_nll[0], fit.pulls[0]


class WorkspaceCurves(Curves):
    """A HistFactory workspace with a signal.

    Args:
        model: Packed workspace, without signal.
        where: Where signals enter.
        poi: Position of the parameter of interest.
        signal: Events at mu = 1 in each signal region.

    Raises:
        ConvergenceError: from any method, where a fit is not certified.
    """

    def __init__(
        self,
        model: HistFactory,
        where: SignalInput,
        poi: int,
        signal: Float[np.ndarray, " region"],
    ):
        self.num_regions = len(signal)
        self.where, self.poi = where, poi
        self.signal = jnp.asarray(signal)
        self.model = bounded_below(with_signal(model, where, self.signal), poi)
        self.held = self.model.fixed.at[poi].set(True)
        data = [self.model.data, background_data(self.model, where)]
        self.several_minima = True
        null = [self._fit(one, 0.0, self.model.init) for one in data]
        self.several_minima = bool(np.isfinite(min(float(fit.next_lowest) for fit in null)))
        self.data = [
            [one, asimov_data(self.model, fit.parameters)]
            for one, fit in zip(data, null, strict=True)
        ]
        self._fits = [[[fit], [fit]] for fit in null]
        curvature = float(null[EXPECTED].hessian[poi, poi])
        self.scale = curvature**-0.5 if np.any(signal > 0) and curvature > 0 else np.inf
        self._constants = np.array([
            -float(self.model.log_density(fit.parameters, one)) - 0.5 * float(fit.twice_nll)
            for one, fit in zip(data, null, strict=True)
        ])  # fmt: skip

    def _fit(self, data: Data, mu: float, near: Float[Array, " parameter"]) -> WorkspaceFit:
        start = near.at[self.poi].set(mu)
        found = fit_parameters(self.model, data, self.held, start, thorough=self.several_minima)
        return certified(found, f"at mu = {mu:g}")

    def at(self, mu: Float[np.ndarray, "dataset kind"]) -> Heights:
        """One certified fit of each data set, from the nearest before."""
        value, slope = np.zeros((2, 2)), np.zeros((2, 2))
        gradient = np.zeros((2, 2, self.num_regions))
        for dataset in (OBSERVED, EXPECTED):
            for kind in (DATA, ASIMOV):
                here, known = float(mu[dataset, kind]), self._fits[dataset][kind]
                near = min(known, key=lambda f: abs(float(f.parameters[self.poi]) - here))
                data = self.data[dataset][kind]
                fit = self._fit(data, here, near.parameters)
                known.append(fit)
                value[dataset, kind] = float(fit.twice_nll)
                slope[dataset, kind] = float(fit.slope[self.poi])
                gradient[dataset, kind] = np.asarray(
                    _by_signal(self.model, self.where, self.signal, fit.parameters, data)
                )
        return Heights(value, slope, gradient)

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """With those of all constraints, as pyhf counts them."""
        return self._constants


@jax.jit
def _by_signal(
    model: HistFactory,
    where: SignalInput,
    signal: Float[Array, " region"],
    parameters: Float[Array, " parameter"],
    data: Data,
) -> Float[Array, " region"]:
    """Derivative of -2 ln L with respect to the signal, at given parameters."""
    return jax.grad(lambda s: with_signal(model, where, s).twice_nll(parameters, data))(signal)
