"""Likelihoods of SModelS results as curves in mu, on all data that SModelS asks about.

SModelS asks for measured data (observed), the published background in their place (apriori), the
background fitted to the data (aposteriori), and background-only Asimov data of each. Every one
of these is a likelihood of the same form on other counts; a `Family` makes them when asked.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.special import log_ndtr

from jaxlik.inference.curve_kinds import BankCurves, CountingCurves, FourfoldBank, WorkspaceCurves
from jaxlik.inference.curves import (
    ASIMOV,
    DATA,
    EXPECTED,
    OBSERVED,
    Curves,
    Heights,
    SumOfCurves,
    fit_curves,
)
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.base import LN_TWO_PI
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput
from jaxlik.statmodels.simplified import SimplifiedLikelihood
from jaxlik.statmodels.truncated_gaussian import gaussian_from_limits
from jaxlik.typing import Bool, Float
from jaxlik.verdict.compat import (
    BoundedBankCurves,
    BoxedCountingCurves,
    BoxedFourfoldBank,
    ObservedAsAsimov,
)


class Family(ABC):
    """A likelihood with a signal, on the data and on what is derived from them."""

    @abstractmethod
    def curves(self) -> Curves:
        """On the data themselves."""

    @abstractmethod
    def asimov(self, dataset: int) -> "Family":
        """The family whose data are the background fitted to the data, or to the background.

        Args:
            dataset: `OBSERVED` or `EXPECTED`.
        """

    @cached_property
    def main(self) -> Curves:
        """`curves`, made once."""
        return self.curves()

    @cached_property
    def fit(self):
        """Best mu and limits of `main`."""
        return fit_curves(self.main)

    @cached_property
    def _derived(self) -> dict[int, "Family"]:
        return {dataset: self.asimov(dataset) for dataset in (OBSERVED, EXPECTED)}

    def fitted(self, dataset: int) -> "Family":
        """`asimov`, made once."""
        return self._derived[dataset]


class CountingFamily(Family):
    """One signal region.

    Args:
        signal: Events at mu = 1.
        observed: Events.
        background: Expected.
        background_error: Its uncertainty.
        compat: As SModelS where it departs from the exact result.
    """

    def __init__(
        self,
        signal: float,
        observed: float,
        background: float,
        background_error: float,
        *,
        compat: bool = False,
    ):
        self.numbers = (signal, observed, background, background_error)
        self.compat = compat

    def curves(self) -> Curves:
        """In closed form."""
        return (BoxedCountingCurves if self.compat else CountingCurves)(*self.numbers)

    def asimov(self, dataset: int) -> Family:
        """Counts at the fitted rate."""
        signal, _, background, error = self.numbers
        main = self.main
        assert isinstance(main, CountingCurves)
        counts = float(main.counts[dataset, ASIMOV])
        return CountingFamily(signal, counts, background, error, compat=self.compat)


class SimplifiedFamily(Family):
    """A simplified likelihood; several signals share one `SharedSimplified`.

    Args:
        shared: The likelihood on its data.
        signal: Events at mu = 1.
    """

    def __init__(self, shared: "SharedSimplified", signal: Float[np.ndarray, " region"]):
        self.shared, self.signal = shared, signal

    def curves(self) -> Curves:
        """From certified dual fits."""
        four = self.shared.four
        if isinstance(four, BoxedFourfoldBank):
            return BoundedBankCurves(four, self.signal)
        return BankCurves(four, self.signal)

    def asimov(self, dataset: int) -> Family:
        """Counts at the fitted rates."""
        return SimplifiedFamily(self.shared.fitted(dataset), self.signal)


class SharedSimplified:
    """A simplified likelihood on its data, without signal.

    Args:
        model: The likelihood.
        compat: As SModelS where it departs from the exact result.
    """

    def __init__(self, model: SimplifiedLikelihood, *, compat: bool = False):
        self.model, self.compat = model, compat
        self._fitted: dict[int, SharedSimplified] = {}

    @cached_property
    def four(self) -> FourfoldBank:
        """On its four data sets."""
        (bank,) = make_banks([self.model])
        expected = self.model.with_observed(self.model.background)
        constants = np.array([float(m.nll_constant()) for m in (self.model, expected)])
        return (BoxedFourfoldBank if self.compat else FourfoldBank)(bank, 0, constants)

    def fitted(self, dataset: int) -> "SharedSimplified":
        """The same likelihood on the background fitted to the data, or to the background."""
        if dataset not in self._fitted:
            row = 1 if dataset == OBSERVED else 3
            counts = np.asarray(self.four.bank.models.observed)[row]
            mask = np.asarray(self.four.bank.region_mask[row])
            model = self.model.with_observed(jnp.asarray(counts[mask]))
            self._fitted[dataset] = SharedSimplified(model, compat=self.compat)
        return self._fitted[dataset]


class WorkspaceFamily(Family):
    """A HistFactory workspace.

    Args:
        model: Packed, without signal.
        where: Where signals enter.
        poi: Position of the parameter of interest.
        signal: Events at mu = 1 in each signal region.
    """

    def __init__(
        self,
        model: HistFactory,
        where: SignalInput,
        poi: int,
        signal: Float[np.ndarray, " region"],
    ):
        self.model, self.where, self.poi, self.signal = model, where, poi, signal

    def curves(self) -> Curves:
        """From certified fits."""
        return WorkspaceCurves(self.model, self.where, self.poi, self.signal)

    def asimov(self, dataset: int) -> Family:
        """Events and auxiliary data at the fit of the background."""
        main = self.main
        assert isinstance(main, WorkspaceCurves)
        model = eqx.tree_at(lambda m: m.data, self.model, main.data[dataset][ASIMOV])
        return WorkspaceFamily(model, self.where, self.poi, self.signal)


class GaussianCurves(Curves):
    """A truncated Gaussian in mu.

    Args:
        centre: Of the measured result; expected ones are centred at zero.
        width: Standard deviation.
    """

    num_regions = 1

    def __init__(self, centre: float, width: float):
        self.scale = self.width = width
        self.centres = np.array([[centre, 0.0], [0.0, 0.0]])

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """((mu - m)/sigma)^2."""
        pull = (mu - self.centres) / self.width
        slope = 2 * pull / self.width
        return Heights(pull**2, slope, (mu * slope)[:, :, None])

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """Normalised on mu above zero."""
        centre = self.centres[:, DATA]
        return 0.5 * LN_TWO_PI + np.log(self.width) + log_ndtr(centre / self.width)


class GaussianFamily(Family):
    """From an observed and an expected upper limit on mu, as SModelS combines them."""

    def __init__(self, limit: float, limit_expected: float):
        found = gaussian_from_limits(limit, limit_expected, "smodels")
        self.centre, self.width = float(found.centre), float(found.width)

    def curves(self) -> Curves:
        """A parabola."""
        return GaussianCurves(self.centre, self.width)

    def asimov(self, dataset: int) -> Family:
        """Centred at zero."""
        other = object.__new__(GaussianFamily)
        other.centre, other.width = 0.0, self.width
        return other


class SumFamily(Family):
    """Results that share nothing but mu.

    Args:
        parts: Their families.
        compat: The Asimov data of counting experiments and simplified likelihoods are the
            observed ones, as in SModelS.
    """

    def __init__(self, parts: Sequence[Family], *, compat: bool = False):
        self.parts, self.compat = tuple(parts), compat

    def curves(self) -> Curves:
        """The sum."""
        curves = [part.main for part in self.parts]
        if self.compat:
            kinds = (CountingCurves, BankCurves)
            curves = [ObservedAsAsimov(c) if isinstance(c, kinds) else c for c in curves]
        return SumOfCurves(curves)

    def asimov(self, dataset: int) -> Family:
        """Of every part."""
        return SumFamily([part.fitted(dataset) for part in self.parts], compat=self.compat)
