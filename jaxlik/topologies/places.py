"""Where the topologies of a model lie in the maps of a snapshot.

A *place* is one topology in one target: its coordinates, and what its lifetimes leave of it.
"""

import math
from typing import NamedTuple

import numpy as np

from jaxlik.database.table import MAX_COORDINATES
from jaxlik.database.text_format import rescale_width
from jaxlik.topologies.decompose import Decomposition
from jaxlik.topologies.matching import Match, Matcher
from jaxlik.topologies.targets import Target, TargetTable
from jaxlik.units import HBARC_GEV_M

SMALLEST_SHARE = 1e-10
"""Smaller shares of decays in the right part of the detector count as none (SModelS)."""

DIGITS = 2
"""Decimals coordinates are rounded to before a map is looked up (SModelS)."""


class Widths(NamedTuple):
    """Lifetimes that a map does not know about.

    Attributes:
        decaying: Node number and width [GeV] of new particles that decay.
        stable: The same of those that do not.
    """

    decaying: tuple[tuple[int, float], ...]
    stable: tuple[tuple[int, float], ...]

    def share(self, inner: float, outer: float) -> float:
        """Share of events whose decays are prompt and whose stable particles leave [1].

        Args:
            inner: Size of the part of the detector where decays are prompt [m].
            outer: Size of the detector [m].
        """
        total = 1.0
        for _, width in self.decaying:
            total *= -math.expm1(-width * inner / HBARC_GEV_M)
        for _, width in self.stable:
            total *= math.exp(-width * outer / HBARC_GEV_M)
        return total if total >= SMALLEST_SHARE else 0.0


class Places(NamedTuple):
    """All places of one model.

    Attributes:
        topology: Root of the tree at each place.
        target: Number of its target.
        flat: Coordinates: masses [GeV] and rescaled widths, padded with zeros.
        node: Position in the tree of each coordinate, counted depth first; -1 for padding.
        share: Of events with the right lifetimes [1].
        widths: Lifetimes behind `share`.
    """

    topology: np.ndarray
    target: np.ndarray
    flat: np.ndarray
    node: np.ndarray
    share: np.ndarray
    widths: tuple[Widths, ...]


def find_places(decomposition: Decomposition, table: TargetTable, matcher: Matcher) -> Places:
    """All places of a model where its lifetimes leave something to see.

    Args:
        decomposition: The model.
        table: Targets of a snapshot.
        matcher: For the shapes of the decomposition and the topologies of the table.
    """
    rows: list[tuple[int, int, tuple[float, ...], tuple[int, ...], float, Widths]] = []
    forest = decomposition.forest
    for root in decomposition.origins:
        found = matcher.matches(forest.shape[root])
        if not found:
            continue
        nodes = forest.nodes(root)
        looker = _Looker(decomposition, root, nodes)
        for number, matches in found:
            for user in table.users[number]:
                place = looker.place(table.targets[user], matches)
                if place is not None:
                    rows.append((root, user, *place))
    return Places(
        topology=np.array([row[0] for row in rows], dtype=np.int64),
        target=np.array([row[1] for row in rows], dtype=np.int64),
        flat=np.array([row[2] for row in rows]).reshape(-1, MAX_COORDINATES),
        node=np.array([row[3] for row in rows], dtype=np.int64).reshape(-1, MAX_COORDINATES),
        share=np.array([row[4] for row in rows]),
        widths=tuple(row[5] for row in rows),
    )


Place = tuple[tuple[float, ...], tuple[int, ...], float, Widths]
"""Coordinates, nodes behind them, share of events, lifetimes."""


class _Looker:
    """Places of one topology; targets with equal axes and detector share the answer."""

    def __init__(self, decomposition: Decomposition, root: int, nodes: list[int]):
        forest = decomposition.forest
        self.kinds = [forest.kind(node) if forest.kinds[node] >= 0 else None for node in nodes]
        self.is_leaf = [not forest.children[node] for node in nodes]
        self._known: dict[tuple, Place | None] = {}

    def place(self, target: Target, matches: tuple[Match, ...]) -> Place | None:
        """The place in a target; of two orders the one with the larger coordinates."""
        key = (target.coordinates, target.inner, target.outer, matches)
        if key not in self._known:
            options = [self._option(target, match) for match in matches]
            best = max(options, key=lambda option: (option[0], option[2]))
            self._known[key] = best if best[2] > 0 else None
        return self._known[key]

    def _option(self, target: Target, match: Match) -> Place:
        position_of = dict(match)
        with_width: set[int] = set()
        flat, slots = [], []
        for number, attribute in target.coordinates:
            position = position_of[number]
            kind = self.kinds[position]
            assert kind is not None
            if attribute == "mass":
                flat.append(kind.mass)
            else:
                flat.append(round(float(rescale_width(np.array(kind.width))), DIGITS))
                with_width.add(position)
            slots.append(position)
        number_of = {position: number for number, position in match}
        beyond = max(position_of) + 1
        decaying, stable = [], []
        for position, kind in enumerate(self.kinds):
            if kind is None or not kind.look.is_new or position in with_width:
                continue
            entry = (number_of.get(position, beyond + position), kind.width)
            (stable if self.is_leaf[position] else decaying).append(entry)
        widths = Widths(tuple(decaying), tuple(stable))
        padding = MAX_COORDINATES - len(flat)
        return (
            (*flat, *[0.0] * padding),
            (*slots, *[-1] * padding),
            widths.share(target.inner, target.outer),
            widths,
        )
