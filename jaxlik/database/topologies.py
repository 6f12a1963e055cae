"""The channel table: every topology of a model space that any map can see.

Built once per snapshot on the host; what comes out are integer arrays. A *row*
is a pair of branches (`jaxlik.database.decays`) started by a pair of visible
particles; rows that look alike share a *class*; a class lists its *matches*: the
targets (maps on a common grid) it fills, with the node behind each coordinate.
"""

import itertools
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from smodels.experiment.defaultFinalStates import finalStates

from jaxlik.database import decays, matching
from jaxlik.database.records import Grid, MapRecord, place_key
from jaxlik.database.regions import coefficient_of
from jaxlik.database.table import MAX_COORDINATES, PROMPT_SLOT, STABLE_SLOT, ChannelTable
from jaxlik.database.text_format import PROMPT_COORDINATE
from jaxlik.physics.model import ModelSpace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Maps of one result and topology that share grid, axes and constraint."""

    grid: int
    coordinates: tuple[tuple[int, str], ...]
    record: MapRecord
    maps: tuple[int, ...]
    factor: float


def build_channel_table(
    space: ModelSpace,
    maps: Sequence[MapRecord],
    grids: Sequence[Grid],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> ChannelTable:
    """Enumerate, match and index all topologies of a model space.

    Args:
        space: Particles, channels and production modes.
        maps: All maps of a snapshot.
        grids: Grids the maps refer to.
        on_progress: Called with (pairs of particles done, all pairs).

    Returns:
        The table; its targets index into `maps`.
    """
    targets = make_targets(maps, grids)
    matcher = Matcher(targets)
    builder = _Builder(space, matcher)
    for done, (pair, feeds) in enumerate(builder.pairs.items()):
        builder.add_pair(pair, feeds)
        if on_progress:
            on_progress(done + 1, len(builder.pairs))
    return builder.table()


def make_targets(maps: Sequence[MapRecord], grids: Sequence[Grid]) -> list[Target]:
    """Group maps that are always evaluated at the same place.

    Empty maps are dropped; expected limits are looked up beside the observed ones
    and are no targets. Constraints within one region exclude each other, as SModelS
    demands: no topology matches two of them.
    """
    groups: dict[tuple, list[int]] = {}
    for index, record in enumerate(maps):
        if record.quantity == "upper_limit_expected" or not np.any(record.values):
            continue
        if not _reaches_prompt(record, grids[record.grid]):
            continue
        groups.setdefault(place_key(record), []).append(index)
    found = []
    for indices in groups.values():
        record = maps[indices[0]]
        factor = coefficient_of(record.constraint)
        found.append(Target(record.grid, record.coordinates, record, tuple(indices), factor))
    return found


def _reaches_prompt(record: MapRecord, grid: Grid) -> bool:
    """Whether a width axis, if any, extends to prompt decays or stable particles."""
    widths = [i for i, (_, name) in enumerate(record.coordinates) if name != "mass"]
    if not widths:
        return True
    dimension = grid.points.shape[1]
    full = grid.points @ grid.rotation[:, :dimension].T + grid.centre
    axis = full[:, widths]
    low, high = axis.min(axis=0) - 1e-6, axis.max(axis=0) + 1e-6
    return bool(
        all(
            (lo <= PROMPT_COORDINATE <= hi) or (lo <= 0.0 <= hi)
            for lo, hi in zip(low, high, strict=True)
        )
    )


class Matcher:
    """Matches shapes of branch pairs to targets, remembering every answer."""

    def __init__(self, targets: Sequence[Target]):
        self.targets = list(targets)
        self._terms: dict[tuple, tuple[matching.Topology, tuple]] = {}
        self._users: dict[tuple, list[int]] = {}
        for index, target in enumerate(self.targets):
            for topology in matching.topologies_of(target.record):
                key = (topology.term, target.record.intermediate_state)
                self._terms.setdefault(key, (topology, _labels(topology.term)))
                self._users.setdefault(key, []).append(index)
        self._found: dict[tuple, list[matching.Match]] = {}
        self._allowed = _LabelTable()
        self._masks: dict[tuple, tuple[int, int]] = {}

    def matches(
        self, first: matching.BranchShape, second: matching.BranchShape
    ) -> list[tuple[int, matching.Match, matching.Match]]:
        """(target, match, match in the other order or the same) of a pair of shapes."""
        found: dict[int, tuple[matching.Match, matching.Match]] = {}
        (a, b), (c, d) = self._allowing(first.vertices), self._allowing(second.vertices)
        candidates = (a & d) | (b & c)
        for number, (key, (topology, _)) in enumerate(self._terms.items() if candidates else ()):
            if not candidates >> number & 1:
                continue
            for_key = (key, first, second)
            if for_key not in self._found:
                self._found[for_key] = matching.find_matches(topology, first, second)
            answer = self._found[for_key]
            if answer:
                for target in self._users[key]:
                    found.setdefault(target, (answer[0], answer[-1]))
        return [(target, *pair) for target, pair in sorted(found.items())]

    def _allowing(self, vertices: tuple) -> tuple[int, int]:
        """Bit masks of the terms whose first, and second, branch may be this one."""
        if vertices not in self._masks:
            masks = [0, 0]
            for number, (_, labels) in enumerate(self._terms.values()):
                for side, wanted in enumerate(labels):
                    masks[side] |= self._allowed.branch(wanted, vertices) << number
            self._masks[vertices] = (masks[0], masks[1])
        return self._masks[vertices]


def _labels(term: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    branches = re.findall(r"\[((?:\[[^\[\]]*\],?)*)\]", term[1:-1])
    return tuple(
        tuple(tuple(v.split(",")) for v in re.findall(r"\[([^\[\]]*)\]", branch))
        for branch in branches
    )


class _LabelTable:
    """Which Standard Model particles a label of the database stands for."""

    def __init__(self) -> None:
        self._labels: dict[str, frozenset[int]] = {}
        self._branches: dict[tuple, bool] = {}

    def pids(self, label: str) -> frozenset[int]:
        if label not in self._labels:
            (particle,) = finalStates.getParticlesWith(label=label)[:1]
            self._labels[label] = frozenset(
                pid
                for pid, candidate in matching.standard_model_particles().items()
                if particle == candidate
            )
        return self._labels[label]

    def branch(self, labels: tuple[tuple[str, ...], ...], vertices: tuple) -> bool:
        key = (labels, vertices)
        if key not in self._branches:
            self._branches[key] = len(labels) == len(vertices) and all(
                self._vertex(wanted, pids) for wanted, pids in zip(labels, vertices, strict=True)
            )
        return self._branches[key]

    def _vertex(self, labels: tuple[str, ...], pids: tuple[int, ...]) -> bool:
        if len(labels) != len(pids):
            return False
        return any(
            all(pid in self.pids(label) for label, pid in zip(labels, order, strict=True))
            for order in itertools.permutations(pids)
        )


Feed = tuple[int, tuple[int, int], tuple[int, int]]

_UNKNOWN, _UNSEEN = -2, -1


@dataclass(frozen=True)
class _Starts:
    """All branches that one particle starts, as arrays on the axis `branch`."""

    number: np.ndarray  # of the branch
    shape: np.ndarray  # number of its shape
    invisible: np.ndarray
    hollow: np.ndarray  # ends in neutrinos without being invisible


class _Builder:
    """Collects rows pair by pair."""

    def __init__(self, space: ModelSpace, matcher: Matcher):
        self.space = space
        self.matcher = matcher
        self.reach = decays.soft_reach(space)
        self.pairs: dict[tuple[int, int], list[Feed]] = {}
        for production, (a, b) in enumerate(space.productions):
            for x in self.reach[a].values():
                for y in self.reach[b].values():
                    swap = x > y
                    key = (y, x) if swap else (x, y)
                    feed = (production, (b, a), (y, x)) if swap else (production, (a, b), (x, y))
                    self.pairs.setdefault(key, []).append(feed)
        self._branch_index: dict[decays.Branch, int] = {}
        self._starting: dict[int, _Starts] = {}
        self._shapes: dict[matching.BranchShape, int] = {}
        self._class_of = np.zeros((0, 0), dtype=np.int32)
        self._classes: dict[tuple, int] = {}
        self._class_matches: list[list] = []
        self._feeds: list[tuple[int, int, tuple, tuple]] = []
        self._pair_production: list[int] = []
        self._rows: list[np.ndarray] = []

    def add_pair(self, pair: tuple[int, int], feeds: list[Feed]) -> None:
        """Add all rows whose first visible particles are `pair`."""
        one, two = self._from(pair[0]), self._from(pair[1])
        label = self._class_table(one.shape, two.shape)
        # Invisible compression acts on both branches or on none.
        mixed = one.invisible[:, None] != two.invisible[None, :]
        hollow = one.hollow[:, None] | two.hollow[None, :]
        first, second = np.nonzero((label != _UNSEEN) & ~(mixed & hollow))
        if not len(first):
            return
        number = len(self._pair_production)
        direct = [p for p, produced, visible in feeds if produced == visible]
        self._pair_production.append(direct[0] if direct else self.space.num_productions)
        self._feeds += [(number, p, produced, visible) for p, produced, visible in feeds]
        columns = (one.number[first], two.number[second], label[first, second])
        self._rows.append(np.stack([np.full(len(first), number), *columns], axis=1))

    def _from(self, start: int) -> _Starts:
        if start not in self._starting:
            found = decays.branches_from(self.space, start, self.reach)
            shapes = [_shape(branch) for branch in found]
            self._starting[start] = _Starts(
                _ints([self._branch_index.setdefault(b, len(self._branch_index)) for b in found]),
                _ints([self._shapes.setdefault(s, len(self._shapes)) for s in shapes]),
                np.array([b.invisible for b in found], dtype=bool),
                np.array([b.ends_in_neutrinos and not b.invisible for b in found], dtype=bool),
            )
        return self._starting[start]

    def _class_table(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Class of every pair of shapes; `_UNSEEN` where no map sees them."""
        missing = len(self._shapes) - len(self._class_of)
        self._class_of = np.pad(self._class_of, (0, missing), constant_values=_UNKNOWN)
        some, others = np.unique(first), np.unique(second)
        shapes = list(self._shapes)
        for i, j in np.argwhere(self._class_of[np.ix_(some, others)] == _UNKNOWN):
            a, b = some[i], others[j]
            found = self.matcher.matches(shapes[a], shapes[b])
            self._class_of[a, b] = self._register(found) if found else _UNSEEN
        return self._class_of[np.ix_(first, second)]

    def _register(self, found: list) -> int:
        rows = []
        for target, match, swapped in found:
            axes = self.matcher.targets[target].coordinates
            rows.append((target, _codes(axes, match), _codes(axes, swapped)))
        key = tuple(rows)
        if key not in self._classes:
            self._classes[key] = len(self._class_matches)
            self._class_matches.append(rows)
        return self._classes[key]

    def table(self) -> ChannelTable:
        """The collected rows as arrays; rows are ordered by pair."""
        space = self.space
        index = {pid: i for i, pid in enumerate(space.pdg_ids)}
        nothing, nobody = space.num_channels, space.num_particles
        rows = np.concatenate([np.zeros((0, 4), dtype=np.int32), *self._rows]).astype(np.int32)
        used, renumbered = np.unique(rows[:, 1:3], return_inverse=True)
        rows[:, 1:3] = renumbered.reshape(-1, 2)
        every = list(self._branch_index)
        branches = [every[number] for number in used]

        def padded(values: Sequence[int], length: int, fill: int) -> list[int]:
            return [*values, *[fill] * (length - len(values))]

        counts = [len(rows) for rows in self._class_matches]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        flat = [row for rows in self._class_matches for row in rows]
        targets = self.matcher.targets
        branch_nodes = _ints(
            [padded([index[abs(n)] for n in b.nodes], 3, nobody) for b in branches], 3
        )
        keys = np.concatenate(
            [rows[:, 3:], branch_nodes[rows[:, 1]], branch_nodes[rows[:, 2]]], axis=1
        )
        sites, row_site = np.unique(keys, axis=0, return_inverse=True)
        return ChannelTable(
            branch_channels=_ints([padded(b.channels, 2, nothing) for b in branches], 2),
            branch_daughters=_ints(
                [padded([index[abs(d)] for d in b.daughters], 2, nobody) for b in branches], 2
            ),
            branch_nodes=branch_nodes,
            branch_share=np.array([b.share for b in branches]),
            branch_direct=np.array([b.direct for b in branches], dtype=bool),
            branch_invisible=np.array([b.invisible for b in branches], dtype=bool),
            branch_compressed=_compressed(branches),
            pair_production=_ints(self._pair_production),
            feed_pair=_ints([f[0] for f in self._feeds]),
            feed_production=_ints([f[1] for f in self._feeds]),
            feed_from=_ints([[index[abs(p)] for p in f[2]] for f in self._feeds], 2),
            feed_to=_ints([[index[abs(p)] for p in f[3]] for f in self._feeds], 2),
            row_pair=rows[:, 0],
            row_branches=rows[:, 1:3],
            row_site=row_site.reshape(-1).astype(np.int32),
            site_class=sites[:, 0].astype(np.int32),
            site_nodes=sites[:, 1:].astype(np.int32),
            class_start=starts,
            match_target=_ints([row[0] for row in flat]),
            match_coordinates=np.array([row[1] for row in flat], dtype=np.int8).reshape(
                -1, MAX_COORDINATES
            ),
            match_swapped=np.array([row[2] for row in flat], dtype=np.int8).reshape(
                -1, MAX_COORDINATES
            ),
            target_factor=np.array([target.factor for target in targets]),
            target_grid=_ints([target.grid for target in targets]),
            target_map=_ints([m for target in targets for m in target.maps]),
            target_start=np.concatenate([[0], np.cumsum([len(t.maps) for t in targets])]).astype(
                np.int32
            ),
            soft_channels=_ints(decays.soft_channels(space)),
            invisible_channels=_ints(decays.invisible_channels(space)),
            num_channels=space.num_channels,
            num_particles=space.num_particles,
            num_productions=space.num_productions,
        )


def _compressed(branches: Sequence[decays.Branch]) -> np.ndarray:
    """For each branch and set of its steps, bit by bit, the branch without these steps."""
    known = {decays.signature(branch): number for number, branch in enumerate(branches)}
    for number, branch in enumerate(branches):
        # Soft decays are followed into one sign of their daughter only.
        known.setdefault(decays.signature(decays.conjugate(branch)), number)
    table = np.full((len(branches), 2**decays.MAX_VISIBLE), -1)
    for number, branch in enumerate(branches):
        if branch.direct:
            for steps in range(2 ** len(branch.channels)):
                table[number, steps] = known.get(decays.signature(branch.without(steps)), -1)
    return _ints(table, 2**decays.MAX_VISIBLE)


def _ints(values: Sequence | np.ndarray, width: int | None = None) -> np.ndarray:
    array = np.array(values, dtype=np.int32)
    return array.reshape(-1, width) if width else array.reshape(-1)


def _shape(branch: decays.Branch) -> matching.BranchShape:
    nodes = [decays.quantum_numbers(pid) for pid in branch.nodes]
    if branch.invisible:
        nodes[-1] = (0, 1, nodes[-1][2])
    return matching.BranchShape(branch.vertices, tuple(nodes))


def _codes(axes: tuple[tuple[int, str], ...], match: matching.Match) -> tuple[int, ...]:
    """Slot of the node array behind each coordinate; widths get constant slots."""
    position = dict(match.position_of_node)
    last = {max(s for s in position.values() if s < 3), max(position.values())}
    codes = []
    for node, attribute in axes:
        slot = position[node]
        if attribute != "mass":
            slot = STABLE_SLOT if slot in last else PROMPT_SLOT
        codes.append(slot)
    return tuple(codes + [STABLE_SLOT] * (MAX_COORDINATES - len(codes)))
