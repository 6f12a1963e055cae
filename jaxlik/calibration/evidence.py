r"""Bayes factor of a fixed set of models against the Standard Model.

$$ B = \frac1M \sum_{m=1}^M \prod_{i \in C(m)} \frac{L_i(m)}{L_i(\mathrm{SM})} $$

Models, their signal strengths and their combinations C are fixed before data are seen, so that
the mean of B over data
of the Standard Model is 1 and P(B > k) < 1/k. What the models predict does not depend on data
either: it is computed once, and every pseudo-database costs likelihoods alone. Likelihoods are
profiled, so that the mean is 1 to the extent that profiles are densities
(`tests/calibration/test_global_p.py`); most of it comes from rare databases.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.errors import ConfigError, Status
from jaxlik.evaluation import Prediction
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Float

CHUNK = 16
"""Models per compiled call."""

EXPECTED = 4.0
"""2 ln(L(m)/L(SM)) that each model would show: 2 sigma, where data decide."""


class Hypotheses(NamedTuple):
    """Models and what the experiments would see of them.

    Attributes:
        points: Models, stacked.
        predictions: Of each, stacked.
    """

    points: ModelPoint
    predictions: Prediction

    @property
    def number(self) -> int:
        """Models in the set."""
        return self.points.masses.shape[0]


def make_hypotheses(engine: Engine, points: ModelPoint, expected: float = EXPECTED) -> Hypotheses:
    """Models with signal strengths at which an experiment without them would exclude them.

    All signal strengths of a model are scaled by one factor, such that its most sensitive
    combination expects about `expected`. Models that nothing sees, or that do not fit the
    engine's tables, are left out.

    Args:
        engine: Any of the database, in mode ``default``: there regions are chosen by
            expected sensitivity.
        points: Models, stacked.
        expected: 2 ln(L(model)/L(SM)) on data that equal the expectation of the model.

    Raises:
        ConfigError: mode ``protomodels``, whose regions depend on data.
    """
    first = _predict_all(engine, points)
    power = _in_chunks(_sensitivity, engine, first.predictions)
    seen = power > 0
    factor = jnp.asarray(np.sqrt(expected / power[seen]))
    chosen = jax.tree.map(lambda leaf: leaf[seen], first.points)
    strengths = chosen.signal_strengths * factor[:, None]
    return _predict_all(engine, eqx.tree_at(lambda p: p.signal_strengths, chosen, strengths))


def _predict_all(engine: Engine, points: ModelPoint) -> Hypotheses:
    """Predictions of those models that fit the engine's tables."""
    if engine.literal:
        raise ConfigError(
            "Bayes factors need mode default: in mode protomodels regions are chosen by their data"
        )
    joined = _in_chunks(_predict, engine, points)
    fits = np.asarray(joined.status == Status.success)
    return jax.tree.map(lambda leaf: leaf[fits], Hypotheses(points, joined))


def log_ratios(engine: Engine, hypotheses: Hypotheses) -> Float[np.ndarray, " model"]:
    """ln(L(model)/L(SM)) of each model, in its most sensitive combination.

    Args:
        engine: With the data.
        hypotheses: From `make_hypotheses`.

    Returns:
        nan where a joint likelihood was not profiled.
    """
    return np.asarray(_in_chunks(_compare, engine, hypotheses.predictions))


def log_bayes_factor(log_ratio: Float[np.ndarray, " model"]) -> float:
    """Ln of the mean likelihood ratio; models without a value count as the Standard Model."""
    known = np.where(np.isfinite(log_ratio), log_ratio, 0.0)
    return float(np.logaddexp.reduce(known) - np.log(len(known)))


def _in_chunks(function: Callable, engine: Engine, stack: Any) -> Any:
    """A compiled function of a few models at a time, for all of a stack."""
    count = len(jax.tree.leaves(stack)[0])
    parts = []
    for start in range(0, count, CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), count - 1)
        parts.append(function(engine, jax.tree.map(lambda leaf, rows=rows: leaf[rows], stack)))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *parts)


@eqx.filter_jit
def _predict(engine: Engine, points: ModelPoint) -> Prediction:
    def one(point: ModelPoint) -> Prediction:
        return engine.predict(point, engine.reference_production(point))

    return jax.vmap(one)(points)


@eqx.filter_jit
def _sensitivity(engine: Engine, predictions: Prediction) -> Float[Array, " model"]:
    return jax.vmap(lambda prediction: engine.compare_at(prediction).sensitivity)(predictions)


@eqx.filter_jit
def _compare(engine: Engine, predictions: Prediction) -> Float[Array, " model"]:
    def one(prediction: Prediction) -> Array:
        found = engine.compare_at(prediction)
        return jnp.where(found.status == Status.success, found.log_ratio, jnp.nan)

    return jax.vmap(one)(predictions)
