"""Batch sizes, batched functions, and batches over several devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def decades(largest: int, *, few: bool) -> tuple[int, ...]:
    """Batch sizes from one to the largest.

    Args:
        largest: A power of ten.
        few: One, a thousandth and the largest (a hundredth where the largest is at most 100)
            instead of every decade.
    """
    every = [10**power for power in range(len(str(largest)))]
    if not few:
        return tuple(every)
    return tuple(sorted({1, *every[:: -3 if len(every) > 3 else -2]}))


def batched(fn: Callable, chunk: int) -> Callable:
    """A compiled function of shared arguments and batched ones, a chunk side by side.

    Args:
        fn: Of what all share and of one element of the batch, a pytree.
        chunk: Elements that are evaluated side by side; beyond them chunks follow each other
            inside the program, which keeps memory and caches small.
    """
    side_by_side = None if chunk == 1 else chunk

    def run(shared: Any, batch: Any) -> Any:
        length = jax.tree.leaves(batch)[0].shape[0]
        if length <= chunk:
            return jax.vmap(fn, in_axes=(None, 0))(shared, batch)
        return jax.lax.map(lambda one: fn(shared, one), batch, batch_size=side_by_side)

    return jax.jit(run)


def placed(batch: Any) -> Any:
    """A batch on the device; cut along its first axis where there are several devices."""
    devices = jax.local_devices()
    length = jax.tree.leaves(batch)[0].shape[0]
    if len(devices) == 1 or length % len(devices):
        return jax.device_put(batch, devices[0])
    mesh = Mesh(np.asarray(devices), ("batch",))
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("batch")))
