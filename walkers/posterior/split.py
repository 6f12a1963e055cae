r"""Splits and merges: one signal is shared by two interchangeable particles, or by one alone.

Of two interchangeable particles (`jaxlik.physics.kinematics.canonical_pairs`) the lighter one
stays. In a split the heavier is born beside it: with most of its decay channels, close in mass
and branching ratios, and with a part of the signal strength $\kappa = e^{wu}$ of every
production that both have. A gap $d$ is drawn, and

$$ u_l = u - \frac{1}{w}\ln(1 + e^{-wd}), \qquad u_h = u - \frac{1}{w}\ln(1 + e^{wd}), $$

so that $\kappa_l + \kappa_h = \kappa$ and $\kappa_l/\kappa_h = e^{wd}$. The inverse is
$d = u_l - u_h$, $u = \ln(e^{wu_l} + e^{wu_h})/w$. With $v = \kappa_l/\kappa$ the Jacobian

$$ \left|\frac{\partial(u_l, u_h)}{\partial(u, d)}\right| = v + (1 - v) = 1 $$

in whitened coordinates: only the density of $d$ remains. All else is as for any birth. A merge
is the inverse, and is refused while something decays to the heavier particle.

References:
    P. J. Green, Biometrika 82 (1995) 711, section 3.3: dimension matching.
    S. Richardson, P. J. Green, J. R. Stat. Soc. B 59 (1997) 731, section 3.2: split and combine.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxlik.physics.bijections import layout
from jaxlik.physics.model import ModelSpace
from jaxlik.physics.whitened import Widths
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.posterior.contents import Fittings
from walkers.posterior.moves import (
    AbstractMove,
    Auxiliary,
    Candidate,
    content_candidate,
    one_of,
)
from walkers.posterior.target import AbstractProductTarget, ChainState
from walkers.posterior.twins import Copies, close_to, twin_table

SHARE_SCALE = 2**0.5
"""Standard deviation of the gap of two strengths; that of independent ones of the prior."""


class Shares(eqx.Module):
    """How two productions share a signal strength; see the docstring of this module.

    Attributes:
        widths: Scales of the prior.
    """

    widths: Widths

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Gaps d between both coordinates."""
        return SHARE_SCALE * jax.random.normal(key, shape)

    def log_density(self, gap: Float[Array, "..."]) -> Float[Array, "..."]:
        """Of each gap."""
        return norm.logpdf(gap, 0.0, SHARE_SCALE)

    def parts(
        self, whole: Float[Array, "..."], gap: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Coordinates of the lighter and of the heavier particle."""
        width = self.widths.strength
        light, heavy = (jax.nn.softplus(sign * width * gap) / width for sign in (-1, 1))
        return whole - light, whole - heavy

    def whole(self, light: Float[Array, "..."], heavy: Float[Array, "..."]) -> Float[Array, "..."]:
        """Coordinate of the sum of both signal strengths."""
        width = self.widths.strength
        return jnp.logaddexp(width * light, width * heavy) / width


class SplitMerge(AbstractMove):
    """The heavier of two interchangeable particles appears beside the lighter, or joins it.

    Attributes:
        copies: Channels and productions of the heavier one.
        shares: How signal strengths are divided.
    """

    copies: Copies
    shares: Shares

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Pairs to choose from are those with the lighter particle, which stays.

        Shared strengths change hands first; what remains is a birth or a death without them.
        """
        choose, fit, share, fill = jax.random.split(key, 4)
        space, twins = self.copies.space, self.copies.twins
        bits, fittings = state.bits, Fittings(space)
        pair = jnp.argmax(one_of(choose, bits[twins.light]))
        heavy, partner = twins.heavy[pair], twins.partner[pair]
        owned, merging = fittings.owned(heavy), bits[heavy]
        single = bits & ~owned
        double = jnp.where(merging, bits, single | self.copies.draw(fit, bits, pair))
        places = jnp.arange(bits.shape[0])
        common = double & owned & double[partner] & (partner != places)
        shared = common & (places >= layout(space).strengths.start)
        moved, log_gaps = self._shared(share, state, partner, shared, merging, auxiliary)
        chance = self.copies.log_probability(double, pair) + log_gaps
        possible = bits[twins.light[pair]] & jnp.isfinite(chance)
        possible &= ~fittings.is_daughter(bits, heavy)
        none = jnp.zeros((), state.vector.dtype)
        forth = jnp.where(possible, jnp.where(merging, none, chance), jnp.inf)
        back = jnp.where(possible & merging, chance, none)
        near = close_to(space, heavy, double & owned, common, state.vector[partner])
        return content_candidate(
            fill,
            target,
            moved,
            jnp.where(merging, single, double),
            forth,
            back,
            auxiliary._replace(entering=near),
        )

    def _shared(
        self,
        key: Key[Array, ""],
        state: ChainState,
        partner: Int[Array, " bit"],
        shared: Bool[Array, " bit"],
        merging: Bool[Array, ""],
        auxiliary: Auxiliary,
    ) -> tuple[ChainState, Scalar]:
        """The state with some strengths divided or added up, and ln of the density of the gaps.

        The heavier particle has those of `shared` in a split already, in a merge no more.
        """
        draw, rest = jax.random.split(key)
        own, other = state.vector, state.vector[partner]
        gap = jnp.where(merging, other - own, self.shares.draw(draw, own.shape))
        light, heavy = self.shares.parts(other, gap)
        light = jnp.where(merging, self.shares.whole(other, own), light)
        heavy = jnp.where(merging, auxiliary.resting.sample(rest, own, shared), heavy)
        vector = jnp.where(shared[partner], light[partner], own)
        vector = jnp.where(shared, heavy, vector)
        bits = jnp.where(merging, state.bits & ~shared, state.bits | shared)
        log_gaps = jnp.sum(jnp.where(shared, self.shares.log_density(gap), 0.0))
        return state._replace(bits=bits, vector=vector), log_gaps


def split_merge(space: ModelSpace, widths: Widths) -> SplitMerge:
    """The move for a space.

    Args:
        space: Layout of the models.
        widths: Scales of the prior; that of ln(kappa) says what conserves the sum.

    Raises:
        ValueError: no two particles are interchangeable.
    """
    return SplitMerge(Copies(space, twin_table(space)), Shares(widths))
