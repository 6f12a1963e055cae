"""What SModelS itself predicts, as plain records: an oracle for tests and benchmarks.

SModelS runs unchanged on a copy of a few results of a text database. Nothing in the
library needs this module; it may be slow.
"""

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from smodels.base.model import Model
from smodels.base.physicsUnits import GeV, TeV, fb
from smodels.decomposition import decomposer
from smodels.decomposition.topologyDict import TopologyDict
from smodels.experiment.databaseObj import Database
from smodels.matching.theoryPrediction import TheoryPrediction, theoryPredictionsFor
from smodels.share.models.mssm import BSMList
from smodels.share.models.SMparticles import SMList
from smodels.statistics.basicStats import apriori, observed

from jaxlik.database.smodels_reader import result_folders
from jaxlik.errors import DatabaseError
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.slha import write_slha


@dataclass(frozen=True)
class OracleSettings:
    """Parameters of the decomposition, with the defaults of jaxlik's golden points.

    Attributes:
        minimum_weight: Topologies below this weight are dropped [fb].
        mass_gap: Mass differences below this are compressed [GeV].
        mass_gap_isr: The same for topologies with nothing else visible [GeV].
        mass_distance: Largest distance of topologies in one cluster.
    """

    minimum_weight: float = 0.005
    mass_gap: float = 5.0
    mass_gap_isr: float = 1.0
    mass_distance: float = 0.2


@dataclass(frozen=True)
class OracleTopology:
    """One simplified-model topology of a model.

    Attributes:
        text: Process string of SModelS.
        canonical_name: Its canonical name.
        weight: Cross section times branching ratios [fb], at 8 and 13 TeV.
    """

    text: str
    canonical_name: int
    weight: tuple[float, float]


@dataclass(frozen=True)
class OraclePrediction:
    """Prediction for one signal region, or for one cluster of an upper-limit result.

    Limits and r values are ``nan`` where SModelS gives none.

    Attributes:
        folder: Folder of the result in the database.
        region: Signal region, or ``None`` for upper limits and combined results.
        kind: ``upper_limit``, ``efficiency_map`` or ``combined``.
        txnames: Topologies that contribute, sorted.
        cross_section: Cross section times efficiency, or of the cluster [fb].
        upper_limit: Observed upper limit on it [fb].
        upper_limit_expected: Expected upper limit on it [fb].
        ratio: Predicted over allowed cross section, observed.
        ratio_expected: The same with the expected limit.
    """

    folder: str
    region: str | None
    kind: str
    txnames: tuple[str, ...]
    cross_section: float
    upper_limit: float
    upper_limit_expected: float
    ratio: float
    ratio_expected: float


def oracle_database(root: Path, folders: Sequence[str], workplace: Path) -> Database:
    """Load results of a text database into SModelS.

    Args:
        root: Root folder of the database.
        folders: Names of the result folders, e.g. ``CMS-SUS-16-039-agg``.
        workplace: Empty folder for a copy, in which SModelS leaves its pickles.

    Raises:
        DatabaseError: a result is not in the database.
    """
    known = {folder.name: folder for folder in result_folders(root)}
    missing = sorted(set(folders) - set(known))
    if missing:
        raise DatabaseError(f"{root}: has no results {missing}; it has {len(known)} others")
    for name in folders:
        source = known[name]
        shutil.copytree(source, workplace / source.relative_to(root))
    shutil.copyfile(root / "version", workplace / "version")
    return Database(str(workplace), force_load="txt")


def decompose_file(path: Path, settings: OracleSettings | None = None) -> TopologyDict:
    """Decompose an SLHA file with cross sections."""
    settings = settings or OracleSettings()
    model = Model(BSMparticles=BSMList, SMparticles=SMList)
    model.updateParticles(inputFile=str(path), ignorePromptQNumbers=[])
    return decomposer.decompose(
        model,
        settings.minimum_weight * fb,
        massCompress=True,
        invisibleCompress=True,
        minmassgap=settings.mass_gap * GeV,
        minmassgapISR=settings.mass_gap_isr * GeV,
    )


def decompose_point(
    space: ModelSpace,
    point: ModelPoint,
    cross_sections: np.ndarray,
    settings: OracleSettings | None = None,
) -> TopologyDict:
    """Decompose a model point.

    Args:
        space: Layout of the point.
        point: The model.
        cross_sections: fb, ``production energy``, signal strengths included.
        settings: Parameters of the decomposition.
    """
    with tempfile.TemporaryDirectory(prefix="jaxlik-") as folder:
        path = Path(folder) / "model.slha"
        write_slha(path, space, point, cross_sections)
        return decompose_file(path, settings)


def topologies(decomposition: TopologyDict) -> list[OracleTopology]:
    """All topologies of a decomposition, the heaviest first."""
    found = []
    for sms in decomposition.getSMSList():
        weight = {8.0: 0.0, 13.0: 0.0}
        for entry in sms.weightList or ():
            weight[float(entry.info.sqrts.asNumber(TeV))] = float(entry.value.asNumber(fb))
        pair = (weight[8.0], weight[13.0])
        found.append(OracleTopology(str(sms), int(sms.canonName), pair))
    return sorted(found, key=lambda topology: -max(topology.weight))


def predictions(
    database: Database,
    decomposition: TopologyDict,
    *,
    best_region: bool = False,
    combined: bool = False,
    settings: OracleSettings | None = None,
) -> list[OraclePrediction]:
    """Predictions of SModelS for all results of a database.

    Args:
        database: From `oracle_database`.
        decomposition: From `decompose_file` or `decompose_point`.
        best_region: Only the most sensitive region of each result.
        combined: Also joint likelihoods of several regions (only those tags that the
            installed SModelS knows).
        settings: Parameters of the decomposition.
    """
    settings = settings or OracleSettings()
    found = theoryPredictionsFor(
        database,
        decomposition,
        maxMassDist=settings.mass_distance,
        useBestDataset=best_region,
        combinedResults=combined,
    )
    return [_record(prediction) for prediction in found]


KINDS = {
    "upperLimit": "upper_limit",
    "efficiencyMap": "efficiency_map",
    "combined": "combined",
}


def _record(prediction: TheoryPrediction) -> OraclePrediction:
    dataset = prediction.dataset
    assert dataset is not None
    kind = KINDS[str(prediction.dataType())]
    return OraclePrediction(
        folder=Path(dataset.globalInfo.path).parent.name,
        region=str(prediction.dataId()) if kind == "efficiency_map" else None,
        kind=kind,
        txnames=tuple(sorted({str(txname) for txname in prediction.txnames})),
        cross_section=_number(prediction.xsection),
        upper_limit=_number(prediction.getUpperLimit(observed)),
        upper_limit_expected=_number(prediction.getUpperLimit(apriori)),
        ratio=_number(prediction.getRValue(observed)),
        ratio_expected=_number(prediction.getRValue(apriori)),
    )


def _number(value: object) -> float:
    """A plain number; cross sections in fb, nothing as nan."""
    if value is None:
        return math.nan
    if hasattr(value, "asNumber"):
        return float(value.asNumber(fb))  # type: ignore[attr-defined]
    return float(value)  # type: ignore[arg-type]
