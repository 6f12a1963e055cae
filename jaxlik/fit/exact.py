"""The last word on models found with learned yields: bands, and exact scores where possible."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlik.database.snapshot import HULLS_ONLY, Snapshot
from jaxlik.engine import Engine
from jaxlik.fit.bands import yield_bands
from jaxlik.fit.finish import Found
from jaxlik.fit.inspection import inspect
from jaxlik.fit.labels import Labels
from jaxlik.yields.neural import BAND_LEVEL, NeuralYields

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """Models with the engine that has the last word on them.

    Attributes:
        engine: Exact where the database holds efficiencies.
        found: Models, best first.
        learned: What the networks said of each: ``K``, ``Z``, ``r_max``, half widths of the
            bands ``K_band`` and ``r_band`` (relative), their ``level``, ``fading``
            topologies, and whether the model's own numbers are ``exact``. Empty where no
            networks took part.
    """

    engine: Engine
    found: list[Found]
    learned: list[dict[str, Any]]

    def add_to(self, models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Documents of the models with what the networks said under ``networks``."""
        if not self.learned:
            return [dict(model) for model in models]
        return [{**m, "networks": e} for m, e in zip(models, self.learned, strict=True)]


def score_exactly(
    engine: Engine,
    labels: Labels,
    found: Sequence[Found],
    snapshot: Snapshot,
    exact_fn: Callable[[], Engine],
) -> Scored:
    """Score the final models with exact yields, if learned ones found them.

    Args:
        engine: What they were found with.
        labels: Names on its axes.
        found: Final models.
        snapshot: Database.
        exact_fn: Makes the exact engine; called where the snapshot holds efficiencies.
    """
    if not isinstance(engine.yields, NeuralYields):
        return Scored(engine, list(found), [])
    entries = [_learned_entry(engine, model) for model in found]
    if snapshot.manifest.get(HULLS_ONLY):
        return Scored(engine, list(found), entries)
    exact = exact_fn()
    pairs = []
    for model, entry in zip(found, entries, strict=True):
        again = Found(inspect(exact, labels, model.inspection.point), model.step, model.walker)
        if math.isfinite(again.score) and not again.inspection.overflow:
            pairs.append((again, {**entry, "exact": True}))
        else:
            logger.warning("dropped a model that exact yields do not support")
    pairs.sort(key=lambda pair: -pair[0].score)
    return Scored(exact, [model for model, _ in pairs], [entry for _, entry in pairs])


def _learned_entry(engine: Engine, model: Found) -> dict[str, Any]:
    bands = yield_bands(engine, model.inspection.point)
    assert bands is not None
    return {
        "K": model.score,
        "Z": math.sqrt(model.inspection.z_squared),
        "r_max": model.inspection.r_max,
        "K_band": bands.score,
        "r_band": bands.r_max,
        "level": BAND_LEVEL,
        "fading": bands.fading,
        "exact": False,
    }
