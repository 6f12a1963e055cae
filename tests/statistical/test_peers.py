"""An independent sampler finds the same contents (T7): numpyro's mixed Gibbs and NUTS.

|z| < 4 for every bit and every content with p > 0.01, errors of both samplers included;
false alarm about 10^-3, keys fixed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, DiscreteHMCGibbs
from test_chains import batch_error, starts
from toys import PRICE, content_index, exact_answer, gaussian_toy

from walkers.posterior.kernel import run_chains, standard_kernel
from walkers.posterior.warmup import warm_up

pytestmark = [pytest.mark.statistical, pytest.mark.slow]


def test_numpyro_finds_the_same_contents():
    toy = gaussian_toy()
    answer = exact_answer(toy)

    def model():
        on = jax.nn.sigmoid(-PRICE)
        bits = jnp.stack(
            [numpyro.sample(f"bit {i}", dist.Bernoulli(on)) for i in range(toy.num_bits)]
        )
        vector = numpyro.sample("vector", dist.Normal(0.0, 1.0).expand([toy.num_parameters]))
        mean = toy.matrix @ jnp.where(bits[toy.block] > 0, vector, 0.0)
        numpyro.sample("data", dist.Normal(mean, 1.0), obs=toy.data)

    sampler = MCMC(
        DiscreteHMCGibbs(NUTS(model), modified=True),
        num_warmup=500,
        num_samples=5000,
        num_chains=4,
        chain_method=jax.vmap,
        progress_bar=False,
    )
    sampler.run(jax.random.key(0))
    found = sampler.get_samples(group_by_chain=True)
    theirs = np.stack([np.asarray(found[f"bit {i}"]) for i in range(toy.num_bits)], axis=2) > 0

    kernel = standard_kernel(toy, toy.block)
    warm = warm_up(jax.random.key(0), kernel, starts(toy, answer), num_rounds=3)
    _, draws, _ = run_chains(
        jax.random.key(0), warm.kernel, warm.states, num_draws=4000, thin=2,
        first_sweep=warm.num_sweeps,
    )  # fmt: skip
    ours = np.asarray(draws.bits)
    compared = [(ours[..., i], theirs[..., i]) for i in range(toy.num_bits)]
    compared += [
        (content_index(ours) == content, content_index(theirs) == content)
        for content in np.flatnonzero(answer.probabilities > 0.01)
    ]
    for first, second in compared:
        error = np.hypot(batch_error(first.astype(float)), batch_error(second.astype(float)))
        assert abs(first.mean() - second.mean()) < 4 * error
