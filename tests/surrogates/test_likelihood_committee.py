"""Networks: exact zero, training that learns, choice of labels; the design they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surrogates.committee import (
    advance,
    disagreement,
    initial_members,
    loss_of,
    most_disputed,
    predictions,
    train,
    training_data,
)
from surrogates.design import RADIUS, random_signals, sobol_signals
from surrogates.labels import Labels
from surrogates.likelihood_recipe import LikelihoodRecipe

RECIPE = LikelihoodRecipe(members=3, width=16, steps=400, batch=64, rate=1e-2, block=50)


def independent_regions(signals):
    """Three counting experiments without nuisances, as labels; slopes by hand."""
    observed, background = np.array([[4.0, 2.0, 9.0], [3.0, 2.5, 8.0]]), np.array([3.0, 2.5, 8.0])
    rate = background + signals[:, None]
    terms = signals[:, None] - observed * np.log(rate / background)
    return Labels(signals, 2 * terms.sum(axis=2), 2 * (1 - observed / rate))


@pytest.fixture(scope="module")
def labels():
    return independent_regions(sobol_signals(3, 256, 1))


@pytest.fixture(scope="module")
def trained(labels):
    data = training_data(labels, 300)
    return train(initial_members(3, RECIPE), data, RECIPE, 400, jax.random.key(0))


def test_nothing_is_exactly_nothing(trained):
    assert (predictions(trained, np.zeros((5, 3))) == 0.0).all()


def test_training_learns_signals_it_has_not_seen(trained):
    unseen = independent_regions(random_signals(3, 200, 5))
    before = predictions(initial_members(3, RECIPE), unseen.signal).mean(axis=0) - unseen.change
    after = predictions(trained, unseen.signal).mean(axis=0) - unseen.change
    assert np.abs(after).max() < 0.2
    assert np.median(np.abs(after)) < 0.03
    assert np.median(np.abs(before)) > 10 * np.median(np.abs(after))


def test_loss_is_the_relative_square_of_values_and_slopes(trained, labels):
    member = jax.tree.map(lambda leaf: leaf[0], trained)
    data = training_data(labels, 256)
    signal, change, slope = (part[7] for part in labels)

    def value(u):
        one = jax.tree.map(lambda leaf: leaf[None], member)
        return predictions(one, u[None].astype(np.float32))[0, 0].astype(float)

    step = 0.01
    sides = [value(signal + e) - value(signal - e) for e in step * np.eye(3)]
    slopes = np.stack(sides, axis=1) / (2 * step)
    weight = 1 / (1 + np.abs(change) / 10)
    square = (value(signal) - change) ** 2 + 0.3 * ((slopes - slope) ** 2).sum(axis=1)
    wanted = (weight**2 * square).sum()
    found = float(loss_of(member, data, jnp.array([7, 7]), 0.3))
    assert found == pytest.approx(wanted, rel=0.02, abs=1e-5)


def test_padding_is_never_trained_on(labels):
    first = Labels(*(part[:100] for part in labels))
    start = initial_members(3, RECIPE)
    one, other = (
        train(start, training_data(first, size), RECIPE, 50, jax.random.key(2))
        for size in (100, 300)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_one_program_serves_any_number_of_labels_and_steps(labels):
    recipe = LikelihoodRecipe(members=2, width=8, batch=16, block=5)
    members, before = initial_members(3, recipe), advance._cache_size()
    for count, steps in ((50, 5), (200, 10)):
        data = training_data(Labels(*(part[:count] for part in labels)), 256)
        train(members, data, recipe, steps, jax.random.key(count))
    assert advance._cache_size() - before == 1


def test_the_committee_asks_where_it_disagrees_most(trained):
    signals = sobol_signals(3, 512, 9)
    unused = np.arange(100, 512)
    chosen = most_disputed(trained, signals, unused, 20)
    assert len(set(chosen)) == 20
    assert np.isin(chosen, unused).all()
    spread = disagreement(trained, signals)
    left = np.setdiff1d(unused, chosen)
    assert spread[chosen].min() >= spread[left].max() * (1 - 1e-5)


def test_designs_fill_the_ball_from_sparse_to_broad():
    signals = sobol_signals(9, 1024, 1)
    length = np.linalg.norm(signals, axis=1)
    assert (signals >= 0).all()
    np.testing.assert_allclose(np.sort(length), RADIUS * (np.arange(1024) + 0.5) / 1024, atol=0.01)
    share = signals.max(axis=1) / np.maximum(length, 1e-30)
    assert np.mean(share > 0.99) > 0.05
    assert np.mean(share < 0.6) > 0.1
    np.testing.assert_array_equal(signals[:512], sobol_signals(9, 512, 1))
    assert not np.allclose(signals[:512], sobol_signals(9, 512, 2))


def test_independent_signals_have_the_same_distribution():
    one, other = (np.sort(f(4, 4096, 3).max(axis=1)) for f in (sobol_signals, random_signals))
    # Largest distance of two samples of 4096: 0.05 has a chance below 1e-4.
    places = np.searchsorted(one, other) / 4096
    assert np.abs(places - (np.arange(4096) + 0.5) / 4096).max() < 0.05
