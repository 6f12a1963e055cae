"""The document of a run, `jaxlik/run/1`: plain numbers and names, ready for JSON.

Top level: ``schema``, ``status``, ``mode``, ``seed``, ``walkers``, ``steps``,
``seconds``, ``steps_per_second``, ``database`` {``version``, ``sha256``}, ``yields`` of the
search (``exact`` or ``networks``), ``best``: a list of models, best first, ``references``
{analysis: {``experiment``, ``sqrts``, ``luminosity``, ``title``, ``arxiv``, ``doi``}}. A step
is one step of all walkers; their rate leaves out the first block, which waits for the
compiler, ``seconds`` does not.

All numbers of a model are quoted at mu_hat: signal strengths, cross sections,
signals and r-values are multiplied by it, so that the written model has mu = 1.

===================== ============================================================
``K``, ``Z``          test statistic and sqrt(2 ln(L(mu_hat)/L(0)))
``log_prior``         ln pi
``r_max``             largest r-value the critic counts
``mu_hat``            preferred signal strength, absorbed in the numbers below
``at_bound``          whether the critic holds mu_hat back
``particles``         {pid: {``mass`` [GeV], ``name``}}
``branching_ratios``  {pid: {"(daughter, SM pid, ...)": fraction}}
``signal_strengths``  {"(pid, pid)": factor on the reference cross section}
``cross_sections``    {"(pid, pid)": {"8": fb, "13": fb}}
``combination``       [{``analysis``, ``result``, ``experiment``, ``sqrts`` [TeV],
                      ``type``, ``region``, ``observed``, ``background``,
                      ``background_error``, ``signal``, ``log_ratio``}]
``r_values``          [{``analysis``, ``result``, ``type``, ``region``, ``topologies``,
                      ``r``, ``r_expected``}], largest first
``critic``            {``threshold`` and ``r_max``; ``cls`` of the model by the most
                      sensitive combination of ``analyses``}
``contributions``     {``particles``: {pid: {``K``, ``loss``}}, ``analyses``: {analysis:
                      {``K``, ``loss``}}}: K without each, and how much that is less
``networks``          only where learned yields took part: what they say (``K``, ``Z``,
                      ``r_max``), half widths of their 90 % bands (``K_band``, ``r_band``
                      relative to r_max), topologies in the rim of a grid (``fading``), and
                      whether all other numbers are ``exact``
``likelihood_scan``   of the best model only: {``mu``, ``curves``: [{``analysis``,
                      ``result``, ``values`` of -2 ln(L/L(0))}], ``mu_hat``, ``mu_max``}
===================== ============================================================

``type`` is ``efficiency_map`` (events of one region), ``combined`` (joint likelihood:
counts are sums over its ``num_regions`` regions, ``region`` is the most sensitive one,
whose numbers are in ``best_region``) or ``upper_limit`` (``observed`` and
``background`` are the observed and expected limit in fb, ``signal`` is in fb,
``topology`` is the one it was met in).
``log_ratio`` is 2 ln(L(mu_hat)/L(0)). Undefined numbers are ``null``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlik.engine import Engine
from jaxlik.evaluation import JointModels
from jaxlik.fit.inspection import Inspection
from jaxlik.fit.labels import Labels
from jaxlik.physics.cross_sections import ENERGIES
from jaxlik.physics.model import ModelPoint, ModelSpace, point_to_dict
from jaxlik.physics.particles import particle
from jaxlik.statmodels import poisson

SCHEMA = "jaxlik/run/1"

MIN_R = 1e-3
"""Smaller r-values are not listed."""

Topologies = Mapping[str, Sequence[str]]
"""Topologies through which each efficiency-map result sees a model, by its folder."""


def run_document(best: Sequence[Mapping[str, Any]], **entries: Any) -> dict[str, Any]:
    """The document of a whole run.

    Args:
        best: Models, from `model_document`.
        entries: The other keys of the top level.
    """
    return finite({"schema": SCHEMA, **entries, "best": list(best)})


def model_document(
    engine: Engine,
    labels: Labels,
    inspection: Inspection,
    *,
    contributions: Mapping[str, Any] | None = None,
    topologies: Topologies | None = None,
) -> dict[str, Any]:
    """One model with everything that explains its score.

    Args:
        engine: What scored it.
        labels: Names on the engine's axes.
        inspection: From `inspect`.
        contributions: How much K falls without each particle and analysis.
        topologies: For the r-values of efficiency-map results.
    """
    e, mu = inspection.evaluation, inspection.mu_hat
    document = {
        "K": inspection.score,
        "Z": math.sqrt(inspection.z_squared),
        "log_prior": float(e.prior.log_prior),
        "r_max": inspection.r_max,
        "mu_hat": mu,
        "at_bound": mu >= float(e.mu_max) * (1 - 1e-6),
        **point_entries(engine.space, inspection.point, mu),
        "cross_sections": _cross_sections(engine.space, np.asarray(e.prediction.production), mu),
        "combination": _combination(engine, labels, inspection),
        "r_values": r_values(engine, labels, inspection, topologies or {}),
        "critic": _critic(engine, labels, inspection),
        "contributions": contributions or {"particles": {}, "analyses": {}},
        "complete": not inspection.overflow,
    }
    return finite(document)


def _critic(engine: Engine, labels: Labels, inspection: Inspection) -> dict[str, Any]:
    """What the critic heard: the bound on r-values, and the most sensitive combination."""
    e = inspection.evaluation
    members = np.flatnonzero(e.critical)
    return {
        "threshold": float(engine.settings.threshold),
        "r_max": inspection.r_max,
        "cls": float(e.cls) if len(members) else None,
        "analyses": [labels.candidates[i].analysis for i in members],
    }


def point_entries(space: ModelSpace, point: ModelPoint, mu: float = 1.0) -> dict[str, Any]:
    """Particles, branching ratios and signal strengths of a model."""
    values = point_to_dict(space, point)
    return {
        "particles": {
            str(pid): {"mass": mass, "name": particle(pid).name}
            for pid, mass in sorted(values["masses"].items(), key=lambda item: -item[1])
        },
        "branching_ratios": {
            str(mother): {str(key): value for key, value in table.items()}
            for mother, table in values["branching_ratios"].items()
        },
        "signal_strengths": {
            str(key): mu * value for key, value in values["signal_strengths"].items()
        },
    }


def finite(value: Any) -> Any:
    """The same document with `None` for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cross_sections(
    space: ModelSpace, production: np.ndarray, mu: float
) -> dict[str, dict[str, float]]:
    """Cross sections [fb] of the modes that occur."""
    return {
        str(pair): {str(energy): mu * float(x) for energy, x in zip(ENERGIES, row, strict=True)}
        for pair, row in zip(space.productions, production, strict=True)
        if np.any(row > 0)
    }


def _combination(engine: Engine, labels: Labels, inspection: Inspection) -> list[dict[str, Any]]:
    """Members of the best combination, most telling first."""
    e = inspection.evaluation
    joint = joint_positions(engine)
    rows = []
    for number in np.flatnonzero(inspection.members):
        source = labels.candidates[number]
        if number >= engine.num_results:
            numbers = _limit_numbers(labels, inspection, source.folder)
        elif number in joint:
            numbers = _joint_numbers(labels, inspection, *joint[int(number)])
        else:
            numbers = _region_numbers(engine, labels, inspection, int(e.prediction.region[number]))
        rows.append(
            {
                "analysis": source.analysis,
                "result": source.folder,
                "experiment": source.experiment,
                "sqrts": source.sqrts,
                **numbers,
                "log_ratio": float(inspection.log_ratio[number]),
                "sensitivity": float(e.sensitivity[number]),
                "doi": source.doi,
                "arxiv": source.arxiv,
            }
        )
    return sorted(rows, key=lambda row: -row["log_ratio"])


def joint_positions(engine: Engine) -> dict[int, tuple[JointModels, int]]:
    """Candidates whose joint likelihood is used: their bank and position in it."""
    if engine.literal:
        return {}
    return {
        int(result): (bank, position)
        for bank in engine.joint
        for position, result in enumerate(np.asarray(bank.result))
    }


def _region_numbers(
    engine: Engine, labels: Labels, inspection: Inspection, region: int
) -> dict[str, Any]:
    """Counts of one region."""
    e, table = inspection.evaluation, engine.regions
    return {
        "type": "efficiency_map",
        "region": labels.regions[region][1],
        "observed": float(table.observed[region]),
        "background": float(table.background[region]),
        "background_error": float(table.background_error[region]),
        "signal": float(inspection.mu_hat * e.prediction.signals.events[region]),
    }


def _joint_numbers(
    labels: Labels, inspection: Inspection, joint: JointModels, position: int
) -> dict[str, Any]:
    """Sums over the regions of a joint likelihood, and its most sensitive region."""
    e = inspection.evaluation
    mask = np.asarray(joint.bank.region_mask[position])
    models = joint.bank.models
    observed = np.asarray(models.observed[position])[mask]
    background = np.asarray(models.background[position])[mask]
    covariance = np.asarray(models.covariance[position])[np.ix_(mask, mask)]
    axis = np.asarray(joint.regions)[np.asarray(joint.bank.region_index[position])[mask]]
    signal = inspection.mu_hat * np.asarray(e.prediction.signals.events)[axis]
    error = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    power = np.asarray(poisson.log_ratio(1.0, signal, signal + background, background, error))
    best = int(np.argmax(power))
    return {
        "type": "combined",
        "region": labels.regions[int(axis[best])][1],
        "num_regions": int(mask.sum()),
        "observed": float(observed.sum()),
        "background": float(background.sum()),
        "background_error": math.sqrt(max(float(covariance.sum()), 0.0)),
        "signal": float(signal.sum()),
        "best_region": {
            "observed": float(observed[best]),
            "background": float(background[best]),
            "background_error": float(error[best]),
            "signal": float(signal[best]),
        },
    }


def _limit_numbers(labels: Labels, inspection: Inspection, folder: str) -> dict[str, Any]:
    """Limits and signal [fb] of the cluster that speaks for an upper-limit result."""
    clusters = inspection.evaluation.prediction.clusters
    mine = np.array([labels.limits[int(i)].folder == folder for i in clusters.limit])
    expected = np.asarray(clusters.upper_limit_expected)
    known = np.asarray(clusters.live) & (expected > 0) & mine[:, None]
    ratio = np.where(known, clusters.upper_limit / np.where(known, expected, 1.0), -1.0)
    at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    return {
        "type": "upper_limit",
        "region": None,
        "topology": labels.limits[int(clusters.limit[at[0]])].txname,
        "observed": float(clusters.upper_limit[at]),
        "background": float(expected[at]),
        "background_error": None,
        "signal": float(inspection.mu_hat * clusters.cross_section[at]),
    }


def r_values(
    engine: Engine, labels: Labels, inspection: Inspection, topologies: Topologies
) -> list[dict[str, Any]]:
    """r-values of all results at mu_hat, largest first.

    Args:
        engine: What scored the model.
        labels: Names on the engine's axes.
        inspection: From `inspect`.
        topologies: For efficiency-map results.
    """
    e = inspection.evaluation
    prediction, mu = e.prediction, inspection.mu_hat
    rows = []
    best = best_expected_regions(engine, np.asarray(prediction.signals.cross_section))
    for number, (r, expected) in enumerate(
        zip(prediction.r_region, prediction.r_region_expected, strict=True)
    ):
        source = labels.results[number]
        rows.append(
            {
                "analysis": source.analysis,
                "result": source.folder,
                "type": "efficiency_map",
                "region": labels.regions[best[number]][1],
                "topologies": list(topologies.get(source.folder, ())),
                "r": mu * float(r),
                "r_expected": mu * float(expected) if expected > 0 else None,
            }
        )
    clusters = prediction.clusters
    observed, wanted = np.asarray(clusters.r), np.asarray(clusters.r_expected)
    for group, member in zip(*np.nonzero(np.asarray(clusters.live)), strict=True):
        key = labels.limits[int(clusters.limit[group])]
        expected = float(wanted[group, member])
        rows.append(
            {
                "analysis": labels.provenance[key.folder].analysis,
                "result": key.folder,
                "type": "upper_limit",
                "region": None,
                "topologies": [key.txname],
                "r": mu * float(observed[group, member]),
                "r_expected": mu * expected if expected >= 0 else None,
            }
        )
    return sorted((row for row in rows if row["r"] >= MIN_R), key=lambda row: -row["r"])


def best_expected_regions(engine: Engine, cross_section: np.ndarray) -> np.ndarray:
    """Region with the largest expected r-value of each efficiency-map result."""
    table = engine.regions
    limit = np.asarray(table.upper_limit_expected)
    safe = np.where(limit > 0, limit, np.inf)
    r = np.where(np.asarray(table.selectable), np.asarray(cross_section) / safe, -1.0)
    padded = np.append(r, -2.0)
    of_result = np.asarray(table.of_result)
    return of_result[np.arange(len(of_result)), np.argmax(padded[of_result], axis=1)]
