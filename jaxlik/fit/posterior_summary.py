"""The document of a posterior, `jaxlik/posterior/1`: plain numbers, ready for JSON.

Top level: ``schema``, what the run adds (``status``, ``mode``, ``seed``, ``seconds``,
``database`` {``version``, ``sha256``}, ``acceptance`` of the moves ...), and

===================== ============================================================
``chains``, ``draws`` number of chains, draws of each
``contents``          [{``key``, ``label``, ``particles``: {pid: name}, ``probability``,
                      ``error``, ``chains``, ``details``}], most probable first: those
                      above 0.001; `details` only above 0.01
``other_contents``    ``number``, ``probability`` and ``error`` of all others together
``standard_model``    the entry of the content with nothing but the lightest particle;
                      `null` if no chain was there
``particles``         {pid: {``name``, ``probability``, ``error``, ``chains``}}
``num_particles``     [{``number``, ``probability``, ``error``}], the lightest included
``overall``           ``log_likelihood`` and ``log_posterior`` over all contents
``convergence``       ``targets``, ``converged``, ``quantities`` the targets apply to,
                      ``constant`` (of them never changed), ``worst``: {``r_hat``,
                      ``ess_bulk``, ``ess_tail``}, ``failures``: [{``quantity``,
                      ``reason``}]
``evidence``          [{``key``, ``label``, ``log_evidence``, ``error``,
                      ``bayes_factor`` against the Standard Model,
                      ``twice_log_bayes_factor``, ``twice_error``, ``K``, ``sensitivity``:
                      [{``label``, ``change`` of ln Z, ``error``, ``effective``}]}] or `null`
``best_model``        ``key``, ``label``, ``K``, and of the posterior with its particles,
                      decays and productions alone ``log_evidence``, ``error``, ``draws``
                      and ``quantities``: [{``label``, ``unit``, ``best``, ``fisher_error``,
                      ``median``, ``interval_68``, ``interval_95``}]; or `null`
===================== ============================================================

``details`` has ``masses`` {pid}, ``branching_ratios`` {pid: {"(daughter, SM pid, ...)"}},
``signal_strengths`` {"(pid, pid)"}, ``log_likelihood``, ``log_posterior`` and
``correlations`` {``labels``, ``matrix``}. Each quantity is {``label``, ``unit``, ``median``,
``interval_68``, ``interval_95``, ``mean``, ``deviation``, ``error``, ``fraction`` of the draws
of the content in which it is a parameter, ``chains``}. Intervals are equal-tailed.
``log_likelihood`` is relative to the Standard Model, ``log_posterior`` is ln(likelihood x
prior). Everything with an ``error``, the Monte-Carlo standard error, has ``r_hat``,
``ess_bulk`` and ``ess_tail`` too. The targets apply to what concerns contents and particles
of a probability above 0.01. Undefined numbers are ``null``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.fit.posterior_best import QUANTILES, BestModel, best_model_entry
from jaxlik.fit.posterior_convergence import Judged, convergence_document, judge
from jaxlik.fit.posterior_draws import (
    Contents,
    PosteriorDraws,
    content_key,
    content_label,
    contents_of,
    particles_of,
)
from jaxlik.fit.posterior_quantities import (
    BRANCHING_RATIO,
    LOG_LIKELIHOOD,
    LOG_POSTERIOR,
    MASS,
    SIGNAL_STRENGTH,
    Quantity,
    Sample,
    content_samples,
    correlation_matrix,
    parameters,
)
from jaxlik.fit.summary import finite
from jaxlik.physics.particles import LBP, particle

SCHEMA = "jaxlik/posterior/1"

MIN_PROBABILITY = 1e-3
"""Contents of a smaller probability are summed."""

MIN_DETAILED = 1e-2
"""Contents of a smaller probability have no details, and no targets."""

EVERYTHING = "any particle beyond the lightest"
"""Label of the evidence of all contents but that of the Standard Model."""


class Evidence(NamedTuple):
    """The evidence of one content.

    Attributes:
        pdg_ids: Its particles; none for all contents with more than the lightest one.
        log_evidence: ln of the mean likelihood over the prior of its parameters, likelihoods
            relative to the Standard Model: ln of the Bayes factor.
        error: Standard error of that.
        score: Best K of the content; `None` where not known.
    """

    pdg_ids: Sequence[int]
    log_evidence: float
    error: float
    score: float | None = None


def posterior_document(
    draws: PosteriorDraws,
    *,
    facts: Mapping[str, Any] | None = None,
    evidence: Sequence[Evidence] | None = None,
    best: BestModel | None = None,
) -> dict[str, Any]:
    """Everything that the draws say.

    Args:
        draws: After the warm-up; at least one per chain.
        facts: Entries of the top level that the draws do not know.
        evidence: Of some contents.
        best: The best model, with a posterior of its own.
    """
    contents = contents_of(draws)
    judged: list[Judged] = []
    listed = np.flatnonzero(contents.count > MIN_PROBABILITY * contents.index.size)
    entries = [_content_entry(draws, contents, int(number), judged) for number in listed]
    document = {
        "schema": SCHEMA,
        **(facts or {}),
        "chains": draws.num_chains,
        "draws": draws.num_draws,
        "contents": entries,
        "other_contents": {
            "number": len(contents.count) - len(listed),
            **_probability("other contents", contents.index >= len(listed), judged, counts=False),
        },
        "standard_model": _standard_model(draws, contents),
        "particles": _particles(draws, judged),
        "num_particles": _num_particles(draws, judged),
        "overall": {
            kind: _interval(Sample(Quantity(kind), values, np.isfinite(values), 1.0), "", judged)
            for kind, values in (
                (LOG_LIKELIHOOD, draws.log_likelihood),
                (LOG_POSTERIOR, draws.log_posterior),
            )
        },
        "convergence": convergence_document(judged),
        "evidence": None if evidence is None else evidence_entries(draws.pdg_ids, evidence),
        "best_model": None if best is None else best_model_entry(best),
    }
    return finite(document)


def _content_entry(
    draws: PosteriorDraws, contents: Contents, number: int, judged: list[Judged]
) -> dict[str, Any]:
    pids = particles_of(draws.pdg_ids, contents.active[number])
    label = content_label(pids)
    occupied = contents.index == number
    detailed = bool(occupied.mean() > MIN_DETAILED)
    return {
        "key": content_key(pids),
        "label": label,
        "particles": {pid: particle(pid).name for pid in pids},
        **_probability(f"p({label})", occupied, judged, counts=detailed),
        "chains": int(contents.chains[number]),
        "details": _details(draws, contents, number, label, judged) if detailed else None,
    }


def _probability(
    name: str, occupied: np.ndarray, judged: list[Judged], *, counts: bool
) -> dict[str, float]:
    """How often something is true, and the Monte-Carlo error of that."""
    found = judge(name, list(occupied), counts=counts)
    judged.append(found)
    return {"probability": found.mean, "error": found.error, **found.entries}


def _details(
    draws: PosteriorDraws, contents: Contents, number: int, label: str, judged: list[Judged]
) -> dict[str, Any]:
    samples = content_samples(draws, contents, number)
    details: dict[str, Any] = {"masses": {}, "branching_ratios": {}, "signal_strengths": {}}
    for sample in samples:
        entry = _interval(sample, f" in {label}", judged)
        kind, key = sample.quantity
        if kind == MASS:
            details["masses"][key[0]] = entry
        elif kind == BRANCHING_RATIO:
            mother, daughter, sm = key
            table = details["branching_ratios"].setdefault(mother, {})
            table[str((daughter, *sm))] = entry
        elif kind == SIGNAL_STRENGTH:
            details["signal_strengths"][str(key)] = entry
        else:
            details[kind] = entry
    varying = parameters(samples)
    details["correlations"] = {
        "labels": [sample.quantity.label for sample in varying],
        "matrix": correlation_matrix(varying).tolist(),
    }
    return details


def _interval(sample: Sample, where: str, judged: list[Judged]) -> dict[str, Any]:
    """Median and intervals of a quantity; `where` completes its name among the failures."""
    found = judge(sample.quantity.label + where, sample.series, counts=True)
    judged.append(found)
    pooled = sample.pooled
    low_95, low_68, median, high_68, high_95 = (
        np.quantile(pooled, QUANTILES) if len(pooled) else np.full(len(QUANTILES), math.nan)
    )
    return {
        "label": sample.quantity.label,
        "unit": sample.quantity.unit,
        "median": median,
        "interval_68": [low_68, high_68],
        "interval_95": [low_95, high_95],
        "mean": found.mean,
        "deviation": found.deviation,
        "error": found.error,
        "fraction": sample.fraction,
        **found.entries,
        "chains": len(sample.series),
    }


def _standard_model(draws: PosteriorDraws, contents: Contents) -> dict[str, Any] | None:
    only = np.array([pid == LBP for pid in draws.pdg_ids])
    found = np.flatnonzero((contents.active == only).all(axis=1))
    if len(found) == 0:
        return None
    occupied = contents.index == found[0]
    return {
        "key": content_key([LBP]),
        "label": content_label([LBP]),
        **_probability("", occupied, [], counts=False),
        "chains": int(contents.chains[found[0]]),
    }


def _particles(draws: PosteriorDraws, judged: list[Judged]) -> dict[int, dict[str, Any]]:
    """Inclusion probabilities of all particles that occur, the largest first."""
    entries = {}
    for place in np.argsort(-draws.active.mean(axis=(0, 1)), kind="stable"):
        pid, active = draws.pdg_ids[place], draws.active[..., place]
        if pid == LBP or not active.any():
            continue
        name, counts = particle(pid).name, bool(active.mean() > MIN_DETAILED)
        entries[pid] = {
            "name": name,
            **_probability(f"inclusion of {name}", active, judged, counts=counts),
            "chains": int(active.any(axis=1).sum()),
        }
    return entries


def _num_particles(draws: PosteriorDraws, judged: list[Judged]) -> list[dict[str, Any]]:
    number = draws.active.sum(axis=-1)
    judged.append(judge("number of particles", list(number.astype(float)), counts=True))
    entries = []
    for value in np.unique(number):
        counts = bool((number == value).mean() > MIN_DETAILED)
        name = f"p({value} particles)"
        found = _probability(name, number == value, judged, counts=counts)
        entries.append({"number": int(value), **found})
    return entries


def evidence_entries(pdg_ids: Sequence[int], evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Entries of ``evidence``: that of everything, then the contents, the largest first.

    Args:
        pdg_ids: PDG numbers on the particle axis.
        evidence: Of some contents.
    """
    entries = []
    for one in sorted(evidence, key=lambda one: (len(one.pdg_ids) > 0, -one.log_evidence)):
        pids = particles_of(pdg_ids, np.isin(pdg_ids, list(one.pdg_ids)))
        large = one.log_evidence > math.log(1e300)
        entries.append(
            {
                "key": content_key(pids),
                "label": content_label(pids) if pids else EVERYTHING,
                "log_evidence": one.log_evidence,
                "error": one.error,
                "bayes_factor": math.inf if large else math.exp(one.log_evidence),
                "twice_log_bayes_factor": 2 * one.log_evidence,
                "twice_error": 2 * one.error,
                "K": one.score,
            }
        )
    return finite(entries)
