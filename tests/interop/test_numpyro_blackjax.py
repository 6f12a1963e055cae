"""Posteriors of numpyro and blackjax against closed forms and quadrature.

Seeds are fixed; were they not, means would fail with a probability below 1e-5 each (4.5 standard
errors, from effective sample sizes).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, init_to_value
from objective_cases import SIGNAL, counting, workspace
from scipy import stats
from scipy.integrate import dblquad

from jaxlik.interop.blackjax_bridge import _chains as blackjax_chains
from jaxlik.interop.blackjax_bridge import blackjax_logdensity, sample_nuts
from jaxlik.interop.numpyro_bridge import numpyro_model, numpyro_potential, numpyro_start
from jaxlik.interop.objective import objective_of_model, objective_of_workspace
from jaxlik.interop.scipy_minimize import minimize
from jaxlik.interop.unbounded import unbounded
from jaxlik.statmodels.truncated_gaussian import TruncatedGaussian

pytestmark = pytest.mark.statistical

NUM_ERRORS = 4.5
"""Standard errors; beyond them lies a normal variable once in 150 000 times."""

GAUSSIAN = TruncatedGaussian(jnp.array([1.5]), jnp.array([2.0]))
"""Posterior of mu for a signal of 2: N(0.75, 1), cut at bounds."""


def assert_mean(chains, mean):
    """The mean of draws, axes ``chain draw``, within its statistical error."""
    chains = np.asarray(chains)
    error = chains.std() / np.sqrt(effective_sample_size(chains))
    assert abs(chains.mean() - mean) < NUM_ERRORS * error
    assert error < 0.1 * chains.std()


def gaussian(bounds):
    return objective_of_model(GAUSSIAN, [2.0], mu_bounds=bounds)


def closed_form(bounds):
    low, high = (b - 0.75 for b in bounds)
    return stats.truncnorm(low, high, loc=0.75)


def run(kernel, key, *arguments, init=None):
    mcmc = MCMC(
        kernel,
        num_warmup=300,
        num_samples=1000,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
        jit_model_args=bool(arguments),
    )
    mcmc.run(jax.random.key(key), *arguments, init_params=init)
    # A few steps on the steep side of exp(y) may fail.
    assert np.mean(mcmc.get_extra_fields()["diverging"]) < 0.01
    return mcmc.get_samples(group_by_chain=True)


BOUNDS = {
    "free": (-np.inf, np.inf),
    "half": (0.0, np.inf),
    "below": (-np.inf, 1.0),
    "closed": (-0.5, 2.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_coordinates_without_bounds_keep_the_density(name):
    bounds = BOUNDS[name]
    coordinates = unbounded(gaussian(bounds), at=[0.75])
    z = jnp.linspace(-2.0, 2.0, 9)[:, None]

    @eqx.filter_jit
    def evaluate(coordinates, z):
        slope = jax.jacobian(lambda z: coordinates.parameters(z)[0])(z)[0]
        return coordinates.parameters(z)[0], slope, coordinates.log_density(z)

    mu, slopes, found = jax.vmap(evaluate, (None, 0))(coordinates, z)
    wanted = closed_form(bounds).logpdf(np.asarray(mu)) + np.log(np.abs(slopes))
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(found - found[4], wanted - wanted[4], atol=1e-10)
    assert coordinates.parameters(coordinates.start)[0] == pytest.approx(0.75, rel=1e-12)


def test_numpyro_potential_samples_the_closed_form():
    bounds = BOUNDS["half"]
    potential = numpyro_potential(gaussian(bounds), at=[0.75])
    kernel = NUTS(potential_fn=potential.potential_fn)
    z = run(kernel, 0, init=potential.starts(2))
    draws = potential.draws(z)
    assert draws.values.shape == (2, 1000, 1)
    chains = draws.named()["mu"]
    wanted = closed_form(bounds)
    assert_mean(chains, wanted.mean())
    assert_mean((chains - wanted.mean()) ** 2, wanted.var())


@pytest.fixture(scope="module")
def moments():
    """Mean of mu and of the first nuisance of a counting experiment, by quadrature.

    The second region has no error of the background; its nuisance is fixed.
    """
    objective = two_parameters()

    def density(z, mu, power):
        value = np.exp(5.0 - objective.value([mu, z, 0.0]))
        return value * mu if power == "mu" else value * z if power == "z" else value

    total, mu, z = (
        dblquad(density, 0, 8, -6, 6, args=(p,), epsabs=1e-6, epsrel=1e-6)[0]
        for p in ("one", "mu", "z")
    )
    return mu / total, z / total


def two_parameters():
    model = counting(background_error=[1.5, 0.0])
    return objective_of_model(model, SIGNAL).with_fixed({"nuisance[1]": 0.0})


def test_numpyro_model_samples_the_same_posterior(moments):
    objective = two_parameters()
    start = init_to_value(values=numpyro_start(objective))
    kernel = NUTS(numpyro_model(objective), init_strategy=start)
    samples = run(kernel, 1, objective.reduced.arrays)
    assert set(samples) == {"mu", "nuisance[0]"}
    assert_mean(samples["mu"], moments[0])
    assert_mean(samples["nuisance[0]"], moments[1])


def test_blackjax_samples_the_same_posterior(moments):
    pytest.importorskip("blackjax")
    objective = two_parameters()
    best = minimize(objective).x
    found = sample_nuts(
        jax.random.key(2), objective, at=best, num_draws=1000, num_warmup=300, num_chains=2
    )
    assert found.num_divergences == 0
    assert found.acceptance > 0.6
    chains = found.draws.named()
    assert_mean(chains["mu"], moments[0])
    assert_mean(chains["nuisance[0]"], moments[1])
    assert np.all(chains["nuisance[1]"] == 0.0)
    # Other data: the same program.
    compiled = blackjax_chains._cached._cache_size()
    other = objective_of_model(
        counting(observed=[20.0, 9.0], background_error=[1.5, 0.0]), SIGNAL
    ).with_fixed({"nuisance[1]": 0.0})
    more = sample_nuts(
        jax.random.key(2), other, at=best, num_draws=1000, num_warmup=300, num_chains=2
    )
    assert blackjax_chains._cached._cache_size() == compiled
    assert more.draws.named()["mu"].mean() > chains["mu"].mean() + 0.5


def test_log_density_needs_no_blackjax_and_starts_at_the_objective():
    objective = objective_of_workspace(workspace())
    target = blackjax_logdensity(objective)
    draws = target.draws(target.start)
    np.testing.assert_allclose(draws.values, objective.initial, rtol=1e-9)
    assert jnp.isfinite(jax.jit(jax.grad(target.logdensity_fn))(target.start)).all()


@pytest.mark.slow
def test_numpyro_and_blackjax_agree_on_a_workspace():
    pytest.importorskip("blackjax")
    objective = objective_of_workspace(workspace())
    best = minimize(objective).x
    potential = numpyro_potential(objective, at=best)
    z = run(NUTS(potential_fn=potential.potential_fn), 3, init=potential.starts(2))
    first = potential.draws(z).named()
    second = sample_nuts(
        jax.random.key(4), objective, at=best, num_draws=1000, num_warmup=300, num_chains=2
    ).draws.named()
    for name in ("mu", "norm", "scale", "fake_SR[0]"):
        means = [chains[name].mean() for chains in (first, second)]
        errors = [
            chains[name].std() / np.sqrt(effective_sample_size(chains[name]))
            for chains in (first, second)
        ]
        assert abs(means[0] - means[1]) < NUM_ERRORS * np.hypot(*errors)
    assert np.all(first["lumi"] == 1.0)


def test_model_of_a_workspace_has_its_sites():
    objective = objective_of_workspace(workspace())
    seeded = numpyro.handlers.seed(numpyro_model(objective), jax.random.key(0))
    values = numpyro_start(objective)
    trace = numpyro.handlers.trace(numpyro.handlers.condition(seeded, values)).get_trace()
    assert set(trace) == {*objective.reduced.names, "log_likelihood"}
    # The constraints are split between sites and factor; together they are -ln L.
    factor = float(trace["log_likelihood"]["fn"].log_factor)
    inside = objective.reduced
    x = inside.vector(values)
    constraint = 0.5 * np.sum(((x - inside.centre) / inside.width) ** 2)
    assert factor == pytest.approx(constraint - inside.value(x), rel=1e-10)
