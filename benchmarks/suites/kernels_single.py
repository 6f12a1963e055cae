"""Single signal regions: closed-form profiles, their slopes, best mu, limits."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.batch_sizes import batched
from benchmarks.harness import Floor, Options
from benchmarks.kernel import Kernel, PeerFor
from benchmarks.kernel_peers import evermore_regions, in_turn, region_peers
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.base import poisson_deviance
from jaxlik.statmodels.poisson import PoissonCounting, mu_hat, profiled_twice_nll

CHUNK, CHUNK_GPU = 100_000, 1_000_000
"""Limits that are sought side by side."""

DISTINCT = 1_000_000
"""Larger batches repeat this many regions."""

DOUBLE, SINGLE = 8, 4
"""Bytes of a number."""

VALUE_OPERATIONS = 25
"""Of one profile: the root of a quadratic equation, one logarithm, sums."""

SLOPE_OPERATIONS = 30
"""Of its slopes in signal, background and error: the root, the pull, three products."""

DENSITY_OPERATIONS = 20
"""Of -2 ln L and two slopes at given parameters: one logarithm, one quotient, sums."""

LIMIT_PROFILES = 6
"""Profiles without which there is no limit: best mu and one tested mu, on data and Asimov data,
and the fit that makes the latter."""


class Regions(NamedTuple):
    """A batch of single regions; axis ``region``.

    Attributes:
        signal: Events at mu = 1.
        observed: Observed events.
        background: Expected background events.
        error: Its standard deviation [events].
    """

    signal: jax.Array
    observed: jax.Array
    background: jax.Array
    error: jax.Array


class Place(NamedTuple):
    """Regions, and parameters at which their likelihoods are evaluated.

    Attributes:
        regions: The regions.
        mu: Signal strength of each.
        nuisance: Shift of each background in its standard deviations.
    """

    regions: Regions
    mu: jax.Array
    nuisance: jax.Array


def random_regions(size: int, seed: int = 0, dtype: type = np.float64) -> Regions:
    """Counts from none to thousands, errors of 5 to 50 per cent, signals of 0.3 to 30 events."""
    few = min(size, DISTINCT)
    rng = np.random.default_rng([seed, few])
    background = 10 ** rng.uniform(-1, 3, few)
    error = background * rng.uniform(0.05, 0.5, few)
    observed = rng.poisson(background).astype(float)
    signal = 10 ** rng.uniform(-0.5, 1.5, few)
    arrays = (jnp.asarray(a, dtype) for a in (signal, observed, background, error))
    return Regions(*(jnp.resize(array, (size,)) for array in arrays))


def random_places(size: int, seed: int = 0) -> Place:
    """Random regions at random parameters."""
    rng = np.random.default_rng([seed, size, 1])
    regions = random_regions(size, seed)
    return Place(
        regions, jnp.asarray(rng.uniform(0, 2, size)), jnp.asarray(rng.uniform(-1, 1, size))
    )


@jax.jit
def value(_: None, regions: Regions) -> jax.Array:
    """-2 ln L at mu = 1, background profiled."""
    return profiled_twice_nll(1.0, *regions)


@jax.jit
def slopes(_: None, regions: Regions) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Its slopes in signal, background and error."""

    def total(signal: jax.Array, background: jax.Array, error: jax.Array) -> jax.Array:
        return jnp.sum(profiled_twice_nll(1.0, signal, regions.observed, background, error))

    return jax.grad(total, argnums=(0, 1, 2))(regions.signal, regions.background, regions.error)


@jax.jit
def best(_: None, regions: Regions) -> tuple[jax.Array, jax.Array]:
    """The best mu, not below zero, and -2 ln L there."""
    mu = mu_hat(regions.signal, regions.observed, regions.background)
    return mu, profiled_twice_nll(mu, *regions)


@jax.jit
def density(_: None, place: Place) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """-2 ln L at given parameters, and its slopes in them."""
    regions = place.regions

    def total(mu: jax.Array, nuisance: jax.Array) -> tuple[jax.Array, jax.Array]:
        rate = mu * regions.signal + regions.background + regions.error * nuisance
        found = poisson_deviance(rate, regions.observed) + nuisance**2
        return jnp.sum(found), found

    slope_fn = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, found), slope = slope_fn(place.mu, place.nuisance)
    return found, slope


def limit(_: None, region: Regions) -> jax.Array:
    """Observed upper limit on mu of one region."""
    model = PoissonCounting(region.observed[None], region.background[None], region.error[None])
    return find_upper_limit(*likelihood_pair(model, region.signal[None])).mu


def kernels(options: Options) -> Iterator[Kernel]:
    """Questions about single regions."""
    gpu = options.device == "gpu"

    def make(case: str, run: Any, floor: Floor, peers: dict[str, PeerFor], **sizes: Any) -> Kernel:
        given: dict[str, Any] = {
            "largest": 10**6,
            "sizes_quick": (1, 1000, 10**6),
            "largest_gpu": 10**8,
        }
        given["batch_fn"] = lambda size: random_regions(size, options.seed)
        return Kernel(f"single region: {case}", run, None, floor=floor, peers=peers,
                      **{**given, **sizes})  # fmt: skip

    peers = {name: region_peers(name) for name in ("SModelS", "spey", "pyhf", "iminuit")}

    def asking(question: str, *names: str) -> dict[str, PeerFor]:
        return {name: in_turn(peers[name], question) for name in names}

    yield make("-2 ln L at mu = 1, profiled", value, Floor(5 * DOUBLE, VALUE_OPERATIONS),
               asking("value", "SModelS", "spey", "pyhf", "iminuit"))  # fmt: skip
    if gpu:
        yield make("-2 ln L at mu = 1, profiled, input in single precision", value,
                   Floor(4 * SINGLE + DOUBLE, VALUE_OPERATIONS), {},
                   batch_fn=lambda size: random_regions(size, options.seed, np.float32),
                   note="input rounded to single precision, arithmetic double")  # fmt: skip
    yield make("its slopes in signal, background, error", slopes,
               Floor(7 * DOUBLE, SLOPE_OPERATIONS), {})  # fmt: skip
    yield make("-2 ln L and slopes at given parameters", density,
               Floor(9 * DOUBLE, DENSITY_OPERATIONS), {"evermore, batched": evermore_regions},
               batch_fn=lambda size: random_places(size, options.seed))  # fmt: skip
    yield make("best mu and -2 ln L there", best, Floor(6 * DOUBLE, VALUE_OPERATIONS + 2),
               asking("best", "SModelS", "spey", "pyhf", "iminuit"))  # fmt: skip
    yield make("observed limit", batched(limit, CHUNK_GPU if gpu else CHUNK),
               Floor(5 * DOUBLE, LIMIT_PROFILES * VALUE_OPERATIONS),
               asking("limit", "SModelS", "spey", "pyhf"), sizes_quick=(1, 10**4),
               largest_gpu=10**7,
               note="Asimov data as in SModelS; those of pyhf move constraints along")  # fmt: skip
