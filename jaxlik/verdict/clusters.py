"""Topologies an upper-limit map cannot tell apart, clustered as SModelS does it.

Two topologies are one signal if their limits differ by less than 20 per cent and the limit at
their mean masses stays within that of all of them (``clusterTools.doCluster``). Limits at mean
masses are asked for through a generator, so that those of many maps are looked up together.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlik.critic import MAX_DISTANCE
from jaxlik.database.text_format import rescale_width
from jaxlik.topologies.places import DIGITS, Widths

MEAN_DIGITS = 5
"""Significant digits of mean masses and widths (SModelS)."""


class Member(NamedTuple):
    """One topology at its place in an upper-limit map.

    Attributes:
        place: Number of the place.
        weight: Cross section times branching ratios [fb].
        limit: Upper limit there [fb], lifetimes included.
        flat: Coordinates: masses [GeV] and rescaled widths.
        raw: The same with widths in GeV.
        widths: Lifetimes the map does not know.
    """

    place: int
    weight: float
    limit: float
    flat: tuple[float, ...]
    raw: tuple[float, ...]
    widths: Widths


class Query(NamedTuple):
    """A limit wanted at mean coordinates; the answer is in fb, 0 where there is none."""

    flat: tuple[float, ...]


@dataclass
class Cluster:
    """Topologies that count as one.

    Attributes:
        members: Them.
        flat: Mean coordinates.
        limit: Upper limit there [fb]; 0 where there is none.
        share: Of events with the right lifetimes, at the mean.
    """

    members: list[Member]
    flat: tuple[float, ...]
    limit: float
    share: float

    @property
    def weight(self) -> float:
        """Sum of the members' [fb]."""
        return sum(member.weight for member in self.members)


class Lifetimes(NamedTuple):
    """Size of a detector [m] and the axes of a map that are widths."""

    inner: float
    outer: float
    width_axes: tuple[int, ...]


def cluster(members: list[Member], lifetimes: Lifetimes) -> Generator[Query, float, list[Cluster]]:
    """Cluster the topologies one map sees; yields the limits it needs."""
    clusters = _identical(sorted(members, key=lambda member: member.limit), lifetimes)
    clusters.sort(key=lambda one: one.limit)
    count = len(clusters)
    distance = np.full((count, count), np.inf)
    for i in range(count):
        for j in range(i + 1, count):
            distance[i, j] = distance[j, i] = _distance(clusters[i].limit, clusters[j].limit)
    closest = distance.min(initial=np.inf)
    while len(clusters) > 1 and closest < MAX_DISTANCE:
        first, second = (int(k) for k in np.argwhere(distance == closest)[0])
        both = clusters[first].members + clusters[second].members
        merged = yield from _merged(both, lifetimes)
        if merged is not None:
            kept, dropped = min(first, second), max(first, second)
            clusters.pop(dropped)
            clusters[kept] = merged
            distance = np.delete(np.delete(distance, dropped, 0), dropped, 1)
            # As SModelS does: distances to later clusters stay those of the old one.
            for i in range(kept):
                distance[i, kept] = distance[kept, i] = _distance(clusters[i].limit, merged.limit)
        else:
            distance[[first, second]] = 2 * MAX_DISTANCE
        closest = distance.min(initial=np.inf)
    return sorted(clusters, key=lambda one: (one.weight, len(one.members)), reverse=True)


def _identical(members: list[Member], lifetimes: Lifetimes) -> list[Cluster]:
    """Clusters of topologies with the same limit, masses and widths."""
    groups: dict[tuple, list[Member]] = {}
    for member in members:
        groups.setdefault((member.limit, member.raw, member.widths), []).append(member)
    return [
        Cluster(
            group,
            group[0].flat,
            group[0].limit,
            group[0].widths.share(lifetimes.inner, lifetimes.outer),
        )
        for group in groups.values()
    ]


def _distance(first: float, second: float) -> float:
    total = first + second
    return 2 * abs(first - second) / total if total > 0 else 0.0


def _merged(members: list[Member], lifetimes: Lifetimes) -> Generator[Query, float, Cluster | None]:
    """One cluster of several topologies, if its limit is close to all of theirs."""
    weights = np.array([member.weight for member in members])
    raw = np.array([member.raw for member in members])
    mean = [_mean(column, weights) for column in raw.T]
    flat = tuple(
        round(float(rescale_width(np.array(value))), DIGITS)
        if axis in lifetimes.width_axes
        else value
        for axis, value in enumerate(mean)
    )
    share = _mean_widths(members, weights).share(lifetimes.inner, lifetimes.outer)
    if share == 0:
        return None
    value = yield Query(flat)
    if value <= 0:
        return None
    limit = value / share
    if max(_distance(limit, member.limit) for member in members) > MAX_DISTANCE:
        return None
    return Cluster(members, flat, limit, share)


def _mean_widths(members: list[Member], weights: np.ndarray) -> Widths:
    """Mean width of each node; of the first member where the nodes differ."""
    first = members[0].widths
    numbers = [tuple(n for n, _ in (*m.widths.decaying, *m.widths.stable)) for m in members]
    if any(number != numbers[0] for number in numbers):
        return first

    def mean(name: str) -> tuple[tuple[int, float], ...]:
        columns = zip(*(getattr(member.widths, name) for member in members), strict=True)
        return tuple(
            (column[0][0], _mean(np.array([width for _, width in column]), weights))
            for column in columns
        )

    return Widths(mean("decaying"), mean("stable"))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean, to five significant digits."""
    mean = float(np.sum(values * weights) / np.sum(weights))
    if mean == 0 or not np.isfinite(mean):
        return mean
    return round(mean, MEAN_DIGITS - 1 - int(np.floor(np.log10(abs(mean)))))
