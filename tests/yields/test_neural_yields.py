"""Learned yields of the embedded snapshot: against single networks, exact yields, differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.compile import open_embedded
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.errors import DatabaseError, Status
from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import point_from_dict
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.build import build_yields, region_axis
from jaxlik.yields.build_neural import build_neural_yields
from jaxlik.yields.compression import Gaps
from jaxlik.yields.networks import Weights
from surrogates.trunk import Features, Trunk

N1, N2, C1, STOP, SQUARK = 1000022, 1000023, 1000024, 1000006, 1000001
BUCKETS = Buckets().holding([40, 64, 4, 60, 40, 120, 120, 64, 8, 250, 1500, 100, 40, 8])
MODELS = {
    "squark": {
        "masses": {N1: 163.0, SQUARK: 735.0},
        "branching_ratios": {SQUARK: {(N1, 1): 1.0}},
        "signal_strengths": {(-SQUARK, SQUARK): 0.5},
    },
    "electroweak": {
        "masses": {N1: 111.0, N2: 287.0, C1: 281.0},
        "branching_ratios": {N2: {(N1, 23): 0.6, (N1, 25): 0.4}, C1: {(N1, 24): 1.0}},
    },
    "stop": {
        "masses": {N1: 201.0, N2: 405.7, STOP: 713.0},
        "branching_ratios": {
            N2: {(N1, 23): 1.0},
            STOP: {(N1, 6): 0.4, (N2, 6): 0.6},
        },
    },
}


@pytest.fixture(scope="module")
def networks():
    return open_surrogate(shipped_surrogate())


@pytest.fixture(scope="module")
def embedded():
    return open_embedded()


@pytest.fixture(scope="module")
def learned(networks, embedded, pool):
    return build_neural_yields(networks, embedded, pool, region_axis(embedded))


@pytest.fixture(scope="module")
def predict(pool):
    cross_sections = reference_cross_sections(pool)

    def run(yields, masses, point, buckets=BUCKETS):
        production = cross_sections(masses) * point.signal_strengths[:, None]
        exists = jnp.any(production > 0, axis=1)
        return yields(
            masses,
            point.branching_ratios,
            jnp.where(exists[:, None], production, 0.0),
            gaps=Gaps(jnp.asarray(10.0), jnp.asarray(1.0)),
            minimum_weight=jnp.asarray(0.02),
            buckets=buckets,
        )

    return eqx.filter_jit(run)


@pytest.fixture(scope="module")
def points(pool):
    return {name: point_from_dict(pool, document) for name, document in MODELS.items()}


def one_network(networks, number, flat):
    """Hidden layer by the code that trains, which knows nothing of domains and blocks."""
    arrays = networks.arrays
    features = Features(*(jnp.asarray(arrays[f"input.{n}"][number]) for n in Features._fields))
    weights = Weights(*(jnp.asarray(arrays[f"layer.{n}"][number]) for n in Weights._fields))
    return np.asarray(Trunk(features, weights).hidden(jnp.asarray(flat)[None])[0], np.float64)


def test_yields_are_those_of_single_networks(networks, embedded, learned, predict, points, pool):
    """One squark: each result sees one topology, T2, at one place."""
    point = points["squark"]
    found = predict(learned, point.masses, point)
    assert bool(found.status == Status.success)
    cross_section = float(
        reference_cross_sections(pool)(point.masses)[pool.production_index(-SQUARK, SQUARK), 1]
    )
    flat = np.array([735.0, 163.0, 735.0, 163.0, 0.0, 0.0])
    arrays = networks.arrays
    regions = region_axis(embedded).regions
    checked = 0
    for row, (folder, region) in enumerate(regions):
        head = networks.heads.get((folder, "T2", region))
        sqrts = embedded.result(folder).provenance.sqrts
        if head is None or sqrts != 13.0 or float(found.cross_section[row]) == 0.0:
            continue
        hidden = one_network(networks, arrays["head.network"][head], flat)
        raw = arrays["head.weight"][head] @ hidden + arrays["head.bias"][head]
        wanted = 0.5 * cross_section * arrays["head.scale"][head] * np.log1p(np.exp(raw))
        assert float(found.cross_section[row]) == pytest.approx(wanted, rel=2e-5), (folder, region)
        checked += 1
    assert checked > 30
    events = np.asarray(found.events)
    luminosity = [embedded.result(folder).provenance.luminosity for folder, _ in regions]
    np.testing.assert_allclose(events, np.asarray(found.cross_section) * luminosity, rtol=1e-12)
    assert events.dtype == np.float64


@pytest.mark.parametrize("name", list(MODELS))
def test_gradients_agree_with_differences(name, learned, predict, points):
    point = points[name]
    rng = np.random.default_rng(7)
    active = np.asarray(point.active)
    direction = jnp.asarray(np.where(active, rng.normal(size=len(active)), 0.0))
    weights = jnp.asarray(rng.uniform(size=len(learned.maps.luminosity)))

    def total(step):
        signals = predict(learned, point.masses + step * direction, point)
        return jnp.sum(signals.events * weights) / 100.0

    slope = float(jax.grad(total)(0.0))
    # Networks are single precision, so that steps cannot be small.
    ends = [float(total(h)) for h in (0.1, -0.1, 0.2, -0.2)]
    wanted = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / 1.2
    assert slope == pytest.approx(wanted, rel=2e-4, abs=1e-4 * abs(ends[0]))


def test_batches_equal_single_models(learned, predict, points):
    point = points["stop"]
    masses = point.masses[None] * jnp.asarray([1.0, 1.02, 0.97])[:, None]
    traces = 0

    @jax.jit
    def batch(masses):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda m: predict(learned, m, point).events)(masses)

    found = batch(masses)
    for row, m in zip(found, masses, strict=True):
        np.testing.assert_allclose(row, predict(learned, m, point).events, rtol=1e-5, atol=1e-9)
    batch(1.01 * masses)
    assert traces == 1


def test_yields_are_multilinear_in_strengths(learned, predict, points):
    point = points["electroweak"]
    once = np.asarray(predict(learned, point.masses, point).events)
    double = eqx.tree_at(lambda p: p.signal_strengths, point, 1.001 * point.signal_strengths)
    found = np.asarray(predict(learned, point.masses, double).events)
    # Cascades below the cut on weights are dropped, which a small factor does not change.
    np.testing.assert_allclose(found, 1.001 * once, rtol=1e-9, atol=1e-12)


def test_yields_end_where_grids_end(learned, predict, points, pool):
    point = points["squark"]
    at = pool.particle_index(SQUARK)

    def seen(mass):
        signals = predict(learned, point.masses.at[at].set(mass), point)
        return int(jnp.sum(signals.sightings.live)), signals

    # T2 grids begin where the squark is heavier than the neutralino, and end somewhere.
    assert seen(5000.0)[0] == 0
    assert seen(735.0)[0] > 5
    assert float(jnp.sum(seen(5000.0)[1].events)) == 0.0


def test_limits_are_exact(learned, embedded, predict, points, pool):
    exact = build_yields(embedded, pool, region_axis(embedded), limits_only=True)
    room = BUCKETS.holding([0, 0, 0, 0, 0, 400, 6000, 4000, 0, 0, 0, 0, 0, 0])
    for point in points.values():
        one = predict(learned, point.masses, point)
        other = predict(exact, point.masses, point, room)
        assert bool(one.status == Status.success)
        assert not bool(other.status == Status.overflow)
        pairs = [
            sorted(zip(*(np.asarray(x)[np.asarray(s.limits.live)] for x in parts), strict=True))
            for s, parts in (
                (one, (one.limits.limit, one.limits.value, one.limits.weight)),
                (other, (other.limits.limit, other.limits.value, other.limits.weight)),
            )
        ]
        np.testing.assert_allclose(*pairs, rtol=1e-12)
        assert pairs[0]


def test_shifts_move_yields_by_their_bands(networks, learned, predict, points):
    point = points["squark"]
    moved = eqx.tree_at(lambda y: y.shift, learned, jnp.ones_like(learned.shift))
    one = np.asarray(predict(learned, point.masses, point).cross_section)
    other = np.asarray(predict(moved, point.masses, point).cross_section)
    assert (other[one > 0] > one[one > 0]).all()
    relative = (other - one)[one > 0] / one[one > 0]
    assert 0.01 < np.median(relative) < 1.0


@pytest.mark.slow
def test_small_buckets_are_reported(learned, points, pool):
    point = points["stop"]
    production = reference_cross_sections(pool)(point.masses) * point.signal_strengths[:, None]
    for field in ("network_places", "network_entries"):
        small = BUCKETS._replace(**{field: 2})
        run = eqx.filter_jit(
            lambda y, small=small: y(
                point.masses,
                point.branching_ratios,
                production,
                gaps=Gaps(jnp.asarray(10.0), jnp.asarray(1.0)),
                minimum_weight=jnp.asarray(0.02),
                buckets=small,
            )
        )
        signals = run(learned)
        assert bool(signals.status == Status.overflow)
        assert signals.demand[Buckets._fields.index(field)] > 2


def test_hulls_are_not_taken_for_maps(embedded, pool):
    with pytest.raises(DatabaseError, match="only as hulls"):
        build_yields(embedded, pool, region_axis(embedded))


def test_networks_of_another_database_are_refused(networks, embedded, pool):
    from jaxlik.database.surrogate_file import SurrogateFile

    other = SurrogateFile(
        networks.path, {**networks.manifest, "database_sha256": "0" * 64}, networks.arrays
    )
    with pytest.raises(DatabaseError, match="train networks on this database"):
        build_neural_yields(other, embedded, pool, region_axis(embedded))
    lacking = SurrogateFile(
        networks.path,
        {**networks.manifest, "networks": networks.manifest["networks"][1:]},
        networks.arrays,
    )
    with pytest.raises(DatabaseError, match="has no network for"):
        build_neural_yields(lacking, embedded, pool, region_axis(embedded))


def test_files_are_checked(networks, tmp_path):
    data = networks.path.read_bytes()
    with pytest.raises(DatabaseError, match="no such file"):
        open_surrogate(tmp_path / "nothing.npz")
    (tmp_path / "short.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatabaseError, match="not a file of trained networks"):
        open_surrogate(tmp_path / "short.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DatabaseError, match="not a file of trained networks"):
        open_surrogate(tmp_path / "other.npz")
    assert len(data) < 20e6


@pytest.mark.reference
@pytest.mark.slow
def test_learned_yields_are_close_to_exact_ones(networks, snapshot, predict, points, pool):
    axis = region_axis(snapshot)
    exact = build_yields(snapshot, pool, axis)
    learned = build_neural_yields(networks, snapshot, pool, axis)
    for name, point in points.items():
        room = BUCKETS.holding([0, 0, 0, 0, 0, 400, 6000, 1200, 0, 0, 0, 0, 0, 0])
        one = np.asarray(predict(learned, point.masses, point).cross_section)
        other = np.asarray(predict(exact, point.masses, point, room).cross_section)
        both = (one > 0) & (other > 0)
        assert both.sum() > 0.9 * max((one > 0).sum(), (other > 0).sum()), name
        strong = both & (other > 1e-2 * other.max())
        # Single regions scatter by the noise of their maps; projections add to electroweakinos.
        assert np.median(np.abs(one[strong] / other[strong] - 1)) < 0.12, name
