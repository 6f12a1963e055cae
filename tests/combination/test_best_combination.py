import igraph
import networkx
import numpy as np
import pytest
from combination_graphs import (
    all_maximal_cliques,
    best_by_enumeration,
    random_overlap,
)

from jaxlik.combination.overlap import Overlap
from jaxlik.combination.selection import best_combination, maximal_cliques
from jaxlik.errors import ConfigError


def as_sets(rows):
    return {frozenset(np.flatnonzero(row).tolist()) for row in rows}


def test_best_combination_equals_enumeration_on_500_random_graphs():
    rng = np.random.default_rng(20221)
    for trial in range(500):
        count = int(rng.integers(1, 11 if trial % 10 else 15))
        overlap = random_overlap(rng, count, rng.choice([0.1, 0.4, 0.7, 0.95]))
        gain = rng.normal(rng.choice([-1.0, 0.0, 0.5]), 1.0, count)
        live = rng.random(count) < 0.8
        min_members = int(rng.integers(0, 3))
        members = best_combination(overlap, gain, present=live, min_members=min_members)
        expected = best_by_enumeration(overlap.compatible, gain, live, min_members)
        if expected is None:
            assert not members.any()
            continue
        np.testing.assert_allclose(gain[members].sum(), expected, rtol=1e-12, atol=1e-12)
        index = np.flatnonzero(live)
        cliques = as_sets(all_maximal_cliques(overlap.compatible[np.ix_(index, index)]))
        assert frozenset(np.flatnonzero(members[index]).tolist()) in cliques
        assert not members[~live].any()


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_maximal_cliques_equal_igraph_and_networkx(density):
    rng = np.random.default_rng(7)
    for count in (1, 9, 33, 40):
        compatible = random_overlap(rng, count, density).compatible
        rows = maximal_cliques(compatible)
        graph = igraph.Graph.Adjacency(compatible.tolist(), mode="undirected")
        oracle = {frozenset(clique) for clique in graph.maximal_cliques()}
        assert as_sets(rows) == oracle
        assert len(rows) == len(oracle)
        nx_cliques = networkx.find_cliques(networkx.from_numpy_array(compatible.astype(int)))
        assert oracle == {frozenset(clique) for clique in nx_cliques}


def test_large_graph_equals_enumeration_by_igraph():
    rng = np.random.default_rng(3)
    overlap = random_overlap(rng, 60, 0.5)
    gain = rng.normal(0.0, 1.0, 60)
    graph = igraph.Graph.Adjacency(overlap.compatible.tolist(), mode="undirected")
    expected = max(gain[list(clique)].sum() for clique in graph.maximal_cliques())
    members = best_combination(overlap, gain)
    np.testing.assert_allclose(gain[members].sum(), expected, rtol=1e-12)


def test_empty_graph_has_the_empty_clique():
    assert maximal_cliques(np.zeros((0, 0), dtype=bool)).shape == (1, 0)


def blocker_graph():
    """Sensitive results a and b combine; v combines with a and excludes b."""
    compatible = np.zeros((3, 3), dtype=bool)
    compatible[0, 1] = compatible[1, 0] = compatible[0, 2] = compatible[2, 0] = True
    return Overlap(compatible, ("a", "b", "v")), np.array([3.0, -2.0, 0.0])


def test_insensitive_result_blocks_only_where_it_counts():
    overlap, gain = blocker_graph()
    np.testing.assert_array_equal(best_combination(overlap, gain), [True, False, True])
    sensitive = np.array([True, True, False])
    members = best_combination(overlap, gain, maximal_among=sensitive)
    np.testing.assert_array_equal(members, [True, True, False])


def test_a_single_result_is_no_combination():
    overlap, gain = blocker_graph()
    alone = np.array([True, False, False])
    assert not best_combination(overlap, gain, present=alone).any()
    assert best_combination(overlap, gain, present=alone, min_members=1)[0]


def test_vanishing_likelihood_is_avoided_but_not_forbidden():
    overlap, gain = blocker_graph()
    gain = np.array([-np.inf, 1.0, -1.0])
    np.testing.assert_array_equal(best_combination(overlap, gain), [True, True, False])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gain": np.array([np.nan, 0.0, 0.0])}, "gain of a .* is nan"),
        ({"gain": np.zeros(2)}, r"gain has shape \(2,\)"),
        ({"min_members": 3}, "min_members is 3"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    overlap, gain = blocker_graph()
    with pytest.raises(ConfigError, match=message):
        best_combination(overlap, **({"gain": gain} | changes))
