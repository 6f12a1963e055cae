"""Deliberate mistakes that the tests must catch."""

import jax.numpy as jnp
from toys import GaussianToy

from walkers.posterior.proposals import AbstractDensity


class Forgetful(AbstractDensity):
    """A proposal whose density is left out of the acceptance."""

    inner: AbstractDensity

    def sample(self, key, vector, which):
        return self.inner.sample(key, vector, which)

    def log_density(self, vector, which):
        return jnp.zeros(())


class Narrower(Forgetful):
    """Births at a quarter of the scale that the acceptance believes in."""

    def sample(self, key, vector, which):
        return jnp.where(which, 0.25 * self.inner.sample(key, vector, which), vector)

    def log_density(self, vector, which):
        return self.inner.log_density(vector, which)


class NoPrior(GaussianToy):
    """The prior of the coordinates cancelled."""

    def log_likelihood(self, bits, vector):
        squares = jnp.sum(jnp.where(self.in_use(bits), vector**2, 0.0))
        return super().log_likelihood(bits, vector) + 0.5 * squares
