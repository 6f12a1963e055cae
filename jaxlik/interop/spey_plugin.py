"""Backends for spey whose likelihoods are fitted by jaxlik.

spey finds them through its entry points:

    import spey

    model = spey.get_backend("jaxlik.correlated_background")(
        signal_yields=..., background_yields=..., data=..., covariance_matrix=...
    )
    model.exclusion_confidence_level()

Their probability models, arguments and parameters are those of spey's default backends of the same
name (``jaxlik.histfactory``: of spey-pyhf's ``pyhf``). What differs is who minimises: each value
of the likelihood comes from a certified fit, and a fit that is none raises `ConvergenceError`. The
best mu is not cut off at 10. The first backend made switches JAX to 64-bit floats.

Importing this module needs spey.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import poisson

import jaxlik.interop.spey_inputs as inputs
from jaxlik.errors import ConfigError, WorkspaceError
from jaxlik.interop.spey_backend import BinnedBackend, CertifiedBackend, ModelConfig
from jaxlik.interop.spey_models import effective as effective_response
from jaxlik.interop.spey_models import polynomial as polynomial_response
from jaxlik.interop.spey_models import third_moment_terms
from jaxlik.interop.spey_workspace import PatchedWorkspace


class UncorrelatedBackground(BinnedBackend):
    """Bins with independent backgrounds, as ``default.uncorrelated_background``.

    Args:
        signal_yields: Events at mu = 1.
        background_yields: Expected events.
        data: Observed events.
        absolute_uncertainties: Of the background [events].
        modifiers: Uncertainties of the signal, as spey takes them.
        n_signal_parameters: Must be zero.
        signal_parameter_bounds: Must be left out.

    Raises:
        WorkspaceError: sizes differ, or a number is impossible.
        ConfigError: the signal is a function.
    """

    name = "jaxlik.uncorrelated_background"

    def __init__(
        self,
        signal_yields: Any,
        background_yields: Any,
        data: Any,
        absolute_uncertainties: Any,
        modifiers: Sequence[dict] | None = None,
        n_signal_parameters: int = 0,
        signal_parameter_bounds: object = None,
    ):
        inputs.refuse_parameters(n_signal_parameters, signal_parameter_bounds)
        yields = inputs.yields(signal_yields, background_yields, data)
        size = len(yields.signal)
        spread = inputs.vector("absolute_uncertainties", absolute_uncertainties, size)
        super().__init__(
            yields, polynomial_response(yields.background, spread), np.eye(size), modifiers
        )


class CorrelatedBackground(BinnedBackend):
    """Bins with correlated backgrounds, as ``default.correlated_background``.

    Args:
        signal_yields: Events at mu = 1.
        background_yields: Expected events.
        data: Observed events.
        covariance_matrix: Of the backgrounds [events^2]; used as spey uses it, see
            `jaxlik.interop.spey_models.constraint_from`.
        modifiers: Uncertainties of the signal, as spey takes them.
        n_signal_parameters: Must be zero.
        signal_parameter_bounds: Must be left out.

    Raises:
        WorkspaceError: sizes differ, a number is impossible, or the matrix not positive definite.
        ConfigError: the signal is a function.
    """

    name = "jaxlik.correlated_background"

    def __init__(
        self,
        signal_yields: Any,
        background_yields: Any,
        data: Any,
        covariance_matrix: Any,
        modifiers: Sequence[dict] | None = None,
        n_signal_parameters: int = 0,
        signal_parameter_bounds: object = None,
    ):
        inputs.refuse_parameters(n_signal_parameters, signal_parameter_bounds)
        yields = inputs.yields(signal_yields, background_yields, data)
        covariance = inputs.matrix("covariance_matrix", covariance_matrix, len(yields.signal))
        spread = inputs.spread("covariance_matrix", covariance)
        correlation = covariance / np.outer(spread, spread)
        super().__init__(
            yields, polynomial_response(yields.background, spread), correlation, modifiers
        )


class ThirdMomentExpansion(BinnedBackend):
    """Bins with correlated, skewed backgrounds, as ``default.third_moment_expansion``.

    Args:
        signal_yields: Events at mu = 1.
        background_yields: Expected events.
        data: Observed events.
        covariance_matrix: Of the backgrounds [events^2].
        third_moment: Of each background [events^3].
        modifiers: Uncertainties of the signal, as spey takes them.
        n_signal_parameters: Must be zero.
        signal_parameter_bounds: Must be left out.

    Raises:
        WorkspaceError: sizes differ, a number is impossible, or rho is not positive definite.
        ConfigError: the signal is a function.
    """

    name = "jaxlik.third_moment_expansion"
    doi = ("10.1007/JHEP04(2019)064",)
    arXiv = ("1809.05548",)

    def __init__(
        self,
        signal_yields: Any,
        background_yields: Any,
        data: Any,
        covariance_matrix: Any,
        third_moment: Any,
        modifiers: Sequence[dict] | None = None,
        n_signal_parameters: int = 0,
        signal_parameter_bounds: object = None,
    ):
        inputs.refuse_parameters(n_signal_parameters, signal_parameter_bounds)
        yields = inputs.yields(signal_yields, background_yields, data)
        size = len(yields.signal)
        covariance = inputs.matrix("covariance_matrix", covariance_matrix, size)
        inputs.spread("covariance_matrix", covariance)
        moments = inputs.vector("third_moment", third_moment, size, signed=True)
        terms = third_moment_terms(yields.background, covariance, moments)
        response = polynomial_response(terms.offset, terms.slope, terms.curvature)
        super().__init__(yields, response, terms.correlation, modifiers)


class EffectiveSigma(BinnedBackend):
    """Bins with asymmetric background uncertainties, as ``default.effective_sigma``.

    Args:
        signal_yields: Events at mu = 1.
        background_yields: Expected events.
        data: Observed events.
        correlation_matrix: Of the backgrounds.
        absolute_uncertainty_envelops: Upper and lower uncertainty of each [events].
        modifiers: Uncertainties of the signal, as spey takes them.
        n_signal_parameters: Must be zero.
        signal_parameter_bounds: Must be left out.

    Raises:
        WorkspaceError: sizes differ, a number is impossible, or the matrix not positive definite.
        ConfigError: the signal is a function.
    """

    name = "jaxlik.effective_sigma"
    doi = ("10.1142/9781860948985_0013",)
    arXiv = ("physics/0406120",)

    def __init__(
        self,
        signal_yields: Any,
        background_yields: Any,
        data: Any,
        correlation_matrix: Any,
        absolute_uncertainty_envelops: Any,
        modifiers: Sequence[dict] | None = None,
        n_signal_parameters: int = 0,
        signal_parameter_bounds: object = None,
    ):
        inputs.refuse_parameters(n_signal_parameters, signal_parameter_bounds)
        yields = inputs.yields(signal_yields, background_yields, data)
        size = len(yields.signal)
        correlation = inputs.matrix("correlation_matrix", correlation_matrix, size)
        envelopes = inputs.pairs(
            "absolute_uncertainty_envelops", absolute_uncertainty_envelops, size
        )
        up, down = envelopes.T
        response = effective_response(yields.background, up, down, yields.background)
        super().__init__(yields, response, correlation, modifiers)


class HistFactoryWorkspace(CertifiedBackend):
    """A HistFactory workspace with a signal patch, as spey-pyhf's ``pyhf``.

    Parameters and data stand in jaxlik's order, see `config` and
    `jaxlik.interop.spey_workspace.PatchedWorkspace`, not in pyhf's.

    Args:
        signal_patch: JSON patch that adds the signal.
        background_only_model: pyhf workspace: a dictionary or the path of a JSON file.

    Raises:
        WorkspaceError: the workspace or the patch is damaged, or they do not fit together.
    """

    name = "jaxlik.histfactory"

    def __init__(self, signal_patch: list[dict], background_only_model: dict | str | Path):
        if isinstance(background_only_model, (str, Path)):
            background_only_model = _json_file(Path(background_only_model))
        self.workspace = PatchedWorkspace(background_only_model, signal_patch)
        workspace = self.workspace
        super().__init__(
            workspace,
            workspace.fit,
            workspace.observed,
            workspace.apriori,
            poi=workspace.poi,
            lowest=workspace.lowest,
        )

    @property
    def is_alive(self) -> bool:
        """Whether the patch adds any events."""
        return self.workspace.is_alive

    def config(
        self, allow_negative_signal: bool = True, poi_upper_bound: float | None = None
    ) -> Any:
        """Parameters, starts and bounds as of the workspace."""
        known = self.workspace
        bounds = [(float(a), float(b)) for a, b in zip(known.lower, known.upper, strict=True)]
        highest = poi_upper_bound or bounds[self.poi][1]
        bounds[self.poi] = (self.lowest if allow_negative_signal else 0.0, highest)
        return ModelConfig(
            poi_index=self.poi,
            minimum_poi=known.minimum_poi,
            suggested_init=[float(value) for value in known.init],
            suggested_bounds=bounds,
            parameter_names=list(known.parameter_names),
            suggested_fixed=[bool(value) for value in known.fixed],
        )

    def get_sampler(self, pars: np.ndarray) -> Callable[..., np.ndarray]:
        """Pseudo-data; seeded from NumPy's global state as those of spey."""

        def sampler(sample_size: int, include_auxiliary: bool = True) -> np.ndarray:
            seed = poisson(1e9).rvs(size=4)
            generator = np.random.default_rng(seed)
            return self.workspace.sample(pars, sample_size, generator, auxiliary=include_auxiliary)

        return sampler

    def combine(self, other: Any, **kwargs: Any) -> "HistFactoryWorkspace":
        """Both workspaces in one fit; parameters of the same name are shared, as pyhf does it.

        Args:
            other: Another backend of this kind.
            kwargs: ``join`` and ``merge_channels`` of `pyhf.Workspace.combine`.

        Raises:
            ConfigError: the other backend is of another kind, or pyhf cannot join them.
        """
        import pyhf
        from pyhf.exceptions import InvalidWorkspaceOperation

        if not isinstance(other, HistFactoryWorkspace):
            raise ConfigError(
                f"combination with {getattr(other, 'name', type(other).__name__)!r}; wanted "
                f"{self.name!r}: use spey.UnCorrStatisticsCombiner for independent models"
            )
        pair = [dict(one.workspace.document) for one in (self, other)]
        names = [m["name"] for m in pair[0]["measurements"]]
        # pyhf refuses two measurements of one name that differ; the first one counts.
        pair[1]["measurements"] = [
            {**m, "name": f"{m['name']}_right"} if m["name"] in names else m
            for m in pair[1]["measurements"]
        ]
        try:
            left, right = (pyhf.Workspace(one) for one in pair)
            joined = pyhf.Workspace.combine(left, right, **kwargs)
        except (InvalidWorkspaceOperation, ValueError) as error:
            raise ConfigError(f"combination of two workspaces: {error}") from error
        document = json.loads(json.dumps(joined))
        first = [m for m in document["measurements"] if m["name"] == names[0]]
        rest = [m for m in document["measurements"] if m["name"] != names[0]]
        return _patched({**document, "measurements": first + rest}, (self, other))


def _patched(document: dict, parts: Sequence[HistFactoryWorkspace]) -> HistFactoryWorkspace:
    """A joined workspace, its signal samples taken out and put back as a patch."""
    signals = {
        (channel["name"], sample["name"])
        for part in parts
        for channel, sample in part.workspace.signal_samples
    }
    patch, channels = [], []
    for number, channel in enumerate(document["channels"]):
        kept = [s for s in channel["samples"] if (channel["name"], s["name"]) not in signals]
        added = [s for s in channel["samples"] if (channel["name"], s["name"]) in signals]
        channels.append({**channel, "samples": kept})
        patch += [
            {"op": "add", "path": f"/channels/{number}/samples/-", "value": sample}
            for sample in added
        ]
    return HistFactoryWorkspace(patch, {**document, "channels": channels})


def _json_file(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"background_only_model {path}: {error}; wanted a JSON file"
        ) from error
