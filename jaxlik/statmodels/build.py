"""From what an analysis publishes to its likelihood: one `match` statement.

The border between host and device: numbers are checked here, once, and errors raised.
"""

from typing import assert_never

import numpy as np

from jaxlik.database.records import (
    LEARNED_OUTPUTS,
    CountingRecord,
    CovarianceRecord,
    NeuralRecord,
    UpperLimitRecord,
)
from jaxlik.errors import DatabaseError
from jaxlik.statmodels.base import AbstractStatModel, as_float64
from jaxlik.statmodels.neural import NeuralLikelihood
from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.statmodels.simplified import simplified_likelihood
from jaxlik.statmodels.truncated_gaussian import Form, truncated_gaussian

Record = CountingRecord | CovarianceRecord | NeuralRecord | UpperLimitRecord

MOST_NEGATIVE_EIGENVALUE = -0.01
"""Of a correlation matrix, relative to its largest one; more is no rounding error."""

LARGEST_MISMATCH = 0.03
"""Between -ln L of a network at mu = 0 and as published, relative; as in SModelS 3.2."""


def build(record: Record, *, form: Form = "protomodels") -> AbstractStatModel:
    """The statistical model of a record.

    Args:
        record: Counts, counts with a covariance, a learned likelihood, or a pair of
            upper limits.
        form: Convention for upper limits, see `jaxlik.statmodels.truncated_gaussian`.

    Raises:
        DatabaseError: shapes, signs or the covariance contradict the model, or a network
            contradicts the -ln L published with it.

    Examples:
        >>> from jaxlik.database.records import CountingRecord
        >>> numbers = [np.array([number]) for number in (9, 6.5, 1.3, np.nan, np.nan)]
        >>> model = build(CountingRecord("CMS-SUS-90-001", ("SR",), *numbers))
        >>> type(model).__name__, model.num_nuisances
        ('PoissonCounting', 1)
    """
    match record:
        case CountingRecord():
            return _counting(record)
        case CovarianceRecord():
            return _simplified(record)
        case NeuralRecord():
            return _neural(record)
        case UpperLimitRecord():
            return _limit(record, form)
        case _:
            assert_never(record)


def _counting(record: CountingRecord) -> PoissonCounting:
    name, size = record.analysis_id, len(record.region_ids)
    observed = _vector(name, "observed events", record.observed, size)
    background = _vector(name, "background", record.background, size)
    error = _vector(name, "background error", record.background_error, size)
    return PoissonCounting(observed, background, error, tuple(record.region_ids))


def _simplified(record: CovarianceRecord):
    name, size = record.analysis_id, len(record.region_ids)
    observed = _vector(name, "observed events", record.observed, size)
    background = _vector(name, "background", record.background, size)
    covariance = _covariance(name, record.covariance, size)
    moments = record.third_moments
    if moments is not None:
        moments = _vector(name, "third moments", moments, size, signed=True)
        variance = np.diagonal(covariance)
        impossible = moments**2 >= 8 * variance**3
        if impossible.any() and np.abs(moments).sum() >= 1e-10:
            first = int(np.argmax(impossible))
            raise DatabaseError(
                f"{name}: third moment {moments[first]:g} of region "
                f"{record.region_ids[first]} is too large for its variance "
                f"{variance[first]:g}; the expansion needs m3^2 < 8 m2^3: "
                "drop the third moments to use the linear likelihood"
            )
    return simplified_likelihood(
        observed, background, covariance, moments, tuple(record.region_ids)
    )


def _neural(record: NeuralRecord) -> NeuralLikelihood:
    name, size = record.analysis_id, len(record.region_ids)
    model = NeuralLikelihood(
        _vector(name, "observed events", record.observed, size),
        _vector(name, "background", record.background, size),
        _vector(name, "-ln L at mu = 0", record.nll_background, len(LEARNED_OUTPUTS), signed=True),
        record.domain,
        {key: as_float64(value) for key, value in record.weights.items()},
        record.operations,
        region_ids=tuple(record.region_ids),
    )
    try:
        mismatch = np.asarray(model.mismatch())
    except (TypeError, ValueError, IndexError) as error:
        raise DatabaseError(
            f"{name}: the network does not run on {size} yields ({str(error)[:120]}), wanted "
            f"{len(LEARNED_OUTPUTS)} numbers: export it again"
        ) from error
    if mismatch.shape != (len(LEARNED_OUTPUTS),):
        raise DatabaseError(
            f"{name}: the network answers with shape {mismatch.shape} to {size} yields, wanted "
            f"({len(LEARNED_OUTPUTS)},): export it with one column per -ln L"
        )
    published = np.asarray(model.nll_background)
    relative = np.abs(mismatch / (published + 0.5 * mismatch))
    if not (relative <= LARGEST_MISMATCH).all():
        worst = int(np.argmax(np.where(np.isnan(relative), np.inf, relative)))
        raise DatabaseError(
            f"{name}: at mu = 0 the network's {LEARNED_OUTPUTS[worst]} is "
            f"{published[worst] + mismatch[worst]:.6g}, published is {published[worst]:.6g}, "
            f"wanted equal within {LARGEST_MISMATCH:.0%}: check the types of control regions "
            "and the order of inputs, or use the full statistical model"
        )
    return model


def _limit(record: UpperLimitRecord, form: Form):
    name = record.analysis_id
    if record.expected is None:
        raise DatabaseError(
            f"{name}: has an observed but no expected upper limit; a likelihood needs both: "
            "use the result in the critic only"
        )
    limits = [record.observed, record.expected]
    if not (np.isfinite(limits).all() and min(limits) > 0):
        raise DatabaseError(
            f"{name}: upper limits are {limits[0]:g} and {limits[1]:g} fb, both must be "
            "positive and finite: correct or leave out the result"
        )
    observed, expected = (np.array([limit], float) for limit in limits)
    return truncated_gaussian(observed, expected, form, (name,))


def _vector(
    name: str, quantity: str, values: np.ndarray, size: int, *, signed: bool = False
) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (size,):
        raise DatabaseError(
            f"{name}: {quantity} has shape {values.shape}, {size} regions want ({size},): "
            "give one number per region, in the order of region_ids"
        )
    wrong = ~np.isfinite(values) if signed else ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise DatabaseError(
            f"{name}: {quantity} of region {int(np.argmax(wrong))} is "
            f"{values[np.argmax(wrong)]:g}, wanted a finite number"
            f"{'' if signed else ' that is not negative'}: correct or leave out the region"
        )
    return values


def _covariance(name: str, values: np.ndarray, size: int) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (size, size):
        raise DatabaseError(
            f"{name}: covariance has shape {values.shape}, {size} regions want "
            f"({size}, {size}): give one row and column per region"
        )
    if not np.isfinite(values).all() or (np.diagonal(values) < 0).any():
        raise DatabaseError(
            f"{name}: covariance has infinite or undefined entries or negative variances; "
            "all must be finite and variances at least zero: correct the matrix"
        )
    largest = np.abs(values).max(initial=0.0)
    asymmetry = np.abs(values - values.T).max(initial=0.0)
    if asymmetry > 1e-6 * largest:
        raise DatabaseError(
            f"{name}: covariance differs from its transpose by up to {asymmetry:g}, wanted at "
            f"most {1e-6 * largest:g}: check its order or average it with its transpose"
        )
    values = 0.5 * (values + values.T)
    spread = np.sqrt(np.diagonal(values))
    spread = np.where(spread > 0, spread, 1.0)
    eigenvalues = np.linalg.eigvalsh(values / np.outer(spread, spread))
    if eigenvalues[0] < MOST_NEGATIVE_EIGENVALUE * eigenvalues[-1]:
        raise DatabaseError(
            f"{name}: correlation matrix has an eigenvalue {eigenvalues[0]:.3g} beside "
            f"{eigenvalues[-1]:.3g}; a covariance has none below zero and rounding explains "
            f"at most {MOST_NEGATIVE_EIGENVALUE:.0%} of the largest: correct the matrix"
        )
    return values
