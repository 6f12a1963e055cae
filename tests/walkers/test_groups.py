"""Groups of chains: the same draws to the bit on one device and on several."""

from pathlib import Path

import pytest
from on_devices import last_word

STATISTICAL = Path(__file__).parents[1] / "statistical"

SCRIPT = """
import hashlib
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from toys import GaussianToy
from walkers.posterior.groups import run_groups
from walkers.posterior.kernel import standard_kernel
from walkers.posterior.target import state_at
from walkers.posterior.trajectories import HMC

rng = np.random.default_rng(0)
target = GaussianToy(jnp.asarray(rng.normal(size=(6, 4))), jnp.ones(6), 0.5, 2)
kernel = standard_kernel(
    target, target.block, num_flips=2, num_swaps=1, trajectory=HMC(num_leapfrogs=2)
)
bits = jnp.asarray(rng.random((6, 2)) < 0.5)
states = jax.vmap(lambda b, v: state_at(target, b, v))(bits, jnp.asarray(rng.normal(size=(6, 4))))
here, parts = states, []
for first in (0, 7):
    here, draws, info = run_groups(
        jax.random.key(5), kernel, here, num_draws=7, first_sweep=first, compiled=first > 0
    )
    parts.append(jax.device_get((here, draws, info)))
assert len(jax.local_devices()) == COUNT
print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(parts))).hexdigest())
"""


@pytest.mark.slow
def test_devices_change_nothing():
    assert last_word(SCRIPT, 2, STATISTICAL) == last_word(SCRIPT, 1, STATISTICAL)
