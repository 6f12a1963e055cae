"""Decay branches of a model space after mass and invisible compression.

SModelS removes a decay step whose mass gap is small ("mass compression") and folds
a final invisible decay into an effective lightest particle ("invisible
compression"). Instead of listing every cascade with every subset of its steps
removed, a *branch* here lists what remains visible; the removed steps enter its
weight as elements of a transition matrix T, the sum over all chains of soft
decays between two particles. With B the branching ratios of a branch,

    weight = B_hard(c1) T(d1, n1) B_hard(c2) T(d2, f) ...,

where c are the visible channels, d their daughters and n the visible nodes.
Without degenerate particles T is the identity.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from jaxlik.physics.model import ModelSpace
from jaxlik.physics.particles import LBP, STANDARD_MODEL, particle, signed_final_states

MAX_VISIBLE = 2
"""Visible vertices of a branch; published missing-energy topologies have no more."""

MAX_GAP = 15.0
"""GeV; mass compression is not prepared for gaps above this."""

SIGNED = frozenset({6, 11, 13, 15, 24})
"""Standard Model particles whose charge published topologies tell apart."""

NEUTRINOS = frozenset({12, 14, 16})


class Branch(NamedTuple):
    """One side of a simplified-model topology, with its weight as data.

    Attributes:
        start: Signed PDG number of the first visible particle.
        channels: Channel indices of the visible vertices.
        daughters: PDG number produced at each vertex, before soft decays.
        nodes: Signed PDG numbers of the visible particles, `start` first; the
            last one is the lightest or effectively lightest.
        vertices: Standard Model particles of each vertex; signs where they matter.
        share: Fraction of the branching ratios for this assignment of signs.
        invisible: Whether the last node stands for its invisible decay.
    """

    start: int
    channels: tuple[int, ...]
    daughters: tuple[int, ...]
    nodes: tuple[int, ...]
    vertices: tuple[tuple[int, ...], ...]
    share: float
    invisible: bool

    @property
    def direct(self) -> bool:
        """Whether no soft decay is needed between the vertices."""
        return all(abs(n) == d for n, d in zip(self.nodes[1:], self.daughters, strict=True))

    def without(self, steps: int) -> "Branch":
        """The branch whose steps in a bit mask are removed by mass compression."""
        kept = [k for k in range(len(self.channels)) if not steps >> k & 1]
        # A removed step hands on its daughter to what stood before it.
        ends = [*kept[1:], len(self.channels)] if kept else []
        start = self.nodes[kept[0] if kept else -1]
        return self._replace(
            start=start,
            channels=tuple(self.channels[k] for k in kept),
            daughters=tuple(self.daughters[k] for k in kept),
            nodes=(start, *(self.nodes[end] for end in ends)),
            vertices=tuple(self.vertices[k] for k in kept),
        )

    @property
    def ends_in_neutrinos(self) -> bool:
        """Whether the last vertex is visible in name only."""
        return bool(self.vertices) and all(pid in NEUTRINOS for pid in self.vertices[-1])


def vertex(pids: tuple[int, ...]) -> tuple[int, ...]:
    """Standard Model particles with the signs that topologies can tell apart."""
    return tuple(sorted(pid if abs(pid) in SIGNED else abs(pid) for pid in pids))


def signature(branch: Branch) -> tuple:
    """What two branches that differ in their share only have in common."""
    return tuple(branch._replace(share=0.0))


def conjugate(branch: Branch) -> Branch:
    """The branch of antiparticles."""
    return branch._replace(
        start=_flip(branch.start),
        nodes=tuple(map(_flip, branch.nodes)),
        vertices=tuple(
            vertex(tuple(-pid if abs(pid) in SIGNED else pid for pid in pids))
            for pids in branch.vertices
        ),
    )


def _flip(pid: int) -> int:
    return pid if _unsigned(abs(pid)) else -pid


def soft_channels(space: ModelSpace) -> tuple[int, ...]:
    """Channels that mass compression may remove: those with light Standard Model particles."""
    return tuple(
        index
        for index, (_, _, sm) in enumerate(space.channels)
        if sum(STANDARD_MODEL[pid].mass for pid in sm) < MAX_GAP
    )


def invisible_channels(space: ModelSpace) -> tuple[int, ...]:
    """Channels to the lightest particle and neutrinos alone."""
    return tuple(
        index
        for index, (_, daughter, sm) in enumerate(space.channels)
        if daughter == LBP and all(pid in NEUTRINOS for pid in sm)
    )


def soft_reach(space: ModelSpace) -> dict[int, dict[int, int]]:
    """For each signed particle what soft decays can turn it into.

    Returns:
        {signed PDG number: {PDG number: its sign}}, each particle itself included.
    """
    soft = [space.channels[index] for index in soft_channels(space)]
    signed = [s * pid for pid in space.pdg_ids for s in ((1,) if _unsigned(pid) else (1, -1))]
    reach: dict[int, dict[int, int]] = {pid: {abs(pid): pid} for pid in signed}
    for _ in space.pdg_ids:
        for pid in signed:
            for parent, daughter, sm in soft:
                if parent == abs(pid):
                    state = signed_final_states(pid, daughter, sm)[0]
                    for unsigned, target in reach[_known(state[0], reach)].items():
                        reach[pid].setdefault(unsigned, target)
    return reach


def _known(pid: int, reach: dict) -> int:
    return pid if pid in reach else abs(pid)


def _unsigned(pid: int) -> bool:
    return particle(pid).self_conjugate or pid in (1000012, 1000014, 1000016)


def branches_from(
    space: ModelSpace, start: int, reach: dict[int, dict[int, int]]
) -> tuple[Branch, ...]:
    """All branches whose first visible particle is `start` (signed), each once.

    Signs that soft decays make alike are one branch with the sum of their shares.
    """
    first = Branch(start, (), (), (start,), (), 1.0, False)
    shares: dict[Branch, float] = {}
    for branch in _grow(space, first, reach):
        key = branch._replace(share=0.0)
        shares[key] = shares.get(key, 0.0) + branch.share
    return tuple(key._replace(share=share) for key, share in shares.items())


def _grow(space: ModelSpace, branch: Branch, reach: dict[int, dict[int, int]]) -> Iterator[Branch]:
    last = branch.nodes[-1]
    if abs(last) == LBP:
        yield branch
        return
    channels = _by_parent(space.channels).get(abs(last), ())
    if any(daughter == LBP and all(p in NEUTRINOS for p in sm) for _, daughter, sm in channels):
        yield branch._replace(invisible=True)
    if len(branch.channels) == MAX_VISIBLE:
        return
    for index, daughter, sm in channels:
        states = _final_states(last, daughter, sm)
        for state in states:
            for unsigned, target in reach[_known(state[0], reach)].items():
                if unsigned == abs(last):
                    continue
                grown = Branch(
                    branch.start,
                    (*branch.channels, index),
                    (*branch.daughters, daughter),
                    (*branch.nodes, target),
                    (*branch.vertices, vertex(state[1:])),
                    branch.share / len(states),
                    False,
                )
                yield from _grow(space, grown, reach)


@lru_cache(maxsize=8)
def _by_parent(channels: tuple) -> dict[int, tuple]:
    table: dict[int, list] = {}
    for index, (parent, daughter, sm) in enumerate(channels):
        table.setdefault(parent, []).append((index, daughter, sm))
    return {parent: tuple(rows) for parent, rows in table.items()}


@lru_cache(maxsize=4096)
def _final_states(mother: int, daughter: int, sm: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Signed final states, kept apart only where signs can be seen."""
    states = signed_final_states(mother, daughter, sm)
    return tuple({(state[0], vertex(state[1:])): state for state in states}.values())


def quantum_numbers(pid: int) -> tuple[int, int, int]:
    """Three times the charge, colour dimension, twice the spin."""
    found = particle(pid)
    return (found.three_charge if pid > 0 else -found.three_charge), found.colour, found.two_spin
