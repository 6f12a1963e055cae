"""Is the device right before it is fast? The same programs on the CPU and on it.

Double precision against double precision, to the tolerance that the algorithm allows; then what
is deliberately done with fewer digits, to a tolerance that is stated. On a machine without a GPU
both sides are the CPU: then the first part shows only that the checks run.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Options
from benchmarks.made_up_workspace import SMALL, made_up_workspace
from benchmarks.suites import kernels_histfactory as histfactory
from benchmarks.suites import kernels_simplified as simplified
from benchmarks.suites import kernels_single as single
from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import ConfigError
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.build import build
from jaxlik.statmodels.packing import pack_workspace

SAME = 1e-10
"""Relative: the same formula in double precision, another order of sums."""

SEARCHED = 1e-7
"""Relative: a root that two searches may leave at different places."""

ROUNDED_INPUT = 1e-5
"""Relative: signals, counts and backgrounds rounded to single precision (6e-8), times at most
some thousand events."""

NETWORKS = 1e-4
"""Relative: networks evaluate their layers in single precision, sums of yields in double."""

BATCH = 1000
"""Elements that are compared."""


class Check(NamedTuple):
    """One comparison.

    Attributes:
        name: Of what.
        tolerance: Largest relative difference allowed.
        found: Largest relative difference; infinite where one side alone is not finite.
    """

    name: str
    tolerance: float
    found: float

    @property
    def passed(self) -> bool:
        """Whether the device may be measured."""
        return self.found <= self.tolerance


def checks(options: Options) -> Iterator[Check]:
    """All comparisons of the CPU with the device of the options.

    Raises:
        ConfigError: there is no such device.
    """
    device = device_of(options.device)
    yield from _single(device)
    yield from _simplified(device, options)
    yield from _histfactory(device)
    yield from _mixed(device)
    if not options.quick:
        yield _networks(device)


def device_of(name: str) -> Any:
    """The first device of a kind.

    Raises:
        ConfigError: JAX sees none.
    """
    try:
        return jax.devices(name)[0]
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else "unknown"
        raise ConfigError(
            f"--device {name}: JAX sees no such device ({reason[:160]}); on a machine with an "
            "NVIDIA GPU run pip install 'jaxlik[cuda12]' or 'jaxlik[cuda13]', else measure "
            "with --device cpu"
        ) from None


def difference(first: Any, second: Any) -> float:
    """Largest relative difference of two results; below one, absolute."""
    largest = 0.0
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        a, b = np.asarray(one, float), np.asarray(other, float)
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        gap = np.abs(a[finite] - b[finite]) / np.maximum(np.abs(a[finite]), 1.0)
        largest = max(largest, float(gap.max(initial=0.0)))
    return largest


def compared(name: str, tolerance: float, device: Any, fn: Callable, *arguments: Any) -> Check:
    """One function on the CPU and on the device."""
    return Check(name, tolerance, difference(*(
        on(one, fn, *arguments) for one in (jax.devices("cpu")[0], device))))  # fmt: skip


def on(device: Any, fn: Callable, *arguments: Any) -> Any:
    """What a function returns on a device, as NumPy arrays."""
    return jax.tree.map(np.asarray, fn(*jax.device_put(arguments, device)))


def _single(device: Any) -> Iterator[Check]:
    regions, places = single.random_regions(BATCH), single.random_places(BATCH)
    yield compared("single regions: values", SAME, device, partial(single.value, None), regions)
    yield compared("single regions: slopes", SAME, device, partial(single.slopes, None), regions)
    yield compared("single regions: densities", SAME, device, partial(single.density, None), places)
    yield compared("single regions: best mu", SAME, device, partial(single.best, None), regions)
    limits = jax.jit(jax.vmap(partial(single.limit, None)))
    yield compared("single regions: limits", SEARCHED, device, limits, regions)


def _simplified(device: Any, options: Options) -> Iterator[Check]:
    tolerances = {"value": SAME, "slope": SAME, "best": SEARCHED}
    for case in simplified.CASES:
        record = simplified.record_of(case)
        model = build(record)
        (bank,) = make_banks([model])  # type: ignore[list-item]
        signals = jnp.asarray(simplified.random_signals(record, BATCH // 10))
        kind = "skewed" if case.skewed else "linear"
        here, there = (simplified.questions(model, Options(device=name))
                       for name in ("cpu", options.device))  # fmt: skip
        for question, tolerance in tolerances.items():
            cpu, other = (jax.jit(jax.vmap(fns[question], in_axes=(None, 0)))
                          for fns in (here, there))  # fmt: skip
            shared = (bank, model)
            found = difference(
                on(jax.devices("cpu")[0], cpu, shared, signals), on(device, other, shared, signals)
            )
            name = f"simplified, {len(record.background)} regions, {kind}: {question}"
            yield Check(name, tolerance, found)


def _histfactory(device: Any) -> Iterator[Check]:
    model = pack_workspace(flatten_workspace(made_up_workspace(SMALL)))
    parameters = histfactory.random_parameters(model, BATCH)
    data = jax.tree.map(np.asarray, histfactory.random_data(model, BATCH // 10))
    batch = partial(jax.vmap, in_axes=(None, 0))
    yield compared("HistFactory: values", SAME, device,
                   jax.jit(batch(histfactory.value)), model, parameters)  # fmt: skip
    yield compared("HistFactory: gradients", SAME, device,
                   jax.jit(batch(histfactory.value_and_gradient)), model, parameters)  # fmt: skip
    fits = jax.jit(batch(lambda model, one: histfactory.fit(model, one)[0]))
    yield compared("HistFactory: minima", SEARCHED, device, fits, model, data)


def _mixed(device: Any) -> Iterator[Check]:
    """Input in single precision on the device, everything in double on the CPU."""
    exact = single.random_regions(BATCH)
    rounded = single.random_regions(BATCH, dtype=np.float32)
    value = partial(single.value, None)
    first = on(jax.devices("cpu")[0], value, exact)
    found = difference(first, on(device, value, rounded))
    yield Check("single regions: values, input in single precision", ROUNDED_INPUT, found)


def _networks(device: Any) -> Check:
    """K of some models with networks: layers in single precision, the rest in double."""
    from benchmarks.batches import case_of
    from benchmarks.example_models import mixed_models

    engine = case_of("embedded", "networks").engine
    points = mixed_models(engine.space, 6)
    scores = jax.jit(lambda engine, points: jax.vmap(lambda p: engine.evaluate(p).score)(points))
    return compared("scores with networks", NETWORKS, device, scores, engine, points)


def table(found: list[Check]) -> str:
    """All comparisons in Markdown."""
    lines = ["| check | largest relative difference | allowed | |", "|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.found:.1e} | {one.tolerance:.0e} | "
        f"{'passed' if one.passed else 'FAILED'} |"
        for one in found
    ]
    return "\n".join(lines)
