"""What handing out tasks costs, and what a second worker gains.

Tasks are NumPy loops of as many turns as take a given time here, in one thread. They are done
one after the other in this process; by one and two worker processes; and by one and two
workers of a local Dask cluster where Dask is installed. Times are from before the workers start
to after they ended.

    python -m benchmarks.farm [--seconds 60] [--tasks 4]
"""

import argparse
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from walkers.executors import Workers, open_executor
from walkers.farm import run_chunks

CALIBRATION = 2.0
"""Least seconds over which a turn is timed."""


def turn_wheels(payload: dict[str, Any]) -> dict[str, Any]:
    """The task: so many turns of a loop."""
    values = np.linspace(0.0, 1.0, 1000)
    for _ in range(payload["turns"]):
        values = np.sin(values) + 0.5
    return {"number": payload["number"], "mean": float(values.mean())}


def turns_for(seconds: float) -> int:
    """Turns that take this long."""
    turns, took = 1000, 0.0
    while took < CALIBRATION:
        turns *= 2
        start = time.perf_counter()
        turn_wheels({"turns": turns, "number": 0})
        took = time.perf_counter() - start
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


def wall(executor_fn: Callable[[], Any] | None, num_tasks: int, turns: int) -> float:
    """Seconds that tasks take."""
    # Workers find a task by the name of its module, which is not that of a running script.
    from benchmarks.farm import turn_wheels

    payloads = [{"number": number, "turns": turns} for number in range(num_tasks)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if executor_fn is None:
            for payload in payloads:
                turn_wheels(payload)
        else:
            run_chunks(turn_wheels, payloads, Path(folder), executor_fn=executor_fn)
        return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one task")
    parser.add_argument("--tasks", type=int, default=4)
    options = parser.parse_args(arguments)
    engines: dict[str, Callable[[int], Callable[[], Any]]] = {
        "processes": lambda number: partial(open_executor, Workers(workers=number))
    }
    packages = ["numpy", "jax"]
    if importlib.util.find_spec("distributed"):
        engines["Dask"] = lambda number: partial(local_dask, number)
        packages.append("distributed")
    turns = turns_for(options.seconds)
    plain = wall(None, options.tasks, turns)
    named = ", ".join(f"{name} {version(name)}" for name in packages)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {named}"
    )
    print(f"\n{options.tasks} tasks of {plain / options.tasks:.1f} s, {plain:.1f} s one by one\n")
    print("| engine | workers | one empty task [s] | all tasks [s] | overhead | speed-up |")
    print("|---|---|---|---|---|---|")
    for name, engine in engines.items():
        empty = [wall(engine(number), 1, 0) for number in (1, 2)]
        one, two = (wall(engine(number), options.tasks, turns) for number in (1, 2))
        print(f"| {name} | 1 | {empty[0]:.2f} | {one:.1f} | {100 * (one / plain - 1):.1f} % | 1 |")
        print(f"| {name} | 2 | {empty[1]:.2f} | {two:.1f} | | {one / two:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
