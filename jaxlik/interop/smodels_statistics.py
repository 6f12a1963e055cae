"""Computers of likelihoods, CLs and limits with the interface that SModelS 3.2 expects."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from jaxlik.errors import ConfigError, ConvergenceError
from jaxlik.inference.curves import DATA, EXPECTED, OBSERVED
from jaxlik.interop.smodels_curves import Family, GaussianFamily, SumFamily
from jaxlik.precision import require_x64

LEVEL = 0.95

FARTHEST = 1e9
"""Searches end at this many times the natural unit of mu."""

_SMALLEST_CLS = np.log(1 - LEVEL)


class JaxlikComputer:
    """What `smodels.statistics.statsTools.StatsComputer` asks of its sub-computers.

    Args:
        family: The likelihood.
        name: Of the statistical model, for printers of SModelS.
        data_type: SModelS's word for its kind: ``1bin``, ``SL``, ``pyhf``, ``truncGaussian`` or
            ``analysesComb``.
        total_cross_section: Of the signal in all regions, with SModelS's unit.
    """

    def __init__(self, family: Family, name: str, data_type: str, total_cross_section: Any = None):
        require_x64()
        self.family, self.name, self.dataType = family, name, data_type
        self.total_cross_section = total_cross_section
        self.allowNegativeSignals = False
        self.cl = LEVEL
        # StatsComputer transforms the data of this object; here data are chosen per question.
        self.likelihoodComputer = self

    def transform(self, evaluationType: Any) -> None:
        """Nothing: no question changes the data of the next one."""

    def getTotalXSec(self) -> Any:
        """Cross section times efficiency of all regions."""
        return self.total_cross_section

    def nll(
        self,
        poi_test: float = 1.0,
        evaluationType: Any = None,
        asimov: float | None = None,
        **unused: Any,
    ) -> float | None:
        """-ln L with all constants.

        Args:
            poi_test: mu.
            evaluationType: observed (default), apriori or aposteriori.
            asimov: Signal strength of Asimov data to be used in place of the data; only zero.
            unused: Other keywords of SModelS.
        """
        curve = self._curve(evaluationType, asimov)
        return _or_none(lambda: curve.nll(float(np.ravel(poi_test)[0])))

    def nll_min(
        self,
        evaluationType: Any = None,
        allowNegativeSignals: bool | None = None,
        asimov: float | None = None,
        **unused: Any,
    ) -> dict[str, float] | None:
        """Best mu (``muhat``), its standard deviation (``sigma_mu``) and -ln L there (``nll_min``).

        The standard deviation follows from the curvature of the profile, SModelS's from that at
        fixed nuisances.
        """
        negative = (
            self.allowNegativeSignals if allowNegativeSignals is None else allowNegativeSignals
        )
        curve = self._curve(evaluationType, asimov)

        def found() -> dict[str, float]:
            mu_hat = curve.best(negative=negative)
            return {
                "muhat": mu_hat,
                "sigma_mu": curve.deviation(mu_hat),
                "nll_min": curve.nll(mu_hat),
            }

        return _or_none(found)

    def CLs(
        self,
        mu: float = 1.0,
        evaluationType: Any = None,
        return_type: str = "CLs",
        nSigma: int = 0,
        **unused: Any,
    ) -> float | None:
        """CLs of one mu: ``CLs``, ``1-CLs``, ``CLs-alpha`` or ``alpha-CLs``."""
        _, _, root = self.getCLsRootFunc(evaluationType, nSigma)
        return None if root is None else _or_none(lambda: root(mu, return_type))

    def getCLsRootFunc(
        self, evaluationType: Any = None, nSigma: int = 0, **unused: Any
    ) -> tuple[float | None, float | None, Callable[..., float] | None]:
        """Best mu, its standard deviation, and CLs - 0.05 as a function of mu; or three None.

        Args:
            evaluationType: observed (default), apriori or aposteriori.
            nSigma: Fluctuation of the expected result; the larger, the weaker the limit.
            unused: Other keywords of SModelS.
        """
        family, row = self._data(evaluationType)
        if not np.isfinite(family.main.scale):
            return None, None, None
        test = _Test(family, row, nSigma)
        deviation = _Curve(family, row).deviation(test.mu_hat)

        def root(mu: float, return_type: str = "CLs-alpha") -> float:
            return _returned(float(np.exp(test.log_cls(float(mu)))), return_type)

        return test.mu_hat, deviation, root

    def getUpperLimitOnMu(
        self, evaluationType: Any = None, nSigma: int = 0, **unused: Any
    ) -> float | None:
        """Mu excluded at 95 % by CLs; None where nothing constrains the signal."""
        family, row = self._data(evaluationType)

        def limit() -> float | None:
            if not np.isfinite(family.main.scale):
                return None
            if nSigma == 0:
                found = float(family.fit.limit[row])
                return found if np.isfinite(found) else None
            return _Test(family, row, nSigma).limit()

        return _or_none(limit)

    def getLlhds(
        self, muvals: Sequence[float], evaluationType: Any = None, normalize: bool = True
    ) -> dict[str, np.ndarray]:
        """Likelihoods at some mu, by name, each normalised by its integral over them."""
        found = {name: c._likelihoods(muvals, evaluationType) for name, c in self._parts().items()}
        if not normalize:
            return found
        steps = np.diff(muvals)
        steps = np.append(steps, steps[-1])
        return {name: values / np.sum(values * steps) for name, values in found.items()}

    def _parts(self) -> dict[str, "JaxlikComputer"]:
        return {self.name: self}

    def _likelihoods(self, muvals: Sequence[float], evaluationType: Any) -> np.ndarray:
        curve = self._curve(evaluationType, None)
        return np.exp([-curve.nll(float(mu)) for mu in muvals])

    def _data(self, evaluationType: Any) -> tuple[Family, int]:
        """The family and the row of its curves that hold the data asked about."""
        kind = "observed" if evaluationType is None else getattr(evaluationType, "name", "")
        if kind == "apriori":
            return self.family, EXPECTED
        if kind == "aposteriori":
            return self.family.fitted(OBSERVED), OBSERVED
        if kind == "observed":
            return self.family, OBSERVED
        raise ConfigError(
            f"evaluationType is {evaluationType!r}, wanted a member of "
            "smodels.statistics.basicStats.NllEvalType"
        )

    def _curve(self, evaluationType: Any, asimov: float | None) -> "_Curve":
        family, row = self._data(evaluationType)
        if asimov is None:
            return _Curve(family, row)
        if abs(asimov) > 1e-8:
            raise ConfigError(f"Asimov data of mu = {asimov:g} asked for; wanted those of mu = 0")
        return _Curve(family.fitted(row), OBSERVED)


class JaxlikCombination(JaxlikComputer):
    """The product of the most sensitive likelihoods of some theory predictions.

    Args:
        members: Computers by the names of their analyses.
        total_cross_section: Sum over predictions, with SModelS's unit.
        compat: As SModelS, see `jaxlik.verdict.compat`.
    """

    def __init__(
        self,
        members: Sequence[tuple[str, JaxlikComputer]],
        total_cross_section: Any,
        *,
        compat: bool = False,
    ):
        family = SumFamily([member.family for _, member in members], compat=compat)
        super().__init__(family, "anaComb", "analysesComb", total_cross_section)
        self.members = tuple(members)

    def _parts(self) -> dict[str, JaxlikComputer]:
        return {"combined": self, **dict(self.members)}


class JaxlikTruncatedGaussian(JaxlikComputer):
    """A Gaussian in mu from an observed and an expected limit; its limits are the given ones."""

    def __init__(self, limit: float, limit_expected: float, total_cross_section: Any = None):
        family = GaussianFamily(limit, limit_expected)
        super().__init__(family, "truncGaussian", "truncGaussian", total_cross_section)
        self.upperLimitOnMu, self.expectedUpperLimitOnMu = limit, limit_expected
        # As in SModelS: with deficits the approximation needs a centre below zero.
        self.allowNegativeSignals = True

    def getUpperLimitOnMu(
        self, evaluationType: Any = None, nSigma: int = 0, **unused: Any
    ) -> float | None:
        """The limit it was made from."""
        if nSigma != 0:
            return super().getUpperLimitOnMu(evaluationType, nSigma)
        _, row = self._data(evaluationType)
        known = getattr(evaluationType, "name", "observed") == "observed" and row == OBSERVED
        return self.upperLimitOnMu if known else self.expectedUpperLimitOnMu


class _Curve:
    """-ln L(mu) on one data set."""

    def __init__(self, family: Family, row: int):
        self.family, self.row, self.curves = family, row, family.main
        self.wanted = np.zeros((2, 2), dtype=bool)
        self.wanted[row, DATA] = True

    def _heights(self, mu: float) -> tuple[float, float]:
        found = self.curves.at(np.full((2, 2), mu), self.wanted)
        return float(found.value[self.row, DATA]), float(found.slope[self.row, DATA])

    def nll(self, mu: float) -> float:
        """With all constants."""
        return 0.5 * self._heights(mu)[0] + float(self.curves.constants[self.row])

    def best(self, *, negative: bool) -> float:
        """Where it is smallest."""
        if not np.isfinite(self.curves.scale):
            return 0.0
        if not negative or self._heights(0.0)[1] <= 0:
            return float(self.family.fit.mu_hat[self.row])
        high, low = 0.0, -self.curves.scale
        while self._heights(low)[1] > 0:
            if low < -FARTHEST * self.curves.scale:
                raise ConvergenceError(
                    f"best mu: -ln L still falls at mu = {low:g}; do not allow negative signals"
                )
            high, low = low, 2 * low
        return float(brentq(lambda mu: self._heights(mu)[1], low, high, xtol=1e-12, rtol=1e-10))  # type: ignore[reportArgumentType]

    def deviation(self, mu: float) -> float:
        """1/sqrt of the curvature, from exact slopes a thousandth of a standard deviation apart."""
        scale = self.curves.scale
        if not np.isfinite(scale):
            return np.inf
        step = 1e-3 * scale
        low = mu if 0 <= mu < step else mu - step
        below, above = self._heights(low)[1], self._heights(mu + step)[1]
        curvature = 0.5 * (above - below) / (mu + step - low)
        return float(curvature**-0.5) if curvature > 0 else float(scale)


class _Test:
    """CLs of one data set as a function of mu."""

    def __init__(self, family: Family, row: int, num_sigmas: int):
        self.family, self.row, self.num_sigmas = family, row, num_sigmas
        self.curves = family.main
        data, asimov = (self._best(kind) for kind in (0, 1))
        self.mu_hat, self.lowest = data
        self.lowest_asimov = asimov[1]

    def _best(self, kind: int) -> tuple[float, float]:
        """Best mu, not below zero, of the data or of their Asimov data, and -2 ln L there."""
        if kind == DATA:
            return float(self.family.fit.mu_hat[self.row]), float(self.family.fit.lowest[self.row])
        # The background fitted to data prefers no signal, up to the pull of fixed constraints.
        fitted = self.family.fitted(self.row)
        mu_hat = float(fitted.fit.mu_hat[OBSERVED])
        return mu_hat, self._values(mu_hat)[1]

    def _values(self, mu: float) -> tuple[float, float]:
        wanted = np.zeros((2, 2), dtype=bool)
        wanted[self.row] = True
        data, asimov = self.curves.at(np.full((2, 2), mu), wanted).value[self.row]
        return float(data), float(asimov)

    def log_cls(self, mu: float) -> float:
        """Ln CLs with q~_mu; fluctuations are those of the expected result."""
        data, asimov = self._values(mu)
        root_asimov = np.sqrt(max(asimov - self.lowest_asimov, 0.0))
        if self.num_sigmas:
            sigmas = float(self.num_sigmas)
            return float(log_ndtr(sigmas - root_asimov) - log_ndtr(sigmas))
        statistic = max(data - self.lowest, 0.0) if mu >= self.mu_hat else 0.0
        root = np.sqrt(statistic)
        if root_asimov == 0:
            return 0.0
        if root <= root_asimov:
            return float(log_ndtr(-root) - log_ndtr(root_asimov - root))
        total, excess = statistic + root_asimov**2, statistic - root_asimov**2
        half = 0.5 / root_asimov
        return float(log_ndtr(-half * total) - log_ndtr(-half * excess))

    def limit(self) -> float | None:
        """Where CLs is 5 %."""
        low, high = 0.0, self.curves.scale
        while self.log_cls(high) > _SMALLEST_CLS:
            if high > FARTHEST * self.curves.scale:
                return None
            low, high = high, 2 * high
        return float(brentq(lambda mu: self.log_cls(mu) - _SMALLEST_CLS, low, high, rtol=1e-9))  # type: ignore[reportArgumentType]


def _returned(cls: float, return_type: str) -> float:
    """CLs in the form asked for."""
    forms = {
        "CLs": cls,
        "1-CLs": 1 - cls,
        "CLs-alpha": cls - 1 + LEVEL,
        "alpha-CLs": 1 - LEVEL - cls,
    }
    if return_type not in forms:
        raise ConfigError(f"return_type is {return_type!r}, wanted one of {sorted(forms)}")
    return forms[return_type]


def _or_none(function: Callable[[], Any]) -> Any:
    """SModelS knows None for what cannot be computed; the reason goes to its log."""
    from smodels.base.smodelsLogging import logger

    try:
        return function()
    except ConvergenceError as error:
        logger.error(f"jaxlik: {error}")
        return None
