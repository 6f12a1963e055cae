r"""The No-U-Turn sampler of numpyro as a kernel at fixed content.

numpyro moves the guide's density g; where guide and likelihood differ, its end point y faces
a second test,

$$ a = \min\left[1, \frac{\pi(y)\, g(x)}{\pi(x)\, g(y)}\right], $$

which is exact because transitions of NUTS are reversible: the tree is as probable from each
of its points, and of any two the draw within it prefers neither but for their densities.

Bits are arguments of the potential, not constants in it: all contents share one program.

References:
    M. D. Hoffman, A. Gelman, J. Mach. Learn. Res. 15 (2014) 1593.
    M. Betancourt, arXiv:1701.02434, appendix A: multinomial and biased progressive draws.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from numpyro.infer.hmc import hmc

from jaxlik.typing import Array, Bool, Float, Key, Scalar
from walkers.posterior.moves import Candidate
from walkers.posterior.target import AbstractProductTarget, ChainState
from walkers.posterior.trajectories import AbstractTrajectory, Flight, Tuning


class NUTS(AbstractTrajectory):
    """Trajectories that stop before they turn back.

    Works under `jax.vmap` and in `jax.lax.scan` (numpyro 0.22, tested); chains side by side
    then all wait for the longest trajectory, so that `HMC` and `GIST` of fixed length serve
    many chains better. Step size and metric are not adapted here.

    Coordinates not in use take part with the density N(0, 1) and values of their own, drawn
    anew and dropped afterwards: a fixed number of coordinates, none of which disturbs the turning
    criterion as one without a force would.

    Attributes:
        max_depth: At most two to this power leapfrogs.
    """

    max_depth: int = eqx.field(static=True, default=6)
    target_statistic: float = eqx.field(static=True, default=0.8)

    def flight(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        tuning: Tuning,
    ) -> Flight:
        """One trajectory with the guide's density; the second test comes later."""
        rest, walk = jax.random.split(key)
        used = target.in_use(state.bits)
        noise = jax.random.normal(rest, state.vector.shape, state.vector.dtype)
        start = jnp.where(used, state.vector, noise)

        def potential_of(bits: Bool[Array, " bit"]):
            def potential_fn(vector: Float[Array, " parameter"]) -> Scalar:
                return 0.5 * jnp.sum(vector**2) - target.guide(bits, vector)

            return potential_fn

        init_fn, sample_fn = hmc(potential_fn_gen=potential_of, algo="NUTS")
        begin = init_fn(
            start,
            num_warmup=0,
            step_size=tuning.step_size,  # type: ignore[reportArgumentType]
            inverse_mass_matrix=jnp.where(used, tuning.inverse_mass, 1.0),
            adapt_step_size=False,
            adapt_mass_matrix=False,
            max_tree_depth=self.max_depth,
            model_args=(state.bits,),
            rng_key=walk,
        )
        end = sample_fn(begin, model_args=(state.bits,))
        vector = jnp.where(used, end.z, state.vector)
        # What decides multiplies by the true densities; those that NUTS has obeyed are divided by.
        change = _log_guide(begin.z, begin.potential_energy, used)
        change = change - _log_guide(end.z, end.potential_energy, used)
        candidate = Candidate(state.bits, vector, change)
        return Flight(candidate, end.accept_prob, end.num_steps.astype(jnp.int32) + 1)


def _log_guide(
    vector: Float[Array, " parameter"], potential: Scalar, used: Bool[Array, " parameter"]
) -> Scalar:
    """Ln g of the coordinates in use, from the potential of all."""
    return 0.5 * jnp.sum(jnp.where(used, 0.0, vector**2)) - potential
