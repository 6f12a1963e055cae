"""Yields of a thinned snapshot: shapes, gradients, batches, buckets."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.retable import channel_table
from jaxlik.errors import Status
from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import make_space, point_from_dict
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.build import build_yields, region_axis
from jaxlik.yields.compression import Gaps

N1, N2, C1, STOP, SQUARK = 1000022, 1000023, 1000024, 1000006, 1000001
BUCKETS = Buckets().holding([40, 64, 4, 60, 40, 250, 3000, 600, 8, 0, 0, 100, 40, 8])
MODELS = {
    "squark, stop": {
        "masses": {N1: 163.0, SQUARK: 735.0, STOP: 1166.0},
        "branching_ratios": {SQUARK: {(N1, 1): 1.0}, STOP: {(N1, 6): 1.0}},
        "signal_strengths": {(-SQUARK, SQUARK): 0.5, (-STOP, STOP): 1.2},
    },
    "electroweak": {
        "masses": {N1: 111.0, N2: 287.0, C1: 281.0},
        "branching_ratios": {N2: {(N1, 23): 0.6, (N1, 25): 0.4}, C1: {(N1, 24): 1.0}},
    },
    "compressed": {
        "masses": {N1: 201.7, N2: 205.7, C1: 204.7, STOP: 713.0},
        "branching_ratios": {
            N2: {(N1, 12, 12): 1.0},
            C1: {(N1, 1, 2): 1.0},
            STOP: {(N1, 6): 0.4, (C1, 5): 0.3, (N2, 6): 0.3},
        },
    },
}


@pytest.fixture(scope="module")
def regions(thinned):
    return region_axis(thinned)


@pytest.fixture(scope="module")
def yields(thinned, pool, regions):
    return build_yields(thinned, pool, regions)


@pytest.fixture(scope="module")
def points(pool):
    return {name: point_from_dict(pool, document) for name, document in MODELS.items()}


@pytest.fixture(scope="module")
def predict(pool):
    """Signals of (yields, masses, branching ratios, signal strengths, active)."""
    reference = reference_cross_sections(pool)

    def run(yields, masses, fractions, strengths, active, buckets=BUCKETS):
        exists = active[pool.production_pair].all(axis=1)
        production = reference(masses) * (strengths * exists)[:, None]
        fractions = jnp.where(active[pool.channel_parent], fractions, 0.0)
        return yields(
            masses,
            fractions,
            production,
            gaps=Gaps(jnp.asarray(5.0), jnp.asarray(1.0)),
            minimum_weight=jnp.asarray(1e-3),
            buckets=buckets,
        )

    return run


@pytest.fixture(scope="module")
def compiled(predict):
    traced = eqx.debug.assert_max_traces(predict, max_traces=1)
    return eqx.filter_jit(traced)


def leaves(point):
    return point.masses, point.branching_ratios, point.signal_strengths, point.active


def test_all_models_share_one_trace(compiled, yields, points, regions):
    for point in points.values():
        signals = compiled(yields, *leaves(point))
        assert bool(signals.status == Status.success)
        events = np.asarray(signals.events)
        assert events.shape == (len(regions.regions),)
        assert (events >= 0).all()
        assert (events > 0).sum() > 20


def test_events_are_luminosity_times_cross_section(compiled, yields, points, thinned):
    signals = compiled(yields, *leaves(points["electroweak"]))
    luminosity = np.concatenate(
        [
            np.full(len(r.counting.region_ids), r.provenance.luminosity)
            for r in thinned.results
            if r.counting is not None
        ]
    )
    np.testing.assert_allclose(signals.events, signals.cross_section * luminosity, rtol=1e-14)


def test_yields_are_linear_in_signal_strengths(compiled, yields, points):
    """The weight cut aside: no cascade of this model is near it."""
    masses, fractions, strengths, active = leaves(points["squark, stop"])
    once = compiled(yields, masses, fractions, strengths, active)
    twice = compiled(yields, masses, fractions, 2 * strengths, active)
    np.testing.assert_allclose(twice.events, 2 * once.events, rtol=1e-12)


def test_the_published_winner_fills_its_regions(compiled, yields, points, regions):
    """Signals of Table 3 of arXiv:2012.12246 to 20 per cent: maps and release differ."""
    signals = compiled(yields, *leaves(points["squark, stop"]))
    events = dict(zip(regions.regions, np.asarray(signals.events), strict=True))
    assert events["ATLAS-SUSY-2016-07-eff", "2j_Meff_1200"] == pytest.approx(44.2, rel=0.2)
    assert events["ATLAS-SUSY-2016-16-eff", "tN_high"] == pytest.approx(3.93, rel=0.2)


@pytest.mark.parametrize("name", MODELS)
def test_batches_equal_single_models(name, predict, compiled, yields, points, pool):
    masses, fractions, strengths, active = leaves(points[name])
    factors = jnp.asarray([1.0, 1.01, 0.99])
    batch = eqx.filter_jit(
        lambda y, m, f, s, a: jax.vmap(lambda mass: predict(y, mass, f, s, a))(m)
    )(yields, factors[:, None] * masses[None], fractions, strengths, active)
    for i, factor in enumerate(factors):
        single = compiled(yields, factor * masses, fractions, strengths, active)
        np.testing.assert_allclose(batch.events[i], single.events, rtol=1e-12)
        np.testing.assert_array_equal(batch.demand[i], single.demand)


def test_absent_particles_change_nothing(compiled, yields, points, pool):
    masses, fractions, strengths, active = leaves(points["electroweak"])
    moved = jnp.where(active, masses, 1.37 * masses)
    filled = jnp.where(active[pool.channel_parent], fractions, 0.3)
    one = compiled(yields, masses, fractions, strengths, active)
    other = compiled(yields, moved, filled, strengths, active)
    np.testing.assert_array_equal(one.events, other.events)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_finite_differences(name, predict, yields, points, pool):
    """Along one random direction, where no face or cut lies between the two ends."""
    point = points[name]
    rng = np.random.default_rng(3)
    active = np.asarray(point.active)
    direction = jnp.asarray(np.where(active, rng.normal(size=len(active)), 0.0))
    weights = jnp.asarray(rng.uniform(size=len(predict_shape(yields))))

    @eqx.filter_jit
    def total(yields, masses, strengths):
        signals = predict(yields, masses, point.branching_ratios, strengths, point.active)
        return jnp.sum(weights * signals.events)

    def along(step):
        return float(total(yields, point.masses + step * direction, point.signal_strengths))

    slope = float(
        jnp.vdot(
            jax.grad(lambda m: total(yields, m, point.signal_strengths))(point.masses),
            direction,
        )
    )
    # Piecewise linear in the maps: one side of a face may spoil one step size, not all three.
    errors = []
    for step in (1e-3, 3e-4, 1e-4):
        numeric = (along(step) - along(-step)) / (2 * step)
        errors.append(abs(numeric - slope) / abs(slope))
    assert min(errors) < 1e-5
    strengths = jax.grad(lambda s: total(yields, point.masses, s))(point.signal_strengths)
    assert np.isfinite(np.asarray(strengths)).all()
    linear = float(jnp.vdot(strengths, point.signal_strengths))
    assert linear == pytest.approx(along(0.0), rel=1e-10)


def predict_shape(yields):
    return yields.maps.luminosity


def test_gradients_are_finite_for_absent_particles(predict, yields, points):
    point = points["compressed"]

    def total(masses, fractions, strengths):
        return predict(yields, masses, fractions, strengths, point.active).events.sum()

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(
        point.masses, point.branching_ratios, point.signal_strengths
    )
    for gradient in gradients:
        assert np.isfinite(np.asarray(gradient)).all()
    assert not np.asarray(gradients[0])[~np.asarray(point.active)].any()


@pytest.mark.parametrize(
    "field", ["branches", "feeds", "rows", "sites", "places", "entries", "limits"]
)
def test_small_buckets_are_reported(field, predict, yields, points):
    small = BUCKETS._replace(**{field: 1})
    point = points["electroweak"]
    signals = eqx.filter_jit(lambda y: predict(y, *leaves(point), buckets=small))(yields)
    assert bool(signals.status == Status.overflow)
    assert signals.demand[Buckets._fields.index(field)] > 1


def test_large_enough_buckets_do_not_matter(predict, compiled, yields, points):
    point = points["compressed"]
    one = compiled(yields, *leaves(point))
    exact = Buckets(*[max(int(need), 1) for need in one.demand])
    other = eqx.filter_jit(lambda y: predict(y, *leaves(point), buckets=exact))(yields)
    np.testing.assert_allclose(one.events, other.events, rtol=1e-13)


def test_buckets_hold_what_was_demanded():
    demand = [10, 70, 5, 100, 50, 300, 900, 20, 9, 200, 700, 115, 70, 3]
    grown = Buckets().holding(demand)
    assert all(
        size >= 1.25 * need or size >= need for size, need in zip(grown, demand, strict=True)
    )
    assert all(size >= old for size, old in zip(grown, Buckets(), strict=True))


def test_spaces_without_soft_decays_work(thinned):
    lightest, stop = 1000022, 1000006
    space = make_space((lightest, stop), [(stop, lightest, (6,))], [(-stop, stop)])
    axis = region_axis(thinned)
    yields = build_yields(thinned, space, axis, channel_table(thinned, space))
    assert not np.asarray(yields.channels.channel_soft).any()
    gaps = Gaps(jnp.asarray(5.0), jnp.asarray(1.0))
    signals = eqx.filter_jit(
        lambda y: y(
            jnp.asarray([100.0, 700.0]),
            jnp.ones(1),
            jnp.full((1, 2), 50.0),
            gaps=gaps,
            minimum_weight=jnp.asarray(1e-3),
        )
    )(yields)
    assert bool(signals.status == Status.success)
    assert float(signals.events.sum()) > 0


def test_another_model_space_is_refused(thinned, regions, pool):
    from jaxlik.physics.model import protomodel_space

    larger = protomodel_space(extra_productions=[(1000001, 1000002)])
    with pytest.raises(ValueError, match="make one with"):
        build_yields(thinned, larger, regions)


def test_upper_limits_are_met_with_their_cross_section(compiled, yields, points, regions):
    signals = compiled(yields, *leaves(points["squark, stop"]))
    found = {}
    for limit, weight, value, live in zip(*signals.limits[:1], *signals.limits[2:3],
                                          *signals.limits[4:], strict=True):  # fmt: skip
        if live:
            key = regions.limits[int(limit)]
            found[key.folder, key.txname] = (float(weight), float(value))
    weight, value = found["CMS-SUS-19-006", "T2"]
    assert weight == pytest.approx(28.7, rel=0.02)
    assert value == pytest.approx(18.4, rel=0.05)  # the full map gives 18.44 fb
    assert found["CMS-SUS-16-050", "T2tt"][1] == pytest.approx(4.5, rel=0.05)
