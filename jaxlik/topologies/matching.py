"""Which node of a model's topology is which node of a published one.

Daughters are paired so that all fit (SModelS ``expSMS.computeMatchingDict``): an exhaustive
search, as vertices have few daughters. Where two branches fit in both orders, both are found.
"""

import itertools
from functools import lru_cache

from jaxlik.topologies.forest import Shapes
from jaxlik.topologies.kinds import label_allows
from jaxlik.topologies.published import PublishedNode

Match = tuple[tuple[int, int], ...]
"""Pairs (number of the published node, position of the model's node, depth first)."""


class Matcher:
    """Matches shapes to published topologies and remembers every answer.

    Args:
        shapes: Trees of models.
        published: Distinct topologies.
    """

    def __init__(self, shapes: Shapes, published: list[PublishedNode]):
        self.shapes = shapes
        self.published = published
        self._by_name: dict[int, list[int]] = {}
        for number, node in enumerate(published):
            self._by_name.setdefault(node.shape, []).append(number)
        self._found: dict[int, list[tuple[int, tuple[Match, ...]]]] = {}
        self._size = lru_cache(maxsize=None)(self._count)

    def matches(self, shape: int) -> list[tuple[int, tuple[Match, ...]]]:
        """Published topologies a tree of this shape matches, in one or two orders."""
        if shape not in self._found:
            name = self.shapes.canonical_names[shape]
            candidates = sorted(self._by_name.get(name, []) + self._by_name.get(0, []))
            answers = (
                (number, self._orders(self.published[number], shape)) for number in candidates
            )
            self._found[shape] = [(number, found) for number, found in answers if found]
        return self._found[shape]

    def _count(self, shape: int) -> int:
        return 1 + sum(self._size(child) for child in self.shapes.children[shape])

    def _orders(self, published: PublishedNode, shape: int) -> tuple[Match, ...]:
        """Matches of two trees: the first found, and the one with branches exchanged."""
        children = list(zip(self.shapes.children[shape], self._starts(shape, 0), strict=True))
        found: list[Match] = []
        orders = [children, children[::-1]] if len(children) == 2 else [children]
        for order in orders:
            match = self._pair(list(published.children), order)
            if match is None:
                break
            ordered = tuple(sorted(((0, 0), *match)))
            if ordered not in found:
                found.append(ordered)
        return tuple(found)

    def _starts(self, shape: int, position: int) -> list[int]:
        """Positions of the daughters of a node at `position`."""
        starts, start = [], position + 1
        for child in self.shapes.children[shape]:
            starts.append(start)
            start += self._size(child)
        return starts

    def _match(self, published: PublishedNode, shape: int, position: int) -> Match | None:
        name = self.shapes.canonical_names[shape]
        if published.shape not in (0, name):
            return None
        look = self.shapes.looks[shape]
        if not published.anything and not label_allows(published.label, look):
            return None
        if published.anything:
            # A particle that does not decay is its own final state.
            children = self._final_states(shape, position)
        else:
            children = list(zip(
                self.shapes.children[shape], self._starts(shape, position), strict=True
            ))  # fmt: skip
        wanted = list(published.children)
        if not wanted and not children:
            return ((published.number, position),)
        match = self._pair(wanted, children)
        return None if match is None else ((published.number, position), *match)

    def _final_states(self, shape: int, position: int) -> list[tuple[int, int]]:
        children = self.shapes.children[shape]
        if not children:
            return [(shape, position)]
        found = []
        for child, start in zip(children, self._starts(shape, position), strict=True):
            found += self._final_states(child, start)
        return found

    def _pair(self, wanted: list[PublishedNode], there: list[tuple[int, int]]) -> Match | None:
        """Pair all daughters; those of any number take what fits them first."""
        single = [node for node in wanted if not node.any_number]
        result: list[tuple[int, int]] = []
        for node in wanted:
            if node.any_number:
                taken = [(entry, self._match(node, *entry)) for entry in there]
                fits = [(entry, match) for entry, match in taken if match is not None]
                there = [entry for entry, match in taken if match is None]
                if fits:
                    result += fits[0][1]  # type: ignore[arg-type]
        if len(single) != len(there):
            return None
        table = [[self._match(node, *entry) for entry in there] for node in single]
        if any(all(match is None for match in row) for row in table):
            return None
        for order in itertools.permutations(range(len(there))):
            chosen = [row[column] for row, column in zip(table, order, strict=True)]
            if all(match is not None for match in chosen):
                for match in chosen:
                    result += match  # type: ignore[arg-type]
                return tuple(result)
        return None
