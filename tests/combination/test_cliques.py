import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from combination_graphs import best_by_enumeration, random_overlap

from jaxlik.combination.cliques import (
    CliqueBlock,
    SubsetBlock,
    best_cliques,
    choose,
    make_clique_table,
    restrict,
)
from jaxlik.combination.overlap import Overlap
from jaxlik.combination.selection import best_combination
from jaxlik.errors import ConfigError, Status

best_jit = eqx.filter_jit(best_cliques)


def live_masks(rng, count, num_masks, num_live):
    masks = np.zeros((num_masks, count), dtype=bool)
    for mask in masks:
        mask[rng.permutation(count)[: rng.integers(0, num_live + 1)]] = True
    return masks


def check_against_host(overlap, table, masks, weights, min_members=2):
    """Device values and members equal the host's for every mask and node."""
    batched = jax.jit(jax.vmap(lambda a, b: best_cliques(table, a, b, min_members=min_members)))
    best = batched(jnp.asarray(masks), jnp.asarray(weights))
    assert (best.status == Status.success).all()
    for k, mask in enumerate(masks):
        for node in range(weights.shape[1]):
            gain = weights[k, node]
            members = best_combination(overlap, gain, present=mask, min_members=min_members)
            found = np.asarray(best.members[k, node])
            np.testing.assert_array_equal(found, members)
            exists = members.any() or (min_members == 0 and not mask.any())
            expected = gain[members].sum() if exists else -np.inf
            np.testing.assert_allclose(best.value[k, node], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_device_equals_host_on_real_subsets(real_overlap):
    rng = np.random.default_rng(11)
    count = len(real_overlap.analysis_ids)
    table = make_clique_table(real_overlap)
    assert all(isinstance(block, CliqueBlock) for block in table.blocks)
    masks = np.concatenate(
        [live_masks(rng, count, 200, 30), live_masks(rng, count, 80, 4), np.ones((1, count)) > 0]
    )
    check_against_host(real_overlap, table, masks, rng.normal(0.1, 1.0, (len(masks), 2, count)))


def test_subset_blocks_equal_host_on_real_subsets(real_overlap):
    rng = np.random.default_rng(12)
    count = len(real_overlap.analysis_ids)
    table = make_clique_table(real_overlap, max_rows=1, max_live=9)
    assert all(isinstance(block, SubsetBlock) for block in table.blocks)
    masks = live_masks(rng, count, 80, 9)
    check_against_host(real_overlap, table, masks, rng.normal(0.1, 1.0, (len(masks), 2, count)))


@pytest.mark.parametrize("min_members", [0, 1, 2])
@pytest.mark.parametrize("max_rows", [1, 8192], ids=["subsets", "rows"])
def test_device_equals_enumeration_on_random_graphs(max_rows, min_members):
    rng = np.random.default_rng(13)
    overlap = random_overlap(rng, 10, [0.2, 0.5, 0.8][min_members])
    table = make_clique_table(overlap, max_rows=max_rows)
    best_fn = jax.jit(lambda a, b: best_cliques(table, a, b, min_members=min_members))
    for live in live_masks(rng, 10, 60, 10):
        gain = rng.normal(-0.2, 1.0, 10)
        value = best_fn(jnp.asarray(live), jnp.asarray(gain)[None, :]).value[0]
        expected = best_by_enumeration(overlap.compatible, gain, live, min_members)
        expected = -np.inf if expected is None else expected
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_more_than_32_classes_in_a_block():
    rng = np.random.default_rng(14)
    overlap = random_overlap(rng, 45, 0.4)
    table = make_clique_table(overlap)
    assert any(isinstance(b, CliqueBlock) and b.row_bits.shape[0] == 2 for b in table.blocks)
    masks = live_masks(rng, 45, 40, 45)
    check_against_host(overlap, table, masks, rng.normal(0.1, 1.0, (40, 1, 45)))


def test_live_set_and_weights_are_data():
    rng = np.random.default_rng(15)
    count = 16
    table = make_clique_table(random_overlap(rng, count, 0.5))
    best_fn = jax.jit(eqx.debug.assert_max_traces(best_cliques, max_traces=1))
    for mask in live_masks(rng, count, 3, 16):
        best_fn(table, jnp.asarray(mask), jnp.asarray(rng.normal(size=(4, count))))


@pytest.mark.parametrize("max_rows", [1, 8192], ids=["subsets", "rows"])
def test_gradient_is_the_membership_even_with_undefined_dead_weights(max_rows):
    rng = np.random.default_rng(16)
    count = 16
    table = make_clique_table(random_overlap(rng, count, 0.5), max_rows=max_rows, max_live=6)
    live = jnp.asarray(live_masks(rng, count, 1, 3)[0]).at[:3].set(True)
    weights = jnp.where(live[None, :], jnp.asarray(rng.normal(size=(3, count))), jnp.nan)
    best = best_jit(table, live, weights)
    gradient = jax.jit(jax.grad(lambda w: best_cliques(table, live, w).value.sum()))(weights)
    np.testing.assert_array_equal(gradient, best.members)
    assert best.status == Status.success


def test_gradient_with_a_live_set_computed_from_the_argument():
    rng = np.random.default_rng(17)
    count = 16
    table = make_clique_table(random_overlap(rng, count, 0.5))
    start = jnp.asarray(rng.normal(size=count))

    def value_fn(yields):
        return best_cliques(table, yields > 1.0, (yields * yields)[None, :]).value[0]

    members = best_jit(table, start > 1.0, (start * start)[None, :]).members[0]
    gradient = jax.jit(jax.grad(value_fn))(start)
    np.testing.assert_allclose(gradient, jnp.where(members, 2 * start, 0.0), rtol=1e-12)


def two_results(compatible=True):
    matrix = np.array([[False, compatible], [compatible, False]])
    return make_clique_table(Overlap(matrix, ("a", "b")))


def test_nothing_live_has_no_combination_and_no_gradient():
    table, dead = two_results(), jnp.zeros(2, dtype=bool)
    best = best_jit(table, dead, jnp.ones((1, 2)))
    assert best.value[0] == -jnp.inf
    assert not best.members.any()
    gradient = jax.jit(jax.grad(lambda w: best_cliques(table, dead, w).value.sum()))(
        jnp.ones((1, 2))
    )
    np.testing.assert_array_equal(gradient, jnp.zeros((1, 2)))
    assert best_jit(table, dead, jnp.ones((1, 2)), min_members=0).value[0] == 0.0


def test_conflicting_pair_is_no_combination_of_two():
    table, live = two_results(compatible=False), jnp.ones(2, dtype=bool)
    assert best_jit(table, live, jnp.ones((1, 2))).value[0] == -jnp.inf
    assert best_jit(table, live, jnp.array([[1.0, 3.0]]), min_members=1).value[0] == 3.0


def test_ties_give_one_combination():
    table, live = two_results(compatible=False), jnp.ones(2, dtype=bool)
    best = best_jit(table, live, jnp.ones((1, 2)), min_members=1)
    assert best.members.sum() == 1


def test_forced_impossible_member_makes_the_value_minus_infinity():
    best = best_jit(two_results(), jnp.ones(2, dtype=bool), jnp.array([[1.0, -jnp.inf]]))
    assert best.value[0] == -jnp.inf
    assert best.members.all()
    assert best.status == Status.success


def test_impossible_result_is_not_replaced_by_its_dead_twin():
    compatible = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=bool)
    table = make_clique_table(Overlap(compatible, ("dead", "impossible", "c")))
    live, weights = jnp.array([False, True, True]), jnp.array([[5.0, -jnp.inf, 1.0]])
    best = best_jit(table, live, weights)
    np.testing.assert_array_equal(best.members[0], live)
    assert best.value[0] == -jnp.inf


def test_dense_random_graph_falls_back_without_listing_all_cliques():
    overlap = random_overlap(np.random.default_rng(20), 150, 0.8)
    table = make_clique_table(overlap, max_rows=1000)
    assert any(isinstance(block, SubsetBlock) for block in table.blocks)


def test_too_many_subsets_are_refused():
    overlap = Overlap(np.zeros((2, 2), dtype=bool), ("a", "b"))
    with pytest.raises(ConfigError, match="max_live is 40"):
        make_clique_table(overlap, max_live=40)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_undefined_live_weight_is_reported(bad):
    best = best_jit(two_results(), jnp.ones(2, dtype=bool), jnp.array([[1.0, bad]]))
    assert best.value[0] == -jnp.inf
    assert best.status == Status.not_finite


def test_overflow_is_reported_not_cut():
    rng = np.random.default_rng(18)
    overlap = random_overlap(rng, 12, 0.5)
    table = make_clique_table(overlap, [range(12)], max_rows=1, max_live=4)
    crowded = best_jit(table, jnp.ones(12, dtype=bool), jnp.ones((1, 12)))
    assert crowded.status == Status.overflow
    assert crowded.value[0] == -jnp.inf
    few = best_jit(table, jnp.arange(12) < 4, jnp.ones((1, 12)))
    assert few.status == Status.success


def test_restricted_table_serves_many_weights():
    rng = np.random.default_rng(19)
    count = 16
    table = make_clique_table(random_overlap(rng, count, 0.5))
    live = jnp.asarray(live_masks(rng, count, 1, 12)[0])
    cliques = eqx.filter_jit(restrict)(table, live)
    for _ in range(2):
        weights = jnp.asarray(rng.normal(size=(2, count)))
        expected = best_jit(table, live, weights).value
        np.testing.assert_array_equal(
            eqx.filter_jit(choose)(table, cliques, weights).value, expected
        )


@pytest.mark.parametrize(
    ("blocks", "message"),
    [([[0]], "each of 0 to 1 once"), ([[0], [1]], "conflict but lie in different blocks")],
)
def test_wrong_blocks_are_named(blocks, message):
    overlap = Overlap(np.zeros((2, 2), dtype=bool), ("a", "b"))
    with pytest.raises(ConfigError, match=message):
        make_clique_table(overlap, blocks)
