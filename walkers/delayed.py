"""Delayed acceptance: a cheap score proposes, the exact one has the last word.

A proposal that the learned score accepts with a(x, y) is accepted in the end with

    min(1, [p(y) q(x)] / [p(x) q(y)])

where p is the exact density and q the learned one, so that the chain samples p exactly
(Christen and Fox, J. Comput. Graph. Stat. 14 (2005) 795). Exact scores are paid
only for proposals that pass the first stage.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Scalar


class Densities(NamedTuple):
    """Logarithms of the two densities at one point.

    Attributes:
        learned: Of the surrogate.
        exact: Of what is sampled.
    """

    learned: Scalar
    exact: Scalar


def second_stage(current: Densities, proposed: Densities) -> Scalar:
    """Logarithm of the probability to keep a proposal that the first stage accepted."""
    ratio = (proposed.exact - current.exact) - (proposed.learned - current.learned)
    # A point that is impossible exactly is never kept, whatever the surrogate says.
    allowed = jnp.where(jnp.isneginf(proposed.exact), -jnp.inf, ratio)
    return jnp.minimum(allowed, 0.0)


def delayed_accept(
    key: Array,
    current: Densities,
    proposed_learned: Scalar,
    log_proposal_ratio: Scalar,
    exact_fn: Callable[[], Scalar],
) -> tuple[Bool[Array, ""], Densities]:
    """Accept or reject a proposal in two stages.

    Args:
        key: Random key.
        current: Densities where the walker stands.
        proposed_learned: Learned log-density of the proposal.
        log_proposal_ratio: ln[q(old|new) / q(new|old)] of the move, with its Jacobian.
        exact_fn: Exact log-density of the proposal; evaluated only if the first stage
            accepts (outside `jax.vmap`, where both branches run).

    Returns:
        Whether the proposal is accepted, and the densities where the walker then stands.
    """
    first, second = jax.random.uniform(key, (2,), current.exact.dtype)
    difference = proposed_learned - current.learned + log_proposal_ratio
    passes = jnp.log(first) < difference
    exact = jax.lax.cond(passes, exact_fn, lambda: jnp.full_like(current.exact, -jnp.inf))
    proposed = Densities(proposed_learned, exact)
    accepted = passes & (jnp.log(second) < second_stage(current, proposed))
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposed, current)
    return accepted, chosen
