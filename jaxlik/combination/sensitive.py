"""How much signal the most sensitive combination allows.

Chosen before looking at the data, it may exclude: the combination that describes the
data best was chosen for its excesses and hardly would.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlik.combination.cliques import CliqueTable, choose, restrict
from jaxlik.combination.joint import (
    Heights,
    hermite,
    newton_move,
)
from jaxlik.inference.asymptotics import log_cls
from jaxlik.typing import Array, Bool, Float, Scalar

EXCLUDED_CLS = 0.05
"""CLs below which a signal strength is excluded at 95 % CL."""

GRID_SIZE = 129
"""Values of mu at which CLs is evaluated; the limit is interpolated between them."""


class CombinedLimit(NamedTuple):
    """Upper limit on mu from the combination of the largest expected sensitivity.

    Attributes:
        members: Candidates in the combination; none if nothing is sensitive.
        mu_max: Smallest mu that is excluded; `inf` if none is within the nodes.
        mu_best: Where the combination's likelihood is largest below `mu_max`.
        curvature: Second derivative of the combination's likelihood ratio at `mu_best`.
        grid: Values of mu.
        log_cls: ln CLs at these values.
    """

    members: Bool[Array, " candidate"]
    mu_max: Scalar
    mu_best: Scalar
    curvature: Scalar
    grid: Float[Array, " mu"]
    log_cls: Float[Array, " mu"]

    def cls(self, mu: Scalar) -> Scalar:
        """CLs of a signal strength within the nodes; 1 without members."""
        return jnp.exp(jnp.interp(mu, self.grid, self.log_cls))


def combined_limit(
    table: CliqueTable,
    live: Bool[Array, " candidate"],
    sensitivity: Float[Array, " candidate"],
    nodes: Float[Array, " node"],
    values: Float[Array, "node candidate"],
    slopes: Float[Array, "node candidate"],
    expected: Float[Array, "node candidate"],
    expected_slopes: Float[Array, "node candidate"],
) -> CombinedLimit:
    r"""95 % CL upper limit on mu from the most sensitive combination S, by CLs.

    $$ \tilde q_\mu = \max_{0 \le m \le \mu} \sum_{i \in S} l_i(m) - \sum_{i \in S} l_i(\mu) $$

    with its value on background-only Asimov data in place of toys. No gradients: see
    `moving_limit`.

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph.
        sensitivity: Expected 2 ln(L_i(1)/L_i(0)); not negative.
        nodes: Ascending values of mu, the first one 0.
        values: l_i = 2 ln(L_i(mu)/L_i(0)) on the data at the nodes.
        slopes: Their derivatives with respect to mu.
        expected: -l_i(mu) on background-only Asimov data.
        expected_slopes: Their derivatives with respect to mu.

    References:
        arXiv:1007.1727, eqs. 16 and 64-66; the likelihood critic of protomodels (2024).
    """
    members = most_sensitive(table, live, sensitivity)
    parts = (values, slopes, expected, expected_slopes)
    sums = [jnp.sum(jnp.where(members[None], part, 0.0), axis=1) for part in parts]
    grid = jnp.linspace(0.0, 1.0, GRID_SIZE) * nodes[-1]
    data = hermite(nodes, sums[0][:, None], sums[1][:, None], grid)[:, 0]
    asimov = hermite(nodes, sums[2][:, None], sums[3][:, None], grid)[:, 0]
    largest = lax.associative_scan(jnp.maximum, data)
    logs = jax.vmap(log_cls)(largest - data, jnp.maximum(asimov, 0.0))
    below = logs < jnp.log(EXCLUDED_CLS)
    after = jnp.argmax(below)
    before = jnp.maximum(after - 1, 0)
    width = grid[1]
    slope = (logs[after] - logs[before]) / jnp.where(width > 0, width, 1.0)
    excess = jnp.log(EXCLUDED_CLS) - logs[before]
    crossing = grid[before] + excess / jnp.where(slope < 0, slope, -1.0)
    excluded = jnp.any(below) & jnp.any(members)
    limit = jnp.where(excluded, crossing, jnp.inf)
    top = jnp.argmax(jnp.where(jnp.arange(GRID_SIZE) <= before, data, -jnp.inf))
    middle = jnp.clip(top, 1, GRID_SIZE - 2)
    left, centre, right = data[middle - 1], data[middle], data[middle + 1]
    step = jnp.where(width > 0, width, 1.0)
    curvature = (left - 2 * centre + right) / step**2
    best = grid[middle] + newton_move(
        (right - left) / (2 * step), curvature, grid[middle], grid[-1]
    )
    return CombinedLimit(members, limit, best, curvature, grid, logs)


def most_sensitive(
    table: CliqueTable, live: Bool[Array, " candidate"], sensitivity: Float[Array, " candidate"]
) -> Bool[Array, " candidate"]:
    """Candidates in the combination with the largest sum of sensitivities.

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph.
        sensitivity: Expected 2 ln(L_i(1)/L_i(0)); not negative, no gradients.
    """
    cliques = restrict(table, live, min_members=1)
    return choose(table, cliques, sensitivity[None]).members[0]


def moving_limit(
    limit: CombinedLimit, at_best: Heights, at_limit: Heights, expected: Heights
) -> Scalar:
    r"""The limit exactly, by one Newton step, with its derivative.

    $$ d\mu_{max} = - d \ln \mathrm{CL}_s \,/\, (\partial \ln \mathrm{CL}_s / \partial \mu) $$

    Args:
        limit: From `combined_limit`.
        at_best: l_i at `limit.mu_best`, differentiable in the signal at fixed mu.
        at_limit: l_i at `limit.mu_max`, the same.
        expected: -l_i at `limit.mu_max` on Asimov data, the same.
    """
    best, data, asimov = (
        Heights(*(jnp.sum(jnp.where(limit.members, part, 0.0)) for part in heights))
        for heights in (at_best, at_limit, expected)
    )
    move = newton_move(best.slope, limit.curvature, limit.mu_best, limit.mu_max)
    highest = best.value + move * best.slope + 0.5 * move**2 * limit.curvature
    gap = highest - data.value
    known = jnp.isfinite(limit.mu_max) & (gap > 0) & (asimov.value > 0)
    arguments = (jnp.where(known, gap, 1.0), jnp.where(known, asimov.value, 1.0))
    logarithm, slope = jax.jvp(log_cls, arguments, (-data.slope, asimov.slope))
    known &= slope < 0
    slope = lax.stop_gradient(jnp.where(known, slope, -1.0))
    width = limit.grid[1]
    step = jnp.clip((jnp.log(EXCLUDED_CLS) - logarithm) / slope, -width, width)
    return jnp.where(known, limit.mu_max + step, limit.mu_max)
