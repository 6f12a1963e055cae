"""From trained networks and a snapshot to learned yields on the device (host side)."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.database.snapshot import Snapshot
from jaxlik.database.surrogate_file import SurrogateFile
from jaxlik.database.table import ChannelTable
from jaxlik.errors import DatabaseError
from jaxlik.physics.model import ModelSpace
from jaxlik.yields.build import RegionAxis, build_yields, load_table
from jaxlik.yields.domains import Domains
from jaxlik.yields.networks import NUM_DIMENSIONS, Stack, Weights
from jaxlik.yields.neural import Heads, NeuralYields


def build_neural_yields(
    surrogate: SurrogateFile,
    snapshot: Snapshot,
    space: ModelSpace,
    axis: RegionAxis,
    table: ChannelTable | None = None,
) -> NeuralYields:
    """Learned yields of all results of a snapshot.

    Args:
        surrogate: Trained networks.
        snapshot: Counts, limits and topologies; it need not hold efficiency maps.
        space: Particles, channels, production modes.
        axis: From `region_axis`.
        table: Channel table of the space; the snapshot's own by default.

    Raises:
        DatabaseError: the networks were trained on another database, or lack a map.
    """
    check_networks(surrogate, snapshot)
    table = table or load_table(snapshot)
    headers = snapshot.maps
    learned = np.array([headers[i].quantity == "efficiency" for i in table.target_map])
    first = np.asarray(table.target_start[:-1])
    is_network = learned[first]
    heads = np.zeros(len(table.target_map), np.int32)
    for entry in np.flatnonzero(learned):
        header = headers[table.target_map[entry]]
        key = (header.folder, header.txname, str(header.region))
        if key not in surrogate.heads:
            raise DatabaseError(
                f"{surrogate.path}: has no network for {header.folder}, {header.txname}, region "
                f"{header.region}; train networks on all maps of the snapshot"
            )
        heads[entry] = surrogate.heads[key]
    arrays = surrogate.arrays
    domain = arrays["head.domain"][heads[first]]
    limits, networks = _only(table, ~is_network), _only(table, is_network)
    exact = build_yields(snapshot, space, axis, limits, limits_only=True)
    other = build_yields(snapshot, space, axis, networks, limits_only=True).maps
    # Arrays that both share are stored once.
    maps = eqx.tree_at(lambda m: m.values, other, exact.maps.values)
    names = Heads._fields
    return NeuralYields(
        exact=exact,
        maps=maps,
        target_domain=jnp.asarray(domain, dtype=jnp.int32),
        entry_head=jnp.asarray(heads),
        stack=network_stack(surrogate),
        domains=Domains(*(jnp.asarray(arrays[f"domain.{n}"]) for n in Domains._fields)),
        heads=Heads(*(jnp.asarray(arrays[f"head.{n}"]) for n in names)),
        shift=jnp.zeros(len(arrays["head.scale"])),
    )


def check_networks(surrogate: SurrogateFile, snapshot: Snapshot) -> None:
    """Raise unless the networks were trained on the database of the snapshot.

    Raises:
        DatabaseError: they were trained on another one.
    """
    if surrogate.database_sha256 != snapshot.sha256:
        raise DatabaseError(
            f"{surrogate.path}: networks of database {surrogate.manifest['database_version']} "
            f"({surrogate.database_sha256[:12]}), the snapshot is of {snapshot.version} "
            f"({snapshot.sha256[:12]}); train networks on this database, or use exact yields"
        )


def _only(table: ChannelTable, wanted: np.ndarray) -> ChannelTable:
    """The table with the matches of some targets; targets keep their numbers."""
    kept = wanted[table.match_target]
    owner = np.repeat(np.arange(len(table.class_start) - 1), np.diff(table.class_start))
    number = np.bincount(owner[kept], minlength=len(table.class_start) - 1)
    start = np.concatenate([[0], np.cumsum(number)]).astype(table.class_start.dtype)
    if not kept.any():
        kept = np.arange(len(kept)) == 0  # never asked for: no class has a match
    return dataclasses.replace(
        table,
        class_start=start,
        match_target=table.match_target[kept],
        match_coordinates=table.match_coordinates[kept],
        match_swapped=table.match_swapped[kept],
    )


def network_stack(surrogate: SurrogateFile) -> Stack:
    """Networks as functions of in-plane coordinates, one set of inputs per domain."""
    arrays = surrogate.arrays
    domains = len(arrays["domain.centre"])
    network = np.zeros(domains, np.int32)
    network[arrays["head.domain"]] = arrays["head.network"]
    basis = arrays["domain.rotation"][:, :, :NUM_DIMENSIONS]
    within = np.arange(NUM_DIMENSIONS) < arrays["domain.dimension"][:, None]
    basis = np.where(within[:, None], basis, 0.0)
    direction = arrays["input.direction"][network]
    inputs = {name: arrays[f"input.{name}"][network] for name in ("curved", "mean", "scale")}
    return Stack(
        network=jnp.asarray(network),
        direction=jnp.asarray(direction @ basis),
        offset=jnp.asarray(np.einsum("dif,df->di", direction, arrays["domain.centre"])),
        **{name: jnp.asarray(value) for name, value in inputs.items()},
        weights=Weights(*(jnp.asarray(arrays[f"layer.{n}"]) for n in Weights._fields)),
    )
