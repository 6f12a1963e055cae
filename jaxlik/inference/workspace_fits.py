"""Fits, tests and limits of HistFactory workspaces, driven from the host.

Two compiled programs serve every question: a certified fit with some parameters fixed, and the
search for limits. Which parameters are fixed, at which values, on which data are arguments:
nothing compiles when mu, the data, a patch or the workspace (of the same bucket) change.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError, Status
from jaxlik.inference.asymptotics import log_cls, log_expected_cls
from jaxlik.inference.workspace_limits import (
    LARGEST_MU,
    ReferenceFits,
    bounded_below,
    find_limits,
    has_several_minima,
)
from jaxlik.inference.workspace_profile import (
    CERTIFIED,
    WorkspaceFit,
    asimov_data,
    fit_parameters,
)
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Float, Scalar


class MuTest(NamedTuple):
    """Asymptotic test of one mu.

    Attributes:
        mu: Tested.
        statistic: q~_mu on the data.
        statistic_asimov: On Asimov data of the background fitted at mu = 0.
        log_cls: Logarithm of CLs.
        log_band: The same expected at -2, -1, 0, 1, 2 sigma, increasing.
    """

    mu: float
    statistic: float
    statistic_asimov: float
    log_cls: float
    log_band: np.ndarray


class WorkspaceAnalysis:
    """Everything asked of one workspace and one parameter of interest.

    Attributes:
        model: The packed workspace.
        poi: Position of the parameter of interest.
        best: Fit with mu free, not below zero.
        null: Fit at mu = 0.
        asimov: Background-only Asimov data, from `null`.
        several_minima: Whether fits must look for the lowest of several minima.

    Raises:
        ConvergenceError: from any method, where a fit is not certified.
    """

    def __init__(self, model: HistFactory, poi: int, data: Data | None = None):
        self.model = bounded_below(model, poi)
        self.poi = poi
        self.data = model.data if data is None else data
        self.several_minima = True
        self.null = self._fit(self.data, 0.0, self.model.init)
        self.best = self._best()
        self.asimov = asimov_data(self.model, self.null.parameters)
        self._reference = ReferenceFits(self.null, self.best, self.asimov)
        self.several_minima = bool(has_several_minima(self._reference))
        self._last: dict[str, list[WorkspaceFit]] = {"data": [self.null], "asimov": []}

    def _best(self) -> WorkspaceFit:
        """Free fit; from the null fit as well as from the default start."""
        # At zero a product of two parameters may have no slope.
        near = self.null.parameters.at[self.poi].set(0.1)
        free = self.model.fixed.at[self.poi].set(False)
        found = fit_parameters(self.model, self.data, free, near, thorough=True)
        return certified(found, "with free mu")

    def _fit(self, data: Data, mu: float, near: Float[Array, " parameter"]) -> WorkspaceFit:
        """Fit at one mu, from a neighbour or else from the default start."""
        held = self.model.fixed.at[self.poi].set(True)
        start = near.at[self.poi].set(mu)
        found = fit_parameters(self.model, data, held, start, thorough=self.several_minima)
        return certified(found, f"at mu = {mu:g}")

    def test(self, mu: float) -> MuTest:
        """q~_mu, CLs and its band at one mu."""
        statistic = self.statistic(self.fit_at(mu), mu)
        expected = self._fit(self.asimov, mu, self._nearest("asimov", mu))
        self._last["asimov"].append(expected)
        statistic_asimov = max(float(expected.twice_nll), 0.0)
        observed, band = _log_p(statistic, statistic_asimov)
        return MuTest(
            mu,
            statistic,
            statistic_asimov,
            float(observed),
            np.asarray(band),
        )

    def statistic(self, fit: WorkspaceFit, mu: float) -> float:
        """q~_mu on the data, from the fit at this mu."""
        above = mu >= float(self.best.parameters[self.poi])
        return max(float(fit.twice_nll - self.best.twice_nll), 0.0) if above else 0.0

    def fit_at(self, mu: float) -> WorkspaceFit:
        """Fit to the data at one mu."""
        found = self._fit(self.data, mu, self._nearest("data", mu))
        self._last["data"].append(found)
        return found

    def _nearest(self, key: str, mu: float) -> Float[Array, " parameter"]:
        places = [fit.parameters for fit in self._last[key] or [self.null]]
        return min(places, key=lambda place: abs(float(place[self.poi]) - mu))

    def upper_limits(self, level: float = 0.95) -> tuple[float, np.ndarray]:
        """Observed limit on mu, and the expected ones at -2 ... 2 sigma, increasing.

        Raises:
            ConvergenceError: CLs never falls to the target, or a root is not one.
        """
        poi, wanted = jnp.asarray(self.poi), jnp.asarray(level, jnp.float64)
        found, _ = find_limits(self.model, poi, self.data, self._reference, wanted)
        if bool(found.status == Status.no_bracket):
            raise ConvergenceError(
                f"CLs stays above {1 - level:.3g} up to mu = {LARGEST_MU:g}; the workspace does "
                "not constrain the signal"
            )
        if not bool(found.status == Status.success):
            raise ConvergenceError(
                f"limits near mu = {float(found.observed):g}: off their targets by up to "
                f"{float(found.miss):.1e}, projected gradient {float(found.certificate):.1e}, "
                f"wanted below {CERTIFIED:g}; scale the signal so that mu is near one"
            )
        return float(found.observed), np.asarray(found.expected)


@jax.jit
def _log_p(statistic: Scalar, statistic_asimov: Scalar) -> tuple[Scalar, Float[Array, " band"]]:
    return log_cls(statistic, statistic_asimov), log_expected_cls(statistic_asimov)


def certified(fit: WorkspaceFit, which: str) -> WorkspaceFit:
    """The fit, or an error where it is none: nothing is made of an unfinished one."""
    if not float(fit.certificate) <= CERTIFIED:
        raise ConvergenceError(
            f"fit {which}: projected gradient {float(fit.certificate):.1e} after "
            f"{int(fit.num_steps)} steps, wanted below {CERTIFIED:g}; scale the signal so that "
            "mu is near one"
        )
    return fit
