"""A model looked at closely: its certified score, and its likelihoods against mu."""

import logging
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.snapshot import Snapshot
from jaxlik.engine import Engine
from jaxlik.errors import ConvergenceError, Status
from jaxlik.evaluation import Evaluation, Prediction
from jaxlik.fit.labels import Labels
from jaxlik.fit.rescore import evaluate_compiled, log_ratios_compiled, rescore
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Bool, Float
from jaxlik.yields.build import load_table

logger = logging.getLogger(__name__)

SCAN_REACH = 2.0
"""The likelihood scan ends at this multiple of mu-hat."""

SCAN_POINTS = 41


class Inspection(NamedTuple):
    """What tables and figures are made of.

    Attributes:
        point: The model.
        evaluation: What the engine finds, as NumPy arrays.
        prediction: Its prediction, on the device.
        score: Certified K; `-inf` where no combination exists.
        z_squared: 2 ln(L(mu_hat)/L(0)) of the certified combination.
        mu_hat: Its signal strength.
        members: Its members.
        log_ratio: 2 ln(L_i(mu_hat)/L_i(0)) of every candidate.
        overflow: Some table was too small: the numbers are incomplete.
    """

    point: ModelPoint
    evaluation: Evaluation
    prediction: Prediction
    score: float
    z_squared: float
    mu_hat: float
    members: Bool[np.ndarray, " candidate"]
    log_ratio: Float[np.ndarray, " candidate"]
    overflow: bool

    @property
    def r_max(self) -> float:
        """Largest r-value the critic counts, at mu-hat."""
        return self.mu_hat * float(self.evaluation.prediction.r_max)


class Scan(NamedTuple):
    """Likelihood ratios against mu.

    Attributes:
        mu: Signal strengths from zero to `SCAN_REACH` times mu-hat.
        log_ratios: 2 ln(L_i(mu)/L_i(0)) of every candidate.
    """

    mu: Float[np.ndarray, " node"]
    log_ratios: Float[np.ndarray, "node candidate"]


def inspect(engine: Engine, labels: Labels, point: ModelPoint) -> Inspection:
    """Score a model exactly, with a certified combination where that is possible.

    Tables that are too small for the model are enlarged once, which compiles anew.

    Args:
        engine: Database and rules.
        labels: Names on the engine's axes.
        point: The model.
    """
    point = jax.tree.map(jnp.asarray, point)
    production = jnp.asarray(np.asarray(engine.reference_production(point)))
    evaluation = evaluate_compiled(engine, point, production)
    if overflows(evaluation):
        demand = np.asarray(evaluation.prediction.signals.demand).tolist()
        logger.info("enlarging tables for a model that needs %s", demand)
        engine = replace(engine, buckets=engine.buckets.holding(demand))
        evaluation = evaluate_compiled(engine, point, production)
    members, mu = np.asarray(evaluation.members), float(evaluation.mu_hat)
    try:
        selection = rescore(engine, labels, point, np.asarray(production)).selection
        # Where both agree the engine's numbers stay: its score is what the search climbed.
        if selection.value > float(evaluation.z_squared) + 1e-6:
            members, mu = selection.members, selection.mu_hat
    except ConvergenceError as error:
        logger.warning("the combination of a model is not certified: %s", error)
    values, _ = log_ratios_compiled(engine, evaluation.prediction, jnp.asarray(mu))
    log_ratio = np.asarray(values)
    host = jax.tree.map(np.asarray, evaluation)
    exists = bool(members.any()) and np.isfinite(host.score)
    z_squared = max(float(log_ratio[members].sum()), 0.0) if exists else 0.0
    score = z_squared + 2 * float(host.prior.log_prior) if exists else -np.inf
    return Inspection(
        point,
        host,
        evaluation.prediction,
        score,
        z_squared,
        mu,
        members,
        log_ratio,
        overflows(evaluation),
    )


def scan(engine: Engine, inspection: Inspection) -> Scan:
    """Likelihood ratios of every candidate from mu = 0 to beyond mu-hat."""
    reach = SCAN_REACH * (inspection.mu_hat if inspection.mu_hat > 0 else 1.0)
    mu = np.linspace(0.0, reach, SCAN_POINTS)
    prediction = inspection.prediction
    rows = [log_ratios_compiled(engine, prediction, jnp.asarray(float(m)))[0] for m in mu]
    return Scan(mu, np.stack([np.asarray(row) for row in rows]))


def overflows(evaluation: Evaluation) -> bool:
    """Whether some table was too small for a model."""
    return bool(np.asarray(evaluation.prediction.status == Status.overflow))


class TopologyNames:
    """Names of the topologies through which efficiency-map results see a model."""

    def __init__(self, snapshot: Snapshot):
        table, headers = load_table(snapshot), snapshot.maps
        first = np.asarray(table.target_map)[np.asarray(table.target_start)[:-1]]
        self.targets = [(headers[int(i)].folder, headers[int(i)].txname) for i in first]

    def __call__(self, evaluation: Evaluation) -> dict[str, list[str]]:
        """Topologies by folder of the result."""
        sightings = evaluation.prediction.signals.sightings
        seen: dict[str, set[str]] = {}
        for target in np.unique(np.asarray(sightings.target)[np.asarray(sightings.live)]):
            folder, txname = self.targets[int(target)]
            seen.setdefault(folder, set()).add(txname)
        return {folder: sorted(names) for folder, names in seen.items()}
