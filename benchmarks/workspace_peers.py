"""What programs offer for a HistFactory workspace, behind one interface.

    jaxlik        this one
    pyhf-jax      pyhf with JAX and SciPy's SLSQP, exact gradients, compiled
    pyhf-numpy    pyhf with NumPy and SLSQP, numerical gradients
    pyhf-minuit   pyhf with NumPy and Minuit
    nextstat      NextStat, one thread
    everwillow    everwillow's BFGS on pyhf's JAX likelihood, compiled by the caller, no bounds

Programs that are not installed are left out. Those that are slower than the patience of the
caller are stopped.
"""

import contextlib
import importlib.util
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pyhf
import pyhf.infer.intervals.upper_limits

from jaxlik.database.workspace import flatten_workspace
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_profile import fit_parameters
from jaxlik.statmodels.packing import pack_workspace

Task = Callable[[], object]


class TooSlow(Exception):
    """A peer took longer than the caller wants to wait."""


@contextlib.contextmanager
def patience(limit: float) -> Iterator[None]:
    """Raise `TooSlow` inside after some seconds."""

    def ring(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


class Peer:
    """One program and one workspace; tasks that a program does not offer are missing.

    Attributes:
        tasks: By name: value, gradient, null (mu = 0), fit, test (mu = 1), limit (with bands).
        minimum: From what the fit returns to -2 ln L, constants included.
    """

    def __init__(self, minimum: Callable[[Any], float]) -> None:
        self.tasks: dict[str, Task] = {}
        self.minimum = minimum


def jaxlik_peer(document: dict) -> Peer:
    """This program; as the others, every task begins with the packed model."""
    record = flatten_workspace(document)
    model = pack_workspace(record)
    # Bound to the model, as those of the others; as an argument it costs 10 to 20 µs more.
    density = lambda parameters: model.log_density(parameters)  # noqa: E731
    value, slope = jax.jit(density), jax.jit(jax.value_and_grad(density))
    held, start = model.fixed.at[record.poi].set(True), model.init.at[record.poi].set(0.0)
    peer = Peer(lambda found: -2 * float(value(found.parameters)))
    peer.tasks |= {
        "value": lambda: value(model.init),
        "gradient": lambda: slope(model.init),
        "null": lambda: fit_parameters(model, held=held, start=start),
        "fit": lambda: fit_parameters(model),
        "test": lambda: WorkspaceAnalysis(model, record.poi).test(1.0).log_cls,
        "limit": lambda: WorkspaceAnalysis(model, record.poi).upper_limits(),
    }
    return peer


def pyhf_peer(document: dict, backend: str, optimizer: str) -> Peer:
    """One of the forms of pyhf."""
    pyhf.set_backend(backend, optimizer)
    workspace = pyhf.Workspace(document)
    model = workspace.model()
    data = pyhf.tensorlib.astensor(workspace.data(model))
    init = pyhf.tensorlib.astensor(model.config.suggested_init())
    peer = Peer(lambda found: float(found[1]))

    def chosen(task: Task) -> Task:
        def run() -> object:
            if pyhf.tensorlib.name != backend or pyhf.optimizer.name != optimizer:
                pyhf.set_backend(backend, optimizer)
            return task()

        return run

    fit = lambda: pyhf.infer.mle.fit(data, model, return_fitted_val=True)  # noqa: E731
    logpdf = lambda x: model.logpdf(x, data)[0]  # noqa: E731
    if backend == "jax":
        value, slope = jax.jit(logpdf), jax.jit(jax.value_and_grad(logpdf))
        peer.tasks |= {"value": lambda: value(init), "gradient": lambda: slope(init)}
    else:
        peer.tasks["value"] = chosen(lambda: logpdf(init))
    test = lambda: pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde")  # noqa: E731
    limit = lambda: pyhf.infer.intervals.upper_limits.upper_limit(data, model)  # noqa: E731
    null = lambda: pyhf.infer.mle.fixed_poi_fit(0.0, data, model)  # noqa: E731
    rest = {"null": null, "fit": fit, "test": test, "limit": limit}
    peer.tasks |= {name: chosen(task) for name, task in rest.items()}
    return peer


def nextstat_peer(document: dict) -> Peer:
    """NextStat through its Python functions."""
    import nextstat

    nextstat.set_threads(1)
    model = nextstat.from_pyhf(json.dumps(document))
    init = model.suggested_init()
    peer = Peer(lambda found: 2 * found.nll)
    peer.tasks |= {
        "value": lambda: model.nll(init),
        "gradient": lambda: model.grad_nll(init),
        "fit": lambda: nextstat.fit(model),
        "test": lambda: nextstat.hypotest(1.0, model),
        "limit": lambda: nextstat.upper_limit(model, method="root"),
    }
    return peer


def everwillow_peer(document: dict) -> Peer:
    """The BFGS of everwillow on the likelihood that pyhf builds with JAX."""
    import everwillow
    from everwillow.statelib import State

    pyhf.set_backend("jax", "scipy")
    workspace = pyhf.Workspace(document)
    model = workspace.model()
    data = jnp.asarray(workspace.data(model))
    start = State.from_pytree({"x": jnp.asarray(model.config.suggested_init())})

    def nll(parameters: Any, observed: jax.Array) -> jax.Array:
        return -model.logpdf(parameters["x"], observed)[0]

    run = jax.jit(lambda begin, observed: everwillow.fit(nll, begin, observed).params)
    peer = Peer(lambda found: 2 * float(nll({"x": jax.tree.leaves(found)[0]}, data)))
    peer.tasks["fit"] = lambda: run(start, data)
    return peer


PEERS: dict[str, Callable[[dict], Peer]] = {
    "jaxlik": jaxlik_peer,
    "pyhf-jax": lambda document: pyhf_peer(document, "jax", "scipy"),
    "nextstat": nextstat_peer,
    "everwillow": everwillow_peer,
    "pyhf-numpy": lambda document: pyhf_peer(document, "numpy", "scipy"),
    "pyhf-minuit": lambda document: pyhf_peer(document, "numpy", "minuit"),
}


def installed() -> list[str]:
    """Peers that can be run here."""
    needs = {"nextstat": "nextstat", "everwillow": "everwillow", "pyhf-minuit": "iminuit"}
    return [n for n in PEERS if n not in needs or importlib.util.find_spec(needs[n]) is not None]
