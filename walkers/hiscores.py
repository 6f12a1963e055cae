"""The best distinct models of a search, as arrays of fixed size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float, Int, Scalar

SAME_SCORE = 1e-5
"""Models of the same content whose K differs by less are one model (arXiv:2012.12246)."""


class HiScores(NamedTuple):
    """The best distinct models, best first.

    Attributes:
        points: Models, stacked along the first axis.
        score: K; `-inf` in empty places.
        z_squared: 2 ln(L(mu_hat)/L(0)).
        mu_hat: Signal strength at which K is reached; 1 but for rounding where a model
            sees anything.
        r_max: Largest r-value the critic counts.
        step: Step at which the model was found; -1 in empty places.
        walker: Walker that found it; -1 in empty places.
    """

    points: ModelPoint
    score: Float[Array, " place"]
    z_squared: Float[Array, " place"]
    mu_hat: Float[Array, " place"]
    r_max: Float[Array, " place"]
    step: Int[Array, " place"]
    walker: Int[Array, " place"]

    @property
    def live(self) -> Bool[Array, " place"]:
        """Places that hold a model."""
        return self.score > -jnp.inf


def empty_hiscores(space: ModelSpace, size: int) -> HiScores:
    """A list without models.

    Args:
        space: Layout of the models.
        size: Number of places.
    """
    points = ModelPoint(
        masses=jnp.ones((size, space.num_particles)),
        active=jnp.zeros((size, space.num_particles), dtype=bool),
        branching_ratios=jnp.zeros((size, space.num_channels)),
        signal_strengths=jnp.ones((size, space.num_productions)),
    )
    zeros = jnp.zeros(size)
    none = jnp.full(size, -1, dtype=int)
    return HiScores(points, jnp.full(size, -jnp.inf, dtype=float), zeros, zeros, zeros, none, none)


def similar_models(
    points: ModelPoint, score: Float[Array, " place"], tolerance: Scalar | float
) -> Bool[Array, "place place"]:
    """Which models of a stack are the same.

    Args:
        points: Models, stacked.
        score: Their K.
        tolerance: Largest relative difference of any mass of the same model.

    Returns:
        True where two models have the same content and either masses within the
        tolerance or scores within `SAME_SCORE`.
    """
    active, masses = points.active, points.masses
    content = jnp.all(active[:, None, :] == active[None, :, :], axis=-1)
    total = masses[:, None, :] + masses[None, :, :]
    gap = 2 * jnp.abs(masses[:, None, :] - masses[None, :, :])
    close = jnp.all((gap <= tolerance * total) | ~active[:, None, :], axis=-1)
    safe = jnp.where(jnp.isfinite(score), score, 0.0)
    tied = jnp.abs(safe[:, None] - safe[None, :]) <= SAME_SCORE
    return content & (close | tied)


def update_hiscores(
    hiscores: HiScores, candidates: HiScores, tolerance: Scalar | float
) -> HiScores:
    """Merge models into the list; of the same model the better one stays.

    Args:
        hiscores: The list.
        candidates: Models to enter, in any order; a score of `-inf` enters nowhere.
        tolerance: See `similar_models`.
    """
    size = hiscores.score.shape[0]
    # The older entry first among equals, so that its step and walker stay.
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), hiscores, candidates)
    order = jnp.argsort(-both.score, stable=True)
    both = jax.tree.map(lambda a: a[order], both)
    similar = similar_models(both.points, both.score, tolerance)
    better = jnp.tril(similar, -1)
    alive = both.score > -jnp.inf

    # kept_i = alive_i and no kept better model is similar: one solution, by iteration.
    def refine(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        kept, _ = carry
        return alive & ~jnp.any(better & kept[None, :], axis=1), kept

    def unsettled(carry: tuple[Array, Array]) -> Array:
        kept, previous = carry
        return jnp.any(kept != previous)

    kept, _ = jax.lax.while_loop(unsettled, refine, refine((alive, ~alive)))
    chosen = jnp.argsort(~kept, stable=True)[:size]
    merged = jax.tree.map(lambda a: a[chosen], both)
    live = kept[chosen]
    return merged._replace(
        score=jnp.where(live, merged.score, -jnp.inf),
        step=jnp.where(live, merged.step, -1),
        walker=jnp.where(live, merged.walker, -1),
    )
