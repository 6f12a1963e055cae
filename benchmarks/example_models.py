"""Three models that benchmarks evaluate, and batches of models like them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.physics.kinematics import normalise_branching_ratios, open_channels
from jaxlik.physics.model import ModelPoint, ModelSpace, fill_masses

MODELS = {
    "squark, stop": {1000022: 163.0, 1000001: 735.0, 1000006: 1166.0},
    "electroweak": {1000022: 110.0, 1000023: 290.0, 1000024: 285.0},
    "squark, stop, Higgs": {1000022: 50.0, 1000023: 450.0, 1000001: 672.0, 1000006: 1300.0},
}
"""Masses [GeV] of their particles."""


def model_point(space: ModelSpace, masses: dict[int, float]) -> ModelPoint:
    """A model of given content; all open channels share the branching ratio."""
    active = np.array([pid in masses for pid in space.pdg_ids])
    values = np.array([masses.get(pid, 0.0) for pid in space.pdg_ids])
    point = ModelPoint(
        fill_masses(space, values, active),
        active,
        np.ones(space.num_channels),
        np.ones(space.num_productions),
    )
    opened = eqx.tree_at(
        lambda p: p.branching_ratios, point, open_channels(space, point).astype(float)
    )
    return normalise_branching_ratios(space, opened).point


def batch_of(point: ModelPoint, space: ModelSpace, size: int) -> ModelPoint:
    """Models of one content with masses scattered by 3 per cent."""
    rng = np.random.default_rng(size)
    stacked = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], size, axis=0), point)
    factors = 1 + 0.03 * rng.uniform(-1, 1, (size, space.num_particles))
    return eqx.tree_at(lambda p: p.masses, stacked, stacked.masses * factors)


def mixed_models(space: ModelSpace, count: int) -> ModelPoint:
    """Models of all contents in turn, masses scattered (host)."""
    each = -(-count // len(MODELS))
    parts = [batch_of(model_point(space, masses), space, each) for masses in MODELS.values()]

    def in_turn(*leaves: jax.Array) -> np.ndarray:
        stacked = np.stack([np.asarray(leaf) for leaf in leaves], axis=1)
        return stacked.reshape(-1, *stacked.shape[2:])[:count]

    return jax.tree.map(in_turn, *parts)


@eqx.filter_jit
def score_and_gradient(engine: Engine, point: ModelPoint):
    """K and its gradient in masses, branching ratios and signal strengths."""

    def value(leaves: tuple) -> jax.Array:
        names = lambda p: (p.masses, p.branching_ratios, p.signal_strengths)  # noqa: E731
        return engine.evaluate(eqx.tree_at(names, point, leaves)).score

    leaves = (point.masses, point.branching_ratios, point.signal_strengths)
    return jax.value_and_grad(value)(leaves)
