"""A likelihood kernel over batch sizes, beside programs that answer one call at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.batch_sizes import decades, placed
from benchmarks.ceilings import ceilings
from benchmarks.harness import FAILED, MISSING, Contender, Floor, Options, Row, measured_rows

PeerFor = Callable[[Any], Contender]
"""From a batch to a peer that works on it, or on its elements in turn."""


@dataclass(frozen=True)
class Kernel:
    """One question about likelihoods.

    Attributes:
        case: What is asked.
        run: Compiled, of what all elements share and of a batch.
        shared: The former: models, never constants of the program.
        batch_fn: A batch of some size.
        floor: Of one element.
        largest: Batch size on a CPU; every decade up to it is measured.
        sizes_quick: Batch sizes of a quick run on a CPU.
        largest_gpu: Batch size that fills a GPU.
        peers: By name; asked at the smallest and at the largest batch, in a quick run all but
            the first at the smallest only.
        note: For the reader.
    """

    case: str
    run: Callable[[Any, Any], Any]
    shared: Any
    batch_fn: Callable[[int], Any]
    floor: Floor
    largest: int
    sizes_quick: tuple[int, ...]
    largest_gpu: int
    peers: Mapping[str, PeerFor] = field(default_factory=dict)
    note: str = ""


def sweep(suite: str, kernel: Kernel, options: Options) -> Iterator[Row]:
    """Rows of a kernel, one per batch size and peer."""
    gpu = options.device == "gpu"
    sizes = decades(kernel.largest_gpu if gpu else kernel.largest, few=options.quick)
    if options.quick and not gpu:
        sizes = kernel.sizes_quick
    limits = ceilings(options.device)
    peers = dict(kernel.peers)
    for size in sizes:
        batch = placed(kernel.batch_fn(size))

        def task(batch: Any = batch) -> Any:
            return kernel.run(kernel.shared, batch)

        asked = peers if size in (sizes[0], sizes[-1]) else {}
        if options.quick and size > sizes[0]:
            asked = dict(list(asked.items())[:1])
        found = measured_rows(
            suite,
            kernel.case,
            Contender(task, units=size),
            {name: lambda make=make, batch=batch: make(batch) for name, make in asked.items()},
            options,
            size=size,
            unit="per s",
            share_fn=lambda seconds: limits.share(kernel.floor, seconds),
            note=kernel.note,
        )
        for row in found:
            if row.unit in (FAILED, MISSING):
                peers.pop(str(row.peer), None)
        yield from found
