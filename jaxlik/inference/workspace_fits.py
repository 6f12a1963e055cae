"""Fits, tests and limits of HistFactory workspaces, driven from the host.

One compiled program, a certified fit with some parameters fixed, serves every question:
which parameters are fixed, at which values, on which data are arguments. Nothing compiles
when mu, the data, a patch or the workspace (of the same bucket) change.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError, Status
from jaxlik.inference.asymptotics import log_cls, log_expected_cls
from jaxlik.inference.bounded import minimise_bounded
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.linear import inverse
from jaxlik.typing import Array, Bool, Float, Scalar

FIRST_MU, GROWTH = 0.02, 1.4
"""Where the search for a limit begins, and how it goes on: always upward from small mu."""

CERTIFIED = 1e-6
"""Largest component of the projected gradient of -ln L that a fit may leave."""

ROOT_TOLERANCE = 1e-9
"""Of ln CLs at a limit."""


class WorkspaceFit(NamedTuple):
    """Parameters at the minimum of -2 ln L.

    Attributes:
        parameters: On the padded axis.
        twice_nll: Deviance form.
        slope: Of twice_nll in every parameter; zero where it is free.
        certificate: Largest component of the projected gradient of -ln L.
        num_steps: Newton steps.
        status: Why the numbers should not be used, if so.
    """

    parameters: Float[Array, " parameter"]
    twice_nll: Scalar
    slope: Float[Array, " parameter"]
    certificate: Scalar
    num_steps: Array
    status: Status


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


@eqx.filter_jit
def fit_parameters(
    model: HistFactory,
    data: Data,
    fixed: Bool[Array | np.ndarray, " parameter"],
    start: Float[Array | np.ndarray, " parameter"],
) -> WorkspaceFit:
    """The parameters that describe data best, those that are fixed staying at the start.

    Args:
        model: The packed workspace; its bounds hold for all parameters that are not fixed.
        data: Events and auxiliary data.
        fixed: Parameters that stay at the start.
        start: Where to begin.

    Returns:
        The minimum; to be used only where its status is a success.
    """
    fixed, start = jnp.asarray(fixed), jnp.asarray(start)
    found = minimise_bounded(
        lambda parameters: model.expand(parameters, data),
        start,
        model.lower,
        model.upper,
        fixed,
        model.scale,
    )
    return WorkspaceFit(
        found.position,
        2 * found.value,
        2 * found.gradient,
        found.certificate,
        found.num_steps,
        found.status,
    )


@eqx.filter_jit
def asimov_data(model: HistFactory, parameters: Float[Array, " parameter"]) -> Data:
    """Data, auxiliary ones included, that equal their expectation."""
    centre = jnp.where(model.poisson, model.width * parameters, parameters)
    return Data(model.expected(parameters), jnp.where(model.normal | model.poisson, centre, 0.0))


@eqx.filter_jit
def covariance(
    model: HistFactory, fit: WorkspaceFit, data: Data | None = None
) -> Float[Array, "parameter parameter"]:
    """Inverse of the Hessian of -ln L over the parameters that are free to move.

    Zero for fixed parameters and for those a bound holds.
    """
    position = fit.parameters
    held = model.fixed | (position <= model.lower) | (position >= model.upper)
    both = held[:, None] | held[None, :]
    hessian = jnp.where(both, 0.0, model.expand(position, data).hessian)
    inverted = inverse(hessian + jnp.diag(jnp.where(held, 1.0, 0.0)))
    return jnp.where(both, 0.0, inverted)


class WorkspaceAnalysis:
    """Everything asked of one workspace and one parameter of interest.

    Attributes:
        model: The packed workspace.
        poi: Position of the parameter of interest.
        best: Fit with mu free, not below zero.
        null: Fit at mu = 0.
        asimov: Background-only Asimov data, from `null`.

    Raises:
        ConvergenceError: from any method, where a fit is not certified.
    """

    def __init__(self, model: HistFactory, poi: int, data: Data | None = None):
        lower, upper = np.array(model.lower), np.array(model.upper)
        lower[poi], upper[poi] = max(lower[poi], 0.0), np.inf
        self.model = eqx.tree_at(
            lambda m: (m.lower, m.upper), model, (jnp.asarray(lower), jnp.asarray(upper))
        )
        self.poi = poi
        self.data = model.data if data is None else data
        self._init = np.array(model.init)
        self._held, self._free = np.array(model.fixed), np.array(model.fixed)
        self._held[poi], self._free[poi] = True, False
        self.null = self._fit(self.data, 0.0, None)
        self.best = self._best()
        self.asimov = asimov_data(self.model, self.null.parameters)
        self._last: dict[str, list[WorkspaceFit]] = {"data": [self.null], "asimov": []}

    def _best(self) -> WorkspaceFit:
        """Free fit; from the null fit as well as from the default start."""
        near = np.array(self.null.parameters)
        # At zero a product of two parameters may have no slope.
        near[self.poi] = 0.1
        starts = (near, self._init)
        fits = [fit_parameters(self.model, self.data, self._free, s) for s in starts]
        return _certified(_lowest(fits), "with free mu")

    def _fit(self, data: Data, mu: float, near: np.ndarray | None) -> WorkspaceFit:
        """Fit at one mu, from a neighbour or else from the default start."""
        start = np.array(self._init if near is None else near)
        start[self.poi] = mu
        found = fit_parameters(self.model, data, self._held, start)
        if near is not None and not _converged(found):
            again = np.array(self._init)
            again[self.poi] = mu
            found = _lowest([found, fit_parameters(self.model, data, self._held, again)])
        return _certified(found, f"at mu = {mu:g}")

    def test(self, mu: float) -> MuTest:
        """q~_mu, CLs and its band at one mu."""
        near = self.fit_at(mu)
        expected = self._fit(self.asimov, mu, self._nearest("asimov", mu))
        self._last["asimov"].append(expected)
        above = mu >= np.asarray(self.best.parameters)[self.poi]
        statistic = max(float(near.twice_nll - self.best.twice_nll), 0.0) if above else 0.0
        statistic_asimov = max(float(expected.twice_nll), 0.0)
        observed, band = _log_p(statistic, statistic_asimov)
        return MuTest(
            mu,
            statistic,
            statistic_asimov,
            float(observed),
            np.asarray(band),
        )

    def fit_at(self, mu: float) -> WorkspaceFit:
        """Fit to the data at one mu."""
        found = self._fit(self.data, mu, self._nearest("data", mu))
        self._last["data"].append(found)
        return found

    def _nearest(self, key: str, mu: float) -> np.ndarray:
        places = [np.asarray(fit.parameters) for fit in self._last[key] or [self.null]]
        return min(places, key=lambda place: abs(place[self.poi] - mu))

    def upper_limits(self, level: float = 0.95) -> tuple[float, np.ndarray]:
        """Observed limit on mu, and the expected ones at -2 ... 2 sigma, increasing.

        Raises:
            ConvergenceError: CLs never falls to the target, or a root is not one.
        """
        target = math.log1p(-level)
        tests = [self.test(FIRST_MU)]
        while max(tests[-1].log_cls, float(tests[-1].log_band[-1])) > target:
            if tests[-1].mu > 1e9:
                raise ConvergenceError(
                    f"CLs is {math.exp(tests[-1].log_cls):.3g} at mu = {tests[-1].mu:.3g}, "
                    f"wanted {1 - level:.3g}; the workspace does not constrain the signal"
                )
            tests.append(self.test(_next_mu(tests[-1], target)))
        observed = self._root(tests, lambda t: t.log_cls, target)
        band = [self._root(tests, lambda t, k=k: float(t.log_band[k]), target) for k in range(5)]
        return observed, np.array(band)

    def _root(self, tests: list[MuTest], value: Callable[[MuTest], float], target: float) -> float:
        """Where a falling function of mu meets the target; every test made is kept."""
        mu, off = math.nan, math.inf
        for _ in range(60):
            tests.sort(key=lambda t: t.mu)
            over = [t for t in tests if value(t) > target]
            under = [t for t in tests if value(t) <= target]
            low = over[-1] if over else None
            high = next((t for t in under if low is None or t.mu > low.mu), None)
            if low is None or high is None:
                mu = 0.5 * tests[0].mu if low is None else GROWTH * tests[-1].mu
                tests.append(self.test(mu))
                continue
            mu = _secant(tests, value, target, low, high)
            new = self.test(mu)
            tests.append(new)
            off = value(new) - target
            if abs(off) < ROOT_TOLERANCE or high.mu - low.mu < 1e-13 * high.mu:
                break
        if not abs(off) <= 1e-6:
            raise ConvergenceError(f"limit near mu = {mu:g}: ln CLs is off its target by {off:.1e}")
        return mu


def _secant(
    tests: list[MuTest], value: Callable[[MuTest], float], target: float, low: MuTest, high: MuTest
) -> float:
    """Inverse interpolation through the points nearest in value, kept inside the bracket."""
    near = sorted(tests, key=lambda t: abs(value(t) - target))[:3]
    x, y = np.array([t.mu for t in near]), np.array([value(t) - target for t in near])
    mu = math.nan
    if len(near) == 3 and len(set(y)) == 3:
        weights = [np.prod([y[j] / (y[j] - y[i]) for j in range(3) if j != i]) for i in range(3)]
        mu = float(np.dot(weights, x))
    if not low.mu < mu < high.mu:
        a, b = value(low) - target, value(high) - target
        mu = low.mu + (high.mu - low.mu) * a / (a - b)
    if not low.mu < mu < high.mu:
        mu = 0.5 * (low.mu + high.mu)
    return mu


def _next_mu(test: MuTest, target: float) -> float:
    """Upward by at least the growth factor; faster while CLs is far from the target."""
    far = test.log_cls > 0.1 * target and test.statistic_asimov < 0.1
    return test.mu * (4.0 if far else GROWTH)


@jax.jit
def _log_p(statistic: Scalar, statistic_asimov: Scalar) -> tuple[Scalar, Float[Array, " band"]]:
    return log_cls(statistic, statistic_asimov), log_expected_cls(statistic_asimov)


def _converged(fit: WorkspaceFit) -> bool:
    return bool(np.asarray(fit.certificate) <= CERTIFIED)


def _certified(fit: WorkspaceFit, which: str) -> WorkspaceFit:
    """The fit, or an error where it is none: nothing is made of an unfinished one."""
    if not _converged(fit):
        raise ConvergenceError(
            f"fit {which}: projected gradient {float(fit.certificate):.1e} after "
            f"{int(fit.num_steps)} steps, wanted below {CERTIFIED:g}; scale the signal so that "
            "mu is near one"
        )
    return fit


def _lowest(fits: list[WorkspaceFit]) -> WorkspaceFit:
    """The lowest certified fit; the lowest of all if none is."""
    good = [f for f in fits if _converged(f)]
    return min(good or fits, key=lambda f: float(f.twice_nll))
