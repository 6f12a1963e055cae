"""Likelihoods of the results that see a model: single regions, and joint ones where published.

A result with a covariance matrix or workspaces speaks through them where at least two of its
regions see the model, else through its region of largest expected r (SModelS). Of several
workspaces the one with the lowest expected limit speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from jaxlik.database.records import Result, WorkspaceRecord
from jaxlik.database.workspace_signal import flatten_with_signal
from jaxlik.errors import ConvergenceError
from jaxlik.inference.curve_kinds import (
    BankCurves,
    CountingCurves,
    FourfoldBank,
    WorkspaceCurves,
)
from jaxlik.inference.curves import (
    DATA,
    EXPECTED,
    OBSERVED,
    CurveFit,
    Curves,
    SumOfCurves,
    fit_curves,
)
from jaxlik.statmodels.bank import StatModelBank, make_banks
from jaxlik.statmodels.build import build
from jaxlik.statmodels.histfactory_signal import pack_signal
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.statmodels.simplified import SimplifiedLikelihood
from jaxlik.statmodels.truncated_gaussian import SIGMAS_OF_LIMIT
from jaxlik.verdict.atlas import Atlas
from jaxlik.verdict.compat import (
    BoundedBankCurves,
    BoxedCountingCurves,
    BoxedFourfoldBank,
    ObservedAsAsimov,
)
from jaxlik.verdict.predictions import COMBINED, EFFICIENCY_MAP, Prediction, joined

REGION, COVARIANCE, WORKSPACE = "region", "covariance", "workspace"


@dataclass(frozen=True)
class Voice:
    """How one efficiency-map result speaks about a model.

    Attributes:
        prediction: Its region of largest expected r, or all regions combined.
        kind: ``region``, ``covariance`` or ``workspace``.
        curves: Its likelihood.
        members: Predictions of the regions on the axis of the curves; ``None`` where a region
            does not see the model.
        workspace: File of the workspace, if one speaks.
    """

    prediction: Prediction
    kind: str
    curves: Curves
    members: tuple[Prediction | None, ...]
    workspace: str = ""

    @cached_property
    def fit(self) -> CurveFit:
        """Best mu and limits on mu."""
        return fit_curves(self.curves)

    @cached_property
    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Best mu, not below zero, and -2 ln L there, observed and expected."""
        if self.kind == REGION:
            return self.curves.best()
        return self.fit.mu_hat, self.fit.lowest

    @property
    def sensitivity(self) -> float:
        """Expected -2 ln[L(1)/L(0)]; of joint results from their expected limit."""
        if self.kind == REGION:
            one, zero = (self.curves.at(np.full((2, 2), mu)).value for mu in (1.0, 0.0))
            return float(one[EXPECTED, DATA] - zero[EXPECTED, DATA])
        return (SIGMAS_OF_LIMIT / float(self.fit.limit[EXPECTED])) ** 2

    def nll(self, mu: float, dataset: int = OBSERVED) -> float:
        """-ln L at one mu with all constants."""
        return nll_at(self.curves, mu, dataset)

    def nll_min(self, dataset: int = OBSERVED) -> float:
        """-ln L at the best mu with all constants."""
        return 0.5 * float(self.best[1][dataset]) + float(self.curves.constants[dataset])


def nll_at(curves: Curves, mu: float, dataset: int = OBSERVED) -> float:
    """-ln L at one mu with all constants; nan where a workspace cannot be fitted.

    That happens at signals many thousands of standard deviations away from the data.
    """
    try:
        value = curves.at(np.full((2, 2), mu)).value[dataset, DATA]
    except ConvergenceError:
        return np.nan
    return 0.5 * float(value) + float(curves.constants[dataset])


class Likelihoods:
    """Statistical models of all results of a snapshot, made when first asked for.

    Args:
        atlas: Maps and records.
        compat: Depart from the exact result where SModelS does, `jaxlik.verdict.compat`.
    """

    def __init__(self, atlas: Atlas, *, compat: bool = False):
        self.atlas = atlas
        self.compat = compat
        self._counting = BoxedCountingCurves if compat else CountingCurves
        self._bank = BoundedBankCurves if compat else BankCurves
        self._four = BoxedFourfoldBank if compat else FourfoldBank
        self.number = {key: i for i, key in enumerate(atlas.regions)}
        self._known: dict[str, FourfoldBank] = {}
        self._workspaces: dict[tuple[str, str], tuple] = {}
        self.control = {
            (record.analysis_id, region["smodels"])
            for record in atlas.snapshot.workspaces
            for region in record.regions
            if region["type"] != "SR" and region["smodels"]
        }
        self.workspaces_of: dict[str, list[WorkspaceRecord]] = {}
        for record in atlas.snapshot.workspaces:
            self.workspaces_of.setdefault(record.analysis_id, []).append(record)

    def voices(self, predictions: Sequence[Prediction], *, combine: bool = True) -> list[Voice]:
        """One voice per efficiency-map result, in the order of the database.

        Args:
            predictions: Of one model.
            combine: Use joint likelihoods where published.
        """
        by_folder: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            if prediction.kind == EFFICIENCY_MAP:
                by_folder.setdefault(prediction.folder, []).append(prediction)
        found = []
        for folder, regions in by_folder.items():
            voice = self._joint(folder, regions) if combine and len(regions) > 1 else None
            voice = voice or self._best_region(folder, regions)
            if voice is not None:
                found.append(voice)
        return found

    def joint(self, voices: Sequence[Voice]) -> Curves:
        """The product of some likelihoods, as a curve in a common mu."""
        parts = [voice.curves for voice in voices]
        if self.compat:
            parts = [
                curves if voice.kind == WORKSPACE else ObservedAsAsimov(curves)
                for voice, curves in zip(voices, parts, strict=True)
            ]
        return SumOfCurves(parts)

    def _best_region(self, folder: str, regions: list[Prediction]) -> Voice | None:
        """The signal region of largest expected r."""
        known = [
            p
            for p in regions
            if (folder, p.region) not in self.control and (p.r_expected > 0 or len(regions) == 1)
        ]
        if not known:
            return None
        best = max(known, key=lambda p: (np.nan_to_num(p.r_expected), p.cross_section))
        row = self.number[folder, best.region or ""]
        atlas = self.atlas
        curves = self._counting(
            best.signal,
            float(atlas.observed[row]),
            float(atlas.background[row]),
            float(atlas.background_error[row]),
        )
        return Voice(best, REGION, curves, (best,))

    def _joint(self, folder: str, regions: list[Prediction]) -> Voice | None:
        result = self.atlas.results[folder]
        if result.covariance is not None:
            return self._by_covariance(result, regions)
        if folder in self.workspaces_of and any(
            (folder, p.region) not in self.control for p in regions
        ):
            return self._by_workspace(result, regions)
        return None

    def _by_covariance(self, result: Result, regions: list[Prediction]) -> Voice:
        assert result.covariance is not None
        folder = result.provenance.folder
        seen = {p.region: p for p in regions}
        members = tuple(seen.get(name) for name in result.covariance.region_ids)
        signal = np.array([p.signal if p else 0.0 for p in members])
        curves = self._bank(self._simplified(folder), signal)  # type: ignore[reportArgumentType]
        return _joint_voice(regions, COVARIANCE, curves, fit_curves(curves), members)

    def _by_workspace(self, result: Result, regions: list[Prediction]) -> Voice | None:
        folder = result.provenance.folder
        seen = {p.region: p for p in regions}
        found = []
        for record in self.workspaces_of[folder]:
            model, where, poi, names = self._packed(record)
            members = tuple(seen.get(name) for name in names)
            signal = np.array([p.signal if p else 0.0 for p in members])
            if not np.any(signal > 0):
                continue
            curves = WorkspaceCurves(model, where, poi, signal)
            fit = fit_curves(curves)
            found.append((fit.limit[EXPECTED], record.name, curves, fit, members))
        if not found:
            return None
        _, name, curves, fit, members = min(found, key=lambda row: row[0])
        return _joint_voice(regions, WORKSPACE, curves, fit, members, name)

    def _simplified(self, folder: str) -> FourfoldBank:
        """The simplified likelihood of a result."""
        if folder not in self._known:
            bank, row, model = self._banks[folder]
            expected = model.with_observed(model.background)
            constants = np.array([float(one.nll_constant()) for one in (model, expected)])
            self._known[folder] = self._four(bank, row, constants)
        return self._known[folder]

    @cached_property
    def _banks(self) -> dict[str, tuple[StatModelBank, int, SimplifiedLikelihood]]:
        """Bank, position in it, and likelihood of each result with a covariance."""
        chosen = [result for result in self.atlas.snapshot.results if result.covariance is not None]
        models: list[SimplifiedLikelihood] = [build(r.covariance) for r in chosen]  # type: ignore[reportArgumentType]
        return {
            chosen[index].provenance.folder: (bank, row, models[index])
            for bank in make_banks(models)
            for row, index in enumerate(np.asarray(bank.model_index))
        }

    def _packed(self, record: WorkspaceRecord) -> tuple:
        key = (record.analysis_id, record.name)
        if key not in self._workspaces:
            flat, where = flatten_with_signal(record)
            model = pack_workspace(flat)
            packed = pack_signal(where, model)
            self._workspaces[key] = (model, packed, flat.poi, where.region_ids)
        return self._workspaces[key]


def _joint_voice(
    regions: list[Prediction],
    kind: str,
    curves: Curves,
    fit: CurveFit,
    members: tuple[Prediction | None, ...],
    workspace: str = "",
) -> Voice:
    """A voice whose fit is known."""
    voice = Voice(_combined(regions, fit), kind, curves, members, workspace)
    voice.__dict__["fit"] = fit
    return voice


def _combined(regions: list[Prediction], fit: CurveFit) -> Prediction:
    """The regions of a result as one prediction, its limit that on mu."""
    cross_section = sum(p.cross_section for p in regions)
    limits = fit.limit * cross_section
    return replace(
        regions[0],
        kind=COMBINED,
        region=None,
        txnames=tuple(sorted({name for p in regions for name in p.txnames})),
        cross_section=cross_section,
        upper_limit=float(limits[OBSERVED]),
        upper_limit_expected=float(limits[EXPECTED]),
        signal=sum(p.signal for p in regions),
        terms=joined([p.terms for p in regions]),
        num_topologies=sum(p.num_topologies for p in regions),
    )
