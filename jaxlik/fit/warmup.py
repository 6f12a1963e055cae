"""Compile in the background what a command needs later, while one core is idle."""

import logging
import threading
from collections.abc import Callable, Sequence

from jaxlik.engine import Engine
from jaxlik.fit.bands import yield_bands
from jaxlik.fit.inspection import inspect
from jaxlik.fit.labels import Labels
from jaxlik.physics.model import point_from_dict
from jaxlik.physics.particles import LBP

logger = logging.getLogger(__name__)


class Warmup:
    """Runs tasks one after the other in a thread; their results do not matter.

    What a task compiles stays in the process. A task that fails is only logged: the
    same call will fail again where it counts.
    """

    def __init__(self, tasks: Sequence[Callable[[], object]]):
        self._tasks = list(tasks)
        self._done = [threading.Event() for _ in self._tasks]
        # No daemon: a compiler that is cut off at exit takes the process down with it.
        self._thread = threading.Thread(target=self._work, name="warmup", daemon=False)
        self._thread.start()

    def wait(self, number: int) -> None:
        """Wait until a task is done; better than to compile the same twice."""
        if number < len(self._done):
            self._done[number].wait()

    def cancel(self) -> None:
        """Drop the tasks that have not begun."""
        self._tasks = []

    def _work(self) -> None:
        for event in self._done:
            if self._tasks:
                task = self._tasks.pop(0)
                try:
                    task()
                except Exception as error:  # noqa: BLE001
                    logger.info("compiling ahead failed: %s", error)
            event.set()


def compile_inspection(engine: Engine, labels: Labels) -> None:
    """Compile what the exact scores of the end need, and the bands of networks."""
    lonely = point_from_dict(engine.space, {"masses": {LBP: 200.0}})
    inspect(engine, labels, lonely)
    yield_bands(engine, lonely)
