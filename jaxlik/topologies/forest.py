"""Trees of cascades, each stored once.

A node is a kind with its daughters; equal subtrees share a node, so that whatever is worked
out for a subtree (its shape, its compression, its matches) is worked out once.
"""

from collections.abc import Iterable

from jaxlik.topologies.kinds import Kind, Look

PRIMARY_VERTEX = Look("PV")


class Shapes:
    """Trees as matching sees them: looks and daughters, without masses.

    Shared by all models of a session: what a shape matches is found once.
    """

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.children: list[tuple[int, ...]] = []
        self.canonical_names: list[int] = []
        self._known: dict[tuple, int] = {}

    def add(self, look: Look, children: tuple[int, ...]) -> int:
        """Number of a shape; `children` in ascending order."""
        key = (look, children)
        if key not in self._known:
            self._known[key] = len(self.looks)
            self.looks.append(look)
            self.children.append(children)
            names = sorted(self.canonical_names[child] for child in children)
            self.canonical_names.append(int("1" + "".join(map(str, names)) + "0"))
        return self._known[key]


class Forest:
    """All subtrees of one model.

    Attributes:
        kinds: Kind of each node; its own entry in `kind_table`.
        children: Daughters of each node, ordered by shape.
        shape: Number of each node in `Shapes`.
        size: Nodes of each subtree, itself included.
    """

    def __init__(self, shapes: Shapes, kind_table: list[Kind]):
        self.shapes = shapes
        self.kind_table = kind_table
        self.kinds: list[int] = []
        self.children: list[tuple[int, ...]] = []
        self.shape: list[int] = []
        self.size: list[int] = []
        self._known: dict[tuple, int] = {}
        self._kind_numbers = {kind.identity: i for i, kind in enumerate(kind_table)}

    def kind_number(self, kind: Kind) -> int:
        """Number of a kind, a new one if needed."""
        number = self._kind_numbers.setdefault(kind.identity, len(self.kind_table))
        if number == len(self.kind_table):
            self.kind_table.append(kind)
        return number

    def order(self, children: Iterable[int]) -> list[int]:
        """Positions that bring daughters into their order."""
        listed = list(children)
        return sorted(range(len(listed)), key=lambda i: (self.shape[listed[i]], listed[i]))

    def add(self, kind: int, children: tuple[int, ...]) -> int:
        """Number of a subtree; `children` in the order of `order`. Kind -1 is the vertex."""
        key = (kind, children)
        found = self._known.get(key)
        if found is not None:
            return found
        look = self.kind_table[kind].look if kind >= 0 else PRIMARY_VERTEX
        self._known[key] = len(self.kinds)
        self.kinds.append(kind)
        self.children.append(children)
        self.shape.append(self.shapes.add(look, tuple(self.shape[c] for c in children)))
        self.size.append(1 + sum(self.size[child] for child in children))
        return len(self.kinds) - 1

    def kind(self, node: int) -> Kind:
        """Kind of a node that is not the primary vertex."""
        return self.kind_table[self.kinds[node]]

    def nodes(self, root: int) -> list[int]:
        """All nodes of a tree, mother before daughters, depth first."""
        found = [root]
        for child in self.children[root]:
            found += self.nodes(child)
        return found

    def text(self, root: int) -> str:
        """A tree as a process, such as ``(PV > C1+, N2), (C1+ > N1, W+)``."""
        steps: list[str] = []

        def label(node: int) -> str:
            return "PV" if self.kinds[node] < 0 else self.kind(node).label

        def follow(node: int) -> None:
            if self.children[node]:
                products = ", ".join(label(child) for child in self.children[node])
                steps.append(f"({label(node)} > {products})")
            for child in self.children[node]:
                follow(child)

        follow(root)
        return ", ".join(steps)
