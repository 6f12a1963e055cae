"""What a move is: a pure function from a key and a model to a draft of another."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp

from jaxlik.physics.kinematics import canonical_pairs
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float, Key
from walkers.moves.settle import Draft


class AbstractMove(eqx.Module):
    """One kind of random change of a model.

    Moves serve a walk that optimises: proposals are asymmetric and carry no Hastings
    ratio, so a chain of accepted moves is no sample of a posterior. `settle` turns a
    draft into a proposal, once for all moves.

    Attributes:
        space: Layout of the models.
        max_particles: Particles a model may have, the LBP included.
    """

    space: ModelSpace
    max_particles: int = eqx.field(static=True)

    @abstractmethod
    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """Whether the move can change this model at all; cheap."""

    @abstractmethod
    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest another model; shapes never change.

        Args:
            key: Random key.
            point: The model.
            reference: Its relative reference cross sections.
        """

    def draft(self, point: ModelPoint) -> Draft:
        """A draft without rates."""
        none = jnp.zeros(self.space.num_productions, dtype=bool)
        return Draft(point, none, jnp.asarray(True))


def removable_particles(space: ModelSpace, point: ModelPoint) -> Bool[Array, " particle"]:
    """Particles that may vanish: not the LBP, not the lighter state of a pair."""
    light, heavy = canonical_pairs(space).T
    needed = jnp.zeros_like(point.active).at[light].max(point.active[heavy])
    return point.active & ~needed & (jnp.arange(space.num_particles) != space.lbp)


def addable_particles(space: ModelSpace, point: ModelPoint) -> Bool[Array, " particle"]:
    """Particles that may appear: absent, their lighter partner present."""
    light, heavy = canonical_pairs(space).T
    missing = jnp.zeros_like(point.active).at[heavy].max(~point.active[light])
    return ~point.active & ~missing
