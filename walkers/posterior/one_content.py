r"""The posterior at one content, decays and productions included, and its evidence.

Particles start as draws of the prior that the supports allow and follow $N(u) L^\beta$ to
$\beta = 1$ (`walkers.posterior.smc`): narrow excesses and the wide rest keep their shares, which
chains that start in one of them would take long to find. Of n draws m are allowed, so that

$$ \ln Z = \ln\frac{m}{n} + \ln\hat Z_\text{SMC}, $$

with draws outside the kinematic support, which is part of the prior, not counted in n.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConvergenceError
from jaxlik.physics.whitened import kinematically_allowed
from jaxlik.typing import Array, Bool, Float, Int, Key
from walkers.posterior.kernel import Kernel
from walkers.posterior.model import ModelTarget
from walkers.posterior.moves import AbstractMove, Auxiliary, Candidate, Rebirth
from walkers.posterior.proposals import Mixture, standard_normal, unfitted_mixture
from walkers.posterior.smc import temper
from walkers.posterior.target import AbstractProductTarget, ChainState, state_at
from walkers.posterior.trajectories import Standing, initial_tuning

SMALLEST_NUDGE, LARGEST_NUDGE = 0.03, 1.0
"""Range of the size of steps, in standard deviations of what was learned."""

SWEEPS = 3
"""Of every particle per level."""

NUDGES = 4
"""Steps per sweep, beside one block of coordinates drawn anew."""

WIDTH = 16
"""Particles evaluated side by side."""

MAX_DRAWS = 400
"""Draws of the prior per particle wanted after which the supports are taken to allow nothing."""


class Nudge(AbstractMove):
    """Some coordinates in use take a normal step; size and choice are random.

    The scale of each coordinate is that of the Gaussian fitted for births, if there is one.
    """

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Symmetric: neither size nor choice depends on where the chain stands."""
        size, choose, draw = jax.random.split(key, 3)
        used = target.in_use(state.bits)
        moved = used & jax.random.bernoulli(choose, 0.5, used.shape)
        low, high = np.log(SMALLEST_NUDGE), np.log(LARGEST_NUDGE)
        length = jnp.exp(jax.random.uniform(size, minval=low, maxval=high))
        entering = auxiliary.entering
        scale = entering.fitted.scale if isinstance(entering, Mixture) else 1.0
        step = length * scale * jax.random.normal(draw, used.shape, state.vector.dtype)
        vector = state.vector + jnp.where(moved, step, 0.0)
        return Candidate(state.bits, vector, jnp.zeros((), state.vector.dtype))


class ContentPosterior(NamedTuple):
    """Equally weighted draws of the posterior at one content.

    Attributes:
        bits: The content, for each draw.
        vectors: Coordinates.
        log_likelihood: ln L over that of the Standard Model.
        log_evidence: ln of its mean over the prior of the coordinates.
        error: Standard deviation of that, as if particles were independent: a lower bound.
        levels: Powers of the likelihood on the way.
    """

    bits: Bool[np.ndarray, "draw bit"]
    vectors: Float[np.ndarray, "draw parameter"]
    log_likelihood: Float[np.ndarray, " draw"]
    log_evidence: float
    error: float
    levels: int


def content_kernel(target: ModelTarget, blocks: Int[Array, " parameter"]) -> Kernel:
    """Moves that keep the content; not yet adapted.

    Args:
        target: What to sample.
        blocks: Coordinates that are drawn anew together.
    """
    size = target.num_parameters
    return Kernel(
        target,
        (Rebirth(blocks), Nudge()),
        ((0, *(1,) * NUDGES),),
        Standing(),
        initial_tuning(size),
        Auxiliary(unfitted_mixture(jnp.arange(size)), standard_normal(size)),
    )


def content_posterior(
    key: Key[Array, ""],
    target: ModelTarget,
    bits: Bool[Array, " bit"],
    blocks: Int[Array, " parameter"],
    *,
    particles: int = 500,
    on_step: Callable[[str], None] | None = None,
) -> ContentPosterior:
    """Sample the posterior at one content.

    Args:
        key: Random key.
        target: What to sample.
        bits: The content, decays and productions included.
        blocks: Coordinates that are drawn anew together.
        particles: Draws wanted.
        on_step: Told what has been reached.

    Raises:
        ConvergenceError: hardly any draw of the prior is allowed, or levels did not suffice.
    """
    tell = on_step or (lambda text: None)
    start, follow = jax.random.split(key)
    states, share, variance = _allowed(start, target, bits, particles, tell)
    found = temper(
        follow,
        content_kernel(target, blocks),
        states,
        num_sweeps=SWEEPS,
        width=WIDTH,
        on_level=lambda power: tell(f"likelihood to the power {power:.2g}"),
    )
    states = found.states
    return ContentPosterior(
        np.asarray(states.bits),
        np.asarray(states.vector),
        np.asarray(states.exact),
        found.log_evidence + float(np.log(share)),
        float(np.hypot(found.error, np.sqrt(variance))),
        len(found.temperatures),
    )


def _allowed(
    key: Key[Array, ""],
    target: ModelTarget,
    bits: Bool[Array, " bit"],
    wanted: int,
    tell: Callable[[str], None],
) -> tuple[ChainState, float, float]:
    """Draws inside all supports, their share of those the prior knows, its relative variance."""
    batch = WIDTH * -(-wanted // WIDTH)
    kept: list[ChainState] = []
    known = total = 0
    for number in range(MAX_DRAWS):
        states, possible = _tried(jax.random.fold_in(key, number), target, bits, batch)
        inside = np.isfinite(states.log_likelihood) & np.isfinite(states.exact)
        kept.append(jax.tree.map(lambda leaf, one=inside: np.asarray(leaf)[one], states))
        known += int(np.sum(possible))
        total += int(np.sum(inside))
        tell(f"{total} of {known} draws of the prior allowed")
        if total >= wanted:
            found = jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)[:wanted]), *kept)
            share = total / known
            return found, share, (1 - share) / total
    raise ConvergenceError(
        f"only {total} of {MAX_DRAWS * batch} draws of the prior at this content are allowed; "
        "sample without it (particles 0), or without the critic"
    )


@eqx.filter_jit
def _tried(
    key: Key[Array, ""], target: ModelTarget, bits: Bool[Array, " bit"], count: int
) -> tuple[ChainState, Bool[Array, " draw"]]:
    """Draws of the prior with their likelihoods, and which of them the prior knows."""

    def one(vector: Array) -> tuple[ChainState, Array]:
        possible = kinematically_allowed(target.space, bits, target.point(bits, vector))
        return state_at(target, bits, vector), possible

    vectors = jax.random.normal(key, (count, target.num_parameters))
    return jax.lax.map(one, vectors, batch_size=WIDTH)
