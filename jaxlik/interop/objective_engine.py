"""Objectives of model points: masses, branching ratios, signal strengths at fixed content.

Parameters are the coordinates u of `jaxlik.physics.whitened` that the model uses: any vector is a
model with masses in order and branching ratios that sum to one, and the prior of each u is
N(0, 1). Three quantities may be minimised:

- ``likelihood``: -ln(L/L_SM) of the most sensitive combination, L_SM that of the Standard Model;
- ``posterior``: the same plus half the sum of all u^2, the prior;
- ``score``: -K/2, test statistic and price of complexity, the combination chosen by the data.

The first two are infinite where masses are forbidden, a channel in use is closed, or the critic
excludes the model; the third where no combination exists. Gradients stay finite there.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlik.engine import Engine
from jaxlik.errors import ConfigError, ModelPointError, Status
from jaxlik.interop.objective_base import Objective
from jaxlik.interop.objective_nll import AbstractNll
from jaxlik.physics.bijections import layout
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.whitened import (
    EXTREME,
    Widths,
    from_model,
    kinematically_allowed,
    to_model,
)
from jaxlik.typing import Array, Bool, Float, Int, Scalar

Target = Literal["posterior", "likelihood", "score"]

REPRODUCED = 1e-6
"""Relative accuracy with which coordinates must give back the masses they were made from."""


class EngineNll(AbstractNll):
    """The target of one content; see the docstring of this module.

    Attributes:
        engine: Of mode ``default``, except for scores.
        widths: Scales of the coordinates.
        bits: Coordinates in use: particles, channels, productions.
        start: All coordinates of the point the objective was made from.
        used: Positions of the entries of the vector.
        target: What is minimised.
        critic: Whether the critic's limits are a support.
    """

    engine: Engine
    widths: Widths
    bits: Bool[Array, " parameter"]
    start: Float[Array, " parameter"]
    used: Int[Array, " entry"]
    target: Target = eqx.field(static=True)
    critic: bool = eqx.field(static=True)

    def point(self, x: Float[Array, " entry"]) -> ModelPoint:
        """The model of a vector."""
        vector = self.start.at[self.used].set(x)
        return to_model(self.engine.space, self.bits, vector, self.widths)

    def nll(self, x: Float[Array, " entry"]) -> Scalar:
        """See the docstring of this module."""
        allowed = kinematically_allowed(self.engine.space, self.bits, self.point(x))
        # A gradient runs through both branches of `where`: evaluate a model that exists.
        point = self.point(jnp.where(allowed, x, self.start[self.used]))
        if self.target == "score":
            found = self.engine.evaluate(point)
            gain, possible = 0.5 * found.score, found.status == Status.success
        else:
            found = self.engine.compare(point)
            gain, possible = found.log_ratio, found.status == Status.success
            if self.critic:
                possible &= found.r_max <= self.engine.settings.threshold
        known = jnp.isfinite(gain)
        value = jnp.where(known, -jnp.where(known, gain, 0.0), jnp.inf)
        if self.target == "posterior":
            value += 0.5 * jnp.sum(x**2)
        return jnp.where(allowed & possible, value, jnp.inf)

    def value_and_gradient(
        self, x: Float[Array, " entry"]
    ) -> tuple[Scalar, Float[Array, " entry"]]:
        """Zero slopes where the engine knows none."""
        value, gradient = jax.value_and_grad(self.nll)(x)
        return value, jnp.where(jnp.isfinite(gradient), gradient, 0.0)

    def hessian(self, x: Float[Array, " entry"]) -> Float[Array, "entry entry"]:
        """One direction at a time: the program holds the second derivative once."""
        rows = jnp.eye(x.shape[0])
        gradient = jax.grad(self.nll)
        return jax.lax.map(lambda row: jax.jvp(gradient, (x,), (row,))[1], rows)


def objective_of_engine(
    engine: Engine,
    point: ModelPoint,
    *,
    target: Target = "posterior",
    critic: bool = True,
    widths: Widths | None = None,
) -> Objective:
    """A target of the continuous parameters of a model, its particles and channels fixed.

    Parameters are named ``mass:PID``, ``branching:MOTHER:DAUGHTER:...`` and ``strength:PID:PID``;
    `model_point` turns a vector into the model. Coordinates that the target does not depend on are
    fixed: the logit of an only channel and, without a prior, one logit of every mother.

    Args:
        engine: From `jaxlik.fit.assemble.build_engine`.
        point: The model to start from; signal strengths of zero stay zero.
        target: What is minimised, see the docstring of this module.
        critic: Whether r-values above the threshold are forbidden; for ``score`` the engine
            decides.
        widths: Scales of the coordinates.

    Raises:
        ModelPointError: the point is not allowed, or outside of the coordinates.
        ConfigError: an unknown target, or one that needs an engine of mode ``default``.
    """
    if target not in ("posterior", "likelihood", "score"):
        raise ConfigError(f"target is {target!r}, wanted posterior, likelihood or score")
    if engine.literal and target != "score":
        raise ConfigError(
            f"the engine has mode protomodels, which chooses regions by the data, and target is "
            f"{target!r}: build it with mode default, or minimise the score"
        )
    scales = Widths() if widths is None else widths
    space = engine.space
    bits, vector, made, allowed = _coordinates(space, point, scales)
    _check(space, point, made, bool(allowed))
    used = np.flatnonzero(np.asarray(bits))
    start = np.asarray(vector)[used]
    names = _names(space)
    size = len(used)
    return Objective(
        EngineNll(engine, scales, bits, vector, jnp.asarray(used), target, critic),
        tuple(names[i] for i in used),
        start,
        np.full(size, -EXTREME),
        np.full(size, EXTREME),
        _idle(space, np.asarray(bits), prior=target == "posterior")[used],
        np.zeros(size),
        np.full(size, 1.0 if target == "posterior" else np.inf),
    )


def model_point(objective: Objective, x: ArrayLike) -> ModelPoint:
    """The model of a vector of an objective made by `objective_of_engine`.

    Raises:
        ConfigError: the objective was made otherwise.
    """
    nll: Any = objective.nll
    if not isinstance(nll, EngineNll):
        raise ConfigError(
            f"the objective is of {type(nll).__name__}, wanted one of `objective_of_engine`"
        )
    return nll.point(jnp.asarray(x, dtype=jnp.float64))


def _names(space: ModelSpace) -> list[str]:
    channels = (":".join(map(str, (m, d, *sm))) for m, d, sm in space.channels)
    return [
        *(f"mass:{pid}" for pid in space.pdg_ids),
        *(f"branching:{text}" for text in channels),
        *(f"strength:{a}:{b}" for a, b in space.productions),
    ]


def _idle(space: ModelSpace, bits: np.ndarray, *, prior: bool) -> np.ndarray:
    """Coordinates in use that change nothing, or only together with others."""
    idle = np.zeros(bits.shape, dtype=bool)
    channels = np.flatnonzero(bits[layout(space).branching])
    parents = np.asarray(space.channel_parent)[channels]
    first = layout(space).branching.start
    for parent in np.unique(parents):
        own = channels[parents == parent]
        if len(own) == 1 or not prior:
            idle[first + own[0]] = True
    return idle


@eqx.filter_jit
def _coordinates(
    space: ModelSpace, point: ModelPoint, widths: Widths
) -> tuple[Array, Array, ModelPoint, Array]:
    """Bits and vector of a point, the point made of these, and whether that is allowed."""
    bits, vector = from_model(space, point, widths)
    made = to_model(space, bits, vector, widths)
    return bits, vector, made, kinematically_allowed(space, bits, made)


def _check(space: ModelSpace, given: ModelPoint, made: ModelPoint, allowed: bool) -> None:
    """Raise unless the point is allowed and its coordinates give it back."""
    active = np.asarray(given.active)
    wanted, found = (np.asarray(p.masses)[active] for p in (given, made))
    off = np.abs(found - wanted) > REPRODUCED * wanted
    if off.any():
        i = int(np.flatnonzero(off)[0])
        pid = space.pdg_ids[np.flatnonzero(active)[i]]
        raise ModelPointError(
            f"particle {pid} has mass {wanted[i]:g} GeV, the coordinates give {found[i]:g} GeV: "
            "masses must be in canonical order above the LBP, gaps at least `smallest_gap`, the "
            "LBP below `largest_lbp` of `Widths`"
        )
    if not allowed:
        raise ModelPointError(
            "the model point is outside of the mass region of protomodels, or a channel with a "
            "branching ratio is closed; see `jaxlik.physics.kinematics.mass_margins`"
        )
