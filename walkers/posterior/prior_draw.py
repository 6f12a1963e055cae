r"""Independent draws from the prior over models, and a move that proposes them.

Ancestral sampling of the prior ``count`` (`walkers.posterior.model`): the number of particles,
which, then channels of each and productions. What is outside the kinematic support is thrown
away, so that draws follow prior times support. A proposal of that kind is accepted with

$$ a = \min\left[1, \frac{L(\gamma', u')\, p(\gamma')\, q(\gamma)}
                         {L(\gamma, u)\, p(\gamma)\, q(\gamma')}\right], $$

where q is the prior ``count`` and p the prior of the target, mostly the same. Where the
posterior is close to the prior, one evaluation of the likelihood then gives an independent draw.

References:
    L. Tierney, Ann. Statist. 22 (1994) 1701, section 2.3.1: independence chains.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.kinematics import branching_sums
from jaxlik.physics.model import ModelSpace
from jaxlik.physics.prior import SCALES
from jaxlik.physics.whitened import Widths, kinematically_allowed, to_model
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.model import content_log_prior
from walkers.posterior.moves import AbstractMove, Auxiliary, Candidate
from walkers.posterior.target import AbstractProductTarget, ChainState, log_prior

TRIES = 8
"""Draws of a proposal, of which the first one inside the support counts."""


class CountPrior(eqx.Module):
    """The prior ``count`` with its kinematic support.

    Attributes:
        space: Layout of the models.
        widths: Scales of the coordinates.
        max_particles: Particles a model may have, the LBP included.
    """

    space: ModelSpace
    widths: Widths
    max_particles: int = eqx.field(static=True, default=8)

    def draw(
        self, key: Key[Array, ""]
    ) -> tuple[Bool[Array, " bit"], Float[Array, " parameter"], Bool[Array, ""]]:
        """Bits and coordinates of one draw, and whether they are inside the support."""
        content, place = jax.random.split(key)
        bits = draw_content(self.space, content)
        vector = jax.random.normal(place, bits.shape)
        known = self.log_density(bits) > -jnp.inf
        point = to_model(self.space, bits, vector, self.widths)
        return bits, vector, known & kinematically_allowed(self.space, bits, point)

    def log_density(self, bits: Bool[Array, " bit"]) -> Scalar:
        """Logarithm of the probability of a content, up to a constant."""
        return content_log_prior(self.space, bits, "count", self.max_particles)


def draw_content(space: ModelSpace, key: Key[Array, ""]) -> Bool[Array, " bit"]:
    """Particles, channels and productions of one draw, which may turn out to be no model.

    Args:
        space: Layout of the models.
        key: Random key.
    """
    keys = jax.random.split(key, 6)
    per_particle, per_channel, per_mode = (1 / scale for scale in SCALES)
    numbers = jnp.arange(space.num_particles)
    others = numbers != space.lbp
    size = _geometric(keys[0], per_particle, jnp.asarray(space.num_particles))
    everyone = jnp.zeros_like(numbers)
    active = _some_of(keys[1], others, everyone, size[None]) | ~others
    mother = space.channel_parent
    possible = active[mother] & active[space.channel_daughter]
    available = branching_sums(space, possible.astype(float))
    wanted = 1 + _geometric(keys[2], per_channel, jnp.maximum(available, 1.0))
    channels = _some_of(keys[3], possible, mother, wanted)
    exist = jnp.all(active[space.production_pair], axis=1)
    on = _geometric(keys[4], per_mode, jnp.sum(exist) + 1.0)
    modes = _some_of(keys[5], exist, jnp.zeros(exist.shape, jnp.int32), on[None])
    return jnp.concatenate([active, channels, modes])


def _geometric(key: Key[Array, ""], rate: float, terms: Array) -> Int[Array, "..."]:
    """Numbers below `terms`, with probabilities proportional to exp(-rate k)."""
    terms = jnp.asarray(terms, dtype=float)
    level = jax.random.uniform(key, terms.shape) * -jnp.expm1(-rate * terms)
    found = jnp.floor(-jnp.log1p(-level) / rate)
    return jnp.clip(found, 0, terms - 1).astype(jnp.int32)


def _some_of(
    key: Key[Array, ""],
    mask: Bool[Array, " n"],
    group: Int[Array, " n"],
    wanted: Int[Array, " group"],
) -> Bool[Array, " n"]:
    """So many of the marked entries of each group, every choice equally probable."""
    draws = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    ahead = (draws[None, :] > draws[:, None]) & (group[None, :] == group[:, None])
    return mask & (jnp.sum(ahead, axis=1) < wanted[group])


class PriorDraw(AbstractMove):
    """A model from the prior, whatever the chain stands at.

    Attributes:
        prior: What is drawn from.
    """

    prior: CountPrior

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """The first of a few draws that is a model; rejected if none is.

        That none is has the same probability everywhere, and cancels. Coordinates out of use
        have a pseudo-prior that does not depend on bits; theirs is drawn anew.
        """
        draw, rest = jax.random.split(key)
        new_bits, new, allowed = self._first(jax.random.split(draw, TRIES))
        used = target.in_use(new_bits)
        vector = jnp.where(used, new, auxiliary.resting.sample(rest, state.vector, ~used))
        back = self._log_density(target, state.bits, state.vector)
        forth = self._log_density(target, new_bits, vector)
        return Candidate(new_bits, vector, jnp.where(allowed, back - forth, -jnp.inf))

    def _first(
        self, keys: Key[Array, " try"]
    ) -> tuple[Bool[Array, " bit"], Float[Array, " parameter"], Bool[Array, ""]]:
        """The first draw inside the support, or the last one; and whether it is inside."""

        def outside(carry: tuple[Array, tuple[Array, Array, Array]]) -> Array:
            number, (_, _, allowed) = carry
            return ~allowed & (number < keys.shape[0])

        def again(carry: tuple[Array, Any]) -> tuple[Array, tuple[Array, Array, Array]]:
            number, _ = carry
            return number + 1, self.prior.draw(keys[number])

        start = jnp.zeros((), jnp.int32)
        return jax.lax.while_loop(outside, again, again((start, None)))[1]

    def _log_density(
        self,
        target: AbstractProductTarget,
        bits: Bool[Array, " bit"],
        vector: Float[Array, " parameter"],
    ) -> Scalar:
        """Of the proposal: as the prior of the target, but for contents."""
        contents = self.prior.log_density(bits) - target.log_prior_bits(bits)
        return log_prior(target, bits, vector) + contents
