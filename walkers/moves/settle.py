"""From a changed model to a valid one: what every move has in common.

Decays follow the masses: closed channels lose their branching ratios, an off-shell
boson takes over from its on-shell twin and back, mothers are renormalised and signal
strengths compensated. Entries of absent particles get fixed values, so that equal
models are equal arrays.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.kinematics import (
    MAX_MASS,
    branching_sums,
    canonical_pairs,
    compensated_signal_strengths,
    existing_productions,
    mass_walls,
    masses_allowed,
    normalise_branching_ratios,
    on_shell_twin,
    open_channels,
)
from jaxlik.physics.model import AUXILIARY_GAP, ModelPoint, ModelSpace
from jaxlik.physics.particles import STANDARD_MODEL
from jaxlik.physics.prior import MIN_BRANCHING_RATIO
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar

MAX_SIGNAL_STRENGTH = 1e5
"""Cap on kappa (protomodels)."""

OFF_SHELL_SHARES: dict[tuple[int, ...], float] = {
    (1, 2): 0.676,
    (2, 2): 0.548,
    (5, 5): 0.151,
    (11, 11): 0.0337,
    (13, 13): 0.0337,
    (15, 15): 0.0337,
    (12, 12): 0.200,
    (11, 12): 0.108,
    (13, 14): 0.108,
    (15, 16): 0.108,
}
"""Branching ratios of W and Z, leptons averaged (Particle Data Group 2024)."""


ReferenceFn = Callable[[Float[Array, " particle"]], Float[Array, " production"]]
"""Relative cross sections of all productions as a function of the masses [GeV]."""


class Draft(NamedTuple):
    """A changed model as a move leaves it, decays not yet in order.

    A mother whose branching ratios are all zero gets new ones.

    Attributes:
        point: Masses, content, branching ratios, signal strengths.
        rated: Productions whose signal strength holds a rate instead (signal strength
            times reference cross section), to be divided by the new reference.
        valid: Whether the draft may become a model.
    """

    point: ModelPoint
    rated: Bool[Array, " production"]
    valid: Bool[Array, ""]


class Proposal(NamedTuple):
    """A model that a move suggests.

    Attributes:
        point: The model.
        valid: Whether it is one; an invalid proposal is never evaluated into a state.
    """

    point: ModelPoint
    valid: Bool[Array, ""]


@lru_cache(maxsize=32)
def _tables(
    pairs: tuple[tuple[int, int], ...], sms: tuple[tuple[int, ...], ...], twins: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Family, share within it, off-shell flag and Standard Model mass of each channel.

    Channels of an off-shell boson form a family, named by the on-shell twin.
    """
    del pairs
    twin = np.asarray(twins, dtype=int)
    off_shell = twin >= 0
    family = np.where(off_shell, twin, np.arange(len(twins)))
    share = np.array(
        [
            OFF_SHELL_SHARES.get(sm, 0.1) if off else 1.0
            for sm, off in zip(sms, off_shell, strict=True)
        ]
    )
    mass = np.array([sum(STANDARD_MODEL[pid].mass for pid in sm) for sm in sms])
    return family, share, off_shell, mass


def channel_families(space: ModelSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Family, share, off-shell flag, sum of Standard Model masses [GeV] of each channel."""
    twins = tuple(int(t) for t in on_shell_twin(space))
    return _tables(space.channel_pairs, space.channel_sm, twins)


def random_branching_ratios(
    key: Key[Array, ""], space: ModelSpace, is_open: Bool[Array, " channel"]
) -> Float[Array, " channel"]:
    """Random branching ratios of all mothers, from simple to rich.

    With probability 1/2 one family of channels (an off-shell boson decays as the boson
    does), 1/10 one channel, 1/4 equal shares of a random subset, else random shares of
    it. Simple decays come first because the prior charges distinct branching ratios.

    Args:
        key: Random key.
        space: Layout of the channels.
        is_open: Channels to choose from.

    Returns:
        Sums of 1 over the open channels of a mother, 0 for mothers without any.
    """
    family, share, _, _ = channel_families(space)
    # One call for all numbers: random bits are the dear part of a proposal.
    size = space.num_channels
    uniform = jax.random.uniform(key, (3 * size + space.num_particles,))
    mode = uniform[3 * size :][space.channel_parent]
    height = jnp.where(is_open, uniform[:size], -1.0)
    # A family shares one height: that of its on-shell twin.
    shared = jnp.where(is_open, uniform[size : 2 * size][family], -1.0)
    one_family = is_open & (shared >= _highest(space, shared)[space.channel_parent])
    top = is_open & (height >= _highest(space, height)[space.channel_parent])
    subset = is_open & (top | (height < 0.5))
    weight = jnp.where(one_family, share, 0.0)
    weight = jnp.where(mode < 0.5, jnp.where(top, 1.0, 0.0), weight)
    weight = jnp.where(mode < 0.4, jnp.where(subset, 1.0, 0.0), weight)
    rich = jnp.where(subset, -jnp.log1p(-uniform[2 * size : 3 * size]), 0.0)
    weight = jnp.where(mode < 0.15, rich, weight)
    return _shares(space, weight)


def settle(
    key: Key[Array, ""],
    space: ModelSpace,
    draft: Draft,
    reference_fn: ReferenceFn,
    max_particles: int,
) -> Proposal:
    """Make decays, signal strengths and auxiliary entries of a draft consistent.

    Args:
        key: For branching ratios of mothers that have none.
        space: Layout of the points.
        draft: What a move changed.
        reference_fn: Relative cross sections.
        max_particles: Particles a model may have.
    """
    after = draft.point
    reference = reference_fn(parked_masses(space, after))
    usable = draft.rated & (reference > 0)
    strengths = after.signal_strengths / jnp.where(usable, reference, 1.0)
    strengths = jnp.where(draft.rated & ~usable, 1.0, strengths)
    after = eqx.tree_at(lambda p: p.signal_strengths, after, strengths)
    after = eqx.tree_at(
        lambda p: (p.masses, p.branching_ratios),
        after,
        (parked_masses(space, after), _transferred(space, after)),
    )
    decays = normalise_branching_ratios(space, after)
    survival = jnp.where(decays.stranded, 1.0, decays.survival)
    strengths = jnp.clip(
        compensated_signal_strengths(space, after, survival), 0.0, MAX_SIGNAL_STRENGTH
    )
    is_open = open_channels(space, after)
    fresh = random_branching_ratios(key, space, is_open)
    stranded = decays.stranded[space.channel_parent]
    fractions = jnp.where(stranded, fresh, decays.point.branching_ratios)
    fractions = jnp.where(fractions > MIN_BRANCHING_RATIO, fractions, 0.0)
    fractions = _shares(space, fractions)
    strengths = jnp.where(existing_productions(space, after), strengths, 1.0)
    point = ModelPoint(after.masses, after.active, fractions, strengths)
    return Proposal(point, draft.valid & is_valid(space, point, max_particles))


def is_valid(space: ModelSpace, point: ModelPoint, max_particles: int) -> Bool[Array, ""]:
    """Masses in range, every mother decays, not too many particles, numbers finite."""
    others = jnp.arange(space.num_particles) != space.lbp
    decaying = branching_sums(space, point.branching_ratios) > 0.5
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(point) if leaf.dtype != bool]
    count = jnp.sum(point.active)
    return (
        masses_allowed(space, point)
        & jnp.all(decaying | ~point.active | ~others)
        & (count <= max_particles)
        & jnp.all(jnp.stack(finite))
    )


def parked_masses(space: ModelSpace, point: ModelPoint) -> Float[Array, " particle"]:
    """Masses in GeV with fixed auxiliary values for absent particles, in canonical order."""
    floor = point.masses[space.lbp]
    masses = jnp.where(point.active, point.masses, floor + AUXILIARY_GAP)
    pairs = canonical_pairs(space)
    light, heavy = pairs[:, 0], pairs[:, 1]
    parked = jnp.where(point.active[heavy], masses[heavy], masses[light] + AUXILIARY_GAP)
    return masses.at[heavy].set(parked)


def lowest_masses(space: ModelSpace, point: ModelPoint) -> Float[Array, " particle"]:
    """Lowest mass in GeV at which each particle could decay and keeps its order.

    For the LBP the wall; for others also the LBP, the lightest final state that exists,
    and the lighter of two interchangeable states.
    """
    _, _, _, sm_mass = channel_families(space)
    daughter = space.channel_daughter
    final = jnp.where(point.active[daughter], point.masses[daughter] + sm_mass, jnp.inf)
    threshold = -_highest(space, -final)
    threshold = jnp.where(jnp.isfinite(threshold), threshold, MAX_MASS)
    others = jnp.arange(space.num_particles) != space.lbp
    walls = jnp.asarray(mass_walls(space))
    lowest = jnp.where(others, jnp.maximum(walls, threshold), walls)
    light, heavy = canonical_pairs(space).T
    partner = jnp.where(point.active[light], point.masses[light], 0.0)
    return lowest.at[heavy].max(partner)


def highest_masses(space: ModelSpace, point: ModelPoint) -> Float[Array, " particle"]:
    """Highest mass in GeV of each particle: for the LBP that of the next lightest."""
    others = jnp.arange(space.num_particles) != space.lbp
    lightest = jnp.min(jnp.where(point.active & others, point.masses, MAX_MASS))
    light, heavy = canonical_pairs(space).T
    highest = jnp.full(space.num_particles, MAX_MASS)
    highest = highest.at[light].set(jnp.where(point.active[heavy], point.masses[heavy], MAX_MASS))
    return jnp.where(others, highest, lightest)


def pick(uniform: Scalar, allowed: Bool[Array, " item"]) -> Int[Array, ""]:
    """A random position among the allowed ones; 0 where there is none.

    Args:
        uniform: Random number between 0 and 1.
        allowed: Positions to choose from.
    """
    number = jnp.floor(uniform * jnp.sum(allowed)).astype(jnp.int32)
    rank = jnp.cumsum(allowed) - 1
    return jnp.argmax(allowed & (rank == number))


def _highest(space: ModelSpace, values: Float[Array, " channel"]) -> Float[Array, " particle"]:
    return jax.ops.segment_max(values, space.channel_parent, num_segments=space.num_particles)


def _shares(space: ModelSpace, weight: Float[Array, " channel"]) -> Float[Array, " channel"]:
    """Weights divided by their sum over the channels of the mother."""
    total = branching_sums(space, weight)
    scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1.0), 0.0)
    return weight * scale[space.channel_parent]


def _transferred(space: ModelSpace, point: ModelPoint) -> Float[Array, " channel"]:
    """Branching ratios after on-shell bosons went off-shell and back."""
    family, share, off_shell, _ = channel_families(space)
    is_open = open_channels(space, point)
    old = jnp.where(point.active[space.channel_parent], point.branching_ratios, 0.0)
    weight = jnp.where(is_open & off_shell, share, 0.0)
    total = jnp.zeros_like(old).at[family].add(weight)[family]
    fraction = weight / jnp.where(total > 0, total, 1.0)
    downwards = jnp.where(off_shell & ~is_open[family], old[family] * fraction, 0.0)
    upwards = jnp.where(off_shell & ~is_open & is_open[family], old, 0.0)
    kept = jnp.where(is_open, old, 0.0)
    return kept + downwards + jnp.zeros_like(old).at[family].add(upwards)
