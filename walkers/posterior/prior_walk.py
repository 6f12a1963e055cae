r"""Many steps on the prior for one evaluation of the likelihood.

A chain of moves, each reversible with respect to the prior and its kinematic support, proposes
where it arrives. Its order reads the same from both ends: s_1 ... s_h s_h ... s_1, with h
random. Such a chain is itself reversible with respect to the prior, so that the proposal is
accepted with

$$ a = \min\left[1, \frac{L(\gamma', u')}{L(\gamma, u)}\right]. $$

The prior and the support cost microseconds, the likelihood milliseconds: where most contents
are as good as the Standard Model, this is how chains get around.

References:
    J. S. Liu, Monte Carlo Strategies in Scientific Computing (2001), section 9.4.3: the
    surrogate transition method.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.physics.model import ModelSpace
from jaxlik.physics.whitened import Widths, kinematically_allowed, to_model
from jaxlik.typing import Array, Bool, Float, Key, Scalar
from walkers.posterior.model import Prior, content_log_prior
from walkers.posterior.moves import AbstractMove, Auxiliary, Candidate, decide
from walkers.posterior.target import AbstractProductTarget, ChainState, log_prior

HALVES = (1, 2, 4, 8)
"""Steps to the middle of a walk, each number with the same probability."""


class PriorTarget(AbstractProductTarget):
    """The prior over models, with its kinematic support as likelihood.

    Attributes:
        space: Layout of the models.
        widths: Scales of the prior.
        prior: Of contents.
        max_particles: Particles a model may have, the LBP included.
    """

    space: ModelSpace
    widths: Widths
    prior: Prior = eqx.field(static=True, default="count")
    max_particles: int = eqx.field(static=True, default=8)

    @property
    def num_bits(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """Particles, channels and productions."""
        return self.space.num_particles + self.space.num_channels + self.space.num_productions

    @property
    def num_parameters(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """As many as bits."""
        return self.num_bits

    def in_use(self, bits: Bool[Array, " bit"]) -> Bool[Array, " parameter"]:
        """Every bit has its coordinate."""
        return bits

    def log_prior_bits(self, bits: Bool[Array, " bit"]) -> Scalar:
        """See `walkers.posterior.model`."""
        return content_log_prior(self.space, bits, self.prior, self.max_particles)

    def log_likelihood(
        self, bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> Scalar:
        """Zero inside the kinematic support, else `-inf`."""
        point = to_model(self.space, bits, vector, self.widths)
        return jnp.where(kinematically_allowed(self.space, bits, point), 0.0, -jnp.inf)


class PriorWalk(AbstractMove):
    """A few random moves on the prior as one proposal.

    Attributes:
        prior: What the walk leaves invariant; the prior and support of the target.
        moves: Moves in the order of the walk, repeated as long as it is; each reversible.
    """

    prior: PriorTarget
    moves: tuple[AbstractMove, ...]

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Where the walk arrives; the prior at both ends cancels."""
        choose, walk = jax.random.split(key)
        half = jnp.asarray(HALVES)[jax.random.randint(choose, (), 0, len(HALVES))]
        none = jnp.zeros((), state.vector.dtype)
        branches = [
            lambda draw, here, move=move: move.candidate(draw, self.prior, here, auxiliary)
            for move in self.moves
        ]

        def step(here: ChainState, task: tuple[Array, Array, Array]):
            number, kind, one = task
            draw, accept = jax.random.split(one)
            found = jax.lax.switch(kind, branches, draw, here)
            new, _ = decide(accept, self.prior, here, found)
            here = jax.tree.map(lambda a, b: jnp.where(number < half, a, b), new, here)
            return here, None

        start = ChainState(state.bits, state.vector, none, none)
        forth = jnp.arange(HALVES[-1])
        numbers = jnp.concatenate([forth, forth[::-1]])
        # The order is the same for all chains of a batch, which then run one branch a step.
        kinds = numbers % len(branches)
        keys = jax.random.split(walk, len(numbers))
        end, _ = jax.lax.scan(step, start, (numbers, kinds, keys))
        before = log_prior(target, state.bits, state.vector)
        after = log_prior(target, end.bits, end.vector)
        return Candidate(end.bits, end.vector, before - after)
