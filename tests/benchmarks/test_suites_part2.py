"""Suites of scores, searches, posteriors, pseudo-databases and scaling: their parts, and small runs."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from benchmarks import batches, walks
from benchmarks.batches import chunks, peak_memory
from benchmarks.example_models import mixed_models
from benchmarks.harness import FAILED, MISSING, Options, Row, Timing
from benchmarks.reduced import reduced, some_folders
from benchmarks.suites import posterior, pseudo_databases, scaling, scores, search
from benchmarks.walks import Reached, best_at, evaluations_of, plain_curve, reached, step_timing
from jaxlik.database.snapshot import open_snapshot
from jaxlik.errors import DatabaseError, Status
from jaxlik.fit.config import SearchConfig
from jaxlik.physics.model import protomodel_space, validate
from jaxlik.yields.build import load_table, region_axis
from walkers.run import search as run_search
from walkers.step import joined, sliced

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "walkers"))

from toy_target import ToyTarget  # noqa: E402

QUICK = Options(quick=True, rounds=2)


@pytest.fixture(scope="module")
def space():
    return protomodel_space()


@pytest.fixture(scope="module")
def toy(space):
    return ToyTarget(space)


def rows_by(rows, **wanted):
    """Rows with the values wanted."""
    return [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]


# Batches


def test_chunks_are_those_of_the_walkers():
    batch = {"a": np.arange(23.0), "b": np.arange(46).reshape(23, 2)}
    ours, theirs = chunks(batch, 10), sliced(jax.tree.map(jnp.asarray, batch), 10)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    jax.tree.map(np.testing.assert_array_equal, joined(tuple(ours), 23), batch)


def test_mixed_models_are_valid_and_of_all_contents(space):
    models = mixed_models(space, 7)
    for place in range(7):
        validate(space, jax.tree.map(lambda leaf, i=place: leaf[i], models))
    contents = {tuple(row) for row in np.asarray(models.active)}
    assert len(contents) == 3
    assert len(np.unique(models.masses[:, space.lbp])) == 7


def test_peak_memory_sees_what_is_used():
    with peak_memory("cpu") as small:
        pass
    with peak_memory("cpu") as large:
        block = np.ones(2**25)
        del block
    if "since it began" in large.note:
        pytest.skip("this system does not forget the largest value")
    # 256 MiB, less what was lying about.
    assert large.mib - small.mib > 200


def test_exact_scores_of_the_embedded_database_need_maps(monkeypatch, tmp_path):
    monkeypatch.setattr(batches, "THINNED", tmp_path / "nothing.npz")
    with pytest.raises(DatabaseError, match="holds no efficiency maps"):
        batches.case_of.__wrapped__("embedded", "exact")


# Several devices


def test_batches_over_three_devices_equal_those_on_one():
    code = """
import jax, jax.numpy as jnp, numpy as np, equinox as eqx
jax.config.update("jax_enable_x64", True)
from benchmarks.across_devices import all_devices, batched_apart, spread_over
assert jax.device_count() == 3
class Score(eqx.Module):
    scale: jax.Array
    def __call__(self, x, y):
        found = jax.lax.while_loop(lambda c: c < x, lambda c: c + 1.0, 0.0)
        return {"sum": self.scale * x + y.sum(), "steps": found}
score, mesh = Score(jnp.asarray(2.0)), all_devices()
x, y = jnp.arange(7.0), jnp.arange(14.0).reshape(7, 2)
expected = jax.vmap(score)(x, y)
divided = jax.jit(lambda x, y: spread_over(mesh, score, x, y))
apart = jax.jit(lambda s, x, y: jax.vmap(lambda a, b: batched_apart(mesh, s, a, b))(x, y))
for found in (divided(x, y), apart(score, x, y)):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
same = jax.vmap(lambda a: batched_apart(mesh, score, a, y[0]))(x)
np.testing.assert_array_equal(same["sum"], 2 * x + 1)
# Each device has its part, and needs nothing from the others.
x, y = x[:6], y[:6]
found = divided(x, y)["sum"]
assert len({shard.device for shard in found.addressable_shards}) == 3
text = divided.lower(x, y).compile().as_text()
assert not any(word in text for word in ("all-reduce(", "all-gather(", "all-to-all("))
"""
    run_on_three_devices(code)


def test_target_over_three_devices_scores_as_on_one():
    code = """
import jax, jax.numpy as jnp, numpy as np, equinox as eqx
from types import SimpleNamespace
jax.config.update("jax_enable_x64", True)
from benchmarks.across_devices import SpreadTarget, on_all_devices
from benchmarks.batches import FixedTarget
from benchmarks.example_models import mixed_models
from jaxlik.errors import Status
from jaxlik.physics.model import ModelSpace, protomodel_space
from jaxlik.yields.buckets import Buckets
from walkers.target import evaluate_chunk

class Heaviest(eqx.Module):
    space: ModelSpace
    num_results: int = eqx.field(static=True, default=2)
    num_limit_results: int = eqx.field(static=True, default=0)
    buckets: Buckets = eqx.field(static=True, default=Buckets())
    def evaluate(self, point, excluded):
        mass = jnp.max(jnp.where(point.active, point.masses, 0.0))
        signals = SimpleNamespace(demand=jnp.ones(len(self.buckets), jnp.int32))
        prediction = SimpleNamespace(r_max=mass, status=Status.success, signals=signals)
        prior = SimpleNamespace(log_prior=-mass)
        return SimpleNamespace(score=mass, z_squared=mass, mu_hat=mass, prior=prior,
                               members=~excluded, prediction=prediction)

plain = FixedTarget(Heaviest(protomodel_space()))
points = jax.tree.map(jnp.asarray, mixed_models(plain.space, 7))
excluded = jnp.arange(14).reshape(7, 2) % 3 == 0
spread = on_all_devices(plain)
assert isinstance(spread, SpreadTarget) and spread.enlarged((1,)) is spread
expected, found = (evaluate_chunk(one, points, excluded) for one in (plain, spread))
assert np.ptp(expected.score) > 100
jax.tree.map(np.testing.assert_array_equal, found, expected)
assert found.members.sharding.mesh.size == 3 or len(found.score.devices()) == 3
"""
    run_on_three_devices(code)


def run_on_three_devices(code):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=3"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


# Scores


def test_failures_become_rows():
    def rows():
        yield Row("scores", "first", None, "s", batches.single(1.0))
        raise RuntimeError("RESOURCE_EXHAUSTED: no memory\nand much more")

    first, second = batches.guarded("scores", "batch", rows())
    assert first.value.median == 1.0
    assert (second.case, second.unit) == ("batch", FAILED)
    assert second.note == "RuntimeError: RESOURCE_EXHAUSTED: no memory"


def test_without_a_text_database_a_row_names_the_command():
    (row,) = scores._peer(QUICK)
    assert row.unit == MISSING
    assert row.peer == "SModelS"
    assert "python -m benchmarks.against_smodels --text" in row.note


def test_rows_beside_smodels():
    ours = {"single": [(9.0, 0.002)] * 3, "batch": [(9.0, 0.001)] * 3,
            "compile_s": 20.0, "compile_batch_s": 30.0}  # fmt: skip
    theirs = {"predictions": [(9.0, 0.2), (9.0, 0.3), (9.0, 0.4)], "likelihoods": [(9.0, 4.0)] * 2}
    document = {"batch": 50, "jaxlik": {"stop": ours}, "smodels": {"stop": theirs, "load": 1.0}}
    rows = list(scores.peer_rows(document))
    assert len(rows) == 4
    (row,) = rows_by(rows, size=50, peer="SModelS, likelihoods")
    assert (row.value.median, row.peer_value.median, row.compile_seconds) == (0.001, 4.0, 30.0)
    assert row.ratio.median == pytest.approx(4000)
    (row,) = rows_by(rows, size=1, peer="SModelS, predictions")
    np.testing.assert_allclose(row.ratio, (150, 125, 175))


# Search


def test_evaluations_are_those_of_the_searches_of_the_builder():
    config = SearchConfig(walkers=10, steps=60, gradient_every=25, gradient_steps=3)
    assert evaluations_of(config, 60) == 60 * 10 + 2 * 10 * 4
    assert evaluations_of(SearchConfig(walkers=10, gradient_every=0), 60) == 600


def test_curve_of_a_walk_on_a_toy(toy):
    config = SearchConfig(walkers=6, steps=30, block=10, gradient_every=25, seed=3)
    curve = plain_curve(toy, config)
    assert [one.evaluations for one in curve] == [60, 120, 180]
    assert np.all(np.diff([one.seconds for one in curve]) > 0)
    again = run_search(toy, SearchConfig(walkers=6, steps=30, gradient_every=0, seed=3))
    expected = np.asarray(again.history.best)[[9, 19, 29]]
    np.testing.assert_array_equal([one.score for one in curve], expected)
    assert best_at(curve, 119) == curve[0].score
    assert best_at(curve, 10) == -np.inf
    assert reached(curve, curve[-1].score + 1) is None


def test_steps_are_timed_after_the_first_block(toy, monkeypatch):
    readings = iter([0.0, 100.0, 106.0, 118.0, 124.0, 130.0])
    monkeypatch.setattr(walks, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    timing = step_timing(toy, walkers=6, block=10, rounds=4, seed=0)
    assert timing.first == 100.0
    assert timing.units == 60
    np.testing.assert_allclose(timing.rounds, [0.1, 0.2, 0.1, 0.1])
    assert next(readings, None) is None


def test_quality_rows_compare_at_the_same_budget():
    def curve(*scores):
        return [Reached(100 * n, 10.0 * n, k) for n, k in enumerate(scores, 1)]

    found = {
        "built up": [curve(4.0, 6.0, 6.0), curve(3.0, 5.0, 8.0)],
        search.PEER: [curve(1.0, 2.0, 4.0), curve(-np.inf, 1.0, 5.0)],
    }
    rows = list(search.quality_rows(found, (100, 300), "networks", "toy"))
    first, last = rows_by(rows, unit="K")
    np.testing.assert_allclose(first.value, (3.5, 3.25, 3.75))
    np.testing.assert_allclose(first.peer_value, (1.0, 1.0, 1.0))
    assert last.peer_value.median == 4.5
    (row,) = rows_by(rows, unit="evaluations")
    # 4 after 100 where the walk takes 300; 5 after 200 where it takes 300.
    np.testing.assert_allclose(row.ratio, (2.25, 1.875, 2.625))
    (row,) = rows_by(rows, unit="s")
    assert row.value.median == 20.0
    assert row.ratio.median == 1.5


def test_a_goal_that_is_not_reached_is_a_row():
    found = {"built up": [[Reached(10, 1.0, 0.5)]], search.PEER: [[Reached(10, 1.0, 2.0)]]}
    *_, row = search.quality_rows(found, (10,), "networks", "toy")
    assert row.unit == MISSING
    assert "reached by 0 of 1" in row.note


# Posterior


def test_rows_of_samplers_are_per_second():
    def run(factor):
        ours = {"contents": 100.0 * factor, "continuous": 50.0 * factor}
        return [
            posterior.samplers.Row("jaxlik", ours, 10, 0, 2.0, 1.01),
            posterior.samplers.Row("plain walk, width 0.3", {"contents": 8.0}, 10, 0, 4.0, 1.2),
        ]

    rows = list(posterior.rows_of_runs([run(1.0), run(2.0)], "all contents", "toy"))
    (row,) = rows_by(rows, case="all contents: contents")
    assert row.peer == "plain walk"
    assert (row.value.median, row.peer_value.median, row.ratio.median) == (75.0, 2.0, 37.5)
    assert "R-hat 1.010, of the peer 1.200" in row.note
    (row,) = rows_by(rows, case="all contents: continuous")
    assert row.unit == FAILED


def test_chains_that_have_not_converged_give_no_number():
    ours = posterior.samplers.Row("jaxlik", {"continuous": 9.0}, 10, 0, 2.0, 1.3)
    theirs = posterior.samplers.Row("emcee", {"continuous": 9.0}, 10, 0, 2.0, float("nan"))
    (row,) = posterior.rows_of_runs([[ours, theirs]], "one content", "toy")
    assert row.unit == FAILED
    assert "R-hat 1.300" in row.note


def test_missing_packages_become_rows(monkeypatch):
    monkeypatch.setattr(posterior.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(posterior.samplers, "compare_fixed", lambda *_: [])
    rows = posterior._fixed(posterior.FULL, posterior.Setting(None, None, None, None, ""))
    missing = [next(rows), next(rows)]
    assert [row.peer for row in missing] == ["emcee", "dynesty"]
    assert "jaxlik[bench]" in missing[0].note


def test_samplers_are_silent(capfd):
    with posterior.silence():
        sys.stdout.write("particles")
        sys.stderr.write("bar")
    assert capfd.readouterr() == ("", "")


# Pseudo-databases


class Work:
    def rest(self, seconds):
        time.sleep(seconds)
        return seconds


def test_clock_adds_calls_and_gives_functions_back():
    clock, plain = pseudo_databases.Clock(), Work.rest
    with clock.listening({"resting": [(Work, "rest")]}):
        assert Work().rest(0.02) + Work().rest(0.03) == 0.05
    assert clock.seconds["resting"] >= 0.05
    assert Work.rest is plain


def test_shares_of_stages_and_cost_of_a_step():
    one = {"drawing": 1.0, "building models": 4.0, "walking": 4.0, "report": 1.0}
    rows = list(pseudo_databases.stage_rows([one, one], 20, 50, 70.0))
    rate, estimate = rows_by(rows, unit="per hour")
    assert (rate.value.median, rate.compile_seconds, rate.size) == (360.0, 60.0, 2)
    shares = rows_by(rows, unit="share")
    assert sum(row.value.median for row in shares) == pytest.approx(1)
    (step,) = rows_by(rows, case="one process, a step of all walkers")
    assert step.value.median == pytest.approx(0.2)
    # Twice the steps: 40 of them in 8 s, all in 14 s.
    assert pseudo_databases.STEPS == 40
    assert estimate.value.median == pytest.approx(3600 / 14)


# Scaling


def test_exponent_of_a_power_law():
    sizes = [10, 20, 40]
    law = [[3e-3 * n**1.5] * 3 for n in sizes]
    np.testing.assert_allclose(scaling.exponent(sizes, law), (1.5,) * 3, rtol=1e-9)


def test_exponent_and_its_error_are_those_of_least_squares():
    rng = np.random.default_rng(1)
    sizes, rounds = [8, 16, 32, 64], 7
    seconds = [list(n**0.7 * np.exp(0.1 * rng.normal(size=rounds))) for n in sizes]
    found = scaling.exponent(sizes, seconds)
    x, y = np.log(np.repeat(sizes, rounds)), np.log(np.concatenate(seconds))
    (slope, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    error = np.sqrt(covariance[0, 0] * (residual @ residual) / (len(x) - 2))
    np.testing.assert_allclose(found, (slope, slope - error, slope + error), rtol=1e-9)


def test_exponents_cover_the_truth_as_often_as_they_say():
    """A false alarm has the probability 1e-5."""
    rng = np.random.default_rng(2)
    sizes, hits, trials = [8, 16, 32], 0, 400
    for _ in range(trials):
        seconds = [list(n**1.2 * np.exp(0.2 * rng.normal(size=7))) for n in sizes]
        found = scaling.exponent(sizes, seconds)
        hits += found.low < 1.2 < found.high
    expected = 2 * stats.t.cdf(1, 19) - 1
    assert stats.binomtest(hits, trials, expected).pvalue > 1e-5


@pytest.fixture(scope="module")
def thin():
    return open_snapshot(batches.THINNED)


def test_folders_of_a_smaller_part_are_among_those_of_a_larger(thin):
    small, large = (set(some_folders(thin, n, 5)) for n in (4, 8))
    assert len(small) == 4
    assert small < large


def test_reduced_snapshot_keeps_the_matches_of_its_results(thin):
    folders = some_folders(thin, 6, 0)
    small = reduced(thin, folders)
    assert sorted(r.provenance.folder for r in small.results) == sorted(folders)
    assert {folder for folder, _ in region_axis(small).regions} <= set(folders)

    def matches(snapshot):
        table = load_table(snapshot)
        found = {}
        for label, (first, last) in enumerate(
            zip(table.class_start, table.class_start[1:], strict=False)
        ):
            for match in range(first, last):
                target = table.match_target[match]
                entries = table.target_map[
                    table.target_start[target] : table.target_start[target + 1]
                ]
                maps = tuple(snapshot.maps[i] for i in entries)
                if maps[0].folder in folders:
                    key = (label, maps, table.match_coordinates[match].tobytes())
                    value = (int(table.target_grid[target]), float(table.target_factor[target]))
                    found.setdefault(key, []).append(value)
        return found

    assert matches(small) == matches(thin)
    assert len(small.maps) < len(thin.maps)
    assert len(load_table(thin).target_map) == len(thin.array("channels.target_map"))


def test_regions_scale_on_this_machine():
    plan = scaling.QUICK._replace(independent=(256, 512), correlated=(4, 8))
    for timings_fn in (scaling._independent, scaling._correlated):
        rows = list(scaling._rows(QUICK, plan, "regions", timings_fn))
        assert [row.unit for row in rows] == ["s", "s", "exponent"]
        assert all(row.value.median > 0 for row in rows[:2])
        assert rows[2].value.low <= rows[2].value.median <= rows[2].value.high


def test_models_of_a_size_have_it(space):
    for particles in scaling.FULL.particles:
        models = scaling.models_of_size(space, particles, 3)
        assert np.all(np.asarray(models.active).sum(axis=1) == particles)
        validate(space, jax.tree.map(lambda leaf: leaf[1], models))
        used = np.asarray(models.branching_ratios[0]) > 0
        assert used.sum() == particles - 1
        assert np.all(np.asarray(space.channel_daughter)[used] == space.lbp)


def test_walkers_and_sizes_double():
    for plan in (scaling.QUICK, scaling.FULL):
        for sizes in (plan.independent, plan.correlated, plan.walkers, plan.particles, plan.draws):
            assert np.all(np.asarray(sizes[1:]) == 2 * np.asarray(sizes[:-1]))


# Small runs with engines


@pytest.mark.exhaustive
def test_reduced_engine_sees_what_the_full_one_sees(thin):
    from jaxlik.fit.assemble import build_engine

    folders = some_folders(thin, 20, 0)
    full, labels = build_engine(thin, buckets=batches.BUCKETS["exact"])
    small, fewer = build_engine(reduced(thin, folders), buckets=batches.BUCKETS["exact"])
    models = jax.tree.map(jnp.asarray, mixed_models(full.space, 6))
    predict = jax.jit(lambda e, p: jax.vmap(lambda q: e.predict(q, e.reference_production(q)))(p))
    every, some = predict(full, models), predict(small, models)
    for found in (every, some):
        assert bool((found.status == Status.success).all())
    places = [labels.regions.index(region) for region in fewer.regions]
    assert np.asarray(every.signals.events)[:, places].max() > 0
    np.testing.assert_allclose(
        some.signals.events, np.asarray(every.signals.events)[:, places], rtol=1e-12
    )


@pytest.mark.exhaustive
def test_scores_of_the_embedded_database(monkeypatch):
    monkeypatch.setitem(scores.SIZES, ("cpu", True), (1, 10, 30))
    rows = list(scores.measure(QUICK))
    for yields, sizes in zip(batches.YIELDS, ((1, 10, 30), (10, 30)), strict=True):
        for size in sizes:
            (row,) = rows_by(rows, case=f"score, {yields} yields", size=size, unit="s")
            (rate,) = rows_by(rows, case=f"score, {yields} yields", size=size, unit="per s")
            assert rate.value.median == pytest.approx(1 / row.value.median, rel=0.2)
            assert "do not fit" not in row.note
        assert rows_by(rows, case=f"score, {yields} yields", unit="MiB")[0].value.median > 100
    (slope,) = rows_by(rows, case="score and gradient, networks yields", unit="s")
    assert slope.value.median > 0
    assert [row.peer for row in rows_by(rows, unit=MISSING)] == ["SModelS"]


@pytest.mark.exhaustive
def test_search_suite(monkeypatch):
    monkeypatch.setattr(
        search, "QUICK", search.Plan((10,), 2, 2, 6, 2, (10_000,), search.QUICK.searches)
    )
    rows = list(search.measure(QUICK))
    for yields in batches.YIELDS:
        (row,) = rows_by(rows, case=f"steps of a walker, {yields} yields")
        assert (row.unit, row.size) == ("per s", 10)
        assert row.value.median > 0
    best = rows_by(rows, unit="K")
    assert {row.case for row in best} == {
        f"best K, {name}, networks yields" for name in search.QUICK.searches if name != search.PEER
    }
    assert all(row.unit not in (MISSING, FAILED) or "reached by" in row.note for row in rows)


@pytest.mark.exhaustive
def test_posterior_suite(monkeypatch):
    monkeypatch.setattr(
        posterior,
        "QUICK",
        posterior.QUICK._replace(effort=posterior.samplers.Effort(2.0, block=10)),
    )
    rows = list(posterior.measure(QUICK))
    numbers = [row for row in rows if row.unit == "ESS/s"]
    assert {row.case for row in numbers} == {"all contents: contents", "all contents: continuous"}
    assert [row.peer for row in rows_by(rows, unit=MISSING)] == ["emcee", "dynesty"]
    assert all("failed" not in row.note for row in rows), [row.note for row in rows]


@pytest.mark.exhaustive
def test_pseudo_databases_suite(monkeypatch):
    monkeypatch.setattr(pseudo_databases, "QUICK", pseudo_databases.Plan(1, 1, 0, 0))
    rows = list(pseudo_databases.measure(QUICK))
    shares = rows_by(rows, unit="share")
    assert len(shares) == 4
    assert sum(row.value.median for row in shares) == pytest.approx(1)
    assert all(row.value.median > 0 for row in shares)


@pytest.mark.exhaustive
def test_scaling_suite(monkeypatch):
    plan = scaling.Plan(2, (256, 512), (4, 8), (10, 20), (2, 4), (16, 32))
    monkeypatch.setattr(scaling, "QUICK", plan)
    rows = list(scaling.measure(QUICK))
    exponents = rows_by(rows, unit="exponent")
    assert len(exponents) == 6, [row.note for row in rows if row.unit == FAILED]
    assert all(np.isfinite(row.value.median) for row in exponents)


def test_timings_of_sizes_are_per_unit():
    found = scaling._in_turn(
        {2: lambda: time.sleep(0.002), 4: lambda: time.sleep(0.002)}, 2, {4: 10.0}
    )
    assert isinstance(found[2], Timing)
    assert np.median(found[2].rounds) > 4 * np.median(found[4].rounds)
