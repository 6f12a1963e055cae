"""What the engine is made of, and what it finds: tables of results, settings, outcomes."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from jaxlik.critic import Clusters
from jaxlik.errors import Status
from jaxlik.physics.prior import PriorCounts
from jaxlik.statmodels.bank import StatModelBank
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.signals import Signals


class Regions(eqx.Module):
    """Counts and limits of all signal regions; regions of one result are contiguous.

    Attributes:
        observed: Events.
        background: Expected background events.
        background_error: Its uncertainty.
        upper_limit: Observed limit on the visible cross section [fb].
        upper_limit_expected: Expected limit [fb].
        selectable: False for control and validation regions.
        of_result: Regions of each result, padded with the number of regions.
    """

    observed: Float[Array, " region"]
    background: Float[Array, " region"]
    background_error: Float[Array, " region"]
    upper_limit: Float[Array, " region"]
    upper_limit_expected: Float[Array, " region"]
    selectable: Bool[Array, " region"]
    of_result: Int[Array, "result slot"]


class JointModels(eqx.Module):
    """Results with a published joint likelihood.

    Attributes:
        bank: Their simplified likelihoods.
        null: -2 ln L of each at mu = 0.
        regions: Position on the region axis of each region of the bank's axis.
        result: Result of each model.
        information: Inverse of covariance plus Poisson variance, for sensitivities.
    """

    bank: StatModelBank
    null: Float[Array, " model"]
    regions: Int[Array, " bank_region"]
    result: Int[Array, " model"]
    information: Float[Array, "model region region"]

    def signal(self, events: Float[Array, " region"]) -> Float[Array, "model slot"]:
        """Events of each model's regions."""
        return self.bank.gather(events[self.regions])


class Settings(eqx.Module):
    """Numbers of the procedure; traced, so that changing one compiles nothing.

    Attributes:
        threshold: r-value that excludes (1.3 in arXiv:2012.12246).
        mass_gap: Largest mass difference [GeV] that is compressed.
        mass_gap_unseen: The same where nothing visible would be left; `inf` for the
            rule of SModelS before 3.1.
        minimum_weight: Cascades below this weight [fb] are dropped.
        min_sensitivity: Expected 2 ln(L(1)/L(0)) a result needs to take part.
    """

    threshold: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.3)
    mass_gap: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=10.0)
    mass_gap_unseen: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    minimum_weight: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.02)
    min_sensitivity: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.25)


class Prediction(NamedTuple):
    """What the experiments would see of a model point.

    Attributes:
        production: Cross sections times signal strengths [fb], at 8 and 13 TeV.
        signals: Events and cross sections of all regions, limits met.
        clusters: Predictions of upper-limit results.
        region: Region that speaks for each efficiency-map result; of the axis `region`.
        region_live: Whether the result sees the model at all.
        r_region: r-value of each efficiency-map result, from its best expected region.
        r_region_expected: The same expected.
        r_max: Largest r-value the critic counts.
        mu_max: Largest signal strength it allows.
        status: Overflow of any bucket.
    """

    production: Float[Array, "production 2"]
    signals: Signals
    clusters: Clusters
    region: Int[Array, " result"]
    region_live: Bool[Array, " result"]
    r_region: Float[Array, " result"]
    r_region_expected: Float[Array, " result"]
    r_max: Scalar
    mu_max: Scalar
    status: Status  # type: ignore[reportInvalidTypeForm]


class Evaluation(NamedTuple):
    """The score of a model point and how it came about.

    Attributes:
        score: K = Z^2 + 2 ln pi; -inf where no combination exists.
        z_squared: 2 ln(L(mu_hat)/L(0)) of the best combination.
        mu_hat: Best signal strength within the critic's bound.
        at_bound: Whether the critic's bound holds mu_hat back.
        prior: ln pi and its counts.
        members: Candidates in the best combination.
        log_ratio: 2 ln(L_i(mu_hat)/L_i(0)) of each candidate.
        sensitivity: Expected 2 ln(L_i(1)/L_i(0)) of each candidate.
        live: Candidates that see the model.
        critical: Candidates in the most sensitive combination, the critic's second
            stage; none in mode ``protomodels``.
        cls: CLs of the model at mu_hat by that combination.
        mu_max: Largest signal strength that both stages of the critic allow.
        prediction: Events, r-values, clusters.
        status: Worst outcome of all steps.
    """

    score: Scalar
    z_squared: Scalar
    mu_hat: Scalar
    at_bound: Bool[Array, ""]
    prior: PriorCounts
    members: Bool[Array, " candidate"]
    log_ratio: Float[Array, " candidate"]
    sensitivity: Float[Array, " candidate"]
    live: Bool[Array, " candidate"]
    critical: Bool[Array, " candidate"]
    cls: Scalar
    mu_max: Scalar
    prediction: Prediction
    status: Status  # type: ignore[reportInvalidTypeForm]


class Comparison(NamedTuple):
    """A model compared with the Standard Model, for a combination chosen without the data.

    Attributes:
        log_ratio: ln(L(model)/L(Standard Model)) of the most sensitive combination.
        members: Candidates in it.
        sensitivity: Expected 2 ln(L(model)/L(Standard Model)) of it.
        r_max: Largest r-value the critic counts.
        status: Worst outcome of all steps.
    """

    log_ratio: Scalar
    members: Bool[Array, " candidate"]
    sensitivity: Scalar
    r_max: Scalar
    status: Status  # type: ignore[reportInvalidTypeForm]
