"""Models of new physics: the layout of all that may exist, and the values of one point.

A `ModelSpace` fixes the axes ``particle``, ``channel`` and ``production`` once, so
that a change of particle content is a change of data, never of a program. A
`ModelPoint` holds the numbers on these axes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ModelPointError
from jaxlik.physics.particles import (
    CANONICAL_PAIRS,
    LBP,
    POOL,
    UNSIGNED,
    particle,
    pid_of,
    signed_name,
)
from jaxlik.physics.pool import Channel, protomodel_channels, protomodel_productions
from jaxlik.typing import Array, Bool, Float, Int

AUXILIARY_GAP = 500.0
"""GeV above its lighter neighbour at which an absent particle is parked."""


class ModelSpace(eqx.Module):
    """Layout of everything that may exist; fixes all shapes.

    Attributes:
        pdg_ids: PDG numbers on the particle axis, the LBP among them.
        channel_sm: Standard Model particles of each channel, unsigned and sorted.
        productions: Signed, sorted pairs of PDG numbers on the production axis.
        channel_parent: Position of the mother on the particle axis.
        channel_daughter: Position of the BSM daughter on the particle axis.
        production_pair: Positions of both particles of each production mode.
    """

    pdg_ids: tuple[int, ...] = eqx.field(static=True)
    channel_sm: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    productions: tuple[tuple[int, int], ...] = eqx.field(static=True)
    channel_pairs: tuple[tuple[int, int], ...] = eqx.field(static=True)
    """(mother, daughter) as PDG numbers: the static twin of the two index arrays."""
    channel_parent: Int[Array, " channel"]
    channel_daughter: Int[Array, " channel"]
    production_pair: Int[Array, "production 2"]

    @property
    def num_particles(self) -> int:
        """Length of the particle axis."""
        return len(self.pdg_ids)

    @property
    def num_channels(self) -> int:
        """Length of the channel axis."""
        return len(self.channel_sm)

    @property
    def num_productions(self) -> int:
        """Length of the production axis."""
        return len(self.productions)

    @property
    def lbp(self) -> int:
        """Position of the lightest BSM particle."""
        return self.pdg_ids.index(LBP)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """(mother, daughter, Standard Model particles) of every channel."""
        return tuple((*pair, sm) for pair, sm in zip(self.channel_pairs, self.channel_sm))  # noqa: B905

    def particle_index(self, which: int | str) -> int:
        """Position of a particle given by PDG number (any sign) or by name.

        Raises:
            ModelPointError: the particle is not in the space.
        """
        pid = pid_of(which) if isinstance(which, str) else abs(which)
        if pid not in self.pdg_ids:
            names = ", ".join(f"{p} {particle(p).name}" for p in self.pdg_ids)
            raise ModelPointError(f"particle {which} is not in the model space, which has {names}")
        return self.pdg_ids.index(pid)

    def channel_index(self, mother: int, daughter: int, standard_model: Iterable[int]) -> int:
        """Position of a decay channel; signs and order of the particles do not matter.

        Raises:
            ModelPointError: the channel is not in the space.
        """
        sm = tuple(sorted(abs(pid) for pid in standard_model))
        try:
            return self.channels.index((abs(mother), abs(daughter), sm))
        except ValueError:
            known = [_channel_text(*c) for c in self.channels if c[0] == abs(mother)]
            raise ModelPointError(
                f"channel {_channel_text(abs(mother), abs(daughter), sm)} is not in the model "
                f"space; {abs(mother)} has {'; '.join(known) or 'no channels'}"
            ) from None

    def production_index(self, first: int, second: int) -> int:
        """Position of a production mode given by two signed PDG numbers in any order.

        Raises:
            ModelPointError: the mode is not in the space.
        """
        pair = production_key(first, second)
        if pair not in self.productions:
            raise ModelPointError(
                f"production {pair} is not among the {self.num_productions} modes of the model "
                "space; add it with `protomodel_space(extra_productions=...)`"
            )
        return self.productions.index(pair)


class ModelPoint(eqx.Module):
    """Values of one model; entries of absent particles are auxiliary.

    Attributes:
        masses: GeV.
        active: The particle exists.
        branching_ratios: Sum to one over the channels of every mother that decays.
        signal_strengths: Factor on the reference cross section of each production.
    """

    masses: Float[Array, " particle"] = eqx.field(converter=jnp.asarray)
    active: Bool[Array, " particle"] = eqx.field(converter=jnp.asarray)
    branching_ratios: Float[Array, " channel"] = eqx.field(converter=jnp.asarray)
    signal_strengths: Float[Array, " production"] = eqx.field(converter=jnp.asarray)


def production_key(first: int, second: int) -> tuple[int, int]:
    """Signed, sorted pair; particles that carry no sign lose theirs.

    Examples:
        >>> production_key(1000006, -1000006), production_key(1000022, -1000021)
        ((-1000006, 1000006), (1000021, 1000022))
    """
    a, b = (abs(pid) if abs(pid) in UNSIGNED else pid for pid in (first, second))
    return (a, b) if a <= b else (b, a)


def make_space(
    pdg_ids: Sequence[int], channels: Sequence[Channel], productions: Sequence[tuple[int, int]]
) -> ModelSpace:
    """Lay out a model space from PDG numbers.

    Args:
        pdg_ids: BSM particles, the LBP among them.
        channels: (mother, daughter, Standard Model particles).
        productions: Pairs of signed PDG numbers.

    Raises:
        ModelPointError: a name is unknown or occurs twice, or the LBP is missing or decays.
    """
    ids = tuple(pdg_ids)
    if LBP not in ids:
        raise ModelPointError(f"the model space {ids} lacks the lightest BSM particle {LBP}")
    rows = [(m, d, tuple(sorted(abs(pid) for pid in sm))) for m, d, sm in channels]
    pairs = [production_key(*pair) for pair in productions]
    for label, entries in (("particle", ids), ("channel", rows), ("production", pairs)):
        twice = {entry for entry in entries if entries.count(entry) > 1}  # type: ignore[arg-type]
        if twice:
            raise ModelPointError(f"the model space lists {label} {sorted(twice)} more than once")
    named = {pid for m, d, _ in rows for pid in (m, d)} | {abs(p) for pair in pairs for p in pair}
    if named - set(ids):
        raise ModelPointError(
            f"channels or productions name {sorted(named - set(ids))}, which the particle "
            f"axis {ids} lacks"
        )
    if any(m == LBP for m, _, _ in rows):
        raise ModelPointError(f"the lightest BSM particle {LBP} is stable and has no channels")
    for _, _, sm in rows:
        for pid in sm:
            particle(pid)
    index = {pid: position for position, pid in enumerate(ids)}
    return ModelSpace(
        pdg_ids=ids,
        channel_sm=tuple(sm for _, _, sm in rows),
        productions=tuple(pairs),
        channel_pairs=tuple((m, d) for m, d, _ in rows),
        channel_parent=jnp.asarray([index[m] for m, _, _ in rows], dtype=jnp.int32),
        channel_daughter=jnp.asarray([index[d] for _, d, _ in rows], dtype=jnp.int32),
        production_pair=jnp.asarray(
            [[index[abs(p)] for p in pair] for pair in pairs], dtype=jnp.int32
        ).reshape(-1, 2),
    )


def protomodel_space(extra_productions: Sequence[tuple[int, int]] = ()) -> ModelSpace:
    """The default pool: 20 particles, 137 channels, 50 production modes.

    Args:
        extra_productions: Signed pairs to append, for models that bring their own
            cross sections; the reference cross section of such a mode is zero.
    """
    return make_space(
        tuple(POOL), protomodel_channels(), (*protomodel_productions(), *extra_productions)
    )


def point_from_dict(space: ModelSpace, document: Mapping[str, Any]) -> ModelPoint:
    """Build a model point from plain numbers.

    Args:
        space: Layout of the point.
        document: ``masses`` {pid: GeV}; ``branching_ratios`` {mother: {(daughter,
            *Standard Model particles): fraction}}; optionally ``signal_strengths``
            {(pid, pid): factor}, by default 1. Particles without a mass are absent.

    Raises:
        ModelPointError: see `validate`; also an unknown particle, channel or mode.

    Examples:
        >>> space = protomodel_space()
        >>> document = {
        ...     "masses": {1000022: 160.0, 1000006: 1150.0},
        ...     "branching_ratios": {1000006: {(1000022, 6): 1.0}},
        ... }
        >>> point = point_from_dict(space, document)
        >>> point_to_dict(space, point)["signal_strengths"]
        {(-1000006, 1000006): 1.0}
    """
    unknown = set(document) - {"masses", "branching_ratios", "signal_strengths"}
    if unknown:
        raise ModelPointError(
            f"keys {sorted(unknown)} of a model point are unknown; known are masses, "
            "branching_ratios, signal_strengths"
        )
    given = {space.particle_index(pid): float(m) for pid, m in document["masses"].items()}
    active = np.zeros(space.num_particles, dtype=bool)
    masses = np.zeros(space.num_particles)
    for position, mass in given.items():
        active[position], masses[position] = True, mass
    fractions = np.zeros(space.num_channels)
    for mother, table in document.get("branching_ratios", {}).items():
        for (daughter, *sm), value in table.items():
            fractions[space.channel_index(mother, daughter, sm)] = value
    strengths = np.ones(space.num_productions)
    for pair, value in document.get("signal_strengths", {}).items():
        strengths[space.production_index(*pair)] = value
    point = ModelPoint(fill_masses(space, masses, active), active, fractions, strengths)
    validate(space, point)
    return point


def point_to_dict(space: ModelSpace, point: ModelPoint) -> dict[str, Any]:
    """Plain numbers of a model point, as `point_from_dict` reads them.

    Absent particles, zero branching ratios and modes of absent particles are left out.
    """
    masses, active = np.asarray(point.masses), np.asarray(point.active)
    fractions: dict[int, dict[tuple[int, ...], float]] = {}
    for (mother, daughter, sm), value in zip(
        space.channels, np.asarray(point.branching_ratios), strict=True
    ):
        if value > 0 and active[space.pdg_ids.index(mother)]:
            fractions.setdefault(mother, {})[(daughter, *sm)] = float(value)
    pairs = np.asarray(space.production_pair)
    return {
        "masses": {
            pid: float(m) for pid, m, on in zip(space.pdg_ids, masses, active, strict=True) if on
        },
        "branching_ratios": fractions,
        "signal_strengths": {
            key: float(value)
            for key, pair, value in zip(
                space.productions, pairs, np.asarray(point.signal_strengths), strict=True
            )
            if active[pair].all()
        },
    }


def fill_masses(space: ModelSpace, masses: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Give absent particles auxiliary masses that respect every ordering.

    Args:
        space: Layout of the arrays.
        masses: GeV; entries of absent particles are ignored.
        active: Which particles exist.

    Returns:
        Masses in GeV with the entries of present particles unchanged.
    """
    filled = np.array(masses, dtype=float)
    floor = filled[space.lbp]
    filled[~np.asarray(active)] = floor + AUXILIARY_GAP
    for light, heavy in CANONICAL_PAIRS:
        if light not in space.pdg_ids or heavy not in space.pdg_ids:
            continue
        i, j = space.pdg_ids.index(light), space.pdg_ids.index(heavy)
        if not active[i] and active[j]:
            filled[i] = 0.5 * (floor + filled[j])
        elif not active[j]:
            filled[j] = filled[i] + AUXILIARY_GAP
    return filled


def validate(
    space: ModelSpace, point: ModelPoint, *, tolerance: float = 1e-4, allow_stable: bool = False
) -> None:
    """Raise unless a point is one model of the space.

    Args:
        space: Layout of the point.
        point: Concrete values; not for use inside compiled code.
        tolerance: Allowed distance of a sum of branching ratios from one.
        allow_stable: Accept particles without any decay beside the LBP.

    Raises:
        ModelPointError: wrong shape, undefined or negative value, LBP absent or not
            lightest, branching ratios not summing to one.
    """
    shapes = (space.num_particles, space.num_particles, space.num_channels, space.num_productions)
    names = ("masses", "active", "branching_ratios", "signal_strengths")
    arrays = [np.asarray(getattr(point, name)) for name in names]
    for name, array, length in zip(names, arrays, shapes, strict=True):
        if array.shape != (length,):
            raise ModelPointError(
                f"{name} of the model point has shape {array.shape}, wanted ({length},); "
                "build the point for this space"
            )
    masses, active, fractions, strengths = arrays
    _check_masses(space, masses, active)
    for name, array in (("branching_ratios", fractions), ("signal_strengths", strengths)):
        if not np.isfinite(array).all() or (array < 0).any():
            worst = array[~np.isfinite(array) | (array < 0)][0]
            raise ModelPointError(f"{name} contain {worst}, wanted finite values of at least 0")
    totals = np.bincount(
        np.asarray(space.channel_parent), weights=fractions, minlength=space.num_particles
    )
    for position in np.flatnonzero(active):
        if position == space.lbp or (allow_stable and totals[position] == 0):
            continue
        if abs(totals[position] - 1) > tolerance:
            raise ModelPointError(
                f"branching ratios of {particle(space.pdg_ids[position]).name} sum to "
                f"{totals[position]:.6g}, not to 1 within {tolerance:g}; rescale them, for "
                "example with `kinematics.normalise_branching_ratios`"
            )


def _check_masses(space: ModelSpace, masses: np.ndarray, active: np.ndarray) -> None:
    """Raise unless present particles have masses at least that of the LBP."""
    if not active[space.lbp]:
        raise ModelPointError(
            f"the lightest BSM particle {LBP} (X_Z^1) is absent; every model needs its mass"
        )
    for pid, mass in zip(np.asarray(space.pdg_ids)[active], masses[active], strict=True):
        if not np.isfinite(mass) or mass < 0:
            raise ModelPointError(
                f"mass of {particle(int(pid)).name} ({pid}) is {mass} GeV, wanted a finite "
                "value of at least 0"
            )
    lightest = np.argmin(np.where(active, masses, np.inf))
    if masses[lightest] < masses[space.lbp]:
        raise ModelPointError(
            f"{particle(space.pdg_ids[lightest]).name} ({masses[lightest]:g} GeV) is lighter than "
            f"the lightest BSM particle X_Z^1 ({masses[space.lbp]:g} GeV); raise it or lower X_Z^1"
        )


def describe(space: ModelSpace, point: ModelPoint) -> str:
    """A readable table of the particles that exist: mass and decays, heaviest first."""
    document = point_to_dict(space, point)
    lines = [f"{'particle':<10} {'mass [GeV]':>10}  decays"]
    for pid, mass in sorted(document["masses"].items(), key=lambda item: -item[1]):
        table = document["branching_ratios"].get(pid, {})
        decays = ", ".join(
            f"{_final_state_text(key[0], key[1:])} {value:.3f}"
            for key, value in sorted(table.items(), key=lambda item: -item[1])
        )
        lines.append(f"{particle(pid).name:<10} {mass:>10.1f}  {decays or 'stable'}")
    lines.append("signal strengths")
    for (a, b), value in document["signal_strengths"].items():
        lines.append(f"  {signed_name(a)} {signed_name(b)}: {value:.4g}")
    return "\n".join(lines)


def _final_state_text(daughter: int, standard_model: tuple[int, ...]) -> str:
    return " ".join(particle(pid).name for pid in (*standard_model, daughter))


def _channel_text(mother: int, daughter: int, standard_model: tuple[int, ...]) -> str:
    """Readable form of a channel, PDG numbers where a particle is unknown."""
    try:
        return f"{particle(mother).name} -> {_final_state_text(daughter, standard_model)}"
    except ModelPointError:
        return f"{mother} -> {(daughter, *standard_model)}"
