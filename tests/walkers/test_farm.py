"""Chunk files are the same whatever computes them, and whatever dies on the way."""

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import farm_tasks
import pytest

from jaxlik.errors import CheckpointError, ConfigError
from walkers import executors
from walkers.executors import Workers, check_workers, one_thread, open_executor, tasks_in_flight
from walkers.farm import ChunkError, perform, run_chunks, task_name

NUM_CHUNKS = 6
TESTS = Path(__file__).resolve().parents[1]

noisy_dask = pytest.mark.filterwarnings("default")


def payloads(**more):
    return [{"seed": 7, "number": number, **more} for number in range(NUM_CHUNKS)]


def values(number):
    return [{"value": value} for value in range(number)]


def files(folder):
    """Name and content of everything in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def results(folder):
    return [json.loads(content)["result"] for content in files(folder).values()]


def pool(number):
    return partial(open_executor, Workers(workers=number))


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    found = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    yield partial(open_executor, Workers(scheduler=found.scheduler_address))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        found.close()


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    """Results of `toys` by one process, and its folder."""
    folder = tmp_path_factory.mktemp("one")
    return list(run_chunks(farm_tasks.toys, payloads(), folder, executor_fn=pool(1))), folder


# Engines


def test_two_workers_write_the_files_of_one(one_worker, tmp_path):
    found = list(run_chunks(farm_tasks.toys, payloads(), tmp_path, executor_fn=pool(2)))
    assert [entry["number"] for entry in found] == list(range(NUM_CHUNKS))
    assert found == one_worker[0]
    assert files(tmp_path) == files(one_worker[1])
    assert len(files(tmp_path)) == NUM_CHUNKS


@noisy_dask
def test_dask_writes_the_files_of_processes(cluster, one_worker, tmp_path):
    run_chunks(farm_tasks.toys, payloads(), tmp_path, executor_fn=cluster)
    assert files(tmp_path) == files(one_worker[1])


@noisy_dask
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_workers_have_one_thread_double_precision_and_the_cache(engine, request, tmp_path):
    before = dict(os.environ)
    executor_fn = pool(1) if engine == "processes" else request.getfixturevalue("cluster")
    (found,) = run_chunks(farm_tasks.process, [None], tmp_path, executor_fn=executor_fn)
    assert found["pid"] != os.getpid()
    assert found["flags"].count("--xla_cpu_multi_thread_eigen=false") == 1
    assert found["blas"] == "1"
    assert found["xla_threads"] == 1
    assert found["x64"]
    assert found["cache"]
    assert dict(os.environ) == before


@noisy_dask
@pytest.mark.skipif(shutil.which("bash") is None, reason="plays the batch system in bash")
def test_jobs_of_a_batch_system_write_the_files_of_processes(one_worker, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    programs = {
        "sbatch": 'cp "$1" "$0.$$"; cp "$1" "$0.script"; setsid bash "$0.$$" >/dev/null 2>&1 &\n'
        'echo "Submitted batch job $!"',
        "scancel": 'kill -- "-$1"',
    }
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")
    workers = Workers(cluster="slurm", jobs=2, walltime="00:10:00", memory="1GB")
    executor_fn = partial(open_executor, workers)
    run_chunks(farm_tasks.toys, payloads(), tmp_path / "run", executor_fn=executor_fn)
    assert files(tmp_path / "run") == files(one_worker[1])
    script = (tmp_path / "sbatch.script").read_text()
    assert "#SBATCH -t 00:10:00" in script
    assert "--lifetime 570s" in script
    assert "--nthreads 1" in script


def test_any_executor_serves(one_worker, tmp_path):
    context = executors._Context()
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        run_chunks(farm_tasks.toys, payloads(), tmp_path, executor_fn=executor)
    assert files(tmp_path) == files(one_worker[1])


def test_without_workers_tasks_run_here(tmp_path):
    found = list(run_chunks(farm_tasks.doubled, values(3), tmp_path))
    assert found == [{"doubled": 2 * value, "ratio": value / 3} for value in range(3)]


# Deaths


@noisy_dask
@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_killed_worker_changes_nothing(engine, request, tmp_path):
    executor_fn = pool(2) if engine == "processes" else request.getfixturevalue("cluster")
    fatal = payloads(fatal=2, mark=str(tmp_path / "killed"))
    found = run_chunks(farm_tasks.kill_worker, fatal, tmp_path / "run", executor_fn=executor_fn)
    assert (tmp_path / "killed").exists()
    _, folder = request.getfixturevalue("one_worker")
    assert list(found) == results(folder)


DRIVER = """
import multiprocessing, os, signal, sys
from functools import partial
sys.path.insert(0, sys.argv[1])
import farm_tasks
from walkers.executors import Workers, open_executor
from walkers.farm import run_chunks

def on_done(chunk, result):
    if chunk == 1:
        print(multiprocessing.active_children()[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

run_chunks(
    farm_tasks.toys,
    [{"seed": 7, "number": number} for number in range(6)],
    sys.argv[2],
    executor_fn=partial(open_executor, Workers()),
    on_done=on_done,
)
"""


def test_a_killed_driver_takes_its_workers_along_and_resumes(one_worker, tmp_path):
    command = [sys.executable, "-c", DRIVER, str(TESTS), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert list(files(tmp_path)) == ["chunk-000000.json", "chunk-000001.json"]
    wait_for_end(int(done.stdout))
    (tmp_path / ".chunk-000002.json-unfinished").write_text('{"chunk":')
    run_chunks(farm_tasks.toys, payloads(), tmp_path, executor_fn=pool(2))
    assert files(tmp_path) == files(one_worker[1])


def wait_for_end(pid):
    """Until a process is gone."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"worker {pid} outlived its driver")


class Flaky(Executor):
    """Breaks whenever a task with a given payload is handed in."""

    def __init__(self, fatal):
        self.fatal = fatal

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        if json.loads(args[1])["value"] == self.fatal:
            future.set_exception(BrokenProcessPool("a child process terminated abruptly"))
        else:
            future.set_result(perform(*args))
        return future


def test_a_chunk_that_kills_its_worker_is_named_and_the_others_are_done(tmp_path):
    with pytest.raises(ChunkError, match=r"3 times in a row.*chunk 4 \(BrokenProcessPool.*memory"):
        run_chunks(
            farm_tasks.doubled,
            values(9),
            tmp_path,
            executor_fn=lambda: nullcontext(Flaky(4)),
            retries=2,
        )
    assert sorted(files(tmp_path)) == [f"chunk-{k:06d}.json" for k in range(9) if k != 4]


@pytest.mark.parametrize("num_deaths", [1, 2])
def test_after_deaths_many_tasks_are_handed_out_again(num_deaths, tmp_path):
    in_flight = []

    class Counting(Executor):
        submitted = 0

        def submit(self, fn, /, *args, **kwargs):
            in_flight[-1] = max(in_flight[-1], self.submitted - len(list(tmp_path.iterdir())))
            self.submitted += 1
            future = Future()
            if len(in_flight) <= num_deaths:
                future.set_exception(BrokenProcessPool("a child process terminated abruptly"))
            else:
                future.set_result(perform(*args))
            return future

    def open_flaky():
        in_flight.append(0)
        return nullcontext(Counting())

    run_chunks(farm_tasks.doubled, values(40), tmp_path, executor_fn=open_flaky, in_flight=8)
    assert len(files(tmp_path)) == 40
    assert in_flight[-1] == 7


def test_a_broken_executor_of_the_user_is_reported(tmp_path):
    with ProcessPoolExecutor(1, mp_context=executors._Context()) as executor:
        fatal = payloads(fatal=0)
        with pytest.raises(ChunkError, match=r"2 times in a row.*chunk 0"):
            run_chunks(
                farm_tasks.always_kill_worker, fatal, tmp_path, executor_fn=executor, retries=1
            )


# Failures of tasks


def test_a_failing_task_is_named_and_earlier_chunks_stay(tmp_path):
    with pytest.raises(
        ChunkError, match=r"chunk 3 of farm_tasks:picky failed with PickyError: value is 3; 3"
    ) as info:
        run_chunks(farm_tasks.picky, values(6), tmp_path)
    assert "raise PickyError" in info.value.__notes__[0]
    assert sorted(files(tmp_path)) == [f"chunk-{k:06d}.json" for k in range(3)]


@pytest.mark.parametrize(
    ("task_fn", "message"),
    [
        (farm_tasks.no_document, "returned int, wanted a dictionary"),
        (farm_tasks.not_finite, "not JSON compliant"),
    ],
)
def test_results_that_json_cannot_hold_are_refused(task_fn, message, tmp_path):
    with pytest.raises(ChunkError, match=message):
        run_chunks(task_fn, values(1), tmp_path)
    assert files(tmp_path) == {}


def test_an_error_in_a_process_comes_back_at_once(tmp_path):
    with pytest.raises(ChunkError, match="PickyError"):
        run_chunks(farm_tasks.picky, [{"value": 3}], tmp_path, executor_fn=pool(1))


def test_ctrl_c_leaves_the_chunks(tmp_path):
    def interrupt(chunk, result):
        if chunk == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_chunks(farm_tasks.doubled, values(50), tmp_path, executor_fn=pool(1), on_done=interrupt)
    done = len(files(tmp_path))
    assert 3 <= done < 50
    calls = []
    run_chunks(farm_tasks.doubled, values(50), tmp_path, on_done=lambda k, _: calls.append(k))
    assert calls == list(range(50))


def test_few_tasks_are_handed_out_at_a_time(tmp_path):
    class Counting(Flaky):
        submitted = 0

        def submit(self, fn, /, *args, **kwargs):
            self.submitted += 1
            assert self.submitted - len(list(tmp_path.iterdir())) <= 5
            return super().submit(fn, *args, **kwargs)

    run_chunks(farm_tasks.doubled, values(40), tmp_path, executor_fn=Counting(None), in_flight=5)
    assert len(files(tmp_path)) == 40


# Folders


def test_a_full_disk_is_reported_and_the_run_resumes(tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"disk full: chunk 2 .* 2 chunks are intact .* free space and resume"
    ):
        run_chunks(farm_tasks.doubled, values(5), tmp_path / "run")
    assert sorted(files(tmp_path / "run")) == ["chunk-000000.json", "chunk-000001.json"]
    monkeypatch.undo()
    run_chunks(farm_tasks.doubled, values(5), tmp_path / "run")
    run_chunks(farm_tasks.doubled, values(5), tmp_path / "whole")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot be read|not writable"):
        run_chunks(farm_tasks.doubled, values(1), tmp_path / "file")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\xff" + content,
        lambda content: b"[1, 2]",
        lambda content: content.replace(b'"doubled": 2', b'"doubled": 3'),
    ],
    ids=["cut", "empty", "bytes", "list", "changed"],
)
def test_a_damaged_chunk_is_done_again(damage, tmp_path, caplog):
    run_chunks(farm_tasks.doubled, values(3), tmp_path)
    whole = files(tmp_path)
    path = tmp_path / "chunk-000001.json"
    path.write_bytes(damage(path.read_bytes()))
    calls = []
    run_chunks(farm_tasks.doubled, values(3), tmp_path, on_done=lambda k, _: calls.append(k))
    assert files(tmp_path) == whole
    assert calls == [0, 2, 1]
    assert "chunk-000001.json is damaged" in caplog.text


def test_a_damaged_chunk_is_noticed_when_results_are_read(tmp_path):
    found = run_chunks(farm_tasks.doubled, values(2), tmp_path)
    (tmp_path / "chunk-000001.json").unlink()
    assert next(found)["doubled"] == 0
    with pytest.raises(CheckpointError, match="vanished"):
        next(found)


def test_done_chunks_are_not_done_again_and_payloads_may_be_added(tmp_path):
    run_chunks(farm_tasks.picky, values(3), tmp_path)
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    more = [*values(3), {"value": 9}]
    assert len(list(run_chunks(farm_tasks.picky, more, tmp_path))) == 4
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())][:3] == times


@pytest.mark.parametrize(
    ("task_fn", "given"),
    [(farm_tasks.doubled, [{"value": 5}]), (farm_tasks.picky, values(1))],
    ids=["payload", "task"],
)
def test_a_folder_of_another_run_is_refused(task_fn, given, tmp_path):
    run_chunks(farm_tasks.doubled, values(1), tmp_path)
    with pytest.raises(CheckpointError, match=r"of another run.*another folder"):
        run_chunks(task_fn, given, tmp_path)


# Boundaries


def test_tasks_that_cannot_be_imported_are_refused(tmp_path):
    def inner(payload):
        return payload

    tasks: list[Any] = [
        lambda payload: payload,
        inner,
        partial(farm_tasks.doubled),
        Flaky(0).submit,
    ]
    for task_fn in tasks:
        with pytest.raises(ConfigError, match="cannot be imported by workers"):
            run_chunks(task_fn, values(1), tmp_path)
    assert task_name(farm_tasks.doubled) == "farm_tasks:doubled"


def test_tasks_of_the_script_are_refused(monkeypatch):
    script = importlib.import_module("farm_tasks")
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.setattr(script.doubled, "__module__", "__main__")
    with pytest.raises(ConfigError, match="__main__:doubled cannot be imported"):
        task_name(script.doubled)


@pytest.mark.parametrize("payload", [{"value": float("nan")}, {"value": object()}, {1, 2}])
def test_payloads_that_json_cannot_hold_are_refused(payload, tmp_path):
    with pytest.raises(ConfigError, match="payload 0 is nothing that JSON can hold"):
        run_chunks(farm_tasks.doubled, [payload], tmp_path)


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (Workers(workers=0), "workers is 0"),
        (Workers(cluster="slurm", jobs=0), "jobs is 0"),
        (Workers(scheduler="tcp://a:1", cluster="slurm"), "both given"),
        (Workers(scheduler="tcp://a:1", workers=2), "leave one of them out"),
        (Workers(cluster="slurm", workers=2), "leave one of them out"),
        (Workers(jobs=4), "no cluster is given"),
        (Workers(walltime="01:00:00"), "no cluster is given"),
        (Workers(scheduler="head:8786"), "wanted tcp://host:port"),
        (Workers(scheduler="tcp://head"), "wanted tcp://host:port"),
        (Workers(cluster="slurm", walltime="4h"), "walltime is '4h'"),
        (Workers(cluster="slurm", walltime="00:00:00"), "more than nothing"),
        (Workers(cluster="slurm", memory="lots"), "memory is 'lots'"),
        (Workers(cluster="pbs"), "wanted slurm or htcondor"),  # type: ignore[arg-type]
    ],
)
def test_contradictory_options_are_refused(workers, message):
    with pytest.raises(ConfigError, match=message):
        check_workers(workers)


@pytest.mark.parametrize(
    ("workers", "in_flight"),
    [
        (Workers(workers=4), 12),
        (Workers(scheduler="tcp://[::1]:8786"), 500),
        (Workers(cluster="htcondor", jobs=50, walltime="100:00:00", memory="2 GiB"), 150),
    ],
)
def test_options_that_make_sense(workers, in_flight):
    check_workers(workers)
    assert tasks_in_flight(workers) == in_flight


@pytest.mark.parametrize(
    ("workers", "module"),
    [
        (Workers(scheduler="tcp://127.0.0.1:1"), "distributed"),
        (Workers(cluster="slurm"), "dask_jobqueue"),
    ],
)
def test_a_missing_dask_is_named(workers, module, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(ConfigError, match=rf"(distributed|{module}).*jaxlik\[cluster\]"),
        open_executor(workers),
    ):
        pass


@pytest.mark.parametrize(
    ("cluster", "command"), [("slurm", "sbatch"), ("htcondor", "condor_submit")]
)
def test_a_missing_batch_system_is_named(cluster, command, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(ConfigError, match=f"no command {command}"),
        open_executor(Workers(cluster=cluster)),
    ):
        pass


def test_a_silent_scheduler_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ConfigError, match=r"tcp://127\.0\.0\.1:9 does not answer"),
        open_executor(Workers(scheduler="tcp://127.0.0.1:9")),
    ):
        pass


def test_flags_of_the_user_are_kept():
    found = one_thread({"XLA_FLAGS": "--a=1 --xla_cpu_multi_thread_eigen=true --b"})
    assert found["XLA_FLAGS"] == "--a=1 --b --xla_cpu_multi_thread_eigen=false"
