"""Nuisances integrated over: Laplace and NUTS beside numerical quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.errors import Status
from jaxlik.inference.marginal import laplace_log_marginal, laplace_workspace
from jaxlik.inference.nuisance_samples import sample_nuisances
from jaxlik.inference.workspace_profile import fit_parameters
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.statmodels.simplified import simplified_likelihood

SIGNAL, BACKGROUND, ERROR, FACTOR = 5.0, 20.0, 3.0, 1.15


def region(observed, modifiers, lower=0.0):
    """One bin of signal and background with some uncertainties of the background."""
    signal = [{"name": "mu", "type": "normfactor", "data": None}]
    document = {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "s", "data": [SIGNAL], "modifiers": signal},
                    {"name": "b", "data": [BACKGROUND], "modifiers": modifiers},
                ],
            }
        ],
        "observations": [{"name": "SR", "data": [observed]}],
        "measurements": [
            {
                "name": "m",
                "config": {
                    "poi": "mu",
                    "parameters": [{"name": "mu", "inits": [1.0], "bounds": [[lower, 10.0]]}],
                },
            }
        ],
    }
    record = flatten_workspace(document)
    return pack_workspace(record, additive_code="code0"), record


PULL = {
    "name": "pull",
    "type": "histosys",
    "data": {"hi_data": [BACKGROUND + ERROR], "lo_data": [BACKGROUND - ERROR]},
}
SCALE = {"name": "scale", "type": "normsys", "data": {"hi": FACTOR, "lo": 1 / FACTOR}}
COUNTS = {"name": "counts", "type": "shapesys", "data": [ERROR]}


def quadrature(density, *ranges):
    """Integral over the nuisances."""
    return integrate.nquad(density, ranges, opts={"epsrel": 1e-8, "limit": 100})[0]


def one_pull(observed, mu):
    def density(a):
        rate = mu * SIGNAL + BACKGROUND + ERROR * a
        return stats.poisson.pmf(observed, rate) * stats.norm.pdf(a)

    return quadrature(density, (-6, 8))


def two_nuisances(observed, mu):
    tau = (BACKGROUND / ERROR) ** 2

    def density(gamma, a):
        rate = mu * SIGNAL + BACKGROUND * gamma * FACTOR**a
        aux = np.exp(tau * np.log(tau * gamma) - tau * gamma - tau * np.log(tau) + tau)
        return stats.poisson.pmf(observed, rate) * stats.norm.pdf(a) * aux

    return quadrature(density, (0.2, 2.2), (-6, 6))


laplace = jax.jit(laplace_workspace)


@pytest.mark.parametrize("observed", [15.0, 28.0])
@pytest.mark.parametrize(
    ("modifiers", "exact"), [([PULL], one_pull), ([SCALE, COUNTS], two_nuisances)]
)
def test_laplace_of_workspaces_is_close_to_quadrature(observed, modifiers, exact):
    model, record = region(observed, modifiers)
    base = laplace(model, record.poi, jnp.asarray(0.0))
    assert bool(base.status == Status.success)
    assert int(base.num_free) == len(modifiers)
    saturated = stats.poisson.logpmf(observed, observed)
    for mu in (0.0, 1.0, 2.5):
        wanted = np.log(exact(observed, mu)) - saturated
        found = laplace(model, record.poi, jnp.asarray(mu)).log_marginal
        # Terms of relative order 1/n are left out: 3e-3 found.
        assert float(found) == pytest.approx(wanted, abs=6e-3)


@pytest.mark.parametrize("kind", ["counting", "simplified"])
def test_laplace_of_standardised_nuisances_is_close_to_quadrature(kind):
    observed, background = np.array([15.0, 70.0]), np.array([20.0, 60.0])
    signal = np.array([5.0, 4.0])
    covariance = np.array([[9.0, 4.0], [4.0, 25.0]])
    if kind == "counting":
        covariance = np.diag(np.diagonal(covariance))
        model = PoissonCounting(observed, background, np.sqrt(np.diagonal(covariance)))
    else:
        model = simplified_likelihood(observed, background, covariance)
    normal = stats.multivariate_normal(np.zeros(2), covariance)

    def exact(mu):
        def density(first, second):
            rates = mu * signal + background + np.array([first, second])
            return np.prod(stats.poisson.pmf(observed, rates)) * normal.pdf([first, second])

        value = integrate.dblquad(density, -30, 30, -18, 18, epsabs=0, epsrel=1e-6)[0]
        return np.log(value) - stats.poisson.logpmf(observed, observed).sum()

    compiled = jax.jit(lambda mu: laplace_log_marginal(model, mu, jnp.asarray(signal)))
    for mu in (0.0, 1.5):
        found = compiled(jnp.asarray(mu))
        assert bool(found.status == Status.success)
        assert float(found.log_marginal) == pytest.approx(exact(mu), abs=6e-3)


def check_slopes(function, place):
    """First derivatives against central differences of fourth order."""
    slopes = jax.jit(jax.grad(function))(place)
    compiled = jax.jit(function)
    for k in range(place.shape[0]):
        step = jnp.zeros_like(place).at[k].set(1e-3)
        near, far = (compiled(place + j * step) - compiled(place - j * step) for j in (1, 2))
        difference = float((8 * near - far) / 12e-3)
        assert float(slopes[k]) == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_slopes_of_workspaces_are_exact():
    model, record = region(17.0, [PULL, SCALE, COUNTS])

    def value(arguments):
        changed = eqx.tree_at(lambda m: m.nominal, model, model.nominal.at[:2].set(arguments[1:3]))
        data = model.data._replace(observed=model.data.observed.at[0].set(arguments[3]))
        return laplace_workspace(changed, record.poi, arguments[0], data).log_marginal

    check_slopes(value, jnp.array([0.8, SIGNAL, BACKGROUND, 17.0]))


@pytest.mark.parametrize("moments", [None, np.array([2.0, 5.0])])
def test_slopes_of_simplified_likelihoods_are_exact(moments):
    covariance = np.array([[9.0, 4.0], [4.0, 25.0]])
    model = simplified_likelihood(
        np.array([15.0, 70.0]), np.array([20.0, 60.0]), covariance, moments
    )

    def value(arguments):
        other = model.with_observed(arguments[3:])
        return laplace_log_marginal(other, arguments[0], arguments[1:3]).log_marginal

    check_slopes(value, jnp.array([0.7, 5.0, 4.0, 15.0, 70.0]))


@pytest.mark.reference
@pytest.mark.slow
def test_slopes_of_a_full_workspace_are_exact(workspace_of):
    _, document = workspace_of("2018-31-eff/BkgOnlyB")
    record = flatten_workspace(with_synthetic_signal(document))
    model = pack_workspace(record)
    cells = np.flatnonzero((record.factors == record.poi).any(axis=1))

    def value(arguments):
        nominal = model.nominal.at[cells].multiply(arguments[1], unique_indices=True)
        changed = eqx.tree_at(lambda m: m.nominal, model, nominal)
        data = model.data._replace(observed=model.data.observed.at[0].add(arguments[2]))
        return laplace_workspace(changed, record.poi, arguments[0], data).log_marginal

    check_slopes(value, jnp.array([0.5, 1.0, 0.0]))


def test_one_trace_serves_many_mu():
    model, record = region(17.0, [PULL, COUNTS])
    traces = 0

    @jax.jit
    def run(mu):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda m: laplace_workspace(model, record.poi, m))(mu)

    found = run(jnp.array([0.0, 1.0, 2.0]))
    assert np.all(np.asarray(found.status._value) == 0)
    assert np.all(np.diff(found.log_marginal) < 0)
    run(jnp.array([0.5, 1.5, 2.5]))
    assert traces == 1


def test_a_parameter_at_its_bound_is_not_integrated_over():
    norm = {"name": "norm", "type": "normfactor", "data": None}
    model, record = region(4.0, [norm, SCALE])
    free, held = (laplace(model, record.poi, jnp.asarray(mu)) for mu in (0.0, 2.0))
    assert (int(free.num_free), int(held.num_free)) == (2, 1)
    # The background is gone, and its scale factor rests: only signal is left.
    rate = 2 * SIGNAL
    wanted = 4 * np.log(rate / 4) - rate + 4
    assert float(held.log_marginal) == pytest.approx(wanted, abs=1e-8)


def exact_posterior(model, record, mu):
    """Mean and standard deviation of the one free parameter, on a grid."""
    (moved,) = np.flatnonzero(~np.asarray(model.fixed.at[record.poi].set(True)))
    grid = np.linspace(-5, 5, 4001)
    start = model.init.at[record.poi].set(mu)
    value = jax.jit(jax.vmap(lambda x: model.twice_nll(start.at[moved].set(x))))(grid)
    weight = np.exp(-0.5 * (value - np.min(value)))
    mean = np.sum(weight * grid) / np.sum(weight)
    return moved, mean, np.sqrt(np.sum(weight * (grid - mean) ** 2) / np.sum(weight))


def check_moments(draws, effective, mean, spread, sigmas=5.0):
    """Mean and spread of draws; both fail by chance once in a million."""
    error = spread / np.sqrt(effective)
    assert np.mean(draws) == pytest.approx(mean, abs=sigmas * error)
    # Relative error of a standard deviation of normal draws, and room for heavier tails.
    assert np.std(draws) == pytest.approx(spread, rel=2 * sigmas / np.sqrt(2 * effective))


@pytest.mark.slow
@pytest.mark.statistical
def test_nuts_has_the_moments_of_quadrature():
    model, record = region(28.0, [PULL])
    moved, mean, spread = exact_posterior(model, record, 1.0)
    found = sample_nuisances(jax.random.key(0), model, record.poi, 1.0)
    assert found.divergences == 0
    assert found.r_hat[moved] < 1.02
    assert found.effective[moved] > 500
    check_moments(found.parameters[..., moved], found.effective[moved], mean, spread)
    assert np.all(found.parameters[..., record.poi] == 1.0)


@pytest.mark.slow
@pytest.mark.statistical
def test_marginal_posterior_of_mu_by_nuts_is_that_of_laplace():
    model, record = region(28.0, [PULL, COUNTS])
    found = sample_nuisances(jax.random.key(1), model, record.poi)
    assert found.divergences == 0
    grid = np.linspace(0.0, 10.0, 401)
    log_weight = jax.jit(
        jax.vmap(lambda mu: laplace_workspace(model, record.poi, mu).log_marginal)
    )(jnp.asarray(grid))
    weight = np.exp(log_weight - np.max(log_weight))
    weight[[0, -1]] *= 0.5
    mean = np.sum(weight * grid) / np.sum(weight)
    spread = np.sqrt(np.sum(weight * (grid - mean) ** 2) / np.sum(weight))
    effective = found.effective[record.poi]
    assert effective > 500
    check_moments(found.parameters[..., record.poi], effective, mean, spread)


@pytest.mark.reference
@pytest.mark.statistical
@pytest.mark.slow
@pytest.mark.parametrize("name", ["2018-31-eff/simplifiedB", "2018-31-eff/BkgOnlyB"])
def test_nuts_on_workspaces_agrees_with_their_fits(name, workspace_of):
    _, document = workspace_of(name)
    record = flatten_workspace(with_synthetic_signal(document))
    model = pack_workspace(record)
    found = sample_nuisances(jax.random.key(2), model, record.poi, 0.5)
    assert found.divergences == 0
    fit = fit_parameters(
        model, None, model.fixed.at[record.poi].set(True), model.init.at[record.poi].set(0.5)
    )
    moved = np.flatnonzero(found.moved)
    covariance = np.linalg.inv(np.asarray(fit.hessian)[np.ix_(moved, moved)])
    spread = np.sqrt(np.diagonal(covariance))
    draws = found.parameters[..., moved]
    assert np.max(found.r_hat[moved]) < 1.02
    error = 5 / np.sqrt(found.effective[moved])
    # Means of skewed posteriors lie beside their modes: a third of a deviation at most.
    shift = np.abs(draws.mean(axis=(0, 1)) - np.asarray(fit.parameters)[moved]) / spread
    assert np.all(shift < 0.33 + error)
    assert np.median(shift) < 0.1
    ratio = draws.std(axis=(0, 1)) / spread
    assert np.all(np.abs(ratio - 1) < 0.2 + 2 * error)
