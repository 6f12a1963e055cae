"""The posterior of one content against importance sampling, and Fisher's errors against slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.fit.config import SampleConfig
from jaxlik.fit.fisher_errors import covariance_of, fisher_errors
from jaxlik.fit.posterior_quantities import MASS, SIGNAL_STRENGTH
from jaxlik.physics.particles import LBP
from jaxlik.physics.whitened import to_model

pytestmark = pytest.mark.slow

SQUARK, STOP = 1000001, 1000006


@pytest.fixture(scope="module")
def target(assembled):
    from walkers.posterior.sampler import model_target

    return model_target(assembled[1], SampleConfig())


@pytest.fixture(scope="module")
def batch(target, winner):
    """ln L of many vectors at the content of the winner."""
    bits, _ = target.coordinates(winner)
    one = lambda v: (target.log_likelihood(bits, v), target.point(bits, v).masses)  # noqa: E731
    return jax.jit(lambda rows: jax.lax.map(one, rows, batch_size=16))


def test_particles_agree_with_importance_sampling(target, winner, batch):
    from walkers.posterior.one_content import content_posterior
    from walkers.posterior.sampler import coordinate_blocks

    bits, _ = target.coordinates(winner)
    blocks = jnp.asarray(coordinate_blocks(target.space))
    told = []
    found = content_posterior(
        jax.random.key(1), target, bits, blocks, particles=256, on_step=told.append
    )
    assert told
    vectors = jax.random.normal(jax.random.key(2), (6000, target.num_parameters))
    log_likelihood, masses = map(np.asarray, batch(vectors))
    from jaxlik.physics.whitened import kinematically_allowed

    possible = np.asarray(
        jax.vmap(lambda v: kinematically_allowed(target.space, bits, target.point(bits, v)))(
            vectors
        )
    )
    weight = np.exp(log_likelihood) * possible
    evidence = weight.sum() / possible.sum()
    error = weight.std() / np.sqrt(len(weight)) / weight.mean()
    assert error < 0.2
    assert abs(found.log_evidence - np.log(evidence)) < 4 * np.hypot(error, 2 * found.error)
    # And the posterior of every mass.
    for place in np.flatnonzero(np.asarray(winner.active)):
        mine = np.asarray(
            jax.vmap(lambda v, p=place: target.point(bits, v).masses[p])(jnp.asarray(found.vectors))
        )
        values = np.log(masses[:, place])
        mean = np.average(values, weights=weight)
        spread = np.sqrt(np.average((values - mean) ** 2, weights=weight))
        effective = weight.sum() ** 2 / np.sum(weight**2)
        # Resampled particles are not independent: a quarter of their number counts.
        limit = 4.5 * spread * np.sqrt(1 / effective + 4 / len(mine))
        assert abs(np.log(mine).mean() - mean) < limit


def test_errors_follow_from_slopes(assembled, target, winner):
    engine = assembled[1]
    found = fisher_errors(engine, target.widths, winner)
    assert set(found.pdg_ids) == {LBP, SQUARK, STOP}
    kinds = [quantity.kind for quantity in found.values]
    # Single decays have a branching ratio of one, which is no parameter.
    assert set(kinds) == {MASS, SIGNAL_STRENGTH}
    bits, vector = target.coordinates(winner)
    used = np.flatnonzero(np.asarray(bits))

    @jax.jit
    def slope(part):
        def ratio(place):
            vectors = vector.at[used].set(place)
            return engine.compare(to_model(engine.space, bits, vectors, target.widths)).log_ratio

        return jax.grad(ratio)(part)

    here, step = vector[used], 1e-5
    rows = [
        (slope(here.at[n].add(step)) - slope(here.at[n].add(-step))) / (2 * step)
        for n in range(len(used))
    ]
    covariance = covariance_of(np.array(rows))
    place = int(np.flatnonzero(used == target.space.particle_index(LBP))[0])

    def lbp(u):
        point = to_model(engine.space, bits, vector.at[used[place]].set(u), target.widths)
        return float(point.masses[target.space.lbp])

    change = (lbp(here[place] + step) - lbp(here[place] - step)) / (2 * step)
    wanted = abs(change) * np.sqrt(covariance[place, place])
    quantity = next(q for q in found.values if q.kind == MASS and q.key == (LBP,))
    value, error = found.values[quantity]
    assert value == pytest.approx(162.552, rel=1e-6)
    assert error == pytest.approx(wanted, rel=1e-3)


def test_data_never_make_errors_larger_than_the_prior():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5, 5))
    covariance = covariance_of(matrix + matrix.T)
    assert np.all(np.linalg.eigvalsh(covariance) <= 1 + 1e-12)
    informed = covariance_of(-(matrix @ matrix.T))
    np.testing.assert_allclose(informed, np.linalg.inv(np.eye(5) + matrix @ matrix.T), rtol=1e-9)
