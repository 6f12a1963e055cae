"""Objectives of statistical models: one of them, several with a common mu, nuisances profiled.

All are half of `twice_nll`: deviance form, except for learned likelihoods that keep the constants
they were trained with.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlik.errors import ConfigError
from jaxlik.inference.profile import profiled_twice_nll_fn
from jaxlik.inference.workspace_model import WorkspaceLikelihood
from jaxlik.interop.objective_base import Objective
from jaxlik.interop.objective_nll import AbstractNll
from jaxlik.interop.objective_workspace import WorkspaceNll
from jaxlik.statmodels.base import AbstractStatModel, as_float64
from jaxlik.statmodels.histfactory_signal import with_signal
from jaxlik.typing import Array, Float, Scalar

MU = "mu"
"""Name of the signal strength."""


class ModelsNll(AbstractNll):
    """Models with a common mu; the vector is mu, then the nuisances of each in turn.

    Attributes:
        models: Statistical models.
        signals: Events of each at mu = 1.
    """

    models: tuple[AbstractStatModel, ...]
    signals: tuple[Float[Array, " region"], ...]

    def nll(self, x: Float[Array, " parameter"]) -> Scalar:
        """Half of the sum of all `twice_nll`."""
        total, first = jnp.zeros(()), 1
        for model, signal in zip(self.models, self.signals, strict=True):
            nuisances = x[first : first + model.num_nuisances]
            total += 0.5 * model.twice_nll(x[0], signal, nuisances)
            first += model.num_nuisances
        return total


class ProfiledNll(AbstractNll):
    """Models with a common mu, the nuisances of each profiled; the vector is mu alone.

    Attributes:
        models: Statistical models.
        signals: Events of each at mu = 1.
    """

    models: tuple[AbstractStatModel, ...]
    signals: tuple[Float[Array, " region"], ...]

    def nll(self, x: Float[Array, " parameter"]) -> Scalar:
        """Half of the sum of all profiled `twice_nll`."""
        total = jnp.zeros(())
        for model, signal in zip(self.models, self.signals, strict=True):
            total += 0.5 * profiled_twice_nll_fn(model, signal)(x[0])
        return total


def objective_of_model(
    model: AbstractStatModel,
    signal: ArrayLike,
    *,
    mu: float = 1.0,
    mu_bounds: tuple[float, float] = (0.0, np.inf),
) -> Objective:
    """-ln L of mu and of all nuisances of a model.

    Nuisances are named ``nuisance[i]`` and carry a Gaussian constraint of width one; of a
    workspace they are its parameters in units of their own, named ``parameter[i]``
    (`objective_of_workspace` knows their names).

    Args:
        model: Any statistical model.
        signal: Events in every region at mu = 1.
        mu: Where to start.
        mu_bounds: Smallest and largest mu.

    Raises:
        ConfigError: a signal of another length.
    """
    events = _signal(model, signal)
    if isinstance(model, WorkspaceLikelihood):
        return _workspace_objective(model, events, mu, mu_bounds)
    size = model.num_nuisances
    names = (MU, *(f"nuisance[{i}]" for i in range(size)))
    pulls = np.zeros(size)
    return Objective(
        ModelsNll((model,), (events,)),
        names,
        np.array([mu, *pulls]),
        np.array([mu_bounds[0], *(pulls - np.inf)]),
        np.array([mu_bounds[1], *(pulls + np.inf)]),
        width=np.array([np.inf, *(pulls + 1.0)]),
    )


def joint_objective(
    models: Sequence[AbstractStatModel],
    signals: Sequence[ArrayLike],
    *,
    names: Sequence[str] | None = None,
    mu: float = 1.0,
    mu_bounds: tuple[float, float] = (0.0, np.inf),
) -> Objective:
    """-ln L of independent models with a common mu: a combination of analyses.

    Args:
        models: Statistical models without common nuisances.
        signals: Events of each at mu = 1.
        names: One for each model, before the names of its nuisances; ``0``, ``1`` by default.
        mu: Where to start.
        mu_bounds: Smallest and largest mu.

    Raises:
        ConfigError: unequal numbers of models, signals and names, or a signal of another length.
    """
    labels = [str(i) for i in range(len(models))] if names is None else list(names)
    if not len(models) == len(signals) == len(labels) or not models:
        raise ConfigError(
            f"{len(models)} models, {len(signals)} signals and {len(labels)} names were given, "
            "wanted as many of each, at least one"
        )
    parts = [
        objective_of_model(model, signal, mu=mu, mu_bounds=mu_bounds)
        for model, signal in zip(models, signals, strict=True)
    ]
    whole = [_on_own_axis(model, part) for model, part in zip(models, parts, strict=True)]

    def joined(field: str) -> np.ndarray:
        first = getattr(parts[0], field)[:1]
        return np.concatenate([first, *(getattr(part, field)[1:] for part in whole)])

    return Objective(
        ModelsNll(tuple(models), tuple(map(_signal, models, signals))),
        (
            MU,
            *(
                f"{label}:{name}"
                for label, part in zip(labels, whole, strict=True)
                for name in part.names[1:]
            ),
        ),
        *(joined(field) for field in ("initial", "lower", "upper", "fixed", "centre", "width")),
    )


def profiled_objective(
    model: AbstractStatModel | Sequence[AbstractStatModel],
    signal: ArrayLike | Sequence[ArrayLike],
    *,
    mu: float = 1.0,
    mu_bounds: tuple[float, float] = (0.0, np.inf),
) -> Objective:
    """-ln L of mu alone, all nuisances at their best for each mu; not a number if a fit fails.

    Args:
        model: A statistical model, or several with a common mu.
        signal: Events in every region at mu = 1; a list of such for several models.
        mu: Where to start.
        mu_bounds: Smallest and largest mu.

    Raises:
        ConfigError: unequal numbers of models and signals, or a signal of another length.
    """
    single = isinstance(model, AbstractStatModel)
    models = (model,) if single else tuple(model)
    signals: tuple[Any, ...] = (signal,) if single else tuple(signal)  # type: ignore[reportArgumentType]
    if len(models) != len(signals) or not models:
        raise ConfigError(
            f"{len(models)} models and {len(signals)} signals were given, wanted as many of each"
        )
    nll = ProfiledNll(models, tuple(map(_signal, models, signals)))
    low, high = (np.array([bound]) for bound in mu_bounds)
    return Objective(nll, (MU,), np.array([mu]), low, high)


def _signal(model: AbstractStatModel, signal: ArrayLike) -> Array:
    events = as_float64(jnp.asarray(signal))
    if events.shape != model.nominal.shape:
        raise ConfigError(
            f"the signal has shape {events.shape}, the model {model.nominal.shape}; wanted the "
            "events of every region at mu = 1"
        )
    return events


def _workspace_objective(
    model: WorkspaceLikelihood, signal: Array, mu: float, mu_bounds: tuple[float, float]
) -> Objective:
    """The packed workspace with this signal; padding is left out, mu comes first."""
    packed, poi = with_signal(model.model, model.where, signal), int(model.poi)
    described = jax.tree.map(
        np.asarray, (packed.init, packed.lower, packed.upper, packed.data.centre, packed.width)
    )
    fixed, normal, poisson = (np.asarray(a) for a in (packed.fixed, packed.normal, packed.poisson))
    # Padded parameters are fixed at zero between bounds of zero; no real one is.
    real = ~(fixed & (described[0] == 0) & (described[2] == 0) & ~normal & ~poisson)
    others = [i for i in np.flatnonzero(real) if i != poi]
    places = np.array([poi, *others], dtype=np.int32)
    initial, lower, upper, centre, width = (values[places].copy() for values in described)
    initial[0], lower[0], upper[0] = mu, *mu_bounds
    held = fixed[places].copy()
    held[0] = False
    return Objective(
        WorkspaceNll(packed, packed.data, jnp.asarray(places)),
        (MU, *(f"parameter[{i}]" for i in others)),
        initial,
        lower,
        upper,
        held,
        np.where(normal[places], centre, 0.0),
        np.where(normal[places], width, np.inf),
    )


def _on_own_axis(model: AbstractStatModel, part: Objective) -> Objective:
    """The parameters of a model as its own axis ``nuisance`` has them, mu before."""
    if not isinstance(model, WorkspaceLikelihood):
        return part
    # The axis of a workspace has its mu and padding, too: fixed, they do not matter.
    size = model.num_nuisances
    places = np.asarray(part.nll.positions)[1:] + 1  # type: ignore[reportAttributeAccessIssue]

    def spread(values: np.ndarray, fill: float | bool) -> np.ndarray:
        found = np.full(size + 1, fill, dtype=values.dtype)
        found[0], found[places] = values[0], values[1:]
        return found

    return Objective(
        part.nll,
        (MU, *(f"parameter[{i}]" for i in range(size))),
        spread(part.initial, 0.0),
        spread(part.lower, 0.0),
        spread(part.upper, 0.0),
        spread(part.fixed, True),
        spread(part.centre, 0.0),
        spread(part.width, np.inf),
    )
