"""One batch over several devices: each evaluates its part with a program of its own.

`jax.vmap` of `SpreadTarget` is `jax.shard_map` over the batch: scores need nothing from each
other, while a compiler that partitions one program for all devices would let them talk where
networks sort the rows of all models.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.sharding import Mesh, PartitionSpec

from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Scalar
from walkers.pseudo_search import FixedTarget
from walkers.target import EngineTarget, Outcome

AXIS = "model"


def all_devices() -> Mesh:
    """All devices in a row."""
    return Mesh(np.asarray(jax.devices()), (AXIS,))


def spread_over(mesh: Mesh, function: Any, *batch: Any) -> Any:
    """`jax.vmap(function)(*batch)`, a part of the batch on each device.

    Args:
        mesh: From `all_devices`.
        function: A pytree that can be called; its arrays go to all devices.
        batch: Arguments, stacked; the batch is filled up to a multiple of the devices.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    rows = jnp.arange(-(-count // mesh.size) * mesh.size) % count
    filled = jax.tree.map(lambda leaf: leaf[rows], batch)
    arrays, static = eqx.partition(function, eqx.is_array)

    def part(arrays: Any, batch: Any) -> Any:
        return jax.vmap(eqx.combine(arrays, static))(*batch)

    specs = (PartitionSpec(), PartitionSpec(AXIS))
    mapped = jax.shard_map(
        part, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False
    )
    return jax.tree.map(lambda leaf: leaf[:count], mapped(arrays, filled))


def batched_apart(mesh: Mesh, function: Any, *arguments: Any) -> Any:
    """`function(*arguments)`; its `jax.vmap` over arguments is `spread_over`.

    Args:
        mesh: From `all_devices`.
        function: A pytree that can be called; not mapped over.
        arguments: Of one model.
    """
    arrays, static = eqx.partition(function, eqx.is_array)

    @custom_vmap
    def one(arrays: Any, arguments: Any) -> Any:
        return eqx.combine(arrays, static)(*arguments)

    @one.def_vmap
    def rule(axis_size: int, batched: Any, arrays: Any, arguments: Any) -> Any:
        def stacked(is_batched: bool, leaf: Array) -> Array:
            return leaf if is_batched else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))

        if any(jax.tree.leaves(batched[0])):
            raise ValueError("the score is batched, wanted one for all models of the batch")
        batch = jax.tree.map(stacked, batched[1], arguments)
        found = spread_over(mesh, eqx.combine(arrays, static), *batch)
        return found, jax.tree.map(lambda _: True, found)

    return one(arrays, arguments)


class SpreadTarget(FixedTarget):
    """The score of an engine, of which each device evaluates a part of every batch.

    Attributes:
        mesh: The devices.
    """

    mesh: Mesh = eqx.field(static=True)

    def __call__(self, point: ModelPoint, excluded: Bool[Array, " candidate"]) -> Outcome:
        """Evaluate one model with reference cross sections."""
        return batched_apart(self.mesh, self._plain, point, excluded)

    def smooth(self, point: ModelPoint) -> tuple[Scalar, Outcome]:
        """As on one device: what is mapped here has no derivative in reverse mode."""
        return self._plain.smooth(point)

    @property
    def _plain(self) -> EngineTarget:
        return EngineTarget(self.engine)  # type: ignore[reportCallIssue]


def on_all_devices(target: FixedTarget) -> FixedTarget:
    """The score for the devices there are: as it is on one, spread over several."""
    if jax.device_count() == 1:
        return target
    return SpreadTarget(target.engine, all_devices())  # type: ignore[reportCallIssue]
