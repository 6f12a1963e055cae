import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxlik.yields.compaction import expand, pack

ROWS, BUCKET = 24, 8
pack_rows = jax.jit(lambda mask: pack(mask, BUCKET))
expand_rows = jax.jit(lambda start, stop, live: expand(start, stop, live, BUCKET))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, ROWS))
def test_packing_keeps_the_first_live_rows_in_order(mask):
    found = pack_rows(jnp.asarray(mask))
    wanted = np.flatnonzero(mask)[:BUCKET]
    assert int(found.count) == mask.sum()
    assert int(found.live.sum()) == len(wanted)
    np.testing.assert_array_equal(found.index[: len(wanted)], wanted)
    np.testing.assert_array_equal(found.index[len(wanted) :], 0)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, 6), hnp.arrays(np.int32, 6, elements=st.integers(0, 5)))
def test_expansion_lists_the_items_of_all_live_rows(live, lengths):
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32) + 3
    stop = (start + lengths).astype(np.int32)
    found = expand_rows(jnp.asarray(start), jnp.asarray(stop), jnp.asarray(live))
    items = [(r, i) for r in range(6) if live[r] for i in range(start[r], stop[r])]
    assert int(found.count) == len(items)
    used = np.asarray(found.live)
    assert used.sum() == min(len(items), BUCKET)
    pairs = list(zip(np.asarray(found.row)[used], np.asarray(found.item)[used], strict=True))
    assert pairs == items[:BUCKET]
    assert (np.asarray(found.item)[~used] == 0).all()


@pytest.mark.parametrize("function", ["pack", "expand"])
def test_new_contents_compile_nothing(function):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def run(mask, numbers):
        return pack(mask, 4) if function == "pack" else expand(numbers, numbers + 1, mask, 4)

    for seed in range(3):
        mask = jnp.asarray(np.random.default_rng(seed).random(10) > 0.5)
        run(mask, jnp.arange(10, dtype=jnp.int32) + seed)
