"""What warm-up learns is right, frozen afterwards, and leaves the posterior alone.

False alarms as in `test_chains.py`; keys are fixed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_chains import check_occupancy, starts
from toys import exact_answer, gaussian_toy

from walkers.posterior import warmup
from walkers.posterior.kernel import run_chains, standard_kernel
from walkers.posterior.trajectories import GIST, HMC
from walkers.posterior.warmup import PRIOR_DRAWS, begin_averaging, updated, warm_up

pytestmark = [pytest.mark.statistical, pytest.mark.slow]


def test_dual_averaging_finds_the_step_of_a_statistic():
    key, state = jax.random.key(0), begin_averaging(jnp.asarray(0.01))

    def update(state, key):
        passed = jax.random.uniform(key, (8,)) < jnp.exp(-jnp.exp(state.log_step))
        return updated(state, passed.astype(float), jnp.ones(8, bool), 0.8), None

    state, _ = jax.lax.scan(update, state, jax.random.split(key, 1000))
    # exp(-step) = 0.8
    assert jnp.exp(state.log_average) == pytest.approx(-np.log(0.8), rel=0.1)


def test_dual_averaging_ignores_chains_in_which_nothing_moves():
    state = begin_averaging(jnp.asarray(0.3))
    statistic, counted = jnp.array([1.0, 0.5]), jnp.array([False, True])
    one = updated(state, statistic, counted, 0.8)
    assert one.error == updated(state, statistic[1:], counted[1:], 0.8).error
    assert updated(state, statistic, ~counted & counted, 0.8) == state


@pytest.mark.parametrize(
    "trajectory", [GIST(), pytest.param(HMC(), marks=pytest.mark.slow)], ids=["GIST", "HMC"]
)
def test_warm_up_learns_moments_and_step(trajectory, monkeypatch):
    toy = gaussian_toy()
    answer = exact_answer(toy)
    # The jitted function itself counts: a second trace would mean a new program per round.
    once = eqx.debug.assert_max_traces(max_traces=1)(warmup._round.__wrapped__)
    monkeypatch.setattr(warmup, "_round", eqx.filter_jit(once))
    cold = standard_kernel(toy, toy.block, trajectory=trajectory)
    warm = warm_up(jax.random.key(0), cold, starts(toy, answer), num_rounds=4, num_sweeps=300)
    assert warm.num_sweeps == 1200
    # Exact moments of coordinates in use, shrunk as the fit is.
    used = answer.contents[:, toy.block] * answer.probabilities[:, None]
    variances = np.sum(answer.roots**2, axis=2)
    draws = 8 * 300 * used.sum(axis=0)
    mean = np.sum(used * answer.means, axis=0) / used.sum(axis=0)
    square = np.sum(used * (answer.means**2 + variances), axis=0) / used.sum(axis=0)
    part = draws / (draws + PRIOR_DRAWS)
    fitted = warm.kernel.auxiliary.entering.fitted
    np.testing.assert_allclose(fitted.mean, part * mean, atol=0.15)
    variance = part * square + 1 - part - (part * mean) ** 2
    np.testing.assert_allclose(fitted.scale**2, variance, atol=0.2)
    np.testing.assert_allclose(warm.kernel.tuning.inverse_mass, variance, atol=0.2)

    _, draws, info = run_chains(
        jax.random.key(0), warm.kernel, warm.states, num_draws=3000, thin=2,
        first_sweep=warm.num_sweeps,
    )  # fmt: skip
    check_occupancy(answer, draws.bits)
    statistic = np.sum(info.trajectory.statistic) / (8 * 6000)
    assert statistic == pytest.approx(trajectory.target_statistic, abs=0.1)
    _, _, before = run_chains(jax.random.key(1), cold, warm.states, num_draws=3000, thin=2)
    flips, fitted_flips = before.accepted[:, 0].sum(), info.accepted[:, 0].sum()
    assert fitted_flips > 1.05 * flips
