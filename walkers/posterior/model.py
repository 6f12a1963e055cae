r"""The posterior over models: contents, channels, productions, and the numbers of each.

Bits and vector are those of `jaxlik.physics.whitened`: one bit for every coordinate. The
prior of contents is one of two:

- ``count``: numbers first, then which. p(n particles) is proportional to exp(-n/2), channels of
  each particle beyond the first to exp(-1/4) each, productions to exp(-1/8) each; among
  all choices of equal numbers none is preferred.
- ``protomodels``: exp[-(n_particles/2 + n_BR/4 + n_SSM/8)] for every content
  (arXiv:2012.12246, section 3); as there are more large contents than small ones, it expects
  many particles.

Supports are hard: masses in the region of protomodels, channels in use kinematically open, no
result excluding the model at the critic's threshold. The guide replaces the last by a smooth
penalty and knows nothing of the others.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxlik.engine import Engine
from jaxlik.errors import ConfigError, Status
from jaxlik.physics.bijections import layout
from jaxlik.physics.kinematics import branching_sums, canonical_pairs
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import SCALES
from jaxlik.physics.whitened import Widths, from_model, kinematically_allowed, to_model
from jaxlik.typing import Array, Bool, Float, Scalar
from walkers.posterior.target import AbstractProductTarget

Prior = Literal["count", "protomodels"]

PENALTY_WIDTH = 0.05
"""Excess of r over the threshold at which the guide's penalty sets in."""

SMALLEST = -1e4
"""The guide where ln L says nothing."""


class ModelTarget(AbstractProductTarget):
    """ln(L/L_SM) of the most sensitive combination, with a prior over all contents.

    Attributes:
        engine: Of mode ``default``.
        widths: Scales of the prior.
        prior: Of contents.
        max_particles: Particles a model may have, the LBP included.
        critic: Whether the critic's limits are a support.
        maps: An engine with exact yields that has the last word on what `engine` accepts;
            `None` where `engine` is the only one.
    """

    engine: Engine
    widths: Widths = eqx.field(default_factory=Widths)
    prior: Prior = eqx.field(static=True, default="count")
    max_particles: int = eqx.field(static=True, default=8)
    critic: bool = eqx.field(static=True, default=True)
    maps: Engine | None = None

    def __check_init__(self):
        if self.engine.literal or (self.maps is not None and self.maps.literal):
            raise ConfigError(
                "the engine has mode protomodels, which chooses regions by the data; a posterior "
                "needs mode default"
            )

    @property
    def space(self) -> ModelSpace:
        """Layout of the models."""
        return self.engine.space

    @property
    def num_bits(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """Particles, channels and productions."""
        return layout(self.space).size

    @property
    def num_parameters(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """As many as bits."""
        return layout(self.space).size

    def point(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> ModelPoint:
        """The model of bits and a vector."""
        return to_model(self.space, bits, vector, self.widths)

    def coordinates(
        self, point: ModelPoint
    ) -> tuple[Bool[Array, " bit"], Float[Array, " parameter"]]:
        """Bits and vector of a model."""
        return from_model(self.space, point, self.widths)

    def in_use(self, bits: Bool[Array, " bit"]) -> Bool[Array, " parameter"]:
        """Every bit has its coordinate."""
        return bits

    def log_prior_bits(self, bits: Bool[Array, " bit"]) -> Scalar:
        """See the docstring of this module; `-inf` for what is no model."""
        return content_log_prior(self.space, bits, self.prior, self.max_particles)

    def log_likelihood(
        self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        """ln(L/L_SM), `-inf` outside the supports and where tables are too small."""
        return self._supported(self.engine, bits, vector)

    def exact(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """The same with the engine that has the last word."""
        return self._supported(self.maps or self.engine, bits, vector)

    @property
    def has_exact(self) -> bool:
        """Whether there is such an engine."""
        return self.maps is not None

    def guide(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """ln(L/L_SM) less a smooth penalty for r above the threshold."""
        found = self.engine.compare(self.point(bits, vector))
        value = found.log_ratio
        if self.critic:
            excess = (found.r_max - self.engine.settings.threshold) / PENALTY_WIDTH
            value -= jax.nn.softplus(excess) ** 2
        known = jnp.isfinite(value)
        return jnp.where(known, jnp.where(known, value, 0.0), SMALLEST)

    def _supported(
        self, engine: Engine, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        """ln(L/L_SM) of one engine inside all supports."""
        point = self.point(bits, vector)
        found = engine.compare(point)
        allowed = kinematically_allowed(self.space, bits, point)
        allowed &= found.status == Status.success
        if self.critic:
            allowed &= found.r_max <= engine.settings.threshold
        return jnp.where(allowed & jnp.isfinite(found.log_ratio), found.log_ratio, -jnp.inf)


def content_log_prior(
    space: ModelSpace, bits: Bool[Array, " bit"], prior: Prior, max_particles: int
) -> Scalar:
    """Logarithm of the prior of a content.

    Args:
        space: Layout of the models.
        bits: What is in use.
        prior: See the docstring of this module.
        max_particles: Largest number of particles, the LBP included.

    Returns:
        Normalised over the contents of each number of particles for ``count``, unnormalised
        for ``protomodels``; `-inf` for a content that is no model: without the LBP, a
        particle without decays, a decay or production of an absent particle, the heavier
        of two interchangeable particles alone, too many.
    """
    blocks = layout(space)
    active, channels, modes = (bits[b] for b in (blocks.masses, blocks.branching, blocks.strengths))
    is_lbp = jnp.arange(space.num_particles) == space.lbp
    possible = active[space.channel_parent] & active[space.channel_daughter]
    exist = jnp.all(active[space.production_pair], axis=1)
    number = branching_sums(space, channels.astype(float))
    light, heavy = canonical_pairs(space).T
    valid = (
        active[space.lbp]
        & jnp.all(~channels | possible)
        & jnp.all(~modes | exist)
        & jnp.all((number > 0) | ~active | is_lbp)
        & jnp.all(~active[heavy] | active[light])
        & (jnp.sum(active) <= max_particles)
    )
    size, more, on = jnp.sum(active) - 1.0, jnp.maximum(number - 1, 0.0), jnp.sum(modes)
    per_particle, per_channel, per_mode = (1 / scale for scale in SCALES)
    cost = per_particle * size + per_channel * jnp.sum(more) + per_mode * on
    if prior == "count":
        cost += _log_choices(jnp.asarray(space.num_particles - 1.0), size)
        available = branching_sums(space, possible.astype(float))
        others = active & ~is_lbp
        cost += jnp.sum(jnp.where(others, _log_choices(available, number), 0.0))
        cost += _log_choices(jnp.sum(exist).astype(float), on.astype(float))
        # Numbers follow truncated geometric distributions.
        cost += jnp.sum(jnp.where(others, _log_geometric(per_channel, available), 0.0))
        cost += _log_geometric(per_mode, jnp.sum(exist) + 1.0)
    return jnp.where(valid, -cost, -jnp.inf)


def _log_choices(total: Array, chosen: Array) -> Array:
    """Logarithm of the binomial coefficient."""
    rest = jnp.maximum(total - chosen, 0.0)
    return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(rest + 1)


def _log_geometric(rate: float, terms: Array) -> Array:
    """Logarithm of the sum of exp(-rate k) over so many k from 0."""
    return jnp.log1p(-jnp.exp(-rate * jnp.maximum(terms, 1.0))) - jnp.log1p(-jnp.exp(-rate))
