"""Walkers on several devices do what they do on one, to the bit."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_devices import last_word

from walkers.devices import as_copies, copies, in_turn

SCRIPT = """
import dataclasses, hashlib
import jax
import numpy as np
jax.config.update("jax_enable_x64", True)
from test_search import CONFIG
from toy_target import ToyTarget
from jaxlik.physics.model import protomodel_space
from walkers import devices
from walkers.run import search
used = set()
moved = devices.moved
def seen(tree, device):
    used.add(device)
    return moved(tree, device)
devices.moved = seen
config = dataclasses.replace(CONFIG, steps=40)
state = search(ToyTarget(protomodel_space()), config)
assert len(jax.local_devices()) == COUNT
assert len(used) == (COUNT if COUNT > 1 else 0)
leaves = [np.asarray(x) for x in jax.tree.leaves(state)]
print(hashlib.sha256(b"".join(x.tobytes() for x in leaves)).hexdigest())
"""


@pytest.mark.slow
def test_a_search_is_the_same_on_three_devices():
    assert last_word(SCRIPT, 3, Path(__file__).parent) == last_word(
        SCRIPT, 1, Path(__file__).parent
    )


def test_parts_come_back_in_order():
    parts = [(jnp.full(2, float(n)),) for n in range(5)]
    found = in_turn(lambda shared, part: shared * part, (jnp.asarray(2.0),), parts)
    np.testing.assert_array_equal(jnp.stack(found)[:, 0], [0.0, 2.0, 4.0, 6.0, 8.0])


def test_one_device_needs_no_copy():
    tree = {"a": jnp.ones(2)}
    assert len(jax.local_devices()) > 1 or copies(tree)[0] is tree
    assert as_copies((1, 2)) == (1, 2)
    assert as_copies([1, 2]) == ([1, 2],)
