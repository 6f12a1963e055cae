"""Training: better than it started, the same again, resumable, honest about settings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import ConfigError
from jaxlik.yields.neural import ROOT_OFFSET
from surrogates.maps import TRAIN
from surrogates.recipe import Recipe
from surrogates.run import Run, groups_of, train
from surrogates.training import advance, prepare, scaled_values, start, stop_loss
from surrogates.validation import predictions


def group_of(map_sets):
    return next(groups_of(map_sets))


def test_padding_does_not_change_the_fit(map_sets):
    group, nodes, regions = group_of(map_sets)
    recipe = Recipe(width=8, steps=40, every=20, batch=16)
    found = []
    for extra in (1, 2):
        data = prepare(group, extra * nodes, regions)
        scale = jnp.ones((len(group), regions), jnp.float32)
        state = advance(start(group, recipe, regions), data, scale, recipe)
        found.append(np.asarray(jax.vmap(stop_loss)(state.networks, data)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_networks_of_a_group_do_not_know_of_one_another(map_sets):
    group, nodes, regions = group_of(map_sets)
    recipe = Recipe(width=8, steps=20, every=20, batch=16)
    data = prepare(group, nodes, regions)
    scale = jnp.ones((len(group), regions), jnp.float32)
    other = data._replace(root=data.root.at[1].add(0.5))
    found = [advance(start(group, recipe, regions), d, scale, recipe) for d in (data, other)]
    one, two = (jax.tree.leaves(state.networks.heads) for state in found)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert not np.allclose(a[1], b[1])


def test_training_learns(map_sets, small_run):
    for maps in map_sets:
        found = predictions(maps, small_run.load(maps))
        fitted = maps.use == TRAIN
        roots = [np.sqrt(v[fitted] / maps.scale + ROOT_OFFSET) for v in (found, maps.values)]
        spread = np.nanvar(roots[1])
        assert np.nanmean((roots[0] - roots[1]) ** 2) < 0.1 * spread


def test_a_second_call_has_nothing_to_do(map_sets, small_run, recipe):
    times = {maps.name: small_run.file_of(maps).stat().st_mtime_ns for maps in map_sets}
    train(map_sets, small_run, recipe, quiet=True)
    assert times == {m.name: small_run.file_of(m).stat().st_mtime_ns for m in map_sets}
    lines = (small_run.folder / "log.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"] for line in lines} == {maps.name for maps in map_sets}


def test_what_is_lost_is_made_again_the_same(map_sets, small_run, thinned, tmp_path, recipe):
    again = Run.open(tmp_path / "again", thinned, recipe)
    train(map_sets, again, recipe, quiet=True)
    for maps in map_sets:
        for one, other in zip(
            jax.tree.leaves(small_run.load(maps)), jax.tree.leaves(again.load(maps)), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_damaged_and_missing_networks_are_named(map_sets, thinned, tmp_path, recipe):
    run = Run.open(tmp_path / "run", thinned, recipe)
    with pytest.raises(ConfigError, match="is not trained"):
        run.load(map_sets[0])
    run.file_of(map_sets[0]).write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="damaged"):
        run.load(map_sets[0])


def test_a_run_keeps_its_settings(thinned, tmp_path, recipe):
    Run.open(tmp_path / "run", thinned, recipe)
    Run.open(tmp_path / "run", thinned, recipe)
    with pytest.raises(ConfigError, match="recipe"):
        Run.open(tmp_path / "run", thinned, Recipe(width=17, steps=400, every=100))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(ConfigError, match="no training run"):
        Run.open(tmp_path / "other", thinned, recipe)
    with pytest.raises(ConfigError, match=r"no run\.json"):
        Run.existing(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"decay": -1.0}, "decay is"),
        ({"steps": 10}, "steps is 10"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**change).check()


def test_networks_are_positive_and_single(map_sets, small_run):
    maps = map_sets[0]
    found = scaled_values(small_run.load(maps), jnp.asarray(maps.nodes))
    assert found.dtype == jnp.float32
    assert bool(jnp.all(found > 0))
