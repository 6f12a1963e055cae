"""Records become models; wrong ones are refused with object, found, wanted, remedy."""

import dataclasses

import numpy as np
import pytest

from jaxlik.database.records import CountingRecord, CovarianceRecord, UpperLimitRecord
from jaxlik.errors import DatabaseError
from jaxlik.statmodels.build import build
from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.statmodels.simplified import SimplifiedLikelihood
from jaxlik.statmodels.truncated_gaussian import TruncatedGaussian

NAN = np.full(2, np.nan)
COUNTING = CountingRecord(
    "ATLAS-SUSY-0000-01",
    ("A", "B"),
    np.array([3.0, 0.0]),
    np.array([2.0, 1.0]),
    np.array([0.5, 0.0]),
    NAN,
    NAN,
)
COVARIANCE = CovarianceRecord(
    "CMS-SUS-00-001",
    ("A", "B"),
    np.array([3.0, 0.0]),
    np.array([2.0, 1.0]),
    np.array([[1.0, 0.2], [0.2, 0.5]]),
)
LIMIT = UpperLimitRecord("CMS-SUS-00-002", 2.0, 3.0)


def test_each_record_becomes_its_model():
    assert isinstance(build(COUNTING), PoissonCounting)
    linear = build(COVARIANCE)
    assert isinstance(linear, SimplifiedLikelihood)
    assert linear.curvature is None
    skewed = build(dataclasses.replace(COVARIANCE, third_moments=np.array([0.3, 0.0])))
    assert isinstance(skewed, SimplifiedLikelihood)
    assert skewed.curvature is not None
    assert isinstance(build(LIMIT, form="smodels"), TruncatedGaussian)


@pytest.mark.parametrize(
    ("record", "changes", "message"),
    [
        (COUNTING, {"observed": np.ones(3)}, r"ATLAS-SUSY-0000-01: observed.*\(3,\).*\(2,\)"),
        (COUNTING, {"background": np.array([1.0, -2.0])}, "background of region 1 is -2"),
        (COUNTING, {"background_error": np.array([np.nan, 1.0])}, "region 0 is nan"),
        (COVARIANCE, {"covariance": np.eye(3)}, r"shape \(3, 3\)"),
        (COVARIANCE, {"covariance": np.array([[1.0, 0.4], [0.2, 1.0]])}, "transpose by up to 0.2"),
        (COVARIANCE, {"covariance": np.array([[1.0, np.inf], [np.inf, 1.0]])}, "undefined entries"),
        (COVARIANCE, {"covariance": np.array([[1.0, 2.0], [2.0, 1.0]])}, "eigenvalue -1"),
        (COVARIANCE, {"third_moments": np.array([9.0, 0.0])}, "third moment 9 of region A"),
        (LIMIT, {"expected": None}, "no expected upper limit"),
        (LIMIT, {"observed": 0.0}, "must be positive"),
    ],
)
def test_contradictions_are_named(record, changes, message):
    with pytest.raises(DatabaseError, match=message):
        build(dataclasses.replace(record, **changes))


def test_rounded_covariance_is_projected():
    # Correlation 1.002 by rounding: eigenvalue -0.002 becomes zero.
    rounded = np.array([[1.0, 1.002], [1.002, 1.0]])
    model = build(dataclasses.replace(COVARIANCE, covariance=rounded))
    eigenvalues = np.linalg.eigvalsh(model.covariance)
    np.testing.assert_allclose(eigenvalues, [0.0, 2.002], atol=1e-12)
