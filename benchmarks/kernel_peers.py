"""Other programs on single regions and simplified likelihoods, one call at a time.

Every program is a function from a problem to answers: *value*, -2 ln L or ln L at mu = 1 with
nuisances profiled; *best*, the same where mu is best and not negative; *limit*, the observed
upper limit. What a program needs before it can answer (its own objects, made of our numbers)
is part of the call, because every call is about other numbers.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Contender
from benchmarks.kernel import PeerFor
from jaxlik.database.counting_workspace import counting_workspace
from jaxlik.interop.optional import require

EXTRA = "bench"
"""Of the package, which installs the peers."""

IN_TURN = 10
"""Elements of a batch that a peer works on, one after the other."""

WIDE = 3.0
"""The bracket that a peer's root search gets: our limit over and times this."""

Answer = Callable[[], Any]


class Problem(NamedTuple):
    """One signal on one analysis.

    Attributes:
        signal: Events at mu = 1, axis ``region``.
        observed: Observed events.
        background: Expected background events.
        covariance: Of the background [events^2].
        third_moments: Of the background [events^3]; `None` without.
    """

    signal: np.ndarray
    observed: np.ndarray
    background: np.ndarray
    covariance: np.ndarray
    third_moments: np.ndarray | None = None


def in_turn(answers_of: Callable[[Any], list[dict[str, Answer]]], question: str) -> PeerFor:
    """A peer that answers a question about the next element of the batch with every call."""

    def make(batch: Any) -> Contender:
        answers = itertools.cycle([answers[question] for answers in answers_of(batch)])
        return Contender(lambda: next(answers)(), compiles=False)

    return make


def region_peers(name: str) -> Callable[[Any], list[dict[str, Answer]]]:
    """From a batch of single regions to a program's answers about the first of them."""

    def answers(regions: Any) -> list[dict[str, Answer]]:
        rows = np.stack([np.asarray(column[:IN_TURN], float) for column in regions], axis=1)
        return [
            PROGRAMS[name](Problem(s[None], n[None], b[None], e[None, None] ** 2))
            for s, n, b, e in rows
        ]

    return answers


def smodels_answers(problem: Problem) -> dict[str, Answer]:
    """SModelS; single regions in its closed form."""
    statistics = require("smodels.statistics.simplifiedLikelihoods", extra=EXTRA)
    observed = require("smodels.statistics.basicStats", extra=EXTRA).observed

    def data() -> Any:
        return statistics.SLData(
            problem.observed,
            problem.background,
            problem.covariance,
            third_moment=problem.third_moments,
            nsignal=problem.signal,
            deltas_rel=0.0,
        )

    return {
        "value": lambda: 2 * statistics.SLLikelihoodComputer(data()).nll(1.0, observed),
        "best": lambda: statistics.SLLikelihoodComputer(data()).nll_min(observed),
        "limit": lambda: statistics.SLUpperLimitComputer(data()).getUpperLimitOnMu(observed),
    }


def spey_answers(problem: Problem) -> dict[str, Answer]:
    """The default backends of spey."""
    spey = require("spey", extra=EXTRA)
    shared = {
        "signal_yields": problem.signal,
        "background_yields": problem.background,
        "data": problem.observed,
        "analysis": "benchmark",
    }
    if len(problem.signal) == 1:
        name = "default.uncorrelated_background"
        shared["absolute_uncertainties"] = np.sqrt(np.diagonal(problem.covariance))
    else:
        name = "default.correlated_background"
        shared["covariance_matrix"] = problem.covariance
        if problem.third_moments is not None:
            name = "default.third_moment_expansion"
            shared["third_moment"] = problem.third_moments
    backend = spey.get_backend(name)
    return {
        "value": lambda: 2 * backend(**shared).likelihood(poi_test=1.0),
        "best": lambda: backend(**shared).maximize_likelihood(allow_negative_signal=False),
        "limit": lambda: backend(**shared).poi_upper_limit(),
    }


def pyhf_answers(problem: Problem) -> dict[str, Answer]:
    """NumPy and SLSQP of pyhf; the covariance as one histosys modifier per eigenvector."""
    import pyhf
    from pyhf.infer import hypotest, mle
    from scipy.optimize import toms748

    pyhf.set_backend("numpy", "scipy")
    document = workspace_of(problem)

    def prepared() -> tuple[Any, Any]:
        workspace = pyhf.Workspace(document)
        model = workspace.model()
        return model, workspace.data(model)

    def value() -> float:
        model, data = prepared()
        return float(mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)[1])

    def best() -> float:
        model, data = prepared()
        return float(mle.fit(data, model, return_fitted_val=True)[1])

    def limit() -> float:
        model, data = prepared()
        near = _our_limit(problem)

        def excess(mu: float) -> float:
            return float(np.asarray(hypotest(mu, data, model, test_stat="qtilde"))) - 0.05

        found: Any = toms748(excess, near / WIDE, near * WIDE, rtol=np.float64(1e-4))
        return float(found)

    return {"value": value, "best": best, "limit": limit}


def minuit_answers(problem: Problem) -> dict[str, Answer]:
    """Minuit on a linear -ln L in NumPy with its gradient, nuisances along eigenvectors."""
    minuit = require("iminuit", extra=EXTRA).Minuit
    root = root_of(problem.covariance)

    def nll(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        mu, nuisances = parameters[0], parameters[1:]
        rate = mu * problem.signal + problem.background + root @ nuisances
        if (rate <= 0).any():
            return np.inf, np.zeros_like(parameters)
        n = problem.observed
        logs = np.where(n > 0, n * np.log(rate / np.where(n > 0, n, 1.0)), 0.0)
        force = 1 - n / rate
        gradient = np.concatenate([[force @ problem.signal], root.T @ force + nuisances])
        return float(np.sum(rate - n - logs) + 0.5 * nuisances @ nuisances), gradient

    def fit(mu: float, *, fixed: bool) -> float:
        start = np.concatenate([[mu], np.zeros(root.shape[1])])
        search = minuit(lambda x: nll(x)[0], start, grad=lambda x: nll(x)[1])
        search.errordef, search.strategy = minuit.LIKELIHOOD, 0
        search.limits[0], search.fixed[0] = (0, None), fixed
        search.migrad()
        return 2 * float(search.fval)

    return {"value": lambda: fit(1.0, fixed=True), "best": lambda: fit(1.0, fixed=False)}


def workspace_of(problem: Problem) -> dict:
    """A problem as a workspace with one channel.

    Args:
        problem: Without third moments.
    """
    if len(problem.signal) == 1:
        error = float(np.sqrt(problem.covariance[0, 0]))
        return counting_workspace(
            float(problem.observed[0]), float(problem.background[0]), error,
            float(problem.signal[0]),
        )  # fmt: skip
    background = problem.background
    shifts = [
        {"name": f"shift{k}", "type": "histosys",
         "data": {"hi_data": (background + column).tolist(),
                  "lo_data": (background - column).tolist()}}
        for k, column in enumerate(root_of(problem.covariance).T)
    ]  # fmt: skip
    strength = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "signal", "data": problem.signal.tolist(), "modifiers": [strength]},
                    {"name": "background", "data": background.tolist(), "modifiers": shifts},
                ],
            }
        ],
        "observations": [{"name": "SR", "data": problem.observed.tolist()}],
        "measurements": [
            {
                "name": "simplified",
                "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0, 1000]]}]},
            }
        ],
        "version": "1.0.0",
    }


def root_of(covariance: np.ndarray) -> np.ndarray:
    """A root of a covariance: eigenvectors times the roots of their eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def evermore_regions(place: Any) -> Contender:
    """-2 ln L of a batch of regions and its slopes by evermore, all in one compiled program."""
    evermore = require("evermore", extra=EXTRA)

    def twice_nll(pair: tuple[jax.Array, jax.Array], regions: Any) -> jax.Array:
        params = {"mu": evermore.Parameter(value=pair[0]),
                  "shift": evermore.NormalParameter(value=pair[1])}  # fmt: skip
        shifted = params["shift"].morphing(
            up_template=regions.background + regions.error,
            down_template=regions.background - regions.error,
        )
        rate = params["mu"].scale()(regions.signal) + shifted(regions.background)
        main = evermore.pdf.PoissonContinuous(lamb=rate).log_prob(regions.observed, normalize=True)
        constraints = evermore.loss.get_log_probs(params)
        return -2 * (jnp.sum(main) + jnp.sum(evermore.util.sum_over_leaves(constraints)))

    batch = jax.jit(jax.vmap(jax.value_and_grad(twice_nll)))
    regions = jax.tree.map(lambda column: column[:, None], place.regions)
    parameters = (place.mu[:, None], place.nuisance[:, None])
    size = place.mu.shape[0]
    return Contender(partial(batch, parameters, regions), units=size)


def _our_limit(problem: Problem) -> float:
    """Observed limit of a single region; where a peer's search may begin."""
    from jaxlik.inference.limits import find_upper_limit
    from jaxlik.inference.profile import likelihood_pair
    from jaxlik.statmodels.poisson import PoissonCounting

    error = np.sqrt(np.diagonal(problem.covariance))
    model = PoissonCounting(problem.observed, problem.background, error)
    return float(find_upper_limit(*likelihood_pair(model, jnp.asarray(problem.signal))).mu)


PROGRAMS: dict[str, Callable[[Problem], dict[str, Answer]]] = {
    "SModelS": smodels_answers,
    "spey": spey_answers,
    "pyhf": pyhf_answers,
    "iminuit": minuit_answers,
}
