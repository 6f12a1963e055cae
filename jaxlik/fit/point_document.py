"""The verdict on a model as a JSON document, `jaxlik/point/1`, and as one row of a table.

``gradient`` holds derivatives of r: ``masses`` by PDG number [1/GeV], ``branching_ratios`` by
``mother -> daughters``, ``signal_strengths`` by the particles produced. Zeros are left out.
"""

import math
from typing import Any

from jaxlik.inference.curves import EXPECTED, OBSERVED
from jaxlik.physics.spectrum import Spectrum
from jaxlik.verdict.atlas import Atlas
from jaxlik.verdict.gradients import Gradient
from jaxlik.verdict.point import Combination, Line, Verdict

SCHEMA = "jaxlik/point/1"
MANY_SCHEMA = "jaxlik/points/1"

ROW = (
    *("model", "status", "message", "excluded", "excluded_by_critic", "r_max", "analysis"),
    *("region", "topologies", "r_expected", "combination", "combination_r"),
    *("combination_r_expected", "mu_hat", "mu_max", "Z", "topologies_found", "notes", "seconds"),
)
"""Columns of the table of points."""


def document(verdict: Verdict, atlas: Atlas, name: str) -> dict[str, Any]:
    """Everything about one model."""
    spectrum = verdict.sight.decomposition.spectrum
    predictions = [_prediction(line, atlas, spectrum) for line in verdict.lines]
    combination = None
    if verdict.combination is not None:
        combination = _combination(verdict.combination, verdict, atlas, spectrum)
    return {
        "schema": SCHEMA,
        "model": name,
        "database": {"version": atlas.snapshot.version, "sha256": atlas.snapshot.sha256},
        "excluded": verdict.excluded,
        "excluded_by_critic": verdict.excluded_by_critic,
        "r_max": verdict.r_max,
        "topologies_found": len(verdict.sight.decomposition.origins),
        "notes": list(spectrum.notes),
        "predictions": predictions,
        "combination": combination,
    }


def row(verdict: Verdict, atlas: Atlas, name: str, seconds: float) -> dict[str, Any]:
    """One line of the table of points."""
    best = verdict.lines[0] if verdict.lines else None
    combined = verdict.combination
    found: dict[str, Any] = dict.fromkeys(ROW)
    found |= {
        "model": name,
        "status": "ok",
        "message": "",
        "excluded": verdict.excluded,
        "excluded_by_critic": verdict.excluded_by_critic,
        "r_max": verdict.r_max,
        "topologies_found": len(verdict.sight.decomposition.origins),
        "notes": " | ".join(verdict.sight.decomposition.spectrum.notes),
        "seconds": round(seconds, 4),
    }
    if best is not None:
        p = best.prediction
        found |= {
            "analysis": analysis_of(best, atlas),
            "region": p.region or p.kind,
            "topologies": " ".join(p.txnames),
            "r_expected": finite(p.r_expected),
        }
    if combined is not None:
        found |= {
            "combination": " ".join(analysis_of(verdict.lines[i], atlas) for i in combined.members),
            "combination_r": finite(combined.r),
            "combination_r_expected": finite(combined.r_expected),
            "mu_hat": finite(combined.mu_hat),
            "mu_max": finite(combined.mu_max),
            "Z": finite(combined.significance),
        }
    return found


def error_row(name: str, message: str) -> dict[str, Any]:
    """A line of the table of points for a model without a verdict."""
    return {**dict.fromkeys(ROW), "model": name, "status": "error", "message": message}


def error_document(name: str, message: str) -> dict[str, Any]:
    """The document of a model without a verdict."""
    return {"schema": SCHEMA, "model": name, "error": message}


def finite(value: float) -> float | None:
    """A number, or nothing where there is none."""
    return float(value) if math.isfinite(value) else None


def analysis_of(line: Line, atlas: Atlas) -> str:
    """Identifier of the analysis of a line."""
    return atlas.results[line.prediction.folder].provenance.analysis


def _prediction(line: Line, atlas: Atlas, spectrum: Spectrum) -> dict[str, Any]:
    p, voice = line.prediction, line.voice
    provenance = atlas.results[p.folder].provenance
    found: dict[str, Any] = {
        "analysis": provenance.analysis,
        "result": p.folder,
        "sqrts": provenance.sqrts,
        "doi": provenance.doi,
        "type": p.kind,
        "region": p.region,
        "topologies": list(p.txnames),
        "cross_section_fb": p.cross_section,
        "upper_limit_fb": finite(p.upper_limit),
        "upper_limit_expected_fb": finite(p.upper_limit_expected),
        "r": finite(p.r),
        "r_expected": finite(p.r_expected),
        "signal": finite(p.signal),
        "nll": None,
        "nll_expected": None,
        "mu_hat": None,
        "statistics": None,
        "gradient": None if line.gradient is None else _gradient(line.gradient, spectrum),
    }
    if voice is not None:
        both = [
            {
                "mu0": finite(voice.nll(0.0, dataset)),
                "mu1": finite(voice.nll(1.0, dataset)),
                "min": finite(voice.nll_min(dataset)),
            }
            for dataset in (OBSERVED, EXPECTED)
        ]
        found |= {
            "nll": both[0],
            "nll_expected": both[1],
            "mu_hat": finite(float(voice.best[0][OBSERVED])),
            "statistics": voice.workspace or voice.kind,
        }
    return found


def _combination(
    combined: Combination, verdict: Verdict, atlas: Atlas, spectrum: Spectrum
) -> dict[str, Any]:
    gradient = combined.gradient
    return {
        "analyses": [analysis_of(verdict.lines[i], atlas) for i in combined.members],
        "predictions": list(combined.members),
        "mu_hat": finite(combined.mu_hat),
        "mu_max": finite(combined.mu_max),
        "mu_max_expected": finite(combined.mu_max_expected),
        "Z": finite(combined.significance),
        "K": None,
        "r": finite(combined.r),
        "r_expected": finite(combined.r_expected),
        "nll": dict(zip(("mu0", "mu1", "min"), map(finite, combined.nll), strict=True)),
        "gradient": None if gradient is None else _gradient(gradient, spectrum),
    }


def _gradient(gradient: Gradient, spectrum: Spectrum) -> dict[str, dict[str, float]]:
    decays, modes = spectrum.decays, spectrum.productions
    return {
        "masses": {str(pid): value for pid, value in gradient.masses.items()},
        "branching_ratios": {
            f"{decays[n].mother} -> {' '.join(map(str, decays[n].daughters))}": value
            for n, value in gradient.branching_ratios.items()
        },
        "signal_strengths": {
            " ".join(map(str, modes[n].pids)): value
            for n, value in gradient.signal_strengths.items()
        },
    }
