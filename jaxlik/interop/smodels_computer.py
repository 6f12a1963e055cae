"""jaxlik as the statistics computer of SModelS 3.2.

Inside `use_jaxlik()` theory predictions of SModelS take likelihoods, best signal strengths, CLs and
upper limits from jaxlik: closed forms, certified fits, roots to 1e-7. SModelS itself stays
as it is; what SModelS is asked for afterwards comes from its own computers again.

    from jaxlik.interop.smodels_computer import use_jaxlik

    with use_jaxlik():
        predictions = theoryPredictionsFor(database, topologies)
        for prediction in predictions:
            prediction.computeStatistics()

Predictions keep the computer that they were first asked with.
"""

import json
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from jaxlik.database.records import CovarianceRecord, WorkspaceRecord
from jaxlik.database.workspace_signal import flatten_with_signal
from jaxlik.errors import ConfigError
from jaxlik.interop.smodels_curves import (
    CountingFamily,
    SharedSimplified,
    SimplifiedFamily,
    WorkspaceFamily,
)
from jaxlik.interop.smodels_statistics import (
    JaxlikCombination,
    JaxlikComputer,
    JaxlikTruncatedGaussian,
)
from jaxlik.precision import require_x64
from jaxlik.statmodels.build import build
from jaxlik.statmodels.histfactory_signal import pack_signal
from jaxlik.statmodels.packing import pack_workspace

EXCESS_OF_LIMITS = 0.6
"""Only this correction of expected limits (SModelS's ``corr``) is known here."""


class JaxlikRetriever:
    """Makes computers for SModelS, as `smodels.statistics.statsTools.CompRetriever` does.

    Likelihoods without signal are kept as long as the result they belong to.

    Args:
        compat: Reproduce the departures of SModelS from exact results (`jaxlik.verdict.compat`).
    """

    def __init__(self, *, compat: bool = False):
        self.compat = compat
        # Infos of SModelS have no hash.
        self._shared: dict[int, tuple[weakref.ref, dict[str, Any]]] = {}

    def _known(self, global_info: Any, region_set: str, make: Callable[[], Any]) -> Any:
        key = id(global_info)
        if key not in self._shared:
            forget = weakref.ref(global_info, lambda _: self._shared.pop(key, None))
            self._shared[key] = (forget, {})
        known = self._shared[key][1]
        if region_set not in known:
            known[region_set] = make()
        return known[region_set]

    def forSingleBin(
        self,
        regionSet: str,
        dataset: Any,
        nsigDict: dict[str, float],
        deltas_rel: float = 0.2,
        lumi: Any = None,
    ) -> JaxlikComputer:
        """One signal region; uncertainties of signals have no effect, as in SModelS."""
        _check_name(regionSet, dataset.getID())
        info, signal = dataset.dataInfo, float(sum(nsigDict.values()))
        numbers = (info.observedN, info.expectedBG, info.bgError)
        family = CountingFamily(signal, *map(float, numbers), compat=self.compat)
        lumi = dataset.getLumi() if lumi is None else lumi
        return JaxlikComputer(family, regionSet, "1bin", signal / lumi)

    def forMultiBinSL(
        self,
        regionSet: str,
        dataset: Any,
        nsigDict: dict[str, float],
        deltas_rel: float | None = 0.0,
    ) -> JaxlikComputer:
        """A simplified likelihood, with third moments where all regions have them."""
        info = dataset.globalInfo
        regions, covariance_name = info.regionSets[regionSet], _model_of(info, regionSet, "sl")

        def shared() -> SharedSimplified:
            found = [dataset.getDataSet(region) for region in regions]
            missing = [r for r, one in zip(regions, found, strict=True) if one is None]
            if missing:
                raise ConfigError(f"{info.id}: region set {regionSet} names {missing}, not there")
            data = [one.dataInfo for one in found]
            moments = [getattr(one, "thirdMoment", None) for one in data]
            record = CovarianceRecord(
                info.id,
                tuple(regions),
                np.array([one.observedN for one in data], float),
                np.array([one.expectedBG for one in data], float),
                np.array(info.cachedModels[covariance_name], float),
                None if None in moments else np.array(moments, float),
            )
            return SharedSimplified(build(record), compat=self.compat)  # type: ignore[reportArgumentType]

        signal = np.array([float(nsigDict.get(region, 0.0)) for region in regions])
        family = SimplifiedFamily(self._known(info, regionSet, shared), signal)
        total = float(signal.sum()) / dataset.getLumi()
        return JaxlikComputer(family, covariance_name, "SL", total)

    def forPyhf(self, regionSet: str, dataset: Any, nsigDict: dict[str, float]) -> JaxlikComputer:
        """A HistFactory workspace, patched as SModelS patches it."""
        info = dataset.globalInfo
        file_name = _model_of(info, regionSet, "pyhf", "full_pyhf")

        def packed() -> tuple:
            record = WorkspaceRecord(
                info.id,
                file_name,
                _as_json(info.cachedModels[file_name]),
                "",
                tuple(_region(info.regionMappings[label]) for label in info.regionSets[regionSet]),
                bool(getattr(info, "includeCRs", False)),
                float(getattr(info, "signalUncertainty", None) or 0.0),
            )
            flat, where = flatten_with_signal(record)
            model = pack_workspace(flat)
            return model, pack_signal(where, model), flat.poi, where.region_ids

        model, where, poi, names = self._known(info, regionSet, packed)
        label = {info.regionMappings[r]["smodels"]: r for r in info.regionSets[regionSet]}
        signal = np.array([float(nsigDict.get(label[name], 0.0)) for name in names])
        family = WorkspaceFamily(model, where, poi, signal)
        total = float(sum(nsigDict.values())) / dataset.getLumi()
        return JaxlikComputer(family, file_name, "pyhf", total)

    def forNNs(self, regionSet: str, dataset: Any, nsigDict: dict[str, float]) -> Any:
        """SModelS's own computer: networks stay with SModelS."""
        from smodels.statistics.statsTools import CompRetriever

        return CompRetriever.forNNs(regionSet=regionSet, dataset=dataset, nsigDict=nsigDict)

    def forTruncatedGaussian(
        self, theorypred: Any, corr: float = EXCESS_OF_LIMITS
    ) -> JaxlikTruncatedGaussian | None:
        """From the limits of an upper-limit result; None where it has no expected one."""
        from smodels.statistics.basicStats import apriori, observed

        if corr != EXCESS_OF_LIMITS:
            raise ConfigError(f"corr is {corr:g}, wanted {EXCESS_OF_LIMITS:g}")
        limits = [
            theorypred.dataset.getUpperLimitFor(
                sms=theorypred.avgSMS, txnames=theorypred.txnames, evaluationType=kind
            )
            for kind in (observed, apriori)
        ]
        if any(limit is None for limit in limits):
            return None
        on_mu = [float((limit / theorypred.xsection).asNumber()) for limit in limits]
        return JaxlikTruncatedGaussian(on_mu[0], on_mu[1], theorypred.xsection)

    def forAnalysesComb(self, theoryPredictions: Sequence[Any], deltas_rel: float | None) -> Any:
        """The product of all; SModelS's own where a member is not a computer of jaxlik."""
        members = [
            (prediction.analysisId(), prediction.statsComputer.getMostSensitiveModel())
            for prediction in theoryPredictions
        ]
        if not all(isinstance(member, JaxlikComputer) for _, member in members):
            from smodels.statistics.statsTools import CompRetriever

            return CompRetriever.forAnalysesComb(list(theoryPredictions), deltas_rel)
        total = theoryPredictions[0].xsection
        for prediction in theoryPredictions[1:]:
            total = total + prediction.xsection
        combination = JaxlikCombination(members, total, compat=self.compat)
        combination.allowNegativeSignals = all(
            prediction.statsComputer.allowNegativeSignals for prediction in theoryPredictions
        )
        return combination


class use_jaxlik:
    """Make SModelS take its statistics from jaxlik, from this call on.

    As a context manager it ends with the block, else with `restore`. Nested uses end in reverse
    order.

    Args:
        compat: Reproduce the departures of SModelS from exact results (`jaxlik.verdict.compat`).

    Raises:
        PrecisionError: JAX is set to 32-bit floats.
    """

    def __init__(self, *, compat: bool = False):
        require_x64()
        from smodels.statistics import statsTools

        retriever = JaxlikRetriever(compat=compat)
        self._module = statsTools
        self._before = statsTools.getCompRetrieverModule
        self._here = lambda: retriever
        statsTools.getCompRetrieverModule = self._here  # type: ignore[reportAttributeAccessIssue]

    def restore(self) -> None:
        """Give SModelS back the computers it had before; a second call does nothing."""
        if self._module.getCompRetrieverModule is self._here:
            self._module.getCompRetrieverModule = self._before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


def _check_name(region_set: str, dataset_id: str) -> None:
    if region_set != dataset_id:
        raise ConfigError(f"region set {region_set!r} given for data set {dataset_id!r}")


def _model_of(info: Any, region_set: str, *kinds: str) -> str:
    """File of the first statistical model of a region set, which must be of some kind."""
    models = info.statModels.get(region_set) or [("none", "")]
    kind, name = models[0]
    if kind not in kinds:
        raise ConfigError(
            f"{info.id}: first model of region set {region_set!r} is of kind {kind!r}, wanted "
            f"{' or '.join(kinds)}"
        )
    return name


def _as_json(document: dict | str) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _region(mapping: dict) -> dict:
    """A region of SModelS 3.2 as the reader of workspaces wants it."""
    name, _, rest = mapping["pyhf"].partition("[")
    return {
        "smodels": mapping["smodels"],
        "pyhf": name,
        "bin": int(rest.rstrip("]")) if rest else None,
        "type": mapping["type"],
    }
