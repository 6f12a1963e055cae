"""What a result was measured with: hardware, versions, date; no names of hosts or folders."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jaxlik.fit.runtime import devices, versions

PEERS = (
    *("pyhf", "smodels", "spey", "spey-pyhf", "evermore", "iminuit", "emcee", "dynesty"),
    *("networkx", "igraph", "blackjax"),
)
"""Programs that we are compared with, by distribution."""


def environment() -> dict[str, Any]:
    """Hardware and software of this process."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": hardware(),
        "versions": {**versions(), **peer_versions()},
        "load": load(),
    }


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory, devices of JAX."""
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": devices(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def processor() -> str:
    """Its name as the system knows it."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """Main memory [GiB]; `None` where the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages * size / 2**30, 1)


def load(seconds: float = 1.0) -> float | None:
    """Cores that other processes keep busy just now; they disturb what is measured.

    Args:
        seconds: For which to watch.

    Returns:
        `None` where the system does not say; what ran before does not count.
    """
    begin, before = time.perf_counter(), _busy()
    time.sleep(seconds)
    after, passed = _busy(), time.perf_counter() - begin
    if before is None or after is None:
        return None
    return round(max(0.0, after - before) / passed, 2)


def _busy() -> float | None:
    """CPU seconds of everybody else since the system started (Linux)."""
    statistics = Path("/proc/stat")
    if not statistics.is_file():
        return None
    user, nice, system, _, _, *interrupts = map(int, statistics.read_text().split()[1:8])
    ticks = user + nice + system + sum(interrupts)
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def peer_versions() -> dict[str, str]:
    """Versions of peers; the word ``missing`` for those that are not installed."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def peak_memory_mib() -> float:
    """Largest memory of this process so far [MiB]: of the GPU where JAX has one, else resident."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    import resource  # not on Windows

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if platform.system() == "Darwin" else used / 2**10
