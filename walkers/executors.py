"""Where tasks run: processes of this machine, a Dask cluster, or jobs of a batch system.

Each is opened as a `concurrent.futures.Executor`, so that whoever hands out tasks need not
know which. Workers are processes of one thread, in double precision, that share the
persistent compilation cache.
"""

import functools
import importlib
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, Literal

from jaxlik.errors import ConfigError

logger = logging.getLogger(__name__)

THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
"""Libraries that read their number of threads from the variable ``<name>_NUM_THREADS``."""

ONE_XLA_THREAD = "--xla_cpu_multi_thread_eigen=false"

TASKS_PER_WORKER = 3
"""Handed out at a time: one runs, the others wait where it runs."""

UNKNOWN_WORKERS = 500
"""Tasks in flight on a cluster whose workers come and go."""

CONNECT_SECONDS = 30
"""How long to wait for the scheduler of a Dask cluster."""

LIFETIME = 0.95
"""Share of the walltime after which a worker in a batch job takes no more tasks."""


@dataclass(frozen=True)
class Workers:
    """Where tasks run; processes of this machine unless a scheduler or a cluster is named.

    Attributes:
        workers: Processes of this machine.
        scheduler: Address of a Dask scheduler, as ``tcp://host:port``.
        cluster: Batch system whose jobs are the workers.
        jobs: Jobs of the batch system, one worker each.
        walltime: Longest time of a job, as ``hours:minutes:seconds``.
        memory: Of a job.
        disk: Of a job, where the batch system asks for it (HTCondor).
    """

    workers: int = 1
    scheduler: str | None = None
    cluster: Literal["slurm", "htcondor"] | None = None
    jobs: int = 1
    walltime: str = "04:00:00"
    memory: str = "4GB"
    disk: str = "1GB"


def check_workers(workers: Workers) -> None:
    """Raise unless the choice of workers makes sense.

    Raises:
        ConfigError: a number or a text out of range, or choices that contradict each other.
    """
    if workers.scheduler is not None and workers.cluster is not None:
        raise ConfigError(
            f"scheduler {workers.scheduler!r} and cluster {workers.cluster!r} are both given; "
            "choose one: the workers of a running scheduler, or jobs of a batch system"
        )
    elsewhere = "scheduler" if workers.scheduler else "cluster" if workers.cluster else None
    if elsewhere and workers.workers != 1:
        raise ConfigError(
            f"workers = {workers.workers} are processes of this machine, but the {elsewhere} "
            "runs the tasks; leave one of them out"
        )
    if workers.cluster not in (None, "slurm", "htcondor"):
        raise ConfigError(f"cluster is {workers.cluster!r}, wanted slurm or htcondor")
    for name, number in (("workers", workers.workers), ("jobs", workers.jobs)):
        if number < 1:
            raise ConfigError(f"{name} is {number}, wanted at least 1")
    for name in ("jobs", "walltime", "memory", "disk"):
        value = getattr(workers, name)
        if workers.cluster is None and value != getattr(Workers, name):
            raise ConfigError(
                f"{name} = {value} concerns jobs of a batch system, but no cluster is given; "
                "name one (slurm, htcondor) or leave it out"
            )
    _check_texts(workers)


def _check_texts(workers: Workers) -> None:
    """Raise unless address, time and sizes can be read."""
    patterns = {
        "scheduler": (r"(tcp|tls)://([^\s:/]+|\[[0-9a-fA-F:]+\]):\d+", "tcp://host:port"),
        "walltime": (r"\d+:[0-5]\d:[0-5]\d", "hours:minutes:seconds, as 04:00:00"),
        "memory": (r"\d+(\.\d+)? ?[kMGT]i?B", "a size as 4GB"),
        "disk": (r"\d+(\.\d+)? ?[kMGT]i?B", "a size as 1GB"),
    }
    for name, (pattern, wanted) in patterns.items():
        found = getattr(workers, name)
        if found is not None and not re.fullmatch(pattern, found):
            raise ConfigError(f"{name} is {found!r}, wanted {wanted}")
    if _walltime_seconds(workers) == 0:
        raise ConfigError(f"walltime is {workers.walltime!r}, wanted more than nothing")


def tasks_in_flight(workers: Workers) -> int:
    """How many tasks to hand out at a time."""
    if workers.scheduler is not None:
        return UNKNOWN_WORKERS
    return TASKS_PER_WORKER * (workers.workers if workers.cluster is None else workers.jobs)


def open_executor(workers: Workers) -> AbstractContextManager[Executor]:
    """Start workers, or connect to them, for the time of a `with` block.

    One worker is a process of its own, too, so that its numbers are those of many to the
    last digit. A block that is left by an exception ends the processes at once.

    Args:
        workers: Where tasks run.

    Raises:
        ConfigError: contradictory options, Dask is missing, or its scheduler does not answer.
    """
    check_workers(workers)
    if workers.scheduler is None and workers.cluster is None:
        return _processes(workers.workers)
    return _dask(workers)


def one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with which the numerical libraries of a process use one thread.

    XLA's flag alone leaves matrix products to as many threads as there are cores; their
    number is read from ``PJRT_NPROC``.

    Args:
        environment: Its ``XLA_FLAGS`` are kept.
    """
    name = ONE_XLA_THREAD.partition("=")[0]
    given = environment.get("XLA_FLAGS", "").split()
    flags = [flag for flag in given if flag.partition("=")[0] != name]
    numbers = {f"{library}_NUM_THREADS": "1" for library in THREADS}
    return {**numbers, "PJRT_NPROC": "1", "XLA_FLAGS": " ".join([*flags, ONE_XLA_THREAD])}


@functools.cache
def prepare_worker() -> None:
    """Set up the process of a worker, once, before its first array: threads, precision, cache."""
    os.environ.update(one_thread(os.environ))
    from jaxlik.fit.runtime import prepare

    prepare(quiet=True)


@contextmanager
def _processes(number: int) -> Iterator[Executor]:
    """A pool of processes."""
    context = _Context()
    executor = ProcessPoolExecutor(number, mp_context=context, initializer=_start_process)
    try:
        yield executor
    except BaseException:
        for process in context.started:
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


class _Process(SpawnProcess):
    """A process that has its environment before anything is imported in it."""

    def start(self) -> None:
        """Start with the variables of `one_thread`; those of this process come back."""
        changed = one_thread(os.environ)
        kept = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            super().start()
        finally:
            for name, value in kept.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


class _Context(SpawnContext):
    """Starts processes of one thread, and knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[reportIncompatibleVariableOverride]
        """As the name of the class in other contexts."""
        process = _Process(*args, **kwargs)
        self.started.append(process)
        return process


def _start_process() -> None:
    """Initializer of a process: Ctrl-C is for the driver, whose end is the end of all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.join,), daemon=True).start()
    prepare_worker()


def _follow(join_fn: Callable[[], None]) -> None:
    """End this process after another, which may have had no time to end it."""
    join_fn()
    os._exit(1)


@contextmanager
def _dask(workers: Workers) -> Iterator[Executor]:
    """The workers of a Dask scheduler, which is started if there is none."""
    distributed = _optional("distributed")
    with ExitStack() as stack:
        address: Any = workers.scheduler
        if address is None:
            address = _batch_jobs(workers)
            stack.callback(_close, address)
        try:
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise ConfigError(
                f"the Dask scheduler {address} does not answer ({error}); start it with "
                "`dask scheduler`, or correct the address"
            ) from error
        stack.callback(_close, client)
        if not client.nthreads():
            place = workers.scheduler or workers.cluster
            logger.warning("no Dask workers at %s yet; tasks wait for the first", place)
        # Equal payloads are different tasks: Dask would compute them once.
        yield client.get_executor(pure=False)


def _batch_jobs(workers: Workers) -> Any:
    """A Dask scheduler in this process, whose workers are jobs of a batch system."""
    jobqueue = _optional("dask_jobqueue")
    from dask import config

    command = {"slurm": "sbatch", "htcondor": "condor_submit"}[str(workers.cluster)]
    if shutil.which(command) is None:
        raise ConfigError(
            f"cluster {workers.cluster}: no command {command} here; start on a machine from "
            "which jobs can be submitted"
        )
    section = f"jobqueue.{workers.cluster}"
    seconds = _walltime_seconds(workers)
    lifetime = ["--lifetime", f"{max(1, int(LIFETIME * seconds))}s"]
    # Several users of one machine cannot all have Dask's usual port.
    dashboard = {"dashboard_address": ":0"}
    options = {
        "cores": 1,
        "processes": 1,
        "memory": workers.memory,
        "scheduler_options": {**dashboard, **config.get(f"{section}.scheduler-options", {})},
        "worker_extra_args": [*config.get(f"{section}.worker-extra-args", []), *lifetime],
    }
    if workers.cluster == "slurm":
        cluster = jobqueue.SLURMCluster(walltime=workers.walltime, **options)
    else:
        directives = dict(config.get(f"{section}.job-extra-directives", {}))
        directives.setdefault("+MaxRuntime", str(seconds))
        cluster = jobqueue.HTCondorCluster(
            disk=workers.disk, job_extra_directives=directives, **options
        )
    # A job that reached its walltime is followed by another, which `scale` would not do.
    cluster.adapt(minimum_jobs=workers.jobs, maximum_jobs=workers.jobs)
    return cluster


def _close(opened: Any) -> None:
    """Close a client or a cluster; Dask may complain while connections break."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with suppress(OSError, RuntimeError, TimeoutError):
            opened.close()
    finally:
        log.setLevel(level)


def _walltime_seconds(workers: Workers) -> int:
    """Longest time of a job."""
    hours, minutes, seconds = map(int, workers.walltime.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _optional(name: str) -> ModuleType:
    """A module of the extra `cluster`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is needed for a Dask scheduler or a batch system and cannot be imported "
            f"({error}); install it with pip install 'jaxlik[cluster]'"
        ) from error
