"""The signal strength that a combination prefers, and both chosen together, under `jit`.

Every result contributes l_i(mu) = 2 ln[L_i(mu)/L_i(0)], given as a function or by values
and slopes at nodes of mu (cubic Hermite interpolation). Gradients are those of the
envelope theorem, with the term of a maximum at mu_max; there are no second derivatives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlik.combination.cliques import CliqueTable, LiveCliques, choose, restrict
from jaxlik.combination.selection import LOWEST_GAIN
from jaxlik.errors import Status, merge_status
from jaxlik.typing import Array, Bool, Float, Scalar


class MuMaximum(NamedTuple):
    """Maximum over 0 <= mu <= mu_max.

    Attributes:
        value: At the maximum; differentiable.
        mu_hat: Where it lies; a constant for derivatives.
        at_bound: Whether it lies at mu_max.
        status: `no_bracket` if it lies at the last node or cap, below mu_max.
    """

    value: Scalar
    mu_hat: Scalar
    at_bound: Bool[Array, ""]
    status: Status  # type: ignore[reportInvalidTypeForm]


class JointBest(NamedTuple):
    """Best combination together with mu; `value` is K - 2 ln(prior), `-inf` if none exists."""

    value: Scalar
    mu_hat: Scalar
    members: Bool[Array, " candidate"]
    at_bound: Bool[Array, ""]
    status: Status  # type: ignore[reportInvalidTypeForm]


class Heights(NamedTuple):
    """All l_i at one value of mu, and their derivatives with respect to mu."""

    value: Float[Array, " candidate"]
    slope: Float[Array, " candidate"]


class Polished(NamedTuple):
    """A maximum placed by its own slope.

    Attributes:
        value: At the maximum; differentiable.
        mu_hat: Where it lies; a constant for derivatives.
        gains: l_i there.
    """

    value: Scalar
    mu_hat: Scalar
    gains: Float[Array, " candidate"]


def best_joint(
    table: CliqueTable,
    live: Bool[Array, " candidate"],
    nodes: Float[Array, " node"],
    values: Float[Array, "node candidate"],
    slopes: Float[Array, "node candidate"],
    mu_max: Scalar,
    *,
    min_members: int = 2,
    num_rounds: int = 2,
) -> JointBest:
    r"""Best combination and mu by alternating maximisation from every node at once.

    $$ K - 2 \ln \pi = \max_{0 \le \mu \le \mu_{max}} \sum_b \max_{c_b} \sum_{i \in c_b} l_i(\mu) $$

    Each round takes the exact best combination at the mu of each start, then the exact
    maximum of its interpolated sum. `jaxlik.combination.certified` proves an optimum.

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph.
        nodes: Ascending, the first one 0.
        values: l_i at the nodes; the first row is zero by definition.
        slopes: dl_i/dmu at the nodes.
        mu_max: Upper bound from the critic; `inf` stands for the last node.
        min_members: 0, 1 or 2; smaller combinations do not count.
        num_rounds: Rounds of the alternation; two suffice with about eight nodes.

    References:
        arXiv:2012.12246, section 3.5.
    """
    dead = ~live[None, :]
    values = jnp.where(dead, 0.0, values)
    slopes = jnp.where(dead | ~jnp.isfinite(slopes), 0.0, slopes)
    undefined = jnp.any(jnp.isnan(values) | jnp.isposinf(values)) | jnp.isnan(mu_max)
    values = jnp.where(values < jnp.inf, jnp.maximum(values, LOWEST_GAIN), LOWEST_GAIN)
    bound = jnp.where(mu_max >= 0, mu_max, 0.0)
    cliques = restrict(table, live, min_members=min_members)
    fixed = [lax.stop_gradient(array) for array in (nodes, values, slopes, bound)]
    members = _alternate(table, cliques, *fixed, num_rounds=num_rounds)
    inside = members[None, :]
    best = maximise_hermite(
        nodes,
        jnp.sum(jnp.where(inside, values, 0.0), axis=1),
        jnp.sum(jnp.where(inside, slopes, 0.0), axis=1),
        bound,
    )
    exists = cliques.exists & ~cliques.overflow
    status = merge_status(
        Status.where(cliques.overflow, Status.overflow, Status.success),
        Status.where(undefined, Status.not_finite, Status.success),
    )
    return JointBest(
        jnp.where(exists, best.value, -jnp.inf),
        jnp.where(exists, best.mu_hat, 0.0),
        members,
        best.at_bound & exists,
        merge_status(status, Status.where(exists, best.status, Status.success)),
    )


def maximise_hermite(
    nodes: Float[Array, " node"],
    values: Float[Array, " node"],
    slopes: Float[Array, " node"],
    mu_max: Scalar,
) -> MuMaximum:
    r"""Exact maximum of a cubic Hermite interpolant over 0 <= mu <= mu_max.

    All stationary points are roots of one quadratic per interval: no iteration, no
    assumption of concavity. With the multiplier $\lambda = f'(\mu_{max})$,

    $$ d f(\hat\mu) = \partial f(\hat\mu) + \lambda\, d\mu_{max}
       \quad \text{if } \hat\mu = \mu_{max} $$

    Args:
        nodes: Ascending, the first one 0.
        values: At the nodes.
        slopes: Derivatives with respect to mu at the nodes.
        mu_max: At least 0; beyond the last node the last node counts.
    """
    bound = jnp.minimum(mu_max, nodes[-1])
    fixed = [lax.stop_gradient(array) for array in (nodes, values, slopes, bound)]
    points = _stationary_points(*fixed)
    heights = hermite(fixed[0], fixed[1][:, None], fixed[2][:, None], points)[:, 0]
    best = jnp.argmax(heights)
    mu_hat = points[best]
    value = hermite(nodes, values[:, None], slopes[:, None], mu_hat[None])[0, 0]
    multiplier = _slope_at(*fixed)
    at_end = (mu_hat >= fixed[3]) & (multiplier > 0)
    return _with_bound(value, mu_hat, at_end, multiplier, bound, mu_max, nodes[-1])


def maximise_mu(
    log_ratio_fn: Callable[[Scalar], Scalar],
    mu_max: Scalar,
    *,
    cap: float = 100.0,
    num_steps: int = 32,
) -> MuMaximum:
    """Maximum of a concave function of mu over 0 <= mu <= mu_max.

    Newton steps on the derivative inside a shrinking bracket, a bisection where a step
    leaves it or converges slowly (the safeguard of `rtsafe`).

    Args:
        log_ratio_fn: For instance the sum of l_i over the members; what it closes over
            may be differentiated.
        mu_max: At least 0, may be `inf`.
        cap: Largest mu that is tried.
        num_steps: Fixed number of steps; the last ones cost time, not accuracy.

    References:
        W. H. Press et al., Numerical Recipes, 3rd ed., section 9.4.
    """
    bound = jnp.minimum(mu_max, cap)
    # Hoist what the function closes over: no tangents inside the loop.
    pure_fn, hoisted = jax.closure_convert(log_ratio_fn, bound)
    hoisted = [lax.stop_gradient(array) for array in hoisted]

    def slope_fn(mu: Scalar) -> Scalar:
        return jax.jvp(lambda x: pure_fn(x, *hoisted), (mu,), (jnp.ones_like(mu),))[1]

    upper = lax.stop_gradient(bound)
    mu_hat = lax.stop_gradient(_root(slope_fn, upper, num_steps))
    multiplier = lax.stop_gradient(slope_fn(upper))
    at_end = multiplier > 0
    mu_hat = jnp.where(at_end, upper, mu_hat)
    cap_array = jnp.asarray(cap, dtype=mu_hat.dtype)
    return _with_bound(log_ratio_fn(mu_hat), mu_hat, at_end, multiplier, bound, mu_max, cap_array)


def polish(
    best: JointBest,
    nodes: Float[Array, " node"],
    values: Float[Array, "node candidate"],
    slopes: Float[Array, "node candidate"],
    found: Heights,
    mu_max: Scalar,
) -> Polished:
    """From the maximum of the interpolated sum to that of the sum itself.

    Args:
        best: From `best_joint`; `at_bound` says whether to follow `mu_max`.
        nodes: As there.
        values: As there.
        slopes: As there.
        found: All l_i at `best.mu_hat`, differentiable in the signal at fixed mu.
        mu_max: Upper bound, perhaps known better by now; differentiable.
    """
    fixed = lax.stop_gradient((nodes, values, slopes, best.mu_hat))
    bends, mu = hermite_curvature(*fixed), fixed[3]
    slope, bend = (jnp.sum(jnp.where(best.members, part, 0.0)) for part in (found.slope, bends))
    move = newton_move(slope, bend, mu, jnp.minimum(mu_max, fixed[0][-1]))
    move = jnp.where(best.at_bound, lax.stop_gradient(mu_max) - mu, move)
    gains = found.value + move * found.slope + 0.5 * move**2 * bends
    value = jnp.sum(jnp.where(best.members, gains, 0.0))
    bound = jnp.where(best.at_bound, mu_max, 0.0)
    multiplier = lax.stop_gradient(slope + move * bend)
    return Polished(value + multiplier * (bound - lax.stop_gradient(bound)), mu + move, gains)


def hermite(
    nodes: Float[Array, " node"],
    values: Float[Array, "node column"],
    slopes: Float[Array, "node column"],
    points: Float[Array, " point"],
) -> Float[Array, "point column"]:
    """Cubic Hermite interpolation of each column at points within the nodes."""
    left = jnp.clip(jnp.searchsorted(nodes, points, side="right") - 1, 0, len(nodes) - 2)
    width = nodes[left + 1] - nodes[left]
    t = ((points - nodes[left]) / width)[:, None]
    width = width[:, None]
    s = 1 - t
    # Bernstein-like form: no cancellation at either end.
    return s * s * ((1 + 2 * t) * values[left] + t * width * slopes[left]) + t * t * (
        (1 + 2 * s) * values[left + 1] - s * width * slopes[left + 1]
    )


def hermite_curvature(
    nodes: Float[Array, " node"],
    values: Float[Array, "node column"],
    slopes: Float[Array, "node column"],
    point: Scalar,
) -> Float[Array, " column"]:
    """Second derivative of the interpolant of each column, at a point within the nodes."""
    left = jnp.clip(jnp.searchsorted(nodes, point, side="right") - 1, 0, len(nodes) - 2)
    width = nodes[left + 1] - nodes[left]
    begin, end = slopes[left] * width, slopes[left + 1] * width
    c2, c3 = _powers(values[left + 1] - values[left], begin, end)
    return (2 * c2 + 6 * c3 * (point - nodes[left]) / width) / width**2


def newton_move(slope: Scalar, curvature: Scalar, mu: Scalar, upper: Scalar) -> Scalar:
    """One Newton step from `mu` to the maximum, kept within 0 and `upper`; a constant.

    Interpolants place a maximum well enough for its value, not for its gradient:

        f(mu + d) = f(mu) + d f'(mu) + d^2 f''/2

    with d from here and differentiable f, f' has both.
    """
    slope, curvature, mu, upper = map(lax.stop_gradient, (slope, curvature, mu, upper))
    curved = curvature < 0
    step = jnp.where(curved, -slope / jnp.where(curved, curvature, -1.0), 0.0)
    move = jnp.clip(mu + step, 0.0, upper) - mu
    return jnp.where(jnp.isfinite(move), move, 0.0)


def _powers(
    rise: Float[Array, "*shape"], begin: Float[Array, "*shape"], end: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Coefficients of t^2 and t^3 of a cubic on 0 <= t <= 1 from its rise and slopes."""
    return 3 * rise - 2 * begin - end, begin + end - 2 * rise


def _alternate(
    table: CliqueTable,
    cliques: LiveCliques,
    nodes: Float[Array, " node"],
    values: Float[Array, "node candidate"],
    slopes: Float[Array, "node candidate"],
    mu_max: Scalar,
    num_rounds: int,
) -> Bool[Array, " candidate"]:
    """Members of the best alternation over all starts."""
    points = jnp.minimum(nodes, mu_max)
    members = jnp.zeros(values.shape, dtype=bool)
    heights = jnp.zeros(nodes.shape, dtype=values.dtype)
    for number in range(num_rounds):
        gains = hermite(nodes, values, slopes, points)
        if number == 0:
            # At mu = 0 all gains vanish; the slopes order the combinations.
            gains = jnp.where((points > 0)[:, None], gains, slopes)
        members = choose(table, cliques, gains).members
        inside = members.astype(values.dtype)
        maxima = jax.vmap(maximise_hermite, in_axes=(None, 0, 0, None))(
            nodes, inside @ values.T, inside @ slopes.T, mu_max
        )
        points, heights = maxima.mu_hat, maxima.value
    return members[jnp.argmax(heights)]


def _stationary_points(
    nodes: Float[Array, " node"],
    values: Float[Array, " node"],
    slopes: Float[Array, " node"],
    bound: Scalar,
) -> Float[Array, " point"]:
    """Interval ends and zeros of the derivative, clipped to their interval and the bound.

    With p(t) = v + c1 t + c2 t^2 + c3 t^3 the zeros are those of c1 + 2 c2 t + 3 c3 t^2,
    in the form without cancellation.
    """
    width = jnp.diff(nodes)
    rise = jnp.diff(values)
    c1, end = slopes[:-1] * width, slopes[1:] * width
    c2, c3 = _powers(rise, c1, end)
    root = jnp.sqrt(jnp.maximum(c2 * c2 - 3 * c3 * c1, 0.0))
    q = -(c2 + jnp.where(c2 < 0, -root, root))
    first = q / jnp.where(c3 == 0, 1.0, 3 * c3)
    second = c1 / jnp.where(q == 0, 1.0, q)
    t = jnp.clip(jnp.nan_to_num(jnp.stack([first, second])), 0.0, 1.0)
    inner = (nodes[:-1][None, :] + t * width[None, :]).reshape(-1)
    return jnp.minimum(jnp.concatenate([nodes, inner]), bound)


def _slope_at(
    nodes: Float[Array, " node"],
    values: Float[Array, " node"],
    slopes: Float[Array, " node"],
    point: Scalar,
) -> Scalar:
    def height(mu: Scalar) -> Scalar:
        return hermite(nodes, values[:, None], slopes[:, None], mu[None])[0, 0]

    return jax.jvp(height, (point,), (jnp.ones_like(point),))[1]


def _root(slope_fn: Callable[[Scalar], Scalar], upper: Scalar, num_steps: int) -> Scalar:
    """Zero of a decreasing function in [0, upper]; 0 if it starts negative."""

    def step(_: Any, carry: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        low, high, mu, last_move = carry
        slope, curvature = jax.jvp(slope_fn, (mu,), (jnp.ones_like(mu),))
        low, high = jnp.where(slope > 0, mu, low), jnp.where(slope > 0, high, mu)
        newton = mu - slope / jnp.where(curvature < 0, curvature, -1.0)
        inside = (newton >= low) & (newton <= high) & (curvature < 0)
        fast = 2 * jnp.abs(newton - mu) <= jnp.abs(last_move)
        following = jnp.where(inside & fast, newton, 0.5 * (low + high))
        return low, high, following, following - mu

    start = (jnp.zeros_like(upper), upper, jnp.minimum(0.5 * upper, 1.0), upper)
    mu_hat = lax.fori_loop(0, num_steps, step, start)[2]
    return jnp.where(slope_fn(jnp.zeros_like(upper)) > 0, mu_hat, 0.0)


def _with_bound(
    value: Scalar,
    mu_hat: Scalar,
    at_end: Bool[Array, ""],
    multiplier: Scalar,
    bound: Scalar,
    mu_max: Scalar,
    cap: Scalar,
) -> MuMaximum:
    """Attach the derivative along the bound: its value is zero, its gradient is not."""
    moved = jnp.where(at_end, multiplier, 0.0) * (bound - lax.stop_gradient(bound))
    beyond = at_end & (mu_max > cap)
    return MuMaximum(
        value + moved,
        mu_hat,
        at_end & ~beyond,
        Status.where(beyond, Status.no_bracket, Status.success),
    )
