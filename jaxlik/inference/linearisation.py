"""Linearised workspaces: made from certified fits, and their error against the full model."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError, Status, merge_status
from jaxlik.inference.limits import expected_band, find_upper_limit
from jaxlik.inference.workspace_fits import WorkspaceAnalysis, certified
from jaxlik.inference.workspace_profile import asimov_data, at_bounds, fit_parameters
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, with_signal
from jaxlik.statmodels.linearised import LinearisationError, LinearisedHistFactory, linearised
from jaxlik.typing import Array, Float, Scalar

PARTS_OF_LIMIT = (0.25, 0.5, 1.0)
"""Values of mu at which -2 ln L is compared, in units of the observed limit."""

FULLEST, FRACTION = 3, 0.1
"""The broad probe: a tenth of the background in the three fullest regions of each channel."""


class LinearisedLimits(NamedTuple):
    """Upper limits on mu of a linearised workspace.

    Attributes:
        observed: From the data.
        expected: At -2, -1, 0, 1, 2 sigma of the background-only distribution, increasing.
        status: Of the observed limit, then of the expected ones.
    """

    observed: Scalar
    expected: Float[Array, " band"]
    status: Status


def linearise(
    model: HistFactory,
    where: SignalInput,
    poi: int,
    region_ids: tuple[str, ...],
    *,
    probes: Float[Array | np.ndarray, "probe region"] | None = None,
) -> LinearisedHistFactory:
    """A workspace to first order around its fit at mu = 0, its error measured and stated.

    Args:
        model: The packed workspace.
        where: Where signals enter.
        poi: Position of the signal strength.
        region_ids: Names of the signal regions.
        probes: Events of the signals that the error is measured with; those of
            `probe_signals` by default, one limit of the full model each. None where empty.

    Raises:
        ConvergenceError: the fit at mu = 0 is not certified.
    """
    nothing = with_signal(model, where, jnp.zeros(len(region_ids)))
    held, start = model.fixed.at[poi].set(True), model.init.at[poi].set(0.0)
    fit = certified(fit_parameters(nothing, None, held, start, thorough=True), "at mu = 0")
    free, asimov = ~(held | at_bounds(model, fit.parameters)), asimov_data(nothing, fit.parameters)
    result = linearised(nothing, where, poi, fit.parameters, asimov, free, region_ids)
    probes = probe_signals(model, where, result) if probes is None else probes
    if not len(probes):
        return result
    errors = [linearisation_error(model, where, poi, result, jnp.asarray(p)) for p in probes]
    return LinearisedHistFactory(
        result.likelihood, result.asimov, result.transfer, region_ids, largest(errors)
    )


def probe_signals(
    model: HistFactory, where: SignalInput, linear: LinearisedHistFactory
) -> Float[np.ndarray, "probe region"]:
    """A broad signal, and one in each single region, each near its observed limit [events].

    The broad one is a tenth of the background in the three fullest regions of each channel.
    """
    used = np.asarray(where.cells) < model.nominal.shape[0]
    cells, regions = np.asarray(where.cells)[used], np.asarray(where.region)[used]
    bins = np.asarray(model.bin_of_cell)[cells]
    background = np.asarray(model.real_bins).cumsum()[bins] - 1
    background = np.asarray(linear.asimov.background)[background]
    broad = np.zeros(len(linear.region_ids))
    channel_of = np.asarray(model.cell_block)[cells]
    for channel in np.unique(channel_of):
        members = np.flatnonzero(channel_of == channel)
        members = members[np.argsort(-background[members], kind="stable")][:FULLEST]
        broad[regions[members]] = FRACTION * background[members]
    probes = np.concatenate([broad[None], np.eye(len(broad))])
    limits = [float(_limits(linear, jnp.asarray(probe)).observed) for probe in probes]
    sizes = np.array([limit if np.isfinite(limit) and limit > 0 else 1.0 for limit in limits])
    return sizes[:, None] * probes


def linearised_limits(
    linear: LinearisedHistFactory, signal: Float[Array, " region"], *, level: Scalar | float = 0.95
) -> LinearisedLimits:
    """Observed and expected upper limits by CLs; pure, differentiable, for `vmap` over signals.

    Args:
        linear: From `linearise`.
        signal: Events at mu = 1 in each signal region.
        level: Confidence level.
    """
    events = linear.signal(signal)

    def observed_fn(mu: Scalar) -> Scalar:
        return linear.likelihood.profiled_twice_nll(mu, events)

    def asimov_fn(mu: Scalar) -> Scalar:
        return linear.asimov.profiled_twice_nll(mu, events)

    limit = find_upper_limit(observed_fn, asimov_fn, level=level)
    band, status = expected_band(asimov_fn, level=level)
    return LinearisedLimits(limit.mu, band, merge_status(limit.status, status))


def linearisation_error(
    model: HistFactory,
    where: SignalInput,
    poi: int,
    linear: LinearisedHistFactory,
    signal: Float[Array, " region"],
) -> LinearisationError:
    """Limits and profile of one signal in both models, compared.

    Args:
        model: The packed workspace.
        where: Where signals enter.
        poi: Position of the signal strength.
        linear: Made from it.
        signal: Events at mu = 1, best such that the limit is near one.

    Returns:
        Infinite differences where the linearised model fails; where the full one has no limit,
        no difference but `without_limit`.
    """
    analysis = WorkspaceAnalysis(with_signal(model, where, signal), poi)
    try:
        observed, expected = analysis.upper_limits()
    except ConvergenceError:
        return _error(np.zeros(3), without_limit=1)
    other = _limits(linear, signal)
    parts = observed * np.array(PARTS_OF_LIMIT)
    full = np.array([float(analysis.fit_at(float(mu)).twice_nll) for mu in parts])
    full -= float(analysis.null.twice_nll)
    profile = np.asarray(_profile(linear, signal, jnp.asarray(np.append(0.0, parts))))
    differences = (
        abs(float(other.observed) / observed - 1),
        np.max(np.abs(np.asarray(other.expected) / expected - 1)),
        np.max(np.abs(profile[1:] - profile[0] - full)),
    )
    return _error(np.array(differences), without_limit=0)


def largest(errors: list[LinearisationError]) -> LinearisationError:
    """The error that covers all of several signals."""
    return LinearisationError(
        jnp.asarray(max(float(e.observed) for e in errors)),
        jnp.asarray(max(float(e.expected) for e in errors)),
        jnp.asarray(max(float(e.twice_nll) for e in errors)),
        jnp.asarray(sum(int(e.signals) for e in errors)),
        jnp.asarray(sum(int(e.without_limit) for e in errors)),
    )


def _error(differences: Float[np.ndarray, " quantity"], without_limit: int) -> LinearisationError:
    observed, expected, twice_nll = jnp.asarray(
        np.where(np.isfinite(differences), differences, np.inf)
    )
    return LinearisationError(
        observed, expected, twice_nll, jnp.asarray(1), jnp.asarray(without_limit)
    )


@eqx.filter_jit
def _limits(linear: LinearisedHistFactory, signal: Float[Array, " region"]) -> LinearisedLimits:
    return linearised_limits(linear, signal)


@eqx.filter_jit
def _profile(
    linear: LinearisedHistFactory, signal: Float[Array, " region"], mu: Float[Array, " node"]
) -> Float[Array, " node"]:
    events = linear.signal(signal)
    return jax.lax.map(lambda one: linear.likelihood.profiled_twice_nll(one, events), mu)
