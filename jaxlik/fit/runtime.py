"""The process a command runs in: precision, compilation cache, versions, signals."""

import logging
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxlik.compilation import compile_short
from jaxlik.fit.program_cache import forget_oldest
from jaxlik.precision import enable_x64

PACKAGES = (
    *("jaxlik", "jax", "jaxlib", "equinox", "optax", "numpyro"),
    *("numpy", "scipy", "smodels", "pyhf"),
)
OPTIONAL = (
    *("iminuit", "cabinetry", "blackjax", "emcee", "dynesty", "spey", "spey-pyhf"),
    *("distributed", "dask-jobqueue", "pyarrow"),
)


SHORTEST_COMPILATION = 0.02
"""Seconds; programs that compile faster are not kept."""


def prepare(*, quiet: bool = False, verbose: bool = False) -> None:
    """Set up precision, the persistent compilation cache, and messages on standard error."""
    import jax

    from jaxlik.database.compile import cache_folder

    compile_short()
    enable_x64()
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        forget_oldest(folder)
    except OSError as error:
        logging.getLogger(__name__).warning("no compilation cache in %s: %s", folder, error)
    else:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Hundreds of small programs, each cheap to compile, make seconds together.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    handler = _BarHandler()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    # The root keeps its level: other libraries talk much at level INFO.
    logging.basicConfig(handlers=[handler])


class _BarHandler(logging.Handler):
    """Messages on standard error that leave progress bars intact."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record above the progress bar."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def optional_versions() -> dict[str, str]:
    """Versions of the packages that jaxlik serves but does not need, where installed."""
    found = {}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def devices() -> list[str]:
    """Each device that JAX computes on, in words, and its memory where known."""
    import jax

    found = []
    for one in jax.devices():
        limit = (one.memory_stats() or {}).get("bytes_limit")
        memory = f", {limit / 2**30:.0f} GiB" if limit else ""
        found.append(f"{one.device_kind} ({one.platform} {one.id}){memory}")
    return found


def device() -> str:
    """The devices that JAX computes on, in words."""
    import jax

    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def environment(arguments: list[str]) -> dict[str, Any]:
    """What a manifest says about the process."""
    return {
        "versions": versions(),
        "device": device(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": ["python", "-m", "jaxlik.fit", *arguments],
        "folder": str(Path.cwd()),
    }


@contextmanager
def terminable() -> Iterator[None]:
    """Let a request to terminate act like Ctrl-C, so that batch systems end runs cleanly."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        del number, frame
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
