"""Objectives in numpyro: as a model, or as a potential for its kernels.

The model has one site for each parameter and the likelihood as a factor; it can be joined with
other sites and priors. The potential is in coordinates without bounds, whitened by a fit if there
is one: the same posterior in less time.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlik.interop.objective_base import Objective
from jaxlik.interop.unbounded import Draws, Unbounded, draws_of, unbounded
from jaxlik.typing import Array, Float, Scalar

FACTOR = "log_likelihood"
"""Site of the likelihood."""


class Potential(NamedTuple):
    """What ``NUTS(potential_fn=...)`` needs, and the way back.

    Attributes:
        potential_fn: Minus the logarithm of the density of z.
        start: z to start from; give a leading axis for several chains (`starts`).
        coordinates: The same as data of compiled functions.
    """

    potential_fn: Callable[[Float[Array, " free"]], Scalar]
    start: Float[Array, " free"]
    coordinates: Unbounded

    def starts(self, num_chains: int, seed: int = 0, spread: float = 0.1) -> np.ndarray:
        """Different starts for several chains, axes ``chain free``."""
        noise = np.random.default_rng(seed).normal(size=(num_chains, len(self.start)))
        return np.asarray(self.start) + spread * noise

    def draws(self, z: ArrayLike) -> Draws:
        """Parameters of draws of z; leading axes are kept."""
        return draws_of(self.coordinates, z)


def numpyro_potential(objective: Objective, *, at: ArrayLike | None = None) -> Potential:
    """The posterior for ``NUTS(potential_fn=...)``: flat between bounds times L.

    Args:
        objective: The likelihood; fixed parameters stay.
        at: All parameters at a minimum, to whiten the coordinates by its Hessian.
    """
    coordinates = unbounded(objective, at=at)
    return Potential(coordinates.potential, coordinates.start, coordinates)


def numpyro_model(objective: Objective) -> Callable[..., None]:
    """A model for numpyro with a site for each parameter that is not fixed.

    Priors are flat between bounds; parameters with a Gaussian constraint have it as their
    prior, truncated at the bounds, in place of the constraint in -ln L. The posterior is the same
    as that of `numpyro_potential`.

    Args:
        objective: The likelihood.

    Returns:
        A function of ``arrays``, by default those of ``objective.reduced``. ``MCMC(...,
        jit_model_args=True).run(key, objective.reduced.arrays)`` passes them as data: the program
        of another data set is the same, for JAX's compilation cache too.
    """
    import numpyro

    reduced = objective.reduced
    priors = [_prior(reduced, i) for i in range(reduced.num_parameters)]
    limited = np.isfinite(reduced.width)
    centre = jnp.asarray(np.where(limited, reduced.centre, 0.0))
    weight = jnp.asarray(np.where(limited, 1 / reduced.width**2, 0.0))

    def model(arrays: Sequence[Array] | None = None) -> None:
        values = [
            numpyro.sample(name, prior) for name, prior in zip(reduced.names, priors, strict=True)
        ]
        x = jnp.stack([jnp.asarray(value, dtype=jnp.float64) for value in values])
        nll = reduced.at(reduced.arrays if arrays is None else arrays)
        # The constraints are priors already.
        in_prior = 0.5 * jnp.sum(weight * (x - centre) ** 2)
        numpyro.factor(FACTOR, in_prior - nll.nll(x))

    return model


def numpyro_start(objective: Objective, *, at: ArrayLike | None = None) -> dict[str, float]:
    """Values for ``numpyro.infer.init_to_value`` with the sites of `numpyro_model`.

    Args:
        objective: The likelihood.
        at: All parameters; the starting values by default. Values on a bound are moved off it,
            since numpyro has no coordinate there.
    """
    reduced = objective.reduced
    x = objective.initial if at is None else np.asarray(at, dtype=np.float64)
    inside = inner(x[objective.free], reduced.lower, reduced.upper)
    return dict(zip(reduced.names, inside.tolist(), strict=True))


def inner(
    x: Float[np.ndarray, " parameter"],
    lower: Float[np.ndarray, " parameter"],
    upper: Float[np.ndarray, " parameter"],
    margin: float = 1e-3,
) -> Float[np.ndarray, " parameter"]:
    """Parameters moved off their bounds by a small part of the range, or by `margin` itself."""
    span = np.where(np.isfinite(upper - lower), upper - lower, 1.0)
    return np.clip(x, lower + margin * span, upper - margin * span)


def _prior(objective: Objective, i: int) -> Any:
    from numpyro import distributions as dist
    from numpyro.distributions import constraints

    low, high = float(objective.lower[i]), float(objective.upper[i])
    below, above = np.isfinite(low), np.isfinite(high)
    if np.isfinite(objective.width[i]):
        ends: dict[str, Any] = {"low": low} if below else {}
        ends |= {"high": high} if above else {}
        centre, width = float(objective.centre[i]), float(objective.width[i])
        return dist.TruncatedNormal(centre, width, **ends) if ends else dist.Normal(centre, width)
    if below and above:
        return dist.Uniform(low, high)
    support = constraints.real
    if below:
        support = constraints.greater_than(low)
    elif above:
        support = constraints.less_than(high)
    return dist.ImproperUniform(support, (), ())
