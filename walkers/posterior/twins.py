r"""What the heavier of two interchangeable particles takes from the lighter one.

`Copies` draws channels and productions, `close_to` is a density of coordinates. Both look at
the lighter particle and at the others only, so that they say the same before and after the
heavier one is there.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.bijections import layout
from jaxlik.physics.kinematics import canonical_pairs
from jaxlik.physics.model import ModelSpace, production_key
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.contents import EXTRA_CHANNEL, MIXED_ON, PAIR_ON
from walkers.posterior.proposals import Gaussian, Mixture

COPIED_CHANNEL = 0.9
"""Probability that the heavier particle has a given channel of the lighter one."""

GAP_MEAN, GAP_SCALE = -0.5, 0.7
"""Mass coordinate of the heavier particle: mostly 2 to 70 GeV above the lighter one."""

LOGIT_SCALE = 0.4
"""Standard deviation of logits around those of the lighter particle."""


class Twins(NamedTuple):
    """Pairs of interchangeable particles.

    Attributes:
        light: Position of the lighter one.
        heavy: Position of the heavier one.
        partner: For each bit of one its counterpart of the other, in both directions; every
            other bit is its own partner.
    """

    light: Int[Array, " pair"]
    heavy: Int[Array, " pair"]
    partner: Int[Array, "pair bit"]


def twin_table(space: ModelSpace) -> Twins:
    """Interchangeable particles of a space, with their common channels and productions.

    A production of both at once has no counterpart.

    Raises:
        ValueError: there are none.
    """
    pairs = canonical_pairs(space)
    if not len(pairs):
        raise ValueError(f"no two of the particles {space.pdg_ids} are interchangeable")
    blocks = layout(space)
    partner = np.tile(np.arange(blocks.size), (len(pairs), 1))
    channels = {channel: blocks.branching.start + n for n, channel in enumerate(space.channels)}
    modes = {mode: blocks.strengths.start + n for n, mode in enumerate(space.productions)}
    for row, (light, heavy) in zip(partner, pairs, strict=True):
        here, there = space.pdg_ids[heavy], space.pdg_ids[light]
        found = [(heavy, light)]
        for (mother, daughter, sm), place in channels.items():
            if mother == here and (there, daughter, sm) in channels:
                found.append((place, channels[there, daughter, sm]))
        for mode, place in modes.items():
            signs = {here: there, -here: -there}
            twin = production_key(*(signs.get(pid, pid) for pid in mode))
            if twin != mode and there not in map(abs, mode) and twin in modes:
                found.append((place, modes[twin]))
        one, other = np.array(found).T
        row[one], row[other] = other, one
    return Twins(*map(jnp.asarray, (*pairs.T, partner)))


class Copies(eqx.Module):
    r"""Channels and productions of a heavier particle, taken from the lighter one.

    A first channel is chosen with probabilities proportional to p, `COPIED_CHANNEL` or
    `EXTRA_CHANNEL`, and every other one is there with its p. A set of k channels thus has
    the probability

    $$ \frac{k}{\sum_c p_c} \prod_{c \in \text{set}} p_c \prod_{c \notin \text{set}} (1 - p_c). $$

    Attributes:
        space: Layout of the models.
        twins: From `twin_table`.
    """

    space: ModelSpace
    twins: Twins

    def draw(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], pair: Int[Array, ""]
    ) -> Bool[Array, " bit"]:
        """Bits of the heavier particle: itself, its channels and productions.

        Args:
            key: Random key.
            bits: Content; what the heavier particle has in it does not matter.
            pair: Which particles.
        """
        first, more = jax.random.split(key)
        rate, blocks = self._rates(bits, pair), layout(self.space)
        start = jax.random.categorical(first, jnp.log(rate[blocks.branching]))
        on = jax.random.uniform(more, rate.shape) < rate
        on = on.at[blocks.branching.start + start].set(True)
        return on & (rate > 0)

    def log_probability(self, bits: Bool[Array, " bit"], pair: Int[Array, ""]) -> Scalar:
        """Logarithm of the probability that `draw` gives what the heavier particle has in `bits`.

        `-inf` if it has no channel that `draw` could give.
        """
        rate, blocks = self._rates(bits, pair), layout(self.space)
        free = (rate > 0) & (rate < 1)
        safe = jnp.where(free, rate, 0.5)
        terms = jnp.where(bits, jnp.log(safe), jnp.log1p(-safe))
        channels = rate[blocks.branching]
        size = jnp.sum(bits[blocks.branching] & (channels > 0)).astype(rate.dtype)
        total = jnp.maximum(jnp.sum(channels), EXTRA_CHANNEL)
        return jnp.log(size) - jnp.log(total) + jnp.sum(jnp.where(free, terms, 0.0))

    def _rates(self, bits: Bool[Array, " bit"], pair: Int[Array, ""]) -> Float[Array, " bit"]:
        """Probability p of each bit of the heavier particle; 0 for those it cannot have."""
        space, heavy, partner = self.space, self.twins.heavy[pair], self.twins.partner[pair]
        itself = jnp.arange(space.num_particles) == heavy
        active = bits[: space.num_particles] | itself
        copied = (bits[partner] & (partner != jnp.arange(bits.shape[0])))[layout(space).branching]
        possible = (space.channel_parent == heavy) & active[space.channel_daughter]
        channels = jnp.where(possible, jnp.where(copied, COPIED_CHANNEL, EXTRA_CHANNEL), 0.0)
        mine = space.production_pair == heavy
        exist = jnp.any(mine, axis=1) & jnp.all(active[space.production_pair], axis=1)
        modes = jnp.where(exist, jnp.where(jnp.all(mine, axis=1), PAIR_ON, MIXED_ON), 0.0)
        return jnp.concatenate([itself.astype(modes.dtype), channels, modes])


def close_to(
    space: ModelSpace,
    heavy: Int[Array, ""],
    chosen: Bool[Array, " bit"],
    common: Bool[Array, " bit"],
    other: Float[Array, " parameter"],
) -> Mixture:
    """Density of the coordinates of a heavier particle: the prior, or close to the lighter one.

    Args:
        space: Layout of the models.
        heavy: Its position.
        chosen: What it has.
        common: What both have.
        other: Coordinates of the lighter one at the places of the heavier.
    """
    places, channels = jnp.arange(chosen.shape[0]), layout(space).branching
    several = jnp.sum(chosen[channels]) > 1
    # A single channel has a branching ratio of 1 whatever its logit is.
    alike = common & several & (places >= channels.start) & (places < channels.stop)
    mean = jnp.where(alike, other, jnp.where(places == heavy, GAP_MEAN, 0.0))
    scale = jnp.where(alike, LOGIT_SCALE, jnp.where(places == heavy, GAP_SCALE, 1.0))
    return Mixture(Gaussian(mean, scale), places)
