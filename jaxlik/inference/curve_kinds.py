"""The curves of counting experiments, simplified likelihoods and workspaces."""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, xlogy

from jaxlik.errors import ConvergenceError
from jaxlik.inference.curves import ASIMOV, DATA, EXPECTED, OBSERVED, Curves, Heights
from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_limits import bounded_below
from jaxlik.inference.workspace_profile import WorkspaceFit, asimov_data, fit_from
from jaxlik.statmodels.bank import StatModelBank
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, background_data, with_signal
from jaxlik.typing import Array, Bool, Float, Int

LARGEST_RESIDUAL = 1e-5
"""Of the conditions of a simplified likelihood's optimum, in natural units."""


class CountingCurves(Curves):
    """One signal region, in closed form (`jaxlik.statmodels.poisson`, here on the host).

    Args:
        signal: Events at mu = 1.
        observed: Events.
        background: Expected.
        background_error: Its uncertainty.
    """

    num_regions = 1

    def __init__(self, signal: float, observed: float, background: float, background_error: float):
        self.signal, self.background = signal, background
        self.variance = background_error**2
        data = np.array([observed, background])
        self.counts = np.stack([data, data], axis=1)
        self.counts[:, ASIMOV] = (background + self._shift(np.zeros((2, 2))))[:, DATA]
        spread = np.sqrt(max(background, 1.0) + self.variance)
        self.scale = float(spread / signal) if signal > 0 else np.inf

    def _shift(self, mu: Float[np.ndarray, "dataset kind"]) -> Float[np.ndarray, "dataset kind"]:
        """The best shift of the background: the larger root of the rate, without cancellation."""
        mean, counts, variance = mu * self.signal + self.background, self.counts, self.variance
        half = 0.5 * (mean - variance)
        root = np.sqrt(half**2 + variance * counts)
        low = half < 0
        rate = np.where(low, variance * counts / np.where(low, root - half, 1.0), half + root)
        return rate - mean

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """Deviance, and the excess 1 - n/lambda that all slopes are made of."""
        counts, variance = self.counts, self.variance
        shift = self._shift(mu)
        rate = np.maximum(mu * self.signal + self.background + shift, 0.0)
        full = (rate > 0) & (counts > 0)
        ratio = np.where(full, counts, 1.0) / np.where(full, rate, 1.0)
        constraint = shift**2 / variance if variance > 0 else 0.0
        value = 2 * (rate - counts + counts * np.log(ratio)) + constraint
        # At a rate of zero the nuisance, which cannot move, pulls instead.
        wall = -shift / variance if variance > 0 else 1.0
        excess = np.where(full, 1 - ratio, np.where(rate > 0, 1.0, wall))
        return Heights(value, 2 * self.signal * excess, (2 * mu * excess)[:, :, None])

    def best(self) -> tuple[Float[np.ndarray, " dataset"], Float[np.ndarray, " dataset"]]:
        """(n - b)/s, not below zero."""
        data = self.counts[:, DATA]
        safe = self.signal if self.signal > 0 else 1.0
        mu_hat = np.maximum(data - self.background, 0.0) / safe if self.signal > 0 else 0 * data
        return mu_hat, self.at(np.stack([mu_hat, mu_hat], axis=1)).value[:, DATA]

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """Those of the Poisson and of the Gaussian, as `poisson.nll_constant`."""
        counts = self.counts[:, DATA]
        poisson = gammaln(counts + 1) + counts - xlogy(counts, counts)
        return poisson + (0.5 * np.log(2 * np.pi * self.variance) if self.variance > 0 else 0.0)


class FourfoldBank:
    """A simplified likelihood on its four data sets, ready for any signal.

    Args:
        bank: Holds the likelihood.
        model: Its position.
        constants: What half the deviance lacks to -ln L, on observed and expected data.
    """

    def __init__(self, bank: StatModelBank, model: int, constants: Float[np.ndarray, " dataset"]):
        self.bank = _fourfold(bank, jnp.asarray(model))
        self.num_regions = int(np.sum(np.asarray(bank.region_mask[model])))
        self.constants = constants
        mask = np.asarray(bank.region_mask[model])
        models = bank.models
        variance = np.diagonal(np.asarray(models.covariance[model])) + np.asarray(
            models.background[model]
        )
        self.spread = np.where(mask, np.sqrt(np.maximum(variance, 1.0)), np.inf)


@eqx.filter_jit
def _fourfold(bank: StatModelBank, model: Int[Array, ""]) -> StatModelBank:
    """One model on observed data, their Asimov data, expected data, their Asimov data."""
    four = bank.take(jnp.full(4, model))
    observed, background = four.models.observed[0], four.models.background[0]
    data = four.with_observed(jnp.stack([observed, observed, background, background]))
    fitted = data.with_asimov().models.observed
    return data.with_observed(jnp.stack([observed, fitted[1], background, fitted[3]])).prepared()


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
        self.signals = np.broadcast_to(self.signal, (4, width))
        weight = np.sum((self.signal / four.spread) ** 2)
        self.scale = float(weight**-0.5) if weight > 0 else np.inf

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """One profile of each data set."""
        value, pulls = self._heights(mu.reshape(-1))
        slope = 2 * pulls @ self.signal
        gradient = 2 * mu.reshape(-1, 1) * pulls[:, : self.num_regions]
        shape = (2, 2)
        return Heights(
            value.reshape(shape),
            slope.reshape(shape),
            gradient.reshape(*shape, self.num_regions),
        )

    def _heights(
        self, mu: Float[np.ndarray, " four"]
    ) -> tuple[Float[np.ndarray, " four"], Float[np.ndarray, "four region"]]:
        """-2 ln L and 1 - n/lambda of all regions, each data set at its own mu."""
        value, pulls, residual = _bank_heights(self.four.bank, self.signals, mu)
        worst = float(np.max(residual))
        if not worst <= LARGEST_RESIDUAL:
            raise ConvergenceError(
                f"profile of a simplified likelihood at mu = {mu}: conditions of the optimum "
                f"violated by {worst:.1e}, wanted below {LARGEST_RESIDUAL:g}; scale the signal so "
                "that mu is near one"
            )
        return np.asarray(value), np.asarray(pulls)

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """With the normalisation of the constraints."""
        return self.four.constants


@jax.jit
def _bank_heights(
    bank: StatModelBank, signals: Float[Array, "four region"], mu: Float[Array, " four"]
) -> tuple[Float[Array, " four"], Float[Array, "four region"], Float[Array, " four"]]:
    fit = bank.profile(jnp.ones(1), mu[:, None] * signals, rescue=True)
    return fit.twice_nll[0], fit.pulls[0], fit.residual


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
        self.model = _prepared(model, where, self.signal, poi)
        data = [self.model.data, _background(self.model, where)]
        self.several_minima = True
        null = [self._fit(one, 0.0, self.model.init) for one in data]
        self.several_minima = bool(np.isfinite(min(float(p.fit.next_lowest) for p in null)))
        self.data = [
            [one, asimov_data(self.model, place.fit.parameters)]
            for one, place in zip(data, null, strict=True)
        ]
        # Asimov data have a minimum of zero at mu = 0, but another slope there.
        self._places = [
            [{0.0: place}, {0.0: self._fit(fourth[ASIMOV], 0.0, place.fit.parameters)}]
            for place, fourth in zip(null, self.data, strict=True)
        ]
        curvature = float(null[EXPECTED].fit.hessian[poi, poi])
        self.scale = curvature**-0.5 if np.any(signal > 0) and curvature > 0 else np.inf
        self._constants = np.array([
            -float(_log_density(self.model, place.fit.parameters, one)) - 0.5 * place.value
            for one, place in zip(data, null, strict=True)
        ])  # fmt: skip

    def _fit(self, data: Data, mu: float, near: Float[Array, " parameter"]) -> "_Place":
        found, by_signal = _fit_at(
            self.model, data, self.where, self.signal, self.poi, near, mu, self.several_minima
        )
        fit = certified(found, f"at mu = {mu:g}")
        return _Place(
            fit,
            float(fit.twice_nll),
            float(np.asarray(fit.slope)[self.poi]),
            np.asarray(by_signal),
        )

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """One certified fit of each data set, from the nearest before."""
        value, slope = np.zeros((2, 2)), np.zeros((2, 2))
        gradient = np.zeros((2, 2, self.num_regions))
        for dataset, kind in itertools.product((OBSERVED, EXPECTED), (DATA, ASIMOV)):
            if wanted is None or wanted[dataset, kind]:
                place = self._at(dataset, kind, float(mu[dataset, kind]))
                value[dataset, kind] = place.value
                slope[dataset, kind] = place.slope
                gradient[dataset, kind] = place.gradient
        return Heights(value, slope, gradient)

    def _at(self, dataset: int, kind: int, mu: float) -> "_Place":
        """The fit at one mu, from the nearest one there is."""
        known = self._places[dataset][kind]
        if mu not in known:
            near = min(known, key=lambda place: abs(place - mu))
            known[mu] = self._fit(self.data[dataset][kind], mu, known[near].fit.parameters)
        return known[mu]

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """With those of all constraints, as pyhf counts them."""
        return self._constants


@jax.jit
def _prepared(
    model: HistFactory, where: SignalInput, signal: Float[Array, " region"], poi: Int[Array, ""]
) -> HistFactory:
    return bounded_below(with_signal(model, where, signal), poi)


_background = jax.jit(background_data)


@jax.jit
def _log_density(model: HistFactory, parameters: Float[Array, " parameter"], data: Data) -> Array:
    return model.log_density(parameters, data)


class _Place(NamedTuple):
    """A fit at one mu."""

    fit: WorkspaceFit
    value: float
    slope: float
    gradient: np.ndarray


@jax.jit
def _fit_at(
    model: HistFactory,
    data: Data,
    where: SignalInput,
    signal: Float[Array, " region"],
    poi: Int[Array, ""],
    near: Float[Array, " parameter"],
    mu: Float[Array, ""],
    thorough: Bool[Array, ""],
) -> tuple[WorkspaceFit, Float[Array, " region"]]:
    """Fit at one mu, and derivatives of -2 ln L there with respect to the signal."""
    held = model.fixed.at[poi].set(True)
    starts = jnp.stack([near, jnp.where(held, near, model.init)]).at[:, poi].set(mu)
    fit = fit_from(model, data, held, starts, thorough)
    by_signal = jax.grad(lambda s: with_signal(model, where, s).twice_nll(fit.parameters, data))
    return fit, by_signal(signal)
