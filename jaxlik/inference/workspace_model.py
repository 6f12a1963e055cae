"""A HistFactory workspace with signals, as one statistical model among others.

What holds for counting experiments and simplified likelihoods holds for it:
`jaxlik.inference.profile.likelihood_pair`, `fit_mu`, the test statistics and `upper_limit` take
it as it is, and it adds to other likelihoods in a joint one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.database.records import HistFactoryRecord, SignalCells
from jaxlik.errors import WorkspaceError
from jaxlik.inference.workspace_profile import (
    asimov_data,
    attached,
    fit_from,
    profiled_twice_nll,
)
from jaxlik.statmodels.base import AbstractFixedDataModel, ProfileFit
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.statmodels.histfactory_signal import (
    SignalInput,
    background_data,
    pack_signal,
    with_signal,
)
from jaxlik.statmodels.packing import Shape, pack_workspace
from jaxlik.typing import Array, Float, Int, Scalar


class WorkspaceLikelihood(AbstractFixedDataModel):
    """A workspace, of its data or of background-only Asimov data.

    Axis ``region`` are the signal regions, axis ``nuisance`` the parameters of the workspace in
    its own units, the parameter of interest among them.

    Attributes:
        observed: Events in the bins of every signal region.
        model: The packed workspace; its data are what the likelihood is of.
        where: Where signals enter.
        poi: Position of the parameter of interest.
        region_ids: Signal regions.
    """

    observed: Float[Array, " region"]
    model: HistFactory
    where: SignalInput
    poi: Int[Array, ""]
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def num_nuisances(self) -> int:
        """Parameters of the workspace, padding included."""
        return self.model.num_parameters

    @property
    def nominal(self) -> Float[Array, " region"]:
        """The background as published."""
        return self._by_region(background_data(self.model, self.where).observed)

    def _by_region(self, bins: Float[Array, " bin"]) -> Float[Array, " region"]:
        return by_region(self.model, self.where, bins, len(self.region_ids))

    def _with_mu(
        self, mu: Scalar | float, signal: Float[Array, " region"]
    ) -> tuple[HistFactory, Float[Array, " nuisance"]]:
        model = with_signal(self.model, self.where, signal)
        return model, model.init.at[self.poi].set(mu)

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Expected events in the bins of every signal region."""
        model, _ = self._with_mu(mu, signal)
        return self._by_region(model.expected(nuisances.at[self.poi].set(mu)))

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """-2 ln L in deviance form, of all bins, constraints included."""
        model, _ = self._with_mu(mu, signal)
        return model.twice_nll(nuisances.at[self.poi].set(mu))

    def with_observed(self, observed: Float[Array, " region"]) -> "WorkspaceLikelihood":
        """Not possible: the regions are some of the bins, and constraints have data of their own.

        Raises:
            WorkspaceError: always; give `HistFactory` other `Data`.
        """
        raise WorkspaceError(
            "a workspace has more data than the events of its signal regions; replace "
            "model.data, control regions and auxiliary data included"
        )

    def background_asimov(self, *, fitted: bool = True) -> "WorkspaceLikelihood":
        """The model of background-only Asimov data.

        Args:
            fitted: Background and auxiliary data as fitted to the data at mu = 0, else as
                published.
        """
        if fitted:
            zero = jnp.zeros(len(self.region_ids))
            model, _ = self._with_mu(0.0, zero)
            data = asimov_data(model, self.profile(jnp.asarray(0.0), zero).nuisances)
        else:
            data = background_data(self.model, self.where)
        return WorkspaceLikelihood(
            self._by_region(data.observed),
            eqx.tree_at(lambda m: m.data, self.model, data),
            self.where,
            self.poi,
            self.region_ids,
        )

    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """Certified fit of all other parameters; second derivatives of twice_nll are exact."""
        model, start = self._with_mu(mu, signal)
        held = model.fixed.at[self.poi].set(True)
        fixed_model, fixed_start = jax.lax.stop_gradient((model, start))
        fit = fit_from(fixed_model, fixed_model.data, held, fixed_start[None])
        parameters = attached(model, model.data, held, start, fit.parameters)
        return ProfileFit(parameters, model.twice_nll(parameters), fit.num_steps, fit.status)

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """-2 ln L maximised over the other parameters; not a number if the fit is not certified."""
        return profiled_twice_nll(self._with_mu(mu, signal)[0], self.poi, mu)


def workspace_likelihood(
    record: HistFactoryRecord, where: SignalCells, shape: Shape | None = None
) -> WorkspaceLikelihood:
    """The likelihood of a flattened workspace with places for signals (host).

    Args:
        record: From `jaxlik.database.workspace_signal.flatten_with_signal`.
        where: The same.
        shape: Padded sizes; the smallest bucket by default.
    """
    model = pack_workspace(record, shape)
    packed = pack_signal(where, model)
    observed = by_region(model, packed, model.data.observed, len(where.region_ids))
    return WorkspaceLikelihood(
        observed, model, packed, jnp.asarray(record.poi), tuple(where.region_ids)
    )


def by_region(
    model: HistFactory, where: SignalInput, bins: Float[Array, " bin"], num_regions: int
) -> Float[Array, " region"]:
    """Sums of the bins that hold the signal of each region."""
    cells = model.bin_of_cell.at[where.cells].get(mode="clip")
    real = where.cells < model.nominal.shape[0]
    events = jnp.where(real, bins[cells], 0.0)
    return jnp.zeros(num_regions, bins.dtype).at[where.region].add(events)
