"""Cross sections of processes with several masses, learned from a table: one process each.

ln(sigma/fb) is a polynomial of the inputs, fitted in double precision, plus a small
network in single precision that learned what the polynomial misses:

- an input is a mass (its logarithm enters) or a number taken as it is (a mixing);
- beyond the ends of the table every input keeps the slope it has at its end, as the
  splines of `cross_sections` do, and `inside` says so;
- the band is a split-conformal one: at least 90 % of new points of the kind the table
  holds lie in it (arXiv:1604.04173, eq. 4).

`python -m surrogates cross-sections` makes the files, `database.cross_section_file` reads
them. Nothing here knows how networks are trained.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Scalar

EDGE = 1e-6
"""Distance in units of half the range of an input up to which a point counts as inside."""


class Networks(NamedTuple):
    """Networks of two hidden layers, side by side; their mean is taken."""

    first: Float[Array, "member width feature"]
    first_bias: Float[Array, "member width"]
    second: Float[Array, "member width width"]
    second_bias: Float[Array, "member width"]
    last: Float[Array, "member width"]
    last_bias: Float[Array, " member"]

    def __call__(self, features: Float[Array, " feature"]) -> Float[Array, " member"]:
        """Output of every network."""

        def one(net: "Networks") -> Array:
            hidden = jnp.tanh(net.first @ features + net.first_bias)
            hidden = jnp.tanh(net.second @ hidden + net.second_bias)
            return net.last @ hidden + net.last_bias

        return jax.vmap(one)(self)


class Prediction(NamedTuple):
    """A cross section and how far it is to be trusted.

    Attributes:
        sigma: fb.
        low: Lower end of the band in fb.
        high: Upper end of the band in fb.
        inside: Whether the point lies in the convex hull of the table. The band says
            nothing about points outside.
    """

    sigma: Scalar
    low: Scalar
    high: Scalar
    inside: Bool[Array, ""]


class LearnedCrossSection(eqx.Module):
    """ln(sigma/fb) of one process as a function of masses and other inputs.

    Attributes:
        columns: Names of the inputs, in order.
        degree: Of the polynomial.
        is_mass: Inputs whose logarithm enters; these are in GeV and positive.
        low: Lower end of the table: logarithm of a mass, or the number itself.
        high: Upper end.
        exponents: Of each term of the polynomial.
        coefficients: Of each term.
        networks: What is added, in units of `residual`.
        residual: Scatter of the table about the polynomial, in ln(sigma).
        band: Half width of the 90 % band in ln(sigma).
        facets: Outward normal and offset of the facets of the hull of the table, in
            inputs that run from -1 to 1.
    """

    columns: tuple[str, ...] = eqx.field(static=True)
    degree: int = eqx.field(static=True)
    is_mass: Bool[Array, " input"]
    low: Float[Array, " input"]
    high: Float[Array, " input"]
    exponents: Int[Array, "term input"]
    coefficients: Float[Array, " term"]
    networks: Networks
    residual: Float[Array, ""]
    band: Float[Array, ""]
    facets: Float[Array, "facet inputs_and_one"]

    def __call__(self, inputs: Float[Array, " input"]) -> Scalar:
        """Cross section in fb.

        Args:
            inputs: In the order of `columns`; masses in GeV.
        """
        return jnp.exp(self.log_sigma(inputs))

    def predict(self, inputs: Float[Array, " input"]) -> Prediction:
        """Cross section with its band, and whether the table reaches there."""
        log = self.log_sigma(inputs)
        return Prediction(
            jnp.exp(log), jnp.exp(log - self.band), jnp.exp(log + self.band), self.inside(inputs)
        )

    def log_sigma(self, inputs: Float[Array, " input"]) -> Scalar:
        """ln(sigma/fb), continued with its slope beyond the ends of the table."""
        place = self.place(inputs)
        within = jnp.clip(place, -1.0, 1.0)
        value, beyond = jax.jvp(self._within, (within,), (place - within,))
        return value + beyond

    def inside(self, inputs: Float[Array, " input"]) -> Bool[Array, ""]:
        """Whether a point lies in the convex hull of the table."""
        place = self.place(inputs)
        return jnp.all(self.facets[:, :-1] @ place + self.facets[:, -1] <= EDGE)

    def place(self, inputs: Float[Array, " input"]) -> Float[Array, " input"]:
        """Inputs, or logarithms of masses, such that the table runs from -1 to 1."""
        safe = jnp.where(self.is_mass, inputs, 1.0)
        bent = jnp.where(self.is_mass, jnp.log(safe), inputs)
        return 2 * (bent - self.low) / (self.high - self.low) - 1

    def _within(self, place: Float[Array, " input"]) -> Scalar:
        """ln(sigma/fb) in the range of the table."""
        ones = jnp.ones_like(place)
        powers = jnp.cumprod(jnp.stack([ones, *[place] * self.degree]), axis=0)
        terms = jnp.prod(powers[self.exponents, jnp.arange(len(self.columns))], axis=1)
        bent = features(place, self.is_mass, self.low, self.high)
        learned = jnp.mean(self.networks(bent.astype(self.networks.first.dtype)))
        return terms @ self.coefficients + self.residual * learned.astype(place.dtype)


def features(
    place: Float[Array, " input"],
    is_mass: Bool[Array, " input"],
    low: Float[Array, " input"],
    high: Float[Array, " input"],
) -> Float[Array, " feature"]:
    """What the networks see: every input, and every mass itself beside its logarithm."""
    log = 0.5 * (place + 1) * (high - low) + low
    first, last = (jnp.exp(jnp.where(is_mass, end, 0.0)) for end in (low, high))
    mass = jnp.exp(jnp.where(is_mass, log, 0.0))
    width = jnp.where(is_mass, last - first, 1.0)
    straight = jnp.where(is_mass, 2 * (mass - first) / width - 1, 0.0)
    return jnp.concatenate([place, straight])
