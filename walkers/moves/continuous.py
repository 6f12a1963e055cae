"""Masses, branching ratios and signal strengths change at fixed content."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from jaxlik.physics.kinematics import branching_sums, existing_productions, open_channels
from jaxlik.physics.model import ModelPoint
from jaxlik.typing import Array, Bool, Float, Key, Scalar
from walkers.moves.base import AbstractMove
from walkers.moves.settle import (
    Draft,
    highest_masses,
    lowest_masses,
    pick,
)

SMALLEST_STEP, LARGEST_STEP = 2.0, 400.0
"""GeV; scales of mass steps, drawn log-uniformly: K has structure on all of them."""

NEAR = 20.0
"""GeV; how far from another particle an aligned mass may lie."""


class Mass(AbstractMove):
    """One particle, the LBP included, changes its mass.

    A Gaussian step of log-uniform scale; with probability 1/10 a uniform jump, 1/10 a
    mass within `NEAR` of another particle. With probability 1/2 the rates of all
    productions are kept, by signal strengths.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """There is more than the LBP."""
        return jnp.sum(point.active) > 1

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one mass changed."""
        uniform = jax.random.uniform(key, (7,))
        number = pick(uniform[0], point.active)
        low = lowest_masses(self.space, point)[number]
        high = highest_masses(self.space, point)[number]
        step = point.masses[number] + _mass_scale(uniform[1]) * ndtri(uniform[2])
        anchor = point.masses[pick(uniform[3], point.active.at[number].set(False))]
        near = anchor + NEAR * (2 * uniform[4] - 1)
        jump = low + (high - low) * uniform[4]
        mode = uniform[5]
        new = jnp.where(mode < 0.1, jump, jnp.where(mode < 0.2, near, step))
        masses = point.masses.at[number].set(_reflected(new, low, high))
        return _with_masses(self, uniform[6] < 0.5, point, masses, reference)


class Spectrum(AbstractMove):
    """Several masses move by the same amount: all of them, or each with probability 1/2."""

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """There is more than the LBP."""
        return jnp.sum(point.active) > 1

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with a part of its spectrum moved."""
        uniform = jax.random.uniform(key, (4 + self.space.num_particles,))
        part = point.active & ((uniform[4:] < 0.5) | (uniform[0] < 0.5))
        step = _mass_scale(uniform[1]) * ndtri(uniform[2])
        masses = jnp.where(part, point.masses + step, point.masses)
        return _with_masses(self, uniform[3] < 0.5, point, masses, reference)


class BranchingRatios(AbstractMove):
    """The branching ratios of one particle change.

    Of several used ones with probability 1/2 each gets a log-normal factor, with 1/4
    two of them become equal; else everything is drawn anew.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """Some mother has more than one open channel."""
        return jnp.any(self._flexible(point))

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with other branching ratios of one particle."""
        del reference
        space, old = self.space, point.branching_ratios
        uniform = jax.random.uniform(key, (5 + space.num_channels,))
        mother = pick(uniform[0], self._flexible(point))
        mine = space.channel_parent == mother
        mode = uniform[1]
        width = 10 ** (-2 * uniform[2])
        scaled = old * jnp.exp(width * ndtri(uniform[5:]))
        used = mine & (old > 0)
        first = pick(uniform[3], used)
        second = pick(uniform[4], used.at[first].set(False))
        mean = 0.5 * (old[first] + old[second])
        equal = old.at[first].set(mean).at[second].set(mean)
        # All zero asks for new ones.
        new = jnp.where(mode < 0.5, scaled, jnp.where(mode < 0.75, equal, 0.0))
        new = jnp.where(jnp.sum(used) > 1, new, 0.0)
        new = jnp.where(mine, new, 0.0)
        new = new / jnp.maximum(jnp.sum(new), 1e-30)
        fractions = jnp.where(mine, new, old)
        return self.draft(eqx.tree_at(lambda p: p.branching_ratios, point, fractions))

    def _flexible(self, point: ModelPoint) -> Bool[Array, " particle"]:
        is_open = open_channels(self.space, point).astype(point.branching_ratios.dtype)
        return branching_sums(self.space, is_open) > 1


class ParticleStrengths(AbstractMove):
    """All signal strengths of one particle change by the same factor."""

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """Not every production involves the same particle: a common factor is profiled."""
        return jnp.any(self._partial(point))

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one particle produced more or less often."""
        del reference
        uniform = jax.random.uniform(key, (3,))
        number = pick(uniform[0], self._partial(point))
        mine = jnp.any(self.space.production_pair == number, axis=1)
        factor = jnp.where(mine, _scale(uniform[1], uniform[2]), 1.0)
        return _with_strengths(self, point, factor * point.signal_strengths)

    def _partial(self, point: ModelPoint) -> Bool[Array, " particle"]:
        """Particles that take part in some productions and not in others."""
        on = existing_productions(self.space, point) & (point.signal_strengths > 0)
        numbers = jnp.arange(self.space.num_particles)
        involved = jnp.any(self.space.production_pair[None] == numbers[:, None, None], axis=-1)
        return jnp.any(involved & on[None], axis=1) & jnp.any(~involved & on[None], axis=1)


class ProductionStrength(AbstractMove):
    """One signal strength changes.

    With probability 0.4 by a log-normal factor (from 1 where it was off), 0.2 it is
    switched off, 0.2 set equal to another one, 0.1 set to 1; 0.1 all become equal.
    Charge conjugate modes change together with probability 1/2.
    """

    def possible(self, point: ModelPoint) -> Bool[Array, ""]:
        """More than one production exists; the common factor is profiled."""
        return jnp.sum(existing_productions(self.space, point)) > 1

    def propose(
        self, key: Key[Array, ""], point: ModelPoint, reference: Float[Array, " production"]
    ) -> Draft:
        """Suggest the model with one signal strength changed."""
        del reference
        uniform = jax.random.uniform(key, (6,))
        old = point.signal_strengths
        exists = existing_productions(self.space, point)
        number = pick(uniform[0], exists)
        partner = pick(uniform[1], exists.at[number].set(False))
        pair = jnp.sort(self.space.production_pair, axis=1)
        twins = jnp.all(pair == pair[number][None], axis=1)
        chosen = jnp.where(uniform[2] < 0.5, twins, jnp.arange(old.shape[0]) == number)
        mode = uniform[3]
        base = jnp.where(old[number] > 0, old[number], 1.0)
        value = base * _scale(uniform[4], uniform[5])
        value = jnp.where(mode < 0.6, 0.0, value)
        value = jnp.where(mode < 0.4, old[partner], value)
        value = jnp.where(mode < 0.2, 1.0, value)
        chosen = jnp.where(mode < 0.1, exists & (old > 0), chosen)
        value = jnp.where(mode < 0.1, base, value)
        return _with_strengths(self, point, jnp.where(chosen, value, old))


def _mass_scale(uniform: Scalar) -> Scalar:
    """A log-uniform scale in GeV."""
    return SMALLEST_STEP * (LARGEST_STEP / SMALLEST_STEP) ** uniform


def _reflected(value: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Value mirrored once at either end, then clipped."""
    value = jnp.where(value < low, 2 * low - value, value)
    value = jnp.where(value > high, 2 * high - value, value)
    return jnp.clip(value, low, high)


def _scale(first: Scalar, second: Scalar) -> Scalar:
    """Log-normal factor of log-uniform width between 0.02 and 2."""
    return jnp.exp(0.02 * 100**first * ndtri(second))


def _with_masses(
    move: AbstractMove,
    keep_rates: Bool[Array, ""],
    point: ModelPoint,
    masses: Float[Array, " particle"],
    reference: Float[Array, " production"],
) -> Draft:
    """The model with other masses, signal strengths or rates kept."""
    rated = existing_productions(move.space, point) & (reference > 0) & keep_rates
    strengths = jnp.where(rated, reference, 1.0) * point.signal_strengths
    changed = eqx.tree_at(lambda p: (p.masses, p.signal_strengths), point, (masses, strengths))
    return Draft(changed, rated, jnp.asarray(True))


def _with_strengths(
    move: AbstractMove, point: ModelPoint, strengths: Float[Array, " production"]
) -> Draft:
    """The model with other signal strengths; one production at least stays on."""
    changed = eqx.tree_at(lambda p: p.signal_strengths, point, strengths)
    on = jnp.any(existing_productions(move.space, point) & (strengths > 0))
    return move.draft(changed)._replace(valid=on)
