import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.physics import penalties, prior
from jaxlik.physics.model import ModelPoint

exact_prior = eqx.filter_jit(prior.log_prior)
smooth_prior = eqx.filter_jit(prior.smooth_log_prior)


@pytest.mark.parametrize(
    ("counts", "twice_log_prior"),
    [((1, 1, 2), -2.0), ((2, 0, 5), -3.25), ((3, 3, 8), -6.5), ((3, 0, 2.3), -3.575)],
)
def test_examples_of_the_paper(counts, twice_log_prior):
    value = 2 * prior.log_prior_of_counts(*map(jnp.asarray, map(float, counts)))
    np.testing.assert_allclose(value, twice_log_prior, rtol=1e-14)


def greedy(values, close):
    kept = []
    for value in values:
        if not any(close(value, other) for other in kept):
            kept.append(value)
    return len(kept)


def plain_counts(space, point, sigma):
    """The rules of the specification, one by one, in plain Python."""
    active = np.asarray(point.active)
    branching = 0
    for position in np.flatnonzero(active):
        if position == space.lbp:
            continue
        parent = np.asarray(space.channel_parent)
        row = [b for b in np.asarray(point.branching_ratios)[parent == position] if b > 1e-5]
        branching += max(greedy(row, lambda a, b: abs(a - b) / (a + b) < 0.025) - 1, 0)
    kappas = [
        kappa
        for kappa, pair, row in zip(
            np.asarray(point.signal_strengths),
            np.asarray(space.production_pair),
            sigma,
            strict=True,
        )
        if kappa > 1e-4 and active[pair].all() and max(row) >= 1e-3
    ]
    unique = greedy(kappas, lambda a, b: 2 * abs(a - b) / (a + b) < 0.03)
    return active.sum(), branching, unique + 0.1 * (len(kappas) - unique)


def random_point(space, seed):
    rng = np.random.default_rng(seed)
    active = rng.random(20) < 0.4
    active[space.lbp] = True
    fractions = np.where(rng.random(137) < 0.3, 0.0, rng.uniform(0.1, 0.3, 137))
    strengths = rng.uniform(0.9, 1.1, 50) * (rng.random(50) > 0.1)
    sigma = 10 ** rng.uniform(-6, 1, (50, 2))
    return ModelPoint(rng.uniform(100, 900, 20), active, fractions, strengths), jnp.asarray(sigma)


@pytest.mark.parametrize("seed", range(20))
def test_counts_agree_with_plain_python(space, seed):
    point, sigma = random_point(space, seed)
    found = exact_prior(space, point, sigma)
    np.testing.assert_allclose(found[1:], plain_counts(space, point, np.asarray(sigma)), rtol=1e-12)


def test_greedy_equality_depends_on_the_order():
    everything = jnp.ones(3, bool)
    # 1.00 ~ 1.04 ~ 1.08, but 1.00 and 1.08 differ.
    chain = jnp.asarray([1.00, 1.04, 1.08])
    assert prior.count_distinct(chain, everything, 0.025) == 2
    assert prior.count_distinct(chain[jnp.asarray([1, 0, 2])], everything, 0.025) == 1


def test_winner_costs_its_particles_and_strengths(space, winner):
    sigma = jnp.full((50, 2), 1.0)
    counts = exact_prior(space, winner, sigma)
    # The publication counts three further, repeated strengths of processes that have
    # no reference here: 2.3 instead of 2.
    np.testing.assert_allclose(counts[1:], [3, 0, 2])


def test_gradient_of_the_exact_prior_is_zero(space):
    point, sigma = random_point(space, 3)
    gradient = eqx.filter_grad(lambda p: prior.log_prior(space, p, sigma).log_prior)(point)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))


def test_smooth_prior_tends_to_the_exact_one(space):
    for seed in range(5):
        point, sigma = random_point(space, seed)
        exact = exact_prior(space, point, sigma)
        smooth = smooth_prior(space, point, sigma, jnp.asarray(1e-4))
        np.testing.assert_allclose(smooth, exact, rtol=1e-3, atol=1e-3)


def test_smooth_prior_has_the_right_gradients(space):
    point, sigma = random_point(space, 4)

    @jax.jit
    def value(fractions, strengths, cross_sections):
        changed = ModelPoint(point.masses, point.active, fractions, strengths)
        return prior.smooth_log_prior(space, changed, jnp.asarray(cross_sections)).log_prior

    slope = jax.jit(jax.grad(value, argnums=(0, 1, 2)))
    arguments = (point.branching_ratios + 0.01, point.signal_strengths + 0.01, sigma + 1e-4)
    rng = np.random.default_rng(1)
    for number, gradient in enumerate(slope(*arguments)):
        direction = jnp.asarray(rng.normal(size=gradient.shape)) * arguments[number]
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(arguments)
            moved[number] = arguments[number] + step * direction
            ends.append(value(*moved))
        np.testing.assert_allclose(
            jnp.sum(gradient * direction), (ends[0] - ends[1]) / 2e-6, rtol=1e-4
        )
    gradient = slope(point.branching_ratios, point.signal_strengths, sigma)
    assert all(jnp.isfinite(leaf).all() for leaf in gradient)


def test_smooth_prior_draws_equal_values_together(space):
    values = jnp.asarray([0.3, 0.34])
    slope = jax.grad(lambda v: prior.soft_count(v, jnp.ones(2), 0.025, 0.5))(values)
    assert slope[1] > 0 > slope[0]


def test_one_trace_for_all_contents(space):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def evaluate(point, sigma):
        return prior.log_prior(space, point, sigma), prior.smooth_log_prior(space, point, sigma)

    evaluate(*random_point(space, 1))
    evaluate(*random_point(space, 2))


def test_penalties(space, winner):
    yes, no = jnp.asarray(True), jnp.asarray(False)
    assert penalties.missing_experiment(yes, yes) == 0
    np.testing.assert_allclose(penalties.missing_experiment(yes, no), np.log(0.1))
    np.testing.assert_allclose(penalties.missing_experiment(no, no), np.log(0.01))
    assert penalties.extreme_signal_strengths(space, winner) == 0
    row = space.production_index(-1000006, 1000006)
    extreme = eqx.tree_at(
        lambda p: p.signal_strengths, winner, winner.signal_strengths.at[row].set(1000.0)
    )
    np.testing.assert_allclose(
        penalties.extreme_signal_strengths(space, extreme), np.log(1 - 3 / 20)
    )


def test_flavour_and_shell_penalties(space):
    fractions = np.zeros(137)
    for pair, value in (((11, 11), 0.3), ((13, 13), 0.1), ((15, 15), 0.2), ((2, 2), 0.4)):
        fractions[space.channel_index(1000023, 1000022, pair)] = value
    active = np.isin(space.pdg_ids, (1000022, 1000023))
    point = ModelPoint(np.full(20, 100.0), active, fractions, np.ones(50))
    expected = np.log(1 - 0.2 / 5) + np.log(1 - 0.1 / 20)
    np.testing.assert_allclose(penalties.undemocratic_leptons(space, point), expected)
    assert penalties.mixed_shells(space, point) == 0
    fractions[space.channel_index(1000023, 1000022, (23,))] = 0.1
    mixed = ModelPoint(np.full(20, 100.0), active, fractions, np.ones(50))
    assert penalties.mixed_shells(space, mixed) == -jnp.inf
