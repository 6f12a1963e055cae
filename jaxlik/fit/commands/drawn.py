"""From draws of chains to models on the host."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlik.fit.posterior_draws import PosteriorDraws


def drawn_models(target: Any, draws: Any) -> "PosteriorDraws":
    """Models of draws.

    Args:
        target: What was sampled, a `walkers.posterior.model.ModelTarget`.
        draws: Kept states, of `walkers.posterior.kernel.Draws`.
    """
    import jax
    import numpy as np

    from jaxlik.fit.posterior_draws import PosteriorDraws
    from walkers.posterior.sampler import models_of

    space = target.space
    points, prior = jax.tree.map(np.asarray, models_of(target, draws))
    exist = points.active[..., np.asarray(space.production_pair)].all(axis=-1)
    return PosteriorDraws(
        pdg_ids=space.pdg_ids,
        channels=space.channels,
        productions=space.productions,
        active=points.active,
        masses=np.where(points.active, points.masses, np.nan),
        branching_ratios=points.branching_ratios,
        signal_strengths=np.where(exist, points.signal_strengths, np.nan),
        free_strength=exist & (points.signal_strengths > 0),
        log_likelihood=np.asarray(draws.exact),
        log_prior=prior,
    )
