import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.physics import bijections, kinematics
from jaxlik.physics.model import ModelPoint, fill_masses, make_space

to_point = eqx.filter_jit(bijections.to_point)
to_vector = eqx.filter_jit(bijections.to_vector)
log_det_jacobian = eqx.filter_jit(bijections.log_det_jacobian)
log_pseudo_prior = eqx.filter_jit(bijections.log_pseudo_prior)


def random_vector(space, seed):
    rng = np.random.default_rng(seed)
    size = bijections.layout(space).size
    active = rng.random(space.num_particles) < 0.5
    active[space.lbp] = True
    for light, heavy in kinematics.canonical_pairs(space):
        active[light] |= active[heavy]
    return jnp.asarray(rng.normal(0, 1, size)), jnp.asarray(active)


@pytest.fixture(scope="module")
def small_space():
    channels = [
        (1000006, 1000022, (6,)),
        (1000006, 1000024, (5,)),
        (1000006, 1000023, (6,)),
        (2000006, 1000022, (6,)),
        (2000006, 1000006, (23,)),
        (1000024, 1000022, (24,)),
    ]
    pids = (1000022, 1000006, 2000006, 1000023, 1000024)
    return make_space(pids, channels, [(-1000006, 1000006), (-1000024, 1000024)])


@pytest.mark.parametrize("seed", range(10))
def test_any_vector_is_a_valid_model(space, seed):
    vector, active = random_vector(space, seed)
    point = to_point(space, vector, active)
    assert kinematics.lbp_is_lightest(space, point)
    assert kinematics.is_canonical(space, point)
    sums = kinematics.branching_sums(space, point.branching_ratios)
    opened = kinematics.branching_sums(space, kinematics.open_channels(space, point).astype(float))
    np.testing.assert_allclose(sums, np.where(opened > 0, 1.0, 0.0), rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_model_to_vector_to_model_is_exact(space, seed):
    point = to_point(space, *random_vector(space, seed))
    vector = to_vector(space, point)
    again = to_point(space, vector, point.active)
    for old, new in zip(jax.tree.leaves(point), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_vector(space, again), vector, rtol=1e-10, atol=1e-10)


def test_published_model_survives_with_its_zeros(space, winner):
    again = to_point(space, to_vector(space, winner), winner.active)
    for old, new in zip(jax.tree.leaves(winner), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-10, atol=1e-10)


def test_channel_choice_removes_channels(space):
    vector, active = random_vector(space, 1)
    chosen = jnp.arange(space.num_channels) % 2 == 0
    point = to_point(space, vector, active, chosen)
    assert (jnp.where(chosen, 0.0, point.branching_ratios) == 0).all()
    again = to_point(space, to_vector(space, point, chosen), active, chosen)
    np.testing.assert_allclose(again.branching_ratios, point.branching_ratios, rtol=1e-10)


def test_jacobian_agrees_with_automatic_differentiation(small_space):
    blocks = bijections.layout(small_space)
    vector = jnp.asarray(np.random.default_rng(2).normal(0.8, 0.3, blocks.size))
    vector = vector.at[:5].set(jnp.log(jnp.asarray([100.0, 900.0, 600.0, 200.0, 150.0]) / 300))
    active = jnp.ones(5, bool)
    used = kinematics.open_channels(small_space, to_point(small_space, vector, active))
    assert used.sum() == 6
    parents = np.asarray(small_space.channel_parent)

    def coordinates(v):
        """Masses, kappas, n - 1 branching ratios and the mean logit of every mother."""
        point = to_point(small_space, v, active)
        parts = [point.masses, point.signal_strengths]
        for mother in np.unique(parents):
            rows = np.flatnonzero(parents == mother)
            parts.append(point.branching_ratios[rows[:-1]])
            parts.append(jnp.mean(v[blocks.branching][rows])[None])
        return jnp.concatenate(parts)

    jacobian = jax.jacfwd(coordinates)(vector)
    _, expected = np.linalg.slogdet(jacobian)
    found = log_det_jacobian(small_space, vector, active)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_absent_coordinates_change_nothing_but_the_pseudo_prior(space):
    vector, active = random_vector(space, 7)
    absent = int(np.flatnonzero(~np.asarray(active))[0])
    moved = vector.at[absent].add(0.7)
    old, new = (to_point(space, v, active) for v in (vector, moved))
    np.testing.assert_array_equal(old.branching_ratios, new.branching_ratios)
    np.testing.assert_array_equal(old.masses[active], new.masses[active])
    assert log_det_jacobian(space, vector, active) == log_det_jacobian(space, moved, active)
    change = log_pseudo_prior(space, moved, active) - log_pseudo_prior(space, vector, active)
    x = vector[absent]
    np.testing.assert_allclose(change, -0.5 * ((x + 0.7) ** 2 - x**2), rtol=1e-10)


def test_gradients_are_finite_and_right(space):
    vector, active = random_vector(space, 9)

    @jax.jit
    def value(v):
        point = to_point(space, v, active)
        return (
            jnp.sum(jnp.log(point.masses))
            + jnp.sum(point.branching_ratios**2)
            + jnp.sum(point.signal_strengths)
            + log_det_jacobian(space, v, active)
            + log_pseudo_prior(space, v, active)
        )

    direction = jnp.asarray(np.random.default_rng(0).normal(size=vector.shape))
    gradient = jax.grad(value)(vector)
    assert jnp.isfinite(gradient).all()
    step = 1e-6
    expected = (value(vector + step * direction) - value(vector - step * direction)) / (2 * step)
    np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-6)


def test_particle_without_open_channels_is_finite(space):
    active = np.isin(space.pdg_ids, (1000022, 1000006))
    masses = np.where(active, 100.0, 0.0)
    masses[space.particle_index(1000006)] = 110.0
    point = ModelPoint(fill_masses(space, masses, active), active, np.zeros(137), np.ones(50))
    vector = to_vector(space, point)
    assert jnp.isfinite(vector).all()
    back = to_point(space, vector, point.active)
    assert (back.branching_ratios == 0).all()
    gradient = jax.grad(lambda v: jnp.sum(to_point(space, v, point.active).branching_ratios))(
        vector
    )
    assert jnp.isfinite(gradient).all()


def test_layout_names_every_parameter(space):
    names = bijections.parameter_names(space)
    blocks = bijections.layout(space)
    assert len(set(names)) == len(names) == blocks.size == 207
    assert names[blocks.masses][0] == "log_gap:1000001"
    assert names[blocks.strengths][0] == "log_kappa:1000021:1000021"


def test_one_trace_for_all_contents(space):
    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def there_and_back(vector, active):
        point = bijections.to_point(space, vector, active)
        return bijections.to_vector(space, point)

    for seed in (1, 2, 3):
        assert jnp.isfinite(there_and_back(*random_vector(space, seed))).all()
