"""Pseudo-databases: distribution of counts, everything derived again, reproducibility."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlik.calibration.backgrounds import make_backgrounds
from jaxlik.calibration.injection import Injection, inject
from jaxlik.calibration.limit_maps import make_limit_maps
from jaxlik.calibration.pseudo_data import PseudoData, Recipe, draw, limit_factors
from jaxlik.calibration.region_limits import event_limits
from jaxlik.calibration.universe import make_multiverse, with_counts
from jaxlik.fit.assemble import build_engine
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.physics.model import point_from_dict
from jaxlik.statmodels.poisson import PoissonCounting

DRAWS = 4000

MODEL = {
    "masses": {1000022: 162.7, 1000001: 735.3, 1000006: 1165.9},
    "branching_ratios": {1000001: {(1000022, 1): 1.0}, 1000006: {(1000022, 6): 1.0}},
    "signal_strengths": {(-1000001, 1000001): 0.42, (-1000006, 1000006): 1.2},
}
"""Squarks and stops, as in the best model of arXiv:2012.12246."""


@pytest.fixture(scope="module")
def engine(thinned):
    return build_engine(thinned)[0]


@pytest.fixture(scope="module")
def multiverse(thinned, engine):
    return make_multiverse(thinned, engine)


@pytest.fixture(scope="module")
def backgrounds(thinned):
    return make_backgrounds(thinned, {})


@pytest.mark.statistical
def test_rates_have_the_published_moments(thinned, backgrounds):
    """Means and covariances of 4000 draws within 5 standard errors (1 in 10^4 false alarms)."""
    generator = np.random.default_rng(1)
    rates = np.array([backgrounds.rates(generator, 1.0) for _ in range(DRAWS)])
    far = backgrounds.background > 5 * backgrounds.error
    assert far.sum() > 10
    pulls = (rates.mean(axis=0) - backgrounds.background) / backgrounds.error * np.sqrt(DRAWS)
    assert np.abs(pulls[far & (backgrounds.error > 0)]).max() < 5
    start = 0
    for result in thinned.results:
        if result.counting is None:
            continue
        size = len(result.counting.region_ids)
        record = result.covariance
        if record is not None and record.third_moments is None:
            place = [start + result.counting.region_ids.index(name) for name in record.region_ids]
            safe = record.background > 5 * np.sqrt(np.diagonal(record.covariance))
            sigma = np.sqrt(np.diagonal(record.covariance))
            found = np.cov(rates[:, place].T) / np.outer(sigma, sigma)
            wanted = record.covariance / np.outer(sigma, sigma)
            both = np.outer(safe, safe)
            assert np.abs(found - wanted)[both].max(initial=0) < 5 * np.sqrt(2 / DRAWS)
        start += size


def test_errors_scale_with_the_fudge_factor(backgrounds):
    one, half = (backgrounds.rates(np.random.default_rng(3), f) for f in (1.0, 0.5))
    positive = (one > 0) & (half > 0)
    for group in backgrounds.groups:
        positive[group.regions[group.curvature != 0]] = False
    moved = (one - backgrounds.background)[positive]
    np.testing.assert_allclose(moved, 2 * (half - backgrounds.background)[positive], atol=1e-9)


def test_a_database_is_a_function_of_digest_seed_and_index(multiverse):
    m = multiverse
    first, again = (m.data(3, Recipe(seed=1)) for _ in range(2))
    assert (first.observed == again.observed).all()
    assert (first.pulls == again.pulls).all()
    others = [
        m.data(4, Recipe(seed=1)),
        m.data(3, Recipe(seed=2)),
        draw(m.backgrounds, m.maps, "other", 3, Recipe(seed=1)),
    ]
    assert all((other.observed != first.observed).any() for other in others)


def test_signals_add_to_the_same_backgrounds(multiverse):
    m = multiverse
    events = np.full(len(m.backgrounds.background), 3.0)
    signal = Injection(events, *(np.zeros(0, dtype=int),) * 2, np.zeros((0, 6)))
    plain, more = m.data(0, Recipe()), m.data(0, Recipe(), signal)
    assert (more.observed >= plain.observed).all()
    assert (more.pulls == plain.pulls).all()
    assert (more.observed - plain.observed).mean() == pytest.approx(3.0, abs=0.5)
    asimov = m.data(0, Recipe(sampled=False, strength=2.0), signal)
    np.testing.assert_allclose(asimov.observed, m.backgrounds.background + 6.0)
    assert not asimov.pulls.any()


def test_limits_of_regions_are_those_of_cls():
    n, b, sigma = np.array([3.0, 0.0, 90.0]), np.array([5.0, 1.0, 70.0]), np.array([1.0, 0.5, 8.0])
    found = np.asarray(event_limits(n, b, sigma))
    for i in range(3):
        model = PoissonCounting(n[i : i + 1], b[i : i + 1], sigma[i : i + 1])
        wanted = find_upper_limit(*likelihood_pair(model, jnp.ones(1))).mu
        assert found[i] == pytest.approx(float(wanted), rel=1e-9)


def test_data_at_expectation_have_the_expected_limits(multiverse, engine):
    m = multiverse
    asimov = m.data(0, Recipe(sampled=False))
    other = m.engine_of(asimov, Recipe(sampled=False))
    table = engine.regions
    np.testing.assert_allclose(
        other.regions.upper_limit, table.upper_limit_expected, rtol=1e-9, equal_nan=True
    )
    values = np.asarray(other.yields.maps.values)
    np.testing.assert_allclose(values[m.maps.slots], m.maps.expected)
    kept = np.setdiff1d(np.arange(len(values)), m.maps.slots)
    assert (values[kept] == np.asarray(engine.yields.maps.values)[kept]).all()


def test_everything_that_depends_on_data_is_derived_again(multiverse, engine):
    m = multiverse
    data = m.data(1, Recipe())
    other = m.engine_of(data, Recipe())
    # The real limits are gone, upward where counts are high and downward where they are low.
    excess = data.observed - m.backgrounds.background
    ratio = np.asarray(other.regions.upper_limit / other.regions.upper_limit_expected)
    known = np.isfinite(ratio) & (np.abs(excess) > 0)
    assert (np.sign(ratio - 1) == np.sign(excess))[known].mean() > 0.98
    stale = m.engine_of(data, Recipe(rederive=False))
    np.testing.assert_array_equal(stale.regions.upper_limit, engine.regions.upper_limit)
    for old, new in zip(engine.joint, other.joint, strict=True):
        assert (np.asarray(old.null) != np.asarray(new.null)).any()
        events = data.observed[np.asarray(new.regions)]
        wanted = np.asarray(new.bank.gather(jnp.asarray(events)))
        mask = np.asarray(new.bank.region_mask)
        np.testing.assert_array_equal(np.asarray(new.bank.models.observed)[mask], wanted[mask])
    np.testing.assert_allclose(
        np.asarray(other.yields.maps.values)[m.maps.slots],
        m.maps.expected * limit_factors(data.pulls)[m.maps.map],
    )


def test_the_real_counts_give_back_the_real_engine(multiverse, engine):
    """Joint likelihoods are the same; limits of regions within what the database rounds."""
    m = multiverse
    again = with_counts(engine, engine.regions.observed, m.limit_scale)
    for old, new in zip(engine.joint, again.joint, strict=True):
        np.testing.assert_allclose(new.null, old.null, rtol=1e-9)
    ratio = np.asarray(again.regions.upper_limit / engine.regions.upper_limit)
    assert np.nanmedian(np.abs(np.log(ratio))) < 0.05


def test_maps_fluctuate_with_their_regions(thinned, multiverse):
    maps = make_limit_maps(thinned)
    data = multiverse.data(2, Recipe())
    tied = maps.region >= 0
    if tied.any():
        excess = data.observed[maps.region[tied]] - multiverse.backgrounds.background[
            maps.region[tied]
        ]  # fmt: skip
        assert (np.sign(excess) == np.sign(data.pulls[tied])).all()
    assert np.isfinite(data.pulls).all()
    assert (limit_factors(np.array([-5.0, 0.0, 1.96])) == [0.05, 1.0, 2.0]).all()


@pytest.mark.slow
def test_an_injected_signal_shows_where_it_is(multiverse, engine):
    m = multiverse
    injection = inject(engine, point_from_dict(engine.space, MODEL))
    assert injection.events.max() > 1
    assert len(injection.limit) > 0
    near, everywhere = injection.at(m.maps, 100.0), injection.at(m.maps, 1e9)
    assert 0 < (near > 0).sum() < (everywhere > 0).sum()
    recipe = Recipe(sampled=False)
    other = m.engine_of(m.data(0, recipe, injection), recipe, injection)
    values = np.asarray(other.yields.maps.values)[m.maps.slots]
    np.testing.assert_allclose(values, m.maps.expected + injection.at(m.maps, recipe.distance))


@pytest.mark.statistical
def test_significances_of_pseudo_databases_are_standard_normal(multiverse):
    """Signed roots of regions with many events, pooled over 60 databases: KS p > 1e-4."""
    m = multiverse
    alone = np.ones(len(m.backgrounds.background), dtype=bool)
    for group in m.backgrounds.groups:
        alone[group.regions] = False
    chosen = alone & (m.backgrounds.background > 30)
    b, sigma = m.backgrounds.background[chosen], m.backgrounds.error[chosen]
    z = [(m.data(i, Recipe()).observed[chosen] - b) / np.sqrt(b + sigma**2) for i in range(60)]
    assert stats.kstest(np.concatenate(z), "norm")[1] > 1e-4


def test_pseudo_data_are_whole_numbers(multiverse):
    data: PseudoData = multiverse.data(0, Recipe())
    assert (data.observed == np.floor(data.observed)).all()
