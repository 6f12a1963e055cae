r"""Prior of protomodels: how much a model's complexity costs.

$$ \ln\pi = -\left(\frac{n_\text{part}}{2} + \frac{n_\text{BR}}{4}
+ \frac{n_\text{SSM}}{8}\right) $$

(arXiv:2012.12246, section 3; called expo1 in the code). The counts are those of the
published code, greedy equality included, so that a published K is reproduced; the
smooth version replaces every step by a slope for gradient ascent.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.kinematics import existing_productions
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float, Int, Scalar

SCALES = (2.0, 4.0, 8.0)
"""Number of particles, branching ratios and signal strengths per unit of -ln(pi)."""

MIN_BRANCHING_RATIO = 1e-5
"""A smaller branching ratio does not count."""

SAME_BRANCHING_RATIO = 0.025
"""Two branching ratios are equal when |a - b| / (a + b) is below this."""

MIN_SIGNAL_STRENGTH = 1e-4
"""A smaller signal strength does not count."""

SAME_SIGNAL_STRENGTH = 0.03
"""Two signal strengths are equal when 2 |a - b| / (a + b) is below this."""

REPEATED = 0.1
"""Cost of a signal strength that equals another one, relative to a distinct one."""

MIN_CROSS_SECTION = 1e-3
"""fb; a process with smaller cross sections at every energy does not count."""

WIDE = 12
"""Mothers with more channels than this are compared in a group of their own."""


class PriorCounts(NamedTuple):
    """ln(pi) and the three counts it is made of."""

    log_prior: Scalar
    num_particles: Scalar
    num_branching_ratios: Scalar
    num_signal_strengths: Scalar


@lru_cache(maxsize=32)
def _decay_rows(
    pairs: tuple[tuple[int, int], ...], pdg_ids: tuple[int, ...]
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Channels of each mother in their order, mothers grouped by how many they have.

    Returns:
        For each group: mothers (row,), channels (row, slot), mask (row, slot).
    """
    rows = {pid: [c for c, pair in enumerate(pairs) if pair[0] == pid] for pid in pdg_ids}
    groups = []
    for wide in (False, True):
        members = [pid for pid, row in rows.items() if row and (len(row) > WIDE) == wide]
        width = max((len(rows[pid]) for pid in members), default=0)
        table = np.zeros((len(members), width), dtype=np.int32)
        mask = np.zeros((len(members), width), dtype=bool)
        for number, pid in enumerate(members):
            table[number, : len(rows[pid])] = rows[pid]
            mask[number, : len(rows[pid])] = True
        if members:
            groups.append((np.array([pdg_ids.index(pid) for pid in members]), table, mask))
    return tuple(groups)


def count_distinct(
    values: Float[Array, " slot"], counted: Bool[Array, " slot"], tolerance: float
) -> Int[Array, ""]:
    """Number of distinct values, in the greedy manner of protomodels.

    Each value in turn is compared with the ones kept so far and kept when it equals
    none of them; the result depends on the order of the array.

    Args:
        values: Positive numbers.
        counted: Entries to look at.
        tolerance: a and b are equal when |a - b| < tolerance (a + b).
    """
    gap = jnp.abs(values[:, None] - values[None, :])
    equal = gap < tolerance * (values[:, None] + values[None, :])
    earlier = jnp.tril(equal, -1) & counted[:, None]

    def refine(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        kept, _ = carry
        return counted & ~jnp.any(earlier & kept[None, :], axis=1), kept

    def unsettled(carry: tuple[Array, Array]) -> Array:
        kept, previous = carry
        return jnp.any(kept != previous)

    # kept_i = counted_i and not any_{j<i} (equal_ij and kept_j) has exactly one
    # solution, reached after as many sweeps as the longest chain of equalities.
    kept, _ = jax.lax.while_loop(unsettled, refine, refine((counted, counted)))
    return jnp.sum(kept)


def num_branching_ratios(space: ModelSpace, point: ModelPoint) -> Float[Array, ""]:
    """Distinct branching ratios minus one, summed over the particles that decay."""
    total = jnp.zeros((), dtype=int)
    for mothers, channels, mask in _decay_rows(space.channel_pairs, space.pdg_ids):
        values = point.branching_ratios[channels]
        counted = (values > MIN_BRANCHING_RATIO) & mask & point.active[mothers][:, None]
        distinct = jax.vmap(count_distinct, in_axes=(0, 0, None))(
            values, counted, SAME_BRANCHING_RATIO
        )
        total = total + jnp.sum(jnp.maximum(distinct - 1, 0))
    return total.astype(point.branching_ratios.dtype)


def counted_productions(
    space: ModelSpace, point: ModelPoint, cross_sections: Float[Array, "production energy"]
) -> Bool[Array, " production"]:
    """Production modes whose signal strength is a parameter of the model.

    Args:
        space: Layout of the point.
        point: The model.
        cross_sections: fb, signal strengths included.
    """
    visible = jnp.any(cross_sections >= MIN_CROSS_SECTION, axis=-1)
    return (
        visible
        & existing_productions(space, point)
        & (point.signal_strengths > MIN_SIGNAL_STRENGTH)
    )


def num_signal_strengths(
    space: ModelSpace, point: ModelPoint, cross_sections: Float[Array, "production energy"]
) -> Float[Array, ""]:
    """Distinct signal strengths plus a tenth of the repeated ones."""
    counted = counted_productions(space, point, cross_sections)
    unique = count_distinct(point.signal_strengths, counted, SAME_SIGNAL_STRENGTH / 2)
    return unique + REPEATED * (jnp.sum(counted) - unique)


def log_prior_of_counts(
    num_particles: Scalar, num_branching: Scalar, num_strengths: Scalar
) -> Scalar:
    """ln(pi) for given counts."""
    first, second, third = SCALES
    return -(num_particles / first + num_branching / second + num_strengths / third)


def log_prior(
    space: ModelSpace, point: ModelPoint, cross_sections: Float[Array, "production energy"]
) -> PriorCounts:
    """ln(pi) of a model, with steps; its gradient is zero almost everywhere.

    Args:
        space: Layout of the point.
        point: The model.
        cross_sections: fb, signal strengths included.

    Returns:
        ln(pi), dimensionless, and the counts.

    References:
        arXiv:2012.12246, table 2.
    """
    particles = jnp.sum(point.active).astype(point.masses.dtype)
    branching = num_branching_ratios(space, point)
    strengths = num_signal_strengths(space, point, cross_sections)
    total = log_prior_of_counts(particles, branching, strengths)
    return PriorCounts(total, particles, branching, strengths)


def _present(
    values: Float[Array, "*slots"], threshold: float, softness: Scalar | float
) -> Float[Array, "*slots"]:
    """1 far above a threshold, 1/2 at it, falling as a power of the value below."""
    safe = jnp.maximum(values, 1e-30)
    return jax.nn.sigmoid(jnp.log(safe / threshold) / softness)


def soft_count(
    values: Float[Array, " slot"],
    present: Float[Array, " slot"],
    tolerance: float,
    softness: Scalar | float,
) -> Float[Array, ""]:
    """Smooth number of distinct values; `count_distinct` as the softness goes to zero.

    Args:
        values: Non-negative numbers.
        present: How much each entry counts, between 0 and 1.
        tolerance: a and b are half equal when |a - b| = tolerance (a + b).
        softness: Inverse power with which equality fades beyond that.
    """
    total = jnp.maximum(values[:, None] + values[None, :], 1e-30)
    distance = (values[:, None] - values[None, :]) / (tolerance * total)
    equal = jax.nn.sigmoid(-jnp.log(distance**2 + 1e-12) / softness)

    def keep(kept: Array, row: tuple[Array, Array, Array]) -> tuple[Array, None]:
        number, weight, same = row
        return kept.at[number].set(weight * jnp.prod(1 - same * kept)), None

    numbers = jnp.arange(values.shape[0])
    kept, _ = jax.lax.scan(keep, jnp.zeros_like(values), (numbers, present, equal))
    return jnp.sum(kept)


def smooth_log_prior(
    space: ModelSpace,
    point: ModelPoint,
    cross_sections: Float[Array, "production energy"],
    softness: Scalar | float = 0.5,
) -> PriorCounts:
    """ln(pi) without steps, for gradient ascent; report `log_prior` at the end.

    Rewards branching ratios and signal strengths that approach each other or zero.

    Args:
        space: Layout of the point.
        point: The model.
        cross_sections: fb, signal strengths included.
        softness: Width of every step relative to its threshold, as an inverse power;
            towards zero the exact counts return.

    Returns:
        ln(pi), dimensionless, and the smooth counts.
    """
    branching = jnp.zeros((), dtype=point.branching_ratios.dtype)
    many = jax.vmap(soft_count, in_axes=(0, 0, None, None))
    for mothers, channels, mask in _decay_rows(space.channel_pairs, space.pdg_ids):
        values = point.branching_ratios[channels]
        counted = mask & point.active[mothers][:, None]
        present = jnp.where(counted, _present(values, MIN_BRANCHING_RATIO, softness), 0.0)
        distinct = many(values, present, SAME_BRANCHING_RATIO, softness)
        decays = jnp.max(present, axis=1)
        branching = branching + jnp.sum(distinct - decays)
    largest = jnp.max(cross_sections, axis=-1)
    present = _present(largest, MIN_CROSS_SECTION, softness) * _present(
        point.signal_strengths, MIN_SIGNAL_STRENGTH, softness
    )
    present = jnp.where(existing_productions(space, point), present, 0.0)
    unique = soft_count(point.signal_strengths, present, SAME_SIGNAL_STRENGTH / 2, softness)
    strengths = unique + REPEATED * (jnp.sum(present) - unique)
    particles = jnp.sum(point.active).astype(point.masses.dtype)
    total = log_prior_of_counts(particles, branching, strengths)
    return PriorCounts(total, particles, branching, strengths)
