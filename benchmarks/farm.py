"""What handing out tasks costs, and what a second worker gains.

Tasks are NumPy loops of as many turns as take a given time here, in one thread, by one and two
worker processes, and by one and two workers of a local Dask cluster where Dask is installed. Two
plain processes without any engine tell what the machine itself can do.

Every task times itself, so that a machine that runs faster at one time than at another, or slower
where both cores work, is not taken for the engine: the overhead is the time in which workers
had no task, as a share of that in which they had one. Times are from before the workers start to
after they ended.

    python -m benchmarks.farm [--seconds 60] [--tasks 2]
"""

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from walkers.executors import Workers, open_executor
from walkers.farm import run_chunks

CALIBRATION = 2.0
"""Least seconds over which a turn is timed."""

BARE = (
    "import os, sys; os.environ['OPENBLAS_NUM_THREADS'] = '1';"
    "from benchmarks.farm import turn_wheels;"
    "print(turn_wheels({'number': 0, 'turns': int(sys.argv[1])})['seconds'])"
)
"""A process that does one task and prints its time."""


class Times(NamedTuple):
    """Of some tasks.

    Attributes:
        wall: Seconds from before the first worker starts to after the last ended.
        busy: Seconds in tasks, of all workers together.
    """

    wall: float
    busy: float


def turn_wheels(payload: dict[str, Any]) -> dict[str, Any]:
    """The task: so many turns of a loop."""
    start = time.perf_counter()
    values = np.linspace(0.0, 1.0, 1000)
    for _ in range(payload["turns"]):
        values = np.sin(values) + 0.5
    seconds = time.perf_counter() - start
    return {"number": payload["number"], "mean": float(values.mean()), "seconds": seconds}


def turns_for(seconds: float) -> int:
    """Turns that take this long."""
    turns, took = 1000, 0.0
    while took < CALIBRATION:
        turns *= 2
        took = turn_wheels({"turns": turns, "number": 0})["seconds"]
    return max(1, round(turns * seconds / took))


@contextmanager
def local_dask(num_workers: int) -> Iterator[Executor]:
    """A Dask cluster on this machine."""
    import distributed

    cluster: Any = distributed.LocalCluster(
        n_workers=num_workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )
    with cluster, open_executor(Workers(scheduler=cluster.scheduler_address)) as executor:
        yield executor


def engine_times(executor_fn: Callable[[], Any], num_tasks: int, turns: int) -> Times:
    """Of an engine."""
    # Workers find a task by the name of its module, which is not that of a running script.
    from benchmarks.farm import turn_wheels

    payloads = [{"number": number, "turns": turns} for number in range(num_tasks)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = run_chunks(turn_wheels, payloads, Path(folder), executor_fn=executor_fn)
        wall = time.perf_counter() - start
        return Times(wall, sum(one["seconds"] for one in found))


def bare_times(num_processes: int, turns: int) -> Times:
    """Of processes that start side by side and do one task each."""
    command = [sys.executable, "-c", BARE, str(turns)]
    root = Path(__file__).resolve().parents[1]
    start = time.perf_counter()
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        for _ in range(num_processes)
    ]
    texts = [process.communicate()[0] for process in processes]
    wall = time.perf_counter() - start
    return Times(wall, sum(map(float, texts)))


def line(name: str, workers: int, tasks: int, times: Times, alone: float) -> str:
    """A row of the table.

    Args:
        name: Of the engine.
        workers: How many.
        tasks: How many.
        times: That they took.
        alone: Seconds of a task that has the machine for itself.
    """
    overhead = workers * times.wall / times.busy - 1
    return (
        f"| {name} | {workers} | {tasks} | {times.busy / tasks:.1f} | {times.wall:.1f} | "
        f"{100 * overhead:.1f} % | {times.busy / times.wall:.2f} | "
        f"{alone * tasks / times.wall:.2f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one task")
    parser.add_argument("--tasks", type=int, default=2, help="of each worker")
    options = parser.parse_args(arguments)
    engines: dict[str, Callable[[int], Callable[[], Any]]] = {
        "processes": lambda number: partial(open_executor, Workers(workers=number))
    }
    packages = ["numpy", "jax"]
    if importlib.util.find_spec("distributed"):
        engines["Dask"] = lambda number: partial(local_dask, number)
        packages.append("distributed")
    turns = turns_for(options.seconds)
    named = ", ".join(f"{name} {version(name)}" for name in packages)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {named}"
    )
    print("\n| engine | workers | tasks | one task [s] | all [s] | overhead | workers busy | "
          "speed-up |")  # fmt: skip
    print("|---" * 8 + "|")
    alone = bare_times(1, turns)
    for number in (1, 2):
        found = alone if number == 1 else bare_times(number, turns)
        print(line("none, plain processes", number, number, found, alone.busy), flush=True)
    for name, engine in engines.items():
        for number in (1, 2):
            tasks = number * options.tasks
            found = engine_times(engine(number), tasks, turns)
            print(line(name, number, tasks, found, alone.busy), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
