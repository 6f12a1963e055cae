"""Parts of a batch on all local devices, in turn.

A part is one compiled call of fixed size, so that its numbers do not depend on which device
computes it, nor on how many there are.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax

Tree = TypeVar("Tree")


def moved(tree: Tree, device: Any) -> Tree:
    """The tree with its arrays on a device."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.device_put(arrays, device), rest)


def copies(tree: Tree) -> tuple[Tree, ...]:
    """One copy per local device; the tree itself where there is one device."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return (tree,)
    return tuple(moved(tree, device) for device in devices)


def as_copies(one_or_more: Any) -> tuple[Any, ...]:
    """What `copies` gave, or something that lies on one device."""
    return one_or_more if isinstance(one_or_more, tuple) else (one_or_more,)


def in_turn(
    call: Callable[..., Any], shared: Sequence[Any], parts: Sequence[tuple]
) -> tuple[Any, ...]:
    """Results of a compiled call for all parts, which run side by side.

    Args:
        call: Takes what is shared, then a part.
        shared: One copy per device (`copies`).
        parts: Arguments of each call.

    Returns:
        One result per part, on the first device.
    """
    if len(shared) == 1:
        return tuple(call(shared[0], *part) for part in parts)
    devices = jax.local_devices()[: len(shared)]
    # Calls return before they are done: every device works while the next is given its part.
    found = [
        call(shared[number % len(shared)], *moved(part, devices[number % len(shared)]))
        for number, part in enumerate(parts)
    ]
    return tuple(moved(one, devices[0]) for one in found)
