r"""What the curvature of the likelihood at one model says about its parameters.

With u the coordinates of the model (`jaxlik.physics.whitened`), whose prior is N(0, 1), and
J the negative Hessian of the log-likelihood there, negative eigenvalues of which are taken as zero,

$$ C = (1 + J)^{-1}, \qquad \sigma_q^2 = \nabla q^T\, C\, \nabla q $$

for a mass, branching ratio or signal strength q: observed Fisher information of data and prior,
carried over to first order. It knows nothing of supports, other maxima, or tails.

References:
    B. Efron, D. V. Hinkley, Biometrika 65 (1978) 457: observed against expected information.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.fit.posterior_best import FisherErrors
from jaxlik.fit.posterior_quantities import BRANCHING_RATIO, MASS, SIGNAL_STRENGTH, Quantity
from jaxlik.physics.model import ModelPoint
from jaxlik.physics.whitened import Widths, from_model, to_model
from jaxlik.typing import Array, Float, Int


def fisher_errors(engine: Engine, widths: Widths, point: ModelPoint) -> FisherErrors:
    """Parameters of a model with their errors.

    Args:
        engine: Of mode ``default``; its most sensitive combination counts.
        widths: Scales of the prior.
        point: The model.
    """
    space = engine.space
    bits, vector = from_model(space, point, widths)
    used = np.flatnonzero(np.asarray(bits))
    here, hessian, slopes = _derivatives(engine, widths, bits, vector, jnp.asarray(used))
    covariance = covariance_of(np.asarray(hessian))
    here, slopes = (jax.tree.map(np.asarray, tree) for tree in (here, slopes))
    values: dict[Quantity, tuple[float, float]] = {}

    def add(quantity: Quantity, value: Array, slope: Array) -> None:
        values[quantity] = (float(value), float(np.sqrt(slope @ covariance @ slope)))

    for number in np.flatnonzero(here.active):
        add(Quantity(MASS, (space.pdg_ids[number],)), here.masses[number], slopes.masses[number])
    ratios = here.branching_ratios
    parents = np.asarray(space.channel_parent)
    several = np.bincount(parents[ratios > 0], minlength=space.num_particles)[parents] > 1
    for number in np.flatnonzero((ratios > 0) & several):
        key = space.channels[number]
        add(Quantity(BRANCHING_RATIO, key), ratios[number], slopes.branching_ratios[number])
    for number in np.flatnonzero(here.signal_strengths > 0):
        key = space.productions[number]
        slope = slopes.signal_strengths[number]
        add(Quantity(SIGNAL_STRENGTH, key), here.signal_strengths[number], slope)
    pids = tuple(pid for pid, on in zip(space.pdg_ids, here.active, strict=True) if on)
    return FisherErrors(pids, values)


def covariance_of(hessian: Float[np.ndarray, "used used"]) -> Float[np.ndarray, "used used"]:
    """Covariance of whitened coordinates from the Hessian of ln L, the prior included."""
    curvature, directions = np.linalg.eigh(-0.5 * (hessian + hessian.T))
    variance = 1 / (1 + np.maximum(curvature, 0.0))
    return (directions * variance) @ directions.T


@eqx.filter_jit
def _derivatives(
    engine: Engine, widths: Widths, bits: Array, vector: Array, used: Int[Array, " used"]
) -> tuple[ModelPoint, Float[Array, "used used"], ModelPoint]:
    """The model, the Hessian of ln L, and how all its numbers change; in coordinates in use."""

    def model(part: Array) -> ModelPoint:
        return to_model(engine.space, bits, vector.at[used].set(part), widths)

    def log_ratio(part: Array) -> Array:
        return engine.compare(model(part)).log_ratio

    here = vector[used]
    rows = jnp.eye(used.shape[0])
    # One direction at a time: the program holds the second derivative once.
    hessian = jax.lax.map(lambda row: jax.jvp(jax.grad(log_ratio), (here,), (row,))[1], rows)

    def numbers(part: Array) -> ModelPoint:
        return eqx.tree_at(lambda p: p.active, model(part), jnp.zeros(()))

    slopes = jax.jacfwd(numbers)(here)
    return model(here), hessian, slopes
