r"""Models as bits and a vector whose prior is a standard normal distribution.

Every entry of the vector has a bit that says whether it is in use, in the order of
`jaxlik.physics.bijections`: particles (masses), decay channels (logits), production modes
(signal strengths). With Phi the normal distribution function,

$$ m_\text{LBP} = m_0 \left(\frac{m_1}{m_0}\right)^{\Phi(u)}, \qquad
   m - m_\text{floor} = g_0 \left(\frac{M - m_\text{floor}}{g_0}\right)^{\Phi(u)}, $$

so that masses and gaps are uniform in their logarithms; branching ratios are a softmax of
the logits of the channels in use (a logistic normal prior), and ln(kappa) is normal. The
floor is the LBP, or the lighter of two interchangeable particles: masses are in order by
construction. A production whose bit is off has no cross section.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from jaxlik.physics.bijections import layout
from jaxlik.physics.kinematics import (
    MAX_MASS,
    MIN_LBP_MASS,
    branching_sums,
    canonical_pairs,
    masses_allowed,
    open_channels,
)
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float

EXTREME = 8.0
"""Standard deviations to which coordinates of given models are limited."""


def _real(value: ArrayLike) -> Array:
    """An array of the default precision, strongly typed: another width compiles nothing anew."""
    return jnp.asarray(value, dtype=float)


class Widths(eqx.Module):
    """Scales of the prior; traced.

    Attributes:
        largest_lbp: Largest mass of the LBP [GeV].
        smallest_gap: Smallest distance of a mass to its floor [GeV].
        logit: Standard deviation of the logits of branching ratios.
        strength: Standard deviation of ln(kappa).
    """

    largest_lbp: Float[Array, ""] = eqx.field(converter=_real, default=1500.0)
    smallest_gap: Float[Array, ""] = eqx.field(converter=_real, default=1.0)
    logit: Float[Array, ""] = eqx.field(converter=_real, default=1.0)
    strength: Float[Array, ""] = eqx.field(converter=_real, default=1.0)


def to_model(
    space: ModelSpace,
    bits: Bool[Array, " parameter"],
    vector: Float[Array, " parameter"],
    widths: Widths,
) -> ModelPoint:
    """The model of bits and a vector.

    Args:
        space: Layout of the model.
        bits: What is in use; that of the LBP is taken to be set.
        vector: Coordinates; those not in use do not matter.
        widths: Scales of the prior.

    Returns:
        A point with masses in order. Channels in use that are kinematically closed keep
        their branching ratio: whether that is allowed is for the caller to say.
    """
    blocks = layout(space)
    is_lbp = jnp.arange(space.num_particles) == space.lbp
    active = bits[blocks.masses] | is_lbp
    share = norm.cdf(vector[blocks.masses])
    lbp = MIN_LBP_MASS * (widths.largest_lbp / MIN_LBP_MASS) ** share[space.lbp]
    masses = lbp + _gap(share, lbp, widths)
    light, heavy = canonical_pairs(space).T
    above = masses[light] + _gap(share[heavy], masses[light], widths)
    masses = masses.at[heavy].set(jnp.where(active[light], above, masses[heavy]))
    masses = jnp.where(is_lbp, lbp, masses)
    used = bits[blocks.branching]
    logits = jnp.where(used, widths.logit * vector[blocks.branching], -jnp.inf)
    largest = jax.ops.segment_max(
        jax.lax.stop_gradient(logits), space.channel_parent, num_segments=space.num_particles
    )
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)[space.channel_parent]
    weight = jnp.where(used, jnp.exp(jnp.where(used, logits - largest, 0.0)), 0.0)
    total = branching_sums(space, weight)
    fractions = weight / jnp.where(total > 0, total, 1.0)[space.channel_parent]
    strengths = jnp.exp(widths.strength * vector[blocks.strengths])
    strengths = jnp.where(bits[blocks.strengths], strengths, 0.0)
    return ModelPoint(masses, active, fractions, strengths)


def from_model(
    space: ModelSpace, point: ModelPoint, widths: Widths
) -> tuple[Bool[Array, " parameter"], Float[Array, " parameter"]]:
    """Bits and vector of a model; the inverse of `to_model` for masses in order.

    Coordinates not in use are zero. Those beyond `EXTREME` standard deviations, of gaps below
    the smallest one for example, are limited to it.

    Args:
        space: Layout of the model.
        point: The model.
        widths: Scales of the prior.
    """
    blocks = layout(space)
    masses, active = point.masses, point.active
    light, heavy = canonical_pairs(space).T
    floor = jnp.full_like(masses, masses[space.lbp])
    floor = floor.at[heavy].set(jnp.where(active[light], masses[light], floor[heavy]))
    room = jnp.log(jnp.maximum(MAX_MASS - floor, 2 * widths.smallest_gap) / widths.smallest_gap)
    gap = jnp.maximum(masses - floor, widths.smallest_gap)
    share = jnp.log(gap / widths.smallest_gap) / room
    lbp = jnp.log(masses[space.lbp] / MIN_LBP_MASS) / jnp.log(widths.largest_lbp / MIN_LBP_MASS)
    share = share.at[space.lbp].set(lbp)
    place = jnp.clip(norm.ppf(jnp.clip(share, 0.0, 1.0)), -EXTREME, EXTREME)
    used = (point.branching_ratios > 0) & active[space.channel_parent]
    logs = jnp.where(used, jnp.log(jnp.where(used, point.branching_ratios, 1.0)), 0.0)
    number = branching_sums(space, used.astype(logs.dtype))
    mean = branching_sums(space, logs) / jnp.maximum(number, 1.0)
    logits = jnp.where(used, logs - mean[space.channel_parent], 0.0) / widths.logit
    on = jnp.all(active[space.production_pair], axis=1) & (point.signal_strengths > 0)
    strengths = jnp.log(jnp.where(on, point.signal_strengths, 1.0)) / widths.strength
    bits = jnp.concatenate([active, used, on])
    vector = jnp.concatenate([jnp.where(active, place, 0.0), logits, strengths])
    assert vector.shape == (blocks.size,)
    return bits, vector


def kinematically_allowed(
    space: ModelSpace, bits: Bool[Array, " bit"], point: ModelPoint
) -> Bool[Array, ""]:
    """Masses in the region of protomodels, channels in use open.

    Args:
        space: Layout of the models.
        bits: What is in use.
        point: The model of these bits.
    """
    used = bits[layout(space).branching]
    return masses_allowed(space, point) & jnp.all(open_channels(space, point) | ~used)


def _gap(share: Array, floor: Array, widths: Widths) -> Array:
    """Distance to the floor [GeV], uniform in its logarithm."""
    room = jnp.maximum(MAX_MASS - floor, 2 * widths.smallest_gap)
    return widths.smallest_gap * (room / widths.smallest_gap) ** share
