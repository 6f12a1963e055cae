"""Information on the parameters of a workspace, and how much each moves the best mu.

Observed information is the Hessian of -ln L on the data, expected information the same on
Asimov data, where it equals Fisher's. The impact of a parameter is by how much the best mu moves
when it is held one standard deviation from its best value and all others are fitted again.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.inference.workspace_profile import (
    CERTIFIED,
    WorkspaceFit,
    asimov_data,
    at_bounds,
    covariance,
    fit_from,
)
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Float, Int, Scalar


class Impacts(NamedTuple):
    """Shifts of the best mu.

    Attributes:
        up: With each parameter held one standard deviation above its best value.
        down: The same below; both zero where the parameter does not move, `nan` where a fit is
            not certified.
        linear: Covariance of mu and the parameter over its standard deviation: what `up` is
            where -ln L is a parabola.
    """

    up: Float[Array, " parameter"]
    down: Float[Array, " parameter"]
    linear: Float[Array, " parameter"]


def observed_information(
    model: HistFactory, parameters: Float[Array, " parameter"], data: Data | None = None
) -> Float[Array, "parameter parameter"]:
    """Second derivatives of -ln L on the data."""
    return model.expand(parameters, data).hessian


def expected_information(
    model: HistFactory, parameters: Float[Array, " parameter"]
) -> Float[Array, "parameter parameter"]:
    """Fisher information: second derivatives of -ln L on the data expected at the parameters."""
    return model.expand(parameters, asimov_data(model, parameters)).hessian


@eqx.filter_jit
def impacts(
    model: HistFactory, poi: Int[Array, ""] | int, fit: WorkspaceFit, data: Data | None = None
) -> Impacts:
    """How far each parameter pulls the best mu.

    Args:
        model: The packed workspace; mu moves between its bounds.
        poi: Position of the parameter of interest.
        fit: With all parameters free, on the same data.
        data: Events and auxiliary data, those of the model by default.
    """
    data = model.data if data is None else data
    spread = covariance(model, fit)
    error = jnp.sqrt(jnp.diagonal(spread))
    moves = ~model.fixed & ~at_bounds(model, fit.parameters) & (error > 0)
    moves = moves.at[poi].set(False)
    safe = jnp.where(moves, error, 1.0)

    def shift(task: tuple[Int[Array, ""], Scalar]) -> Scalar:
        parameter, sign = task
        alone = fit.parameters.at[parameter].add(sign * safe[parameter])
        # Where the others go to first order.
        ahead = fit.parameters + sign * spread[parameter] / safe[parameter]
        starts = jnp.clip(jnp.stack([ahead, alone]), model.lower[None], model.upper[None])
        starts = jnp.where(moves[parameter], starts, fit.parameters[None])
        held = (model.fixed | ~moves[parameter]).at[parameter].set(True)
        found = fit_from(model, data, held, starts)
        change = found.parameters[poi] - fit.parameters[poi]
        return jnp.where(found.certificate <= CERTIFIED, change, jnp.nan)

    size = model.num_parameters
    signs = jnp.repeat(jnp.array([1.0, -1.0]), size)
    shifts = jax.lax.map(shift, (jnp.tile(jnp.arange(size), 2), signs))
    linear = jnp.where(moves, spread[poi] / safe, 0.0)
    return Impacts(shifts[:size], shifts[size:], linear)
