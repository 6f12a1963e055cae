"""-ln L of spey's models in public parameters, from the host."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, xlogy

from jaxlik.errors import WorkspaceError
from jaxlik.interop.spey_models import (
    SMALLEST_RATE,
    BinnedModel,
    Constraint,
    Response,
    clipped_at,
    curvature_at,
    rate_at,
    slopes_at,
)
from jaxlik.precision import require_x64
from jaxlik.statmodels.base import LN_TWO_PI
from jaxlik.typing import Array, Float

SMALLEST_COUNT = 1e-10
"""Asimov data below are none [events]: a background at its wall leaves such traces of rounding."""


class Morphing(NamedTuple):
    """Signal nuisances: ln of the factor per standard deviation, for each sign of the nuisance.

    Attributes:
        up: Where the nuisance is positive.
        down: Where it is negative.
    """

    up: Float[np.ndarray, "region source"]
    down: Float[np.ndarray, "region source"]


class BinnedLikelihood:
    """A model of `jaxlik.interop.spey_models`: values and derivatives of -ln L.

    Args:
        signal: Events at mu = 1.
        background: Yield as a function of its nuisances.
        constraint: Of these.
        morphing: Of the signal, if it is uncertain.

    Attributes:
        scale: mu that adds about one standard deviation of events; the unit of fits.

    Raises:
        PrecisionError: JAX is set to 32-bit floats.
    """

    def __init__(
        self,
        signal: Float[np.ndarray, " region"],
        background: Response,
        constraint: Constraint,
        morphing: Morphing | None = None,
    ):
        require_x64()
        self.signal, self.background = signal, background
        self.num_bins = len(signal)
        nothing = np.zeros((self.num_bins, 0))
        self.morphing = Morphing(nothing, nothing) if morphing is None else morphing
        self.num_sources = self.morphing.up.shape[1]
        self.num_parameters = 1 + self.num_bins + self.num_sources
        self.log_normalisation = constraint.log_normalisation + 0.5 * self.num_sources * LN_TWO_PI
        events, spread, _ = (np.asarray(v) for v in background(jnp.zeros(self.num_bins)))
        self.nominal = events
        weight = np.sum(signal**2 / np.maximum(events + spread**2, 1.0))
        self.scale = float(weight**-0.5) if weight > 0 else 1.0
        self.lower = background.lowest(np.zeros(self.num_bins))
        self.upper = background.highest()
        self.padded = _bucket(self.num_bins)
        sources = 1 + self.padded + np.arange(self.num_sources)
        self.rows = np.concatenate([[0], 1 + np.arange(self.num_bins), sources])
        self.bends = np.any(self.morphing.up != self.morphing.down, axis=0)
        self.model = self._padded_model(constraint)

    def _padded_model(self, constraint: Constraint) -> BinnedModel:
        more = self.padded - self.num_bins
        sources = _bucket(self.num_sources) if self.num_sources else 0
        size = self.padded + sources
        precision = np.eye(size)
        precision[: self.num_bins, : self.num_bins] = constraint.precision
        fixed = np.ones(1 + size, bool)
        fixed[self.rows] = False
        # A bin without uncertainty has a nuisance that does nothing but rest at zero.
        return BinnedModel(
            jnp.asarray(np.pad(self.signal * self.scale, (0, more))),
            _padded_response(self.background, more),
            self.padded_morphing(np.ones(self.num_sources)),
            jnp.asarray(precision),
            jnp.asarray(np.linalg.cholesky(precision).T),
            jnp.asarray(fixed),
        )

    def padded_morphing(self, signs: np.ndarray) -> Array:
        """M on the sides of the signal nuisances that the signs name."""
        matrix = np.where(signs >= 0, self.morphing.up, self.morphing.down)
        sources = _bucket(self.num_sources) if self.num_sources else 0
        padding = ((0, self.padded - self.num_bins), (0, sources - self.num_sources))
        return jnp.asarray(np.pad(matrix, padding))

    def _on_side(self, parameters: np.ndarray) -> BinnedModel:
        """The model as it is around these padded parameters."""
        if not self.bends.any():
            return self.model
        signs = parameters[self.rows][1 + self.num_bins :]
        return eqx.tree_at(lambda m: m.morphing, self.model, self.padded_morphing(signs))

    def prepare(self, data: object) -> Float[np.ndarray, " region"]:
        """The events among data, to which spey may append auxiliary ones.

        Raises:
            WorkspaceError: too few, negative, or not finite.
        """
        found = np.asarray(data, float).ravel()[: self.num_bins]
        if len(found) < self.num_bins:
            raise WorkspaceError(
                f"data: {len(found)} numbers, wanted one for each of {self.num_bins} bins"
            )
        if not np.all(np.isfinite(found)) or np.any(found < 0):
            raise WorkspaceError(f"data: found {found.tolist()}, wanted finite counts from zero up")
        return np.where(found < SMALLEST_COUNT, 0.0, found)

    def constant(self, observed: Float[np.ndarray, " region"]) -> float:
        """What -ln L has besides half the deviance."""
        saturated = observed - xlogy(observed, observed) + gammaln(observed + 1)
        return float(np.sum(saturated)) + self.log_normalisation

    def inside(self, parameters: object) -> np.ndarray:
        """Padded parameters in units of fits."""
        given = np.asarray(parameters, float).ravel()
        if len(given) != self.num_parameters:
            raise WorkspaceError(
                f"parameters: {len(given)} numbers, wanted {self.num_parameters}: mu and the "
                "nuisances"
            )
        found = np.zeros(self.model.fixed.shape[0])
        found[self.rows] = given
        found[0] /= self.scale
        return found

    def outside(self, parameters: np.ndarray) -> np.ndarray:
        """Public parameters."""
        found = np.asarray(parameters)[self.rows]
        found[0] *= self.scale
        return found

    def padded_counts(self, observed: np.ndarray) -> np.ndarray:
        """One event in each bin of the padding."""
        return np.pad(observed, (0, self.padded - self.num_bins), constant_values=1.0)

    def nll(self, parameters: object, observed: Float[np.ndarray, " region"]) -> float:
        """-ln L with all constants, rates clipped at 1e-20 as in spey."""
        inside = self.inside(parameters)
        value = clipped_at(self._on_side(inside), inside, self.padded_counts(observed))
        return float(value) + self.constant(observed)

    def nll_and_slopes(
        self, parameters: object, observed: Float[np.ndarray, " region"]
    ) -> tuple[float, np.ndarray]:
        """`nll` and its gradient."""
        inside = self.inside(parameters)
        value, slopes = slopes_at(self._on_side(inside), inside, self.padded_counts(observed))
        gradient = np.asarray(slopes)[self.rows]
        gradient[0] /= self.scale
        return float(value) + self.constant(observed), gradient

    def curvature(self, parameters: object, observed: Float[np.ndarray, " region"]) -> np.ndarray:
        """The Hessian of `nll`."""
        inside = self.inside(parameters)
        found = curvature_at(self._on_side(inside), inside, self.padded_counts(observed))
        stretch = np.where(np.arange(self.num_parameters) == 0, 1 / self.scale, 1.0)
        return np.asarray(found)[np.ix_(self.rows, self.rows)] * np.outer(stretch, stretch)

    def expected(
        self, parameters: object, *, auxiliary: bool = True
    ) -> Float[np.ndarray, " datum"]:
        """Expected events, and zeros for the auxiliary data, which spey never moves."""
        inside = self.inside(parameters)
        rate = np.asarray(rate_at(self._on_side(inside), inside))[: self.num_bins]
        rate = np.maximum(rate, SMALLEST_RATE)
        return np.pad(rate, (0, self.num_parameters - 1)) if auxiliary else rate


def _bucket(size: int) -> int:
    """The next of 8, 16, 24, 32, 48, 64, 96, 128, ...: few sizes, few programs."""
    bucket = 8
    while bucket < size:
        power = 1 << (bucket.bit_length() - 1)
        bucket += max(8, power // 2)
    return bucket


def _padded_response(response: Response, more: int) -> Response:
    """With bins that expect one event."""

    def pad(values: Array, fill: float = 0.0) -> Array:
        return jnp.asarray(np.pad(np.asarray(values), (0, more), constant_values=fill))

    return Response(
        pad(response.offset, 1.0),
        pad(response.slope),
        pad(response.curvature),
        pad(response.square),
        pad(response.tilt),
        response.effective,
    )
