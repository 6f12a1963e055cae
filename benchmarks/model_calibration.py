"""The sampler on the likelihoods of a database: does it know the data it is given?

Four tests on a small model space (`benchmarks.small_space`): the engine, the moves and the target
are those of `python -m jaxlik.fit sample`, data are simulated from models drawn from the prior.
Keys are fixed; each false alarm has the probability 1e-3.

- ``geweke``: counts and models, renewed in turn from exact joint draws, must leave the prior
  and the likelihood of the data as they are.
- ``broken``: kernels with a planted mistake must fail that test, and the next.
- ``sbc``: a model must rank uniformly in a chain on its own data (`benchmarks.model_ranks`). The
  model stands at a random place of the chain, which goes forwards from there and, with the
  reversed kernel, backwards. It is a draw of that posterior, so that a right kernel gives uniform
  ranks however slowly it mixes.
- ``bayes-factor``: on data of the Standard Model the mean Bayes factor is one
  (`benchmarks.model_factors`).

    python -m benchmarks.model_calibration [--test geweke|broken|sbc|bayes-factor|all]

References:
    J. Geweke, J. Am. Stat. Assoc. 99 (2004) 799.
    S. Talts et al., arXiv:1804.06788: ranks.
    J. Besag, P. Clifford, Biometrika 76 (1989) 633: both directions of time.
    A. Gandy, J. Scott, arXiv:2001.06465: tests of samplers by such ranks.
"""

import argparse
import sys
import time
from typing import Any

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from benchmarks.model_factors import BOUNDS, mean_factors, p_value  # noqa: E402
from benchmarks.model_ranks import NARROW, rank_test  # noqa: E402
from benchmarks.small_space import (  # noqa: E402
    forgetful,
    in_groups,
    joint_draws,
    renewed,
    small_kernel,
    swept,
    with_way_back,
)
from walkers.posterior.kernel import Kernel  # noqa: E402
from walkers.posterior.target import ChainState  # noqa: E402

ALARM = 1e-3
BROKEN = 1e-6
"""Largest p-value of a kernel with a mistake."""

MISTAKES = {"density of coordinates": "density", "probability of fittings": "fittings"}
"""What births forget, and its name in `forgetful`."""


def quantities(target: Any, state: ChainState) -> np.ndarray:
    """Functions of models and data, a column for each."""
    bits, vector = np.asarray(state.bits), np.asarray(state.vector)
    used = np.where(bits, vector, 0.0)
    columns = (
        bits.sum(axis=1),
        used.sum(axis=1),
        (used**2).sum(axis=1),
        used[:, target.space.lbp],
        np.asarray(state.log_likelihood),
    )
    return np.stack(columns, axis=1).astype(float)


def cycled(kernel: Kernel, count: int, num_cycles: int, label: str) -> np.ndarray:
    """Quantities while model and data are renewed in turn, from joint draws of both.

    Axes: chain; start and cycles; quantity.
    """
    target: Any = kernel.target
    counts, states = joint_draws(target, count, 5, f"{label}, starts")
    data, walk = jax.random.split(jax.random.key(2))
    one, forth = jnp.asarray(1), jnp.asarray(False)

    def work(group: np.ndarray) -> np.ndarray:
        chains = jnp.asarray(group)
        observed, state = jax.tree.map(lambda leaf: jnp.asarray(leaf[group]), (counts, states))
        found = [quantities(target, state)]
        for cycle in range(num_cycles):
            step = jnp.asarray(cycle)
            if cycle:
                observed, state = renewed(data, target, chains, step, state.bits, state.vector)
            state = swept(walk, kernel, chains, observed, state, step, one, forth)
            found.append(quantities(target, state))
        return np.stack(found, axis=1)

    return in_groups(work, count, label)


def geweke(found: np.ndarray, reference: np.ndarray) -> float:
    """Smallest p-value of chains against independent draws, times the number of tests.

    Of every quantity the last values of all chains (Kolmogorov-Smirnov), and how far its rank among
    the independent draws, which has no tails, moves away from where each chain starts (z test of
    averages over chains: that starts are few is then no part of the error).

    Args:
        found: From `cycled`.
        reference: Of independent draws.
    """
    values = []
    for column, fresh in zip(np.moveaxis(found, 2, 0), reference.T, strict=True):
        values.append(stats.ks_2samp(column[:, -1], fresh, method="asymp")[1])
        fresh = np.sort(fresh)
        below, up_to = (np.searchsorted(fresh, column, side) for side in ("left", "right"))
        ranks = (below + up_to) / (2 * len(fresh))
        moved = ranks[:, 1:].mean(axis=1) - ranks[:, 0]
        values.append(stats.ttest_1samp(moved, 0.0)[1])
    return float(min(1.0, min(values) * len(values)))


class Tests:
    """The tests, on one kernel that is compiled once; each says whether it is passed."""

    def __init__(self, prior: str, options: argparse.Namespace):
        """Assemble the kernel."""
        self.options = options
        self.kernel = with_way_back(small_kernel(prior))
        self._reference: np.ndarray | None = None

    def reference(self) -> np.ndarray:
        """Quantities of independent draws of models and data."""
        if self._reference is None:
            target: Any = self.kernel.target
            _, states = joint_draws(target, self.options.fresh, 6, "independent draws")
            self._reference = quantities(target, states)
            seen = np.mean(states.log_likelihood != 0)
            print(f"{len(self._reference)} draws of the prior; data say something about {seen:.1%}")
        return self._reference

    def geweke(self) -> bool:
        """The right kernel must pass."""
        options = self.options
        reference = self.reference()
        right = forgetful(self.kernel)
        value = geweke(cycled(right, options.chains, options.cycles, "Geweke"), reference)
        return passed("Geweke", value)

    def sbc(self) -> bool:
        """The right kernel must pass."""
        options = self.options
        right = forgetful(self.kernel)
        found = rank_test(right, options.sets, options.draws, "ranks")
        print(
            f"{options.sets} data sets; {found.moved:.0%} of all draws differ from the truth, "
            f"{found.moved_narrow:.0%} in the {found.num_narrow} with ln(L/L_SM) > {NARROW:g}"
        )
        return passed("ranks of models in chains on their data", found.p_value)

    def broken(self) -> bool:
        """Kernels with a mistake must fail both tests, which are smaller here."""
        options = self.options
        reference, good = self.reference(), True
        for mistake, name in MISTAKES.items():
            wrong = forgetful(self.kernel, **{name: 0.0})
            found = cycled(wrong, options.chains // 2, options.cycles, f"Geweke, {name}")
            good &= failed(f"Geweke, {mistake} forgotten", geweke(found, reference))
            ranks = rank_test(wrong, options.sets // 2, options.draws, f"ranks, {name}")
            good &= failed(f"ranks, {mistake} forgotten", ranks.p_value)
        return good

    def bayes_factor(self) -> bool:
        """A mean of one, but not for the combination that the data like best."""
        options = self.options
        found = mean_factors(self.kernel.target, options.models, options.experiments)
        (mean, error), (chosen, its_error) = found.unsignalled, found.by_data
        print(
            f"mean Bayes factor without signal {mean:.4f} ± {error:.4f} (± {found.spread:.4f} from "
            f"the data sets); if data choose the combination {chosen:.3f} ± {its_error:.3f}"
        )
        shares = (
            f"{share:.4f} above {bound:g}" for share, bound in zip(found.above, BOUNDS, strict=True)
        )
        print(f"shares of Bayes factors: {', '.join(shares)}")
        print(f"truth less probability: {found.balance[0]:+.4f} ± {found.balance[1]:.4f}")
        good = passed("mean Bayes factor of one", p_value(found.unsignalled, 1.0))
        good &= passed("truth as often as probable", p_value(found.balance, 0.0))
        return good & failed("mean of one by choice of the data", p_value(found.by_data, 1.0))


def passed(name: str, value: float) -> bool:
    """Print the verdict on what is right."""
    good = value >= ALARM
    print(f"{name}: p = {value:.3g} (alarm below {ALARM:g}): {'passed' if good else 'FAILED'}")
    return good


def failed(name: str, value: float) -> bool:
    """Print the verdict on what is wrong."""
    good = value < BROKEN
    print(f"{name}: p = {value:.3g} (wanted below {BROKEN:g}): {'found' if good else 'MISSED'}")
    return good


def main() -> int:
    """Print p-values; exit code 1 if a test fails."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0] if lines else None)
    names = ("geweke", "broken", "sbc", "bayes-factor")
    parser.add_argument("--test", choices=(*names, "all"), default="geweke")
    parser.add_argument(
        "--prior",
        choices=("count", "protomodels"),
        help="of contents; by default count for geweke alone, else protomodels, under which "
        "more models are seen by some result",
    )
    parser.add_argument("--chains", type=int, default=240, help="of Geweke's test")
    parser.add_argument("--cycles", type=int, default=24, help="of each chain")
    parser.add_argument("--fresh", type=int, default=4000, help="independent draws to compare with")
    parser.add_argument("--sets", type=int, default=240, help="data sets with ranks")
    parser.add_argument("--draws", type=int, default=11, help="of each chain beside the truth")
    parser.add_argument("--models", type=int, default=400, help="behind each Bayes factor")
    parser.add_argument("--experiments", type=int, default=4000, help="without signal")
    options = parser.parse_args()
    prior = options.prior or ("count" if options.test == "geweke" else "protomodels")
    tests = Tests(prior, options)
    good = True
    for name in names if options.test == "all" else (options.test,):
        start = time.perf_counter()
        good &= getattr(tests, name.replace("-", "_"))()
        print(f"{name}, prior {prior}: {time.perf_counter() - start:.0f} s", flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
