"""Mass compression and invisible compression (SModelS: arXiv:1312.4175, section 4).

A soft decay leaves nothing to see: its mother is replaced by its daughter. A particle all of
whose products are invisible is itself invisible. Both act on subtrees, which are shared, and
remember which node of the original is behind each node of the result.
"""

import math

from jaxlik.physics.spectrum import PROMPT_WIDTH
from jaxlik.topologies.forest import Forest
from jaxlik.topologies.kinds import Kind, Look

LARGEST_KEPT = 0.999
"""Where nothing visible would be left, gaps above this part of the largest stay (SModelS)."""

Compressed = tuple[int, tuple[int, ...]]
"""A node, and the position in the original subtree behind each of its nodes."""


class Compressor:
    """Compresses the trees of one model.

    Args:
        forest: Trees; results are added.
        mass_gap: Decays with a smaller mass difference [GeV] are soft.
        mass_gap_unseen: The same where nothing visible would be left [GeV].
    """

    def __init__(self, forest: Forest, mass_gap: float, mass_gap_unseen: float):
        self.forest = forest
        self.mass_gap = mass_gap
        self.mass_gap_unseen = mass_gap_unseen
        self._soft: dict[tuple[int, float], tuple[Compressed, float]] = {}
        self._unseen: dict[int, Compressed] = {}
        self._invisible_kinds: dict[tuple[int, float], int] = {}

    def all_of(self, root: int) -> list[Compressed]:
        """Every tree that repeated compression makes of one, without itself."""
        found: dict[int, tuple[int, ...]] = {root: tuple(range(self.forest.size[root]))}
        waiting = [root]
        while waiting:
            tree = waiting.pop(0)
            for node, positions in (self.without_soft_decays(tree), self.invisible(tree)):
                if node not in found:
                    found[node] = tuple(found[tree][position] for position in positions)
                    waiting.append(node)
        del found[root]
        return list(found.items())

    def without_soft_decays(self, root: int) -> Compressed:
        """Mass compression, which leaves the largest gap if nothing else is visible."""
        (node, positions), largest = self._without(root, self.mass_gap)
        if largest >= self.mass_gap_unseen and self._shows_nothing(node):
            (node, positions), _ = self._without(root, LARGEST_KEPT * largest)
        return node, positions

    def _shows_nothing(self, root: int) -> bool:
        forest = self.forest
        return all(
            not forest.children[child] and forest.kind(child).escapes
            for child in forest.children[root]
        )

    def _without(self, node: int, gap: float) -> tuple[Compressed, float]:
        """A subtree without soft decays, and the largest gap [GeV] that was removed."""
        key = (node, gap)
        if key not in self._soft:
            self._soft[key] = self._compute_without(node, gap)
        return self._soft[key]

    def _compute_without(self, node: int, gap: float) -> tuple[Compressed, float]:
        forest = self.forest
        children = forest.children[node]
        if not children:
            return (node, (0,)), -math.inf
        starts = _starts(forest, node)
        if forest.kinds[node] >= 0 and forest.kind(node).look.is_new:
            heavy = [
                i
                for i, child in enumerate(children)
                if forest.children[child] or forest.kind(child).look.is_new
            ]
            mother = forest.kind(node)
            if len(heavy) == 1 and mother.width > PROMPT_WIDTH:
                difference = mother.mass - forest.kind(children[heavy[0]]).mass
                if difference < gap:
                    (inner, positions), largest = self._without(children[heavy[0]], gap)
                    start = starts[heavy[0]]
                    shifted = tuple(start + position for position in positions)
                    return (inner, shifted), max(difference, largest)
        parts = [self._without(child, gap) for child in children]
        largest = max(part[1] for part in parts)
        return _assemble(forest, node, [part[0] for part in parts], starts), largest

    def invisible(self, node: int) -> Compressed:
        """Invisible compression of a subtree."""
        if node not in self._unseen:
            self._unseen[node] = self._compute_invisible(node)
        return self._unseen[node]

    def _compute_invisible(self, node: int) -> Compressed:
        forest = self.forest
        children = forest.children[node]
        if not children:
            return node, (0,)
        parts = [self.invisible(child) for child in children]
        if forest.kinds[node] >= 0:
            mother = forest.kind(node)
            unseen = all(
                not forest.children[part] and forest.kind(part).escapes for part, _ in parts
            )
            if unseen and (mother.escapes or mother.width > PROMPT_WIDTH):
                width = max(forest.kind(part).width for part, _ in parts)
                return forest.add(self._invisible_kind(mother, width), ()), (0,)
        return _assemble(forest, node, parts, _starts(forest, node))

    def _invisible_kind(self, mother: Kind, width: float) -> int:
        """Kind of an effective invisible particle; one of the model's if they look alike."""
        table = self.forest.kind_table
        for number, kind in enumerate(table):
            same = kind.mass == mother.mass and kind.width == width and kind.escapes
            if same and kind.look.is_new:
                return number
        return self.forest.kind_number(Kind(Look(""), mother.mass, width, True, "inv"))


def _starts(forest: Forest, node: int) -> list[int]:
    """Position of each daughter in a subtree, counted depth first."""
    found, start = [], 1
    for child in forest.children[node]:
        found.append(start)
        start += forest.size[child]
    return found


def _assemble(forest: Forest, node: int, parts: list[Compressed], starts: list[int]) -> Compressed:
    """A node with new daughters, in their order."""
    order = forest.order(part for part, _ in parts)
    children = tuple(parts[i][0] for i in order)
    positions = [0]
    for i in order:
        positions += [starts[i] + position for position in parts[i][1]]
    return forest.add(forest.kinds[node], children), tuple(positions)
