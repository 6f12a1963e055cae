"""A toy score for walkers: a hidden stop and squark."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.physics.kinematics import existing_productions
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import log_prior, smooth_log_prior
from jaxlik.typing import Array, Bool, Float, Scalar
from walkers.target import AbstractTarget, Outcome

HIDDEN = {1000006: 1166.0, 1000001: 735.0}
"""Masses of the hidden particles in GeV."""

WANTED = np.array([3.0, np.sqrt(11.0)])
"""Square roots of the largest gain of each."""

BEST_SCORE = 20 - 3 - 0.5


class ToyTarget(AbstractTarget):
    """A hidden stop and squark of given masses and rates.

    mu is profiled, so that the score is invariant under kappa -> c kappa but for the
    prior. The best K is that of all signal: 20 - 3 (particles) - 0.5 (kappas).
    """

    space: ModelSpace
    num_candidates: int = eqx.field(static=True, default=2)
    limit: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=8)

    def _outcome(self, point: ModelPoint, excluded: Bool[Array, " 2"]) -> tuple[Scalar, Outcome]:
        used = jnp.where(excluded, 0.0, 1.0)
        signal, depth = [], []
        for pid, mass in HIDDEN.items():
            number, mode = self.space.particle_index(pid), self.space.production_index(-pid, pid)
            exists = existing_productions(self.space, point)[mode]
            lbp = point.masses[self.space.lbp]
            distance = ((point.masses[number] - mass) / 300) ** 2 + ((lbp - 163) / 200) ** 2
            signal.append(jnp.where(exists, point.signal_strengths[mode], 0.0))
            depth.append(jnp.exp(-0.5 * distance))
        signal, depth = used * jnp.stack(signal), jnp.stack(depth)
        power = jnp.sum(signal**2)
        seen = power > 1e-12
        mu = jnp.where(seen, jnp.sum(signal * WANTED) / jnp.where(seen, power, 1.0), 0.0)
        z_squared = jnp.sum(used * depth * (WANTED**2 - (WANTED - mu * signal) ** 2))
        z_squared = jnp.maximum(z_squared, 0.0)
        production = jnp.broadcast_to(point.signal_strengths[:, None], (50, 2))
        prior = log_prior(self.space, point, production).log_prior
        smooth = smooth_log_prior(self.space, point, production).log_prior
        count = jnp.sum(point.active).astype(jnp.int32)
        outcome = Outcome(
            jnp.where(seen, z_squared + 2 * prior, -jnp.inf),
            z_squared,
            mu,
            jnp.max(signal),
            prior,
            count > self.limit,
            signal > 0,
            jnp.full(9, count),
        )
        return z_squared + 2 * smooth, outcome

    def __call__(self, point: ModelPoint, excluded: Bool[Array, " 2"]) -> Outcome:
        return self._outcome(point, excluded)[1]

    def smooth(self, point: ModelPoint) -> tuple[Scalar, Outcome]:
        return self._outcome(point, jnp.zeros(2, dtype=bool))

    def enlarged(self, demand: tuple[int, ...]) -> "ToyTarget":
        return eqx.tree_at(lambda t: t.limit, self, jnp.maximum(self.limit, max(demand)))

    @property
    def sizes(self) -> tuple[int, ...]:
        return (int(self.limit),) * 9
