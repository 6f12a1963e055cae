"""Topologies that databases publish: their constraints as trees of labelled nodes.

Two notations: brackets, ``[[['jet','jet']],[['b']]]``, and processes,
``(PV > Zprime(1)), (Zprime(1) > MET(2),MET(3))`` (arXiv:2306.17676). Node numbers are those
that coordinates of maps refer to; SModelS numbers the nodes of brackets branch by branch.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from jaxlik.database.regions import bracket_terms
from jaxlik.errors import DatabaseError
from jaxlik.topologies.kinds import is_known_label

INCLUSIVE = ("inclusive", "inclusivenode")
"""Names of nodes that stand for any cascade."""


@dataclass(frozen=True)
class PublishedNode:
    """A particle of a published topology.

    Attributes:
        number: Of the node, as coordinates name it.
        label: Of the particle.
        children: What it decays to.
        any_number: Whether it stands for any number of such particles, also none.
        anything: Whether it stands for any cascade; its children are the final state.
    """

    number: int
    label: str
    children: tuple["PublishedNode", ...] = ()
    any_number: bool = False
    anything: bool = False

    @cached_property
    def shape(self) -> int:
        """Canonical name, 0 where inclusive parts leave it open (SModelS)."""
        if self.any_number or self.anything:
            return 0
        if not self.children:
            return 10
        names = sorted(child.shape for child in self.children)
        return 0 if names[0] == 0 else int("1" + "".join(map(str, names)) + "0")


@lru_cache(maxsize=4096)
def published_topologies(
    constraint: str, final_state: tuple[str, ...], intermediate_state: str
) -> tuple[PublishedNode, ...]:
    """All topologies in a constraint.

    Args:
        constraint: Factor times a sum of topologies.
        final_state: Label of the last particle of each branch, for brackets.
        intermediate_state: Labels of the others, for brackets; empty for any.

    Raises:
        DatabaseError: a topology does not parse or names an unknown particle.
    """
    found = []
    for term in bracket_terms(constraint):
        node = _process(term) if ">" in term else _brackets(term, final_state, intermediate_state)
        _check_labels(node, term)
        found.append(node)
    return tuple(found)


def _check_labels(node: PublishedNode, term: str) -> None:
    if node.number and not node.anything and not is_known_label(node.label):
        raise DatabaseError(f"topology {term!r} names the unknown particle {node.label!r}")
    for child in node.children:
        _check_labels(child, term)


def _node(text: str, number: int, children: tuple[PublishedNode, ...] = ()) -> PublishedNode:
    """A node by its written label."""
    if text.lower() in INCLUSIVE:
        return PublishedNode(number, text, children, anything=True)
    if text.startswith("*") and len(text) > 1:
        return PublishedNode(number, text[1:], children, any_number=True)
    return PublishedNode(number, text, children)


def _process(term: str) -> PublishedNode:
    """A topology in process notation; nodes without a number get the next ones."""
    steps = re.findall(r"\(((?:[^()]|\(\d+\))*>(?:[^()]|\(\d+\))*)\)", term.replace(" ", ""))
    if not steps:
        raise DatabaseError(f"topology {term!r} holds no step like (PV > a,b)")
    products: dict[str, list[str]] = {}
    for step in steps:
        mother, _, daughters = step.partition(">")
        products[mother] = daughters.split(",")
    highest = max([int(n) for n in re.findall(r"\((\d+)\)", term)], default=0)

    def build(text: str, number: int) -> PublishedNode:
        nonlocal highest
        children = []
        for daughter in products.get(text, ()):
            match = re.fullmatch(r"(.+)\((\d+)\)", daughter)
            if match:
                children.append(build(daughter, int(match[2])))
            else:
                highest += 1
                children.append(build(daughter, highest))
        name = re.sub(r"\(\d+\)$", "", text)
        ordered = tuple(sorted(children, key=lambda child: child.number))
        return _node(name, number, ordered)

    root = next((mother for mother in products if re.sub(r"\(\d+\)$", "", mother) == "PV"), None)
    if root is None:
        raise DatabaseError(f"topology {term!r} has no primary vertex PV")
    return build(root, 0)


def _brackets(term: str, final_state: tuple[str, ...], intermediate_state: str) -> PublishedNode:
    """A topology in brackets: per branch the Standard Model particles of each vertex."""
    branches = _branches(term)
    states = _intermediate(intermediate_state, len(branches))
    if len(final_state) < len(branches):
        raise DatabaseError(f"topology {term!r} has {len(branches)} branches, final states "
                            f"{final_state}")  # fmt: skip
    number = len(branches)
    heads = []
    for branch, text in enumerate(branches):
        if text == "[*]":
            names, vertices = ["Inclusive", final_state[branch]], [["*anySM"]]
        else:
            vertices = [row.split(",") for row in re.findall(r"\[([^\[\]]*)\]", text[1:-1])]
            names = [*(states[branch] or ["anyBSM"] * len(vertices)), final_state[branch]]
        numbers = [branch + 1]
        leaves: list[list[tuple[str, int]]] = []
        for particles in vertices:
            number += 1
            numbers.append(number)
            row = []
            for particle in sorted("anySM" if p == "*" else p for p in particles):
                number += 1
                row.append((particle, number))
            leaves.append(row)
        node = _node(names[-1], numbers[-1])
        for position in range(len(vertices) - 1, -1, -1):
            others = tuple(_node(label, n) for label, n in leaves[position])
            node = _node(names[position], numbers[position], (node, *others))
        heads.append(node)
    return PublishedNode(0, "PV", tuple(heads))


def _branches(term: str) -> list[str]:
    """The branches in ``[[...],[...]]``, as text."""
    found, depth, start = [], 0, 0
    for position, character in enumerate(term):
        if character == "[":
            depth += 1
            start = position if depth == 2 else start
        elif character == "]":
            if depth == 2:
                found.append(term[start : position + 1])
            depth -= 1
    return found


def _intermediate(text: str, count: int) -> list[list[str]]:
    if not text:
        return [[] for _ in range(count)]
    return [
        [name for name in b.split(",") if name] for b in re.findall(r"\[([^\[\]]*)\]", text[1:-1])
    ]
