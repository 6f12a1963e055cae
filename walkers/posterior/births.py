r"""Births where data leave room: whole simple models enter and leave together.

A table of simple models, scored before the chain starts, groups those of equal content. A
birth adds all bits of a group; its coordinates come from a mixture over the members of the
group, weighted by how close their LBP is to the one of the model:

$$ q(u|u_\text{LBP}) = w\,N(u; 0, 1) + (1 - w) \sum_m \alpha_m(u_\text{LBP})\, N(u; u_m, s) $$

Groups have different bits, so that the way back is unique and the probabilities to choose a
group cancel. The table may depend on data: it is fixed while the chain runs.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from jaxlik.physics.bijections import layout
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.whitened import Widths, from_model
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.moves import (
    AbstractMove,
    Auxiliary,
    Candidate,
    content_candidate,
)
from walkers.posterior.proposals import PRIOR_WEIGHT, AbstractDensity
from walkers.posterior.target import AbstractProductTarget, ChainState

MASS_SCALE, LOGIT_SCALE, STRENGTH_SCALE = 0.15, 0.7, 0.5
"""Standard deviations around members of a group, of each kind of coordinate."""

LBP_SCALE = 0.2
"""Distance of LBP coordinates at which the weight of a member falls by exp(-1/2)."""

BACKGROUND = 1e-3
"""Weight of a member far from the LBP of the model."""

MAX_MEMBERS = 12
"""Models kept of each group."""

LARGEST_GAIN = 8.0
"""K up to which better groups are proposed more often; keeps the others alive."""


class LeadTable(NamedTuple):
    """Groups of simple models.

    Attributes:
        bits: Of each group: particles without the LBP, channels, productions.
        owned: All bits its particles could have.
        log_weight: Logarithm of the probability to choose a group.
        centre: Coordinates of the members.
        log_member: Logarithm of the weight of the members; `-inf` for empty places.
        scale: Standard deviation of each coordinate.
    """

    bits: Bool[Array, "group bit"]
    owned: Bool[Array, "group bit"]
    log_weight: Float[Array, " group"]
    centre: Float[Array, "group member parameter"]
    log_member: Float[Array, "group member"]
    scale: Float[Array, " parameter"]


def lead_table(
    space: ModelSpace,
    points: ModelPoint,
    score: Float[np.ndarray, " model"],
    widths: Widths,
) -> LeadTable:
    """Group simple models for `LeadBirth` and `LeadRebirth`.

    Args:
        space: Layout of the models.
        points: Models, stacked, at signal strengths that data allow.
        score: Their K; those without one are left out.
        widths: Scales of the prior.

    Raises:
        ValueError: no model has a score.
    """
    known = np.flatnonzero(np.isfinite(score))
    if not len(known):
        raise ValueError("no simple model has a score; run the sampler without births from them")
    some = jax.tree.map(lambda leaf: leaf[known], points)
    all_bits, vectors = jax.vmap(from_model, (None, 0, None))(space, some, widths)
    all_bits, vectors = np.array(all_bits), np.asarray(vectors)
    all_bits[:, space.lbp] = False
    groups: dict[bytes, list[int]] = {}
    for row in np.argsort(-score[known], kind="stable"):
        members = groups.setdefault(all_bits[row].tobytes(), [])
        if len(members) < MAX_MEMBERS:
            members.append(int(row))
    first = [members[0] for members in groups.values()]
    width = max(len(members) for members in groups.values())
    centre = np.zeros((len(groups), width, vectors.shape[1]))
    log_member = np.full((len(groups), width), -np.inf)
    for number, members in enumerate(groups.values()):
        centre[number, : len(members)] = vectors[members]
        gain = 0.5 * np.minimum(score[known][members], LARGEST_GAIN)
        log_member[number, : len(members)] = gain - gain.max()
    bits = all_bits[first]
    weight = 0.25 * np.clip(score[known][first], -LARGEST_GAIN, LARGEST_GAIN)
    return LeadTable(
        jnp.asarray(bits),
        jnp.asarray(_owned(space, bits)),
        jax.nn.log_softmax(jnp.asarray(weight)),
        jnp.asarray(centre),
        jnp.asarray(log_member),
        _scales(space),
    )


def _owned(space: ModelSpace, bits: Bool[np.ndarray, "group bit"]) -> np.ndarray:
    """All channels and productions of the particles of each group, and these."""
    particles = bits[:, : space.num_particles]
    channels = particles[:, np.asarray(space.channel_parent)]
    modes = particles[:, np.asarray(space.production_pair)].any(axis=2)
    return np.concatenate([particles, channels, modes], axis=1)


def _scales(space: ModelSpace) -> Float[Array, " parameter"]:
    blocks = layout(space)
    scale = jnp.full(blocks.size, MASS_SCALE)
    return scale.at[blocks.branching].set(LOGIT_SCALE).at[blocks.strengths].set(STRENGTH_SCALE)


class GroupDensity(AbstractDensity):
    """Coordinates of one group, given the LBP.

    Attributes:
        table: All groups.
        group: Which one.
        lbp: Position of the LBP.
    """

    table: LeadTable
    group: Int[Array, ""]
    lbp: int = eqx.field(static=True)

    def sample(
        self,
        key: Key[Array, ""],
        vector: Float[Array, " parameter"],
        which: Bool[Array, " parameter"],
    ) -> Float[Array, " parameter"]:
        """Choose the prior or a member, then draw each coordinate."""
        wide, choose, draw = jax.random.split(key, 3)
        member = jax.random.categorical(choose, self._log_weights(vector))
        noise = jax.random.normal(draw, vector.shape, vector.dtype)
        near = self.table.centre[self.group, member] + self.table.scale * noise
        from_prior = jax.random.uniform(wide) < PRIOR_WEIGHT
        return jnp.where(which, jnp.where(from_prior, noise, near), vector)

    def log_density(
        self, vector: Float[Array, " parameter"], which: Bool[Array, " parameter"]
    ) -> Scalar:
        """Of the mixture; coordinates of all kinds together."""
        prior = jnp.log(PRIOR_WEIGHT) + jnp.sum(jnp.where(which, norm.logpdf(vector), 0.0))
        terms = norm.logpdf(vector[None], self.table.centre[self.group], self.table.scale[None])
        near = jnp.sum(jnp.where(which[None], terms, 0.0), axis=1)
        members = logsumexp(self._log_weights(vector) + near)
        return jnp.logaddexp(prior, jnp.log1p(-PRIOR_WEIGHT) + members)

    def _log_weights(self, vector: Float[Array, " parameter"]) -> Float[Array, " member"]:
        """Normalised weights of the members; the LBP is never among the coordinates drawn."""
        distance = (self.table.centre[self.group, :, self.lbp] - vector[self.lbp]) / LBP_SCALE
        close = jnp.logaddexp(-0.5 * distance**2, jnp.log(BACKGROUND))
        return jax.nn.log_softmax(self.table.log_member[self.group] + close)


class LeadBirth(AbstractMove):
    """A whole simple model enters, or leaves if its particles are just it.

    Attributes:
        space: Layout of the models.
        table: From `lead_table`.
    """

    space: ModelSpace
    table: LeadTable

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """A group is chosen without a look at the state: it goes if it is there."""
        choose, draw = jax.random.split(key)
        group = jax.random.categorical(choose, self.table.log_weight)
        own = self.table.bits[group]
        present = is_present(self.space, self.table, group, state.bits)
        absent = ~jnp.any(state.bits[: self.space.num_particles] & own[: self.space.num_particles])
        new = jnp.where(present, state.bits & ~own, state.bits | own)
        none = jnp.zeros((), state.vector.dtype)
        forth = jnp.where(present | absent, none, jnp.inf)
        density = GroupDensity(self.table, group, self.space.lbp)
        auxiliary = auxiliary._replace(entering=density)
        return content_candidate(draw, target, state, new, forth, none, auxiliary)


class LeadRebirth(AbstractMove):
    """The coordinates of a simple model within the model are drawn anew.

    Attributes:
        space: Layout of the models.
        table: From `lead_table`.
    """

    space: ModelSpace
    table: LeadTable

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """One of the groups that are present, each with its weight."""
        choose, draw = jax.random.split(key)
        groups = jnp.arange(self.table.log_weight.shape[0])
        present = jax.vmap(is_present, (None, None, 0, None))(
            self.space, self.table, groups, state.bits
        )
        some = jnp.any(present)
        logits = jnp.where(present | ~some, self.table.log_weight, -jnp.inf)
        group = jax.random.categorical(choose, logits)
        none = jnp.zeros((), state.vector.dtype)
        forth = jnp.where(some, none, jnp.inf)
        density = GroupDensity(self.table, group, self.space.lbp)
        auxiliary = auxiliary._replace(entering=density)
        redraw = self.table.bits[group]
        return content_candidate(
            draw, target, state, state.bits, forth, none, auxiliary, redraw=redraw
        )


def is_present(
    space: ModelSpace, table: LeadTable, group: Int[Array, ""], bits: Bool[Array, " bit"]
) -> Bool[Array, ""]:
    """Whether the particles of a group exist with its channels and productions and no others.

    Nor may another particle decay to one of them.
    """
    blocks = layout(space)
    own, owned = table.bits[group], table.owned[group]
    particles = own[blocks.masses]
    entered = bits[blocks.branching] & particles[space.channel_daughter]
    entered &= ~particles[space.channel_parent]
    return jnp.all((bits & owned) == own) & ~jnp.any(entered)
