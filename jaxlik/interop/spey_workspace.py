"""HistFactory workspaces as spey wants them: data and parameters as plain vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.workspace import flatten_workspace, read_workspace
from jaxlik.database.workspace_patch import apply_patch
from jaxlik.errors import WorkspaceError
from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_profile import WorkspaceFit, fit_parameters
from jaxlik.interop.spey_fits import Bounds, Fit
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.typing import Float

DEEPEST_POI = -10.0
"""Fits that allow negative signals go down to this mu, or to where a bin without nuisances
would be empty."""

_MOST_REMEMBERED = 8

_expand = jax.jit(HistFactory.expand)
_log_density = jax.jit(HistFactory.log_density)
_expected = jax.jit(HistFactory.expected)


class PatchedWorkspace:
    """A background-only workspace, a signal patch, and fits of both together.

    Data are the events of all bins in the order of the document, then auxiliary data of the
    constrained parameters; parameters stand in the order of `parameter_names`.

    Args:
        background_only: pyhf workspace.
        signal_patch: JSON patch (RFC 6902) that adds the signal.

    Attributes:
        document: The workspace with the signal.
        signal_samples: Channels and samples that the patch added.
        parameter_names: Of all parameters.
        poi: Position of mu among them.
        observed: Data of the workspace.
        apriori: Nominal background in place of the events.
        minimum_poi: mu at which the first bin of nominal background would be empty.
        is_alive: Whether the patch adds any events.

    Raises:
        WorkspaceError: the patch does not apply, or leaves the workspace without its parameter
            of interest.
    """

    def __init__(self, background_only: dict, signal_patch: list):
        background = read_workspace(background_only, name="background_only_model")
        document = apply_patch(background, signal_patch, name="signal_patch")
        self.document = document
        self.signal_samples = _new_samples(background, document)
        record = flatten_workspace(document, name="background_only_model with signal_patch")
        if record.poi < 0:
            wanted = document["measurements"][0].get("config", {}).get("poi")
            raise WorkspaceError(
                f"signal_patch: no modifier has the parameter of interest {wanted!r}; wanted a "
                "sample with a normfactor of this name"
            )
        self.parameter_names = record.parameters
        self.poi, self.model = record.poi, pack_workspace(record)
        self.size, self.num_bins = len(record.parameters), len(record.observed)
        self.init, self.lower, self.upper = record.init, record.lower, record.upper
        self.fixed = record.fixed
        self.constrained = np.array([kind != "free" for kind in record.kinds])
        nominal, total = _yields(background), _yields(document)
        names = list(record.channels)
        apriori = np.concatenate([nominal.get(c, np.zeros_like(total[c])) for c in names])
        signal = np.concatenate([total[c] for c in names]) - apriori
        auxiliary = record.centre[self.constrained]
        self.observed = np.concatenate([record.observed, auxiliary])
        self.apriori = np.concatenate([apriori, auxiliary])
        adds = signal > 0
        self.is_alive = bool(adds.any())
        self.minimum_poi = -float(np.min(apriori[adds] / signal[adds])) if adds.any() else -np.inf
        self._fits: dict[bytes, tuple[bool, list[WorkspaceFit]]] = {}

    @property
    def lowest(self) -> float:
        """The smallest mu of fits that allow negative signals."""
        return max(self.minimum_poi, DEEPEST_POI)

    @property
    def num_parameters(self) -> int:
        """Of the workspace, fixed ones included."""
        return self.size

    def prepare(self, data: object) -> Float[np.ndarray, " datum"]:
        """Events and auxiliary data, checked.

        Raises:
            WorkspaceError: their number is wrong, or they are not finite.
        """
        found = np.asarray(data, float).ravel()
        if len(found) == self.num_bins:
            found = np.concatenate([found, self.observed[self.num_bins :]])
        if len(found) != len(self.observed):
            raise WorkspaceError(
                f"data: {len(found)} numbers, wanted {self.num_bins} events, with or without "
                f"{len(self.observed) - self.num_bins} auxiliary data"
            )
        events = found[: self.num_bins]
        if not np.all(np.isfinite(found)) or np.any(events < 0):
            raise WorkspaceError("data: wanted finite numbers, and counts from zero up")
        return found

    def _data(self, data: Float[np.ndarray, " datum"]) -> Data:
        bins = np.ones(self.model.data.observed.shape[0])
        bins[: self.num_bins] = data[: self.num_bins]
        centre = np.array(self.model.data.centre)
        centre[: self.size][self.constrained] = data[self.num_bins :]
        return Data(jnp.asarray(bins), jnp.asarray(centre))

    def _inside(self, parameters: object) -> np.ndarray:
        given = np.asarray(parameters, float).ravel()
        if len(given) != self.size:
            raise WorkspaceError(f"parameters: {len(given)} numbers, wanted {self.size}")
        found = np.array(self.model.init)
        found[: self.size] = given
        return found

    def nll(self, parameters: object, data: Float[np.ndarray, " datum"]) -> float:
        """-ln L with all constants, as pyhf counts them."""
        return -float(_log_density(self.model, self._inside(parameters), self._data(data)))

    def nll_and_slopes(
        self, parameters: object, data: Float[np.ndarray, " datum"]
    ) -> tuple[float, np.ndarray]:
        """`nll` and its gradient."""
        here = _expand(self.model, self._inside(parameters), self._data(data))
        return self.nll(parameters, data), np.asarray(here.gradient)[: self.size]

    def curvature(self, parameters: object, data: Float[np.ndarray, " datum"]) -> np.ndarray:
        """The Hessian of `nll`."""
        here = _expand(self.model, self._inside(parameters), self._data(data))
        return np.asarray(here.hessian)[: self.size, : self.size]

    def rate(self, parameters: object) -> Float[np.ndarray, " bin"]:
        """Expected events."""
        return np.asarray(_expected(self.model, self._inside(parameters)))[: self.num_bins]

    def expected(
        self, parameters: object, *, auxiliary: bool = True
    ) -> Float[np.ndarray, " datum"]:
        """Expected data: what a fit to them would find again."""
        events = np.maximum(self.rate(parameters), 0.0)
        if not auxiliary:
            return events
        inside = self._inside(parameters)
        centre = np.where(self.model.poisson, self.model.width * inside, inside)
        return np.concatenate([events, centre[: self.size][self.constrained]])

    def sample(
        self, parameters: object, size: int, generator: np.random.Generator, *, auxiliary: bool
    ) -> Float[np.ndarray, "draw datum"]:
        """Pseudo-data."""
        mean = self.expected(parameters)
        events = generator.poisson(mean[: self.num_bins], (size, self.num_bins)).astype(float)
        if not auxiliary:
            return events
        centre = mean[self.num_bins :]
        poisson = np.asarray(self.model.poisson)[: self.size][self.constrained]
        width = np.asarray(self.model.width)[: self.size][self.constrained]
        counts = generator.poisson(np.where(poisson, centre, 1.0), (size, len(centre)))
        pulls = centre + width * generator.standard_normal((size, len(centre)))
        return np.concatenate([events, np.where(poisson, counts, pulls)], axis=1)

    def fit(
        self,
        data: Float[np.ndarray, " datum"],
        held: dict[int, float],
        *,
        lowest: float = 0.0,
        highest: float = np.inf,
        bounds: Bounds | None = None,
        start: object = None,
    ) -> Fit:
        """The best parameters; arguments as of `jaxlik.interop.spey_fits.BinnedFits.fit`.

        Raises:
            ConvergenceError: the conditions of a minimum are not met.
        """
        key, counts = data.tobytes(), self._data(data)
        if key not in self._fits:
            null = self._fit(counts, {self.poi: 0.0}, (0.0, 0.0), None, self.init, thorough=True)
            self._fits[key] = (bool(np.isfinite(float(null.next_lowest))), [null])
        several, places = self._fits[key]
        free = self.poi not in held
        aim = 0.1 if free else held[self.poi]
        near = min(places, key=lambda fit: abs(float(fit.parameters[self.poi]) - aim))
        begin = np.asarray(near.parameters)[: self.size] if start is None else np.asarray(start)
        window = (lowest, highest)
        found = self._fit(counts, held, window, bounds, begin, thorough=several or free)
        places[1:] = [*places[1:], found][-_MOST_REMEMBERED:]
        parameters = np.asarray(found.parameters)[: self.size]
        slope = 0.5 * float(np.asarray(found.slope)[self.poi])
        return Fit(self.nll(parameters, data), parameters, slope, float(found.certificate))

    def _fit(
        self,
        data: Data,
        held: dict[int, float],
        window: tuple[float, float],
        bounds: Bounds | None,
        start: np.ndarray,
        *,
        thorough: bool,
    ) -> WorkspaceFit:
        lower, upper = np.array(self.model.lower), np.array(self.model.upper)
        lower[self.poi], upper[self.poi] = window
        for position, pair in enumerate(bounds or []):
            low, high = pair or (None, None)
            lower[position] = lower[position] if low is None else max(lower[position], low)
            upper[position] = upper[position] if high is None else min(upper[position], high)
        begin, stays = self._inside(start), np.array(self.model.fixed)
        stays[self.poi] = False
        # At zero a product of mu and another parameter may have no slope.
        begin[self.poi] = np.clip(0.1, lower[self.poi], upper[self.poi])
        for position, value in held.items():
            begin[position], stays[position] = value, True
            lower[position], upper[position] = min(lower[position], value), max(
                upper[position], value
            )  # fmt: skip
        model = _bounded(self.model, lower, upper)
        found = fit_parameters(model, data, stays, begin, thorough=thorough)
        free = self.poi not in held
        return certified(found, "with mu free" if free else f"at mu = {held[self.poi]:g}")


def _bounded(model: HistFactory, lower: np.ndarray, upper: np.ndarray) -> HistFactory:
    pair = (jnp.asarray(lower), jnp.asarray(upper))
    return eqx.tree_at(lambda m: (m.lower, m.upper), model, pair)


def _yields(document: dict) -> dict[str, np.ndarray]:
    """Sum of the nominal samples of each channel."""
    return {
        channel["name"]: np.sum([sample["data"] for sample in channel["samples"]], axis=0)
        for channel in document["channels"]
    }


def _new_samples(before: dict, after: dict) -> list[tuple[dict, dict]]:
    """Channels and samples of a document that another one has not."""
    known = {(c["name"], s["name"]) for c in before["channels"] for s in c["samples"]}
    return [
        (channel, sample)
        for channel in after["channels"]
        for sample in channel["samples"]
        if (channel["name"], sample["name"]) not in known
    ]
