"""How the bits of a model change: particles with their decays, channels, productions.

Bits are those of `walkers.posterior.model`. Proposals look at bits only; what they suggest
may turn out to be no model, which the prior then rejects.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.bijections import layout
from jaxlik.physics.model import ModelSpace
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.moves import (
    AbstractBitProposal,
    AbstractMove,
    Auxiliary,
    Candidate,
    content_candidate,
    one_of,
)
from walkers.posterior.target import AbstractProductTarget, ChainState

EXTRA_CHANNEL = 0.1
"""Probability that a newborn particle has another given channel beside its first."""

PAIR_ON, MIXED_ON = 0.8, 0.15
"""Probabilities that productions of a newborn particle in pairs, and with others, are on."""


class Fittings(eqx.Module):
    """The decays and productions that a particle is born with, and how probable they are.

    Attributes:
        space: Layout of the models.
    """

    space: ModelSpace

    def draw(
        self, key: Key[Array, ""], number: Int[Array, ""], others: Bool[Array, " particle"]
    ) -> Bool[Array, " bit"]:
        """Bits of a particle, its channels and productions.

        Args:
            key: Random key.
            number: The particle.
            others: Particles that exist without it.
        """
        first, more, modes = jax.random.split(key, 3)
        available = self._channels(number, others)
        chosen = one_of(first, available)
        extra = jax.random.uniform(more, available.shape) < EXTRA_CHANNEL
        on = jax.random.uniform(modes, (self.space.num_productions,)) < self._rates(number, others)
        itself = jnp.arange(self.space.num_particles) == number
        return jnp.concatenate([itself, chosen | (available & extra), on])

    def log_probability(
        self, bits: Bool[Array, " bit"], number: Int[Array, ""], others: Bool[Array, " particle"]
    ) -> Scalar:
        """Logarithm of the probability that `draw` gives these channels and productions.

        A set of k of n channels arises from any of its members as the first one:
        k/n e^(k-1) (1-e)^(n-k).
        """
        blocks = layout(self.space)
        available = self._channels(number, others)
        chosen = bits[blocks.branching] & available
        total, size = (jnp.sum(a).astype(float) for a in (available, chosen))
        safe = jnp.maximum(size, 1.0)
        channels = jnp.log(safe) - jnp.log(jnp.maximum(total, 1.0))
        channels += (safe - 1) * jnp.log(EXTRA_CHANNEL)
        channels += (total - safe) * jnp.log1p(-EXTRA_CHANNEL)
        rate = self._rates(number, others)
        known = rate > 0
        rate = jnp.where(known, rate, 0.5)
        modes = jnp.where(bits[blocks.strengths], jnp.log(rate), jnp.log1p(-rate))
        possible = jnp.where(size > 0, channels, -jnp.inf)
        return possible + jnp.sum(jnp.where(known, modes, 0.0))

    def owned(self, number: Int[Array, ""]) -> Bool[Array, " bit"]:
        """All bits that a particle has: itself, its channels, its productions."""
        space = self.space
        itself = jnp.arange(space.num_particles) == number
        modes = jnp.any(space.production_pair == number, axis=1)
        return jnp.concatenate([itself, space.channel_parent == number, modes])

    def is_daughter(self, bits: Bool[Array, " bit"], number: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether some channel in use leads to a particle."""
        used = bits[layout(self.space).branching]
        return jnp.any(used & (self.space.channel_daughter == number))

    def _channels(
        self, number: Int[Array, ""], others: Bool[Array, " particle"]
    ) -> Bool[Array, " channel"]:
        return (self.space.channel_parent == number) & others[self.space.channel_daughter]

    def _rates(
        self, number: Int[Array, ""], others: Bool[Array, " particle"]
    ) -> Float[Array, " production"]:
        """Probability of each production of the particle; 0 for those it has not."""
        pair = self.space.production_pair
        mine = pair == number
        exists = jnp.all(mine | others[pair], axis=1) & jnp.any(mine, axis=1)
        return jnp.where(exists, jnp.where(jnp.all(mine, axis=1), PAIR_ON, MIXED_ON), 0.0)


class BirthDeath(AbstractBitProposal):
    """One particle, each equally probable, appears with its fittings, or disappears.

    A particle that others decay to cannot disappear.

    Attributes:
        fittings: What it is born with.
    """

    fittings: Fittings

    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """The particles to choose from are the same before and after."""
        del vector
        choose, draw = jax.random.split(key)
        space = self.fittings.space
        particles = bits[: space.num_particles]
        numbers = jnp.arange(space.num_particles)
        number = jnp.argmax(one_of(choose, numbers != space.lbp))
        others = particles & (numbers != number)
        owned = self.fittings.owned(number)
        born = (bits & ~owned) | self.fittings.draw(draw, number, others)
        exists = particles[number]
        new = jnp.where(exists, bits & ~owned, born)
        fitting = self.fittings.log_probability(jnp.where(exists, bits, born), number, others)
        stuck = exists & self.fittings.is_daughter(bits, number)
        forth = jnp.where(exists, jnp.where(stuck, jnp.inf, 0.0), fitting)
        return new, forth, jnp.where(exists, fitting, 0.0)


class Replace(AbstractMove):
    """A particle takes the place of another kind: same mass coordinate, own fittings.

    Attributes:
        fittings: What a particle is born with.
    """

    fittings: Fittings

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """As many particles are there before and after, hence as many choices.

        The mass coordinate changes its owner, which has a Jacobian of one.
        """
        first, second, draw, fill = jax.random.split(key, 4)
        space = self.fittings.space
        size = space.num_particles
        numbers = jnp.arange(size)
        particles, others = state.bits[:size], numbers != space.lbp
        old = jnp.argmax(one_of(first, particles & others))
        new = jnp.argmax(one_of(second, ~particles))
        left = particles & (numbers != old)
        without = state.bits & ~self.fittings.owned(old)
        bits = without | self.fittings.draw(draw, new, left)
        forth = self.fittings.log_probability(bits, new, left)
        back = self.fittings.log_probability(state.bits, old, left)
        possible = jnp.any(particles & others) & jnp.any(~particles)
        possible &= ~self.fittings.is_daughter(state.bits, old)
        places = jnp.arange(state.bits.shape[0])
        exchanged = jnp.where(places == old, new, jnp.where(places == new, old, places))
        between = (without | (state.bits & (places == old)))[exchanged]
        # Channels and productions of the old one are still there, its mass has a new owner.
        between |= state.bits & self.fittings.owned(old) & (places >= size)
        moved = state._replace(bits=between, vector=state.vector[exchanged])
        forth = jnp.where(possible, forth, jnp.inf)
        return content_candidate(fill, target, moved, bits, forth, back, auxiliary)


class Eligible(AbstractBitProposal):
    """One bit of a block flips, of those that the particles of the model allow.

    Attributes:
        space: Layout of the models.
        block: ``channels`` or ``productions``.
    """

    space: ModelSpace
    block: str = eqx.field(static=True)

    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """Symmetric: what is allowed depends on particles, which stay."""
        del vector
        allowed = allowed_bits(self.space, bits, self.block)
        none = jnp.zeros(())
        return bits ^ one_of(key, allowed), jnp.where(jnp.any(allowed), none, jnp.inf), none


class Exchange(AbstractBitProposal):
    """One bit of a block goes off, another allowed one comes on; channels of one mother.

    Attributes:
        space: Layout of the models.
        block: ``channels`` or ``productions``.
    """

    space: ModelSpace
    block: str = eqx.field(static=True)

    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """Symmetric: the mother keeps its number of channels, in use and not."""
        del vector
        which, first, second = jax.random.split(key, 3)
        space, blocks = self.space, layout(self.space)
        allowed = allowed_bits(space, bits, self.block)
        if self.block == "channels":
            numbers = jnp.arange(space.num_particles)
            mother = one_of(which, bits[blocks.masses] & (numbers != space.lbp))
            mine = jnp.zeros_like(bits).at[blocks.branching].set(mother[space.channel_parent])
            allowed &= mine
        on, off = allowed & bits, allowed & ~bits
        new = bits ^ one_of(first, on) ^ one_of(second, off)
        possible = jnp.any(on) & jnp.any(off)
        none = jnp.zeros(())
        return new, jnp.where(possible, none, jnp.inf), none


def allowed_bits(space: ModelSpace, bits: Bool[Array, " bit"], block: str) -> Bool[Array, " bit"]:
    """Channels, or productions, whose particles exist."""
    blocks = layout(space)
    active = bits[blocks.masses]
    none = jnp.zeros_like(bits)
    if block == "channels":
        exist = active[space.channel_parent] & active[space.channel_daughter]
        return none.at[blocks.branching].set(exist)
    return none.at[blocks.strengths].set(jnp.all(active[space.production_pair], axis=1))
