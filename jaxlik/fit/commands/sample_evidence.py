"""Evidences of a run of `sample`: Bayes factors of contents, and how far the prior moves them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlik.fit.config import SampleConfig

if TYPE_CHECKING:
    from jaxlik.fit.posterior_draws import PosteriorDraws
    from jaxlik.fit.posterior_sensitivity import PriorModels

PRIOR_DRAWS = 200_000
"""Independent draws of the prior that count how probable contents are before data."""


def evidence_document(
    config: SampleConfig,
    target: Any,
    draws: "PosteriorDraws",
    document: Mapping[str, Any],
    scores: Mapping[tuple[int, ...], float],
) -> list[dict[str, Any]] | None:
    """Entries of ``evidence``.

    Args:
        config: Of the run.
        target: What was sampled.
        draws: Of the posterior.
        document: What they say, from `jaxlik.fit.posterior_summary.posterior_document`.
        scores: Best known K by ascending PDG numbers of the content.

    Returns:
        `None` for a prior that nothing draws from independently.
    """
    from jaxlik.fit.posterior_evidence import evidences
    from jaxlik.fit.posterior_sensitivity import variations, with_sensitivity
    from jaxlik.fit.posterior_summary import evidence_entries
    from jaxlik.physics.kinematics import canonical_pairs

    if config.prior != "count":
        return None
    space = target.space
    prior = prior_models(target, config)
    found = evidences(document, space.pdg_ids, prior.active, scores)
    entries = evidence_entries(space.pdg_ids, found)
    changes = variations(draws, prior, config, space.lbp, canonical_pairs(space))
    return with_sensitivity(entries, draws, prior, changes)


def prior_models(target: Any, config: SampleConfig) -> "PriorModels":
    """Independent draws of the prior of a run."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from jaxlik.fit.posterior_sensitivity import PriorModels
    from walkers.posterior.start import prior_draws

    bits, vectors = prior_draws(
        target.space, target.widths, PRIOR_DRAWS, config.seed, max_particles=config.max_particles
    )

    @eqx.filter_jit
    def masses(target: Any, bits: jax.Array, vectors: jax.Array) -> jax.Array:
        return jax.lax.map(
            lambda place: target.point(*place).masses, (bits, vectors), batch_size=1000
        )

    found = masses(target, jnp.asarray(bits), jnp.asarray(vectors))
    return PriorModels(bits[:, : target.space.num_particles], np.asarray(found))
