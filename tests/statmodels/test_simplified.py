"""Correlated regions: SciPy, closed forms, derivatives of two orders, walls."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxlik.errors import Status
from jaxlik.statmodels import poisson
from jaxlik.statmodels.simplified import positive_part, simplified_likelihood, skewed_terms

BACKGROUND = np.array([4.0, 12.0, 1.2, 60.0])
COVARIANCE = np.array(
    [[2.0, 1.5, 0.4, 3.0], [1.5, 6.0, 0.6, 8.0], [0.4, 0.6, 0.9, 1.0], [3.0, 8.0, 1.0, 50.0]]
)
MOMENTS = np.array([1.0, 3.0, 0.5, 40.0])
DATA = {
    "counts": np.array([7.0, 10.0, 2.0, 71.0]),
    "empty": np.array([2.0, 9.0, 0.0, 55.0]),
    "all empty": np.zeros(4),
}
SIGNAL = jnp.array([2.0, 1.0, 1.5, 4.0])
KINDS = {"linear": None, "skewed": MOMENTS}


def make(kind, data="counts"):
    return simplified_likelihood(DATA[data], BACKGROUND, COVARIANCE, KINDS[kind])


@jax.jit
def value(model, mu, signal):
    return model.profiled_twice_nll(mu, signal)


@jax.jit
def slope(model, mu, signal):
    return jax.grad(model.profiled_twice_nll)(mu, signal)


def scipy_profile(model, mu):
    """Constrained minimum over standardised nuisances; SLSQP, good to 1e-6."""
    root, observed = np.asarray(model.root), np.asarray(model.observed)
    mean = mu * np.asarray(SIGNAL) + np.asarray(model.central)
    kappa = 0.0 if model.curvature is None else np.asarray(model.curvature)

    def rate(z):
        shift = root @ z
        return mean + shift + kappa * shift**2

    def rate_jacobian(z):
        return (1 + 2 * kappa * (root @ z))[:, None] * root

    def twice_nll(z):
        counted = observed > 0
        safe = np.where(counted, np.maximum(rate(z), 1e-12), rate(z))
        ratio = np.where(counted, observed, 1.0) / np.where(counted, safe, 1.0)
        gradient = 2 * (1 - np.where(counted, ratio, 0.0)) @ rate_jacobian(z) + 2 * z
        return 2 * np.sum(safe - observed + observed * np.log(ratio)) + z @ z, gradient

    best = optimize.minimize(
        twice_nll,
        np.zeros(len(mean)),
        jac=True,
        method="SLSQP",
        constraints=[{"type": "ineq", "fun": rate, "jac": rate_jacobian}],
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return best.fun


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
def test_profile_matches_scipy(kind, data):
    model = make(kind, data)
    for mu in (0.0, 1.0, 3.0):
        expected = scipy_profile(model, mu)
        np.testing.assert_allclose(value(model, jnp.asarray(mu), SIGNAL), expected, atol=1e-7)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
def test_reported_nuisances_give_the_reported_value(kind, data):
    model = make(kind, data)
    fit = jax.jit(lambda model, mu, signal: model.profile(mu, signal))(
        model, jnp.asarray(0.8), SIGNAL
    )
    assert fit.status == Status.success
    assert fit.num_steps <= 6
    primal = model.twice_nll(jnp.asarray(0.8), SIGNAL, fit.nuisances)
    np.testing.assert_allclose(fit.twice_nll, primal, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("data", DATA)
def test_independent_regions_agree_with_the_closed_form(data):
    error = np.sqrt(np.diagonal(COVARIANCE))
    model = simplified_likelihood(DATA[data], BACKGROUND, np.diag(error**2))
    expected = poisson.profiled_twice_nll(1.3, SIGNAL, DATA[data], BACKGROUND, error).sum()
    np.testing.assert_allclose(value(model, jnp.asarray(1.3), SIGNAL), expected, rtol=1e-11)


@pytest.mark.parametrize("data", ["counts", "empty"])
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_match_finite_differences(kind, data):
    model, mu, step = make(kind, data), jnp.asarray(0.9), 1e-4
    curvature = jax.grad(slope, argnums=1)(model, mu, SIGNAL)
    numeric = (slope(model, mu + step, SIGNAL) - slope(model, mu - step, SIGNAL)) / (2 * step)
    np.testing.assert_allclose(curvature, numeric, rtol=1e-6)

    gradient = jax.jit(jax.grad(lambda s: model.profiled_twice_nll(mu, s)))
    direction = jnp.array([0.3, -0.5, 0.2, 1.0])
    hessian = jax.jacfwd(gradient)(SIGNAL)
    ahead, behind = gradient(SIGNAL + step * direction), gradient(SIGNAL - step * direction)
    np.testing.assert_allclose(
        hessian @ direction, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_first_derivatives_in_all_inputs_match_finite_differences(kind):
    model, mu, step = make(kind), jnp.asarray(0.9), 1e-5
    fields = lambda model: (model.observed, model.covariance, model.central)  # noqa: E731

    def fn(leaves):
        return eqx.tree_at(fields, model, leaves).profiled_twice_nll(mu, SIGNAL)

    leaves = fields(model)
    gradient = jax.grad(fn)(leaves)
    direction = jax.tree.map(lambda x: x * jnp.sin(jnp.arange(x.size)).reshape(x.shape), leaves)
    direction = (direction[0], direction[1] + direction[1].T, direction[2])
    move = lambda sign: jax.tree.map(lambda x, d: x + sign * step * d, leaves, direction)  # noqa: E731
    numeric = (fn(move(1.0)) - fn(move(-1.0))) / (2 * step)
    actual = sum(jnp.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(actual, numeric, rtol=1e-6)


def test_skewed_terms_reproduce_three_moments():
    central, covariance, curvature = skewed_terms(BACKGROUND, COVARIANCE, MOMENTS)
    width2 = np.diagonal(covariance)
    skew = curvature * width2
    # theta ~ N(0, B^2): moments of A + theta + kappa theta^2
    np.testing.assert_allclose(central + skew, BACKGROUND, rtol=1e-12)
    np.testing.assert_allclose(width2 + 2 * skew**2, np.diagonal(COVARIANCE), rtol=1e-12)
    np.testing.assert_allclose(6 * width2 * skew + 8 * skew**3, MOMENTS, rtol=1e-10)
    between = covariance + 2 * np.outer(curvature, curvature) * covariance**2
    np.testing.assert_allclose(between, COVARIANCE, rtol=1e-12)


def test_vanishing_third_moments_give_the_linear_model():
    tiny = simplified_likelihood(DATA["counts"], BACKGROUND, COVARIANCE, np.full(4, 1e-9))
    assert tiny.curvature is not None
    expected = value(make("linear"), jnp.asarray(1.0), SIGNAL)
    np.testing.assert_allclose(value(tiny, jnp.asarray(1.0), SIGNAL), expected, rtol=1e-8)
    zero = simplified_likelihood(DATA["counts"], BACKGROUND, COVARIANCE, np.zeros(4))
    assert zero.curvature is None


def test_fully_correlated_regions_need_no_inverse():
    spread = np.array([1.0, 2.0, 0.5, 4.0])
    model = simplified_likelihood(DATA["counts"], BACKGROUND, np.outer(spread, spread))

    def twice_nll(z):
        rate = BACKGROUND + np.asarray(SIGNAL) + spread * z
        counts = DATA["counts"]
        return 2 * np.sum(rate - counts + counts * np.log(counts / rate)) + z**2

    best = optimize.minimize_scalar(twice_nll, bounds=(-2, 3), method="bounded")
    np.testing.assert_allclose(value(model, jnp.asarray(1.0), SIGNAL), best.fun, atol=1e-8)


def test_positive_part_keeps_good_matrices_and_mends_rounded_ones():
    kept, root, log_determinant = positive_part(COVARIANCE)
    assert kept is COVARIANCE
    np.testing.assert_allclose(root @ root.T, COVARIANCE, rtol=1e-12)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(COVARIANCE)[1], rtol=1e-12)
    mended, _, _ = positive_part(np.array([[1.0, 1.01], [1.01, 1.0]]))
    assert np.linalg.eigvalsh(mended)[0] > -1e-14


def test_start_changes_the_steps_not_the_answer():
    model, mu = make("linear", "empty"), jnp.asarray(2.0)
    cold = model.profile(mu, SIGNAL)
    warm = model.profile(mu, SIGNAL, start=cold.nuisances + 0.3)
    np.testing.assert_allclose(warm.twice_nll, cold.twice_nll, atol=1e-10)


def test_extreme_signals_converge():
    model = make("linear", "empty")
    for size in (1e-6, 1e3, 1e6):
        fit = model.profile(jnp.asarray(1.0), size * SIGNAL)
        assert fit.status == Status.success


def test_new_data_do_not_compile_again():
    traced = eqx.debug.assert_max_traces(
        lambda model, mu: model.profiled_twice_nll(mu, SIGNAL), max_traces=1
    )
    fn = jax.jit(traced)
    for mu, data in zip((0.0, 1.0, 2.0), DATA.values(), strict=True):
        fn(make("linear").with_observed(jnp.asarray(data)), mu)
