"""The best model of a run of `sample`: its content's own posterior, beside Fisher's errors."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxlik.fit.config import SampleConfig
from jaxlik.fit.console import Console
from jaxlik.typing import Float

if TYPE_CHECKING:
    from jaxlik.fit.posterior_best import BestModel
    from jaxlik.physics.model import ModelPoint

logger = logging.getLogger(__name__)

BEST_KEY = 1
"""Folded into the seed, apart from the keys of chains."""


class Best(NamedTuple):
    """The best model that was built before the chains started.

    Attributes:
        point: The model.
        score: Its K.
    """

    point: "ModelPoint"
    score: float


class Built:
    """What was built before the chains started.

    Attributes:
        scores: Best K by ascending PDG numbers of the content.
        best: The model with the largest K; `None` before there is one.
    """

    def __init__(self) -> None:
        self.scores: dict[tuple[int, ...], float] = {}
        self.best: Best | None = None

    def take(
        self, pdg_ids: Sequence[int], points: "ModelPoint", score: Float[np.ndarray, " model"]
    ) -> None:
        """Take over models, stacked, with their K."""
        import jax

        for active, value in zip(np.asarray(points.active), score, strict=True):
            pids = tuple(sorted(pid for pid, on in zip(pdg_ids, active, strict=True) if on))
            self.scores[pids] = max(float(value), self.scores.get(pids, -np.inf))
        if len(score) and np.isfinite(np.max(score)):
            first = int(np.argmax(score))
            point = jax.tree.map(lambda leaf: leaf[first], points)
            self.best = Best(point, float(score[first]))


def best_model(
    best: Best, target: Any, config: SampleConfig, console: Console
) -> "BestModel | None":
    """Sample the posterior at the content of the best model.

    Args:
        best: The model.
        target: What chains sample.
        config: Seed and number of particles.
        console: Whether to show progress.

    Returns:
        `None` where the supports leave nothing to sample, with a warning.
    """
    import jax
    import jax.numpy as jnp
    from tqdm import tqdm

    from jaxlik.errors import ConvergenceError
    from jaxlik.fit.commands.drawn import drawn_models
    from jaxlik.fit.fisher_errors import fisher_errors
    from jaxlik.fit.posterior_best import BestModel
    from walkers.posterior.kernel import Draws
    from walkers.posterior.one_content import content_posterior
    from walkers.posterior.sampler import coordinate_blocks

    engine = target.maps or target.engine
    bits, _ = target.coordinates(best.point)
    blocks = jnp.asarray(coordinate_blocks(target.space))
    key = jax.random.fold_in(jax.random.key(config.seed), BEST_KEY)
    with tqdm(
        desc="posterior of the best model",
        disable=console.quiet,
        bar_format="{desc} [{elapsed}] {postfix}",
    ) as bar:
        try:
            found = content_posterior(
                key,
                target,
                bits,
                blocks,
                particles=config.particles,
                on_step=bar.set_postfix_str,
            )
        except ConvergenceError as error:
            logger.warning("no posterior of the best model: %s", error)
            return None
        bar.set_postfix_str("second derivatives")
        fisher = fisher_errors(engine, target.widths, best.point)
        bar.set_postfix_str(f"{found.levels} levels")
    arrays = (found.bits, found.vectors, found.log_likelihood, found.log_likelihood)
    draws: Any = Draws(*(jnp.asarray(array)[None] for array in arrays))
    return BestModel(
        fisher, drawn_models(target, draws), found.log_evidence, found.error, best.score
    )
