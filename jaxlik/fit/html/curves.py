"""Curves that a page shows and a document keeps: likelihoods and CLs against signal strength."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlik.fit.inspection import Inspection, Scan
from jaxlik.fit.labels import Labels

if TYPE_CHECKING:
    from jaxlik.inference.workspace_fits import WorkspaceAnalysis

CLS_POINTS = 24
REACH = 1.25
"""A scan of CLs ends at this multiple of the largest limit, observed or expected at +1 sigma."""


def likelihood_entry(curves: Scan, inspection: Inspection, labels: Labels) -> dict[str, Any]:
    """Entry ``likelihood_scan`` of a model: its members against mu.

    Args:
        curves: From `jaxlik.fit.inspection.scan`.
        inspection: Of the model.
        labels: Names of the candidates.
    """
    mu_max = float(inspection.evaluation.mu_max)
    return {
        "mu": curves.mu.tolist(),
        "curves": [
            {
                "analysis": labels.candidates[number].analysis,
                "result": labels.candidates[number].folder,
                "values": curves.log_ratios[:, number].tolist(),
            }
            for number in np.flatnonzero(inspection.members)
        ],
        "mu_hat": inspection.mu_hat,
        "mu_max": mu_max if np.isfinite(mu_max) else None,
    }


def workspace_scan(
    analysis: "WorkspaceAnalysis", limit: dict[str, Any]
) -> dict[str, list[float] | list[list[float]]]:
    """Entry ``scan`` of a workspace: likelihood ratio and CLs with its band against mu.

    Args:
        analysis: With the best fit.
        limit: Entry ``upper_limit`` of its document.
    """
    reach = REACH * max(limit["observed"], limit["expected"][3])
    mu = np.linspace(0.0, reach, CLS_POINTS + 1)[1:]
    ratios, observed, bands = [], [], []
    for value in mu:
        test = analysis.test(float(value))
        # On the lower side of the best value the test statistic is zero, the likelihood is not.
        fit = analysis.fit_at(float(value))
        ratios.append(max(float(fit.twice_nll - analysis.best.twice_nll), 0.0))
        observed.append(float(np.exp(test.log_cls)))
        bands.append(np.exp(test.log_band))
    return {
        "mu": mu.tolist(),
        "twice_nll_ratio": ratios,
        "cls": observed,
        "cls_expected": np.stack(bands, axis=1).tolist(),
    }
