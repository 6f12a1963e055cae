"""Likelihoods as SModelS 3.1 computes them where it departs from the exact result.

Three departures, for comparisons only: nuisances stay within ten times the observed events, so
that those of empty regions stay at zero; the best mu of a simplified likelihood is looked for
below three times the largest residual; and in combinations of analyses the Asimov data of
counting experiments and simplified likelihoods are the observed ones.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.inference.curve_kinds import BankCurves, CountingCurves, FourfoldBank
from jaxlik.inference.curves import ASIMOV, DATA, OBSERVED, Curves, Heights
from jaxlik.statmodels.bank import StatModelBank
from jaxlik.statmodels.simplified import positive_part
from jaxlik.typing import Bool, Float

BOX = 10.0
"""Nuisances are at most this many times the observed events."""

WIDENER = 3.0
"""The best mu is looked for below this many times the largest residual."""

SMALLEST_EDGE = 1e-5


class BoxedCountingCurves(CountingCurves):
    """One signal region; |theta| is at most ten times the observed events."""

    def _shift(self, mu: Float[np.ndarray, "dataset kind"]) -> Float[np.ndarray, "dataset kind"]:
        """The best theta in its box: -2 ln L is convex in it."""
        return np.clip(super()._shift(mu), -BOX * self.counts, BOX * self.counts)


class BoxedFourfoldBank(FourfoldBank):
    """A simplified likelihood whose nuisances of empty regions stay at zero.

    Given that they are zero, the others vary with the conditional covariance, and the empty
    regions add 2 (mu s + b) to the deviance.
    """

    def __init__(self, bank: StatModelBank, model: int, constants: Float[np.ndarray, " dataset"]):
        super().__init__(bank, model, constants)
        models = self.bank.models
        observed = np.array(models.observed)
        mask = np.asarray(self.bank.region_mask[0])
        self.empty = np.zeros((4, len(mask)), dtype=bool)
        self.empty[0] = (observed[0] == 0) & mask
        self.background = np.asarray(models.central)[0]
        self.covariance = np.array(models.covariance)
        if self.empty.any():
            self._hold()

    def _hold(self) -> None:
        """Take the empty regions out of the observed data set, and fit its Asimov data anew."""
        empty = self.empty[0]
        whole = self.covariance[0].copy()
        across = whole[:, empty]
        conditional = whole - across @ np.linalg.solve(whole[np.ix_(empty, empty)], across.T)
        conditional[empty] = 0.0
        conditional[:, empty] = 0.0
        self.covariance[0], root, _ = positive_part(conditional)
        counts = np.array(self.bank.models.observed)
        # Both rows hold the data first, for the Asimov data; then the second goes back.
        both = counts.copy()
        both[1] = counts[0]
        fitted = np.asarray(self._changed(2, root, both).with_asimov().models.observed)[1]
        counts[1] = np.where(empty, self.background, fitted)
        self.bank = self._changed(1, root, counts).prepared()

    def _changed(self, rows: int, root: np.ndarray, counts: np.ndarray) -> StatModelBank:
        """The bank with the conditional covariance in the first rows; no empty regions there."""
        models, empty = self.bank.models, self.empty[0]
        covariances, roots = np.array(models.covariance), np.array(models.root)
        central, counts = np.array(models.central), counts.copy()
        for row in range(rows):
            covariances[row], roots[row] = self.covariance[0], root
            central[row, empty] = counts[row, empty] = 1.0
        changed = eqx.tree_at(
            lambda bank: (bank.models.covariance, bank.models.root, bank.models.central),
            self.bank,
            (jnp.asarray(covariances), jnp.asarray(roots), jnp.asarray(central)),
        )
        return changed.with_observed(jnp.asarray(counts))


class BoundedBankCurves(BankCurves):
    """A simplified likelihood with empty regions and best mu as SModelS treats them."""

    four: BoxedFourfoldBank

    def __init__(self, four: BoxedFourfoldBank, signal: Float[np.ndarray, " region"]):
        super().__init__(four, signal)
        self.signals = np.where(four.empty, 0.0, self.signals)
        if np.isfinite(self.scale) and four.bank.is_linear:
            self.highest_mu = self._edge()

    def _heights(
        self, mu: Float[np.ndarray, " four"]
    ) -> tuple[Float[np.ndarray, " four"], Float[np.ndarray, "four region"]]:
        """With the empty regions, whose rates are fixed."""
        value, pulls = super()._heights(mu)
        rate = mu[:, None] * self.signal + self.four.background
        value = value + 2 * np.sum(np.where(self.four.empty, rate, 0.0), axis=1)
        return value, np.where(self.four.empty, 1.0, pulls)

    def _residuals(self, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Largest residual over signal, and their mean, after the nuisances are fitted at mu."""
        seen = self.signal > 1e-16
        _, pulls = self._heights(mu)
        shift = -np.einsum("fij,fj->fi", self.four.covariance, pulls)
        central = self.four.background
        counts = np.where(self.four.empty, 0.0, np.asarray(self.four.bank.models.observed))
        ratio = ((counts - central - shift) / np.where(seen, self.signal, 1.0))[:, seen]
        rate = self.signal + central + shift
        curvature = (counts * self.signal**2 / np.where(rate == 0, 1.0, rate) ** 2)[:, seen]
        weight = np.where(curvature > 0, curvature, 1.0)
        return ratio.max(axis=1), np.sum(weight * ratio, axis=1) / weight.sum(axis=1)

    def _edge(self) -> np.ndarray:
        _, mean = self._residuals(np.zeros(4))
        largest, _ = self._residuals(mean)
        edge = np.where(largest > 0, WIDENER * largest + SMALLEST_EDGE, SMALLEST_EDGE)
        return np.maximum(edge, SMALLEST_EDGE).reshape(2, 2)


class ObservedAsAsimov(Curves):
    """A likelihood whose Asimov data are the observed ones, expected limits aside.

    Args:
        curves: The likelihood.
    """

    def __init__(self, curves: Curves):
        self.curves = curves
        self.num_regions, self.scale = curves.num_regions, curves.scale
        self.highest_mu = curves.highest_mu.copy()
        self.highest_mu[OBSERVED, ASIMOV] = self.highest_mu[OBSERVED, DATA]

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """The same, with the observed data in place of their Asimov data."""
        found = self.curves.at(mu)
        moved = mu.copy()
        moved[OBSERVED, DATA] = mu[OBSERVED, ASIMOV]
        other = self.curves.at(moved)
        for new, old in zip(found, other, strict=True):
            new[OBSERVED, ASIMOV] = old[OBSERVED, DATA]
        return found

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """Those of the likelihood."""
        return self.curves.constants
