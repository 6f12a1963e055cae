"""The move of a plain Metropolis walk, to compare with."""

import jax
import jax.numpy as jnp

from walkers.posterior.moves import AbstractMove, Candidate


class RandomWalk(AbstractMove):
    """One block in use takes a normal step.

    Attributes:
        block: Block of each coordinate.
        width: Standard deviation of the step.
    """

    block: jax.Array
    width: jax.Array

    def candidate(self, key, target, state, auxiliary):
        """Each block in use has the same probability."""
        del auxiliary
        choose, draw = jax.random.split(key)
        used = target.in_use(state.bits)
        scores = jnp.where(used, jax.random.uniform(choose, used.shape)[self.block], -1.0)
        moved = used & (self.block == self.block[jnp.argmax(scores)])
        noise = self.width * jax.random.normal(draw, state.vector.shape)
        return Candidate(state.bits, state.vector + jnp.where(moved, noise, 0.0), jnp.zeros(()))
