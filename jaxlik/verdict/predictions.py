"""Predictions of one model for every result: cross sections seen, limits, r-values.

The rules are those of SModelS (arXiv:2306.17676): of topologies made from the same cascade a
region counts one, upper-limit results cluster theirs, cross sections below 1e-6 fb are none.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlik.critic import MIN_CROSS_SECTION
from jaxlik.topologies.targets import Target
from jaxlik.verdict.atlas import Atlas, Sight
from jaxlik.verdict.clusters import Cluster, Lifetimes, Member, Query, cluster
from jaxlik.yields.sums import MIN_EFFICIENCY

UPPER_LIMIT, EFFICIENCY_MAP, COMBINED = "upper_limit", "efficiency_map", "combined"


class Terms(NamedTuple):
    """What a cross section is the sum of: coefficients times weights of topologies.

    Attributes:
        place: Place of each term, integers, axis ``term``.
        coefficient: Efficiency and constraint factor [1], axis ``term``.
        slope: Its derivative with respect to the coordinates of the place [1/GeV], axes
            ``term coordinate``.
        energy: 0 for weights at 8 TeV, 1 for 13 TeV.
    """

    place: np.ndarray
    coefficient: np.ndarray
    slope: np.ndarray
    energy: int


def joined(parts: Sequence[Terms]) -> Terms:
    """All terms of some predictions of one result."""
    return Terms(
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.coefficient for part in parts]),
        np.concatenate([part.slope for part in parts]),
        parts[0].energy,
    )


class Mean(NamedTuple):
    """How the limit of a cluster depends on its members.

    Attributes:
        place: Place of each member, integers, axis ``member``.
        weight: Weight of each member [fb], axis ``member``.
        slope: Derivative of the limit with respect to the mean coordinates [fb/GeV], axis
            ``coordinate``.
    """

    place: np.ndarray
    weight: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What one result, or one signal region of it, would see of a model.

    Attributes:
        folder: Result.
        kind: ``upper_limit``, ``efficiency_map`` or ``combined``.
        region: Signal region of an efficiency map.
        txnames: Topologies that contribute, by their names in the database, sorted.
        cross_section: Times efficiency, or of the cluster [fb].
        upper_limit: Observed limit on it [fb]; nan where there is none.
        upper_limit_expected: Expected limit [fb]; nan where there is none.
        signal: Events; nan for upper limits.
        terms: What the cross section is the sum of.
        mean: What an upper limit from a map depends on.
        num_topologies: Topologies that contribute.
    """

    folder: str
    kind: str
    region: str | None
    txnames: tuple[str, ...]
    cross_section: float
    upper_limit: float
    upper_limit_expected: float
    signal: float
    terms: Terms
    mean: Mean | None
    num_topologies: int

    @property
    def r(self) -> float:
        """Predicted over allowed cross section."""
        return self.cross_section / self.upper_limit if self.upper_limit > 0 else np.nan

    @property
    def r_expected(self) -> float:
        """The same with the expected limit."""
        expected = self.upper_limit_expected
        return self.cross_section / expected if expected > 0 else np.nan


def predict(atlas: Atlas, sights: Sequence[Sight]) -> list[list[Prediction]]:
    """Predictions of some models: every signal region, every cluster of upper limits."""
    found = [_regions(atlas, sight) for sight in sights]
    jobs = [(index, *job) for index, sight in enumerate(sights) for job in _jobs(atlas, sight)]
    clusters = _together(atlas, [(target, search) for _, target, search in jobs])
    rows = [
        (index, target, one)
        for (index, target, _), group in zip(jobs, clusters, strict=True)
        for one in group
    ]
    if rows:
        observed = atlas.read([t.maps[0] for _, t, _ in rows], _flat(c for _, _, c in rows))
        known = [k for k, (_, target, _) in enumerate(rows) if len(target.maps) > 1]
        expected = np.full(len(rows), np.nan)
        if known:
            there = [rows[k] for k in known]
            values = atlas.read([t.maps[1] for _, t, _ in there], _flat(c for _, _, c in there))
            expected[known] = np.where(values.value > 0, values.value, np.nan)
        for (index, target, one), slope, beside in zip(rows, observed.slope, expected, strict=True):
            prediction = _from_cluster(target, one, slope, beside)
            if prediction.cross_section >= MIN_CROSS_SECTION:
                found[index].append(prediction)
    return found


def _flat(clusters) -> np.ndarray:
    return np.array([one.flat for one in clusters])


def _regions(atlas: Atlas, sight: Sight) -> list[Prediction]:
    """Every signal region that sees the model."""
    entry_map, entry_place = sight.entry_map, sight.entry_place
    region = atlas.region_of_map[entry_map]
    share = sight.places.share[entry_place]
    efficiency = sight.values.value * share
    weight = _weights(atlas, sight)[entry_place]
    counts = (region >= 0) & (efficiency >= MIN_EFFICIENCY) & (weight > 0)
    rows = np.flatnonzero(counts)
    rows = rows[np.lexsort((-(weight * efficiency)[rows], region[rows]))]
    rows = rows[_once(sight, sight.places.topology[entry_place[rows]], region[rows])]
    found = []
    bounds = np.flatnonzero(np.diff(region[rows], prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds):
        mine = rows[start:stop]
        number = region[mine[0]]
        places = entry_place[mine]
        targets = [atlas.table.targets[t] for t in sight.places.target[places]]
        factor = np.array([target.factor for target in targets])
        coefficient = factor * efficiency[mine]
        slope = (factor * share[mine])[:, None] * sight.values.slope[mine]
        cross_section = float(np.sum(coefficient * weight[mine]))
        if cross_section < MIN_CROSS_SECTION:
            continue
        folder, name = atlas.regions[number]
        found.append(
            Prediction(
                folder=folder,
                kind=EFFICIENCY_MAP,
                region=name,
                txnames=tuple(sorted({target.txname for target in targets})),
                cross_section=cross_section,
                upper_limit=float(atlas.upper_limit[number]),
                upper_limit_expected=float(atlas.upper_limit_expected[number]),
                signal=cross_section * float(atlas.luminosity[number]),
                terms=Terms(places, coefficient, slope, targets[0].energy),
                mean=None,
                num_topologies=len(mine),
            )
        )
    return found


def _weights(atlas: Atlas, sight: Sight) -> np.ndarray:
    """Weight of the topology at each place [fb], at the energy of its result."""
    weights = sight.decomposition.weights
    energy = [atlas.table.targets[t].energy for t in sight.places.target]
    return np.array(
        [weights[root][e] for root, e in zip(sight.places.topology, energy, strict=True)]
    )


def _once(sight: Sight, topology: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which rows count: in each group the first of those made from a common cascade."""
    origins = sight.decomposition.origins
    made_from: dict[int, set[int]] = {}
    for root, found in origins.items():
        for origin in found:
            made_from.setdefault(origin.tree, set()).add(root)
    shared = {root for roots in made_from.values() if len(roots) > 1 for root in roots}
    keep = np.ones(len(topology), dtype=bool)
    seen: dict[int, set[int]] = {}
    met: dict[int, set[int]] = {}
    for row, (root, number) in enumerate(zip(topology.tolist(), group.tolist(), strict=True)):
        before = met.setdefault(number, set())
        if root in before and root not in shared:
            keep[row] = False
            continue
        if root in shared:
            trees = {origin.tree for origin in origins[root]}
            used = seen.setdefault(number, set())
            if used & trees:
                keep[row] = False
                continue
            used |= trees
        before.add(root)
    return keep


def _jobs(
    atlas: Atlas, sight: Sight
) -> list[tuple[Target, Generator[Query, float, list[Cluster]]]]:
    """One clustering per upper-limit map that sees the model."""
    places = sight.places
    weight = _weights(atlas, sight)
    limit_rows = np.flatnonzero(atlas.region_of_map[sight.entry_map] < 0)
    groups: dict[int, list[tuple[float, int, float]]] = {}
    for row in limit_rows.tolist():
        place = int(sight.entry_place[row])
        value = float(sight.values.value[row])
        if value > 0 and weight[place] > 0:
            limit = value / float(places.share[place])
            groups.setdefault(int(places.target[place]), []).append((weight[place], place, limit))
    found = []
    for number, rows in groups.items():
        target = atlas.table.targets[number]
        rows.sort(key=lambda row: -row[0])
        topology = places.topology[[row[1] for row in rows]]
        keep = _once(sight, topology, np.zeros(len(rows), dtype=int))
        members = [
            Member(
                place,
                float(heavy),
                limit,
                tuple(places.flat[place].tolist()),
                _raw(sight, place, target),
                places.widths[place],
            )
            for (heavy, place, limit), kept in zip(rows, keep, strict=True)
            if kept
        ]
        axes = tuple(i for i, (_, name) in enumerate(target.coordinates) if name != "mass")
        found.append((target, cluster(members, Lifetimes(target.inner, target.outer, axes))))
    return found


def _raw(sight: Sight, place: int, target: Target) -> tuple[float, ...]:
    """Coordinates with widths in GeV."""
    forest = sight.decomposition.forest
    values = sight.places.flat[place].tolist()
    for axis, (_, name) in enumerate(target.coordinates):
        if name != "mass":
            nodes = forest.nodes(int(sight.places.topology[place]))
            values[axis] = forest.kind(nodes[sight.places.node[place, axis]]).width
    return tuple(values)


def _together(
    atlas: Atlas, jobs: list[tuple[Target, Generator[Query, float, list[Cluster]]]]
) -> list[list[Cluster]]:
    """Run all searches, looking up what they ask for round by round."""
    answers: dict[int, list[Cluster]] = {}
    waiting: dict[int, float | None] = dict.fromkeys(range(len(jobs)))
    while waiting:
        asked: list[tuple[int, Query]] = []
        for number, value in waiting.items():
            search = jobs[number][1]
            try:
                query = next(search) if value is None else search.send(value)
                asked.append((number, query))
            except StopIteration as end:
                answers[number] = end.value
        waiting = {}
        if asked:
            maps = [jobs[number][0].maps[0] for number, _ in asked]
            found = atlas.read(maps, np.array([query.flat for _, query in asked]))
            waiting = {n: float(v) for (n, _), v in zip(asked, found.value, strict=True)}
    return [answers[number] for number in range(len(jobs))]


def _from_cluster(target: Target, one: Cluster, slope: np.ndarray, expected: float) -> Prediction:
    """Prediction of an upper-limit result."""
    place = np.array([member.place for member in one.members])
    weight = np.array([member.weight for member in one.members])
    ones = np.full(len(place), target.factor)
    nothing = np.zeros((len(place), len(slope)))
    return Prediction(
        folder=target.folder,
        kind=UPPER_LIMIT,
        region=None,
        txnames=(target.txname,),
        cross_section=target.factor * float(weight.sum()),
        upper_limit=one.limit,
        upper_limit_expected=expected / one.share,
        signal=np.nan,
        terms=Terms(place, ones, nothing, target.energy),
        mean=Mean(place, weight, slope / one.share),
        num_topologies=len(place),
    )
