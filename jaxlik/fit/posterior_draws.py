"""Draws of the posterior over model space, on the host: models, not coordinates.

A *content* is the set of particles that exist. Its key is their PDG numbers in ascending
order, ``1000006 1000022``; its label their names in the order of the particle axis with the
lightest particle last, ``X_t^1 X_Z^1``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from jaxlik.fit.report import production_name
from jaxlik.physics.particles import LBP, particle
from jaxlik.physics.pool import Channel
from jaxlik.typing import Bool, Float, Int

AXES: dict[str, tuple[str, ...]] = {
    "active": ("particle",),
    "masses": ("particle",),
    "branching_ratios": ("channel",),
    "signal_strengths": ("production",),
    "free_strength": ("production",),
    "log_likelihood": (),
    "log_prior": (),
}
"""Axes of every array behind `chain` and `draw`."""

TRUTHS = ("active", "free_strength")
"""Arrays of truth values; all others hold real numbers."""


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Models drawn from the posterior by several chains of equal length.

    Attributes:
        pdg_ids: PDG numbers on the particle axis.
        channels: (mother, daughter, Standard Model particles) on the channel axis.
        productions: Signed pairs on the production axis.
        active: The particle exists; always true for the lightest one.
        masses: GeV; `nan` where the particle is absent.
        branching_ratios: Zero where the channel is not used.
        signal_strengths: Factors on the reference cross sections; `nan` where a particle
            of the mode is absent.
        free_strength: The signal strength is a parameter of the model; elsewhere it is tied.
        log_likelihood: ln L over that of the Standard Model.
        log_prior: ln of the prior's density.
    """

    pdg_ids: tuple[int, ...]
    channels: tuple[Channel, ...]
    productions: tuple[tuple[int, int], ...]
    active: Bool[np.ndarray, "chain draw particle"]
    masses: Float[np.ndarray, "chain draw particle"]
    branching_ratios: Float[np.ndarray, "chain draw channel"]
    signal_strengths: Float[np.ndarray, "chain draw production"]
    free_strength: Bool[np.ndarray, "chain draw production"]
    log_likelihood: Float[np.ndarray, "chain draw"]
    log_prior: Float[np.ndarray, "chain draw"]

    def __post_init__(self) -> None:
        """Convert the arrays; `ValueError` unless they fit together."""
        for name in AXES:
            kind = bool if name in TRUTHS else float
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        lead = self.log_likelihood.shape
        if len(lead) != 2:
            raise ValueError(f"log_likelihood has shape {lead}, wanted (chain, draw)")
        sizes = {
            "particle": len(self.pdg_ids),
            "channel": len(self.channels),
            "production": len(self.productions),
        }
        for name, axes in AXES.items():
            wanted = (*lead, *(sizes[axis] for axis in axes))
            found = getattr(self, name).shape
            if found != wanted:
                text = ", ".join(("chain", "draw", *axes))
                raise ValueError(f"{name} has shape {found}, wanted ({text}) = {wanted}")
        if LBP in self.pdg_ids and not np.all(self.active[..., self.pdg_ids.index(LBP)]):
            raise ValueError(f"active is false for {particle(LBP).name}, which always exists")

    @property
    def num_chains(self) -> int:
        """Length of the chain axis."""
        return self.log_likelihood.shape[0]

    @property
    def num_draws(self) -> int:
        """Length of the draw axis."""
        return self.log_likelihood.shape[1]

    @property
    def log_posterior(self) -> Float[np.ndarray, "chain draw"]:
        """ln(likelihood x prior), not normalised."""
        return self.log_likelihood + self.log_prior

    def head(self, num_draws: int) -> "PosteriorDraws":
        """The first draws of every chain."""
        return self._map(lambda array: array[:, :num_draws])

    def tail(self, num_draws: int) -> "PosteriorDraws":
        """The last draws of every chain."""
        return self._map(lambda array: array[:, max(self.num_draws - num_draws, 0) :])

    def chain(self, number: int) -> "PosteriorDraws":
        """One chain as draws of their own; `number` counts from zero."""
        return self._map(lambda array: array[number : number + 1])

    def _map(self, function) -> "PosteriorDraws":
        arrays = {name: function(getattr(self, name)) for name in AXES}
        return PosteriorDraws(self.pdg_ids, self.channels, self.productions, **arrays)


def concatenate_draws(blocks: Sequence[PosteriorDraws]) -> PosteriorDraws:
    """Blocks of the same chains, one after the other.

    Raises:
        ValueError: no block, other axes, or another number of chains.
    """
    return _joined(blocks, axis=1)


def stack_chains(chains: Sequence[PosteriorDraws]) -> PosteriorDraws:
    """Chains of equal length side by side.

    Raises:
        ValueError: no chain, other axes, or another number of draws.
    """
    return _joined(chains, axis=0)


def _joined(parts: Sequence[PosteriorDraws], axis: int) -> PosteriorDraws:
    if not parts:
        raise ValueError("there are no draws to join")
    first = parts[0]
    for number, part in enumerate(parts):
        for name in ("pdg_ids", "channels", "productions"):
            if getattr(part, name) != getattr(first, name):
                raise ValueError(f"part {number} of the draws has other {name} than part 0")
    other = 1 - axis
    lengths = {part.log_likelihood.shape[other] for part in parts}
    if len(lengths) > 1:
        what = ("chains", "draws")[other]
        raise ValueError(f"parts have {sorted(lengths)} {what}, wanted equal numbers")
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis) for name in AXES
    }
    return PosteriorDraws(first.pdg_ids, first.channels, first.productions, **arrays)


def equal_draws(first: PosteriorDraws, second: PosteriorDraws) -> bool:
    """Whether two sets of draws agree to the bit; `nan` equals `nan`."""
    for field in fields(PosteriorDraws):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if field.name in AXES:
            if not np.array_equal(one, other, equal_nan=field.name not in TRUTHS):
                return False
        elif one != other:
            return False
    return True


class Contents(NamedTuple):
    """Contents that occur among draws, the most frequent first.

    Attributes:
        active: Particles of each content.
        count: Number of its draws.
        chains: Number of chains that visit it.
        index: Content of every draw, a position on the first axis of `active`.
    """

    active: Bool[np.ndarray, "content particle"]
    count: Int[np.ndarray, " content"]
    chains: Int[np.ndarray, " content"]
    index: Int[np.ndarray, "chain draw"]


def contents_of(draws: PosteriorDraws) -> Contents:
    """Contents by descending posterior probability; of equal ones the smaller comes first."""
    flat = draws.active.reshape(-1, len(draws.pdg_ids))
    distinct, inverse, count = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    order = np.lexsort((distinct.sum(axis=1), -count))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    index = place[inverse.reshape(-1)].reshape(draws.log_likelihood.shape)
    chains = np.zeros(len(order), dtype=int)
    for row in index:
        chains[np.unique(row)] += 1
    return Contents(distinct[order], count[order], chains, index)


def particles_of(pdg_ids: Sequence[int], active: Bool[np.ndarray, " particle"]) -> tuple[int, ...]:
    """PDG numbers of a content in the order of the axis, the lightest particle last."""
    present = [pid for pid, on in zip(pdg_ids, active, strict=True) if on]
    return tuple(sorted(present, key=lambda pid: pid == LBP))


def content_key(pids: Sequence[int]) -> str:
    """PDG numbers of a content, ascending: the same text however they are ordered."""
    return " ".join(str(pid) for pid in sorted(pids))


def content_label(pids: Sequence[int]) -> str:
    """Names of the particles of a content in the order given, such as `X_t^1 X_Z^1`."""
    return " ".join(particle(pid).name for pid in pids)


def channel_label(channel: Channel) -> str:
    """A decay in words, such as `X_t^1 -> t X_Z^1`."""
    mother, daughter, sm = channel
    return f"{particle(mother).name} -> {' '.join(particle(pid).name for pid in (*sm, daughter))}"


def production_label(pair: tuple[int, int]) -> str:
    """A production mode in words, such as `X_t^1 X_t^1~`."""
    return production_name(str(pair))
