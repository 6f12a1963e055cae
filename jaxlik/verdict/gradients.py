r"""Derivatives of r with respect to masses, branching ratios and signal strengths.

A cross section is a sum over topologies of coefficient times weight, a weight a sum over
cascades of production cross section times branching ratios. At fixed choices (regions,
clusters, which topology counts) both are smooth, and

$$ \frac{dr}{dm} = \frac{1}{\sigma_{95}} \frac{d\sigma}{dm} -
   \frac{r}{\sigma_{95}} \frac{d\sigma_{95}}{dm}. $$

Masses move coordinates of maps and, where a model has reference cross sections, these; cross
sections given in a file stay as they are. Branching ratios are free of one another.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from jaxlik.physics.spectrum import reference_slopes
from jaxlik.topologies.decompose import Decomposition
from jaxlik.verdict.atlas import Sight
from jaxlik.verdict.predictions import Prediction, Terms

LARGEST_DENSE = 2_000_000
"""Entries of a matrix that is kept dense."""


class Gradient(NamedTuple):
    """Derivatives of one number.

    Attributes:
        masses: By PDG number [1/GeV].
        branching_ratios: By number of the decay in the spectrum.
        signal_strengths: By number of the production mode; at strength 1.
    """

    masses: dict[int, float]
    branching_ratios: dict[int, float]
    signal_strengths: dict[int, float]


class _Weights(NamedTuple):
    """Derivatives of the weights of all topologies [fb].

    Attributes:
        row: First column of each topology in both matrices, that of 8 TeV; 13 TeV follows.
        signal_strength: Axes ``production``, ``topology and energy``.
        branching_ratio: Axes ``decay``, ``topology and energy``.
        owners: By topology and position in the tree: PDG numbers at this node, and the weight
            [fb] at 8 and 13 TeV of the cascades that have them there. Position -1: all.
    """

    row: dict[int, int]
    signal_strength: np.ndarray | sparse.csr_matrix
    branching_ratio: np.ndarray | sparse.csr_matrix
    owners: dict[tuple[int, int], list[tuple[int, float, float]]]


class Differentiator:
    """Derivatives of everything one model predicts.

    Args:
        sight: The model and what the maps say about it.
    """

    def __init__(self, sight: Sight):
        self.sight = sight
        self.spectrum = sight.decomposition.spectrum
        self.weights = _weights(sight.decomposition)
        self.by_mass = reference_slopes(self.spectrum)
        rows = self.weights.row
        self.row_of_place = np.array([rows[root] for root in sight.places.topology.tolist()])
        size = len(self.spectrum.masses) + len(self.spectrum.decays)
        self.nothing = np.zeros(size + len(self.spectrum.productions))

    def cross_section(self, terms_weight: np.ndarray, terms: Terms) -> np.ndarray:
        """Derivatives of a weighted sum of terms, all parameters in a row."""
        rows = self.row_of_place[terms.place] + terms.energy
        size = 2 * len(self.weights.row)
        along = np.bincount(rows, terms_weight * terms.coefficient, minlength=size)
        strengths = self.weights.signal_strength @ along
        ratios = self.weights.branching_ratio @ along
        masses: dict[int, float] = {}
        slopes = terms_weight[:, None] * terms.slope
        for row in np.flatnonzero(slopes.any(axis=1)).tolist():
            self._add_coordinates(masses, int(terms.place[row]), slopes[row], terms.energy)
        return self._row(masses, ratios, strengths, terms.energy)

    def _add_coordinates(
        self, masses: dict[int, float], place: int, slope: np.ndarray, energy: int
    ) -> None:
        """Add slope times the share of each particle behind each coordinate."""
        places = self.sight.places
        root = int(places.topology[place])
        for axis in np.flatnonzero(slope):
            position = int(places.node[place, axis])
            if position < 0:
                continue
            for pid, *weight in self.weights.owners[root, position]:
                masses[pid] = masses.get(pid, 0.0) + slope[axis] * weight[energy]

    def _row(
        self, masses: dict[int, float], ratios: np.ndarray, strengths: np.ndarray, energy: int
    ) -> np.ndarray:
        """All derivatives in a row; cross sections of reference move with the masses."""
        pids = sorted(self.spectrum.masses)
        direct = np.array([masses.get(pid, 0.0) for pid in pids])
        return np.concatenate([direct + strengths @ self.by_mass[energy], ratios, strengths])

    def limit(self, prediction: Prediction) -> np.ndarray:
        """Derivatives of the upper limit of a cluster [fb], which lies at mean masses."""
        mean = prediction.mean
        if mean is None:
            return self.nothing
        places, energy = self.sight.places, prediction.terms.energy
        whole = mean.weight.sum()
        centre = mean.weight @ places.flat[mean.place] / whole
        masses: dict[int, float] = {}
        size = 2 * len(self.weights.row)
        along = np.zeros(size)
        for place, weight in zip(mean.place.tolist(), mean.weight, strict=True):
            root = int(places.topology[place])
            own = sum(w[1 + energy] for w in self.weights.owners[root, -1])
            share = weight / whole / own if own > 0 else 0.0
            self._add_coordinates(masses, place, mean.slope * share, energy)
            along[self.weights.row[root] + energy] += (
                (places.flat[place] - centre) @ mean.slope / whole
            )
        strengths = self.weights.signal_strength @ along
        ratios = self.weights.branching_ratio @ along
        return self._row(masses, ratios, strengths, energy)

    def r(self, prediction: Prediction) -> Gradient:
        """Derivatives of the r-value of a region or of an upper-limit result."""
        ones = np.ones(len(prediction.terms.place))
        moved = self.cross_section(ones, prediction.terms) - prediction.r * self.limit(prediction)
        return self.gradient(moved / prediction.upper_limit)

    def gradient(self, row: np.ndarray) -> Gradient:
        """A row of derivatives by name; zeros are left out."""
        pids = sorted(self.spectrum.masses)
        first = len(pids) + len(self.spectrum.decays)
        parts = row[: len(pids)], row[len(pids) : first], row[first:]
        names = pids, range(len(parts[1])), range(len(parts[2]))
        return Gradient(
            *(
                {name: float(value) for name, value in zip(keys, part, strict=True) if value != 0}
                for keys, part in zip(names, parts, strict=True)
            )
        )


def _weights(decomposition: Decomposition) -> _Weights:
    """Derivatives of all weights, from the cascades behind each topology."""
    spectrum = decomposition.spectrum
    sections = np.array([mode.cross_sections for mode in spectrum.productions]).reshape(-1, 2)
    ratios = [decay.branching_ratio for decay in spectrum.decays]
    row: dict[int, int] = {}
    by_mode: dict[tuple[int, int], float] = {}
    by_decay: dict[tuple[int, int], float] = {}
    owners: dict[tuple[int, int], dict[int, np.ndarray]] = {}
    for number, (root, found) in enumerate(decomposition.origins.items()):
        row[root] = 2 * number
        for origin in found:
            for source in decomposition.sources[origin.tree]:
                weight = sections[source.production] * source.branching
                whole = owners.setdefault((root, -1), {})
                whole[0] = whole.get(0, 0.0) + weight
                for position, old in enumerate(origin.positions):
                    pid = abs(source.pids[old])
                    if pid not in spectrum.masses:
                        continue
                    there = owners.setdefault((root, position), {})
                    there[pid] = there.get(pid, 0.0) + weight
                for energy in (0, 1):
                    here = 2 * number + energy
                    key = (here, source.production)
                    by_mode[key] = by_mode.get(key, 0.0) + weight[energy]
                    for decay in source.decays:
                        key = (here, decay)
                        by_decay[key] = by_decay.get(key, 0.0) + weight[energy] / ratios[decay]
    shape = (2 * len(row), len(spectrum.productions))
    return _Weights(
        row,
        _matrix(by_mode, shape),
        _matrix(by_decay, (shape[0], len(ratios))),
        {
            key: [(pid, float(w[0]), float(w[1])) for pid, w in found.items()]
            for key, found in owners.items()
        },
    )


def _matrix(
    entries: dict[tuple[int, int], float], shape: tuple[int, int]
) -> np.ndarray | sparse.csr_matrix:
    """Transposed; dense unless it is large, as products with small sparse matrices are slow."""
    rows = [key[0] for key in entries]
    columns = [key[1] for key in entries]
    values = list(entries.values())
    if shape[0] * shape[1] > LARGEST_DENSE:
        return sparse.csr_matrix((values, (columns, rows)), shape=shape[::-1])
    found = np.zeros(shape[::-1])
    found[columns, rows] = values
    return found
