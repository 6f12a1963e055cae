"""The best set of compatible results at fixed gains: exact, on the host.

A combination is a *maximal* clique of the compatibility graph: whatever can be added
has to be added, also where it lowers the sum. Sets are bits of Python integers.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from jaxlik.combination.overlap import Overlap, conflict_components, twin_classes
from jaxlik.errors import ConfigError
from jaxlik.typing import Bool, Float

LOWEST_GAIN = -1e30
"""Stands for a gain of minus infinity: finite, so that sums stay ordered."""


def best_combination(
    overlap: Overlap,
    gain: Float[np.ndarray, " candidate"],
    *,
    present: Bool[np.ndarray, " candidate"] | None = None,
    maximal_among: Bool[np.ndarray, " candidate"] | None = None,
    min_members: int = 2,
) -> Bool[np.ndarray, " candidate"]:
    r"""Members of the maximal clique with the largest sum of gains.

    $$ \hat C = \arg\max_{C\ \mathrm{maximal}} \sum_{i \in C} g_i $$

    The graph splits into the components of its conflicts, each solved by branch and
    bound after twins are collapsed.

    Args:
        overlap: Which pairs are compatible.
        gain: For instance 2 ln[L(mu)/L(0)] of each result; negative values allowed,
            `-inf` where the likelihood vanishes.
        present: Results that have a prediction; all by default.
        maximal_among: Results among which maximality is demanded, for instance those
            with expected sensitivity; the others do not enter the combination and
            block nothing. All by default, the rule of protomodels.
        min_members: 0, 1 or 2; smaller cliques do not count.

    Returns:
        Mask of the members; all false where no combination is large enough.

    Raises:
        ConfigError: If a mask or gain has the wrong length or a gain is undefined.

    Examples:
        >>> from jaxlik.combination.overlap import Overlap
        >>> compatible = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
        >>> overlap = Overlap(compatible, ("A", "B", "C"))
        >>> best_combination(overlap, np.array([2.0, 1.0, 3.0]))
        array([False,  True,  True])

    References:
        arXiv:2012.12246, section 3.5.
    """
    check_min_members(min_members)
    count = len(overlap.analysis_ids)
    live = np.ones(count, dtype=bool)
    for name, mask in (("present", present), ("maximal_among", maximal_among)):
        if mask is not None:
            _check_length(name, mask, count)
            live &= mask
    _check_length("gain", gain, count)
    gain = _checked_gain(overlap, gain, live)
    members = np.zeros(count, dtype=bool)
    chosen = best_live_clique(overlap.compatible, gain, np.flatnonzero(live), min_members)
    members[list(chosen)] = True
    return members


def best_live_clique(
    compatible: Bool[np.ndarray, "candidate candidate"],
    gain: Float[np.ndarray, " candidate"],
    live: np.ndarray,
    min_members: int = 2,
) -> tuple[int, ...]:
    """Indices of the best maximal clique among the `live` ones; see `best_combination`."""
    components = conflict_components(compatible[np.ix_(live, live)])
    # Two components already give two members.
    min_size = min_members if len(components) == 1 else 0
    chosen: list[int] = []
    for component in components:
        vertices = live[list(component)]
        classes = twin_classes(compatible[np.ix_(vertices, vertices)])
        best = [max((vertices[i] for i in members), key=gain.__getitem__) for members in classes]
        # Descending gain: the lowest bit of a set is its largest gain.
        best.sort(key=lambda vertex: -gain[vertex])
        bits = adjacency_bits(compatible[np.ix_(best, best)])
        mask = _branch_and_bound(bits, [float(gain[vertex]) for vertex in best], min_size)
        chosen += [int(vertex) for k, vertex in enumerate(best) if mask >> k & 1]
    return tuple(sorted(chosen))


def maximal_cliques(
    compatible: Bool[np.ndarray, "n n"], *, at_most: int | None = None
) -> Bool[np.ndarray, "clique n"]:
    """All maximal cliques of a compatibility graph, one per row; or the first `at_most`.

    The empty graph has one, the empty set. Collapse twins first where there are any:
    their cliques multiply.

    Examples:
        >>> maximal_cliques(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)).astype(int)
        array([[1, 1, 0],
               [0, 1, 1]])

    References:
        C. Bron, J. Kerbosch, Commun. ACM 16 (1973) 575; pivot: E. Tomita, A. Tanaka,
        H. Takahashi, Theor. Comput. Sci. 363 (2006) 28.
    """
    count = len(compatible)
    num_bytes = max(1, (count + 7) // 8)
    found = _enumerate(adjacency_bits(compatible), 0, (1 << count) - 1, 0)
    packed = b"".join(mask.to_bytes(num_bytes, "little") for mask in islice(found, at_most))
    octets = np.frombuffer(packed, dtype=np.uint8).reshape(-1, num_bytes)
    return np.unpackbits(octets, axis=1, bitorder="little")[:, :count].astype(bool)


def adjacency_bits(compatible: Bool[np.ndarray, "n n"]) -> list[int]:
    """Neighbours of each vertex as the bits of an integer."""
    packed = np.packbits(compatible, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def check_min_members(min_members: int) -> None:
    """Raise `ConfigError` unless the smallest size of a combination is 0, 1 or 2."""
    if min_members not in (0, 1, 2):
        raise ConfigError(f"min_members is {min_members}, wanted 0, 1 or 2 (protomodels: 2).")


def _enumerate(adjacency: list[int], clique: int, open_set: int, closed: int) -> Iterator[int]:
    """Maximal cliques that extend `clique` by members of `open_set` only."""
    if not open_set:
        if not closed:
            yield clique
        return
    for vertex in bits_of(open_set & ~adjacency[_pivot(adjacency, open_set, closed)]):
        bit, near = 1 << vertex, adjacency[vertex]
        yield from _enumerate(adjacency, clique | bit, open_set & near, closed & near)
        open_set ^= bit
        closed |= bit


def _branch_and_bound(adjacency: list[int], weights: Sequence[float], min_size: int) -> int:
    """Best maximal clique of at least `min_size` members, vertices by descending weight.

    Bron-Kerbosch with pivot; a branch is cut where its sum plus `_cover_bound` of what
    may still be added does not exceed the best found.
    """
    best_value, best_clique = -np.inf, 0

    def extend(clique: int, value: float, open_set: int, closed: int) -> None:
        nonlocal best_value, best_clique
        if not open_set:
            if not closed and value > best_value and clique.bit_count() >= min_size:
                best_value, best_clique = value, clique
            return
        if value + _cover_bound(adjacency, weights, open_set) <= best_value:
            return
        for vertex in bits_of(open_set & ~adjacency[_pivot(adjacency, open_set, closed)]):
            bit, near = 1 << vertex, adjacency[vertex]
            extend(clique | bit, value + weights[vertex], open_set & near, closed & near)
            open_set ^= bit
            closed |= bit

    extend(0, 0.0, (1 << len(weights)) - 1, 0)
    return best_clique


def _cover_bound(adjacency: list[int], weights: Sequence[float], vertices: int) -> float:
    """Upper bound on the weight of a clique: positive maxima of a cover by conflict sets.

    Of results that all exclude each other at most one is a member. The lowest bit has
    the largest weight, so the sum ends where weights turn negative.
    """
    total = 0.0
    while vertices:
        lowest = vertices & -vertices
        weight = weights[lowest.bit_length() - 1]
        if weight <= 0:
            break
        total += weight
        group = vertices
        while group:
            bit = group & -group
            vertices ^= bit
            group &= ~(adjacency[bit.bit_length() - 1] | bit)
    return total


def _pivot(adjacency: list[int], open_set: int, closed: int) -> int:
    """The vertex with the most neighbours in `open_set`: fewest branches remain."""
    best, best_count, full = -1, -1, open_set.bit_count()
    for vertex in bits_of(open_set | closed):
        count = (open_set & adjacency[vertex]).bit_count()
        if count > best_count:
            best, best_count = vertex, count
            if count >= full - (open_set >> vertex & 1):
                break
    return best


def bits_of(mask: int) -> Iterator[int]:
    """Positions of the bits that are set, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _checked_gain(
    overlap: Overlap, gain: Float[np.ndarray, " candidate"], live: Bool[np.ndarray, " candidate"]
) -> Float[np.ndarray, " candidate"]:
    wrong = np.flatnonzero(live & (np.isnan(gain) | np.isposinf(gain)))
    if wrong.size:
        first = int(wrong[0])
        raise ConfigError(
            f"gain of {overlap.analysis_ids[first]} (index {first}) is {gain[first]}, wanted a "
            "number or -inf; leave the result out with `present`."
        )
    return np.where(live, np.maximum(gain, LOWEST_GAIN), LOWEST_GAIN)


def _check_length(name: str, array: np.ndarray, count: int) -> None:
    if array.shape != (count,):
        raise ConfigError(
            f"{name} has shape {array.shape}, wanted ({count},): one entry per candidate."
        )
