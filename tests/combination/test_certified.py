import numpy as np
import pytest
from combination_graphs import random_overlap

from jaxlik.combination.certified import alternate_combination, certified_combination
from jaxlik.combination.selection import maximal_cliques
from jaxlik.errors import ConvergenceError


def counting_fn(rng, count):
    """Gains and slopes of counting experiments with a known background."""
    background = rng.uniform(2.0, 30.0, count)
    signal = rng.uniform(0.1, 1.5, count) * np.sqrt(background)
    observed = rng.poisson(background + rng.binomial(1, 0.4, count) * signal)

    def gain_fn(mu):
        ratio = signal / background
        gains = 2 * (observed * np.log1p(mu * ratio) - mu * signal)
        return gains, 2 * (observed * ratio / (1 + mu * ratio) - signal)

    return gain_fn


def dense_maximum(overlap, gain_fn, mu_max):
    cliques = maximal_cliques(overlap.compatible)
    cliques = cliques[cliques.sum(axis=1) >= 2]
    grid = np.linspace(0.0, mu_max, 4001)
    return (np.stack([gain_fn(mu)[0] for mu in grid]) @ cliques.T).max()


@pytest.mark.parametrize("mu_max", [0.3, 2.0, 10.0])
def test_certified_value_equals_dense_grid_times_enumeration(mu_max):
    rng = np.random.default_rng(int(10 * mu_max))
    for _ in range(5):
        overlap = random_overlap(rng, 16, 0.6)
        gain_fn = counting_fn(rng, 16)
        best = certified_combination(overlap, gain_fn, mu_max)
        np.testing.assert_allclose(best.value, dense_maximum(overlap, gain_fn, mu_max), atol=2e-3)
        assert best.value <= best.upper_bound <= best.value + 2e-3
        assert 0.0 <= best.mu_hat <= mu_max
        np.testing.assert_allclose(gain_fn(best.mu_hat)[0][best.members].sum(), best.value)


def test_alternation_is_never_above_the_certificate(real_overlap):
    rng = np.random.default_rng(5)
    count = len(real_overlap.analysis_ids)
    agreed = 0
    for _ in range(4):
        gain_fn = counting_fn(rng, count)
        present = np.isin(np.arange(count), rng.permutation(count)[:30])
        certified = certified_combination(real_overlap, gain_fn, np.inf, present=present)
        alternated = alternate_combination(real_overlap, gain_fn, np.inf, present=present)
        assert alternated.value <= certified.upper_bound + 1e-9
        agreed += abs(alternated.value - certified.value) < 2e-3
    assert agreed >= 3


def test_no_combination_is_certified_at_once():
    rng = np.random.default_rng(6)
    overlap = random_overlap(rng, 3, 0.0)
    best = certified_combination(overlap, counting_fn(rng, 3), 2.0)
    assert best.value == -np.inf
    assert not best.members.any()


def test_an_exhausted_search_says_so():
    rng = np.random.default_rng(7)
    with pytest.raises(ConvergenceError, match="raise `max_solves`"):
        certified_combination(random_overlap(rng, 12, 0.5), counting_fn(rng, 12), 5.0, max_solves=5)
