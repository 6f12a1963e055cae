"""Score a model again on the host, with a certified combination.

The engine alternates between the best combination and the best mu, which is exact
almost always; here branch and bound proves it. The host can also apply the rule of
2020 that forbids to combine results which see the same topology.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.combination.certified import JointSelection, certified_combination
from jaxlik.combination.overlap import Overlap
from jaxlik.engine import Engine
from jaxlik.errors import ConvergenceError, Status
from jaxlik.evaluation import Evaluation, Prediction
from jaxlik.fit.labels import Labels
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array


class Rescored(NamedTuple):
    """A certified score.

    Attributes:
        score: K = Z^2 + 2 ln pi; -inf where no combination exists.
        selection: Members, mu-hat, Z^2 and its proven upper bound.
        evaluation: What the engine found.
    """

    score: float
    selection: JointSelection
    evaluation: Evaluation


# Few calls are made on the host: compile fast rather than run fast.
_FAST_COMPILATION = {"xla_backend_optimization_level": 0}


@partial(jax.jit, compiler_options=_FAST_COMPILATION)
def evaluate_compiled(engine: Engine, point: ModelPoint, production: Array) -> Evaluation:
    """`Engine.evaluate_with`, compiled once for all tables, scans and scores of the host."""
    return engine.evaluate_with(point, production)


@partial(jax.jit, compiler_options=_FAST_COMPILATION)
def log_ratios_compiled(engine: Engine, prediction: Prediction, mu: Array) -> tuple[Array, Array]:
    """2 ln(L_i(mu)/L_i(0)) of every candidate and its slope at one mu, compiled."""
    values, slopes = engine.log_ratios(prediction, mu[None])
    return values[0], slopes[0]


def rescore(
    engine: Engine,
    labels: Labels,
    point: ModelPoint,
    production: np.ndarray | None = None,
    *,
    element_veto: bool = False,
    tolerance: float = 2e-3,
) -> Rescored:
    """Certified K of a model point.

    Args:
        engine: For one database and mode.
        labels: Names on its axes.
        point: The model.
        production: Cross sections times signal strengths [fb] at 8 and 13 TeV; the
            reference cross sections times the point's strengths by default.
        element_veto: Forbid pairs of one experiment and energy that see the same
            topology (arXiv:2012.12246; dropped in 2024).
        tolerance: Of Z^2.

    Raises:
        ConvergenceError: a bucket of the engine overflowed, so that nothing is certain.
    """
    if production is None:
        production = np.asarray(engine.reference_production(point))
    evaluation = evaluate_compiled(engine, point, jnp.asarray(production))
    if evaluation.status != Status.success:
        raise ConvergenceError(
            f"evaluation of the model ended with: {evaluation.status}; enlarge the buckets to "
            f"hold {np.asarray(evaluation.prediction.signals.demand).tolist()}"
        )
    overlap = labels.overlap
    if element_veto:
        overlap = veto_shared_topologies(engine, labels, evaluation, overlap)

    def gain_fn(mu: float) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = log_ratios_compiled(engine, evaluation.prediction, jnp.asarray(float(mu)))
        return np.asarray(values), np.asarray(slopes)

    live = np.asarray(evaluation.live)
    selection = certified_combination(
        overlap,
        gain_fn,
        float(evaluation.mu_max),
        present=live,
        min_members=2 if engine.literal else 1,
        tolerance=tolerance,
    )
    value = max(selection.value, 0.0) if np.isfinite(selection.value) else -np.inf
    return Rescored(value + 2 * float(evaluation.prior.log_prior), selection, evaluation)


def veto_shared_topologies(
    engine: Engine, labels: Labels, evaluation: Evaluation, overlap: Overlap
) -> Overlap:
    """The overlap without pairs of one experiment and energy that see one topology."""
    seen = topologies_seen(engine, labels, evaluation)
    shared = (seen.astype(int) @ seen.T.astype(int)) > 0
    same = np.array(
        [
            [a.experiment == b.experiment and a.sqrts == b.sqrts for b in labels.candidates]
            for a in labels.candidates
        ]
    )
    return Overlap(np.asarray(overlap.compatible) & ~(shared & same), overlap.analysis_ids)


def topologies_seen(engine: Engine, labels: Labels, evaluation: Evaluation) -> np.ndarray:
    """Which candidate sees which topology of the model: bool, ``candidate site``."""
    signals = evaluation.prediction.signals
    folders = [p.folder for p in labels.candidates]
    numbers: dict[str, list[int]] = {}
    for i, folder in enumerate(folders):
        numbers.setdefault(folder, []).append(i)
    num_sites = engine.yields.channels.site_class.shape[0]
    seen = np.zeros((len(folders), num_sites), dtype=bool)
    sightings = signals.sightings
    first = np.asarray(engine.yields.maps.target_start)[np.asarray(sightings.target)]
    region = np.asarray(engine.yields.maps.entry_region)[first]
    for site, number, live in zip(
        np.asarray(sightings.site), region, np.asarray(sightings.live), strict=True
    ):
        if live and number < len(labels.regions):
            for candidate in numbers.get(labels.regions[number][0], ()):
                if candidate < len(labels.results):
                    seen[candidate, site] = True
    limits = signals.limits
    for site, number, live in zip(
        np.asarray(limits.site), np.asarray(limits.limit), np.asarray(limits.live), strict=True
    ):
        if live:
            for candidate in numbers.get(labels.limits[number].folder, ()):
                if candidate >= len(labels.results):
                    seen[candidate, site] = True
    return seen
