r"""What regions would count if there were only the Standard Model.

Backgrounds vary as the published models say, together where a covariance is known:

$$ n_r \sim \mathrm{Pois}(\lambda_r), \qquad \lambda = A + \theta + \kappa\,\theta^2 \ge 0,
   \quad \theta = L z, \quad z \sim N(0, 1) $$

with A, L and kappa of the simplified likelihood (arXiv:1809.05548), of the counts of a region
alone (A = b, L = delta_b), or L from the correlations that the background fit of a workspace
finds, with the published b and delta_b: search and pseudo-data then use the same model. A rate
below zero is set to zero, as in arXiv:2012.12246, which moves its mean less than another draw
would (0.064 +- 0.11 to 0.083 instead of 0.12).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxlik.database.records import CovarianceRecord, Result
from jaxlik.database.snapshot import Snapshot
from jaxlik.statmodels.build import build
from jaxlik.statmodels.simplified import SimplifiedLikelihood
from jaxlik.typing import Float, Int


@dataclass(frozen=True)
class Group:
    """Regions whose backgrounds vary together.

    Attributes:
        regions: Positions on the region axis.
        central: A [events].
        root: L [events].
        curvature: kappa [1/events]; 0 where linear.
    """

    regions: Int[np.ndarray, " member"]
    central: Float[np.ndarray, " member"]
    root: Float[np.ndarray, "member member"]
    curvature: Float[np.ndarray, " member"]


@dataclass(frozen=True)
class Backgrounds:
    """Expected counts of all regions and how they vary.

    Attributes:
        background: Published expectation [events].
        error: Published standard deviation [events].
        groups: Those that vary together.
    """

    background: Float[np.ndarray, " region"]
    error: Float[np.ndarray, " region"]
    groups: tuple[Group, ...]

    def rates(self, generator: np.random.Generator, fudge: float) -> Float[np.ndarray, " region"]:
        """Draw expected events of all regions.

        Args:
            generator: Random numbers; one per region is used.
            fudge: Factor on all standard deviations.
        """
        z = generator.standard_normal(len(self.background))
        found = self.background + fudge * self.error * z
        for group in self.groups:
            theta = fudge * (group.root @ z[group.regions])
            found[group.regions] = group.central + theta + group.curvature * theta**2
        return np.maximum(found, 0.0)


def make_backgrounds(
    snapshot: Snapshot, correlations: Mapping[str, Float[np.ndarray, "member member"]]
) -> Backgrounds:
    """Backgrounds of all regions of a snapshot.

    Args:
        snapshot: Database.
        correlations: Of the regions of results with workspaces, by folder; see
            `jaxlik.calibration.workspace_correlations`.
    """
    results = [result for result in snapshot.results if result.counting is not None]
    background, error = (
        np.concatenate([getattr(result.counting, name) for result in results])
        for name in ("background", "background_error")
    )
    groups: list[Group] = []
    start = 0
    for result in results:
        regions, size = _positions(result, start)
        start += size
        folder = result.provenance.folder
        if result.covariance is not None:
            members = regions[_order(result, result.covariance)]
            groups.append(_simplified(result.covariance, members))
        elif folder in correlations:
            sigma = error[regions]
            root = sigma[:, None] * _root(correlations[folder])
            groups.append(Group(regions, background[regions], root, np.zeros(size)))
    return Backgrounds(background, error, tuple(groups))


def _positions(result: Result, start: int) -> tuple[np.ndarray, int]:
    size = len(result.counting.region_ids)  # type: ignore[union-attr]
    return np.arange(start, start + size), size


def _order(result: Result, record: CovarianceRecord) -> list[int]:
    """Positions of the regions of a covariance within their result."""
    place = {name: i for i, name in enumerate(result.counting.region_ids)}  # type: ignore[union-attr]
    return [place[name] for name in record.region_ids]


def _simplified(record: CovarianceRecord, regions: np.ndarray) -> Group:
    model = build(record)
    assert isinstance(model, SimplifiedLikelihood)
    curvature = np.zeros(len(regions)) if model.curvature is None else np.asarray(model.curvature)
    return Group(regions, np.asarray(model.central), np.asarray(model.root), curvature)


def _root(correlation: np.ndarray) -> np.ndarray:
    """R with R R^T the nearest matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    size = np.linalg.norm(root, axis=1, keepdims=True)
    return root / np.where(size > 0, size, 1.0)
