"""Near-degenerate states of one kind merge."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.kinematics import existing_productions
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.particles import CANONICAL_PAIRS
from jaxlik.physics.pool import SQUARKS
from jaxlik.typing import Array, Bool, Float, Key
from walkers.moves.base import AbstractMove, removable_particles
from walkers.moves.settle import Draft, pick

MERGE_GAP = 200.0
"""GeV; states farther apart never merge (protomodels)."""


@lru_cache(maxsize=8)
def _merge_table(
    pdg_ids: tuple[int, ...],
    pairs: tuple[tuple[int, int], ...],
    sms: tuple[tuple[int, ...], ...],
    productions: tuple[tuple[int, int], ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (kept, removed) that may merge, and where their entries go.

    Returns:
        Positions of both particles (row, 2); for every channel and every production
        the one that takes its place in each row, itself where nothing changes and -1
        where there is no counterpart.
    """
    kinds = list(CANONICAL_PAIRS)
    kinds += [(a, b) for a in SQUARKS for b in SQUARKS if a != b]
    kinds = [(a, b) for a, b in kinds if a in pdg_ids and b in pdg_ids]
    channel_of = {(*pair, sm): i for i, (pair, sm) in enumerate(zip(pairs, sms, strict=True))}
    production_of = {pair: i for i, pair in enumerate(productions)}
    channels = np.empty((len(kinds), len(pairs)), dtype=int)
    modes = np.empty((len(kinds), len(productions)), dtype=int)
    for row, (kept, gone) in enumerate(kinds):
        flavour = {gone - 1000000: kept - 1000000} if gone in SQUARKS and kept in SQUARKS else {}

        def renamed(pid: int, kept: int = kept, gone: int = gone) -> int:
            return (kept if pid > 0 else -kept) if abs(pid) == gone else pid

        for i, ((mother, daughter), sm) in enumerate(zip(pairs, sms, strict=True)):
            touched = gone in (mother, daughter)
            new_sm = tuple(sorted(flavour.get(f, f) for f in sm)) if touched else sm
            channels[row, i] = channel_of.get((renamed(mother), renamed(daughter), new_sm), -1)
        for i, (a, b) in enumerate(productions):
            a, b = sorted((renamed(a), renamed(b)))
            modes[row, i] = production_of.get((a, b), -1)
    numbers = [[pdg_ids.index(a), pdg_ids.index(b)] for a, b in kinds]
    return np.array(numbers, dtype=int).reshape(-1, 2), channels, modes


def merge_table(space: ModelSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that may merge, and the counterpart of each channel and production."""
    return _merge_table(space.pdg_ids, space.channel_pairs, space.channel_sm, space.productions)


class Merge(AbstractMove):
    """Two states of one kind within `MERGE_GAP` become one.

    Its mass is the mean weighted with the rates, decays to the removed state go to the
    other, the branching ratios are averaged and the rates of counterparts added.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """There is a pair."""
        return jnp.any(self._pairs(point))

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with two states merged."""
        numbers, channels, modes = (jnp.asarray(table) for table in merge_table(self.space))
        row = pick(jax.random.uniform(key), self._pairs(point))
        kept, gone = numbers[row, 0], numbers[row, 1]
        pair, mother = self.space.production_pair, self.space.channel_parent
        exists = existing_productions(self.space, point)
        rates = jnp.where(exists, reference * point.signal_strengths, 0.0)
        first, second = (
            jnp.sum(jnp.where(jnp.any(pair == n, axis=1), rates, 0.0)) for n in (kept, gone)
        )
        total = first + second
        share = jnp.where(total > 0, first / jnp.where(total > 0, total, 1.0), 0.5)
        mass = share * point.masses[kept] + (1 - share) * point.masses[gone]
        summed = jnp.zeros_like(rates).at[modes[row]].add(jnp.where(modes[row] >= 0, rates, 0.0))
        touched = jnp.any((pair == kept) | (pair == gone), axis=1)
        scale = jnp.where(mother == gone, 1 - share, jnp.where(mother == kept, share, 1.0))
        old = jnp.where(point.active[mother], point.branching_ratios, 0.0) * scale
        moved = jnp.where(channels[row] >= 0, old, 0.0)
        merged = ModelPoint(
            point.masses.at[kept].set(mass),
            point.active.at[gone].set(False),
            jnp.zeros_like(old).at[channels[row]].add(moved),
            jnp.where(touched, summed, point.signal_strengths),
        )
        return Draft(merged, touched, jnp.asarray(True))

    def _pairs(self, point: ModelPoint) -> Bool[Array, " row"]:
        numbers = merge_table(self.space)[0]
        both = point.active[numbers[:, 0]] & point.active[numbers[:, 1]]
        gap = jnp.abs(point.masses[numbers[:, 0]] - point.masses[numbers[:, 1]])
        removable = removable_particles(self.space, point)[numbers[:, 1]]
        return both & removable & (gap < MERGE_GAP)
