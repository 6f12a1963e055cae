"""The best mu of the likelihoods of a bank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.inference.bank_mle import best_mu
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import profiled_twice_nll_fn
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.simplified import simplified_likelihood


def random_model(rng, size, excess):
    background = rng.uniform(3.0, 60.0, size)
    root = 0.15 * background[:, None] * rng.normal(size=(size, size)) / np.sqrt(size)
    covariance = root @ root.T + np.diag((0.1 * background) ** 2)
    observed = rng.poisson(background * (1 + excess)).astype(float)
    if excess < 0:
        observed[0] = 0.0
    return simplified_likelihood(observed, background, covariance)


@pytest.fixture(scope="module")
def bank():
    rng = np.random.default_rng(5)
    shapes = ((4, 0.0), (7, 0.5), (6, 1.5), (3, -0.6))
    (found,) = make_banks([random_model(rng, *shape) for shape in shapes], max_buckets=1)
    return found


@pytest.fixture(scope="module")
def signal(bank):
    raw = np.random.default_rng(6).uniform(0.0, 6.0, bank.region_mask.shape)
    return jnp.where(bank.region_mask, jnp.asarray(raw), 0.0)


def test_they_are_those_of_each_model_alone(bank, signal):
    found = jax.jit(best_mu)(bank, signal)
    assert bool(found.status == Status.success)
    for k in range(bank.num_models):
        model = jax.tree.map(lambda leaf, k=k: leaf[k], bank.models)
        alone = fit_mu(profiled_twice_nll_fn(model, signal[k]))
        assert float(found.mu_hat[k]) == pytest.approx(float(alone.mu_hat), abs=1e-8)
        assert float(found.twice_nll[k]) == pytest.approx(float(alone.twice_nll), abs=1e-10)
    assert np.count_nonzero(found.mu_hat) >= 2
    assert np.count_nonzero(found.mu_hat == 0) >= 1


def test_they_scale_with_the_signal_and_have_slopes(bank, signal):
    run = jax.jit(lambda s: best_mu(bank, s).mu_hat)
    scales = jnp.asarray([1e-3, 1.0, 1e3, 0.1])
    np.testing.assert_allclose(run(scales[:, None] * signal) * scales, run(signal), atol=1e-7)
    slope = jax.jit(jax.grad(lambda s: jnp.sum(best_mu(bank, s).mu_hat)))(signal)
    ahead = 1e-4 * jnp.asarray(np.random.default_rng(7).normal(size=signal.shape)) * signal
    difference = jnp.sum(run(signal + ahead) - run(signal - ahead)) / 2
    assert float(jnp.sum(slope * ahead)) == pytest.approx(float(difference), rel=1e-4)


def test_without_signal_mu_rests_at_zero(bank, signal):
    found = jax.jit(best_mu)(bank, jnp.zeros_like(signal))
    assert bool(found.status == Status.success)
    assert not np.any(found.mu_hat)
    np.testing.assert_allclose(found.twice_nll, bank.null_twice_nll(), atol=1e-10)
