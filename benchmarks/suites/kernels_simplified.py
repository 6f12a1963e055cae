"""Simplified likelihoods of 22 and 40 regions, linear and skewed: profiles, slopes, limits.

Those of CMS-SUS-20-004 (22 regions, with third moments) and CMS-SUS-19-006 (40, without), as
the embedded database has them. Signals are a tenth of the background times a random number.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.batch_sizes import batched
from benchmarks.harness import Floor, Options
from benchmarks.kernel import Kernel, PeerFor
from benchmarks.kernel_peers import IN_TURN, PROGRAMS, Problem, in_turn
from jaxlik.database.compile import open_embedded
from jaxlik.database.records import CovarianceRecord
from jaxlik.inference.bank_mle import best_mu
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.bank import StatModelBank, make_banks
from jaxlik.statmodels.build import build

CHUNK, CHUNK_GPU = 2000, 100_000
"""Signals side by side."""

DOUBLE = 8
"""Bytes of a number."""

REGION_OPERATIONS = 20
"""Per region and profile: a logarithm, two quotients, sums."""

BEST_PROFILES, LIMIT_PROFILES = 2, 6
"""Profiles without which there is no best mu (at a guess and at the answer) and no limit (best mu
and one tested mu, on data and Asimov data, and the fit that makes the latter)."""


class Case(NamedTuple):
    """One likelihood.

    Attributes:
        folder: Result of the embedded database.
        skewed: Whether third moments are used.
        peers: That can do it.
        peers_quick: Those of a quick run.
    """

    folder: str
    skewed: bool
    peers: tuple[str, ...]
    peers_quick: tuple[str, ...]


CASES = (
    Case("CMS-SUS-20-004-eff", False, ("SModelS", "spey", "pyhf", "iminuit"),
         ("SModelS", "spey", "iminuit")),
    Case("CMS-SUS-19-006-agg", False, ("SModelS", "spey", "iminuit"), ("SModelS",)),
    Case("CMS-SUS-20-004-eff", True, ("SModelS", "spey"), ("SModelS",)),
)  # fmt: skip


def record_of(case: Case) -> CovarianceRecord:
    """What the database has, with or without its third moments."""
    found = open_embedded().result(case.folder).covariance
    assert found is not None
    moments = found.third_moments if case.skewed else None
    return CovarianceRecord(
        case.folder, found.region_ids, found.observed, found.background, found.covariance, moments
    )


def random_signals(record: CovarianceRecord, size: int, seed: int = 0) -> np.ndarray:
    """Signals with axes ``signal region``."""
    rng = np.random.default_rng([3, seed, size])
    return 0.1 * record.background * rng.uniform(0, 2, (size, len(record.background)))


def questions(model: Any, options: Options) -> dict[str, Callable[[Any, jax.Array], Any]]:
    """Functions of a prepared bank or model and of one signal.

    Args:
        model: Built from a record.
        options: Which device: accelerators profile all models of a bank side by side.
    """
    one, sequential = jnp.ones(1), options.device == "cpu"

    def value(shared: tuple[StatModelBank, Any], signal: jax.Array) -> jax.Array:
        bank = shared[0]
        return bank.profile(one, signal[None], sequential=sequential).twice_nll[0, 0]

    def best(shared: tuple[StatModelBank, Any], signal: jax.Array) -> jax.Array:
        return best_mu(shared[0], signal[None]).mu_hat[0]

    def best_skewed(shared: tuple[StatModelBank, Any], signal: jax.Array) -> jax.Array:
        return fit_mu(lambda mu: shared[1].profiled_twice_nll(mu, signal)).mu_hat

    def limit(shared: tuple[StatModelBank, Any], signal: jax.Array) -> jax.Array:
        return find_upper_limit(*likelihood_pair(shared[1], signal)).mu

    return {
        "value": value,
        "slope": jax.value_and_grad(value, argnums=1),
        "best": best if model.curvature is None else best_skewed,
        "limit": limit,
    }


def floors(regions: int) -> dict[str, Floor]:
    """Of each question: the signal read, and an optimum at least verified once per profile."""
    profile = 2 * regions**2 + REGION_OPERATIONS * regions
    read = DOUBLE * regions
    return {
        "value": Floor(read + DOUBLE, profile),
        "slope": Floor(2 * read + DOUBLE, profile + regions),
        "best": Floor(read + DOUBLE, BEST_PROFILES * profile),
        "limit": Floor(read + DOUBLE, LIMIT_PROFILES * profile),
    }


TITLES = {
    "value": "-2 ln L at mu = 1, profiled",
    "slope": "-2 ln L and its slope in every signal",
    "best": "best mu",
    "limit": "observed limit",
}

LARGEST = {"value": 10**6, "slope": 10**5, "best": 10**5, "limit": 10**4}
SIZES_QUICK = {"value": (1, 1000), "slope": (1, 1000), "best": (1, 1000), "limit": (1, 100)}
LARGEST_GPU = {"value": 10**6, "slope": 10**6, "best": 10**6, "limit": 10**5}


def peers_of(names: tuple[str, ...], record: CovarianceRecord, question: str) -> dict[str, PeerFor]:
    """Those programs that answer a question about this likelihood."""
    silent = {"pyhf": ("limit", "slope"), "iminuit": ("limit", "slope")}

    def answers_of(name: str) -> Callable[[Any], list[dict]]:
        def answers(signals: Any) -> list[dict]:
            return [
                PROGRAMS[name](
                    Problem(
                        np.asarray(signal),
                        record.observed,
                        record.background,
                        record.covariance,
                        record.third_moments,
                    )
                )
                for signal in signals[:IN_TURN]
            ]

        return answers

    return {
        name: in_turn(answers_of(name), question)
        for name in names
        if question not in silent.get(name, ("slope",))
    }


def kernels(options: Options) -> Iterator[Kernel]:
    """Questions about simplified likelihoods; a quick run asks everything about one only."""
    chunk = CHUNK_GPU if options.device == "gpu" else CHUNK
    for number, case in enumerate(CASES):
        record = record_of(case)
        model = build(record)
        (bank,) = make_banks([model])  # type: ignore[list-item]
        size = len(record.background)
        kind = "skewed" if case.skewed else "linear"
        names = case.peers_quick if options.quick else case.peers
        for question, fn in questions(model, options).items():
            if options.quick and number and question in ("slope", "limit"):
                continue

            def signals(size: int, record: CovarianceRecord = record) -> jax.Array:
                return jnp.asarray(random_signals(record, size, options.seed))

            yield Kernel(
                f"simplified, {size} regions, {kind}: {TITLES[question]}",
                batched(fn, chunk),
                (bank, model),
                signals,
                floors(size)[question],
                LARGEST[question],
                SIZES_QUICK[question],
                LARGEST_GPU[question],
                peers_of(names, record, question),
            )
