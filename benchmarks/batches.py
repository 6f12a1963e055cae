"""What suites share: engines, batches of models cut into chunks, peak memory, failures as rows.

Every chunk of one size is one compiled program (`walkers.target.evaluate_chunk`), whichever suite
asks for it, and whatever the size of the batch.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import OURS, Options, Row, Spread, failed_row
from jaxlik.database.compile import load_database
from jaxlik.database.snapshot import HULLS_ONLY, Snapshot, open_snapshot
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.engine import Engine
from jaxlik.errors import DatabaseError
from jaxlik.fit.assemble import build_engine
from jaxlik.yields.buckets import DEFAULT_BUCKETS, NETWORK_BUCKETS
from walkers.pseudo_search import FixedTarget
from walkers.step import CPU_CHUNK

YIELDS = ("networks", "exact")

MIB = 2.0**20

BUCKETS = {
    "networks": NETWORK_BUCKETS._replace(off_plane=96),
    "exact": DEFAULT_BUCKETS._replace(off_plane=384),
}
"""Tables that hold the models of `benchmarks.example_models` with the results of a full database;
a search enlarges its own."""

THINNED = Path(__file__).resolve().parents[1] / "tests" / "data" / "thinned.npz"
"""Results of database 3.0.0 with efficiency maps, on fewer grid points."""


@dataclass(frozen=True)
class Case:
    """An engine, and what a reader has to know of it.

    Attributes:
        yields: ``networks`` or ``exact``.
        engine: Scores models.
        note: Where its numbers come from.
    """

    yields: str
    engine: Engine
    note: str

    @property
    def target(self) -> FixedTarget:
        """The score with tables of one size, so that no case waits for another compilation."""
        return FixedTarget(self.engine)  # type: ignore[reportCallIssue]


@lru_cache(maxsize=2)
def snapshot_of(database: str) -> Snapshot:
    """The snapshot, opened once."""
    return load_database(database, quiet=True)


@lru_cache(maxsize=4)
def case_of(database: str, yields: str) -> Case:
    """The engine of a database.

    Args:
        database: As of `Options`.
        yields: ``networks`` or ``exact``. The embedded database holds no efficiency maps:
            exact yields are then those of a few of its results, on fewer grid points.

    Raises:
        DatabaseError: no maps at hand, or networks of another database.
    """
    snapshot, note = snapshot_of(database), ""
    if yields == "networks":
        networks = open_surrogate(shipped_surrogate())
        engine, _ = build_engine(snapshot, surrogate=networks, buckets=BUCKETS[yields])
    else:
        if snapshot.manifest.get(HULLS_ONLY):
            if not THINNED.is_file():
                raise DatabaseError(
                    f"database {database!r} holds no efficiency maps, wanted some; give a full "
                    "one with --database"
                )
            snapshot, note = open_snapshot(THINNED), ", maps on fewer grid points"
        engine, _ = build_engine(snapshot, buckets=BUCKETS[yields])
    regions = engine.regions.background.shape[0]
    text = f"database {snapshot.version}: {engine.num_results} results, {regions} regions{note}"
    return Case(yields, engine, text)


def chunk_sizes(options: Options) -> tuple[int, ...]:
    """Models per compiled call that are worth a try on the device, on all devices together."""
    if options.device != "gpu":
        return (CPU_CHUNK,)
    sizes = (8192,) if options.quick else (1024, 8192, 65_536)
    return tuple(jax.device_count() * size for size in sizes)


def chunks(batch: Any, chunk: int) -> list[Any]:
    """A batch on the device in parts of equal size; the last one is moved back to be full.

    Cut on the host: a program that does it would be another one for every size.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    size = min(chunk, count)
    starts = [min(start, count - size) for start in range(0, count, size)]
    return [
        jax.tree.map(lambda leaf, start=start: jnp.asarray(leaf[start : start + size]), batch)
        for start in starts
    ]


class Peak:
    """The largest memory in use.

    Attributes:
        mib: MiB, once the block has ended.
        note: Of what.
    """

    mib: float = float("nan")
    note: str = ""

    def row(self, suite: str, case: str, size: int | None) -> Row:
        """As a line of a table."""
        return Row(suite, case, size, "MiB", single(self.mib), note=self.note)


@contextmanager
def peak_memory(device: str) -> Iterator[Peak]:
    """Measure the largest memory while the block runs.

    Args:
        device: ``gpu`` for what JAX allocates there, else that of this process. Kernels of
            Linux forget the largest value so far when asked to; elsewhere, and on a GPU, it is
            that of the whole process.
    """
    peak, status = Peak(), Path("/proc/self/status")
    reset = False
    if device != "gpu":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
            reset = status.is_file()
    yield peak
    if device == "gpu":
        used = [
            (one.memory_stats() or {}).get("peak_bytes_in_use", np.nan) for one in jax.devices()
        ]
        peak.mib, peak.note = max(used) / MIB, "largest of a device, since the process began"
    elif reset:
        (line,) = [one for one in status.read_text().splitlines() if one.startswith("VmHWM")]
        peak.mib, peak.note = float(line.split()[1]) / 1024, "whole process, while this case ran"
    else:
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak.mib = largest / MIB if sys.platform == "darwin" else largest / 1024
        peak.note = "whole process, since it began"


def single(value: float) -> Spread:
    """A number that was found once."""
    return Spread(value, value, value)


def guarded(suite: str, case: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Rows, and one that says so where a case fails: the others go on."""
    try:
        yield from rows
    except Exception as error:  # noqa: BLE001 - JAX and peers raise errors of many kinds
        reason = (str(error).splitlines() or [""])[0][:160]
        yield failed_row(suite, case, OURS, f"{type(error).__name__}: {reason}")
