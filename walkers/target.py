"""What walkers climb: anything that gives a model point a score.

Walkers know the engine only through `AbstractTarget`, so that another score, or a toy
in a test, needs one small class.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.engine import Engine
from jaxlik.errors import Status
from jaxlik.physics.cross_sections import CrossSections
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import smooth_log_prior
from jaxlik.typing import Array, Bool, Float, Int, Scalar
from jaxlik.yields.buckets import Buckets


class Outcome(NamedTuple):
    """What a walker needs to know of an evaluated model.

    Attributes:
        score: K; `-inf` where the model has none.
        z_squared: 2 ln(L(mu_hat)/L(0)) of the best combination.
        mu_hat: Signal strength at which K is reached.
        r_max: Largest r-value the critic counts, at mu = 1.
        log_prior: ln pi.
        overflow: A table was too small for this model: the numbers mean nothing.
        members: Candidates in the best combination.
        demand: Sizes the tables would have needed, in the order of `Buckets`.
    """

    score: Scalar
    z_squared: Scalar
    mu_hat: Scalar
    r_max: Scalar
    log_prior: Scalar
    overflow: Bool[Array, ""]
    members: Bool[Array, " candidate"]
    demand: Int[Array, " bucket"]


class FlatReference(eqx.Module):
    """Cross sections that do not depend on masses."""

    space: ModelSpace

    def __call__(self, masses: Float[Array, " particle"]) -> Float[Array, " production"]:
        """One for every production."""
        return jnp.ones(self.space.num_productions, masses.dtype)


class EngineReference(eqx.Module):
    """Reference cross sections at 13 TeV [fb]."""

    cross_sections: CrossSections

    def __call__(self, masses: Float[Array, " particle"]) -> Float[Array, " production"]:
        """Cross sections for masses in GeV."""
        return self.cross_sections(masses)[:, 1]


class AbstractTarget(eqx.Module):
    """A score on one model space, as a pure function of the model point."""

    space: eqx.AbstractVar[ModelSpace]
    num_candidates: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(self, point: ModelPoint, excluded: Bool[Array, " candidate"]) -> Outcome:
        """Evaluate one model.

        Args:
            point: The model.
            excluded: Candidates that may not take part in a combination.
        """

    @abstractmethod
    def smooth(self, point: ModelPoint) -> tuple[Scalar, Outcome]:
        """A version of K with useful gradients in all leaves of the point, and the outcome."""

    @property
    def reference_fn(self) -> Callable[[Float[Array, " particle"]], Float[Array, " production"]]:
        """Relative cross sections, for moves that keep rates while masses change."""
        return FlatReference(self.space)

    def enlarged(self, demand: tuple[int, ...]) -> "AbstractTarget":
        """The target with tables of at least the demanded sizes; recompiles."""
        del demand
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the tables."""
        return (0,) * len(Buckets())


class EngineTarget(AbstractTarget):
    """The score K of an engine."""

    engine: Engine

    @property
    def space(self) -> ModelSpace:  # type: ignore[reportIncompatibleVariableOverride]
        """Layout of the model points."""
        return self.engine.space

    @property
    def num_candidates(self) -> int:  # type: ignore[reportIncompatibleVariableOverride]
        """Results that may enter a combination."""
        return self.engine.num_results + self.engine.num_limit_results

    def __call__(self, point: ModelPoint, excluded: Bool[Array, " candidate"]) -> Outcome:
        """Evaluate one model with reference cross sections."""
        found = self.engine.evaluate(point, excluded)
        return Outcome(
            found.score,
            found.z_squared,
            found.mu_hat,
            found.prediction.r_max,
            found.prior.log_prior,
            found.prediction.status == Status.overflow,
            found.members,
            found.prediction.signals.demand,
        )

    def smooth(self, point: ModelPoint) -> tuple[Scalar, Outcome]:
        """Z^2 plus twice the prior without steps."""
        outcome = self(point, jnp.zeros(self.num_candidates, dtype=bool))
        prior = smooth_log_prior(self.space, point, self.engine.reference_production(point))
        return outcome.z_squared + 2 * prior.log_prior, outcome

    @property
    def reference_fn(self) -> "EngineReference":
        """Reference cross sections at 13 TeV [fb]."""
        return EngineReference(self.engine.cross_sections)

    def enlarged(self, demand: tuple[int, ...]) -> "EngineTarget":
        """The engine with larger buckets; every new size compiles anew."""
        sizes = Buckets(*(max(*pair) for pair in zip(self.engine.buckets, demand, strict=True)))
        return EngineTarget(replace(self.engine, buckets=sizes))  # type: ignore[reportCallIssue]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the packed tables."""
        return tuple(self.engine.buckets)


def as_target(engine: Engine | AbstractTarget) -> AbstractTarget:
    """A target as it is, an engine wrapped."""
    return engine if isinstance(engine, AbstractTarget) else EngineTarget(engine)  # type: ignore[reportCallIssue]


@eqx.filter_jit
def evaluate_chunk(
    target: AbstractTarget, points: ModelPoint, excluded: Bool[Array, "model candidate"]
) -> Outcome:
    """Evaluate a few models at once.

    The one place where the score is compiled: search, trimming and contributions share
    it when they use chunks of the same size.

    Args:
        target: The score.
        points: Models, stacked.
        excluded: Candidates that may not take part in a combination, per model.
    """
    return jax.vmap(target)(points, excluded)
