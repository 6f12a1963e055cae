"""Tasks for tests of the farm: workers import this module by its name."""

import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp


@jax.jit
def _mean_largest(key):
    """Of 64 pseudo-experiments with 32 counts each, through a matrix product."""
    normal = jax.random.normal(key, (64, 32))
    return jnp.max(normal @ normal.T, axis=1).mean()


def toys(payload):
    """Numbers that depend on seed and number alone."""
    key = jax.random.fold_in(jax.random.key(payload["seed"]), payload["number"])
    return {"number": payload["number"], "mean": float(_mean_largest(key))}


def _first_time(path):
    """Whether a file that marks an event was not there yet."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def kill_worker(payload):
    """As `toys`; at one number the process dies, the first time."""
    if payload["number"] == payload["fatal"] and _first_time(payload["mark"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return toys(payload)


def always_kill_worker(payload):
    """Dies at one number, always."""
    if payload["number"] == payload["fatal"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"number": payload["number"]}


def doubled(payload):
    """Needs no array."""
    return {"doubled": 2 * payload["value"], "ratio": payload["value"] / 3}


def picky(payload):
    """Refuses the number 3."""
    if payload["value"] == 3:
        raise PickyError("value", 3)
    return doubled(payload)


class PickyError(Exception):
    """Survives no way between processes: its arguments are not those of its base."""

    def __init__(self, name, value):
        super().__init__(f"{name} is {value}")


def no_document(payload):
    """Returns something else than a dictionary."""
    return payload["value"]


def not_finite(payload):
    """A number that JSON has no word for."""
    return {"value": float("nan")}


def process(payload):
    """Where and how this runs."""
    _mean_largest(jax.random.key(0)).block_until_ready()
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return {
        "pid": os.getpid(),
        "flags": os.environ["XLA_FLAGS"].split(),
        "blas": os.environ["OPENBLAS_NUM_THREADS"],
        "xla_threads": names.count("tf_XLAEigen"),
        "x64": bool(jax.config.read("jax_enable_x64")),
        "cache": bool(jax.config.jax_compilation_cache_dir),  # type: ignore[attr-defined]
    }
