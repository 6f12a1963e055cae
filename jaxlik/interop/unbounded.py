r"""Parameters between bounds as numbers without bounds, for samplers that need such.

$$ \theta = l + \frac{u - l}{1 + e^{-y}}, \qquad \theta = l + e^y \;(u = \infty), \qquad
   \theta = u - e^y \;(l = -\infty), \qquad \theta = y \text{ without bounds} $$

and $y = \hat y + A z$. With $A A^T$ the inverse of the Hessian at a fit, z is nearly a standard
normal vector, on which Hamiltonian samplers need few steps; without a fit A is one. The density of
z is that of the parameters, flat between bounds times L, with ln |d theta/dy| added.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlik.interop.objective_base import Objective
from jaxlik.interop.objective_nll import AbstractNll
from jaxlik.typing import Array, Bool, Float, Scalar

MARGIN = 1e-4
"""Chains start at least this part of a parameter's range away from its bounds."""

WIDEST = 10.0
"""Largest standard deviation of y that the coordinates follow."""


class Bounds(eqx.Module):
    """Finite bounds, and whether there are any.

    Attributes:
        low: Lower bound, zero where there is none.
        high: Upper bound, zero where there is none.
        has_low: Whether there is a lower one.
        has_high: Whether there is an upper one.
    """

    low: Float[Array, " parameter"]
    high: Float[Array, " parameter"]
    has_low: Bool[Array, " parameter"]
    has_high: Bool[Array, " parameter"]

    def inward(
        self, y: Float[Array, " parameter"]
    ) -> tuple[Float[Array, " parameter"], Float[Array, " parameter"]]:
        """Parameters, and ln |d theta/dy| of each."""
        both = self.has_low & self.has_high
        one = self.has_low ^ self.has_high
        span = jnp.where(both, self.high - self.low, 1.0)
        # A gradient runs through all branches of `where`.
        steep = jnp.exp(jnp.where(one, y, 0.0))
        half = jnp.where(self.has_low, self.low + steep, self.high - steep)
        values = jnp.where(both, self.low + span * jax.nn.sigmoid(y), jnp.where(one, half, y))
        log_slopes = jnp.log(span) + jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
        return values, jnp.where(both, log_slopes, jnp.where(one, y, 0.0))


class Unbounded(eqx.Module):
    """A likelihood in coordinates z without bounds; a pytree, so that programs take it as data.

    Attributes:
        nll: Of the free parameters.
        bounds: Of these.
        centre: y at z = 0.
        spread: A.
        held: All parameters, those that are fixed among them.
        free: Positions of the free ones.
        names: Of all parameters.
    """

    nll: AbstractNll
    bounds: Bounds
    centre: Float[Array, " free"]
    spread: Float[Array, "free free"]
    held: Float[Array, " parameter"]
    free: Array
    names: tuple[str, ...] = eqx.field(static=True)

    def log_density(self, z: Float[Array, " free"]) -> Scalar:
        """Logarithm of the density of z, up to a constant; `-inf` where impossible, never `nan`."""
        values, log_slopes = self.bounds.inward(self.centre + self.spread @ z)
        found = jnp.sum(log_slopes) - self.nll.nll(values)
        return jnp.where(jnp.isnan(found), -jnp.inf, found)

    def potential(self, z: Float[Array, " free"]) -> Scalar:
        """Minus `log_density`."""
        return -self.log_density(z)

    def parameters(self, z: Float[Array, " free"]) -> Float[Array, " parameter"]:
        """All parameters of coordinates."""
        values, _ = self.bounds.inward(self.centre + self.spread @ z)
        return self.held.at[self.free].set(values)

    @property
    def start(self) -> Float[Array, " free"]:
        """Where chains start: the starting values of the objective, or the fit."""
        return jnp.zeros_like(self.centre)


class Draws(NamedTuple):
    """Draws of all parameters.

    Attributes:
        values: Fixed parameters are constant.
        names: Of the axis ``parameter``.
    """

    values: Float[np.ndarray, "*draws parameter"]
    names: tuple[str, ...]

    def named(self) -> dict[str, np.ndarray]:
        """Draws of each parameter by name."""
        return {name: self.values[..., i] for i, name in enumerate(self.names)}


def unbounded(objective: Objective, *, at: ArrayLike | None = None) -> Unbounded:
    """An objective in coordinates without bounds (host).

    Args:
        objective: The likelihood; its fixed parameters are held.
        at: All parameters at a minimum, for example ``minimize(objective).x``: coordinates are
            then whitened by the Hessian there. Starting values and no whitening by default.
    """
    reduced = objective.reduced
    bounds = bounds_of(reduced.lower, reduced.upper)
    whole = objective.initial if at is None else np.asarray(at, dtype=np.float64)
    centre = outward(whole[objective.free], reduced.lower, reduced.upper)
    spread = np.eye(len(centre))
    if at is not None:
        hessian = objective.hessian(whole)[np.ix_(objective.free, objective.free)]
        log_slopes = np.asarray(bounds.inward(jnp.asarray(centre))[1])
        spread = _root(hessian, np.exp(log_slopes))
    return Unbounded(
        reduced.nll,
        bounds,
        jnp.asarray(centre),
        jnp.asarray(spread),
        jnp.asarray(objective.initial),
        jnp.asarray(objective.free),
        objective.names,
    )


def bounds_of(
    lower: Float[np.ndarray, " parameter"], upper: Float[np.ndarray, " parameter"]
) -> Bounds:
    """Bounds that may be infinite."""
    has_low, has_high = np.isfinite(lower), np.isfinite(upper)
    return Bounds(
        jnp.asarray(np.where(has_low, lower, 0.0)),
        jnp.asarray(np.where(has_high, upper, 0.0)),
        jnp.asarray(has_low),
        jnp.asarray(has_high),
    )


def outward(
    values: Float[np.ndarray, " parameter"],
    lower: Float[np.ndarray, " parameter"],
    upper: Float[np.ndarray, " parameter"],
) -> Float[np.ndarray, " parameter"]:
    """Coordinates y of parameters, pulled off their bounds by `MARGIN`."""
    has_low, has_high = np.isfinite(lower), np.isfinite(upper)
    both = has_low & has_high
    low, high = np.where(has_low, lower, 0.0), np.where(has_high, upper, 0.0)
    part = (values - low) / np.where(both, high - low, 1.0)
    part = np.clip(np.where(both, part, 0.5), MARGIN, 1 - MARGIN)
    distance = np.where(has_low, values - low, high - values)
    one = np.log(np.maximum(np.where(has_low ^ has_high, distance, 1.0), MARGIN))
    return np.where(both, np.log(part / (1 - part)), np.where(has_low ^ has_high, one, values))


@eqx.filter_jit
def _parameters(coordinates: Unbounded, z: Array) -> Array:
    flat = z.reshape(-1, z.shape[-1])
    return jax.vmap(coordinates.parameters)(flat).reshape(*z.shape[:-1], -1)


def draws_of(coordinates: Unbounded, z: ArrayLike) -> Draws:
    """Parameters of the draws of a sampler.

    Args:
        coordinates: What was sampled.
        z: Any leading axes, the last one ``free``.
    """
    values = np.asarray(_parameters(coordinates, jnp.asarray(z)))
    return Draws(values, coordinates.names)


def _root(
    hessian: Float[np.ndarray, "free free"], slopes: Float[np.ndarray, " free"]
) -> Float[np.ndarray, "free free"]:
    """A with A A^T the inverse of the Hessian in y; flat directions end at `WIDEST`."""
    values, vectors = np.linalg.eigh(hessian * np.outer(slopes, slopes))
    return vectors / np.sqrt(np.maximum(values, WIDEST**-2))
