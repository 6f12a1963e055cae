"""Predictions of SModelS 3.1 for a folder of SLHA files; run by `benchmarks.points`.

    PYTHON_OF_SMODELS points_smodels.py DATABASE_FOLDER MODELS OUT.json

Results with workspaces give their best region, since fits of full likelihoods take minutes
each; those with a covariance matrix are combined.
"""

import json
import sys
import time
from pathlib import Path

started = time.perf_counter()

from smodels.base.model import Model  # noqa: E402
from smodels.base.physicsUnits import GeV, fb  # noqa: E402
from smodels.decomposition import decomposer  # noqa: E402
from smodels.experiment.databaseObj import Database  # noqa: E402
from smodels.matching.theoryPrediction import theoryPredictionsFor  # noqa: E402
from smodels.share.models.mssm import BSMList  # noqa: E402
from smodels.share.models.SMparticles import SMList  # noqa: E402


def main(root: str, models: str, target: str) -> None:
    """Judge every file of a folder and write times and largest r-values."""
    database = Database(root)
    for result in database.getExpResults():
        if hasattr(result.globalInfo, "jsonFiles"):
            del result.globalInfo.jsonFiles
    ready = time.perf_counter() - started
    rows = []
    for path in sorted(Path(models).glob("*.slha")):
        begun = time.perf_counter()
        model = Model(BSMparticles=BSMList, SMparticles=SMList)
        model.updateParticles(inputFile=str(path), ignorePromptQNumbers=[])
        found = decomposer.decompose(
            model,
            0.005 * fb,
            massCompress=True,
            invisibleCompress=True,
            minmassgap=5 * GeV,
            minmassgapISR=1 * GeV,
        )
        predictions = theoryPredictionsFor(
            database, found, combinedResults=True, useBestDataset=True
        )
        ratios = [prediction.getRValue() for prediction in predictions]
        seconds = time.perf_counter() - begun
        numbers = [float(r) for r in ratios if r is not None]
        rows.append({"name": path.name, "seconds": seconds, "r": sorted(numbers)})
    whole = time.perf_counter() - started
    Path(target).write_text(json.dumps({"ready": ready, "whole": whole, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
