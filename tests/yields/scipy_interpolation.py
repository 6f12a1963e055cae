"""Interpolation as SModelS does it, in SciPy, with every answer that ties allow.

A point on a face belongs to several simplices, and SciPy's walk may return any of
them; next to flat simplices it also accepts points up to 1e-3 outside. The functions
here list the values of all simplices SciPy may return, so that a difference can be
told from a tie.
"""

import itertools
import math

import numpy as np
from scipy.spatial import Delaunay

TOLERANCE = 1e-6
BROAD = 1e-3
MARGIN = 1e-3
"""Relative closeness to a tolerance at which rounding decides."""

MAX_ERROR = 0.05
MAX_CHOICES = 400


def six_digits(value: float) -> float:
    """Rounded as SModelS rounds."""
    if value == 0:
        return value
    return round(value, int(-np.sign(value) * math.floor(math.log10(abs(value)))) + 5)


class TiedMap:
    """One map: rotated points, values, and SciPy's triangulation of them."""

    def __init__(self, points: np.ndarray, values: np.ndarray):
        self.points, self.values = points, values
        self.dimension = points.shape[1]
        if self.dimension > 1:
            self.mesh = Delaunay(points)
            regular = ~np.isnan(self.mesh.transform[:, 0, 0])
            self.numbers = np.flatnonzero(regular)
            neighbours = self.mesh.neighbors[self.numbers]
            beside_flat = (neighbours >= 0) & ~regular[neighbours]
            self.allowed = np.where(beside_flat, BROAD, TOLERANCE)

    def answers(self, point: np.ndarray) -> set[float]:
        """Values SciPy may give at an in-plane point; ``nan`` for outside."""
        lowest, highest = self.points.min(axis=0), self.points.max(axis=0)
        certain = ((point > lowest - 0.9 * TOLERANCE) & (point < highest + 0.9 * TOLERANCE)).all()
        if ((point < lowest - 1.1 * TOLERANCE) | (point > highest + 1.1 * TOLERANCE)).any():
            return {math.nan}
        if self.dimension == 1:
            return self._between(float(point[0]))
        transform = self.mesh.transform[self.numbers]
        dimension = self.dimension
        first = np.einsum("sij,sj->si", transform[:, :dimension], point - transform[:, dimension])
        weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
        possible = (weights >= -(1 + MARGIN) * self.allowed).all(axis=1)
        sure = (weights >= -(1 - MARGIN) * np.minimum(self.allowed, TOLERANCE)).all(axis=1).any()
        found = set()
        for weight, number in zip(weights[possible], self.numbers[possible], strict=True):
            corners = self.values[self.mesh.simplices[number]]
            found.add(six_digits(float(max(weight @ corners, corners.min()))))
        return found if sure and certain else found | {math.nan}

    def _between(self, position: float) -> set[float]:
        order = np.argsort(self.points[:, 0], kind="stable")
        axis, values = self.points[order, 0], self.values[order]
        found = set()
        for i in range(len(axis) - 1):
            length = axis[i + 1] - axis[i]
            weight = (position - axis[i]) / length if length > 0 else math.nan
            if -1.1 * TOLERANCE <= weight <= 1 + 1.1 * TOLERANCE:
                value = values[i] + weight * (values[i + 1] - values[i])
                found.add(six_digits(float(max(value, min(values[i], values[i + 1])))))
        return found or {math.nan}

    def projected_answers(self, rotated: np.ndarray) -> set[float]:
        """Values SModelS may give at a point off the plane of the grid."""
        inside, beyond = rotated[: self.dimension], rotated[self.dimension :]
        distance = float(np.sqrt(beyond @ beyond))
        steps = distance * np.eye(self.dimension)
        centre = self.answers(inside)
        sides = [self.answers(inside + step) for step in steps]
        found = set()
        for value, *probes in itertools.islice(itertools.product(centre, *sides), MAX_CHOICES):
            if math.isnan(value) or any(map(math.isnan, probes)):
                found.add(math.nan)
                continue
            gradient = np.array([(probe - value) / distance for probe in probes])
            norm = float(np.sqrt(gradient @ gradient))
            if norm == 0:
                found.add(value)
                continue
            shift = np.zeros(self.dimension)
            shift[-1] = (gradient / norm * distance).sum()  # SModelS steps along one axis
            ends = itertools.product(self.answers(inside + shift), self.answers(inside - shift))
            for up, down in itertools.islice(ends, MAX_CHOICES):
                error, other = _change(up, value), _change(down, value)
                if other > error:
                    error = other
                found.add(value if error < MAX_ERROR * (1 - 1e-6) else math.nan)
                if abs(error - MAX_ERROR) < 1e-4 * MAX_ERROR:
                    found |= {value, math.nan}
        return found


def _change(value: float, reference: float) -> float:
    if reference == 0:
        return 1.0 if value != 0 else 0.0
    return abs(value - reference) / reference
