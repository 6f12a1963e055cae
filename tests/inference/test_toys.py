"""Toys: draws against their distribution, p-values against exact sums, statistics against pyhf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from random_workspaces import SHAPE, random_workspace
from scipy import special, stats

from jaxlik.database.counting_workspace import counting_workspace
from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import ConfigError, ConvergenceError, Status
from jaxlik.inference import toys
from jaxlik.inference.toys import draw, fit_toy, p_values, toy_cls, toy_discovery
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.statmodels.packing import Shape, pack_workspace

ONE_BIN = Shape(4, 4, 4, 4, 4, 4, 2, 4)
"""Padded sizes of every single region here, so that one program serves all."""


def region(observed, background, error, signal):
    """A counting experiment with its fits."""
    record = flatten_workspace(counting_workspace(observed, background, error, signal))
    return WorkspaceAnalysis(pack_workspace(record, ONE_BIN), record.poi)


def share_within(share, expected, number, p_value=1e-6):
    """Whether a share of toys is compatible with a probability; `p_value`: false alarms."""
    count = round(float(share) * number)
    return stats.binomtest(count, number, float(expected)).pvalue > p_value


@pytest.mark.statistical
@pytest.mark.parametrize("rate", [0.7, 12.0, 3e3, 2e4, 1e6, 1e9])
def test_events_are_poisson_distributed(rate):
    """False alarms: 1e-6 for each rate, by a chi-squared test of 20 bins."""
    counts = np.asarray(toys._poisson(jax.random.key(3), jnp.full(40_000, rate)))
    edges = np.unique(stats.poisson.ppf(np.linspace(0, 1, 21)[1:-1], rate))
    chances = np.diff(np.concatenate([[0], stats.poisson.cdf(edges, rate), [1]]))
    found = np.bincount(np.searchsorted(edges, counts), minlength=len(chances))
    assert (counts == np.floor(counts)).all()
    assert stats.chisquare(found, 40_000 * chances).pvalue > 1e-6


@pytest.mark.statistical
def test_draws_have_the_mean_and_variance_of_the_model():
    """Every modifier, both constraints. False alarms: below 1e-5, 5.5 sigma in 80 numbers."""
    record = flatten_workspace(random_workspace(4))
    model = pack_workspace(record, SHAPE)
    assert {"normal", "poisson"} <= set(record.kinds)
    rng = np.random.default_rng(0)
    moved = np.asarray(model.init) + 0.1 * rng.uniform(-1, 1, model.num_parameters)
    parameters = jnp.asarray(np.where(model.fixed, model.init, moved))
    number = 20_000
    keys = jax.random.split(jax.random.key(1), number)
    data = jax.jit(jax.vmap(lambda key: draw(key, model, parameters)))(keys)
    assert data.observed.dtype == data.centre.dtype == jnp.float64
    rates = np.asarray(model.expected(parameters))
    poisson, normal, real = (np.asarray(m) for m in (model.poisson, model.normal, model.real_bins))
    centre = np.where(poisson, model.width * parameters, parameters)
    variance = np.where(poisson, centre, np.asarray(model.width) ** 2)
    constrained = poisson | normal
    for drawn, mean, spread, used in (
        (data.observed, rates, rates, real),
        (data.centre, centre, variance, constrained),
    ):
        values, mean, wanted = (np.asarray(a)[..., used] for a in (drawn, mean, spread))
        pull = (values.mean(axis=0) - mean) / np.sqrt(wanted / number)
        fourth = ((values - mean) ** 4).mean(axis=0) - wanted**2
        excess = ((values - mean) ** 2).mean(axis=0) - wanted
        assert np.abs(pull).max() < 5.5
        assert np.abs(excess / np.sqrt(fourth / number)).max() < 5.5
    assert (np.asarray(data.observed)[:, ~real] == np.asarray(model.data.observed)[~real]).all()
    untouched = np.asarray(data.centre)[:, ~constrained]
    assert (untouched == np.asarray(model.data.centre)[~constrained]).all()


def exact_p_values(mu, observed, background, signal):
    """CL_{s+b}, CL_b and p_0 of a counting experiment without uncertainties, by summation."""
    counts = np.arange(200.0)

    def deviance(rate, counts):
        return 2 * (rate - counts + special.xlogy(counts, counts / rate))

    def statistic(counts, mu):
        best = np.maximum((counts - background) / signal, 0)
        ratio = deviance(mu * signal + background, counts) - deviance(
            best * signal + background, counts
        )
        return np.where((best > mu) & (mu > 0), 0.0, ratio)

    def p(mu_test, rate):
        reached = statistic(counts, mu_test) >= statistic(np.array(observed), mu_test) - 1e-9
        return stats.poisson.pmf(counts, rate)[reached].sum()

    return p(mu, mu * signal + background), p(mu, background), p(0.0, background)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("mu", "observed", "background", "signal"),
    [(1.0, 0.0, 0.8, 3.0), (1.0, 2.0, 3.0, 4.0), (0.5, 5.0, 2.5, 6.0), (2.0, 11.0, 9.0, 4.0)],
)
def test_p_values_of_counting_experiments_are_poisson_sums(mu, observed, background, signal):
    """Ties included: most toys have a count that others have, too. False alarms: 1e-5."""
    analysis, number = region(observed, background, 0.0, signal), 2000
    p_signal, p_background, p_null = exact_p_values(mu, observed, background, signal)
    found = toy_cls(jax.random.key(7), analysis, mu, number)
    assert share_within(found.p_signal, p_signal, number)
    assert share_within(found.p_background, p_background, number)
    assert abs(found.cls - p_signal / p_background) < 5 * found.cls_error
    assert np.sqrt(p_signal * (1 - p_signal) / number) == pytest.approx(
        float(found.p_signal_error), rel=0.3
    )
    assert float(found.cls) == pytest.approx(float(found.p_signal / found.p_background))
    assert int(found.failed) == 0
    assert bool(found.status == Status.success)
    assert (np.diff(found.expected) >= 0).all()
    discovery = toy_discovery(jax.random.key(8), analysis, number)
    assert share_within(discovery.p_value, p_null, number)
    assert float(discovery.statistic) >= 0


@pytest.mark.statistical
def test_toys_agree_with_asymptotics_for_many_events():
    """400 events, 3 per cent: 5 sigma of 2000 toys, and 0.01 that asymptotics may be off."""
    analysis = region(395.0, 400.0, 12.0, 60.0)
    for mu in (0.4, 0.8):
        wanted = analysis.test(mu)
        found = toy_cls(jax.random.key(11), analysis, mu, 2000)
        assert abs(found.cls - np.exp(wanted.log_cls)) < 5 * found.cls_error + 0.01
        # At +2 sigma the best mu lies above the tested one: CLs is 1, unlike the formula.
        np.testing.assert_allclose(found.expected[:4], np.exp(wanted.log_band[:4]), atol=0.06)
        assert float(found.statistic) == pytest.approx(wanted.statistic, abs=1e-9)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_statistics_of_toys_drawn_by_pyhf_agree():
    """Also the distribution: both draw the same, by a Kolmogorov-Smirnov test (1e-5)."""
    document = counting_workspace(9.0, 7.0, 2.0, 6.0)
    analysis, mu = region(9.0, 7.0, 2.0, 6.0), 1.2
    peer = pyhf.Workspace(document).model()
    seen = pyhf.Workspace(document).data(peer)
    config = peer.config
    options = (config.suggested_init(), config.suggested_bounds(), config.suggested_fixed())
    fitted = pyhf.infer.mle.fixed_poi_fit(mu, seen, peer)
    fixed = analysis.fit_at(mu).parameters
    place = [1, 0] if config.par_order == ["mu", "background_error"] else [0, 1]
    np.testing.assert_allclose(fitted, np.asarray(fixed)[place], atol=1e-3)
    rng = np.random.default_rng(5)
    alpha = fitted[config.par_slice("background_error")][0]
    events = rng.poisson(peer.expected_actualdata(fitted)[0], 60)
    auxiliary = rng.normal(alpha, 1.0, 60)
    peers = [
        float(pyhf.infer.test_statistics.qmu_tilde(mu, [n, a], peer, *options))
        for n, a in zip(events, auxiliary, strict=True)
    ]
    model = analysis.model

    @jax.jit
    def statistic(count, centre):
        counts = model.data.observed.at[0].set(count)
        data = model.data._replace(observed=counts, centre=model.data.centre.at[0].set(centre))
        ratio, best, certificate = fit_toy(model, analysis.poi, jnp.asarray(mu), data, fixed)
        return jnp.where(best > mu, 0.0, ratio), certificate

    ours, certificates = zip(
        *(statistic(float(n), a) for n, a in zip(events, auxiliary, strict=True)), strict=True
    )
    assert max(certificates) < 1e-6
    np.testing.assert_allclose(ours, peers, atol=1e-6)
    keys = jax.random.split(jax.random.key(2), toys.BLOCK)
    arguments = (model, jnp.asarray(analysis.poi), jnp.asarray(mu), fixed, jnp.asarray(False))
    drawn = toys.fit_toys(keys, *arguments)
    own = np.where(np.asarray(drawn.mu_hat) > mu, 0.0, drawn.t_mu)
    assert stats.ks_2samp(own, np.asarray(peers)).pvalue > 1e-5


def test_toys_without_certified_fits_are_counted(monkeypatch):
    analysis = region(3.0, 3.0, 1.0, 4.0)
    whole = toy_cls(jax.random.key(0), analysis, 1.0, 250)
    made = toys.fit_toys

    def some_fail(*arguments):
        found = made(*arguments)
        failed = jnp.arange(toys.BLOCK) % 5 == 0
        return found._replace(
            certificate=jnp.where(failed, 1.0, found.certificate),
            t_mu=jnp.where(failed, jnp.nan, found.t_mu),
        )

    monkeypatch.setattr(toys, "fit_toys", some_fail)
    found = toy_cls(jax.random.key(0), analysis, 1.0, 250)
    assert int(whole.failed) == 0
    assert int(found.failed) == 100
    assert int(found.number) == 250
    assert bool(found.status == Status.max_steps)
    # Neither above nor below: the others decide, and their number sets the error.
    assert abs(found.p_signal - whole.p_signal) < 5 * found.p_signal_error
    assert float(found.p_signal_error) == pytest.approx(
        float(whole.p_signal_error) * np.sqrt(250 / 200), rel=0.2
    )
    assert np.isfinite(found.expected).all()
    monkeypatch.setattr(
        toys, "fit_toys", lambda *a: made(*a)._replace(certificate=jnp.full(toys.BLOCK, 0.1))
    )
    with pytest.raises(ConvergenceError, match="none of 250 toys at mu = 1 has certified fits"):
        toy_cls(jax.random.key(0), analysis, 1.0, 250)


def test_p_values_count_ties_and_leave_out_failures():
    statistics = jnp.asarray([0.0, 1.0, 1.0 + 5e-7, 2.0, 3.0])
    drawn = jnp.asarray([0.0, 1.0, 1.0, 2.0, jnp.inf])
    certified = jnp.asarray([True, True, True, True, False])
    found = p_values(statistics, drawn, certified)
    np.testing.assert_allclose(found, [1.0, 0.75, 0.75, 0.25, 0.0])


def test_other_data_mu_and_keys_compile_nothing():
    toy_cls(jax.random.key(0), region(3.0, 3.0, 1.0, 4.0), 1.0, 10)
    before = toys.fit_toys._cached._cache_size()
    first = toy_cls(jax.random.key(1), region(8.0, 5.0, 2.0, 3.0), 0.3, 10)
    again = toy_cls(jax.random.key(1), region(8.0, 5.0, 2.0, 3.0), 0.3, 10)
    other = toy_cls(jax.random.key(2), region(8.0, 5.0, 2.0, 3.0), 0.3, 10)
    assert toys.fit_toys._cached._cache_size() == before
    assert eqx.tree_equal(first, again)
    assert not eqx.tree_equal(first, other)


def test_blocks_do_not_change_the_toys(monkeypatch):
    analysis = region(3.0, 3.0, 1.0, 4.0)
    whole = toy_cls(jax.random.key(4), analysis, 1.0, 130)
    monkeypatch.setattr(toys, "BLOCK", 50)
    parts = toy_cls(jax.random.key(4), analysis, 1.0, 130)
    assert float(parts.p_signal) == float(whole.p_signal)
    assert float(parts.cls) == float(whole.cls)


@pytest.mark.parametrize(
    ("mu", "number", "message"),
    [(1.0, 0, "number of toys is 0"), (-1.0, 10, "mu of toys is -1")],
)
def test_wrong_arguments_are_named(mu, number, message):
    with pytest.raises(ConfigError, match=message):
        toy_cls(jax.random.key(0), region(3.0, 3.0, 1.0, 4.0), mu, number)
