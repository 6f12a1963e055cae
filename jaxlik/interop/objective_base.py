"""-ln L as a function of one flat vector of named parameters, for NumPy and for JAX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlik.errors import ConfigError
from jaxlik.interop.objective_nll import (
    BATCH,
    CONSTANT,
    HESSIAN,
    VALUE,
    VALUE_AND_GRADIENT,
    AbstractNll,
    Frame,
    FunctionNll,
    RestrictedNll,
    is_array,
)
from jaxlik.precision import require_x64
from jaxlik.typing import Array, Scalar

SHOWN = 5
"""Parameters named in a message."""


def _unknown(names: Sequence[str], known: Sequence[str]) -> str:
    more = "" if len(known) <= SHOWN else f" and {len(known) - SHOWN} more"
    return (
        f"parameters {sorted(names)} are not of this likelihood, whose parameters are "
        f"{', '.join(known[:SHOWN])}{more}; take names from `Objective.names`"
    )


@dataclass(frozen=True, eq=False)
class Objective:
    """-ln L of named parameters, ready for minimisers and samplers.

    Values are in deviance form (zero where rates equal data and constraints rest) unless the
    constructor says otherwise; `constant` is what pyhf's ``-logpdf`` has more.

    Attributes:
        nll: The likelihood as a JAX object: `nll.nll(x)` may be traced, differentiated, vmapped.
        names: Of the parameters; they fix the order of every vector.
        initial: Where fits and chains start.
        lower: Bounds, infinite where there is none.
        upper: Bounds.
        fixed: Parameters that stay at `initial`.
        centre: Of the Gaussian constraint ((x - centre)/width)^2/2 that -ln L holds.
        width: Of the same; infinite where there is none.

    Raises:
        ConfigError: lengths or bounds that do not fit.
        PrecisionError: JAX is set to 32-bit floats.
    """

    nll: AbstractNll
    names: tuple[str, ...]
    initial: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    fixed: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    centre: np.ndarray = field(default_factory=lambda: np.zeros(0))
    width: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self):
        require_x64()
        size = len(self.names)
        for name, fill in (("fixed", False), ("centre", 0.0), ("width", np.inf)):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(size, fill))
        for name in ("initial", "lower", "upper", "fixed", "centre", "width"):
            kind = bool if name == "fixed" else np.float64
            values = np.array(getattr(self, name), dtype=kind)
            if values.shape != (size,):
                raise ConfigError(
                    f"{name} of an objective has shape {values.shape}, wanted ({size},), one for "
                    "each name"
                )
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if len(set(self.names)) != size:
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ConfigError(f"parameter names {twice} occur twice, wanted different ones")
        inside = (self.lower <= self.initial) & (self.initial <= self.upper)
        bad = np.flatnonzero(~(inside & np.isfinite(self.initial)) & ~self.fixed)
        if bad.size:
            i = bad[0]
            raise ConfigError(
                f"parameter {self.names[i]} starts at {self.initial[i]:g}, wanted a number from "
                f"{self.lower[i]:g} to {self.upper[i]:g}; see `Objective.with_bounds`"
            )

    def __reduce__(self):
        parts = (self.initial, self.lower, self.upper, self.fixed, self.centre, self.width)
        return Objective, (self.nll, self.names, *parts)

    @property
    def num_parameters(self) -> int:
        """Length of the vectors, fixed parameters included."""
        return len(self.names)

    @cached_property
    def _frame(self) -> Frame:
        return Frame(self.nll)

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """All numbers of the likelihood on the device; with `at`, to pass them to a program."""
        return tuple(jnp.asarray(leaf) for leaf in jax.tree.leaves(self.nll) if is_array(leaf))

    def at(self, arrays: Sequence[Array]) -> AbstractNll:
        """The likelihood with these numbers, traced ones for example, in place of its own."""
        return self._frame.whole(arrays)

    def value(self, x: ArrayLike) -> float:
        """-ln L.

        Args:
            x: All parameters, in the order of `names`.

        Raises:
            ConfigError: another shape, or a number that is not finite.
        """
        return float(VALUE(self._frame, self.arrays, self._checked(x)))

    def value_and_gradient(self, x: ArrayLike) -> tuple[float, np.ndarray]:
        """-ln L and its gradient, zero for fixed parameters; arguments as for `value`."""
        value, gradient = VALUE_AND_GRADIENT(self._frame, self.arrays, self._checked(x))
        return float(value), np.where(self.fixed, 0.0, gradient)

    def gradient(self, x: ArrayLike) -> np.ndarray:
        """Gradient of -ln L; arguments as for `value`."""
        return self.value_and_gradient(x)[1]

    def hessian(self, x: ArrayLike) -> np.ndarray:
        """Second derivatives of -ln L, zero for fixed parameters; arguments as for `value`."""
        found = HESSIAN(self._frame, self.arrays, self._checked(x))
        return np.where(self.fixed[:, None] | self.fixed[None, :], 0.0, found)

    def batch(self, xs: ArrayLike) -> np.ndarray:
        """-ln L of many points in one call; another number of points compiles anew.

        Args:
            xs: Axes ``point parameter``.

        Raises:
            ConfigError: another shape, or a number that is not finite.
        """
        return np.asarray(BATCH(self._frame, self.arrays, self._checked(xs, points=True)))

    @property
    def constant(self) -> float:
        """What to add for -ln L with all constants, as pyhf's ``-logpdf``."""
        return float(CONSTANT(self._frame, self.arrays))

    def covariance(self, x: ArrayLike) -> np.ndarray:
        """Inverse of the Hessian over the parameters that are neither fixed nor at a bound.

        Zero for the others.
        """
        point = self._checked(x)
        moves = np.flatnonzero(~self.fixed & (point > self.lower) & (point < self.upper))
        block = np.ix_(moves, moves)
        found = np.zeros((self.num_parameters, self.num_parameters))
        found[block] = np.linalg.inv(self.hessian(point)[block])
        return found

    def named(self, x: ArrayLike) -> dict[str, float]:
        """Parameters by name."""
        return dict(zip(self.names, self._checked(x).tolist(), strict=True))

    def vector(self, values: Mapping[str, float]) -> np.ndarray:
        """A vector from named values; parameters not named are at `initial`.

        Raises:
            ConfigError: an unknown name.
        """
        x = self.initial.copy()
        for name, value in values.items():
            x[self._position(name)] = value
        return x

    def with_initial(self, values: Mapping[str, float]) -> "Objective":
        """The same likelihood with other starting values."""
        return replace(self, initial=self.vector(values))

    def with_fixed(self, values: Mapping[str, float]) -> "Objective":
        """The same likelihood with some parameters fixed at these values."""
        fixed = self.fixed.copy()
        fixed[[self._position(name) for name in values]] = True
        return replace(self, initial=self.vector(values), fixed=fixed)

    def with_bounds(self, bounds: Mapping[str, tuple[float, float]]) -> "Objective":
        """The same likelihood with other bounds; starting values are moved inside.

        Raises:
            ConfigError: an unknown name, or bounds in the wrong order.
        """
        lower, upper = self.lower.copy(), self.upper.copy()
        for name, (low, high) in bounds.items():
            if not low <= high:
                raise ConfigError(
                    f"bounds of {name} are {low:g} and {high:g}, wanted the lower one first"
                )
            lower[self._position(name)], upper[self._position(name)] = low, high
        initial = np.where(self.fixed, self.initial, np.clip(self.initial, lower, upper))
        return replace(self, initial=initial, lower=lower, upper=upper)

    @cached_property
    def free(self) -> np.ndarray:
        """Positions of the parameters that are not fixed."""
        return np.flatnonzero(~self.fixed)

    @cached_property
    def reduced(self) -> "Objective":
        """The objective of the parameters that are not fixed; itself where none is."""
        if not self.fixed.any():
            return self
        keep = self.free
        return Objective(
            RestrictedNll(self.nll, jnp.asarray(keep), jnp.asarray(self.initial)),
            tuple(self.names[i] for i in keep),
            *(getattr(self, name)[keep] for name in ("initial", "lower", "upper")),
            centre=self.centre[keep],
            width=self.width[keep],
        )

    def expanded(self, x: ArrayLike) -> np.ndarray:
        """All parameters from those of `reduced`; a leading axis of points is kept."""
        x = np.asarray(x, dtype=np.float64)
        found = np.broadcast_to(self.initial, (*x.shape[:-1], self.num_parameters)).copy()
        found[..., self.free] = x
        return found

    def _position(self, name: str) -> int:
        if name not in self.names:
            raise ConfigError(_unknown([name], self.names))
        return self.names.index(name)

    def _checked(self, x: ArrayLike, *, points: bool = False) -> np.ndarray:
        values = np.asarray(x, dtype=np.float64)
        size = self.num_parameters
        if values.ndim != 1 + points or values.shape[-1] != size:
            wanted = f"(points, {size})" if points else f"({size},)"
            raise ConfigError(
                f"parameters have shape {values.shape}, wanted {wanted}: "
                f"{', '.join(self.names[:SHOWN])}{', ...' if size > SHOWN else ''}"
            )
        finite = np.isfinite(values)
        if not finite.all():
            where = np.argwhere(~finite)[0]
            raise ConfigError(
                f"parameter {self.names[where[-1]]} is {values[tuple(where)]}, wanted a finite "
                "number; a minimiser that asks for this has diverged: give bounds or a better start"
            )
        return values


def objective_of_function(
    nll_fn: Callable[..., Scalar],
    initial: Mapping[str, float],
    *arguments: Any,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Objective:
    """Any JAX function of a vector as an objective, sums of jaxlik's likelihoods for example.

    Args:
        nll_fn: -ln L of the vector and of `arguments`; the same function object each time, since
            programs are compiled for it.
        initial: Names and starting values, in the order of the vector.
        arguments: Pytrees of arrays: models, data; other values compile nothing.
        bounds: Lower and upper ones, by name; none by default.
    """
    size = len(initial)
    whole = Objective(
        FunctionNll(nll_fn, arguments),
        tuple(initial),
        np.array(list(initial.values()), dtype=np.float64),
        np.full(size, -np.inf),
        np.full(size, np.inf),
    )
    return whole.with_bounds(bounds or {})
