r"""Learned profile likelihoods: small networks in place of the fit of a workspace.

A committee of networks knows how the profiled -2 ln L changes with the signal,

$$ T_k(s) = -2 \ln L_k(s) + 2 \ln L_k(0) = \sum_r [\, u_r F_{kr}(u) + f_{kr}(u_r) \,],
   \qquad u_r = s_r / \sigma_r , $$

on the data (k = 0) and on background-only Asimov data (k = 1). Every smooth T that vanishes
without signal has the form of the first term, so that it is zero there by construction; the
second, of one region each, spares it what independent regions know. The scale sigma of a
region is a third of the signal that Asimov data reject by three standard deviations. Weights
are trained in single precision (`surrogates.likelihood`) and evaluated in double: the function
is smooth to its last digit, as fits of mu and limits need it.

It was learned where all signals are positive and the length of u stays below `radius`;
`domain_distance` says how far outside a signal is.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.database.learned_file import DATA_SETS, LAYERS, LearnedFile
from jaxlik.errors import DatabaseError
from jaxlik.precision import require_x64
from jaxlik.statmodels.base import AbstractFixedDataModel, ProfileFit, as_float64, unprofiled
from jaxlik.typing import Array, Float, Scalar

BAND_FLOOR = 10.0
"""Errors are counted, trained and quoted relative to 1 + |T| / this."""


BENDS = (0.5, 2.0, 8.0)
"""Inverse sizes at which the functions of single regions may bend, from squares to lines."""


class Member(NamedTuple):
    """Weights of one network; of a committee with a leading axis ``member``."""

    first: Float[Array, "*member width input"]
    first_bias: Float[Array, "*member width"]
    second: Float[Array, "*member width width"]
    second_bias: Float[Array, "*member width"]
    head: Float[Array, "*member set region width"]
    head_bias: Float[Array, "*member set region"]
    own: Float[Array, "*member bend set region"]


def features(scaled: Float[Array, " region"]) -> Float[Array, " input"]:
    """What a network sees of a signal: asinh of every region, and the total size."""
    size = jnp.sqrt(1 + jnp.sum(scaled**2)) - 1
    return jnp.append(jnp.arcsinh(scaled), size)


def changes(member: Member, scaled: Float[Array, " region"]) -> Float[Array, " set"]:
    """T of one network for both data sets, in the precision of its arguments.

    Args:
        member: One network.
        scaled: Signal over the scale of each region.
    """
    hidden = jax.nn.silu(member.first @ features(scaled) + member.first_bias)
    hidden = jax.nn.silu(member.second @ hidden + member.second_bias)
    total = (member.head @ hidden + member.head_bias) @ scaled
    for number, bend in enumerate(BENDS):
        total = total + member.own[number] @ (jnp.arcsinh(bend * scaled) / bend)
    return total


def relative_weight(change: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """By how much errors of T count: fully where T is small, relatively where it is large."""
    return 1 / (1 + jnp.abs(change) / BAND_FLOOR)


class LearnedLikelihood(AbstractFixedDataModel):
    """The learned likelihood of the data of a workspace, or of their Asimov data.

    Attributes:
        observed: Events in every region; those of the fit at mu = 0 in Asimov data.
        fitted: Background fitted at mu = 0 to the data.
        background: As published.
        scale: Unit of the signal in every region [events].
        radius: Length of the scaled signal up to which networks were trained.
        twice_nll_background: -2 ln L without signal, deviance form, axis ``set``.
        band: Half of the 90 % band of T over its `relative_weight`, axis ``set``.
        members: The committee.
        data_set: Position in `DATA_SETS`.
        region_ids: Signal regions.
    """

    observed: Float[Array, " region"] = eqx.field(converter=as_float64)
    fitted: Float[Array, " region"] = eqx.field(converter=as_float64)
    background: Float[Array, " region"] = eqx.field(converter=as_float64)
    scale: Float[Array, " region"] = eqx.field(converter=as_float64)
    radius: Scalar = eqx.field(converter=as_float64)
    twice_nll_background: Float[Array, " set"] = eqx.field(converter=as_float64)
    band: Float[Array, " set"] = eqx.field(converter=as_float64)
    members: Member
    data_set: int = eqx.field(static=True, default=0)
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        require_x64()

    @property
    def num_nuisances(self) -> int:
        """None: profiled likelihoods were learned."""
        return 0

    @property
    def nominal(self) -> Float[Array, " region"]:
        """The background as published."""
        return self.background

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Signal and published background; what the fit makes of it is not known here."""
        return mu * signal + self.background

    def member_changes(
        self, mu: Scalar, signal: Float[Array, " region"]
    ) -> Float[Array, "member set"]:
        """T of every network and data set. Their spread is no error; see `uncertainty`."""
        scaled = mu * signal / self.scale
        return jax.vmap(changes, (0, None))(self.members, scaled)

    def change(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """-2 ln L(mu) + 2 ln L(0): the mean of the committee."""
        return jnp.mean(self.member_changes(mu, signal)[:, self.data_set])

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """-2 ln L in deviance form, of all bins, constraints included."""
        return self.twice_nll_background[self.data_set] + self.change(mu, signal)

    def with_observed(self, observed: Float[Array, " region"]) -> "LearnedLikelihood":
        """Not possible.

        Raises:
            DatabaseError: always.
        """
        raise DatabaseError(
            f"a learned likelihood of regions {self.region_ids} knows its own data only, other "
            "data were asked for: use `background_asimov`, or the workspace itself"
        )

    def background_asimov(self, *, fitted: bool = True) -> "LearnedLikelihood":
        """The learned likelihood of Asimov data of the fitted background; its own Asimov data.

        Raises:
            DatabaseError: the published background was asked for, which was not learned.
        """
        if not fitted:
            raise DatabaseError(
                f"a learned likelihood of regions {self.region_ids} knows {DATA_SETS} only, data "
                "equal to the published background were asked for: use the workspace itself"
            )
        return LearnedLikelihood(
            self.fitted,
            self.fitted,
            self.background,
            self.scale,
            self.radius,
            self.twice_nll_background,
            self.band,
            self.members,
            DATA_SETS.index("asimov"),
            self.region_ids,
        )

    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """There is nothing left to profile."""
        return unprofiled(self.profiled_twice_nll(mu, signal))

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """Equal to `twice_nll`."""
        return self.twice_nll(mu, signal, jnp.zeros(0))

    def uncertainty(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """Half-width of the 90 % band of -2 ln L, from held-out signals (split conformal)."""
        return self.band[self.data_set] / relative_weight(self.change(mu, signal))

    def domain_distance(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """How far a signal lies outside of the training, over its radius; zero inside."""
        scaled = mu * signal / self.scale
        too_long = jnp.sqrt(jnp.sum(scaled**2)) / self.radius - 1
        negative = -jnp.min(scaled) / self.radius
        return jnp.maximum(jnp.maximum(too_long, negative), 0.0)


def learned_likelihood(file: LearnedFile) -> LearnedLikelihood:
    """The likelihood of the data, from a file (host)."""
    arrays = file.arrays
    members = Member(*(as_float64(arrays[f"member.{name}"]) for name in LAYERS))
    observed, fitted = arrays["counts"]
    return LearnedLikelihood(
        observed,
        fitted,
        arrays["nominal"],
        arrays["scale"],
        arrays["radius"],
        arrays["twice_nll_background"],
        arrays["band"],
        members,
        DATA_SETS.index("observed"),
        file.region_ids,
    )
