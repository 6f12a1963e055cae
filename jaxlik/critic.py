"""The critic: r-values of every result, and how much signal they leave room for.

r is the predicted cross section over its 95 % upper limit. Upper-limit maps first
cluster topologies that the analysis could not tell apart: those whose limits differ
by less than 20 %, as SModelS does (``clusterTools.doCluster``).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from jaxlik.errors import Status
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.compaction import pack
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.neural import NeuralYields
from jaxlik.yields.signals import LimitEntries

MAX_DISTANCE = 0.2
"""Relative difference of upper limits within which topologies are clustered (SModelS)."""

MIN_CROSS_SECTION = 1e-6
"""Predictions below this [fb] are dropped (SModelS)."""

SENSITIVE_R = 0.7
"""A result whose expected r reaches this counts as sensitive (protomodels, 2024)."""


class Clusters(NamedTuple):
    """Predictions of upper-limit results, ``group member``.

    Attributes:
        limit: Number of the upper-limit map of each group.
        cross_section: Prediction [fb].
        upper_limit: Observed limit [fb].
        upper_limit_expected: Expected limit [fb], 0 where there is none.
        flat: Weighted mean of the coordinates [GeV].
        live: Which entries are clusters.
        demand: Groups and members needed.
        status: ``overflow`` where groups or members did not fit.
    """

    limit: Int[Array, " group"]
    cross_section: Float[Array, "group member"]
    upper_limit: Float[Array, "group member"]
    upper_limit_expected: Float[Array, "group member"]
    flat: Float[Array, "group member 6"]
    live: Bool[Array, "group member"]
    demand: Int[Array, " 2"]
    status: Status  # type: ignore[reportInvalidTypeForm]

    @property
    def r(self) -> Float[Array, "group member"]:
        """Prediction over observed limit; 0 where there is none."""
        return jnp.where(self.live, self.cross_section / self.upper_limit, 0.0)

    @property
    def r_expected(self) -> Float[Array, "group member"]:
        """Prediction over expected limit; -1 where none is published."""
        known = self.live & (self.upper_limit_expected > 0)
        safe = jnp.where(known, self.upper_limit_expected, 1.0)
        return jnp.where(known, self.cross_section / safe, -1.0)


class LimitTable(eqx.Module):
    """Upper-limit maps by number.

    Attributes:
        grid: Grid of the observed limits.
        offset: Offset of the observed limits in `Maps.values`.
        expected_grid: Grid of the expected limits.
        expected_offset: Offset of the expected limits.
        has_expected: Whether there are any.
        result: Upper-limit result (one folder) each map belongs to.
    """

    grid: Int[Array, " limit"]
    offset: Int[Array, " limit"]
    expected_grid: Int[Array, " limit"]
    expected_offset: Int[Array, " limit"]
    has_expected: Bool[Array, " limit"]
    result: Int[Array, " limit"]


def cluster(
    entries: LimitEntries,
    table: LimitTable,
    yields: EfficiencyYields | NeuralYields,
    *,
    num_groups: int = 64,
    num_members: int = 8,
    off_plane: int = 16,
) -> Clusters:
    """Cluster the topologies each upper-limit map sees.

    Entries with equal coordinates are joined first; then, map by map, the closest
    pair of clusters as long as the limit at their weighted mean coordinates stays
    within `MAX_DISTANCE` of the limits of all their members.

    Args:
        entries: From `EfficiencyYields`.
        table: Maps by number.
        yields: For limits at mean coordinates.
        num_groups: Bucket for maps with a prediction.
        num_members: Bucket for distinct topologies per map.
        off_plane: Bucket for mean coordinates off the plane of a grid.
    """
    groups = _group(entries, table.result.shape[0], num_groups, num_members)
    state = _join_equal(groups)
    state = _merge_close(state, groups.limit, table, yields)
    wanted = state.live & table.has_expected[groups.limit][:, None]
    expected = _look_up(
        yields,
        table.expected_grid,
        table.expected_offset,
        groups.limit,
        state.flat,
        wanted,
        off_plane,
    )
    live = state.live & (state.weight >= MIN_CROSS_SECTION)
    crowded = jnp.sum(wanted) > 2 * num_groups
    status = Status.where(groups.overflow | crowded, Status.overflow, Status.success)  # type: ignore[reportAttributeAccessIssue]
    return Clusters(
        groups.limit,
        jnp.where(live, state.weight, 0.0),
        jnp.where(live, state.value, 1.0),
        jnp.where(live, expected, 0.0),
        state.flat,
        live,
        groups.demand,
        status,
    )


class _Groups(NamedTuple):
    limit: Int[Array, " group"]
    weight: Float[Array, "group member"]
    flat: Float[Array, "group member 6"]
    value: Float[Array, "group member"]
    live: Bool[Array, "group member"]
    demand: Int[Array, " 2"]
    overflow: Bool[Array, ""]


class _State(NamedTuple):
    weight: Float[Array, "group member"]
    moment: Float[Array, "group member 6"]
    flat: Float[Array, "group member 6"]
    value: Float[Array, "group member"]
    lowest: Float[Array, "group member"]
    highest: Float[Array, "group member"]
    live: Bool[Array, "group member"]
    blocked: Bool[Array, "group member member"]
    step: Int[Array, ""]


def _group(entries: LimitEntries, num_limits: int, num_groups: int, num_members: int) -> _Groups:
    """Sort entries by map and lay them out as ``group member``, equal ones joined."""
    count = entries.limit.shape[0]
    key = jnp.where(entries.live, entries.limit, num_limits)
    order = jnp.argsort(key, stable=True)
    key, live = key[order], entries.live[order]
    weight, flat, value = entries.weight[order], entries.flat[order], entries.value[order]
    # Equal neighbours in coordinates share a slot: sites repeat for charges and orders.
    same = (key[:, None] == key[None, :]) & jnp.all(flat[:, None] == flat[None, :], axis=-1)
    earlier = jnp.arange(count)[None, :] < jnp.arange(count)[:, None]
    first = live & ~jnp.any(same & earlier & live[None, :], axis=1)
    joined = jnp.sum(jnp.where(same & live[None, :], weight[None, :], 0.0), axis=1)
    new_group = live & jnp.concatenate([jnp.ones(1, bool), key[1:] != key[:-1]])
    group = jnp.cumsum(new_group) - 1
    running = jnp.cumsum(first)
    before = jnp.where(new_group, running - first, 0)
    start = lax.associative_scan(jnp.maximum, before)
    member = running - start - 1
    inside = first & (group < num_groups) & (member < num_members)
    row = jnp.where(inside, group, num_groups)
    column = jnp.where(inside, member, 0)
    shape = (num_groups, num_members)

    def laid_out(values: Array, fill: float) -> Array:
        target = jnp.full(shape + values.shape[1:], fill, values.dtype)
        return target.at[row, column].set(values, mode="drop")

    limit = jnp.zeros(num_groups, key.dtype).at[row].set(key, mode="drop")
    return _Groups(
        limit,
        laid_out(joined, 0.0),
        laid_out(flat, 0.0),
        laid_out(value, 1.0),
        jnp.zeros(shape, bool).at[row, column].set(inside, mode="drop"),
        jnp.stack([jnp.max(group) + 1, jnp.max(jnp.where(first, member + 1, 0))]).astype(jnp.int32),
        jnp.any(first & ~inside),
    )


def _join_equal(groups: _Groups) -> _State:
    members = groups.weight.shape[1]
    return _State(
        groups.weight,
        groups.weight[..., None] * groups.flat,
        groups.flat,
        groups.value,
        groups.value,
        groups.value,
        groups.live,
        jnp.zeros((*groups.weight.shape, members), bool),
        jnp.zeros((), jnp.int32),
    )


def _distance(
    first: Float[Array, "*#shape"], second: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    return 2 * jnp.abs(first - second) / (first + second)


def _closest(
    state: _State,
) -> tuple[Int[Array, " group"], Int[Array, " group"], Bool[Array, " group"]]:
    """Closest pair of clusters of each group, and whether it may merge."""
    members = state.weight.shape[1]
    upper = (jnp.arange(members)[:, None] < jnp.arange(members)[None, :])[None]
    pair = state.live[:, :, None] & state.live[:, None, :] & upper & ~state.blocked
    value = lax.stop_gradient(state.value)
    distance = jnp.where(pair, _distance(value[:, :, None], value[:, None, :]), jnp.inf)
    flat = distance.reshape(distance.shape[0], -1)
    best = jnp.argmin(flat, axis=1)
    close = jnp.take_along_axis(flat, best[:, None], axis=1)[:, 0] < MAX_DISTANCE
    return best // members, best % members, close


def _merge_close(
    state: _State,
    limit: Int[Array, " group"],
    table: LimitTable,
    yields: EfficiencyYields | NeuralYields,
) -> _State:
    """Merge until no pair is close; which pairs merge is decided without gradients."""
    groups, members = state.weight.shape
    every = jnp.arange(groups)

    def unfinished(carry: tuple[_State, Array]) -> Bool[Array, ""]:
        state, _ = carry
        return (state.step < members * members) & jnp.any(_closest(state)[2])

    def step(carry: tuple[_State, Array]) -> tuple[_State, Array]:
        state, assignment = carry
        i, j, close = _closest(state)
        weight = state.weight[every, i] + state.weight[every, j]
        moment = state.moment[every, i] + state.moment[every, j]
        mean = _five_digits(moment / jnp.where(weight > 0, weight, 1.0)[:, None])
        # Means of reliable projections are taken as reliable.
        value = _look_up(
            yields, table.grid, table.offset, limit, mean[:, None], close[:, None], None
        )[:, 0]
        lowest = jnp.minimum(state.lowest[every, i], state.lowest[every, j])
        highest = jnp.maximum(state.highest[every, i], state.highest[every, j])
        valid = close & (value > 0)
        valid &= _distance(value, lowest) <= MAX_DISTANCE
        valid &= _distance(value, highest) <= MAX_DISTANCE

        def put(old: Array, new: Array) -> Array:
            chosen = valid.reshape((-1,) + (1,) * (new.ndim - 1))
            return old.at[every, i].set(jnp.where(chosen, new, old[every, i]))

        live = state.live.at[every, j].set(jnp.where(valid, False, state.live[every, j]))
        blocked = state.blocked.at[every, i, j].set(
            jnp.where(close & ~valid, True, state.blocked[every, i, j])
        )
        # A merged cluster may be compared anew with those its parts were kept from.
        blocked = jnp.where(
            (valid[:, None] & (jnp.arange(members)[None, :] == i[:, None]))[:, :, None],
            False,
            blocked,
        )
        merged = _State(
            put(state.weight, weight),
            put(state.moment, moment),
            put(state.flat, mean),
            put(state.value, value),
            put(state.lowest, lowest),
            put(state.highest, highest),
            live,
            blocked,
            state.step + 1,
        )
        moved = valid[:, None] & (assignment == j[:, None])
        return merged, jnp.where(moved, i[:, None], assignment)

    own = jnp.broadcast_to(jnp.arange(members), (groups, members))
    frozen = jax.tree.map(lax.stop_gradient, state)
    final, assignment = lax.while_loop(unfinished, step, (frozen, own))
    return _differentiable(state, final, assignment, limit, table, yields)


def _differentiable(
    state: _State,
    final: _State,
    assignment: Int[Array, "group member"],
    limit: Int[Array, " group"],
    table: LimitTable,
    yields: EfficiencyYields | NeuralYields,
) -> _State:
    """The same clusters with gradients: weights and coordinates summed by assignment."""
    members = state.weight.shape[1]
    into = (assignment[:, None, :] == jnp.arange(members)[None, :, None]) & state.live[:, None, :]
    weight = jnp.sum(jnp.where(into, state.weight[:, None, :], 0.0), axis=2)
    moment = jnp.einsum("gij,gjc->gic", into.astype(weight.dtype), state.moment)
    merged = final.live & (jnp.sum(into, axis=2) > 1)
    mean = moment / jnp.where(weight > 0, weight, 1.0)[..., None]
    mean = mean + lax.stop_gradient(_five_digits(mean) - mean)
    flat = jnp.where(merged[..., None], mean, state.flat)
    value = _look_up(yields, table.grid, table.offset, limit, flat, merged, None)
    value = jnp.where(merged, jnp.where(value > 0, value, final.value), state.value)
    return final._replace(
        weight=jnp.where(final.live, weight, 0.0),
        flat=flat,
        value=jnp.where(final.live, value, 1.0),
    )


def _look_up(
    yields: EfficiencyYields | NeuralYields,
    grid: Int[Array, " limit"],
    offset: Int[Array, " limit"],
    limit: Int[Array, " group"],
    flat: Float[Array, "group member 6"],
    wanted: Bool[Array, "group member"],
    off_plane: int | None,
) -> Float[Array, "group member"]:
    """Limits [fb] at coordinates of each group's map; 0 where there is none."""
    groups, members = wanted.shape
    # Few maps meet more than one topology: look up two per group, all when asked for one.
    chosen = pack(wanted.reshape(-1), groups if members == 1 else 2 * groups)
    place = chosen.index
    number = limit[place // members]
    value = yields.reader.look_up(
        grid[number], offset[number], flat.reshape(-1, 6)[place], chosen.live, off_plane
    )
    target = jnp.where(chosen.live, place, groups * members)
    found = jnp.zeros(groups * members, value.dtype).at[target].set(value, mode="drop")
    return found.reshape(groups, members)


def _five_digits(value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rounded to five significant digits, as SModelS rounds mean masses."""
    size = jnp.abs(jnp.where(value == 0, 1.0, value))
    scale = 10.0 ** (4 - jnp.floor(jnp.log10(size)))
    return jnp.round(value * scale) / scale


def mu_limit(
    r: Float[Array, " prediction"],
    r_expected: Float[Array, " prediction"],
    threshold: Scalar,
    *,
    only_sensitive: bool,
) -> tuple[Scalar, Scalar]:
    """Largest signal strength the critic allows, and the r-value that sets it.

        mu_max = 0.999 * threshold / r_max

    Args:
        r: Observed r-values; 0 for absent predictions.
        r_expected: Expected ones; -1 where unknown.
        threshold: 1.3 in arXiv:2012.12246.
        only_sensitive: Let only results take part whose expected r reaches
            `SENSITIVE_R` or is unknown.

    Returns:
        mu_max (infinite without any prediction) and r_max.
    """
    counted = r > 0
    if only_sensitive:
        counted &= (r_expected < 0) | (r_expected >= SENSITIVE_R)
    r_max = jnp.max(jnp.where(counted, r, 0.0), initial=0.0)
    safe = jnp.where(r_max > 0, r_max, 1.0)
    return jnp.where(r_max > 0, 0.999 * threshold / safe, jnp.inf), r_max
