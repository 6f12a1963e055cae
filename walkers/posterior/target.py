r"""What the sampler samples: a density on bits and a vector, both of fixed length.

Models with different numbers of parameters become one density on a product of fixed
size: bits say which content a model has, and every content owns some coordinates of one
vector. With $\gamma$ the bits and $u$ the vector,

$$ \pi(\gamma, u) \propto p(\gamma)\, L(\gamma, u) \prod_{i \in \gamma} N(u_i; 0, 1)
   \prod_{i \notin \gamma} \psi(u_i), $$

where the product over $i \in \gamma$ runs over the coordinates in use, and $\psi$ is any
fixed normalised density, the pseudo-prior: it drops out of everything about the coordinates in
use. Shapes never change, so that one program serves all contents.

References:
    B. P. Carlin, S. Chib, J. R. Stat. Soc. B 57 (1995) 473.
    S. J. Godsill, J. Comput. Graph. Stat. 10 (2001) 230.
"""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxlik.typing import Array, Bool, Float, Scalar


class AbstractProductTarget(eqx.Module):
    """Density on bits and an unconstrained vector, both of fixed length.

    Coordinates are whitened by the prior: under it, those in use are independent and
    follow N(0, 1). A subclass may override `guide` and `exact`; the sampler then pays for
    them, otherwise it does not.

    Attributes:
        num_bits: Length of the axis `bit`.
        num_parameters: Length of the axis `parameter`.
    """

    num_bits: eqx.AbstractVar[int]
    num_parameters: eqx.AbstractVar[int]

    @abstractmethod
    def in_use(self, bits: Bool[Array, " bit"]) -> Bool[Array, " parameter"]:
        """Coordinates that the likelihood may depend on."""

    @abstractmethod
    def log_prior_bits(self, bits: Bool[Array, " bit"]) -> Scalar:
        """Logarithm of the prior of a content, any normalisation; `-inf` if forbidden."""

    @abstractmethod
    def log_likelihood(
        self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        """Ln L with hard supports: `-inf` where forbidden, never `nan`.

        Must not depend on coordinates that are not in use.
        """

    def guide(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """A smooth, finite version of ln L: its gradient drives trajectories.

        Any function is right; the closer to ln L, the more proposals are accepted.
        """
        return self.log_likelihood(bits, vector)

    def exact(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """The ln L to sample, where `log_likelihood` is only a cheap version of it.

        Faced by what `log_likelihood` has accepted (delayed acceptance); `-inf` where
        forbidden, never `nan`.
        """
        return self.log_likelihood(bits, vector)

    @property
    def has_guide(self) -> bool:
        """Whether `guide` differs from `log_likelihood`."""
        return type(self).guide is not AbstractProductTarget.guide

    @property
    def has_exact(self) -> bool:
        """Whether `exact` differs from `log_likelihood`."""
        return type(self).exact is not AbstractProductTarget.exact


class Tempered(AbstractProductTarget):
    """A target with its likelihoods raised to a power; `beta` is traced.

    Attributes:
        target: The target at `beta` one.
        beta: Power above zero; points with L = 0 stay forbidden at any.
    """

    target: AbstractProductTarget
    beta: Scalar = eqx.field(converter=lambda beta: jnp.asarray(beta, dtype=float))

    @property
    def num_bits(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """Length of the axis `bit`."""
        return self.target.num_bits

    @property
    def num_parameters(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """Length of the axis `parameter`."""
        return self.target.num_parameters

    def in_use(self, bits: Bool[Array, " bit"]) -> Bool[Array, " parameter"]:
        """As for the target."""
        return self.target.in_use(bits)

    def log_prior_bits(self, bits: Bool[Array, " bit"]) -> Scalar:
        """As for the target: the prior is not tempered."""
        return self.target.log_prior_bits(bits)

    def log_likelihood(
        self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        """Beta times ln L."""
        return self.beta * self.target.log_likelihood(bits, vector)

    def guide(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """Beta times the guide."""
        return self.beta * self.target.guide(bits, vector)

    def exact(self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]) -> Scalar:
        """Beta times the exact ln L."""
        return self.beta * self.target.exact(bits, vector)

    @property
    def has_guide(self) -> bool:
        """As for the target."""
        return self.target.has_guide

    @property
    def has_exact(self) -> bool:
        """As for the target."""
        return self.target.has_exact


class ChainState(NamedTuple):
    """Where a chain stands.

    Attributes:
        bits: Content.
        vector: All coordinates, in use or not.
        log_likelihood: ln L there, from `log_likelihood`.
        exact: ln L there, from `exact`; the same where the target has none of its own.
    """

    bits: Bool[Array, " bit"]
    vector: Float[Array, " parameter"]
    log_likelihood: Scalar
    exact: Scalar


def state_at(
    target: AbstractProductTarget,
    bits: Bool[Array, " bit"],
    vector: Float[Array, " parameter"],
) -> ChainState:
    """The state of a chain that starts here; `jax.vmap` it for several."""
    log_likelihood = target.log_likelihood(bits, vector)
    exact = target.exact(bits, vector) if target.has_exact else log_likelihood
    return ChainState(bits, vector, log_likelihood, exact)


def log_prior(
    target: AbstractProductTarget,
    bits: Bool[Array, " bit"],
    vector: Float[Array, " parameter"],
) -> Scalar:
    """Ln p(bits) plus ln N(0, 1) of the coordinates in use; `-inf` where forbidden."""
    normal = jnp.where(target.in_use(bits), norm.logpdf(vector), 0.0)
    return target.log_prior_bits(bits) + jnp.sum(normal)
