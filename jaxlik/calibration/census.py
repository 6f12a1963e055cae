"""Census of a database: one significance per signal region, beside a standard normal.

New physics would be too many large positive ones. A look at all of them is also the
quickest check of a database: conservative errors make the spread small, correlated regions
make it large, and the regions of one analysis may fluctuate together.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from jaxlik.calibration.significance import (
    mid_p_significance,
    root_significance,
    whitened_significance,
)
from jaxlik.database.counts import Counts, CountTable
from jaxlik.typing import Float

LARGE = 3.0
"""Significances above it are counted."""


@dataclass(frozen=True)
class Region:
    """One signal region.

    Attributes:
        analysis: Identifier of the analysis.
        folder: Result in the database.
        region: Name of the region.
        experiment: ATLAS or CMS.
        sqrts: Centre-of-mass energy [TeV].
        luminosity: Integrated luminosity [1/fb].
        observed: Events.
        background: Expected events.
        error: Standard deviation of the background.
        z: From the mid-p value.
        z_root: Signed root of the likelihood ratio.
        z_white: Whitened with the covariance of its result; nan without one.
    """

    analysis: str
    folder: str
    region: str
    experiment: str
    sqrts: float
    luminosity: float
    observed: float
    background: float
    error: float
    z: float
    z_root: float
    z_white: float


@dataclass(frozen=True)
class Spread:
    """How a set of significances is distributed.

    Attributes:
        number: Regions.
        mean: Of their significances; 0 for a standard normal one.
        deviation: Standard deviation; 1.
        skewness: Third standardised moment; 0.
        large: How many lie above `LARGE`.
        large_expected: How many of a standard normal would.
        ks_distance: Largest distance of the cumulative distributions.
        ks_p: Its p-value, for independent regions.
    """

    number: int
    mean: float
    deviation: float
    skewness: float
    large: int
    large_expected: float
    ks_distance: float
    ks_p: float


@dataclass(frozen=True)
class Whitened:
    """A result with a published covariance, before and after whitening.

    Attributes:
        folder: Result.
        number: Regions.
        before: Mean and standard deviation of (n - b)/sqrt(V_ii + b).
        after: The same of whitened deviations.
        chi2: Their sum of squares.
        p: Its p-value.
        skewed: Whether third moments are published, for which a Gaussian is no model.
    """

    folder: str
    number: int
    before: tuple[float, float]
    after: tuple[float, float]
    chi2: float
    p: float
    skewed: bool


@dataclass(frozen=True)
class Census:
    """All significances of a database.

    Attributes:
        version: Of the database.
        regions: In the order of the database.
        whitened: Results with covariances.
    """

    version: str
    regions: tuple[Region, ...]
    whitened: tuple[Whitened, ...]

    @cached_property
    def z(self) -> Float[np.ndarray, " region"]:
        """From mid-p values."""
        return np.array([one.z for one in self.regions])

    @cached_property
    def z_root(self) -> Float[np.ndarray, " region"]:
        """Signed roots of likelihood ratios."""
        return np.array([one.z_root for one in self.regions])

    @cached_property
    def decorrelated(self) -> Float[np.ndarray, " region"]:
        """Whitened where a covariance allows it, signed roots elsewhere."""
        white = np.array([one.z_white for one in self.regions])
        return np.where(np.isnan(white), self.z_root, white)

    def groups(self) -> dict[str, np.ndarray]:
        """Which regions belong to each experiment and energy."""
        names = [f"{one.experiment} {one.sqrts:g} TeV" for one in self.regions]
        order = sorted(set(names), key=lambda name: (name.split()[1], name))
        return {name: np.array([other == name for other in names]) for name in order}

    def largest(self, count: int) -> list[Region]:
        """Regions with the largest excesses."""
        return sorted(self.regions, key=lambda one: -one.z)[:count]


def spread(z: Float[np.ndarray, " region"]) -> Spread:
    """Moments of significances, and their distance to a standard normal."""
    test = stats.kstest(z, "norm")
    return Spread(
        number=len(z),
        mean=float(np.mean(z)),
        deviation=float(np.std(z)),
        skewness=float(stats.skew(z)) if len(z) > 2 else 0.0,
        large=int(np.sum(z > LARGE)),
        large_expected=float(len(z) * stats.norm.sf(LARGE)),
        ks_distance=float(test.statistic),
        ks_p=float(test.pvalue),
    )


def take_census(table: CountTable, *, fudge: float = 1.0) -> Census:
    """Significances of all regions.

    Args:
        table: Counts of a database.
        fudge: Factor on all background errors; below 1 asks what honest errors would do.
    """
    white: list[np.ndarray] = []
    whitened: list[Whitened] = []
    for result in table.results:
        found = np.full(len(result.counting.region_ids), np.nan)
        if result.covariance is not None:
            by_name, summary = _whiten(result, fudge)
            found = np.array([by_name.get(name, np.nan) for name in result.counting.region_ids])
            whitened.append(summary)
        white.append(found)
    counts = [one.counting for one in table.results]
    observed, background = (
        np.concatenate([getattr(one, name) for one in counts])
        for name in ("observed", "background")
    )
    error = fudge * np.concatenate([one.background_error for one in counts])
    columns = (
        observed,
        background,
        error,
        mid_p_significance(observed, background, error),
        root_significance(observed, background, error),
        np.concatenate(white),
    )
    names = [(one.provenance, name) for one in table.results for name in one.counting.region_ids]
    regions = tuple(
        Region(p.analysis, p.folder, name, p.experiment, p.sqrts, p.luminosity, *map(float, row))
        for (p, name), *row in zip(names, *columns, strict=True)
    )
    return Census(table.version, regions, tuple(whitened))


def fudge_scan(table: CountTable, factors: tuple[float, ...]) -> list[tuple[float, Spread]]:
    """Spread of mid-p significances with scaled background errors."""
    return [(factor, spread(take_census(table, fudge=factor).z)) for factor in factors]


def _whiten(result: Counts, fudge: float) -> tuple[dict[str, float], Whitened]:
    """Whitened deviations by region, none for skewed results, and their summary."""
    record = result.covariance
    assert record is not None
    covariance = fudge**2 * record.covariance
    residual = record.observed - record.background
    plain = residual / np.sqrt(np.diagonal(covariance) + np.maximum(record.background, 0.0))
    z = whitened_significance(record.observed, record.background, covariance)
    chi2 = float(z @ z)
    skewed = record.third_moments is not None
    summary = Whitened(
        result.provenance.folder,
        len(z),
        (float(plain.mean()), float(plain.std())),
        (float(z.mean()), float(z.std())),
        chi2,
        float(stats.chi2.sf(chi2, len(z))),
        skewed,
    )
    kept = {} if skewed else dict(zip(record.region_ids, map(float, z), strict=True))
    return kept, summary
