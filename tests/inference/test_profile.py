"""The generic profile, against closed forms; what Asimov data it makes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.inference.profile import (
    background_asimov,
    likelihood_pair,
    profile,
    profile_generic,
    profiled_twice_nll_fn,
)
from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.statmodels.simplified import simplified_likelihood

MODEL = PoissonCounting(np.array([9.0, 4.0]), np.array([5.0, 6.0]), np.array([1.5, 2.0]))
CORRELATED = simplified_likelihood(
    np.array([9.0, 4.0]), np.array([5.0, 6.0]), np.array([[2.2, 1.0], [1.0, 4.0]])
)
SIGNAL = jnp.array([2.0, 1.0])
MU = jnp.asarray(0.8)


@pytest.mark.parametrize("model", [MODEL, CORRELATED], ids=["poisson", "simplified"])
def test_generic_newton_agrees_with_the_models_own_profile(model):
    own = profile(model, MU, SIGNAL)
    generic = eqx.filter_jit(profile_generic)(model, MU, SIGNAL)
    assert generic.status == Status.success
    np.testing.assert_allclose(generic.twice_nll, own.twice_nll, atol=1e-11)
    np.testing.assert_allclose(generic.nuisances, own.nuisances, atol=1e-7)


@pytest.mark.slow
def test_generic_second_derivatives_are_exact():
    def generic(mu):
        return profile_generic(CORRELATED, mu, SIGNAL).twice_nll

    own = profiled_twice_nll_fn(CORRELATED, SIGNAL)
    np.testing.assert_allclose(jax.grad(generic)(MU), jax.grad(own)(MU), rtol=1e-9)
    twice = jax.grad(jax.grad(own))(MU)
    np.testing.assert_allclose(jax.grad(jax.grad(generic))(MU), twice, rtol=1e-8)


def test_generic_profile_is_differentiable_in_the_model():
    def fn(observed):
        return profile_generic(MODEL.with_observed(observed), MU, SIGNAL).twice_nll

    def exact(observed):
        return MODEL.with_observed(observed).profiled_twice_nll(MU, SIGNAL)

    np.testing.assert_allclose(
        jax.grad(fn)(MODEL.observed), jax.grad(exact)(MODEL.observed), rtol=1e-8
    )


def test_background_asimov_follows_the_fit_or_the_publication():
    fitted = background_asimov(MODEL)
    nuisances = MODEL.profile(jnp.asarray(0.0), SIGNAL).nuisances
    wanted = MODEL.background + MODEL.background_error * nuisances
    np.testing.assert_allclose(fitted.observed, wanted, rtol=1e-14)
    assert (background_asimov(MODEL, fitted=False).observed == MODEL.background).all()


def test_expected_pair_of_a_linear_model_is_one_function():
    data, asimov = likelihood_pair(CORRELATED, SIGNAL, expected=True)
    np.testing.assert_allclose(data(MU), asimov(MU), rtol=1e-12)
