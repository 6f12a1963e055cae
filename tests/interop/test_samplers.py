"""emcee and dynesty against quadrature of a counting experiment.

Seeds are fixed; were they not, every comparison would fail with a probability below 1e-5 (4.5
standard errors).
"""

import numpy as np
import pytest
from objective_cases import SIGNAL, counting, workspace
from scipy import stats
from scipy.integrate import dblquad

from jaxlik.errors import ConfigError
from jaxlik.interop.objective import objective_of_model, objective_of_workspace
from jaxlik.interop.objective_nll import BATCH
from jaxlik.interop.samplers import (
    dynesty_sampler,
    emcee_log_prob,
    emcee_sampler,
    emcee_start,
    nested_problem,
)

pytestmark = pytest.mark.statistical

NUM_ERRORS = 4.5

LARGEST = 6.0
"""Upper bound of mu: a prior needs one."""


def two_parameters(observed=(12.0, 7.0)):
    model = counting(observed=list(observed), background_error=[1.5, 0.0])
    objective = objective_of_model(model, SIGNAL, mu_bounds=(0.0, LARGEST))
    return objective.with_fixed({"nuisance[1]": 0.0})


@pytest.fixture(scope="module")
def integrals():
    """Evidence for flat mu and Gaussian nuisance, and the posterior mean of mu."""
    background, error = np.array([8.5, 6.0]), np.array([1.5, 0.0])
    observed = np.array([12.0, 7.0])
    saturated = stats.poisson.logpmf(observed, observed).sum()

    def density(z, mu, power):
        rate = mu * SIGNAL + background + z * error
        ratio = stats.poisson.logpmf(observed, rate).sum() - saturated
        return mu**power * np.exp(ratio) * stats.norm.pdf(z) / LARGEST

    total, first = (
        dblquad(density, 0, LARGEST, -5, 5, args=(p,), epsabs=1e-8, epsrel=1e-6)[0] for p in (0, 1)
    )
    return np.log(total), first / total


def test_emcee_samples_the_posterior(integrals):
    emcee = pytest.importorskip("emcee")
    objective = two_parameters()
    sampler = emcee_sampler(objective, 20)
    np.random.seed(5)  # noqa: NPY002 - emcee draws from the global generator
    sampler.run_mcmc(emcee_start(objective, 20, seed=1), 200)
    sampler.reset()
    compiled = BATCH._cache_size()
    sampler.run_mcmc(sampler._previous_state, 1500)
    assert BATCH._cache_size() == compiled
    time = emcee.autocorr.integrated_time(sampler.get_chain(), quiet=True)[0]
    mu = sampler.get_chain(flat=True)[:, 0]
    error = mu.std() / np.sqrt(mu.size / time)
    assert error < 0.05 * mu.std()
    assert abs(mu.mean() - integrals[1]) < NUM_ERRORS * error
    assert objective.expanded(sampler.get_chain(flat=True)).shape == (mu.size, 3)


def test_dynesty_finds_evidence_and_mean(integrals):
    pytest.importorskip("dynesty")
    sampler = dynesty_sampler(two_parameters(), nlive=150, rstate=np.random.default_rng(3))
    sampler.run_nested(print_progress=False, dlogz=0.05)
    found = sampler.results
    log_evidence, mean = integrals
    assert abs(found.logz[-1] - log_evidence) < NUM_ERRORS * found.logzerr[-1]
    assert found.logzerr[-1] < 0.2
    weights = found.importance_weights()
    mu = found.samples[:, 0]
    average = np.sum(weights * mu)
    spread = np.sqrt(np.sum(weights * (mu - average) ** 2))
    error = spread * np.sqrt(np.sum(weights**2))
    assert abs(average - mean) < NUM_ERRORS * error
    assert error < 0.1 * spread


def test_prior_and_likelihood_split_the_constraints():
    objective = objective_of_workspace(workspace())
    problem = nested_problem(objective)
    reduced = objective.reduced
    assert problem.names == reduced.names
    cube = np.random.default_rng(0).uniform(size=len(problem.names))
    x = problem.prior_transform(cube)
    assert np.all((reduced.lower <= x) & (x <= reduced.upper))
    for i, name in enumerate(problem.names):
        low, high = reduced.lower[i], reduced.upper[i]
        if np.isfinite(reduced.width[i]):
            centre, width = reduced.centre[i], reduced.width[i]
            law = stats.truncnorm((low - centre) / width, (high - centre) / width, centre, width)
        else:
            law = stats.uniform(low, high - low)
        assert law.cdf(x[i]) == pytest.approx(cube[i], abs=1e-9), name
    constraint = 0.5 * np.sum(((x - reduced.centre) / reduced.width) ** 2)
    assert problem.loglikelihood(x) == pytest.approx(constraint - reduced.value(x), rel=1e-12)
    assert reduced.width[reduced.names.index("scale")] == 1.0
    assert reduced.width[reduced.names.index("fake_SR[0]")] == np.inf


def test_flat_priors_need_bounds():
    objective = objective_of_model(counting(), SIGNAL)
    with pytest.raises(ConfigError, match=r"parameters mu have no Gaussian constraint .*0 to inf"):
        nested_problem(objective)
    problem = nested_problem(objective, {"mu": (0.0, 4.0)})
    np.testing.assert_allclose(problem.prior_transform(np.array([0.25, 0.5, 0.5])), [1.0, 0.0, 0.0])


def test_emcee_sees_bounds_and_many_points_at_once():
    objective = two_parameters()
    log_prob = emcee_log_prob(objective)
    points = np.array([[1.0, 0.2], [-0.1, 0.0], [7.0, 0.0]])
    found = log_prob(points)
    assert found[0] == -objective.value([1.0, 0.2, 0.0])
    assert found[1:].tolist() == [-np.inf, -np.inf]
    start = emcee_start(objective)
    assert start.shape == (16, 2)
    assert np.isfinite(log_prob(start)).all()
    assert np.linalg.matrix_rank(start - start.mean(axis=0)) == 2
