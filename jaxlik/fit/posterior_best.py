"""The best model in the document of a posterior: Fisher's errors beside those of its content."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.fit.posterior_draws import (
    PosteriorDraws,
    content_key,
    content_label,
    contents_of,
    particles_of,
)
from jaxlik.fit.posterior_quantities import Quantity, content_samples
from jaxlik.fit.summary import finite

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)


class FisherErrors(NamedTuple):
    """What Fisher's information says about the parameters of one model.

    Attributes:
        pdg_ids: Particles of the model.
        values: Its parameters and their standard deviations, GeV for masses.
    """

    pdg_ids: Sequence[int]
    values: Mapping[Quantity, tuple[float, float]]


class BestModel(NamedTuple):
    """One model, and the posterior with its particles, decays and productions alone.

    Attributes:
        fisher: Its parameters and their errors.
        draws: Equally weighted draws of that posterior.
        log_evidence: ln of the mean likelihood over the prior of the parameters, relative to the
            Standard Model.
        error: Standard error of that.
        score: K of the model; `None` where not known.
    """

    fisher: FisherErrors
    draws: PosteriorDraws
    log_evidence: float
    error: float
    score: float | None = None


def best_model_entry(best: BestModel) -> dict[str, Any]:
    """The entry ``best_model``.

    Raises:
        ValueError: the draws are not of the content of the model.
    """
    draws = best.draws
    wanted = np.isin(draws.pdg_ids, list(best.fisher.pdg_ids))
    contents = contents_of(draws)
    if not np.array_equal(contents.active, wanted[None]):
        raise ValueError("draws of the best model must all have its particles and no others")
    pooled = {one.quantity: one.pooled for one in content_samples(draws, contents, 0)}
    rows = []
    for quantity, (value, error) in best.fisher.values.items():
        known = quantity in pooled
        low, less, median, more, high = (
            np.quantile(pooled[quantity], QUANTILES) if known else np.full(5, np.nan)
        )
        rows.append(
            {
                "label": quantity.label,
                "unit": quantity.unit,
                "best": value,
                "fisher_error": error,
                "median": median,
                "interval_68": [less, more],
                "interval_95": [low, high],
            }
        )
    pids = particles_of(draws.pdg_ids, wanted)
    return finite(
        {
            "key": content_key(pids),
            "label": content_label(pids),
            "K": best.score,
            "log_evidence": best.log_evidence,
            "error": best.error,
            "draws": draws.num_chains * draws.num_draws,
            "quantities": rows,
        }
    )
