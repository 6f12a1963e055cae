"""What the machine can do at best: copying, matrix products, starting a program.

A *floor* says which bytes have to move and which operations have to happen, whoever does it
(`benchmarks.harness.Floor`). Divided by these ceilings it is a time; the *share* of a
measurement is that time over the measured one. A logarithm, a square root and a division count
as one operation each, although they cost more than one multiplication: shares of kernels full
of them stay below one even where nothing is wasted.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.environment import cores
from benchmarks.harness import Floor, Row, Spread, spread

COPIED, COPIED_GPU = 2**25, 2**28
"""Doubles of a copy: 256 MiB and 2 GiB, more than any cache holds."""

WIDTH, WIDTH_GPU = 2048, 8192
"""Rows and columns of the matrices."""

ROUNDS = 5


@dataclass(frozen=True)
class Ceilings:
    """Measured limits of the device that JAX computes on.

    Attributes:
        copy: Bytes read and written per second by a copy of a long array.
        matmul64: Operations per second of a matrix product in double precision.
        matmul32: The same in single precision, without reduced formats.
        dispatch: Seconds to start a compiled program with nothing to do, and to wait for it.
    """

    copy: Spread
    matmul64: Spread
    matmul32: Spread
    dispatch: Spread

    def seconds(self, floor: Floor) -> float:
        """The least time for one unit of work in double precision."""
        return max(floor.bytes / self.copy.median, floor.operations / self.matmul64.median)

    def share(self, floor: Floor, seconds: float) -> float:
        """Part of the ceiling that is reached: 1 is the floor itself."""
        return self.seconds(floor) / seconds


@cache
def ceilings(device: str = "cpu", *, scale: float = 1.0) -> Ceilings:
    """Measure this machine, once per process.

    Args:
        device: ``cpu`` or ``gpu``, the one that JAX computes on.
        scale: Of array sizes; below one for tests.
    """
    gpu = device == "gpu"
    length = int((COPIED_GPU if gpu else COPIED) * scale)
    width = int((WIDTH_GPU if gpu else WIDTH) * scale ** (1 / 2))
    copies = [_copies_by_jax(length)]
    if not gpu:
        copies.append(_copies_by_numpy(length))
    return Ceilings(
        copy=max(copies, key=lambda found: found.median),
        matmul64=_matmul(width, jnp.float64),
        matmul32=_matmul(width, jnp.float32),
        dispatch=_dispatch(),
    )


def rows(found: Ceilings) -> list[Row]:
    """Rows of a table."""
    suite = "ceilings"
    return [
        Row(suite, "copy of a long array", None, "GB/s", found.copy.scaled(1e-9),
            note="bytes read plus bytes written"),
        Row(suite, "matrix product, double", None, "GFLOP/s", found.matmul64.scaled(1e-9)),
        Row(suite, "matrix product, single", None, "GFLOP/s", found.matmul32.scaled(1e-9)),
        Row(suite, "start of a compiled program", None, "s", found.dispatch),
    ]  # fmt: skip


def _rates(amount: float, task_fn: Callable[[], object]) -> Spread:
    """Amount per second of some calls after a first one."""
    jax.block_until_ready(task_fn())
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        jax.block_until_ready(task_fn())
        found.append(amount / (time.perf_counter() - begin))
    return spread(found)


def _copies_by_jax(length: int) -> Spread:
    """Scaled copies by a compiled program."""
    values, factor = jnp.ones(length), jnp.asarray(1.5)
    scaled = jax.jit(lambda x, a: a * x)
    return _rates(16.0 * length, lambda: scaled(values, factor))


def _copies_by_numpy(length: int) -> Spread:
    """Copies by one thread per core, into memory that is there already."""
    source, target = np.ones(length), np.zeros(length)
    edges = np.linspace(0, length, cores() + 1).astype(int)
    slices = [slice(start, stop) for start, stop in pairwise(edges)]
    with ThreadPoolExecutor(len(slices)) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), slices))

        return _rates(16.0 * length, copy)


def _matmul(width: int, dtype: type) -> Spread:
    key = jax.random.key(0)
    left = jax.random.normal(key, (width, width), dtype)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
    return _rates(2.0 * width**3, lambda: product(left, left))


def _dispatch() -> Spread:
    """Of a program that adds one to one number."""
    number, repeats = jnp.zeros(()), 200
    program = jax.jit(lambda x: x + 1)

    def many() -> None:
        for _ in range(repeats):
            program(number).block_until_ready()

    inverse = _rates(repeats, many)
    return Spread(1 / inverse.median, 1 / inverse.high, 1 / inverse.low)
