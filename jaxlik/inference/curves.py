r"""Profiled likelihoods as curves in mu, and limits from them, driven from the host.

A limit needs -2 ln L(mu) on data and on background-only Asimov data, their slopes in mu, and
for its own derivatives those with respect to the signal of every region. Whatever gives these,
a counting experiment, a simplified likelihood, a workspace or a sum of them, is a curve.

$$ \frac{\partial \mu_{95}}{\partial s} = -
   \frac{F_q\,\partial_s q + F_{q_A}\,\partial_s q_A}{F_q\,\partial_\mu q + F_{q_A}\,\partial_\mu
   q_A}, \qquad F = \ln \mathrm{CL}_s(q, q_A) $$

by the implicit function theorem, with slopes of profiled likelihoods from the envelope theorem.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.inference.asymptotics import log_cls
from jaxlik.typing import Bool, Float

OBSERVED, EXPECTED = 0, 1
"""Rows of the axis `dataset`: measured data, and the published background in their place."""

DATA, ASIMOV = 0, 1
"""Columns of the axis `kind`: the data themselves, and the background fitted to them."""

MOST_STEPS = 80

TOLERANCE = 1e-7
"""Of a limit, in units of the square root of -2 ln CLs."""

BEST_TOLERANCE = 1e-6
"""Of the best mu, relative; -2 ln L there is right to the square of it."""

FLAT = 1e-7
"""A fall of -2 ln L per `Curves.scale` smaller than this counts as none."""

LARGEST_MU = 1e9


class Heights(NamedTuple):
    """A curve at four values of mu.

    Attributes:
        value: -2 ln L, deviance form.
        slope: Its derivative with respect to mu.
        gradient: With respect to the signal of each region, at fixed mu.
    """

    value: Float[np.ndarray, "dataset kind"]
    slope: Float[np.ndarray, "dataset kind"]
    gradient: Float[np.ndarray, "dataset kind region"]


class Curves(ABC):
    """-2 ln L(mu) with nuisances profiled, on data and Asimov data, observed and expected."""

    num_regions: int
    scale: float
    """A mu at which the signal starts to show; the search begins there. Infinite without."""
    highest_mu: Float[np.ndarray, "dataset kind"] = np.full((2, 2), np.inf)
    """The best mu is looked for below it."""

    @abstractmethod
    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """Evaluate, each data set at its own mu; what is not wanted may be anything."""

    def best(self) -> tuple[Float[np.ndarray, " dataset"], Float[np.ndarray, " dataset"]]:
        """Best mu of both data sets, not below zero, and -2 ln L there."""
        fit = fit_curves(self)
        return fit.mu_hat, fit.lowest

    @property
    @abstractmethod
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """What to add to half the deviance on the data for -ln L with all its constants."""


class SumOfCurves(Curves):
    """Results that share nothing but mu.

    Args:
        parts: Their curves; the axis `region` is that of all of them, one after the other.
    """

    def __init__(self, parts: Sequence[Curves]):
        self.parts = tuple(parts)
        self.num_regions = sum(part.num_regions for part in self.parts)
        inverse = sum(part.scale**-2 for part in self.parts)
        self.scale = inverse**-0.5 if inverse > 0 else np.inf

    def at(
        self,
        mu: Float[np.ndarray, "dataset kind"],
        wanted: Bool[np.ndarray, "dataset kind"] | None = None,
    ) -> Heights:
        """The sum of all parts."""
        found = [part.at(mu, wanted) for part in self.parts]
        return Heights(
            np.sum([part.value for part in found], axis=0),
            np.sum([part.slope for part in found], axis=0),
            np.concatenate([part.gradient for part in found], axis=2),
        )

    @property
    def constants(self) -> Float[np.ndarray, " dataset"]:
        """Of all parts."""
        return np.sum([part.constants for part in self.parts], axis=0)


class CurveFit(NamedTuple):
    """Best mu and upper limit of a curve.

    Attributes:
        mu_hat: Best mu, not below zero.
        lowest: -2 ln L there, deviance form.
        limit: mu excluded at the level, by CLs; infinite where nothing constrains the signal.
        limit_gradient: Its derivative with respect to the signal of each region.
    """

    mu_hat: Float[np.ndarray, " dataset"]
    lowest: Float[np.ndarray, " dataset"]
    limit: Float[np.ndarray, " dataset"]
    limit_gradient: Float[np.ndarray, "dataset region"]


@jax.jit
@jax.vmap
def _log_cls(q: jax.Array, q_asimov: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ln CLs and its derivatives with respect to both statistics."""
    value, slopes = jax.value_and_grad(log_cls, argnums=(0, 1))(q, q_asimov)
    return value, *slopes


def fit_curves(curves: Curves, *, level: float = 0.95) -> CurveFit:
    """Best mu and upper limits, observed and expected.

    Args:
        curves: Convex near their minimum, as likelihoods of signals that add events are.
        level: Confidence level.

    Raises:
        ConvergenceError: a likelihood is undefined, or a root is not found to its tolerance.
    """
    datasets = 2
    if not np.isfinite(curves.scale):
        nothing = np.zeros((datasets, curves.num_regions))
        lowest = curves.at(np.zeros((datasets, 2))).value[:, DATA]
        return CurveFit(np.zeros(datasets), lowest, np.full(datasets, np.inf), nothing)
    mu_hat = np.minimum(_minimum(curves), curves.highest_mu)
    best = curves.at(mu_hat)
    limit, here = _limit(curves, mu_hat, best, level)
    return CurveFit(
        mu_hat[:, DATA], best.value[:, DATA], limit, _gradient(limit, here, mu_hat, best)
    )


def _minimum(curves: Curves) -> Float[np.ndarray, "dataset kind"]:
    """Zeros of the slopes, not below mu = 0: regula falsi, all data sets at once."""
    mu = np.zeros((2, 2))
    slope = curves.at(mu).slope
    _check_defined(slope, mu)
    rising = slope * curves.scale >= -FLAT
    low, low_slope = mu.copy(), slope.copy()
    high, high_slope = np.full((2, 2), np.inf), np.full((2, 2), np.nan)
    mu = np.where(rising, 0.0, curves.scale)
    done = rising.copy()
    last = np.zeros((2, 2))
    for _ in range(MOST_STEPS):
        if done.all():
            break
        slope = curves.at(mu, ~done).slope
        _check_defined(np.where(done, 0.0, slope), mu)
        below = ~done & (slope < 0)
        above = ~done & (slope >= 0)
        # Anderson and Bjoerck: a bound that stays put twice counts less, so that both move in.
        with np.errstate(invalid="ignore", divide="ignore"):
            shrink_high, shrink_low = 1 - slope / low_slope, 1 - slope / high_slope
        shrink_high = np.where(shrink_high > 0, shrink_high, 0.5)
        shrink_low = np.where(shrink_low > 0, shrink_low, 0.5)
        high_slope = np.where(below & (last < 0), shrink_high * high_slope, high_slope)
        low_slope = np.where(above & (last > 0), shrink_low * low_slope, low_slope)
        low, low_slope = np.where(below, mu, low), np.where(below, slope, low_slope)
        high, high_slope = np.where(above, mu, high), np.where(above, slope, high_slope)
        last = np.where(below, -1, np.where(above, 1, last))
        bracketed = np.isfinite(high)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = low_slope / (low_slope - high_slope)
            inner = low + np.where(np.isfinite(share), share, 0.5) * (high - low)
        following = np.where(bracketed, inner, np.minimum(4 * mu, LARGEST_MU))
        tight = np.abs(following - mu) <= BEST_TOLERANCE * np.maximum(mu, curves.scale)
        stays = done | (slope == 0) | (mu >= LARGEST_MU)
        mu = np.where(stays, mu, following)
        done = stays | (bracketed & tight)
    if not done.all():
        raise ConvergenceError(
            f"best mu: after {MOST_STEPS} steps still between {_listed(low[~done])} and "
            f"{_listed(high[~done])}, wanted to {BEST_TOLERANCE:g} of itself; the likelihood may "
            f"jump there: look at it as a function of mu"
        )
    return mu


def _check_defined(values: np.ndarray, mu: np.ndarray) -> None:
    """Raise if something is not a number; `mu` says where."""
    bad = np.isnan(values)
    if bad.any():
        raise ConvergenceError(
            f"likelihood: undefined at mu = {_listed(np.broadcast_to(mu, bad.shape)[bad])}; "
            f"check the rates of signal and background for nan and infinities"
        )


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.7g}" for value in values.ravel())


def _statistics(mu, heights: Heights, mu_hat, best: Heights) -> tuple[np.ndarray, np.ndarray]:
    """q~ on data and on Asimov data, ``dataset kind``, and whether mu is above the best one."""
    value = np.maximum(heights.value - best.value, 0.0)
    above = np.stack([mu >= mu_hat[:, DATA], np.ones(2, dtype=bool)], axis=1)
    return np.where(above, value, 0.0), above


def _limit(
    curves: Curves, mu_hat: np.ndarray, best: Heights, level: float
) -> tuple[np.ndarray, Heights]:
    """Where CLs falls to the target, by Newton in sqrt(-2 ln CLs) inside a bracket."""
    target = np.sqrt(-2 * np.log1p(-level))
    start = np.maximum(mu_hat[:, DATA], 0.0)
    low, high = start.copy(), np.full(2, np.inf)
    mu = start + 2 * curves.scale
    done = np.zeros(2, dtype=bool)
    heights = None
    for _ in range(MOST_STEPS):
        new = curves.at(np.stack([mu, mu], axis=1), np.stack([~done, ~done], axis=1))
        heights = new if heights is None else _updated(heights, new, ~done)
        q, above = _statistics(mu, heights, mu_hat, best)
        log_value, by_q, by_asimov = (np.asarray(x) for x in _log_cls(q[:, 0], q[:, 1]))
        slope = np.where(above, heights.slope, 0.0)
        y = np.sqrt(np.maximum(-2 * log_value, 0.0))
        _check_defined(np.where(done, 0.0, y), mu)
        with np.errstate(invalid="ignore", divide="ignore"):
            steepness = -(by_q * slope[:, 0] + by_asimov * slope[:, 1]) / y
            newton = mu + (target - y) / steepness
        low, high = np.where(y < target, mu, low), np.where(y < target, high, mu)
        inside = (newton > low) & (newton < high)
        upward = np.where(inside, np.minimum(newton, 4 * mu), 4 * mu)
        following = np.where(np.isinf(high), upward, np.where(inside, newton, 0.5 * (low + high)))
        close = np.abs(y - target) <= TOLERANCE
        tight = np.isfinite(high) & (high - low <= 1e-14 * high)
        done |= close | tight | (mu >= LARGEST_MU)
        if done.all():
            break
        mu = np.where(done, mu, following)
    else:
        raise ConvergenceError(
            f"upper limit: after {MOST_STEPS} steps still between {_listed(low[~done])} and "
            f"{_listed(high[~done])}, wanted sqrt(-2 ln CLs) to {TOLERANCE:g}; the likelihood may "
            f"jump there: look at it as a function of mu"
        )
    assert heights is not None
    return np.where(mu >= LARGEST_MU, np.inf, mu), heights


def _updated(old: Heights, new: Heights, rows: Bool[np.ndarray, " dataset"]) -> Heights:
    """Heights with some data sets replaced."""
    return Heights(
        np.where(rows[:, None], new.value, old.value),
        np.where(rows[:, None], new.slope, old.slope),
        np.where(rows[:, None, None], new.gradient, old.gradient),
    )


def _gradient(
    limit: np.ndarray, here: Heights, mu_hat: np.ndarray, best: Heights
) -> Float[np.ndarray, "dataset region"]:
    """Derivatives of the limits with respect to the signal of each region."""
    q, above = _statistics(limit, here, mu_hat, best)
    _, by_q, by_asimov = (np.asarray(x) for x in _log_cls(q[:, 0], q[:, 1]))
    weight = np.stack([by_q, by_asimov], axis=1) * above
    moved = here.gradient - np.where(mu_hat[:, :, None] > 0, best.gradient, 0.0)
    along = np.sum(weight * here.slope, axis=1)
    across = np.sum(weight[:, :, None] * moved, axis=1)
    known = np.isfinite(limit) & (along != 0)
    safe = np.where(known, along, 1.0)
    return np.where(known[:, None], -across / safe[:, None], 0.0)


def log_cls_at(curves: Curves, mu: float) -> Float[np.ndarray, " dataset"]:
    """Ln CLs at one mu, observed and expected."""
    mu_hat = np.minimum(_minimum(curves), curves.highest_mu)
    best, here = curves.at(mu_hat), curves.at(np.full((2, 2), mu))
    q, _ = _statistics(np.full(2, mu), here, mu_hat, best)
    return np.asarray(_log_cls(jnp.asarray(q[:, 0]), jnp.asarray(q[:, 1]))[0])
