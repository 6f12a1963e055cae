"""A signal that pseudo-databases contain: what an engine predicts for one model."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.calibration.limit_maps import LimitMaps
from jaxlik.engine import Engine
from jaxlik.errors import ConvergenceError, Status
from jaxlik.evaluation import Prediction
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float, Int


@dataclass(frozen=True)
class Injection:
    """What the experiments would see of a model.

    Attributes:
        events: Of each region.
        limit: Upper-limit map of each topology it meets.
        weight: Cross section of the topology [fb].
        flat: Its coordinates [GeV].
    """

    events: Float[np.ndarray, " region"]
    limit: Int[np.ndarray, " topology"]
    weight: Float[np.ndarray, " topology"]
    flat: Float[np.ndarray, "topology 6"]

    def at(self, maps: LimitMaps, distance: float) -> Float[np.ndarray, " slot"]:
        """Cross sections [fb] that show at each number of the upper-limit maps.

        Args:
            maps: The maps.
            distance: Farthest a topology shows, in its coordinates [GeV].
        """
        found = np.zeros(len(maps.slots))
        for limit, weight, flat in zip(self.limit, self.weight, self.flat, strict=True):
            mine = np.flatnonzero(maps.map == limit)
            near = np.linalg.norm(maps.flat[mine] - flat, axis=1) <= distance
            found[mine[near]] += weight
        return found


def inject(
    engine: Engine, point: ModelPoint, production: Float[np.ndarray, "production 2"] | None = None
) -> Injection:
    """What an engine predicts for a model.

    Args:
        engine: Of the database.
        point: The model.
        production: Cross sections [fb] at 8 and 13 TeV; by default reference ones times the
            signal strengths of the model.

    Raises:
        ConvergenceError: a table of the engine is too small for the model.
    """
    given = engine.reference_production(point) if production is None else jnp.asarray(production)
    prediction = _predict(engine, point, given)
    if bool(prediction.status != Status.success):
        raise ConvergenceError(
            "injected model: the engine's tables are too small for it; use larger buckets"
        )
    limits = prediction.signals.limits
    live: Bool[np.ndarray, " entry"] = np.asarray(limits.live)
    return Injection(
        np.asarray(prediction.signals.events),
        np.asarray(limits.limit)[live],
        np.asarray(limits.weight)[live],
        np.asarray(limits.flat)[live],
    )


@eqx.filter_jit
def _predict(
    engine: Engine, point: ModelPoint, production: Float[Array, "production 2"]
) -> Prediction:
    return engine.predict(point, production)
