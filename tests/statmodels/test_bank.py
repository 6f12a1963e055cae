"""Banks: padding is invisible, selections are data, the chord finds Newton's optimum."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import Status
from jaxlik.statmodels.bank import _buckets, make_banks
from jaxlik.statmodels.simplified import simplified_likelihood

MU = jnp.array([0.5, 1.0, 2.0])
SIZES = (3, 5, 2, 4)
SKEWED = (False, False, True, True)


def random_model(size, skewed, seed):
    rng = np.random.default_rng(seed)
    background = rng.uniform(1, 30, size)
    mixing = rng.normal(size=(size, size))
    spread = 0.3 * background
    correlation = mixing @ mixing.T + np.eye(size)
    scale = spread / np.sqrt(np.diagonal(correlation))
    covariance = correlation * np.outer(scale, scale)
    observed = rng.poisson(background).astype(float)
    observed[0] = 0.0 if seed % 2 == 0 else observed[0]
    moments = 0.3 * spread**3 if skewed else None
    return simplified_likelihood(observed, background, covariance, moments, ("R",) * size)


MODELS = [random_model(*terms) for terms in zip(SIZES, SKEWED, range(4), strict=True)]
REGIONS = jnp.asarray(np.random.default_rng(9).uniform(0, 4, sum(SIZES)))


@pytest.fixture(scope="module")
def banks():
    return make_banks(MODELS, max_buckets=1)


@eqx.filter_jit
def profile(bank, mu, regions):
    return bank.profile(mu, bank.gather(regions))


def parts(regions):
    return np.split(np.asarray(regions), np.cumsum(SIZES)[:-1])


@pytest.mark.slow
def test_bank_agrees_with_each_model_alone(banks):
    signals = parts(REGIONS)
    seen = []
    for bank in banks:
        fit = profile(bank, MU, REGIONS)
        for row, index in enumerate(np.asarray(bank.model_index)):
            model, signal = MODELS[index], jnp.asarray(signals[index])
            alone = [model.profile(mu, signal) for mu in MU]
            size = model.num_nuisances
            twice_nll = [one.twice_nll for one in alone]
            np.testing.assert_allclose(fit.twice_nll[:, row], twice_nll, atol=1e-11)
            slopes = [jax.grad(model.profiled_twice_nll)(mu, signal) for mu in MU]
            np.testing.assert_allclose(fit.slope[:, row], slopes, rtol=1e-6, atol=1e-8)
            value = model.twice_nll(MU[0], signal, fit.nuisances[0, row, :size])
            np.testing.assert_allclose(value, fit.twice_nll[0, row], atol=1e-7)
            seen.append(int(index))
        assert bool((fit.status == Status.success).all())
    assert sorted(seen) == [0, 1, 2, 3]


def test_padding_contributes_exactly_nothing(banks):
    for bank in banks:
        padded = ~np.asarray(bank.region_mask)
        assert padded.any()

        def total(signal, bank=bank):
            return jnp.sum(bank.profile(MU, signal).twice_nll)

        signal = jnp.where(bank.region_mask, bank.gather(REGIONS), 7.0)
        gradient = jax.jit(jax.grad(total))(signal)
        assert (np.asarray(gradient)[padded] == 0.0).all()
        assert (np.asarray(gradient)[~padded] != 0.0).all()
        assert total(signal) == total(bank.gather(REGIONS))


def test_second_derivatives_run_through_the_bank(banks):
    bank, step = banks[0], 1e-4
    direction = jnp.sin(jnp.arange(REGIONS.size))
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(bank.profile(MU, bank.gather(s)).twice_nll)))
    hessian = jax.jvp(gradient, (REGIONS,), (direction,))[1]
    ahead, behind = gradient(REGIONS + step * direction), gradient(REGIONS - step * direction)
    # Gradients carry the chord's tolerance, 1e-8, divided by the step.
    np.testing.assert_allclose(hessian, (ahead - behind) / (2 * step), atol=2e-4)


def test_gather_and_scatter_are_inverse(banks):
    back = sum(bank.scatter(bank.gather(REGIONS), REGIONS.size) for bank in banks)
    np.testing.assert_array_equal(back, REGIONS)


def test_taking_models_is_data_and_dead_ones_are_silent(banks):
    bank = banks[0]

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def taken(bank, indices):
        few = bank.take(indices)
        return few.profile(MU, few.gather(REGIONS))

    whole = profile(bank, MU, REGIONS)
    for first, second in ((1, 0), (0, 99), (-1, 1)):
        fit = taken(bank, jnp.array([first, second]))
        for row, index in enumerate((first, second)):
            wanted = whole.twice_nll[:, index] if index in (0, 1) else np.zeros(3)
            np.testing.assert_allclose(fit.twice_nll[:, row], wanted, atol=1e-12)
        assert bool((fit.status == Status.success).all())


def test_batches_of_signals_agree_with_single_ones(banks):
    batch = jnp.stack([REGIONS, 0.1 * REGIONS, jnp.zeros_like(REGIONS)])
    for bank in banks:
        together = jax.jit(jax.vmap(lambda s, bank=bank: bank.profile(MU, bank.gather(s))))(batch)
        for i, regions in enumerate(batch):
            alone = profile(bank, MU, regions)
            np.testing.assert_allclose(together.twice_nll[i], alone.twice_nll, atol=1e-11)
        np.testing.assert_allclose(
            together.twice_nll[2], jnp.broadcast_to(bank.null_twice_nll(), (3, 2)), atol=1e-12
        )


def test_side_by_side_equals_one_after_the_other(banks):
    for bank in banks:
        signal = bank.gather(REGIONS)
        together = bank.profile(MU, signal, sequential=False)
        np.testing.assert_allclose(
            together.twice_nll, bank.profile(MU, signal).twice_nll, atol=1e-12
        )


def test_what_the_chord_cannot_do_is_reported_and_rescued(banks):
    bank = banks[0]
    signal = bank.gather(1e4 * REGIONS)
    given_up = bank.profile(MU, signal, max_steps=1)
    assert not bool((given_up.status == Status.success).all())
    rescued = eqx.filter_jit(lambda bank: bank.profile(MU, signal, max_steps=1, rescue=True))(bank)
    assert bool((rescued.status == Status.success).all())


def test_asimov_data_are_the_fitted_background(banks):
    for bank in banks:
        asimov = bank.with_asimov()
        for row, index in enumerate(np.asarray(bank.model_index)):
            model = MODELS[index]
            size, zero = model.num_nuisances, jnp.zeros(model.num_nuisances)
            fit = model.profile(jnp.asarray(0.0), zero)
            wanted = np.maximum(model.expected(jnp.asarray(0.0), zero, fit.nuisances), 0)
            np.testing.assert_allclose(asimov.models.observed[row, :size], wanted, atol=1e-9)
        nominal = bank.with_asimov(fitted=False)
        np.testing.assert_array_equal(nominal.models.observed, bank.models.background)


def test_new_signals_data_and_mu_do_not_compile_again(banks):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def fn(bank, mu, regions):
        return bank.profile(mu, bank.gather(regions)).twice_nll

    first = fn(banks[0], MU, REGIONS)
    data = 2 * banks[0].models.observed
    second = fn(banks[0].with_observed(data).prepared(), 2 * MU, 0.5 * REGIONS)
    assert not np.allclose(first, second)


def test_buckets_split_where_padding_costs_most():
    assert _buckets([3, 40, 2, 41, 2, 3], 2) == [[0, 2, 4, 5], [1, 3]]
    assert _buckets([30, 40, 35], 2) == [[0, 1, 2]]
    assert _buckets([3, 3], 2) == [[0, 1]]
    assert _buckets([], 2) == []
