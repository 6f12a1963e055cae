"""Fits of spey's models from the host: starts, bounds, signals below zero, certificates."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from jaxlik.errors import ConvergenceError
from jaxlik.inference.bounded import BoundedMinimum
from jaxlik.interop.spey_likelihood import BinnedLikelihood
from jaxlik.interop.spey_models import BinnedModel, FitTask, certified_minimum, slopes_at
from jaxlik.typing import Float

CERTIFIED = 1e-6
"""Largest component of the projected gradient of -ln L that a fit may leave."""

FARTHEST = 1e9
"""Fits look for mu up to this many times its natural unit."""

LEAST_SHARE = 1e-6
"""Rates stay above this share of the events counted; a pull would have to be of 1e6 per event."""

_MOST_REMEMBERED = 64

Bounds = list[tuple[float | None, float | None]]


class Fit(NamedTuple):
    """A certified minimum.

    Attributes:
        nll: -ln L with all constants.
        parameters: mu, then the nuisances.
        slope: Of the profiled nll in mu; zero where mu is free.
        certificate: Largest component of the projected gradient.
    """

    nll: float
    parameters: Float[np.ndarray, " parameter"]
    slope: float
    certificate: float


class BinnedFits:
    """Fits of one likelihood, each starting where the last one to the same data ended.

    Args:
        of: The likelihood.
    """

    def __init__(self, of: BinnedLikelihood):
        self.of = of
        self._near: dict[bytes, np.ndarray] = {}

    def fit(
        self,
        observed: Float[np.ndarray, " region"],
        held: dict[int, float],
        *,
        lowest: float = 0.0,
        highest: float = np.inf,
        bounds: Bounds | None = None,
        start: object = None,
    ) -> Fit:
        """The best parameters.

        Args:
            observed: Events.
            held: Values of parameters that stay; mu is number zero.
            lowest: Smallest mu if it is free.
            highest: Largest mu if it is free.
            bounds: Of all parameters, in addition.
            start: Parameters to begin with.

        Raises:
            ConvergenceError: the conditions of a minimum are not met.
        """
        given = None if start is None else self.of.inside(start)
        window = _range(lowest, highest, bounds)
        if 0 in held or not np.any(self.of.signal):
            return self._at(observed, {0: 0.0, **held}, bounds, given)
        found = self._minimum(observed, held, window, bounds, given)
        mu = float(found.position[0]) * self.of.scale
        walls = np.any((observed == 0) & (mu * self.of.signal < 0))
        if walls or not float(found.certificate) <= CERTIFIED:
            # Walls of empty bins move with mu.
            return self._searched(observed, held, window, bounds)
        return self._certified(found, observed, "with mu free")

    def _at(
        self,
        observed: np.ndarray,
        held: dict[int, float],
        bounds: Bounds | None,
        near: np.ndarray | None,
    ) -> Fit:
        found = self._minimum(observed, held, None, bounds, near)
        return self._certified(found, observed, f"at mu = {held[0]:g}")

    def _minimum(
        self,
        observed: np.ndarray,
        held: dict[int, float],
        window: tuple[float, float] | None,
        bounds: Bounds | None,
        near: np.ndarray | None,
    ) -> BoundedMinimum:
        """A compiled fit; where factors bend at zero, one after the other on each side."""
        task = self._task(observed, held, window, bounds, near)
        if not self.of.bends.any():
            return self._remembered(self._run(self.of.model, task), observed)
        sources = self.of.rows[1 + self.of.num_bins :]
        signs = np.where(np.asarray(task.near)[sources] < 0, -1.0, 1.0)
        for _ in range(2 + 2 * self.of.num_sources):
            side = self._sided(task, signs)
            model = eqx.tree_at(lambda m: m.morphing, self.of.model, self.of.padded_morphing(signs))
            found = self._run(model, side)
            position = np.asarray(found.position)
            other = eqx.tree_at(
                lambda m: m.morphing, self.of.model, self.of.padded_morphing(-signs)
            )
            slopes = np.asarray(slopes_at(other, position, task.observed)[1])[sources]
            leaves = (position[sources] == 0) & self.of.bends & (slopes * -signs < -CERTIFIED)
            leaves &= ~np.asarray(task.held)[sources]
            if not leaves.any():
                return self._remembered(found, observed)
            signs = np.where(leaves, -signs, signs)
            task = task._replace(near=position)
        return found._replace(certificate=jnp.asarray(np.inf))

    def _sided(self, task: FitTask, signs: np.ndarray) -> FitTask:
        """The task with signal nuisances that bend kept on one side of zero."""
        lower, upper, start = (np.array(v) for v in (task.lower, task.upper, task.start))
        sources = self.of.rows[1 + self.of.num_bins :]
        low, high = self.of.bends & (signs > 0), self.of.bends & (signs < 0)
        lower[sources] = np.where(low, np.maximum(lower[sources], 0.0), lower[sources])
        upper[sources] = np.where(high, np.minimum(upper[sources], 0.0), upper[sources])
        return task._replace(lower=lower, upper=upper, start=start)

    def _run(self, model: BinnedModel, task: FitTask) -> BoundedMinimum:
        found = certified_minimum(model, task)
        if not float(found.certificate) <= CERTIFIED:
            found = certified_minimum(model, task._replace(near=task.start))
        return found

    def _remembered(self, found: BoundedMinimum, observed: np.ndarray) -> BoundedMinimum:
        """The fit, kept as a start for the next one to the same data."""
        if float(found.certificate) <= CERTIFIED:
            if len(self._near) > _MOST_REMEMBERED:
                self._near.clear()
            self._near[observed.tobytes()] = np.asarray(found.position)
        return found

    def _task(
        self,
        observed: np.ndarray,
        held: dict[int, float],
        window: tuple[float, float] | None,
        bounds: Bounds | None,
        near: np.ndarray | None,
    ) -> FitTask:
        """What a fit needs to know, padded."""
        mu = held.get(0, 0.0)
        if window is not None:
            mu = float(np.clip(0.0 if near is None else near[0] * self.of.scale, *window))
        lower, upper = self._limits(observed, mu, window is not None, bounds)
        start = self._start(observed, mu, lower, upper)
        stays = np.zeros(len(lower), dtype=bool)
        for position, value in held.items():
            row = self.of.rows[position]
            stays[row], start[row] = True, value / (self.of.scale if position == 0 else 1.0)
        if window is not None:
            lower[0], upper[0] = (edge / self.of.scale for edge in window)
        near = self._near.get(observed.tobytes(), start) if near is None else near
        counts = self.of.padded_counts(observed)
        return FitTask(counts, near, start, lower, upper, stays)  # type: ignore[reportArgumentType]

    def _limits(
        self, observed: np.ndarray, mu: float, free: bool, bounds: Bounds | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of all padded parameters, those of nuisances from backgrounds and rates."""
        low, high = (np.full(len(self.of.rows), sign * np.inf) for sign in (-1, 1))
        span = slice(1, 1 + self.of.num_bins)
        low[span], high[span] = self.of.lower, self.of.upper
        # Signals below zero: the rate of an empty bin ends before its background does. Where mu is
        # held, bins with events keep a little distance from their wall, where -ln L is infinite.
        least = np.zeros(self.of.num_bins) if free else LEAST_SHARE * observed
        missing = least - mu * self.of.signal
        walls = missing > 0
        if walls.any():
            reached = self.of.background.lowest(np.where(walls, missing, 0.0))
            low[span] = np.where(walls, reached, low[span])
        for position, pair in enumerate(bounds or []):
            if position == 0 or pair is None:
                continue
            low[position] = max(low[position], -np.inf if pair[0] is None else pair[0])
            high[position] = min(high[position], np.inf if pair[1] is None else pair[1])
        lower, upper = (np.zeros(self.of.model.fixed.shape[0]) for _ in "lu")
        lower[self.of.rows], upper[self.of.rows] = low, high
        return lower, upper

    def _start(
        self, observed: np.ndarray, mu: float, lower: np.ndarray, upper: np.ndarray
    ) -> np.ndarray:
        """Nuisances at rest, or where every bin that counted something expects something."""
        start = np.zeros(len(lower))
        start[0] = mu / self.of.scale
        little = 0.1 * observed + 1e-3
        short = (observed > 0) & (self.of.nominal + mu * self.of.signal < little)
        span = slice(1, 1 + self.of.num_bins)
        if short.any():
            wanted = np.maximum(np.where(short, little - mu * self.of.signal, 0.0), little)
            reached = self.of.background.lowest(np.where(short, wanted, 0.0))
            start[span] = np.where(short & np.isfinite(reached), reached, 0.0)
        rest = np.arange(len(lower)) > 0
        return np.where(rest, np.clip(start, lower, upper), start)

    def _searched(
        self,
        observed: np.ndarray,
        held: dict[int, float],
        window: tuple[float, float],
        bounds: Bounds | None,
    ) -> Fit:
        """The zero of the slope of the profile, along which walls of empty bins move."""

        def at(mu: float) -> Fit:
            return self._at(observed, {**held, 0: float(mu)}, bounds, None)

        low, highest = max(window[0], -FARTHEST * self.of.scale), window[1]
        here = at(low)
        if here.slope >= 0:
            return here
        step = self.of.scale
        high = min(max(low, 0.0) + step, highest)
        while at(high).slope < 0:
            if high >= min(highest, FARTHEST * self.of.scale):
                return at(high)
            low, step = high, 3 * step
            high = min(high + step, highest)
        root = brentq(lambda mu: at(float(mu)).slope, low, high, xtol=1e-14, rtol=1e-13)  # type: ignore[reportArgumentType]
        return at(float(root))  # type: ignore[reportArgumentType]

    def _certified(self, found: BoundedMinimum, observed: np.ndarray, which: str) -> Fit:
        """The minimum with its constants, or an error where it is none."""
        certificate, value = float(found.certificate), float(found.value)
        if not (certificate <= CERTIFIED and np.isfinite(value)):
            raise ConvergenceError(
                f"fit {which} of {self.of.num_bins} bins: projected gradient {certificate:.1e} "
                f"after {int(found.num_steps)} steps, wanted below {CERTIFIED:g}; check bins that "
                "count events but expect none, or fit with spey's default backend"
            )
        parameters = self.of.outside(np.asarray(found.position))
        slope = self._slope(parameters, np.asarray(found.gradient)[self.of.rows], observed)
        return Fit(value + self.of.constant(observed), parameters, slope, certificate)

    def _slope(self, parameters: np.ndarray, gradient: np.ndarray, observed: np.ndarray) -> float:
        """Of the profile in mu: d(bound)/d(mu) = -s/g' where the wall of an empty bin holds."""
        slope = float(gradient[0]) / self.of.scale
        walls = (observed == 0) & (parameters[0] * self.of.signal < 0)
        if not walls.any():
            return slope
        span = slice(1, 1 + self.of.num_bins)
        here = self.of.background(jnp.asarray(parameters[span]))
        value, steep = np.asarray(here[0]), np.asarray(here[1])
        touching = walls & (np.abs(parameters[0] * self.of.signal + value) < 1e-9)
        touching &= gradient[span] > 0
        steep = np.where(touching, steep, 1.0)
        return slope + float(
            np.sum(np.where(touching, -gradient[span] * self.of.signal / steep, 0.0))
        )


def _range(lowest: float, highest: float, bounds: Bounds | None) -> tuple[float, float]:
    """Bounds of mu."""
    if bounds:
        low, high = bounds[0]
        lowest = lowest if low is None else max(lowest, float(low))
        highest = highest if high is None else min(highest, float(high))
    return lowest, highest
