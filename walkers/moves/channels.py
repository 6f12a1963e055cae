"""Decay channels open and close."""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.kinematics import branching_sums, open_channels
from jaxlik.physics.model import ModelPoint
from jaxlik.physics.prior import MIN_BRANCHING_RATIO
from jaxlik.typing import Array, Bool, Float, Key
from walkers.moves.base import AbstractMove
from walkers.moves.settle import Draft, channel_families, pick


class OpenChannel(AbstractMove):
    """An open but unused decay channel comes into use.

    The family of an off-shell boson opens as a whole. Half of the time all channels of
    the mother then share equally, which the prior charges least; else the new one takes
    a uniform share.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """There is an unused channel."""
        return jnp.any(self._unused(point))

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one channel or family more."""
        del reference
        uniform = jax.random.uniform(key, (3,))
        family, share, off_shell, _ = channel_families(self.space)
        unused = self._unused(point)
        number = pick(uniform[0], unused)
        parent = self.space.channel_parent
        family = jnp.asarray(family)
        chosen = (family == family[number]) & open_channels(self.space, point)
        weight = jnp.where(chosen, share, 0.0)
        weight = weight / jnp.maximum(jnp.sum(weight), 1e-30)
        old = point.branching_ratios
        mine = parent == parent[number]
        used = jnp.sum(mine & (old > 0) & ~chosen)
        equal = (uniform[1] < 0.5) & ~jnp.any(chosen & off_shell)
        fraction = jnp.where(equal, 1.0 / (used + 1.0), uniform[2])
        others = jnp.where(equal & (old > 0), 1.0 / jnp.maximum(used, 1), old)
        new = jnp.where(chosen, 0.0, others * (1 - fraction)) + fraction * weight
        fractions = jnp.where(mine, new, old)
        return self.draft(eqx.tree_at(lambda p: p.branching_ratios, point, fractions))

    def _unused(self, point: ModelPoint) -> Bool[Array, " channel"]:
        return open_channels(self.space, point) & (point.branching_ratios <= 0)


class CloseChannel(AbstractMove):
    """A decay channel in use is closed; the rates of the others stay what they were."""

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """Some mother has more than one channel."""
        return jnp.any(self._spare(point))

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one channel less."""
        del reference
        number = pick(jax.random.uniform(key), self._spare(point))
        loss = point.branching_ratios[number]
        left = jnp.maximum(1 - loss, MIN_BRANCHING_RATIO)
        mother = self.space.channel_parent[number]
        mine = self.space.channel_parent == mother
        fractions = point.branching_ratios.at[number].set(0.0)
        fractions = jnp.where(mine, fractions / left, fractions)
        produced = jnp.sum(self.space.production_pair == mother, axis=1)
        strengths = point.signal_strengths * left**produced
        changed = eqx.tree_at(
            lambda p: (p.branching_ratios, p.signal_strengths), point, (fractions, strengths)
        )
        return self.draft(changed)

    def _spare(self, point: ModelPoint) -> Bool[Array, " channel"]:
        used = open_channels(self.space, point) & (point.branching_ratios > 0)
        number = branching_sums(self.space, used.astype(point.branching_ratios.dtype))
        return used & (number[self.space.channel_parent] > 1)
