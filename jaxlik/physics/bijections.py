r"""Unconstrained vectors and model points: one vector length for the whole pool.

The vector has the axis ``parameter`` and three blocks, in this order:

1. particle: log gaps. ln(m_LBP / M) for the LBP, else ln((m - floor) / M) with
   M = `MASS_SCALE`; the floor is the lighter canonical partner where that exists,
   else the LBP. Any vector thus respects every mass order.
2. channel: logits. Branching ratios are a softmax of the logits over the channels of
   a mother that are in use and open; all others are zero.
3. production: ln(kappa), the signal strengths.

Content and channels in use are masks beside the vector, so a walker changes them
without changing a shape. Coordinates that do not matter (of absent particles, closed
channels, and the sum of the logits of a mother) are free: `log_pseudo_prior` gives
them a normalised density, without which they would drift.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.physics.kinematics import branching_sums, canonical_pairs, open_channels
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float, Scalar

MASS_SCALE = 300.0
"""GeV; the gap in mass that the coordinate zero stands for."""

SMALLEST_GAP = 1e-9
"""GeV; degenerate masses are separated by this much, zero having no logarithm."""

SMALLEST_FRACTION = 1e-12
"""Branching ratio of an open channel that stands for zero."""

SMALLEST_STRENGTH = 1e-12
"""Signal strength that stands for zero."""


class Layout(NamedTuple):
    """Where the blocks of the vector lie."""

    masses: slice
    branching: slice
    strengths: slice
    size: int


def layout(space: ModelSpace) -> Layout:
    """Blocks of the vector of a space."""
    first = space.num_particles
    second = first + space.num_channels
    size = second + space.num_productions
    return Layout(slice(0, first), slice(first, second), slice(second, size), size)


def parameter_names(space: ModelSpace) -> tuple[str, ...]:
    """A name for every entry of the vector, such as `log_gap:1000006`."""
    channels = (":".join(map(str, (m, d, *sm))) for m, d, sm in space.channels)
    return (
        *(f"log_gap:{pid}" for pid in space.pdg_ids),
        *(f"logit:{text}" for text in channels),
        *(f"log_kappa:{a}:{b}" for a, b in space.productions),
    )


def _floors(
    space: ModelSpace, masses: Float[Array, " particle"], active: Bool[Array, " particle"]
) -> Float[Array, " particle"]:
    """GeV; mass above which each particle must lie, zero for the LBP."""
    floors = jnp.full_like(masses, masses[space.lbp]).at[space.lbp].set(0.0)
    pairs = canonical_pairs(space)
    light, heavy = pairs[:, 0], pairs[:, 1]
    return floors.at[heavy].set(jnp.where(active[light], masses[light], floors[heavy]))


def _in_use(
    space: ModelSpace, point: ModelPoint, channels: Bool[Array, " channel"] | None
) -> Bool[Array, " channel"]:
    """Channels that may carry a branching ratio: open, and chosen if there is a choice."""
    opened = open_channels(space, point)
    return opened if channels is None else opened & channels


def _log_softmax(
    space: ModelSpace, logits: Float[Array, " channel"], used: Bool[Array, " channel"]
) -> Float[Array, " channel"]:
    """Log branching ratios over the used channels of each mother; 0 elsewhere."""
    masked = jnp.where(used, logits, -jnp.inf)
    largest = jax.ops.segment_max(
        jax.lax.stop_gradient(masked), space.channel_parent, num_segments=space.num_particles
    )
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)[space.channel_parent]
    shifted = jnp.where(used, logits - largest, 0.0)
    total = branching_sums(space, jnp.where(used, jnp.exp(shifted), 0.0))
    log_total = jnp.log(jnp.where(total > 0, total, 1.0))[space.channel_parent]
    return jnp.where(used, shifted - log_total, 0.0)


def to_point(
    space: ModelSpace,
    vector: Float[Array, " parameter"],
    active: Bool[Array, " particle"],
    channels: Bool[Array, " channel"] | None = None,
) -> ModelPoint:
    """The model of an unconstrained vector.

    Args:
        space: Layout of the model.
        vector: Any real numbers; see the docstring of this module.
        active: Which particles exist.
        channels: Channels in use; by default every open one.

    Returns:
        A point in canonical order above the LBP whose branching ratios sum to one.
    """
    blocks = layout(space)
    gaps = MASS_SCALE * jnp.exp(vector[blocks.masses])
    masses = (gaps + gaps[space.lbp]).at[space.lbp].set(gaps[space.lbp])
    # Canonical pairs do not chain: one pass over the heavier partners is enough.
    masses = gaps + _floors(space, masses, active)
    empty = ModelPoint(masses, active, vector[blocks.branching], jnp.exp(vector[blocks.strengths]))
    used = _in_use(space, empty, channels)
    logs = _log_softmax(space, vector[blocks.branching], used)
    fractions = jnp.where(used, jnp.exp(logs), 0.0)
    return ModelPoint(masses, active, fractions, empty.signal_strengths)


def to_vector(
    space: ModelSpace, point: ModelPoint, channels: Bool[Array, " channel"] | None = None
) -> Float[Array, " parameter"]:
    """The vector of a model: the right inverse of `to_point`.

    Zeros that have no logarithm are replaced by the constants `SMALLEST_...`. Logits
    of channels in use average to zero for each mother, the others are zero.

    Args:
        space: Layout of the model.
        point: Masses must be in order; see `kinematics.masses_allowed`.
        channels: Channels in use; by default every open one.
    """
    gaps = point.masses - _floors(space, point.masses, point.active)
    log_gaps = jnp.log(jnp.maximum(gaps, SMALLEST_GAP) / MASS_SCALE)
    used = _in_use(space, point, channels)
    logs = jnp.log(jnp.maximum(point.branching_ratios, SMALLEST_FRACTION))
    mean = _logit_means(space, logs, used)[space.channel_parent]
    logits = jnp.where(used, logs - mean, 0.0)
    strengths = jnp.log(jnp.maximum(point.signal_strengths, SMALLEST_STRENGTH))
    return jnp.concatenate([log_gaps, logits, strengths])


def _logit_means(
    space: ModelSpace, logits: Float[Array, " channel"], used: Bool[Array, " channel"]
) -> Float[Array, " particle"]:
    """Mean logit of the used channels of each mother; zero without any."""
    count = branching_sums(space, used.astype(logits.dtype))
    return branching_sums(space, jnp.where(used, logits, 0.0)) / jnp.maximum(count, 1.0)


def log_det_jacobian(
    space: ModelSpace,
    vector: Float[Array, " parameter"],
    active: Bool[Array, " particle"],
    channels: Bool[Array, " channel"] | None = None,
) -> Scalar:
    r"""Logarithm of the volume change from the vector to the model that exists.

    $$ \sum_\text{particles}\ln|m-\text{floor}| + \sum_\text{used channels}\ln b
       + \sum_\text{productions}\ln\kappa $$

    over particles that exist, used channels of mothers, and productions of existing
    pairs. The n used branching ratios of one mother count n - 1 parameters, the mean
    of their logits is the nth, whose density `log_pseudo_prior` holds.

    Args:
        space: Layout of the model.
        vector: The point in the unconstrained space.
        active: Which particles exist.
        channels: Channels in use; by default every open one.

    Returns:
        ln|det J| with masses in GeV.
    """
    blocks = layout(space)
    point = to_point(space, vector, active, channels)
    used = _in_use(space, point, channels)
    exist = jnp.all(active[space.production_pair], axis=-1)
    masses = vector[blocks.masses] + jnp.log(MASS_SCALE)
    logs = _log_softmax(space, vector[blocks.branching], used)
    return (
        jnp.sum(jnp.where(active, masses, 0.0))
        + jnp.sum(logs)
        + jnp.sum(jnp.where(exist, vector[blocks.strengths], 0.0))
    )


def log_pseudo_prior(
    space: ModelSpace,
    vector: Float[Array, " parameter"],
    active: Bool[Array, " particle"],
    channels: Bool[Array, " channel"] | None = None,
) -> Scalar:
    """Normalised density of all coordinates that the model does not depend on.

    A unit Gaussian for the log gaps of absent particles, the logits of unused
    channels, the mean logit of every mother with used channels, and ln(kappa) of
    modes that do not exist.
    """
    blocks = layout(space)
    point = to_point(space, vector, active, channels)
    used = _in_use(space, point, channels)
    exist = jnp.all(active[space.production_pair], axis=-1)
    free = jnp.concatenate([~active, ~used, ~exist])
    decaying = branching_sums(space, used.astype(vector.dtype)) > 0
    means = _logit_means(space, vector[blocks.branching], used)
    terms = jnp.where(free, jax.scipy.stats.norm.logpdf(vector), 0.0)
    gauge = jnp.where(decaying, jax.scipy.stats.norm.logpdf(means), 0.0)
    return jnp.sum(terms) + jnp.sum(gauge)
