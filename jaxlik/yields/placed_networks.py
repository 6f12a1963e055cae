"""Learned efficiencies at given places, with their slopes.

What `jaxlik.yields.placed` reads from published maps, from networks trained on them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.surrogate_file import SurrogateFile
from jaxlik.typing import Array, Float, Int
from jaxlik.yields.build_neural import network_stack
from jaxlik.yields.domains import Domains, project
from jaxlik.yields.networks import Stack, hidden_layer
from jaxlik.yields.neural import Heads, learned_efficiencies
from jaxlik.yields.placed import Values, bucket, padded


class NetworkReader(eqx.Module):
    """Networks for the efficiency maps of a database.

    Attributes:
        domain: Domain of each head.
    """

    stack: Stack
    domains: Domains
    heads: Heads
    domain: Int[Array, " head"]


def network_reader(surrogate: SurrogateFile) -> NetworkReader:
    """Networks from their file (host)."""
    arrays = surrogate.arrays
    return NetworkReader(
        network_stack(surrogate),
        Domains(*(jnp.asarray(arrays[f"domain.{n}"]) for n in Domains._fields)),
        Heads(*(jnp.asarray(arrays[f"head.{n}"]) for n in Heads._fields)),
        jnp.asarray(arrays["head.domain"], dtype=jnp.int32),
    )


def read_networks(
    reader: NetworkReader, head: Int[np.ndarray, " entry"], flat: Float[np.ndarray, "entry 6"]
) -> Values:
    """Efficiencies of maps, each at its own coordinates [GeV].

    Args:
        reader: All networks.
        head: Number of each map.
        flat: Coordinates of each entry.
    """
    count = len(head)
    if not count:
        return Values(np.zeros(0), np.zeros((0, flat.shape[1])))
    size = bucket(count)
    value, slope = _read(reader, padded(head, size), padded(flat, size))
    return Values(np.asarray(value)[:count], np.asarray(slope)[:count])


@eqx.filter_jit
def _read(
    reader: NetworkReader, head: Int[Array, " entry"], flat: Float[Array, "entry 6"]
) -> tuple[Float[Array, " entry"], Float[Array, "entry 6"]]:
    domain = reader.domain[head]
    shift = jnp.zeros(reader.domain.shape[0])

    def values(flat: Array) -> Array:
        seen = project(reader.domains, domain, flat)
        hidden = hidden_layer(reader.stack, domain, seen.point)
        return learned_efficiencies(reader.heads, shift, head, hidden, seen.gate, seen.distance)

    value, pull = jax.vjp(values, flat)
    # Entries do not depend on one another.
    (slope,) = pull(jnp.ones_like(value))
    return value, slope
