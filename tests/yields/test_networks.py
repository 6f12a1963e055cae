"""Stacked networks against one network at a time, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.yields.networks import Stack, Weights, block_size, hidden_layer

NETWORKS, DOMAINS, INPUTS, WIDTH = 5, 9, 12, 16


def random_stack(seed=0):
    rng = np.random.default_rng(seed)

    def layer(*shape):
        return jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[-1]), jnp.float32)

    weights = Weights(
        layer(NETWORKS, WIDTH, INPUTS),
        layer(NETWORKS, WIDTH),
        layer(NETWORKS, WIDTH, WIDTH),
        layer(NETWORKS, WIDTH),
        layer(NETWORKS, WIDTH, WIDTH),
        layer(NETWORKS, WIDTH),
    )
    return Stack(
        jnp.asarray(rng.integers(0, NETWORKS, DOMAINS), dtype=jnp.int32),
        jnp.asarray(rng.normal(size=(DOMAINS, INPUTS, 3))),
        jnp.asarray(rng.normal(size=(DOMAINS, INPUTS))),
        jnp.asarray(rng.integers(0, 2, (DOMAINS, INPUTS)) * 1.0),
        jnp.asarray(rng.normal(size=(DOMAINS, INPUTS))),
        jnp.asarray(rng.uniform(0.5, 1.5, (DOMAINS, INPUTS))),
        weights,
    )


def one_network(stack, domain, point):
    """The same in NumPy, double precision."""
    host = jax.tree.map(lambda a: np.asarray(a, np.float64), stack)
    raw = host.direction[domain] @ point + host.offset[domain]
    x = np.where(host.curved[domain] > 0, np.arcsinh(raw), raw)
    x = (x - host.mean[domain]) * host.scale[domain]
    number = int(host.network[domain])
    w = host.weights
    for matrix, bias in (
        (w.first, w.first_bias),
        (w.second, w.second_bias),
        (w.third, w.third_bias),
    ):
        x = matrix[number] @ x + bias[number]
        x = x / (1.0 + np.exp(-x))
    return x


def rows(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, DOMAINS, count), rng.normal(size=(count, 3))


@pytest.mark.parametrize("count", [1, 7, 80, 700])
def test_rows_agree_with_single_networks(count):
    stack, (domain, point) = random_stack(), rows(count)
    found = hidden_layer(stack, jnp.asarray(domain), jnp.asarray(point))
    wanted = [one_network(stack, d, p) for d, p in zip(domain, point, strict=True)]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_blocks_are_used_only_where_they_pay():
    assert block_size(30, 5) == 1
    assert block_size(80, 5) == 16
    assert block_size(10**6, 5) == 128


@pytest.mark.parametrize("count", [3, 90])
def test_slopes_agree_with_differences(count):
    stack, (domain, point) = random_stack(), rows(count)
    domain, point = jnp.asarray(domain), jnp.asarray(point)
    weight = jnp.asarray(np.random.default_rng(3).normal(size=(count, WIDTH)), jnp.float32)

    def total(point):
        return jnp.sum(hidden_layer(stack, domain, point) * weight)

    found = np.asarray(jax.grad(total)(point))
    step = 1e-6
    for row in (0, count - 1):
        for axis in range(3):
            shift = np.zeros(3)
            shift[axis] = step
            ends = [
                one_network(stack, int(domain[row]), np.asarray(point[row]) + sign * shift)
                for sign in (1, -1)
            ]
            wanted = (ends[0] - ends[1]) @ np.asarray(weight[row], np.float64) / (2 * step)
            assert found[row, axis] == pytest.approx(wanted, abs=2e-5)
    direction = jnp.ones_like(point)
    _, along = jax.jvp(total, (point,), (direction,))
    assert float(along) == pytest.approx(float(np.sum(found)), rel=1e-4)


def test_batches_of_models_are_joined():
    stack, (domain, point) = random_stack(), rows(96)
    domain, point = jnp.asarray(domain.reshape(8, 12)), jnp.asarray(point.reshape(8, 12, 3))
    traces = 0

    @jax.jit
    def run(domain, point):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda d, p: hidden_layer(stack, d, p))(domain, point)

    found = run(domain, point)
    apart = [hidden_layer(stack, d, p) for d, p in zip(domain, point, strict=True)]
    np.testing.assert_allclose(found, np.stack(apart), atol=2e-6)
    run(domain[::-1], 2 * point)
    assert traces == 1
    # A batch of models is one product per layer, not one per model.
    text = str(jax.make_jaxpr(jax.vmap(lambda d, p: hidden_layer(stack, d, p)))(domain, point))
    assert text.count("dot_general") == 3

    slope = jax.vmap(jax.grad(lambda p, d: jnp.sum(hidden_layer(stack, d, p) ** 2)))(point, domain)
    wanted = [
        jax.grad(lambda p, d=d: jnp.sum(hidden_layer(stack, d, p) ** 2))(p)
        for d, p in zip(domain, point, strict=True)
    ]
    np.testing.assert_allclose(slope, np.stack(wanted), atol=2e-5)


def test_networks_themselves_cannot_be_batched():
    stack, (domain, point) = random_stack(), rows(4)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), stack)
    with pytest.raises(ValueError, match="map over domains and points only"):
        jax.vmap(hidden_layer, (0, None, None))(twice, jnp.asarray(domain), jnp.asarray(point))
