"""pyhf's calculators of p-values, on certified fits.

They are subclasses: distributions, p-values and their conventions are pyhf's; the fits behind
them are ours. Four of the five fits of an asymptotic test are left to do: on Asimov data the
parameters they were made from are the free fit, and -2 ln L is zero there in deviance form.
"""

import logging
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from pyhf.infer import calculators
from pyhf.infer.calculators import (
    AsymptoticTestStatDistribution,
    EmpiricalDistribution,
    HypoTestFitResults,
)
from pyhf.pdf import Model
from scipy.special import ndtr
from tqdm import tqdm

from jaxlik.errors import ConfigError
from jaxlik.inference.asymptotics import BAND_SIGMAS
from jaxlik.inference.toys import BLOCK, TIE, Toys, fit_toy
from jaxlik.inference.workspace_profile import asimov_data
from jaxlik.interop.pyhf_errors import FitNotCertifiedError, UnknownTestStatisticError
from jaxlik.interop.pyhf_fits import Problem, PyhfFit, certified_fit, check_poi, problem_of
from jaxlik.interop.pyhf_model import as_array, data_of, tensor
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Bool, Float, Int, Scalar

_log = logging.getLogger(__name__)

TEST_STATISTICS = ("qtilde", "q", "q0")
BASE_DISTRIBUTIONS = ("normal", "clipped_normal")

_NOISE = 64 * float(np.finfo(float).eps)
"""Differences of -2 ln L below this, relative to its size, are rounding."""

_AWAY = 0.1
"""Start of free fits from mu = 0, where a product of two parameters may have no slope."""


class HypothesisTests:
    """Fits that tests of one data set share, and the test statistics made of them.

    Attributes:
        problem: Model and settings, with a parameter of interest.
        data: Events and auxiliary data.
        test_stat: Name of the test statistic.
    """

    def __init__(self, problem: Problem, data: Data, test_stat: str) -> None:
        if test_stat not in TEST_STATISTICS:
            raise UnknownTestStatisticError(
                f"test statistic is {test_stat!r}, wanted one of {', '.join(TEST_STATISTICS)}"
            )
        self.problem, self.data, self.test_stat = problem, data, test_stat
        self._best: PyhfFit | None = None
        self._asimov: tuple[PyhfFit, Data] | None = None
        self._last: dict[str, np.ndarray] = {}
        lower = float(np.asarray(problem.model.lower)[problem.poi])
        if (test_stat == "q") == (lower == 0.0) and test_stat != "q0":
            _log.warning(
                "test statistic %s with a parameter of interest bounded at %g from below; use %s, "
                "or change its bounds",
                test_stat,
                lower,
                "qtilde" if test_stat == "q" else "q",
            )

    def tested(self, mu: Any) -> float:
        """The mu that is tested; always 0 for discovery."""
        mu = as_array(mu).item()
        if self.test_stat == "q0" and mu != 0.0:
            _log.warning("test statistic q0 tests mu = 0, not the %g asked for", mu)
            return 0.0
        return mu

    @property
    def asimov_mu(self) -> float:
        """Where Asimov data and background-like toys are made, as pyhf has it."""
        return 1.0 if self.test_stat == "q0" else 0.0

    def at(self, mu: float, *, asimov: bool = False) -> PyhfFit:
        """Fit at one mu, to the data or to Asimov data."""
        self.check_mu(mu)
        held, start = self.problem.holding(mu)
        key = "asimov" if asimov else "data"
        data = self.asimov[1] if asimov else self.data
        near = self._last.get(key)
        if near is None and asimov:
            near = self.asimov[0].position
        if near is not None:
            start = np.where(held, start, near)
        thorough = self._best is None or self._best.several_minima
        fit = certified_fit(self.problem, data, held=held, start=start, thorough=thorough)
        self._last[key] = fit.position
        return fit

    def best(self, near: PyhfFit) -> PyhfFit:
        """Free fit to the data, begun where a fit at fixed mu ended."""
        if self._best is None:
            start, poi = near.position.copy(), self.problem.poi
            start[poi] = start[poi] if start[poi] != 0 else _AWAY
            found = certified_fit(self.problem, self.data, start=start)
            several = found.several_minima or near.several_minima
            self._best = found._replace(several_minima=several)
        return self._best

    @property
    def asimov(self) -> tuple[PyhfFit, Data]:
        """The fit at `asimov_mu`, and the data it expects."""
        if self._asimov is None:
            fit = self.at(self.asimov_mu)
            data = asimov_data(self.problem.model, fit.position)  # type: ignore[reportArgumentType]
            self._asimov = fit, data
        return self._asimov

    def check_mu(self, mu: float) -> None:
        """Raise `ConfigError` where mu is outside of the bounds of the fit."""
        poi, model = self.problem.poi, self.problem.model
        low, high = float(np.asarray(model.lower)[poi]), float(np.asarray(model.upper)[poi])
        if not low <= mu <= high:
            raise ConfigError(
                f"tested value of the parameter of interest is {mu:g}, outside of its bounds "
                f"({low:g}, {high:g}); widen par_bounds or test a value between them"
            )

    def statistic(self, mu: float, fixed: PyhfFit) -> tuple[float, PyhfFit]:
        """Test statistic on the data, and the free fit it compares with."""
        best = self.best(fixed)
        value = max(fixed.twice_nll - best.twice_nll, 0.0)
        if value < _NOISE * (1 + abs(best.twice_nll)):
            value = 0.0
        mu_hat = float(best.position[self.problem.poi])
        one_sided = mu_hat < 0 if self.test_stat == "q0" else mu_hat > mu
        return (0.0 if one_sided else value), best

    def statistic_asimov(self, fixed: PyhfFit, mu: float) -> float:
        """The same on Asimov data, whose free fit is where they were made."""
        above = self.asimov_mu > mu
        if self.test_stat != "q0" and above:
            return 0.0
        return max(fixed.twice_nll, 0.0)


def tests_of(
    data: Any,
    pdf: Model,
    init_pars: Sequence[float] | None,
    par_bounds: Sequence[Sequence[float]] | None,
    fixed_params: Sequence[bool] | None,
    test_stat: str,
) -> HypothesisTests:
    """Tests of one data set of one model.

    Raises:
        NoParameterOfInterestError: the model has none.
        UnknownTestStatisticError: no such test statistic.
    """
    check_poi(pdf, "to test")
    # The start of the parameter of interest is replaced by tested values.
    problem = problem_of(pdf, init_pars, par_bounds, fixed_params)
    return HypothesisTests(problem, data_of(problem.translated, data), test_stat)


class NormalDistribution(AsymptoticTestStatDistribution):
    """pyhf's distribution of the asymptotic statistic; the same numbers in less time."""

    def pvalue(self, value: Any) -> Any:
        """Chance of at least this value."""
        found = as_array(value)
        chance = ndtr(-(found - as_array(self.shift)))
        return tensor(np.where(found >= as_array(self.cutoff), chance, np.nan))


class _WithTests:
    """What both calculators keep: certified fits; the rest is set by pyhf's own classes."""

    data: Any
    pdf: Any
    init_pars: Any
    par_bounds: Any
    fixed_params: Any
    test_stat: str
    _tests: HypothesisTests | None = None

    @property
    def tests(self) -> HypothesisTests:
        """Fits to the data, shared by all tested values."""
        if self._tests is None:
            self._tests = tests_of(
                self.data,
                self.pdf,
                self.init_pars,
                self.par_bounds,
                self.fixed_params,
                self.test_stat,
            )
        return self._tests


class AsymptoticCalculator(_WithTests, calculators.AsymptoticCalculator):
    """`pyhf.infer.calculators.AsymptoticCalculator` with certified fits; the same arguments."""

    def teststatistic(self, poi_test: Any) -> Any:
        """The statistic in units of its standard deviation, as pyhf defines it."""
        tests = self.tests
        mu = tests.tested(poi_test)
        fixed = tests.at(mu)
        value, best = tests.statistic(mu, fixed)
        made_at, _ = tests.asimov
        fixed_asimov = tests.at(mu, asimov=True)
        root, root_asimov = np.sqrt(value), np.sqrt(tests.statistic_asimov(fixed_asimov, mu))
        self.sqrtqmuA_v = tensor(root_asimov)
        self.fitted_pars = HypoTestFitResults(
            asimov_pars=tensor(made_at.parameters),
            free_fit_to_data=tensor(best.parameters),
            free_fit_to_asimov=tensor(made_at.parameters),
            fixed_poi_fit_to_data=tensor(fixed.parameters),
            fixed_poi_fit_to_asimov=tensor(fixed_asimov.parameters),
        )
        if self.test_stat == "qtilde" and root > root_asimov > 0:
            return tensor((root**2 - root_asimov**2) / (2 * root_asimov))
        return tensor(root - root_asimov)

    def distributions(self, poi_test: Any) -> tuple[NormalDistribution, NormalDistribution]:
        """Of the statistic with signal and without; after `teststatistic`.

        Raises:
            ConfigError: no such base distribution.
        """
        if self.calc_base_dist not in BASE_DISTRIBUTIONS:
            raise ConfigError(
                f"calc_base_dist is {self.calc_base_dist!r}, wanted one of "
                f"{', '.join(BASE_DISTRIBUTIONS)}"
            )
        signal, background = super().distributions(poi_test)
        return (
            NormalDistribution(signal.shift, signal.cutoff),
            NormalDistribution(background.shift, background.cutoff),
        )


class ToyDistribution(EmpiricalDistribution):
    """Statistics of toys; those within `TIE` of the data count as equal to them.

    Two fits to the same counts differ by rounding, and equal counts are not rare.
    """

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Share of toys with at least each of some statistics."""
        ordered = np.sort(as_array(self.samples))
        return 1 - np.searchsorted(ordered, values - TIE) / len(ordered)

    def pvalue(self, value: Any) -> Any:
        """Share of toys with at least this statistic."""
        return tensor(self.shares(as_array(value)))

    def expected_value(self, nsigma: Any) -> Any:
        """Statistic at quantiles of the toys given in standard deviations."""
        found = np.percentile(as_array(self.samples), 100 * ndtr(as_array(nsigma)))
        return tensor(found)


@eqx.filter_jit
def _fit_block(
    data: Data,
    model: HistFactory,
    poi: Int[Array, ""],
    mu: Scalar,
    near: Float[Array, " parameter"],
    thorough: Bool[Array, ""],
) -> Toys:
    """Fits at mu and free of each data set of a block."""
    side_by_side = None if jax.default_backend() == "cpu" else BLOCK
    return Toys(
        *jax.lax.map(
            lambda one: fit_toy(model, poi, mu, one, near, thorough), data, batch_size=side_by_side
        )
    )


class ToyCalculator(_WithTests, calculators.ToyCalculator):
    """`pyhf.infer.calculators.ToyCalculator` with certified fits; the same arguments.

    Toys are drawn by pyhf: with the same seed of NumPy they are the same toys. Those without a
    certified fit are left out, and the log says how many.
    """

    def teststatistic(self, poi_test: Any) -> Any:
        """The test statistic on the data."""
        mu = self.tests.tested(poi_test)
        value, _ = self.tests.statistic(mu, self.tests.at(mu))
        return tensor(value)

    def distributions(
        self, poi_test: Any, track_progress: bool | None = None
    ) -> tuple[ToyDistribution, ToyDistribution]:
        """Of the statistic in toys with signal and without.

        Args:
            poi_test: Tested value.
            track_progress: Show a progress bar; as the calculator was made by default.
        """
        tests, mu = self.tests, self.tests.tested(poi_test)
        quiet = not (self.track_progress if track_progress is None else track_progress)
        # pyhf draws signal-like toys first.
        signal_fit, background_fit = tests.at(as_array(poi_test).item()), tests.asimov[0]
        signal, background = (
            as_array(self.pdf.make_pdf(tensor(fit.parameters)).sample((self.ntoys,)))
            for fit in (signal_fit, background_fit)
        )
        tests.best(signal_fit)
        with tqdm(total=2 * self.ntoys, unit="toy", leave=False, disable=quiet) as bar:
            return (
                ToyDistribution(self._statistics(signal, mu, signal_fit, bar)),
                ToyDistribution(self._statistics(background, mu, background_fit, bar)),
            )

    def expected_pvalues(
        self,
        sig_plus_bkg_distribution: ToyDistribution,
        bkg_only_distribution: ToyDistribution,
    ) -> list[list[Any]]:
        """CL_{s+b}, CL_b and CLs of background-like toys at -2, -1, 0, 1, 2 sigma.

        As pyhf, whose version 0.7 calls NumPy in a way that NumPy 2.4 does not know any more.
        """
        toys = as_array(bkg_only_distribution.samples)
        both, alone = (d.shares(toys) for d in (sig_plus_bkg_distribution, bkg_only_distribution))
        quantiles = 100 * ndtr(np.array(BAND_SIGMAS))
        bands = np.percentile(np.stack([both, alone, both / alone]), quantiles, axis=1).T
        return [[tensor(p_value) for p_value in band] for band in bands]

    def _statistics(self, samples: np.ndarray, mu: float, near: PyhfFit, bar: tqdm) -> Any:
        """Test statistics of toys that have certified fits."""
        tests, problem = self.tests, self.tests.problem
        rest: Any = (
            problem.model,
            np.asarray(problem.poi),
            np.asarray(mu, float),
            near.position,
            np.asarray(tests.best(near).several_minima),
        )
        blocks = []
        for first in range(0, len(samples), BLOCK):
            # All blocks have one size, so that one program serves them.
            rows = samples[(first + np.arange(BLOCK)) % len(samples)]
            data = [data_of(problem.translated, row) for row in rows]
            stacked = jax.tree.map(lambda *parts: np.stack(parts), *data)
            found = _fit_block(stacked, *rest)
            blocks.append(jax.tree.map(np.asarray, found))
            bar.update(min(BLOCK, len(samples) - first))
        toys = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(samples)], *blocks)
        good = np.asarray(toys.certified)
        if not good.any():
            raise FitNotCertifiedError(
                f"none of {len(good)} toys has certified fits, wanted at least one; scale the "
                "signal so that its strength is near one"
            )
        if not good.all():
            _log.warning("%d of %d toys left out: no certified fit", (~good).sum(), len(good))
        mu_hat = np.asarray(toys.mu_hat)
        one_sided = mu_hat < 0 if self.test_stat == "q0" else mu_hat > mu
        values = np.where(one_sided, 0.0, np.asarray(toys.t_mu))[good]
        return tensor(values)
