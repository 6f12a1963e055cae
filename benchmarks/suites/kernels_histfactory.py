"""HistFactory workspaces: values, slopes, fits, tests and limits; then batches of them.

Two made-up workspaces, and in full runs on a database that has them two published ones with the
made-up signal of `benchmarks.workspaces`. One call at a time beside pyhf; batches evaluate many
parameters, or fit many data sets, in one program.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.batch_sizes import batched
from benchmarks.ceilings import ceilings
from benchmarks.harness import FAILED, MISSING, Contender, Floor, Maker, Options, Row, measured_rows
from benchmarks.kernel import Kernel, sweep
from benchmarks.kernel_peers import EXTRA
from benchmarks.made_up_workspace import MEDIUM, SMALL, made_up_workspace
from jaxlik.database.compile import load_database
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.inference.toys import draw
from jaxlik.inference.workspace_profile import fit_from
from jaxlik.interop.optional import require
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.packing import pack_workspace

PUBLISHED = (
    ("ATLAS-SUSY-2018-31-eff", "BkgOnlyB"),
    ("ATLAS-SUSY-2018-04-eff", "SRcombined"),
)
"""Result and workspace, of 60 and 119 parameters with signal."""

TASKS = {
    "value": "ln L",
    "gradient": "ln L and its gradient",
    "fit": "fit with free mu",
    "test": "CLs at mu = 1, from the data",
    "limit": "observed limit and five bands, from the data",
}
"""As `benchmarks.workspace_peers` names them."""

QUICK_TASKS = ("value", "gradient", "fit", "test")

FLAVOURS = ("pyhf-jax", "pyhf-numpy", "pyhf-minuit")

CHUNK, CHUNK_GPU = 1000, 20_000
"""Parameters evaluated side by side."""

FITS_GPU = 2000
"""Data sets fitted side by side; on a CPU one after the other, so that none waits for others."""

DOUBLE = 8
"""Bytes of a number."""

CELL_OPERATIONS, BIN_OPERATIONS, PARAMETER_OPERATIONS = 6, 8, 4
"""Of one value beyond the shifts: products of factors, a logarithm and sums, constraints."""


class Inputs(NamedTuple):
    """What a batch of one workspace needs.

    Attributes:
        name: For tables.
        document: The workspace as pyhf reads it.
        model: Packed.
    """

    name: str
    document: dict
    model: HistFactory


def inputs(options: Options) -> Iterator[Inputs]:
    """The workspaces of a run."""
    documents = {"small": made_up_workspace(SMALL, options.seed)}
    if not options.quick:
        documents["medium"] = made_up_workspace(MEDIUM, options.seed)
    if not options.quick and options.database != "embedded":
        for workspace in load_database(options.database).workspaces:
            if any(
                workspace.analysis_id == folder and workspace.name.startswith(name)
                for folder, name in PUBLISHED
            ):
                name = f"{workspace.analysis_id.removesuffix('-eff')} {workspace.name}"
                documents[name] = with_synthetic_signal(json.loads(workspace.document))
    for name, document in documents.items():
        yield Inputs(name, document, pack_workspace(flatten_workspace(document)))


@cache
def _tasks(flavour: str, document: str) -> dict[str, Callable[[], Any]]:
    """Tasks of one program for one workspace; prepared once."""
    from benchmarks.workspace_peers import PEERS

    return PEERS[flavour](json.loads(document)).tasks


def _peer(flavour: str, document: str, task: str) -> Maker:
    def make() -> Contender:
        if flavour == "pyhf-minuit":
            require("iminuit", extra=EXTRA)
        return Contender(_tasks(flavour, document)[task], compiles=flavour == "pyhf-jax")

    return make


def single_calls(given: Inputs, options: Options) -> Iterator[Row]:
    """One call at a time, each flavour of pyhf beside us by itself.

    pyhf has one backend per process, which its compiled functions need while they are traced,
    and prepares all its models anew when it changes: a flavour is finished before the next.
    """
    for flavour in FLAVOURS:
        for task in QUICK_TASKS if options.quick else TASKS:
            if flavour != "pyhf-jax" and task == "gradient":
                continue  # no gradients with NumPy
            found = beside(flavour, task, given, options)
            yield from found
            # What was interrupted while it compiled is in no state to answer anything.
            if any(row.unit in (FAILED, MISSING) for row in found):
                break


def beside(flavour: str, task: str, given: Inputs, options: Options) -> list[Row]:
    """One task beside one flavour."""
    document, kinds = json.dumps(given.document), floors(given.model)
    limits = ceilings(options.device)
    return measured_rows(
        "kernels",
        f"HistFactory, {described(given)}: {TASKS[task]}",
        Contender(_tasks("jaxlik", document)[task]),
        {flavour: _peer(flavour, document, task)},
        options,
        size=1,
        unit="per s",
        share_fn=partial(limits.share, kinds[task]) if task in kinds else None,
    )


def described(given: Inputs) -> str:
    """Name and size."""
    record = flatten_workspace(given.document)
    return f"{given.name} ({len(record.parameters)} parameters, {len(record.observed)} bins)"


def floors(model: HistFactory) -> dict[str, Floor]:
    """Of a batch of parameters of one workspace, which itself stays where it is.

    A value needs the shifts of all cells; a gradient as much again on the way back; a fit at
    least one Hessian and its factorisation.
    """
    cells, pulls = model.up.shape
    bins, parameters = model.real_bins.shape[0], model.num_parameters
    value = 4 * cells * pulls + CELL_OPERATIONS * cells
    value += BIN_OPERATIONS * bins + PARAMETER_OPERATIONS * parameters
    hessian = 2 * bins * parameters**2 + parameters**3 / 3
    read = DOUBLE * parameters
    return {
        "value": Floor(read + DOUBLE, value),
        "gradient": Floor(2 * read + DOUBLE, 2 * value),
        "fit": Floor(read + DOUBLE * bins, 2 * value + hessian),
    }


def value(model: HistFactory, parameters: jax.Array) -> jax.Array:
    """Of one set of parameters: ln L."""
    return model.log_density(parameters)


def value_and_gradient(model: HistFactory, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of one set of parameters: ln L and its gradient."""
    return jax.value_and_grad(model.log_density)(parameters)


def fit(model: HistFactory, data: Data) -> tuple[jax.Array, jax.Array]:
    """Of one data set: -2 ln L at the best parameters, and the certificate of the fit."""
    found = fit_from(model, data, model.fixed, model.init[None])
    return found.twice_nll, found.certificate


def random_parameters(model: HistFactory, size: int, seed: int = 0) -> jax.Array:
    """Parameters around the start, by a third of their natural steps, within bounds."""
    rng = np.random.default_rng([seed, size])
    steps = rng.normal(0, 0.3, (size, model.num_parameters)) * np.asarray(model.scale)
    start, fixed = np.asarray(model.init), np.asarray(model.fixed)
    moved = np.clip(start + steps, np.asarray(model.lower), np.asarray(model.upper))
    return jnp.asarray(np.where(fixed, start, moved))


def random_data(model: HistFactory, size: int, seed: int = 0) -> Data:
    """Pseudo-data at the start of fits."""
    keys = jax.random.split(jax.random.key(seed), size)
    return jax.jit(jax.vmap(draw, in_axes=(0, None, None)))(keys, model, model.init)


def pyhf_batch(document: dict, parameters: Any) -> Contender:
    """Many values of ln L by pyhf with JAX, in one program compiled by the caller.

    Parameters are those of pyhf at random, as many as ours.
    """
    import pyhf

    pyhf.set_backend("jax", "scipy")
    workspace = pyhf.Workspace(document)
    model = workspace.model()
    data = jnp.asarray(workspace.data(model))
    start = jnp.asarray(model.config.suggested_init())
    size = parameters.shape[0]
    steps = 0.01 * jax.random.normal(jax.random.key(0), (size, start.shape[0]))
    places = start[None] * (1 + steps)
    run = jax.jit(jax.vmap(lambda x: model.logpdf(x, data)[0]))
    return Contender(lambda: run(places), units=size)


def batches(given: Inputs, options: Options) -> Iterator[Row]:
    """Many parameters, or many data sets, in one program."""
    gpu = options.device == "gpu"
    chunk = CHUNK_GPU if gpu else CHUNK
    small = given.name == "small"
    model, name, kinds = given.model, described(given), floors(given.model)
    parameters = partial(random_parameters, model, seed=options.seed)
    peers = {"pyhf-jax, batched": partial(pyhf_batch, given.document)}
    yield from sweep(
        "kernels",
        Kernel(
            f"HistFactory, {name}: batches of ln L",
            batched(value, chunk),
            model,
            parameters,
            kinds["value"],
            largest=10**6 if small else 10**5,
            sizes_quick=(1, 10**4) if small else (1000,),
            largest_gpu=10**6,
            peers=peers,
        ),
        options,
    )
    yield from sweep(
        "kernels",
        Kernel(
            f"HistFactory, {name}: batches of ln L and gradient",
            batched(value_and_gradient, chunk),
            model,
            parameters,
            kinds["gradient"],
            largest=10**5 if small else 10**4,
            sizes_quick=(1, 10**4) if small else (1000,),
            largest_gpu=10**6,
        ),
        options,
    )
    yield from sweep(
        "kernels",
        Kernel(
            f"HistFactory, {name}: batches of fits to pseudo-data",
            batched(fit, FITS_GPU if gpu else 1),
            model,
            partial(random_data, model, seed=options.seed),
            kinds["fit"],
            largest=10**4 if small else 10**3,
            sizes_quick=(100,),
            largest_gpu=10**5,
        ),
        options,
    )


def measure(options: Options) -> Iterator[Row]:
    """One call at a time (on a CPU), then batches."""
    for given in inputs(options):
        if options.device == "cpu":
            yield from single_calls(given, options)
        yield from batches(given, options)
