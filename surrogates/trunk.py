"""The body of one network as it is trained: from flat coordinates to features of a topology.

`jaxlik.yields.networks` evaluates many of them at once, as functions of in-plane coordinates.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.typing import Array, Float
from jaxlik.yields.networks import Weights

NUM_INPUTS = 12
"""Input features of every network, padded with zeros."""


class Features(NamedTuple):
    """What a network sees of flat coordinates: ``direction @ x``, or its asinh, standardised.

    Attributes:
        direction: Linear combinations of the coordinates: masses, differences, widths.
        curved: 1 where the asinh is taken (masses and differences in GeV), else 0.
        mean: Subtracted.
        scale: Multiplied.
    """

    direction: Float[Array, "input 6"]
    curved: Float[Array, " input"]
    mean: Float[Array, " input"]
    scale: Float[Array, " input"]

    def __call__(self, flat: Float[Array, "point 6"]) -> Float[Array, "point input"]:
        """Features of points; single precision."""
        raw = flat @ self.direction.T
        bent = jnp.where(self.curved[None] > 0, jnp.arcsinh(raw), raw)
        return ((bent - self.mean[None]) * self.scale[None]).astype(jnp.float32)


class Trunk(NamedTuple):
    """One network without its heads."""

    features: Features
    weights: Weights

    def hidden(self, flat: Float[Array, "point 6"]) -> Float[Array, "point width"]:
        """Last hidden layer."""
        w = self.weights
        x = jax.nn.silu(self.features(flat) @ w.first.T + w.first_bias[None])
        x = jax.nn.silu(x @ w.second.T + w.second_bias[None])
        return jax.nn.silu(x @ w.third.T + w.third_bias[None])


def initial_trunk(key: Array, nodes: np.ndarray, kinds: tuple[str, ...], width: int) -> Trunk:
    """Random weights, and features made for the nodes of a grid.

    Args:
        key: Random.
        nodes: Flat coordinates, ``node 6``.
        kinds: ``mass`` or ``totalwidth`` of each.
        width: Units per layer.
    """
    keys = jax.random.split(key, 3)

    def layer(key: Array, size: int) -> Array:
        return jax.random.normal(key, (width, size), jnp.float32) * jnp.sqrt(2.0 / size)

    zeros = jnp.zeros(width, jnp.float32)
    first, second, third = layer(keys[0], NUM_INPUTS), layer(keys[1], width), layer(keys[2], width)
    return Trunk(features_of(nodes, kinds), Weights(first, zeros, second, zeros, third, zeros))


def features_of(nodes: np.ndarray, kinds: tuple[str, ...]) -> Features:
    """Masses, their logarithms, logarithms of mass differences, and widths that vary."""
    columns = _distinct(nodes, len(kinds))
    masses = [c for c in columns if kinds[c] == "mass"]
    widths = [c for c in columns if kinds[c] != "mass"]
    unit = np.eye(6)
    rows = [(unit[c], 0.0) for c in masses + widths] + [(unit[c], 1.0) for c in masses]
    for i, c in enumerate(masses):
        for d in masses[i + 1 :]:
            sign = 1.0 if np.mean(nodes[:, c] - nodes[:, d]) >= 0 else -1.0
            rows.append((sign * (unit[c] - unit[d]), 1.0))
    rows = rows[:NUM_INPUTS]
    direction, curved = np.zeros((NUM_INPUTS, 6)), np.zeros(NUM_INPUTS)
    for i, (line, bend) in enumerate(rows):
        direction[i], curved[i] = line, bend
    raw = nodes @ direction.T
    bent = np.where(curved > 0, np.arcsinh(raw), raw)
    spread = bent.std(axis=0)
    scale = np.where(spread > 1e-6, 1 / np.where(spread > 1e-6, spread, 1.0), 0.0)
    return Features(*(jnp.asarray(a) for a in (direction, curved, bent.mean(axis=0), scale)))


def _distinct(nodes: np.ndarray, count: int) -> list[int]:
    """Coordinates that vary and are not copies of earlier ones."""
    kept: list[int] = []
    for column in range(count):
        values = nodes[:, column]
        if np.ptp(values) > 1e-3 and all(
            np.abs(values - nodes[:, other]).max() > 1e-3 for other in kept
        ):
            kept.append(column)
    return kept
