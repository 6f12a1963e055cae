"""Particles appear, disappear, and take each other's place."""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.kinematics import existing_productions
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float, Key
from walkers.moves.base import AbstractMove, addable_particles, removable_particles
from walkers.moves.settle import Draft, highest_masses, lowest_masses, pick


class Birth(AbstractMove):
    """A random absent particle appears.

    Its mass is uniform between the lowest mass at which it decays and 2400 GeV, its
    branching ratios are random, its signal strengths 1; with probability 1/2 the
    productions together with another kind of particle start switched off.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """Room for a particle is left."""
        return jnp.sum(point.active) < self.max_particles

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one particle more."""
        del reference
        uniform = jax.random.uniform(key, (3,))
        space = self.space
        number = pick(uniform[0], addable_particles(space, point))
        low = lowest_masses(space, point)[number]
        high = highest_masses(space, point)[number]
        mass = low + (high - low) * uniform[1]
        mine = jnp.any(space.production_pair == number, axis=1)
        mixed = mine & (space.production_pair[:, 0] != space.production_pair[:, 1])
        first = jnp.where(mixed & (uniform[2] < 0.5), 0.0, 1.0)
        newborn = space.channel_parent == number
        grown = ModelPoint(
            point.masses.at[number].set(mass),
            point.active.at[number].set(True),
            jnp.where(newborn, 0.0, point.branching_ratios),
            jnp.where(mine, first, point.signal_strengths),
        )
        return self.draft(grown)


class Death(AbstractMove):
    """A random particle other than the LBP disappears.

    Decays to it close, its mothers are renormalised and their signal strengths
    compensated. Of two interchangeable states the heavier goes first.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """A particle beside the LBP would be left."""
        return jnp.sum(point.active) > 2

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one particle less."""
        del reference
        number = pick(jax.random.uniform(key), removable_particles(self.space, point))
        active = point.active.at[number].set(False)
        return self.draft(eqx.tree_at(lambda p: p.active, point, active))


class Replace(AbstractMove):
    """A particle is exchanged for another kind of about the same mass.

    The largest rate among the productions of the new particle is that of the old one.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """There is a particle to replace."""
        return jnp.sum(point.active) > 1

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one particle exchanged."""
        uniform = jax.random.uniform(key, (2,))
        space, pair = self.space, self.space.production_pair
        old = pick(uniform[0], removable_particles(space, point))
        active = point.active.at[old].set(False)
        shrunk = eqx.tree_at(lambda p: p.active, point, active)
        new = pick(uniform[1], addable_particles(space, shrunk).at[old].set(False))
        low = lowest_masses(space, shrunk)[new]
        high = highest_masses(space, shrunk)[new]
        was = existing_productions(space, point) & jnp.any(pair == old, axis=1)
        rate = jnp.max(jnp.where(was, reference * point.signal_strengths, 0.0))
        mine = _new_pairs(pair == new)
        touched = jnp.any(pair == new, axis=1)
        others = jnp.where(touched, 0.0, point.signal_strengths)
        grown = ModelPoint(
            point.masses.at[new].set(jnp.clip(point.masses[old], low, high)),
            active.at[new].set(True),
            jnp.where(space.channel_parent == new, 0.0, point.branching_ratios),
            jnp.where(mine, rate, others),
        )
        return Draft(grown, mine, rate > 0)


def _new_pairs(involved: Bool[Array, "production 2"]) -> Bool[Array, " production"]:
    """Productions of a particle in pairs; all of them where it has no such mode."""
    pairs = jnp.all(involved, axis=1)
    return jnp.where(jnp.any(pairs), pairs, jnp.any(involved, axis=1))
