import json

import igraph
import numpy as np
import pytest

from jaxlik.combination.overlap import (
    Candidate,
    Combinability,
    base_id,
    combinable,
    conflict_components,
    embed_combinability,
    overlap_of,
    read_combinability,
    twin_classes,
    unknown_analyses,
)
from jaxlik.combination.selection import maximal_cliques
from jaxlik.errors import DatabaseError

TABLE = Combinability({"A-1": frozenset({"A-2"}), "A-2": frozenset({"A-1"}), "A-3": frozenset()})


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ("CMS-SUS-16-039-agg", "CMS-SUS-16-039"),
        ("CMS-SUS-16-048-ma5", "CMS-SUS-16-048"),
        ("ATLAS-SUSY-2018-06-eff", "ATLAS-SUSY-2018-06"),
        ("CMS-EXO-13-006-eff-trim", "CMS-EXO-13-006"),
        ("X-1-eff-trim2", "X-1"),
        ("X-1-adl", "X-1"),
        ("ATLAS-SUSY-2018-05-ewk-eff", "ATLAS-SUSY-2018-05-ewk"),
        ("ATLAS-SUSY-2018-16-hino", "ATLAS-SUSY-2018-16-hino"),
    ],
)
def test_base_id_strips_only_names_of_implementations(analysis, expected):
    assert base_id(analysis) == expected


def test_combinable_follows_experiment_energy_and_table():
    first = Candidate("A-1", "ATLAS", 13.0)
    assert combinable(first, Candidate("A-3", "CMS", 13.0), TABLE)
    assert combinable(first, Candidate("A-3", "ATLAS", 8.0), TABLE)
    assert combinable(first, Candidate("A-2-eff", "ATLAS", 13.0, "upper_limit"), TABLE)
    assert not combinable(first, Candidate("A-3", "ATLAS", 13.0), TABLE)
    assert not combinable(first, Candidate("A-9", "ATLAS", 13.0), TABLE)
    assert not combinable(first, Candidate("A-1-eff", "ATLAS", 13.0, "upper_limit"), TABLE)


def test_overlap_is_symmetric_and_excludes_the_diagonal(real_overlap):
    compatible = real_overlap.compatible
    assert (compatible == compatible.T).all()
    assert not compatible.diagonal().any()
    assert max(map(len, twin_classes(compatible))) >= 2


def test_unknown_analyses_are_listed():
    candidates = [Candidate("A-1-eff", "ATLAS", 13.0), Candidate("Z-1-eff", "ATLAS", 13.0)]
    assert unknown_analyses(candidates, TABLE) == ("Z-1",)


def test_overlap_rejects_an_analysis_with_two_energies():
    candidates = [Candidate("A-1", "ATLAS", 13.0), Candidate("A-1-eff", "ATLAS", 8.0)]
    with pytest.raises(DatabaseError, match=r"A-1-eff.*correct the records"):
        overlap_of(candidates, TABLE)


def test_embedded_table_round_trips(tmp_path):
    lists = {"A-1": ["A-2"], "A-2": ["A-1", "A-4"], "A-3": []}
    source, target = tmp_path / "source.json", tmp_path / "target.json"
    source.write_text(json.dumps(lists))
    embed_combinability(source, target)
    assert read_combinability(target).partners == read_combinability(source).partners
    assert read_combinability(target).partners["A-4"] == {"A-2"}
    assert read_combinability(target).sources


@pytest.mark.reference
def test_embedded_table_equals_the_reference(reference):
    given = read_combinability(reference / "data" / "combinations.json")
    assert read_combinability().partners == given.partners
    assert len(given.partners) == 166


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "holds a list"),
        ('{"A-1": "A-2"}', "field 'A-1' must be a list"),
        ('{"A-1": [3]}', "field 'A-1' must be a list"),
        ('{"A-1": ["A-1-eff"]}', "compatible with itself"),
        ('{"schema": "other/1"}', "field 'schema'"),
        ('{"schema": "jaxlik/combinability/1"}', "field 'analyses'"),
        ('{"schema": "jaxlik/combinability/1", "analyses": ["A"]}', "'compatible_above'"),
        (
            '{"schema": "jaxlik/combinability/1", "analyses": ["A"], "compatible_above": [[1]]}',
            "indices below 1",
        ),
    ],
)
def test_damaged_table_names_file_and_field(tmp_path, text, message):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(DatabaseError, match=message) as caught:
        read_combinability(path)
    assert "table.json" in str(caught.value)


def test_missing_table_is_a_database_error(tmp_path):
    with pytest.raises(DatabaseError, match="cannot be read"):
        read_combinability(tmp_path / "absent.json")


def count_cliques(overlap, component):
    """Number of maximal cliques of a component, and the size of the largest."""
    graph = overlap.compatible[np.ix_(component, component)]
    classes = twin_classes(graph)
    first = [group[0] for group in classes]
    rows = maximal_cliques(graph[np.ix_(first, first)])
    products = np.where(rows, [len(group) for group in classes], 1).prod(axis=1)
    return int(products.sum()), int(rows.sum(axis=1).max())


@pytest.mark.reference
def test_release_3_has_the_known_components_and_clique_counts(database_results):
    """Counts of combination.md section 2, where -trim is not among the suffixes."""
    assert len(database_results) == 204
    # The specification looked folders up under their name, so -trim found no partner.
    names = [
        Candidate(folder.replace("-eff-trim", "-untrimmed"), c.experiment, c.sqrts, c.kind)
        for folder, _, c in database_results
    ]
    overlap = overlap_of(names)
    components = conflict_components(overlap.compatible)
    assert [len(c) for c in components] == [71, 62, 41, 30]
    counts = [count_cliques(overlap, c) for c in components]
    assert counts == [(118127, 11), (6384, 12), (507, 5), (149, 6)]


@pytest.mark.reference
def test_folders_and_ids_give_the_same_overlap(database_results):
    folders = overlap_of([c for _, _, c in database_results])
    ids = overlap_of([Candidate(i, c.experiment, c.sqrts) for _, i, c in database_results])
    np.testing.assert_array_equal(folders.compatible, ids.compatible)
    counts = [count_cliques(folders, c)[0] for c in conflict_components(folders.compatible)]
    assert counts == [157498, 6384, 507, 294]
    assert unknown_analyses([c for _, _, c in database_results]) == ()


@pytest.mark.reference
def test_twin_product_equals_igraph(database_results):
    overlap = overlap_of([c for _, _, c in database_results])
    for component in conflict_components(overlap.compatible)[1:]:
        graph = overlap.compatible[np.ix_(component, component)]
        oracle = igraph.Graph.Adjacency(graph.tolist(), mode="undirected").maximal_cliques()
        assert count_cliques(overlap, component)[0] == len(oracle)
