"""Verdicts on reference points beside those of SModelS 3.1.1, as a table.

    python -m benchmarks.golden_points POINTS DATABASE

POINTS holds SLHA files and what SModelS 3.1.1 says about them (JSON). Columns: predictions and
whether the same results, regions and topologies are found; largest relative difference of cross
sections, of r from tabulated limits, and of r from limits on mu, exact and with
`--compat smodels`; largest r and verdict of both.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.database.compile import load_database
from jaxlik.fit.runtime import prepare
from jaxlik.physics.spectrum_file import read_spectrum
from jaxlik.topologies.decompose import Rules
from jaxlik.verdict.atlas import Atlas
from jaxlik.verdict.likelihoods import Likelihoods
from jaxlik.verdict.predictions import EFFICIENCY_MAP, Prediction, predict


def differences(
    document: dict[str, Any], found: list[Prediction], both: tuple[Likelihoods, Likelihoods]
) -> dict[str, Any]:
    """How one point compares."""
    regions = {(p.folder, p.region): p for p in found if p.kind == EFFICIENCY_MAP}
    wanted = {
        (folder, row["sr"]): row for folder, rows in document["em_allSR"].items() for row in rows
    }
    limits: dict[tuple, list[float]] = {}
    theirs: dict[tuple, list[float]] = {}
    for p in found:
        if p.kind != EFFICIENCY_MAP:
            limits.setdefault((p.folder, p.txnames[0]), []).append(p.r)
    for row in document["best"]:
        if row["type"] == "upperLimit":
            theirs.setdefault((row["folder"], row["tx"][0]), []).append(row["r_obs"])
    same = set(regions) == set(wanted) and set(limits) == set(theirs)
    same &= all(regions[key].txnames == tuple(sorted(row["tx"])) for key, row in wanted.items())
    same &= all(len(limits[key]) == len(theirs[key]) for key in theirs)
    section = [regions[key].cross_section / row["xsec_fb"] - 1 for key, row in wanted.items()]
    tabulated = [regions[key].r / row["r_obs"] - 1 for key, row in wanted.items() if row["r_obs"]]
    for key, values in theirs.items():
        pairs = zip(sorted(limits[key]), sorted(values), strict=True)
        tabulated += [mine / other - 1 for mine, other in pairs]
    computed = []
    folders = {row["folder"]: row for row in document["combined"]}
    mine = [p for p in found if p.folder in folders]
    for likelihoods in both:
        ratios = [
            voice.prediction.r / folders[voice.prediction.folder]["r_obs"] - 1
            for voice in likelihoods.voices(mine)
        ]
        computed.append(np.max(np.abs(ratios)) if ratios else None)
    best = [v.prediction.r for v in both[0].voices(found, combine=False)]
    largest = max([*best, *(r for values in limits.values() for r in values)])
    reference = max(row["r_obs"] for row in document["best"])
    return {
        "predictions": len(wanted) + sum(map(len, theirs.values())),
        "same": same,
        "section": np.max(np.abs(section)) if section else None,
        "tabulated": np.max(np.abs(tabulated)),
        "combined": len(folders),
        "exact": computed[0],
        "compat": computed[1],
        "r": largest,
        "verdict": "excluded" if largest > 1 else "allowed",
        "agreed": (largest > 1) == (reference > 1),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path)
    parser.add_argument("database")
    options = parser.parse_args()
    prepare(quiet=True)
    atlas = Atlas(load_database(options.database))
    both = Likelihoods(atlas), Likelihoods(atlas, compat=True)
    print(
        "| point | predictions | same | σ | r tabulated | joint | r computed, exact | compat | "
        "largest r | verdict |\n|---|---|---|---|---|---|---|---|---|---|"
    )

    def small(value: float | None) -> str:
        return "" if value is None else f"{value:.0e}"

    for path in sorted(options.points.glob("*.json")):
        document = json.loads(path.read_text())
        given = document["params"]
        rules = Rules(given["sigmacut_fb"], given["minmassgap"], given["minmassgapISR"])
        sights = atlas.look([read_spectrum(path.with_suffix(".slha"))], rules)
        row = differences(document, predict(atlas, sights)[0], both)
        print(
            f"| {path.stem} | {row['predictions']} | {'yes' if row['same'] else 'NO'} | "
            f"{small(row['section'])} | {small(row['tabulated'])} | {row['combined']} | "
            f"{small(row['exact'])} | {small(row['compat'])} | {row['r']:.3g} | "
            f"{row['verdict']}{'' if row['agreed'] else ' (SModelS differs)'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
