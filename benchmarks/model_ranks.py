r"""Ranks of models in chains on their own data.

A model $\theta$ from the prior and data D from $p(D|\theta)$ make $\theta$ a draw of the posterior
of D. Put it at a place m of a chain $X_0 ... X_L$, with m uniform, and let the chain go forwards
from it with the kernel and backwards with the time-reversed one: given D, this is a stationary
chain whatever m is. Hence the rank of $X_m$ in any quantity, with equals in random order, is
uniform from 0 to L, if the kernel is right. That it mixes is not assumed; if it mixes badly a
mistake is merely harder to find.

References:
    J. Besag, P. Clifford, Biometrika 76 (1989) 633, section 2: the serial method.
    A. Gandy, J. Scott, arXiv:2001.06465. M. Modrak et al., arXiv:2211.02383: the likelihood
    among the quantities.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.small_space import in_groups, joint_draws, swept
from jaxlik.typing import Float, Int
from walkers.posterior.kernel import Kernel
from walkers.posterior.target import ChainState

ROUNDS = 1
"""Times that a chain goes through its whole schedule between kept draws: whole rounds only, so that
its law does not depend on the place of the truth."""


NARROW = 10.0
"""ln(L/L_SM) above which the posterior is taken to be a narrow place."""


LOG_LIKELIHOOD = 3
"""Its column among the ranked quantities."""


class Ranks(NamedTuple):
    """What ranks say, and how much they may see.

    Attributes:
        p_value: Smallest p-value of all tests, times their number.
        moved: Share of kept draws that differ from the truth.
        num_narrow: Data sets with a truth far above the Standard Model.
        moved_narrow: Share of kept draws that differ from the truth there.
    """

    p_value: float
    moved: float
    num_narrow: int
    moved_narrow: float


def ranked_quantities(target: Any, state: ChainState) -> np.ndarray:
    """Number of particles, coordinates, the likelihood, and each particle, a column for each."""
    bits, vector = np.asarray(state.bits), np.asarray(state.vector)
    space, used = target.space, np.where(bits, vector, 0.0)
    particles = bits[:, : space.num_particles]
    columns = (
        particles.sum(axis=1),
        (used**2).sum(axis=1),
        used[:, space.lbp],
        np.asarray(state.log_likelihood),
        *np.delete(particles, space.lbp, axis=1).T,
    )
    return np.stack(columns, axis=1).astype(float)


def rank_test(kernel: Kernel, num_sets: int, num_draws: int, label: str) -> Ranks:
    """Ranks of many models, each in a chain on its own data.

    Args:
        kernel: From `with_way_back`.
        num_sets: Data sets, each with its model.
        num_draws: Other draws of each chain.
        label: Of progress bars.
    """
    target: Any = kernel.target
    counts, states = joint_draws(target, num_sets, 7, f"{label}, truths")
    rng = np.random.default_rng(8)
    # In order, so that chains of a group have as many steps to go in each direction.
    place = np.sort(rng.integers(0, num_draws + 1, num_sets))
    keys = jax.random.split(jax.random.key(9))
    sweeps = jnp.asarray(ROUNDS * len(kernel.schedule) // 2)

    def work(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        observed, truth = jax.tree.map(lambda leaf: jnp.asarray(leaf[group]), (counts, states))
        before, after = place[group], num_draws - place[group]
        own, both = ranked_quantities(target, truth), []
        for key, steps, back in zip(keys, (before, after), (True, False), strict=True):
            state, found = truth, np.full((num_draws, *own.shape), np.nan)
            for step in range(steps.max()):
                first = jnp.asarray(step) * sweeps
                state = swept(
                    key, kernel, jnp.asarray(group), observed, state, first, sweeps,
                    jnp.asarray(back),
                )  # fmt: skip
                found[step] = ranked_quantities(target, state)
            found[np.arange(num_draws)[:, None] >= steps] = np.nan
            both.append(found)
        return own, np.concatenate(both).swapaxes(0, 1)

    exact, others = in_groups(work, num_sets, label)
    differ = np.any(others != exact[:, None], axis=2)[np.isfinite(others[..., 0])]
    differ = differ.reshape(num_sets, num_draws)
    narrow = exact[:, LOG_LIKELIHOOD] > NARROW
    return Ranks(
        uniform_p_value(random_ranks(exact, others, rng), num_draws, rng),
        float(differ.mean()),
        int(narrow.sum()),
        float(differ[narrow].mean()) if narrow.any() else float("nan"),
    )


def random_ranks(
    exact: Float[np.ndarray, "set quantity"],
    others: Float[np.ndarray, "set draw quantity"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "set quantity"]:
    """Ranks of the truth; those of equals are in random order, and `nan` is no draw."""
    below = np.sum(others < exact[:, None], axis=1)
    equal = np.sum(others == exact[:, None], axis=1)
    return below + rng.integers(0, equal + 1)


def uniform_p_value(
    ranks: Int[np.ndarray, "set quantity"], num_draws: int, rng: np.random.Generator
) -> float:
    """Smallest p-value of chi2 and Kolmogorov-Smirnov tests, times their number."""
    values = []
    for column in ranks.T:
        values.append(stats.chisquare(np.bincount(column, minlength=num_draws + 1)).pvalue)
        smooth = (column + rng.uniform(size=len(column))) / (num_draws + 1)
        values.append(stats.kstest(smooth, "uniform").pvalue)
    return float(min(1.0, min(values) * len(values)))
