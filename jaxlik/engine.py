"""From a model point to the test statistic K, as one pure function.

    masses, branching ratios, signal strengths
      -> cross sections -> weights of topologies -> events in every region, r-values
      -> likelihood ratio of every result -> best combination and mu -> K = Z^2 + 2 ln pi

The discrete choices (regions, combination, mu-hat) are made without gradients; the
value at these choices is then differentiated, which is exact by the envelope theorem.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from jaxlik.combination.cliques import CliqueTable
from jaxlik.combination.joint import Heights, best_joint, polish
from jaxlik.combination.sensitive import (
    CombinedLimit,
    combined_limit,
    most_sensitive,
    moving_limit,
)
from jaxlik.critic import MIN_CROSS_SECTION, Clusters, LimitTable, cluster, mu_limit
from jaxlik.errors import Status, merge_status
from jaxlik.evaluation import Comparison, Evaluation, JointModels, Prediction, Regions, Settings
from jaxlik.physics.cross_sections import CrossSections
from jaxlik.physics.kinematics import existing_productions, normalise_branching_ratios
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import log_prior
from jaxlik.statmodels import poisson, truncated_gaussian
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.compression import Gaps
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.neural import NeuralYields
from jaxlik.yields.signals import Signals

NODES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.75, 1.0)
"""Where likelihoods are evaluated in search of mu-hat, as fractions of the largest useful mu."""

ABSENT_MASS = 1000.0
"""GeV; stands in for the masses of absent particles, at which nothing is evaluated."""


class _LimitChoice(NamedTuple):
    """The cluster that speaks for each upper-limit result with a likelihood."""

    cross_section: Float[Array, " limit_result"]
    upper_limit: Float[Array, " limit_result"]
    upper_limit_expected: Float[Array, " limit_result"]
    live: Bool[Array, " limit_result"]


class Engine(eqx.Module):
    """Everything needed to score model points of one space against one database.

    Candidates of a combination are the efficiency-map results in order, then, in mode
    ``protomodels``, the upper-limit results with expected limits.
    """

    space: ModelSpace
    cross_sections: CrossSections
    yields: EfficiencyYields | NeuralYields
    limits: LimitTable
    regions: Regions
    joint: tuple[JointModels, ...]
    cliques: CliqueTable
    settings: Settings
    literal: bool = eqx.field(static=True)
    """Rules of arXiv:2012.12246 (mode ``protomodels``) instead of the corrected ones."""
    num_limit_results: int = eqx.field(static=True)
    """Upper-limit results among the candidates."""
    buckets: Buckets = eqx.field(static=True)

    @property
    def num_results(self) -> int:
        """Efficiency-map results."""
        return self.regions.of_result.shape[0]

    def predict(
        self,
        point: ModelPoint,
        production: Float[Array, "production 2"],
        *,
        as_given: bool = False,
    ) -> Prediction:
        """Events, r-values and the critic's bound, for given cross sections.

        Args:
            point: Masses and branching ratios; signal strengths are not used.
            production: Cross sections times signal strengths [fb], at 8 and 13 TeV.
            as_given: Take branching ratios as they are, as SModelS does, even those of
                closed channels; else only open channels count, normalised per mother.
        """
        decays = point if as_given else normalise_branching_ratios(self.space, point).point
        signals = self.yields(
            decays.masses,
            decays.branching_ratios,
            production,
            gaps=Gaps(self.settings.mass_gap, self.settings.mass_gap_unseen),
            minimum_weight=self.settings.minimum_weight,
            buckets=self.buckets,
        )
        clusters = cluster(
            signals.limits,
            self.limits,
            self.yields,
            num_groups=self.buckets.groups,
            num_members=self.buckets.members,
            off_plane=max(8, self.buckets.off_plane // 4),
        )
        signals = signals._replace(demand=signals.demand.at[-2:].set(clusters.demand))
        best, live, r, r_expected = self._critic_regions(signals)
        chosen, chosen_live = self._choose_regions(signals, best, live)
        every_r = jnp.concatenate([jnp.where(live, r, 0.0), clusters.r.reshape(-1)])
        expected = jnp.concatenate([r_expected, clusters.r_expected.reshape(-1)])
        mu_max, r_max = mu_limit(
            every_r, expected, self.settings.threshold, only_sensitive=not self.literal
        )
        finite = jnp.all(jnp.isfinite(production)) & jnp.all(jnp.isfinite(signals.events))
        status = merge_status(
            Status.where(finite, Status.success, Status.not_finite),  # type: ignore[reportAttributeAccessIssue]
            merge_status(signals.status, clusters.status),
        )
        return Prediction(
            production, signals, clusters, chosen, chosen_live, r, r_expected, r_max, mu_max, status
        )

    def reference_production(self, point: ModelPoint) -> Float[Array, "production 2"]:
        """Reference cross sections times signal strengths of existing modes [fb]."""
        exists = existing_productions(self.space, point)
        strength = jnp.where(exists, point.signal_strengths, 0.0)
        # Masses of absent particles mean nothing and may be zero.
        masses = jnp.where(point.active, point.masses, ABSENT_MASS)
        return self.cross_sections(masses) * strength[:, None]

    def evaluate(
        self, point: ModelPoint, excluded: Bool[Array, " candidate"] | None = None
    ) -> Evaluation:
        """Score a model point with reference cross sections.

        Args:
            point: The model.
            excluded: Candidates that may not take part in a combination; the critic
                still hears them.
        """
        return self.evaluate_with(point, self.reference_production(point), excluded)

    def evaluate_with(
        self,
        point: ModelPoint,
        production: Float[Array, "production 2"],
        excluded: Bool[Array, " candidate"] | None = None,
    ) -> Evaluation:
        """Score a model point with given cross sections times signal strengths [fb]."""
        prediction = self.predict(point, production)
        prior = log_prior(self.space, point, lax.stop_gradient(production))
        limit_choice = self._choose_limits(prediction.clusters)
        sensitivity, useful, live = self._candidates(prediction, limit_choice)
        heard = live
        if excluded is not None:
            live &= ~excluded
        upper = jnp.minimum(prediction.mu_max, useful)
        nodes = lax.stop_gradient(upper) * jnp.asarray(NODES)
        frozen, frozen_choice = jax.tree.map(lax.stop_gradient, (prediction, limit_choice))
        values, slopes, status = self._log_ratios(frozen, frozen_choice, nodes)
        limit = self._combined_limit(frozen, heard, sensitivity, nodes, values, slopes)
        allowed = lax.stop_gradient(jnp.minimum(prediction.mu_max, limit.mu_max))
        best = best_joint(
            self.cliques,
            live,
            nodes,
            lax.stop_gradient(values),
            lax.stop_gradient(slopes),
            lax.stop_gradient(jnp.minimum(upper, limit.mu_max)),
            min_members=2 if self.literal else 1,
        )
        held = best.at_bound & (best.mu_hat >= allowed * (1 - 1e-9))
        best = best._replace(at_bound=held)
        places = [lax.stop_gradient(best.mu_hat)]
        at_limit = jnp.where(jnp.isfinite(limit.mu_max), limit.mu_max, 0.0)
        if not self.literal:
            places += [limit.mu_best, at_limit]
        final = self._log_ratios(prediction, limit_choice, jnp.stack(places))
        heights = [Heights(*row) for row in zip(*final[:2], strict=True)]
        mu_max = prediction.mu_max
        if not self.literal:
            asimov = self._asimov(prediction, sensitivity, at_limit[None])
            expected = Heights(asimov[0][0], asimov[1][0])
            second = jnp.minimum(moving_limit(limit, heights[1], heights[2], expected), mu_max)
            mu_max = jnp.where(limit.mu_max < prediction.mu_max, second, mu_max)
        settled = polish(best, nodes, values, slopes, heights[0], mu_max)
        exists = best.value > -jnp.inf
        z_squared = jnp.where(exists, jnp.maximum(settled.value, 0.0), 0.0)
        score = jnp.where(exists, z_squared + 2 * prior.log_prior, -jnp.inf)
        for other in (final[2], best.status, prediction.status):
            status = merge_status(other, status)
        return Evaluation(
            score,
            z_squared,
            settled.mu_hat,
            best.at_bound,
            prior,
            best.members,
            settled.gains,
            sensitivity,
            live,
            limit.members,
            limit.cls(settled.mu_hat),
            mu_max,
            prediction,
            status,
        )

    def compare(self, point: ModelPoint) -> Comparison:
        r"""Likelihood ratio to the Standard Model in the most sensitive combination.

        $$ \ln\frac{p_\theta(D)}{p_\text{SM}(D)} = \sum_{i \in C(\theta)}
           \ln\frac{L_i(\theta)}{L_i(\text{SM})} $$

        The combination C is the one with the largest expected sensitivity. It does not
        depend on data, so that the ratio is one of normalised densities whose mean over
        data of the Standard Model is 1, however other results overlap with C.

        Args:
            point: The model, at its own signal strengths (mu = 1).
        """
        return self.compare_at(self.predict(point, self.reference_production(point)))

    def compare_at(self, prediction: Prediction) -> Comparison:
        """`compare`, for a prediction that was made before; of it, r_max may be of other data."""
        choice = self._choose_limits(prediction.clusters)
        sensitivity, _, live = self._candidates(prediction, choice)
        members = most_sensitive(self.cliques, live, lax.stop_gradient(sensitivity))
        values, _, status = self._log_ratios(prediction, choice, jnp.ones(1))
        log_ratio = 0.5 * jnp.sum(jnp.where(members, values[0], 0.0))
        expected = jnp.sum(jnp.where(members, sensitivity, 0.0))
        status = merge_status(status, prediction.status)
        return Comparison(log_ratio, members, expected, prediction.r_max, status)

    def _combined_limit(
        self,
        prediction: Prediction,
        live: Bool[Array, " candidate"],
        sensitivity: Float[Array, " candidate"],
        nodes: Float[Array, " node"],
        values: Float[Array, "node candidate"],
        slopes: Float[Array, "node candidate"],
    ) -> CombinedLimit:
        """The second stage of the critic: the most sensitive combination."""
        if self.literal:
            one = jnp.ones(())
            return CombinedLimit(jnp.zeros_like(live), jnp.inf * one, one, -one, nodes, 0 * nodes)
        arguments = (sensitivity, nodes, values, slopes)
        sensitivity, nodes, values, slopes = map(lax.stop_gradient, arguments)
        asimov = self._asimov(prediction, sensitivity, nodes)
        return combined_limit(
            self.cliques, live, sensitivity, nodes, values, slopes, *map(lax.stop_gradient, asimov)
        )

    def _asimov(
        self,
        prediction: Prediction,
        sensitivity: Float[Array, " candidate"],
        mu: Float[Array, " node"],
    ) -> tuple[Float[Array, "node candidate"], Float[Array, "node candidate"]]:
        """-2 ln(L_i(mu)/L_i(0)) on background-only Asimov data, and its slope in mu.

        Results without counts of their own are taken as Gaussian.
        """
        signal, _, background, error = self._region_values(prediction)
        arguments = (mu[:, None], *(a[None] for a in (signal, background, background, error)))
        values = -2 * poisson.log_ratio(*arguments)
        slopes = poisson.profiled_slope(*arguments)
        square, double = mu[:, None] ** 2, 2 * mu[:, None]
        for model in self.joint:
            power = sensitivity[model.result][None]
            values = values.at[:, model.result].set(square * power)
            slopes = slopes.at[:, model.result].set(double * power)
        if self.num_limit_results:
            power = sensitivity[self.num_results :][None]
            values = jnp.concatenate([values, square * power], axis=1)
            slopes = jnp.concatenate([slopes, double * power], axis=1)
        return values, slopes

    def log_ratios(
        self, prediction: Prediction, mu: Float[Array, " node"]
    ) -> tuple[Float[Array, "node candidate"], Float[Array, "node candidate"]]:
        """2 ln(L_i(mu)/L_i(0)) of every candidate, and its slope, at given signal strengths."""
        values, slopes, _ = self._log_ratios(
            prediction, self._choose_limits(prediction.clusters), mu
        )
        return values, slopes

    def _per_result(
        self, values: Float[Array, " region"], fill: float
    ) -> Float[Array, "result slot"]:
        return values.at[self.regions.of_result].get(mode="fill", fill_value=fill)

    def _critic_regions(
        self, signals: Signals
    ) -> tuple[Int[Array, " result"], Bool[Array, " result"], Array, Array]:
        """Best expected region of each result and its r-values, from tabulated limits."""
        table = self.regions
        seen = (signals.cross_section >= MIN_CROSS_SECTION) & table.selectable
        expected = jnp.where(seen, signals.cross_section / table.upper_limit_expected, -1.0)
        expected = jnp.where(jnp.isfinite(expected), expected, -1.0)
        slot = jnp.argmax(self._per_result(lax.stop_gradient(expected), -2.0), axis=1)
        region = jnp.take_along_axis(table.of_result, slot[:, None], axis=1)[:, 0]
        r = signals.cross_section[region] / table.upper_limit[region]
        r_expected = expected[region]
        live = r_expected > 0
        return region, live, jnp.where(live & jnp.isfinite(r), r, 0.0), r_expected

    def _choose_regions(
        self, signals: Signals, best: Int[Array, " result"], live: Bool[Array, " result"]
    ) -> tuple[Int[Array, " result"], Bool[Array, " result"]]:
        """Region that enters the likelihood: best expected, or largest excess (literal)."""
        if not self.literal:
            return best, live
        table = self.regions
        seen = (signals.cross_section >= MIN_CROSS_SECTION) & table.selectable
        excess = jnp.where(seen, table.upper_limit / table.upper_limit_expected, -1.0)
        excess = jnp.where(jnp.isfinite(excess), excess, -1.0)
        slot = jnp.argmax(self._per_result(excess, -2.0), axis=1)
        region = jnp.take_along_axis(table.of_result, slot[:, None], axis=1)[:, 0]
        return region, excess[region] > 0

    def _choose_limits(self, clusters: Clusters) -> _LimitChoice:
        """Cluster with the largest observed over expected limit, per upper-limit result."""
        count = self.num_limit_results
        known = clusters.live & (clusters.upper_limit_expected > 0)
        safe = jnp.where(known, clusters.upper_limit_expected, 1.0)
        ratio = lax.stop_gradient(jnp.where(known, clusters.upper_limit / safe, -1.0))
        result = jnp.broadcast_to(self.limits.result[clusters.limit][:, None], ratio.shape)
        flat = result.reshape(-1)
        mine = (flat[None, :] == jnp.arange(count)[:, None]) & known.reshape(-1)[None, :]
        best = jnp.argmax(jnp.where(mine, ratio.reshape(-1)[None, :], -2.0), axis=1)
        live = jnp.any(mine, axis=1)
        return _LimitChoice(
            jnp.where(live, clusters.cross_section.reshape(-1)[best], 0.0),
            jnp.where(live, clusters.upper_limit.reshape(-1)[best], 1.0),
            jnp.where(live, safe.reshape(-1)[best], 1.0),
            live,
        )

    def _region_values(self, prediction: Prediction) -> tuple[Array, Array, Array, Array]:
        """Signal, observed, background and its error of the chosen regions."""
        table, region = self.regions, prediction.region
        signal = jnp.where(prediction.region_live, prediction.signals.events[region], 0.0)
        return (
            signal,
            table.observed[region],
            table.background[region],
            table.background_error[region],
        )

    def _candidates(
        self, prediction: Prediction, choice: _LimitChoice
    ) -> tuple[Float[Array, " candidate"], Scalar, Bool[Array, " candidate"]]:
        """Expected sensitivity, the largest useful mu, and who takes part."""
        signal, observed, background, error = self._region_values(prediction)
        asimov = signal + background
        sensitivity = 2 * poisson.log_ratio(1.0, signal, asimov, background, error)
        best_mu = poisson.mu_hat(signal, observed, background)
        live = prediction.region_live
        if not self.literal:
            for model in self.joint:
                events = model.signal(prediction.signals.events)
                seen = jnp.any(events > 0, axis=1)
                weighted = jnp.einsum("mrs,ms->mr", model.information, events)
                power = jnp.einsum("mr,mr->m", weighted, events)
                models = model.bank.models
                excess = jnp.where(model.bank.region_mask, models.observed - models.background, 0.0)
                estimate = jnp.einsum("mr,mr->m", weighted, excess)
                ratio = estimate / jnp.where(power > 0, power, 1.0)
                # A joint fit may like more signal than its Gaussian estimate says.
                ratio = jnp.maximum(ratio, 0.0) + 2.0 / jnp.sqrt(jnp.where(power > 0, power, 1.0))
                sensitivity = sensitivity.at[model.result].set(jnp.where(seen, power, 0.0))
                best_mu = best_mu.at[model.result].set(jnp.where(seen, ratio, 0.0))
                live = live.at[model.result].set(seen)
        if self.num_limit_results:
            cross_section, observed, expected, seen = choice
            width = expected / truncated_gaussian.SIGMAS_OF_LIMIT
            strength = jnp.where(seen, cross_section / width, 0.0) ** 2
            safe = jnp.where(seen, cross_section, 1.0)
            sensitivity = jnp.concatenate([sensitivity, strength])
            best_mu = jnp.concatenate([best_mu, jnp.where(seen, 1.2 * observed / safe, 0.0)])
            live = jnp.concatenate([live, seen])
        if not self.literal:
            live &= sensitivity >= self.settings.min_sensitivity
        else:
            live &= sensitivity > 0
        # The best mu of a sum of concave functions lies below the largest of their maxima.
        useful = jnp.max(jnp.where(live, best_mu, 0.0), initial=0.0)
        return sensitivity, jnp.maximum(lax.stop_gradient(useful), 1e-3), live

    def _log_ratios(
        self, prediction: Prediction, choice: _LimitChoice, mu: Float[Array, " node"]
    ) -> tuple[Float[Array, "node candidate"], Float[Array, "node candidate"], Status]:  # type: ignore[reportInvalidTypeForm]
        """2 ln(L_i(mu)/L_i(0)) of every candidate and its slope in mu."""
        signal, observed, background, error = self._region_values(prediction)
        arguments = (mu[:, None], *(a[None] for a in (signal, observed, background, error)))
        values = 2 * poisson.log_ratio(*arguments)
        slopes = -poisson.profiled_slope(*arguments)
        status = Status.success
        if not self.literal:
            for model in self.joint:
                fit = model.bank.profile(mu, model.signal(prediction.signals.events))
                values = values.at[:, model.result].set(model.null[None] - fit.twice_nll)
                slopes = slopes.at[:, model.result].set(-fit.slope)
                status = merge_status(status, _worst(fit.status))
        if self.num_limit_results:
            cross_section, upper, expected = (a[None] for a in choice[:3])
            more = 2 * truncated_gaussian.log_ratio(mu[:, None], cross_section, upper, expected)
            centre, width = truncated_gaussian.gaussian_from_limits(upper, expected)
            slope = 2 * cross_section * (centre - mu[:, None] * cross_section) / width**2
            values = jnp.concatenate([values, more], axis=1)
            slopes = jnp.concatenate([slopes, slope], axis=1)
        return values, slopes, status


def _worst(status: Status) -> Status:  # type: ignore[reportInvalidTypeForm]
    """The first failure along an axis of outcomes."""
    failed = status != Status.success
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(failed)], status)
