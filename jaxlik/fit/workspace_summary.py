"""What the `workspace` command computes: the document and the figures."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlik import plotting
from jaxlik.database.records import HistFactoryRecord
from jaxlik.errors import ConfigError
from jaxlik.fit.console import Console
from jaxlik.inference.fisher import impacts
from jaxlik.inference.toys import toy_cls
from jaxlik.inference.workspace_fits import WorkspaceAnalysis, certified
from jaxlik.inference.workspace_profile import WorkspaceFit, covariance, fit_parameters
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.statmodels.packing import pack_workspace

SCHEMA = "jaxlik/workspace/1"

SCAN_POINTS = 41

_log_density = jax.jit(lambda model, parameters: model.log_density(parameters))


@dataclass(frozen=True)
class WorkspaceResult:
    """Everything about one workspace.

    Attributes:
        document: As written to JSON.
        record: The flattened workspace.
        best: The fit.
        covariance: Of its parameters, zero where fixed or at a bound.
        analysis: Tests and limits; `None` without a parameter of interest.
    """

    document: dict[str, Any]
    record: HistFactoryRecord
    best: WorkspaceFit
    covariance: np.ndarray
    analysis: WorkspaceAnalysis | None


def analyse(
    record: HistFactoryRecord, *, mu: float, level: float, console: Console
) -> WorkspaceResult:
    """Fit a workspace, and test its signal if it has one.

    Raises:
        ConvergenceError: a fit did not converge.
    """
    model = pack_workspace(record)
    analysis = None
    if record.poi < 0:
        console.note("no parameter of interest among the parameters: the background is fitted")
        best = certified(fit_parameters(model, thorough=True), "of the background")
    else:
        console.note("fitting with free signal, without signal, and on Asimov data")
        analysis = WorkspaceAnalysis(model, record.poi)
        model, best = analysis.model, analysis.best
    matrix = np.asarray(covariance(model, best))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "name": record.name,
        "poi": None if analysis is None else record.parameters[record.poi],
        "mu": None if analysis is None else mu,
        "fit": _fit_document(record, model, best, matrix),
        "fixed": None,
        "cls": None,
        "upper_limit": None,
        "discovery": None,
        "toys": None,
        "impacts": None,
    }
    if analysis is not None:
        document |= _tests(analysis, mu, level, console)
    return WorkspaceResult(document, record, best, matrix, analysis)


def _fit_document(
    record: HistFactoryRecord, model: HistFactory, best: WorkspaceFit, matrix: np.ndarray
) -> dict[str, Any]:
    values, lower, upper = (np.asarray(a) for a in (best.parameters, model.lower, model.upper))
    errors = np.sqrt(np.diagonal(matrix))
    parameters = {}
    for i, name in enumerate(record.parameters):
        width = record.width[i]
        pull = None
        if record.kinds[i] == "normal":
            pull = (values[i] - record.centre[i]) / width
        elif record.kinds[i] == "poisson":
            pull = (values[i] - record.centre[i] / width) * math.sqrt(width)
        parameters[name] = {
            "value": float(values[i]),
            "error": float(errors[i]) if errors[i] > 0 else None,
            "pull": None if pull is None or record.fixed[i] else float(pull),
            "fixed": bool(record.fixed[i]),
            "at_bound": bool(not record.fixed[i] and not lower[i] < values[i] < upper[i]),
        }
    poi = record.poi
    return {
        "twice_nll": -2 * float(_log_density(model, best.parameters)),
        "parameters": parameters,
        "mu_hat": float(values[poi]) if poi >= 0 else None,
        "mu_error": float(errors[poi]) if poi >= 0 and errors[poi] > 0 else None,
        "status": "success",
        "gradient_norm": float(best.certificate),
        "steps": int(best.num_steps),
    }


def _tests(
    analysis: WorkspaceAnalysis, mu: float, level: float, console: Console
) -> dict[str, Any]:
    test = analysis.test(mu)
    fixed = analysis.fit_at(mu)
    console.note("looking for upper limits")
    observed, expected = analysis.upper_limits(level)
    q0 = max(float(analysis.null.twice_nll - analysis.best.twice_nll), 0.0)
    return {
        "fixed": {"twice_nll": -2 * float(_log_density(analysis.model, fixed.parameters))},
        "cls": {
            "observed": math.exp(test.log_cls),
            "expected": [float(value) for value in np.exp(test.log_band)],
        },
        "upper_limit": {
            "level": level,
            "observed": observed,
            "expected": [float(value) for value in expected],
        },
        "discovery": {
            "q0": q0,
            "significance": math.sqrt(q0),
            # At the bound of zero every fluctuation downward counts as no signal.
            "p_value": 0.5 * math.erfc(math.sqrt(q0 / 2)),
        },
    }


def toys_document(
    analysis: WorkspaceAnalysis, mu: float, number: int, seed: int, console: Console
) -> dict[str, Any]:
    """CLs from toys, with a progress bar.

    Raises:
        ConvergenceError: no toy has certified fits.
    """
    found = toy_cls(jax.random.key(seed), analysis, mu, number, quiet=console.quiet)
    cls, error = float(found.cls), float(found.cls_error)
    known = math.isfinite(cls)
    return {
        "number": number,
        "seed": seed,
        "cls": cls if known else None,
        "cls_error": error if known else None,
        "p_signal": float(found.p_signal),
        "p_background": float(found.p_background),
        "expected": [float(value) for value in found.expected],
        "failed": int(found.failed),
    }


def impacts_document(
    record: HistFactoryRecord, analysis: WorkspaceAnalysis, console: Console
) -> list[dict[str, Any]]:
    """By how much each parameter moves the best mu, the largest first."""
    console.note(f"impacts: {2 * len(record.parameters)} fits")
    found = impacts(analysis.model, analysis.poi, analysis.best, analysis.data)
    up, down, linear = (np.asarray(values) for values in found)
    largest = np.maximum(np.abs(up), np.abs(down))[: len(record.parameters)]
    # Fits without a certificate come last.
    order = np.argsort(-np.nan_to_num(largest, nan=-1.0), kind="stable")
    return [
        {
            "parameter": record.parameters[i],
            "up": float(up[i]) if math.isfinite(up[i]) else None,
            "down": float(down[i]) if math.isfinite(down[i]) else None,
            "linear": float(linear[i]),
        }
        for i in order
        if i != record.poi and not record.fixed[i]
    ]


def draw(result: WorkspaceResult, folder: Path) -> list[Path]:
    """Pulls, correlations and, with a signal, the scan of the likelihood.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _draw(result, folder)
    except OSError as error:
        raise ConfigError(f"output {folder} cannot be written: {error}") from None


def _draw(result: WorkspaceResult, folder: Path) -> list[Path]:
    fitted = result.document["fit"]["parameters"]
    record = result.record
    pulled = [n for n, entry in fitted.items() if entry["pull"] is not None]
    widths = dict(zip(record.parameters, record.width, strict=True))
    scale = {
        name: 1 / widths[name] if kind == "normal" else math.sqrt(widths[name])
        for name, kind in zip(record.parameters, record.kinds, strict=True)
    }
    errors = [(fitted[n]["error"] or 0.0) * scale[n] for n in pulled]
    paths = [
        plotting.write(
            lambda: plotting.pulls(pulled, [fitted[n]["pull"] for n in pulled], errors),
            folder / "pulls.png",
        )
    ]
    free = [i for i, name in enumerate(record.parameters) if fitted[name]["error"]]
    if len(free) > 1:
        matrix = result.covariance[np.ix_(free, free)]
        spread = np.sqrt(np.diagonal(matrix))
        names = [record.parameters[i] for i in free]
        paths.append(
            plotting.write(
                lambda: plotting.correlations(names, matrix / np.outer(spread, spread)),
                folder / "correlations.png",
            )
        )
    ranked = result.document["impacts"]
    if ranked:
        paths.append(plotting.write(lambda: plotting.impacts(ranked), folder / "impacts.png"))
    if result.analysis is not None:
        analysis, limit = result.analysis, result.document["upper_limit"]["observed"]
        mu = np.linspace(0.0, 1.2 * limit, SCAN_POINTS)
        values = np.array([float(analysis.fit_at(m).twice_nll) for m in mu])
        values -= float(analysis.best.twice_nll)
        mu_hat = result.document["fit"]["mu_hat"]
        paths.append(
            plotting.write(
                lambda: plotting.profile_scan(mu, values, mu_hat=mu_hat, limit=limit),
                folder / "scan.png",
            )
        )
    return paths
