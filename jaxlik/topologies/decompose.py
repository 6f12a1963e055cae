"""Every cascade of a spectrum, its weight, and where that weight comes from.

The rules are those of SModelS (arXiv:1312.4175, arXiv:2306.17676): cascades below a
minimum weight are dropped, those that look alike are added up, compressed copies are added
to the list and remember what they were made from.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxlik.errors import ModelPointError
from jaxlik.physics.particles import STANDARD_MODEL
from jaxlik.physics.quantum_numbers import signed_label
from jaxlik.physics.spectrum import PROMPT_WIDTH, STABLE_WIDTH, Spectrum
from jaxlik.topologies.compress import Compressor
from jaxlik.topologies.forest import Forest, Shapes
from jaxlik.topologies.kinds import (
    INVISIBLE_KINDS,
    STANDARD_MODEL_KINDS,
    Kind,
    Look,
    standard_model_kind,
)

MOST_CASCADES = 2_000_000
"""A model with more is not followed."""


class Rules(NamedTuple):
    """Numbers of the decomposition, by default those of SModelS.

    Attributes:
        minimum_weight: Cascades below it are dropped [fb].
        mass_gap: Decays with a smaller mass difference are compressed [GeV].
        mass_gap_unseen: The same where nothing visible would be left [GeV].
        digits: Decimals masses [GeV] are rounded to.
    """

    minimum_weight: float = 0.005
    mass_gap: float = 5.0
    mass_gap_unseen: float = 1.0
    digits: int = 1


class Source(NamedTuple):
    """One cascade behind a topology: a production mode followed by decays.

    Attributes:
        production: Number of the mode in the spectrum.
        decays: Numbers of the decays in the spectrum.
        pids: PDG number of each node of the tree, 0 for the vertex.
        branching: Product of the branching ratios.
    """

    production: int
    decays: tuple[int, ...]
    pids: tuple[int, ...]
    branching: float


class Origin(NamedTuple):
    """A tree a topology was made from: itself, or one that compression turned into it.

    Attributes:
        tree: Root of the original.
        positions: Node of the original behind each node of the topology, counted depth first.
    """

    tree: int
    positions: tuple[int, ...]


class Decomposition(NamedTuple):
    """All topologies of a model.

    Attributes:
        spectrum: The model.
        forest: Its trees.
        sources: Cascades of each original tree, by root.
        origins: Trees each topology was made from, by root, in order of discovery.
        weights: fb at 8 and 13 TeV of each topology, by root.
    """

    spectrum: Spectrum
    forest: Forest
    sources: dict[int, list[Source]]
    origins: dict[int, list[Origin]]
    weights: dict[int, np.ndarray]


class _Chain(NamedTuple):
    """One way a particle may decay: its subtree, who is at each node, and how likely."""

    node: int
    pids: tuple[int, ...]
    decays: tuple[int, ...]
    branching: float


def decompose(spectrum: Spectrum, rules: Rules, shapes: Shapes) -> Decomposition:
    """Decompose a model.

    Args:
        spectrum: The model.
        rules: Cuts and mass gaps.
        shapes: Trees seen so far in this session.

    Raises:
        ModelPointError: a particle decays into itself, or there are too many cascades.
    """
    kinds, number_of = _kinds(spectrum, rules.digits)
    forest = Forest(shapes, kinds)
    chains = _Chains(spectrum, forest, number_of, rules.minimum_weight)
    sources: dict[int, list[Source]] = {}
    productions = spectrum.productions
    order = sorted(range(len(productions)), key=lambda i: -productions[i].largest)
    for index in order:
        production = productions[index]
        if production.largest < rules.minimum_weight:
            break
        for chain in chains.combined(production.pids, production.largest):
            sources.setdefault(chain.node, []).append(
                Source(index, chain.decays, chain.pids, chain.branching)
            )
    values = np.array([mode.cross_sections for mode in productions]).reshape(-1, 2)
    weights = {
        root: np.sum([values[s.production] * s.branching for s in found], axis=0)
        for root, found in sources.items()
    }
    origins = {root: [Origin(root, tuple(range(forest.size[root])))] for root in sources}
    compressor = Compressor(forest, rules.mass_gap, rules.mass_gap_unseen)
    for root in list(sources):
        for compressed, positions in compressor.all_of(root):
            origins.setdefault(compressed, []).append(Origin(root, positions))
    total = {
        root: np.sum([weights[origin.tree] for origin in found], axis=0)
        for root, found in origins.items()
    }
    return Decomposition(spectrum, forest, sources, origins, total)


def _kinds(spectrum: Spectrum, digits: int) -> tuple[list[Kind], dict[int, int]]:
    """All kinds of a model, and the number of that of each signed PDG number."""
    kinds = [
        Kind(Look(name), 0.0, 0.0, name in INVISIBLE_KINDS, name) for name in STANDARD_MODEL_KINDS
    ]
    by_name = {name: number for number, name in enumerate(STANDARD_MODEL_KINDS)}
    number_of = {
        sign * pid: by_name[standard_model_kind(sign * pid)]
        for pid in (*STANDARD_MODEL, 111, 211)
        for sign in (1, -1)
    }
    known = {kind.identity: number for number, kind in enumerate(kinds)}
    with_decays = {decay.mother for decay in spectrum.decays}
    for pid, numbers in spectrum.quantum_numbers.items():
        width = spectrum.widths[pid] if pid in with_decays else 0.0
        for signed in {pid, spectrum.conjugate(pid)}:
            charge = numbers.three_charge if signed > 0 else -numbers.three_charge
            kind = Kind(
                Look("", charge, numbers.colour, numbers.two_spin),
                round(spectrum.masses[pid], digits),
                width,
                numbers.is_neutral and numbers.escapes,
                signed_label(numbers.name, signed),
            )
            number_of[signed] = known.setdefault(kind.identity, len(kinds))
            if number_of[signed] == len(kinds):
                kinds.append(kind)
    return kinds, number_of


class _Chains:
    """All decay chains of each particle, worked out once."""

    def __init__(
        self, spectrum: Spectrum, forest: Forest, number_of: dict[int, int], minimum: float
    ):
        self.spectrum = spectrum
        self.forest = forest
        self.number_of = number_of
        self.minimum = minimum
        largest = max((mode.largest for mode in spectrum.productions), default=0.0)
        self.smallest_branching = minimum / largest if largest > 0 else 0.0
        self.of_mother: dict[int, list[tuple[int, tuple[int, ...], float]]] = {}
        for number, decay in enumerate(spectrum.decays):
            entry = (number, decay.daughters, decay.branching_ratio)
            self.of_mother.setdefault(decay.mother, []).append(entry)
        self._found: dict[int, list[_Chain]] = {}
        self._above: list[int] = []
        self._count = 0

    def of(self, pid: int) -> list[_Chain]:
        """Decay chains of a signed particle, the likely first; those too rare are left out."""
        if pid not in self._found:
            if pid in self._above:
                raise ModelPointError(
                    f"{self.spectrum.name}: particle {pid} decays into itself, by way of "
                    f"{self._above}; check its DECAY tables"
                )
            self._above.append(pid)
            chains = self._follow(pid)
            self._found[pid] = sorted(chains, key=lambda chain: -chain.branching)
            self._above.pop()
        return self._found[pid]

    def _follow(self, pid: int) -> list[_Chain]:
        kind = self.number_of[pid]
        leaf = _Chain(self.forest.add(kind, ()), (pid,), (), 1.0)
        options = self.of_mother.get(abs(pid), [])
        width = self.spectrum.widths.get(abs(pid), 0.0)
        if not options or width < STABLE_WIDTH:
            return [leaf]
        found = [] if width > PROMPT_WIDTH else [leaf]
        for number, daughters, branching in options:
            if branching < self.smallest_branching:
                continue
            signed = daughters if pid > 0 else tuple(self._conjugate(d) for d in daughters)
            for combined in self._products(signed, branching, self.smallest_branching):
                children, pids, decays, total = combined
                found.append(
                    _Chain(self.forest.add(kind, children), (pid, *pids), (number, *decays), total)
                )
        return found

    def _conjugate(self, pid: int) -> int:
        numbers = self.spectrum.quantum_numbers
        return self.spectrum.conjugate(pid) if abs(pid) in numbers else -pid

    def combined(self, pids: tuple[int, ...], largest: float) -> list[_Chain]:
        """Trees of a production mode whose weight reaches the minimum."""
        found = self._products(pids, 1.0, self.minimum / largest)
        return [
            _Chain(self.forest.add(-1, children), (0, *inner), decays, total)
            for children, inner, decays, total in found
        ]

    def _products(
        self, pids: tuple[int, ...], branching: float, smallest: float
    ) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], float]]:
        """All combinations of chains of several particles: nodes, pids, decays, branching."""
        found = []
        for combination, total in self._combinations(pids, branching, smallest):
            nodes = [chain.node for chain in combination]
            order = self.forest.order(nodes)
            children = tuple(nodes[i] for i in order)
            inner = tuple(pid for i in order for pid in combination[i].pids)
            decays = tuple(number for i in order for number in combination[i].decays)
            found.append((children, inner, decays, total))
        return found

    def _combinations(
        self, pids: tuple[int, ...], branching: float, smallest: float
    ) -> Iterator[tuple[tuple[_Chain, ...], float]]:
        """Combinations whose branching ratio reaches the smallest; none beyond it is tried."""
        options = [self.of(pid) for pid in pids]
        most = [1.0]
        for chains in reversed(options):
            most.insert(0, most[0] * (chains[0].branching if chains else 0.0))

        def extended(
            chosen: tuple[_Chain, ...], total: float
        ) -> Iterator[tuple[tuple[_Chain, ...], float]]:
            position = len(chosen)
            if position == len(options):
                self._count += 1
                if self._count > MOST_CASCADES:
                    raise ModelPointError(
                        f"{self.spectrum.name}: more than {MOST_CASCADES} cascades above "
                        f"{self.minimum:g} fb; raise the minimum weight"
                    )
                yield chosen, total
                return
            for chain in options[position]:
                so_far = total * chain.branching
                # Chains are in order: the rest is smaller still.
                if so_far * most[position + 1] < smallest:
                    break
                yield from extended((*chosen, chain), so_far)

        yield from extended((), branching)
