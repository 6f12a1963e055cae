r"""Densities that coordinates are drawn from when they come into use.

A density draws the coordinates that a mask names, and says how probable they were. It may depend
on the other coordinates, never on those drawn: the way back is evaluated with the same
function, after they are gone. Any such density is right; a good one makes births likely to be
accepted. Components that stay as wide as the prior keep importance ratios bounded,
$N(u; 0, 1)/q(u) \le 1/w$ with $w$ the weight of the prior in the mixture.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar


def _real(value: ArrayLike) -> Array:
    """An array of the default precision, strongly typed: refitting compiles nothing anew."""
    return jnp.asarray(value, dtype=float)


PRIOR_WEIGHT = 0.3
"""Part of the proposals that come from the prior (specification, section 1.3)."""


class AbstractDensity(eqx.Module):
    """A normalised density of any subset of the coordinates, given the others."""

    @abstractmethod
    def sample(
        self,
        key: Key[Array, ""],
        vector: Float[Array, " parameter"],
        which: Bool[Array, " parameter"],
    ) -> Float[Array, " parameter"]:
        """The vector with the coordinates `which` drawn anew.

        Args:
            key: Random key.
            vector: The other coordinates; moves show zero for those that are neither to be
                drawn nor in use before and after.
            which: What to draw; the result must not depend on its old values.
        """

    @abstractmethod
    def log_density(
        self, vector: Float[Array, " parameter"], which: Bool[Array, " parameter"]
    ) -> Scalar:
        """Logarithm of the density of the coordinates `which`, given the others."""


class Gaussian(AbstractDensity):
    """Independent normal coordinates.

    Attributes:
        mean: Of each coordinate.
        scale: Standard deviation of each coordinate, above zero.
    """

    mean: Float[Array, " parameter"] = eqx.field(converter=_real)
    scale: Float[Array, " parameter"] = eqx.field(converter=_real)

    def sample(
        self,
        key: Key[Array, ""],
        vector: Float[Array, " parameter"],
        which: Bool[Array, " parameter"],
    ) -> Float[Array, " parameter"]:
        """Draw each coordinate."""
        noise = jax.random.normal(key, vector.shape, vector.dtype)
        return jnp.where(which, self.mean + self.scale * noise, vector)

    def log_density(
        self, vector: Float[Array, " parameter"], which: Bool[Array, " parameter"]
    ) -> Scalar:
        """Sum over the coordinates."""
        return jnp.sum(jnp.where(which, norm.logpdf(vector, self.mean, self.scale), 0.0))


class Mixture(AbstractDensity):
    r"""Per block of coordinates, the prior or a fitted Gaussian.

    $$ q(u_B) = w \prod_{i \in B} N(u_i; 0, 1) + (1 - w) \prod_{i \in B} N(u_i; m_i, s_i) $$

    Blocks are independent. The products run over the coordinates asked for: a block of
    which only some are drawn follows the marginal density, normalised too.

    Attributes:
        fitted: The Gaussian.
        block: Block of each coordinate, from 0 to at most the number of coordinates less 1.
        prior_weight: w, above zero and at most 1.
    """

    fitted: Gaussian
    block: Int[Array, " parameter"] = eqx.field(converter=jnp.asarray)
    prior_weight: Scalar = eqx.field(converter=_real, default=PRIOR_WEIGHT)

    def sample(
        self,
        key: Key[Array, ""],
        vector: Float[Array, " parameter"],
        which: Bool[Array, " parameter"],
    ) -> Float[Array, " parameter"]:
        """Choose a component per block, then draw each coordinate."""
        choice, draw = jax.random.split(key)
        wide = jax.random.bernoulli(choice, self.prior_weight, vector.shape)[self.block]
        noise = jax.random.normal(draw, vector.shape, vector.dtype)
        drawn = jnp.where(wide, noise, self.fitted.mean + self.fitted.scale * noise)
        return jnp.where(which, drawn, vector)

    def log_density(
        self, vector: Float[Array, " parameter"], which: Bool[Array, " parameter"]
    ) -> Scalar:
        """Sum over the blocks; an empty one gives zero."""
        wide = self._per_block(jnp.where(which, norm.logpdf(vector), 0.0))
        narrow = norm.logpdf(vector, self.fitted.mean, self.fitted.scale)
        narrow = self._per_block(jnp.where(which, narrow, 0.0))
        mixed = jnp.logaddexp(
            jnp.log(self.prior_weight) + wide, jnp.log1p(-self.prior_weight) + narrow
        )
        return jnp.sum(mixed)

    def _per_block(self, terms: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Sums over blocks, padded with zeros to the number of coordinates."""
        return jnp.zeros_like(terms).at[self.block].add(terms)


def standard_normal(num_parameters: int) -> Gaussian:
    """The prior of coordinates in use as a density."""
    return Gaussian(jnp.zeros(num_parameters), jnp.ones(num_parameters))


def unfitted_mixture(block: Int[Array, " parameter"]) -> Mixture:
    """A mixture that is the prior until a Gaussian is fitted.

    Args:
        block: Block of each coordinate; `jnp.arange(num_parameters)` for none larger than one.
    """
    block = jnp.asarray(block)
    return Mixture(standard_normal(block.shape[0]), block)
