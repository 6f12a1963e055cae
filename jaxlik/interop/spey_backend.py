"""What spey asks of a backend, answered by certified fits. Importing this module needs spey."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import NonlinearConstraint
from scipy.stats import multivariate_normal, poisson

import jaxlik.interop.spey_inputs as inputs
from jaxlik import __version__
from jaxlik.interop.optional import require
from jaxlik.interop.spey_fits import BinnedFits, Bounds, Fit
from jaxlik.interop.spey_likelihood import BinnedLikelihood
from jaxlik.interop.spey_models import Response, constraint_from, response_at
from jaxlik.precision import enable_x64

logger = logging.getLogger(__name__)

spey = require("spey", extra="spey")
_base = require("spey.base", extra="spey")
BackendBase, ModelConfig = spey.BackendBase, _base.ModelConfig
ExpectationType = spey.ExpectationType

SPEY_VERSIONS = ">=0.2.7,<0.3.0"

SUGGESTED_HIGHEST_MU = 10.0
"""Upper bound of mu that spey's own optimiser gets."""


class Engine(Protocol):
    """What a backend needs of a likelihood besides its fits."""

    @property
    def num_parameters(self) -> int: ...  # noqa: D102
    def prepare(self, data: object) -> np.ndarray: ...  # noqa: D102
    def nll(self, parameters: object, observed: np.ndarray, /) -> float: ...  # noqa: D102
    def nll_and_slopes(  # noqa: D102
        self, parameters: object, observed: np.ndarray, /
    ) -> tuple[float, np.ndarray]: ...
    def curvature(self, parameters: object, observed: np.ndarray, /) -> np.ndarray: ...  # noqa: D102
    def expected(self, parameters: object, *, auxiliary: bool = True) -> np.ndarray: ...  # noqa: D102


class CertifiedBackend(BackendBase):  # type: ignore[reportGeneralTypeIssues]
    """Everything spey asks of a backend, from a likelihood and its fits.

    Attributes:
        engine: The likelihood.
        fit_fn: Its fits, as `jaxlik.interop.spey_fits.BinnedFits.fit`.
        observed: Its data.
        apriori: Nominal background in place of the events.
        poi: Position of mu among the parameters.
        lowest: Smallest mu of fits that allow negative signals.
    """

    name = "jaxlik.base"
    version = __version__
    author = "The jaxlik developers"
    spey_requires = SPEY_VERSIONS

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Switch JAX to double precision, since users of spey need not know of JAX."""
        del args, kwargs
        if not jax.config.read("jax_enable_x64"):
            logger.warning("JAX is switched to 64-bit floats, which likelihoods need")
            enable_x64()
        return super().__new__(cls)

    def __init__(
        self,
        engine: Engine,
        fit_fn: Callable[..., Fit],
        observed: np.ndarray,
        apriori: np.ndarray,
        *,
        poi: int = 0,
        lowest: float = -np.inf,
    ):
        self.engine, self.fit_fn = engine, fit_fn
        self.poi, self.lowest = poi, lowest
        self.observed, self.apriori = engine.prepare(observed), engine.prepare(apriori)
        self._asimov: dict[tuple[bool, bool], np.ndarray] = {}

    def _data(self, expected: Any, data: object = None) -> np.ndarray:
        if data is not None:
            return self.engine.prepare(data)
        return self.apriori if expected == ExpectationType.apriori else self.observed

    def _held(self, poi_test: Any) -> dict[int, float]:
        """Positions and values of fixed parameters; mu alone, or any that a dictionary names."""
        if not isinstance(poi_test, dict):
            return {self.poi: float(np.ravel(poi_test)[0])}
        return self.config().resolve_poi_indices(poi_test)

    def asimov_data(self, expected: Any, test_statistics: str = "qtilde") -> np.ndarray:
        """Expectation of the fit at mu = 0, at mu = 1 for the discovery test ``q0``."""
        key = (expected == ExpectationType.apriori, test_statistics == "q0")
        if key not in self._asimov:
            fit = self.fit_fn(self._data(expected), {self.poi: float(key[1])})
            self._asimov[key] = self.engine.prepare(self.engine.expected(fit.parameters))
        return self._asimov[key]

    def get_logpdf_func(
        self, expected: Any = ExpectationType.observed, data: object = None
    ) -> Callable[[np.ndarray], float]:
        """Ln L of all parameters."""
        chosen = self._data(expected, data)
        return lambda pars: -self.engine.nll(pars, chosen)

    def get_objective_function(
        self,
        expected: Any = ExpectationType.observed,
        data: object = None,
        do_grad: bool = True,
    ) -> Callable[[np.ndarray], Any]:
        """-ln L of all parameters, with its gradient."""
        chosen = self._data(expected, data)
        if do_grad:
            return lambda pars: self.engine.nll_and_slopes(pars, chosen)
        return lambda pars: self.engine.nll(pars, chosen)

    def get_hessian_logpdf_func(
        self, expected: Any = ExpectationType.observed, data: object = None
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Second derivatives of ln L."""
        chosen = self._data(expected, data)
        return lambda pars: -self.engine.curvature(pars, chosen)

    def expected_data(self, pars: object, include_auxiliary: bool = True) -> np.ndarray:
        """Expected events, then auxiliary data."""
        return self.engine.expected(pars, auxiliary=include_auxiliary)

    def negative_loglikelihood(
        self,
        poi_test: Any = 1.0,
        expected: Any = ExpectationType.observed,
        data: object = None,
        return_parameters: bool = False,
        init_pars: object = None,
        par_bounds: Bounds | None = None,
        **unused: Any,
    ) -> Any:
        """-ln L at one mu, all other parameters fitted; on request with the parameters."""
        found = self._fit(
            self._data(expected, data), self._held(poi_test), True, init_pars, par_bounds
        )
        return (found.nll, found.parameters) if return_parameters else found.nll

    def minimize_negative_loglikelihood(
        self,
        expected: Any = ExpectationType.observed,
        allow_negative_signal: bool = True,
        data: object = None,
        init_pars: object = None,
        par_bounds: Bounds | None = None,
        poi_indices: Sequence[int | str] | None = None,
        fixed_poi_value: Any = None,
        **unused: Any,
    ) -> tuple[Any, float]:
        """Best mu, or the parameters asked for, and -ln L there."""
        held = {} if fixed_poi_value is None else self._held(fixed_poi_value)
        chosen = self._data(expected, data)
        found = self._fit(chosen, held, allow_negative_signal, init_pars, par_bounds)
        return self._named(found, poi_indices), found.nll

    def asimov_negative_loglikelihood(
        self,
        poi_test: Any = 1.0,
        expected: Any = ExpectationType.observed,
        test_statistics: str = "qtilde",
        init_pars: object = None,
        par_bounds: Bounds | None = None,
        **unused: Any,
    ) -> float:
        """`negative_loglikelihood` on Asimov data."""
        data = self.asimov_data(expected, test_statistics)
        return self._fit(data, self._held(poi_test), True, init_pars, par_bounds).nll

    def minimize_asimov_negative_loglikelihood(
        self,
        expected: Any = ExpectationType.observed,
        test_statistics: str = "qtilde",
        init_pars: object = None,
        par_bounds: Bounds | None = None,
        poi_indices: Sequence[int | str] | None = None,
        **unused: Any,
    ) -> tuple[Any, float]:
        """`minimize_negative_loglikelihood` on Asimov data."""
        data = self.asimov_data(expected, test_statistics)
        negative = test_statistics in ("q", "qmu")
        found = self._fit(data, {}, negative, init_pars, par_bounds)
        return self._named(found, poi_indices), found.nll

    def _fit(
        self,
        data: np.ndarray,
        held: dict[int, float],
        negative: bool,
        init_pars: object,
        par_bounds: Bounds | None,
    ) -> Fit:
        lowest = self.lowest if negative else 0.0
        return self.fit_fn(data, held, lowest=lowest, bounds=par_bounds, start=init_pars)

    def _named(self, found: Fit, poi_indices: Sequence[int | str] | None) -> Any:
        if poi_indices is None:
            return float(found.parameters[self.poi])
        names = self.config().parameter_names or []
        places = [names.index(key) if isinstance(key, str) else int(key) for key in poi_indices]
        values = (float(found.parameters[place]) for place in places)
        return dict(zip(poi_indices, values, strict=True))


class BinnedBackend(CertifiedBackend):
    """Common part of the backends that are named after spey's default ones.

    Attributes:
        data: Observed events.
        signal_yields: Events at mu = 1.
        background_yields: Expected events.
        constraints: For spey's own optimiser: backgrounds of all bins at least zero.
    """

    name = "jaxlik.binned"

    def __init__(
        self,
        yields: inputs.Yields,
        background: Response,
        correlation: np.ndarray,
        modifiers: Sequence[dict] | None,
    ):
        morphing, names = inputs.morphing(yields.signal, modifiers)
        constraint = constraint_from(correlation, "correlation matrix of the backgrounds")
        engine = BinnedLikelihood(yields.signal, background, constraint, morphing)
        self.signal_yields, self.background_yields, self.data = yields
        alive = yields.signal > 0
        ratios = yields.background[alive] / yields.signal[alive]
        lowest = -float(np.min(ratios)) if alive.any() else -np.inf
        fits = BinnedFits(engine)
        super().__init__(engine, fits.fit, yields.observed, yields.background, lowest=lowest)
        self.correlation = correlation
        self.parameter_names = [
            "mu", *(f"theta_bkg_{i}" for i in range(len(yields.signal))), *names
        ]  # fmt: skip
        self.constraints = [self._positive_background(background)]

    def _positive_background(self, background: Response) -> NonlinearConstraint:
        span = slice(1, 1 + len(self.data))

        def value(pars: np.ndarray) -> np.ndarray:
            return np.asarray(response_at(background, jnp.asarray(pars)[span])[0])

        def slope(pars: np.ndarray) -> np.ndarray:
            found = np.zeros((len(self.data), len(pars)))
            slopes = response_at(background, jnp.asarray(pars)[span])[1]
            found[:, span] = np.diag(np.asarray(slopes))
            return found

        return NonlinearConstraint(value, 0.0, np.inf, jac=slope)  # type: ignore[reportArgumentType]

    @property
    def is_alive(self) -> bool:
        """Whether any bin has signal."""
        return bool(np.any(self.signal_yields > 0))

    def config(
        self,
        allow_negative_signal: bool = True,
        poi_upper_bound: float = SUGGESTED_HIGHEST_MU,
    ) -> Any:
        """Parameters, starts and bounds as of spey's default backends."""
        size = self.engine.num_parameters
        lowest = self.lowest if allow_negative_signal else 0.0
        return ModelConfig(
            poi_index=0,
            minimum_poi=self.lowest,
            suggested_init=[1.0] * size,
            suggested_bounds=[(lowest, poi_upper_bound), *[(None, None)] * (size - 1)],
            parameter_names=list(self.parameter_names),
        )

    def get_sampler(self, pars: np.ndarray) -> Callable[..., np.ndarray]:
        """Pseudo-data; drawn from NumPy's global state as those of spey."""
        rate = self.engine.expected(pars, auxiliary=False)
        size = self.engine.num_parameters - 1
        covariance = np.eye(size)
        bins = len(self.data)
        covariance[:bins, :bins] = 0.5 * (self.correlation + self.correlation.T)

        def sampler(sample_size: int, include_auxiliary: bool = True) -> np.ndarray:
            events = poisson(rate).rvs(size=[sample_size, bins])
            if not include_auxiliary:
                return events
            auxiliary = multivariate_normal(np.zeros(size), covariance).rvs(size=sample_size)  # type: ignore[reportArgumentType]
            return np.hstack([events, np.reshape(auxiliary, (sample_size, size))])

        return sampler
