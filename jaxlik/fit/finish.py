"""After the search: exact scores of the best models, their documents and figures."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlik import plotting
from jaxlik.engine import Engine
from jaxlik.fit.html.curves import likelihood_entry
from jaxlik.fit.inspection import Inspection, TopologyNames, inspect, scan
from jaxlik.fit.labels import Labels
from jaxlik.fit.summary import model_document
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.protomodels import to_protomodel, write_protomodels

logger = logging.getLogger(__name__)

BOUND_TOLERANCE = 1e-6
"""Relative room for rounding when r_max is compared with the threshold."""

SAME_MASS = 1e-3
"""Models of equal content whose masses differ relatively by less are one model."""

TrimFn = Callable[[Engine, ModelPoint], ModelPoint]
ContributionsFn = Callable[[Engine, Labels, ModelPoint], Mapping[str, Any]]


@dataclass(frozen=True)
class Found:
    """A model of the final list.

    Attributes:
        inspection: Its exact score.
        step: Step at which the search met it.
        walker: Walker that met it.
    """

    inspection: Inspection
    step: int
    walker: int

    @property
    def score(self) -> float:
        """K."""
        return self.inspection.score


def found_points(hiscores: Any) -> list[tuple[ModelPoint, int, int]]:
    """Model, step and walker of every place of the list that holds a model."""
    host = jax.tree.map(np.asarray, hiscores)
    return [
        (
            jax.tree.map(lambda leaf, place=place: leaf[place], host.points),
            int(host.step[place]),
            int(host.walker[place]),
        )
        for place in np.flatnonzero(np.isfinite(host.score))
    ]


def settle(
    engine: Engine,
    labels: Labels,
    hiscores: Any,
    *,
    trim_fn: TrimFn | None = None,
    on_model: Callable[[int, int], None] | None = None,
) -> list[Found]:
    """Simplify and score the best models exactly; those that survive, best first.

    Args:
        engine: What scores them.
        labels: Names on its axes.
        hiscores: Of the search.
        trim_fn: Makes a model simpler without lowering K; none after an interrupt.
        on_model: Told how many models are done, of how many.
    """
    candidates = found_points(hiscores)
    found: list[Found] = []
    for number, (point, step, walker) in enumerate(candidates):
        if on_model is not None:
            on_model(number, len(candidates))
        result = inspect(engine, labels, point)
        if trim_fn is not None:
            simpler = inspect(engine, labels, trim_fn(engine, point))
            # A trimmed model that lost K, by a solver or a bucket, is not an improvement.
            if simpler.score >= result.score:
                result = simpler
        if _allowed(engine, result):
            found.append(Found(result, step, walker))
    found.sort(key=lambda model: -model.score)
    return _distinct(found)


def _allowed(engine: Engine, result: Inspection) -> bool:
    """Whether a model has a finite score and passes the critic."""
    limit = float(engine.settings.threshold) * (1 + BOUND_TOLERANCE)
    if not math.isfinite(result.score) or result.overflow:
        logger.warning("dropped a model that could not be scored (K = %s)", result.score)
        return False
    if result.r_max > limit:
        logger.warning("dropped a model with r_max = %.3f", result.r_max)
        return False
    return True


def _distinct(found: Sequence[Found]) -> list[Found]:
    """The better one of equal models; trimming makes models equal."""
    kept: list[Found] = []
    for model in found:
        point = model.inspection.point
        active = np.asarray(point.active)
        masses = np.where(active, np.asarray(point.masses), 1.0)
        for other in kept:
            same = np.array_equal(active, np.asarray(other.inspection.point.active))
            others = np.where(active, np.asarray(other.inspection.point.masses), 1.0)
            if same and np.all(np.abs(masses - others) <= SAME_MASS * others):
                break
        else:
            kept.append(model)
    return kept


def documents(
    engine: Engine,
    labels: Labels,
    found: Sequence[Found],
    *,
    contributions_fn: ContributionsFn | None = None,
    topologies_fn: TopologyNames | None = None,
) -> list[dict[str, Any]]:
    """The documents of all models.

    Args:
        engine: What scored them.
        labels: Names on its axes.
        found: From `settle`.
        contributions_fn: How much K falls without each particle and analysis.
        topologies_fn: Topologies through which each result sees a model.
    """
    entries = []
    for model in found:
        point = model.inspection.point
        parts = contributions_fn(engine, labels, point) if contributions_fn else None
        topologies = topologies_fn(model.inspection.evaluation) if topologies_fn else None
        entry = model_document(
            engine, labels, model.inspection, contributions=parts, topologies=topologies
        )
        entries.append({**entry, "step": model.step, "walker": model.walker})
    return entries


def scanned(engine: Engine, labels: Labels, model: Found) -> dict[str, Any]:
    """Entry ``likelihood_scan`` of a model: likelihood ratios of its members against mu.

    Args:
        engine: What scored it.
        labels: Names on its axes.
        model: From `settle`.
    """
    return likelihood_entry(scan(engine, model.inspection), model.inspection, labels)


def write_dictionaries(path: Path, space: ModelSpace, found: Sequence[Found], mode: str) -> None:
    """Write all models as protomodels dictionaries, which `read_protomodels` reads."""
    entries = []
    for model in found:
        found_model = model.inspection
        meta = {
            "K": found_model.score,
            "Z": math.sqrt(found_model.z_squared),
            "step": model.step,
            "walkerid": model.walker,
            "mode": mode,
        }
        point = scaled(found_model.point, found_model.mu_hat)
        production = found_model.mu_hat * np.asarray(found_model.evaluation.prediction.production)
        entries.append(to_protomodel(space, point, production, meta))
    write_protomodels(path, entries)


def scaled(point: ModelPoint, factor: float) -> ModelPoint:
    """The same model with all signal strengths multiplied by a factor."""
    strengths = np.asarray(point.signal_strengths) * factor
    return ModelPoint(point.masses, point.active, point.branching_ratios, strengths)


def write_figures(
    folder: Path,
    engine: Engine,
    labels: Labels,
    best: Found | None,
    document: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
) -> list[Path]:
    """Draw the pictures of a run.

    Args:
        folder: Where they go.
        engine: For the critic's threshold.
        labels: Names of the candidates.
        best: The best model, if there is one.
        document: Its document.
        history: Lines of the history.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps, scores = [h["step"] for h in history], [h["best"] for h in history]
    paths = [plotting.write(lambda: plotting.history(steps, scores), folder / "history.png")]
    if best is None or document is None:
        return paths
    masses = {int(pid): entry["mass"] for pid, entry in document["particles"].items()}
    paths.append(plotting.write(lambda: plotting.mass_ruler(masses), folder / "masses.png"))
    curves = document.get("likelihood_scan") or scanned(engine, labels, best)
    members = {curve["analysis"]: np.asarray(curve["values"]) for curve in curves["curves"]}
    mu_max = curves["mu_max"]
    paths.append(
        plotting.write(
            lambda: plotting.likelihood_scan(
                np.asarray(curves["mu"]),
                members,
                mu_hat=curves["mu_hat"],
                mu_max=math.inf if mu_max is None else mu_max,
            ),
            folder / "likelihood.png",
        )
    )
    rows = document["r_values"]
    names = [f"{r['analysis']} {r['region'] or ', '.join(r['topologies'])}" for r in rows]
    paths.append(
        plotting.write(
            lambda: plotting.r_values(
                names,
                [r["r"] for r in rows],
                [r["r_expected"] for r in rows],
                threshold=float(engine.settings.threshold),
            ),
            folder / "r_values.png",
        )
    )
    return paths
