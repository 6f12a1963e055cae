"""Many independent tasks, each of which leaves a file: they run anywhere and resume anytime.

A task is a function of an importable module, from a payload to a document. Its chunk file is
written by the driver alone, when the task is done, and says nothing about where or when it
ran; so a folder of chunks holds the same bytes whatever the engine, the number of workers, or
how often workers and driver died on the way.
"""

import importlib
import json
import logging
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from jaxlik.errors import ConfigError, JaxlikError
from walkers.chunks import (
    Document,
    digest_of,
    json_text,
    read_chunk,
    read_result,
    remove_unfinished,
    write_chunk,
)
from walkers.executors import prepare_worker

logger = logging.getLogger(__name__)


class ChunkError(JaxlikError, RuntimeError):
    """A task failed, or the workers that were to do it died again and again."""


class Outcome(NamedTuple):
    """What comes back from a worker.

    Attributes:
        result: JSON text of what the task returned; `None` if it failed.
        error: Type and message of its exception.
        trace: Traceback of its exception.
    """

    result: str | None
    error: str = ""
    trace: str = ""


class _EngineError(Exception):
    """Workers died or were lost, with the chunks they had."""

    def __init__(self, chunks: list[int], cause: BaseException):
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.chunks = chunks


def run_chunks(
    task_fn: Callable[[Any], Document],
    payloads: Sequence[Any],
    folder: str | Path,
    *,
    executor_fn: Callable[[], AbstractContextManager[Executor]] | Executor | None = None,
    on_done: Callable[[int, Document], None] | None = None,
    retries: int = 3,
    in_flight: int = 64,
) -> Iterator[Document]:
    """Do a task for each payload that has no chunk file yet.

    Args:
        task_fn: Module-level function of an importable module; takes a payload and returns a
            dictionary that JSON can hold. The same payload must give the same result.
        payloads: Values that JSON can hold. The task sees them as JSON returns them.
        folder: Of the chunk files, for one driver at a time; made if missing. More payloads
            may be added later.
        executor_fn: Opens workers for a `with` block, as ``partial(open_executor, workers)``;
            called again when they die. An executor serves as well, but dies only once. `None`
            does the tasks here one by one, where XLA may use more threads than in a worker,
            so that last digits may differ.
        on_done: Called with number and result of each chunk, first those found in the folder,
            then in the order in which they are finished.
        retries: How many times in a row workers may die without finishing any chunk.
        in_flight: How many tasks are handed out at a time (`executors.tasks_in_flight`).

    Returns:
        Results in the order of the payloads, read from the chunk files one at a time.

    Raises:
        ConfigError: the task cannot be imported by its name, or JSON cannot hold a payload.
        ChunkError: a task failed, or workers died more than `retries` times in a row. Chunks
            done before remain.
        CheckpointError: the folder belongs to other payloads, or cannot be written.
    """
    task = task_name(task_fn)
    folder = Path(folder)
    texts = [_payload_text(chunk, payload) for chunk, payload in enumerate(payloads)]
    remove_unfinished(folder)
    digests = [digest_of(f"{task}\n{chunk}\n{text}") for chunk, text in enumerate(texts)]
    waiting: deque[int] = deque()
    for chunk, digest in enumerate(digests):
        found = read_chunk(folder, chunk, digest)
        if found is None:
            waiting.append(chunk)
        elif on_done is not None:
            on_done(chunk, found)
    num_done = len(texts) - len(waiting)

    def submit(executor: Executor, chunk: int) -> Future[Outcome]:
        perform_fn = perform if executor_fn is None else perform_apart
        return executor.submit(perform_fn, task, texts[chunk])

    def record(chunk: int, outcome: Outcome) -> None:
        nonlocal num_done
        if outcome.result is None:
            error = ChunkError(
                f"chunk {chunk} of {task} failed with {outcome.error}; {num_done} chunks are "
                f"intact in {folder}: correct the task or its payload and start again"
            )
            error.add_note(outcome.trace)
            raise error
        result = json.loads(outcome.result)
        write_chunk(folder, chunk, digests[chunk], result, num_done)
        num_done += 1
        if on_done is not None:
            on_done(chunk, result)

    window = 1 if executor_fn is None else in_flight
    _persist(_opener(executor_fn), submit, record, waiting, window, retries)
    return (read_result(folder, chunk, digest) for chunk, digest in enumerate(digests))


def _persist(
    open_fn: Callable[[], AbstractContextManager[Executor]],
    submit_fn: Callable[[Executor, int], Future[Outcome]],
    record_fn: Callable[[int, Outcome], None],
    waiting: deque[int],
    window: int,
    retries: int,
) -> None:
    """Work through the chunks with ever new workers.

    What was in flight when workers died comes last. Where they die again without having
    finished anything, chunks go out one by one until one is done, so that a chunk that kills
    its worker is found out.
    """
    barren, suspects = 0, set()
    while waiting:
        before = len(waiting)
        try:
            with open_fn() as executor:
                first = 1 if barren > 1 else window
                _work_through(executor, submit_fn, record_fn, waiting, first, window)
        except _EngineError as failure:
            if len(waiting) < before:
                barren, suspects = 0, set()
            barren += 1
            suspects.update(failure.chunks)
            if barren > retries:
                raise ChunkError(
                    f"workers died {barren} times in a row without finishing a chunk, at last "
                    f"with chunk {_listed(sorted(suspects))} ({failure}); give each worker more "
                    "memory or run fewer, look into the workers' logs, and start again: other "
                    "chunks are kept"
                ) from failure
            logger.warning(
                "workers died with chunk %s (%s); starting new ones, attempt %d of %d",
                _listed(failure.chunks),
                failure,
                barren,
                retries,
            )


def _work_through(
    executor: Executor,
    submit_fn: Callable[[Executor, int], Future[Outcome]],
    record_fn: Callable[[int, Outcome], None],
    waiting: deque[int],
    first: int,
    window: int,
) -> None:
    """Hand out chunks until none waits, at first `first` at a time, then `window`.

    Raises:
        _EngineError: workers died; what was in flight waits again.
    """
    futures: dict[Future[Outcome], int] = {}
    cause: BaseException | None = None
    limit = first
    try:
        while waiting or futures:
            try:
                while waiting and len(futures) < limit:
                    future = submit_fn(executor, waiting[0])
                    futures[future] = waiting.popleft()
            except (OSError, RuntimeError) as error:
                cause = error
            # Workers that died may have finished something before.
            done, _ = wait(futures, 0 if cause else None, FIRST_COMPLETED)
            for future in sorted(done, key=futures.__getitem__):
                failure = CancelledError() if future.cancelled() else future.exception()
                if failure is None:
                    record_fn(futures.pop(future), future.result())
                    limit = window
                else:
                    cause = failure
            if cause is not None:
                lost = sorted(futures.values())
                waiting.extend(lost)
                raise _EngineError(lost or [waiting[0]], cause) from cause
    finally:
        for future in futures:
            future.cancel()


def task_name(task_fn: Callable[..., Any]) -> str:
    """Name by which a worker finds a task, as ``package.module:function``.

    Raises:
        ConfigError: no module-level function of an importable module. Such a function would
            travel by value and be compiled anew for every task.
    """
    module = getattr(task_fn, "__module__", None) or "?"
    name = getattr(task_fn, "__qualname__", repr(task_fn))
    importable = module not in ("__main__", "__mp_main__")
    if not importable or getattr(sys.modules.get(module), name, None) is not task_fn:
        raise ConfigError(
            f"task {module}:{name} cannot be imported by workers, wanted a function at the "
            "top level of an importable module (no lambda, method or partial, and not in the "
            "script that is run); move it into a module"
        )
    return f"{module}:{name}"


def perform(task: str, payload: str) -> Outcome:
    """Do a task in this process.

    Exceptions come back as text: not all survive the way between processes.

    Args:
        task: Its name, from `task_name`.
        payload: JSON text.
    """
    module, _, name = task.partition(":")
    try:
        task_fn = getattr(importlib.import_module(module), name)
        result = task_fn(json.loads(payload))
        if not isinstance(result, dict):
            raise TypeError(f"{task} returned {type(result).__name__}, wanted a dictionary")
        return Outcome(json_text(result))
    except Exception as error:  # noqa: BLE001  (a task may raise anything)
        return Outcome(None, f"{type(error).__name__}: {error}", traceback.format_exc())


def perform_apart(task: str, payload: str) -> Outcome:
    """Do a task in a process that may be fresh.

    The task's module is imported after the process was set up: it may make arrays.
    """
    prepare_worker()
    return perform(task, payload)


class _Here(Executor):
    """Does each task at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The result, as a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _opener(
    executor_fn: Callable[[], AbstractContextManager[Executor]] | Executor | None,
) -> Callable[[], AbstractContextManager[Executor]]:
    """How to open workers; an executor that was given stays open."""
    if executor_fn is None:
        return _Here
    if isinstance(executor_fn, Executor):
        return lambda: nullcontext(executor_fn)
    return executor_fn


def _payload_text(chunk: int, payload: Any) -> str:
    try:
        return json_text(payload)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"payload {chunk} is nothing that JSON can hold ({error}); use numbers, texts, "
            "lists and dictionaries"
        ) from error


def _listed(chunks: Sequence[int]) -> str:
    """The first few numbers."""
    shown = ", ".join(map(str, chunks[:5]))
    return f"{shown} and {len(chunks) - 5} more" if len(chunks) > 5 else shown
