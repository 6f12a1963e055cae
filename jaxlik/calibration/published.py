"""The published runs of arXiv:2012.12246: their K, and the p-value that follows.

An archive (or unpacked folder) holds `K_values.json`: best K, Z, masses of each run. Families
are pseudo-databases of the Standard Model (`fake`), real data (`real`), and injected signals.
"""

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik.calibration.global_p import GlobalP, Summary, global_p, summary
from jaxlik.errors import DatabaseError

FILE = "K_values.json"

FAMILIES = {
    "fake": "Standard Model, sampled",
    "real": "real data",
    "narrowfudged": "signal within 100 GeV, sampled with errors x 0.65 (Fig. 10)",
    "signal": "signal within 400 GeV, sampled",
    "scaled": "signal within 400 GeV, sampled with errors x 0.65",
    "narrow": "signal within 100 GeV, sampled",
    "cryo": "signal within 100 GeV, no sampling (Fig. 11)",
    "frozen": "signal within 400 GeV, no sampling",
    "double": "twice the signal, sampled",
    "iced": "twice the signal, no sampling",
}
"""Names of the families and what was done in them."""


@dataclass(frozen=True)
class PublishedRun:
    """Best model of one published run.

    Attributes:
        name: Of the run, e.g. ``fake17``.
        K: Test statistic.
        masses: GeV by PDG number.
    """

    name: str
    K: float
    masses: dict[int, float]


def read_published(path: str | Path) -> dict[str, list[PublishedRun]]:
    """Published runs by family, in the order of `FAMILIES`.

    Raises:
        DatabaseError: no such file, or it holds no table of runs.
    """
    document = _document(Path(path))
    try:
        families: Mapping[str, Mapping[str, Any]] = document["runs"]
        found = {
            family: [
                PublishedRun(
                    f"{family}{number}",
                    float(run["K"]),
                    {int(pid): float(mass) for pid, mass in run["masses"].items()},
                )
                for number, run in sorted(families[family].items(), key=lambda item: int(item[0]))
            ]
            for family in FAMILIES
            if family in families
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatabaseError(f"{path}: {FILE} is damaged ({error!r}); wanted runs with K") from None
    if not (found.get("fake") and found.get("real")):
        raise DatabaseError(f"{path}: {FILE} holds no families fake and real")
    return found


def published_p(runs: Mapping[str, list[PublishedRun]]) -> GlobalP:
    """The published definition: mean K of all runs on real data among those of `fake`."""
    observed = float(np.mean([run.K for run in runs["real"]]))
    return global_p(observed, [run.K for run in runs["fake"]])


def published_summaries(runs: Mapping[str, list[PublishedRun]]) -> dict[str, Summary]:
    """Distribution of K in each family."""
    return {name: summary([run.K for run in some]) for name, some in runs.items()}


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            (file,) = path.rglob(FILE)
            return json.loads(file.read_text(encoding="utf-8"))
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(FILE) else None
                if stream is not None:
                    return json.loads(stream.read().decode("utf-8"))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DatabaseError(f"{path}: cannot be read ({error}); wanted a folder or tar archive "
                            f"with {FILE}") from None  # fmt: skip
    raise DatabaseError(f"{path}: holds no {FILE}")
