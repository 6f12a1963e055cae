"""What the error of learned yields means for a model: bands on K and on r.

Every map has a conformal 90 % band on its efficiency. To first order a map that is off
by its half width moves K by dK/dshift; maps are taken as independent, so that the
squares add. At fixed combination this is exact in first order (envelope theorem).
"""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Scalar
from jaxlik.yields.neural import NeuralYields


class Bands(NamedTuple):
    """Half widths of 90 % bands.

    Attributes:
        score: Of K.
        r_max: Of the largest r-value that counts, over its value.
        fading: Topologies of the model in the rim of a grid, where networks answer and
            published maps do not.
    """

    score: float
    r_max: float
    fading: int


def yield_bands(engine: Engine, point: ModelPoint) -> Bands | None:
    """Bands on the score of a model; `None` where yields are exact."""
    if not isinstance(engine.yields, NeuralYields):
        return None
    point = jax.tree.map(jnp.asarray, point)
    slopes, r_max, fading, demand = _slopes(engine, point)
    if np.any(np.asarray(demand) > np.asarray(engine.buckets)):
        # As `inspect` does: a larger model gets larger tables.
        engine = replace(engine, buckets=engine.buckets.holding(np.asarray(demand).tolist()))
        slopes, r_max, fading, _ = _slopes(engine, point)
    width = [float(np.sqrt(np.sum(np.square(np.asarray(s))))) for s in slopes]
    relative = width[1] / float(r_max) if r_max > 0 else 0.0
    return Bands(width[0], relative, int(fading))


@eqx.filter_jit
def _slopes(engine: Engine, point: ModelPoint) -> tuple[tuple[Array, Array], Scalar, Array, Array]:
    """Slopes of K and of r_max in the shifts of all maps; r_max; places in rims; table needs."""
    yields = engine.yields
    assert isinstance(yields, NeuralYields)

    def figures(shift: Array) -> tuple[Array, tuple[Scalar, Array, Array]]:
        moved = eqx.tree_at(lambda e: e.yields.shift, engine, shift)
        found = moved.evaluate(point)
        finite = jnp.where(jnp.isfinite(found.score), found.score, 0.0)
        prediction = found.prediction
        both = jnp.stack([finite, prediction.r_max])
        return both, (prediction.r_max, prediction.signals.fading, prediction.signals.demand)

    _, pullback, further = jax.vjp(figures, yields.shift, has_aux=True)
    return (pullback(jnp.array([1.0, 0.0]))[0], pullback(jnp.array([0.0, 1.0]))[0]), *further
