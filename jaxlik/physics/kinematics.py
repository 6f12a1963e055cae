"""Which decays are open and which masses are allowed, exactly and as smooth margins.

Booleans decide, margins guide: a margin is a signed distance in GeV, positive on the
allowed side, with a gradient for walkers. All functions are pure and may be jitted,
vmapped over points and differentiated.
"""

from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.particles import CANONICAL_PAIRS, STANDARD_MODEL
from jaxlik.typing import Array, Bool, Float, Scalar

MAX_MASS = 2400.0
"""GeV; upper end of the mass range of protomodels."""

MIN_LBP_MASS = 10.0
"""GeV; lower end of the mass of the LBP."""

WALLS: dict[int, float] = {
    **dict.fromkeys((1000001, 1000002, 1000003, 1000004, 1000021), 310.0),
    **dict.fromkeys((1000023, 1000025), 20.0),
    **dict.fromkeys((1000024, 1000037), 100.0),
}
"""GeV; lowest mass of a particle. Coloured: arXiv:2012.12246; the rest: later code."""

CORRIDOR_MASS = 280.0
"""GeV; stops at least this light must keep out of the corridor around the top mass."""

CORRIDOR = (150.0, 200.0)
"""GeV; forbidden m_stop - m_LBP for light stops, where efficiencies are unreliable."""

FAR = 1e6
"""GeV; margin of a condition on particles that are absent."""


class NormalisedDecays(NamedTuple):
    """Branching ratios after closed channels were removed.

    Attributes:
        point: The model with branching ratios that sum to one over open channels.
        survival: Sum of the branching ratios of each particle before rescaling;
            1 for the LBP and for absent particles.
        stranded: Particles that should decay but have nothing left to decay to.
    """

    point: ModelPoint
    survival: Float[Array, " particle"]
    stranded: Bool[Array, " particle"]


class MassMargins(NamedTuple):
    """Signed distances in GeV to the borders of the allowed mass region.

    Conditions on absent particles hold with the margin `FAR`.
    """

    lbp: Float[Array, " particle"]
    order: Float[Array, " pair"]
    corridor: Float[Array, " stop"]
    wall: Float[Array, " particle"]
    ceiling: Float[Array, " particle"]


@lru_cache(maxsize=32)
def _sm_masses(channel_sm: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Sum of the Standard Model masses of each channel, in GeV."""
    return np.array([sum(STANDARD_MODEL[pid].mass for pid in sm) for sm in channel_sm])


@lru_cache(maxsize=32)
def _bosons(
    pairs: tuple[tuple[int, int], ...], channel_sm: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Channel of the on-shell boson behind each channel, -1 without; and its mass."""
    rows = {(pair, sm): number for number, (pair, sm) in enumerate(zip(pairs, channel_sm))}  # noqa: B905
    twin = np.full(len(pairs), -1)
    mass = np.zeros(len(pairs))
    for number, (pair, sm) in enumerate(zip(pairs, channel_sm, strict=True)):
        if len(sm) != 2:
            continue
        boson = 23 if sm[0] == sm[1] else 24
        if (pair, (boson,)) in rows:
            twin[number] = rows[pair, (boson,)]
            mass[number] = STANDARD_MODEL[boson].mass
    return twin, mass


def on_shell_twin(space: ModelSpace) -> np.ndarray:
    """The two-body channel whose off-shell boson a channel stands for.

    Returns:
        Integers on the channel axis: the position of the channel with an on-shell W
        or Z between the same particles, -1 where there is none.
    """
    return _bosons(space.channel_pairs, space.channel_sm)[0]


def channel_margins(
    space: ModelSpace, masses: Float[Array, " particle"]
) -> Float[Array, " channel"]:
    """Distance of every channel from its nearest threshold.

    Args:
        space: Layout of the masses.
        masses: GeV.

    Returns:
        GeV, positive where the channel is kinematically open. For an off-shell
        channel the smaller of the distance above its own threshold and of that
        below the mass of the boson.
    """
    released = masses[space.channel_parent] - masses[space.channel_daughter]
    above = released - _sm_masses(space.channel_sm)
    twin, boson_mass = _bosons(space.channel_pairs, space.channel_sm)
    return jnp.where(twin >= 0, jnp.minimum(above, boson_mass - released), above)


def open_channels(space: ModelSpace, point: ModelPoint) -> Bool[Array, " channel"]:
    """Channels whose particles exist and whose daughters weigh less than the mother.

    An off-shell channel is open only while the channel with the on-shell boson to
    the same daughter is closed.
    """
    released = point.masses[space.channel_parent] - point.masses[space.channel_daughter]
    twin, boson_mass = _bosons(space.channel_pairs, space.channel_sm)
    exist = point.active[space.channel_parent] & point.active[space.channel_daughter]
    above = released > _sm_masses(space.channel_sm)
    return exist & above & ((twin < 0) | (released <= boson_mass))


def existing_productions(space: ModelSpace, point: ModelPoint) -> Bool[Array, " production"]:
    """Production modes both of whose particles exist."""
    return jnp.all(point.active[space.production_pair], axis=-1)


def branching_sums(
    space: ModelSpace, values: Float[Array, " channel"]
) -> Float[Array, " particle"]:
    """Sum of channel values over the channels of each mother."""
    return jax.ops.segment_sum(values, space.channel_parent, num_segments=space.num_particles)


def normalise_branching_ratios(space: ModelSpace, point: ModelPoint) -> NormalisedDecays:
    """Remove closed channels and rescale the others to a sum of one.

    A particle without anything left keeps zero branching ratios and is reported as
    stranded: whether it then counts as stable or as absent is the caller's choice.
    """
    kept = jnp.where(open_channels(space, point), point.branching_ratios, 0.0)
    total = branching_sums(space, kept)
    decays = jnp.arange(space.num_particles) != space.lbp
    needed = point.active & decays
    scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1.0), 0.0)
    fractions = kept * scale[space.channel_parent]
    rescaled = eqx.tree_at(lambda p: p.branching_ratios, point, fractions)
    return NormalisedDecays(rescaled, jnp.where(needed, total, 1.0), needed & (total <= 0))


def compensated_signal_strengths(
    space: ModelSpace, point: ModelPoint, survival: Float[Array, " particle"]
) -> Float[Array, " production"]:
    """Signal strengths that keep the rates of surviving decays unchanged.

    Args:
        space: Layout of the point.
        point: The model before its channels closed.
        survival: Sums of surviving branching ratios, from `normalise_branching_ratios`.

    Returns:
        kappa times the product of both survival factors, as protomodels does when a
        channel closes.
    """
    return point.signal_strengths * jnp.prod(survival[space.production_pair], axis=-1)


def lbp_is_lightest(space: ModelSpace, point: ModelPoint) -> Bool[Array, ""]:
    """The LBP exists and no other existing particle is lighter."""
    lightest = jnp.min(jnp.where(point.active, point.masses, jnp.inf))
    return point.active[space.lbp] & (point.masses[space.lbp] <= lightest)


@lru_cache(maxsize=32)
def _positions(pdg_ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical pairs, stops and lower mass walls of a space as arrays."""
    pairs = [(a, b) for a, b in CANONICAL_PAIRS if a in pdg_ids and b in pdg_ids]
    index = {pid: number for number, pid in enumerate(pdg_ids)}
    ordered = np.array([(index[a], index[b]) for a, b in pairs], dtype=int).reshape(-1, 2)
    stops = np.array([index[pid] for pid in (1000006, 2000006) if pid in index], dtype=int)
    walls = np.array([WALLS.get(pid, 0.0) for pid in pdg_ids])
    return ordered, stops, walls


def canonical_pairs(space: ModelSpace) -> np.ndarray:
    """Positions (lighter, heavier) of interchangeable particles; shape (pair, 2)."""
    return _positions(space.pdg_ids)[0]


def mass_walls(space: ModelSpace) -> np.ndarray:
    """Lowest mass in GeV that walkers allow for each particle, LBP included."""
    walls = _positions(space.pdg_ids)[2].copy()
    walls[space.lbp] = MIN_LBP_MASS
    return walls


def is_canonical(space: ModelSpace, point: ModelPoint) -> Bool[Array, ""]:
    """Of interchangeable particles the lighter exists first and stays lighter."""
    pairs = canonical_pairs(space)
    light, heavy = point.active[pairs[:, 0]], point.active[pairs[:, 1]]
    ordered = point.masses[pairs[:, 0]] <= point.masses[pairs[:, 1]]
    return jnp.all(~heavy | (light & ordered))


def in_stop_corridor(space: ModelSpace, point: ModelPoint) -> Bool[Array, ""]:
    """Some light stop lies in the corridor where m_stop - m_LBP is close to m_top."""
    stops = _positions(space.pdg_ids)[1]
    masses = point.masses[stops]
    gap = masses - point.masses[space.lbp]
    inside = (masses <= CORRIDOR_MASS) & (gap > CORRIDOR[0]) & (gap < CORRIDOR[1])
    return jnp.any(inside & point.active[stops])


def mass_margins(space: ModelSpace, point: ModelPoint) -> MassMargins:
    """Signed distances to every border of the mass region of protomodels.

    Returns:
        GeV, positive inside: above the LBP, in canonical order, outside the stop
        corridor, above the walls, below `MAX_MASS`.
    """
    pairs, stops, _ = _positions(space.pdg_ids)
    masses, active = point.masses, point.active
    lbp_mass = masses[space.lbp]
    others = active & (jnp.arange(space.num_particles) != space.lbp)
    stop_masses = masses[stops]
    gap = stop_masses - lbp_mass
    sideways = jnp.maximum(CORRIDOR[0] - gap, gap - CORRIDOR[1])
    corridor = jnp.maximum(sideways, stop_masses - CORRIDOR_MASS)
    both = active[pairs[:, 0]] & active[pairs[:, 1]]
    return MassMargins(
        lbp=jnp.where(others, masses - lbp_mass, FAR),
        order=jnp.where(both, masses[pairs[:, 1]] - masses[pairs[:, 0]], FAR),
        corridor=jnp.where(active[stops], corridor, FAR),
        wall=jnp.where(active, masses - mass_walls(space), FAR),
        ceiling=jnp.where(active, MAX_MASS - masses, FAR),
    )


def masses_allowed(space: ModelSpace, point: ModelPoint) -> Bool[Array, ""]:
    """The masses fulfil every condition of `mass_margins` and the canonical order."""
    margins = mass_margins(space, point)
    inside = [jnp.all(margin >= 0) for margin in (margins.lbp, margins.wall, margins.ceiling)]
    return (
        lbp_is_lightest(space, point)
        & is_canonical(space, point)
        & ~in_stop_corridor(space, point)
        & jnp.all(jnp.stack(inside))
    )


def softened_gate(margin: Float[Array, "..."], width: Scalar | float) -> Float[Array, "..."]:
    """A gate that opens smoothly: 0 far below, 1/2 at, 1 far above the border.

    Args:
        margin: Signed distance in GeV.
        width: Width of the transition in GeV, positive.
    """
    return jax.nn.sigmoid(margin / width)
