"""Evidences and contents of sequential Monte Carlo against exact ones (T5).

Keys are fixed. |z| < 4 with sigma from the spread of the runs: false alarm below 10^-2 (four
runs, Student's t); |ln Z - exact| < 0.1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from toys import WALL, WalledToy, content_index, exact_answer, gaussian_toy

from jaxlik.errors import ConvergenceError
from walkers.posterior import smc
from walkers.posterior.kernel import standard_kernel
from walkers.posterior.smc import content_evidences, next_beta, sequential_evidence, systematic
from walkers.posterior.trajectories import HMC

pytestmark = [pytest.mark.statistical, pytest.mark.slow]


def prior_draws(toy, answer, count, seed):
    rng = np.random.default_rng(seed)
    weights = np.exp(-float(toy.price) * answer.contents.sum(axis=1))
    index = rng.choice(len(weights), size=count, p=weights / weights.sum())
    return answer.contents[index], rng.normal(size=(count, toy.num_parameters))


def runs(toy, answer, count=2000, number=4, **options):
    kernel = standard_kernel(toy, toy.block, num_flips=4, trajectory=HMC(num_leapfrogs=6))
    return [
        sequential_evidence(
            jax.random.key(seed), kernel, *prior_draws(toy, answer, count, seed), **options
        )
        for seed in range(number)
    ]


def check(found, log_evidence, probabilities, most_tv):
    values = np.array([run.log_evidence for run in found])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(values - log_evidence) < 0.1)
    assert abs(values.mean() - log_evidence) < 4 * error
    # The error that a run claims is about the spread.
    assert 0.2 < found[0].error / values.std(ddof=1) < 5
    index = np.concatenate([content_index(run.states.bits) for run in found])
    occupancy = np.bincount(index, minlength=len(probabilities)) / len(index)
    assert 0.5 * np.abs(occupancy - probabilities).sum() < most_tv


def test_evidence_and_contents_are_exact():
    toy = gaussian_toy()
    answer = exact_answer(toy)
    found = runs(toy, answer)
    check(found, answer.log_evidence, answer.probabilities, 0.03)
    run = found[0]
    assert run.temperatures[-1] == 1
    assert np.all(np.diff(run.temperatures) > 0)
    contents = content_evidences(run.states.bits, run.log_evidence)
    assert np.logaddexp.reduce(contents.log_evidence) == pytest.approx(run.log_evidence)
    exact = np.log(answer.probabilities[content_index(contents.bits)]) + answer.log_evidence
    np.testing.assert_allclose(contents.log_evidence[:4], exact[:4], atol=0.3)


def test_impossible_particles_cost_evidence():
    toy = gaussian_toy(kind=WalledToy)
    answer = exact_answer(toy)
    scales = np.sqrt(np.sum(answer.roots[:, 0] ** 2, axis=1))
    allowed = stats.norm.cdf((WALL - answer.means[:, 0]) / scales)
    weights = answer.probabilities * np.where(answer.contents[:, 0], allowed, 1.0)
    found = runs(toy, answer, width=500)
    check(found, answer.log_evidence + np.log(weights.sum()), weights / weights.sum(), 0.03)
    assert all(np.all(np.isfinite(run.states.exact)) for run in found)


def test_powers_follow_the_effective_number():
    rng = np.random.default_rng(0)
    values = jnp.asarray(np.where(rng.uniform(size=4000) < 0.7, -np.inf, rng.normal(size=4000)))
    beta = next_beta(3 * values, jnp.asarray(0.1), jnp.asarray(0.6))
    possible = np.asarray(values)[np.isfinite(values)]
    weights = np.exp(3 * possible * (float(beta) - 0.1))
    assert weights.sum() ** 2 / np.sum(weights**2) == pytest.approx(0.6 * len(possible), rel=1e-6)
    assert next_beta(0.1 * values, jnp.asarray(0.1), jnp.asarray(0.6)) == 1


def test_systematic_resampling_rounds_expected_counts():
    weights = np.array([0.5, 0.0, 0.26, 0.24, 0.0, 0.0, 0.0, 0.0])
    with np.errstate(divide="ignore"):
        logs = jnp.asarray(np.log(weights))
    for seed in range(20):
        counts = np.bincount(systematic(jax.random.key(seed), logs), minlength=8)
        assert np.all(np.abs(counts - 8 * weights) < 1)
        assert not counts[weights == 0].any()


def test_hopeless_runs_end_with_an_error(monkeypatch):
    toy = gaussian_toy(kind=WalledToy)
    kernel = standard_kernel(toy, toy.block, trajectory=HMC())
    bits, vectors = np.ones((4, 4), bool), np.full((4, 8), 9.0)
    with pytest.raises(ConvergenceError, match="none of 4 draws"):
        sequential_evidence(jax.random.key(0), kernel, bits, vectors)
    monkeypatch.setattr(smc, "_level", lambda *_: pytest.fail("no level may be run"))
    with pytest.raises(ConvergenceError, match="0 levels reached a power of 0"):
        sequential_evidence(jax.random.key(0), kernel, bits, -vectors, max_levels=0)


@pytest.mark.slow
def test_evidence_of_the_toy_of_the_specification():
    toy = gaussian_toy(num_blocks=6, size=3, num_data=24)
    answer = exact_answer(toy)
    check(runs(toy, answer, count=4000), answer.log_evidence, answer.probabilities, 0.04)
