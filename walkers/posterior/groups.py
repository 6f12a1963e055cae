"""Chains in groups of few, side by side on the cores of one device and on several devices.

A group is one compiled call. How many chains it holds depends on their number alone, and keys on
the number of the chain: what a chain does is the same to the bit on one device and on eight.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Key
from walkers.devices import moved
from walkers.posterior.kernel import Draws, Kernel, SweepInfo, run_chains
from walkers.posterior.target import ChainState

WIDTH = 4
"""Most chains in one compiled call: few are faster on a CPU, and calls run side by side."""


def group_width(chains: int) -> int:
    """Chains in one compiled call: the largest divisor up to `WIDTH`.

    A number that does not depend on the machine, so that neither do the draws.
    """
    return max(n for n in range(1, WIDTH + 1) if chains % n == 0)


def run_groups(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    *,
    num_draws: int,
    thin: int = 1,
    first_sweep: int = 0,
    compiled: bool = False,
) -> tuple[ChainState, Draws, SweepInfo]:
    """Run chains as `walkers.posterior.kernel.run_chains` does, on all devices there are.

    Groups go to the devices in turn; what comes back lies on the first one.

    Args:
        key: Random key of the whole run.
        kernel: What to repeat.
        states: Where the chains stand, stacked.
        num_draws: States to keep of each chain.
        thin: Sweeps per kept state.
        first_sweep: Sweeps done before, so that a run may be cut into pieces.
        compiled: A call with these shapes has been made; else the first group runs alone, so
            that what it compiles serves the others.
    """
    chains = states.log_likelihood.shape[0]
    width, devices = group_width(chains), jax.local_devices()

    def run(number: int) -> tuple[ChainState, Draws, SweepInfo]:
        first = number * width
        some = jax.tree.map(lambda leaf: leaf[first : first + width], states)
        task = (key, kernel, some, jnp.arange(first, first + width))
        if len(devices) > 1:
            task = moved(task, devices[number % len(devices)])
        one_key, one_kernel, here, mine = task
        found = run_chains(
            one_key,
            one_kernel,
            here,
            num_draws=num_draws,
            thin=thin,
            first_sweep=first_sweep,
            chains=mine,
        )
        return jax.block_until_ready(found)

    numbers = range(chains // width)
    parts = [] if compiled else [run(0)]
    with ThreadPoolExecutor(max(os.cpu_count() or 1, len(devices))) as pool:
        parts += pool.map(run, numbers[len(parts) :])
    if len(devices) > 1:
        parts = moved(parts, devices[0])
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
