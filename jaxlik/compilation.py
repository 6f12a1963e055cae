"""How XLA compiles: programs that a person waits for ask for short compilation."""

import os
from collections.abc import Sequence

import jax

SHORT_COMPILATION = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_backend_optimization_level=1",
)
"""Flags that cut a third of the compilation of an engine and cost a few per cent of its speed
(``python -m benchmarks.compilation`` measures both)."""

SHORTEST_COMPILATION = (SHORT_COMPILATION[0], "--xla_backend_optimization_level=0")
"""Flags for programs that run a few times only, as in tests."""

KNOWN_VERSIONS = ("0.10.",)
"""Releases of JAX whose compiler knows these flags; an unknown one ends the process."""


def compile_short(flags: Sequence[str] = SHORT_COMPILATION) -> bool:
    """Ask XLA for short compilation in this process; before the first array is made.

    Importing jaxlik changes no configuration; programs call this first. Flags that the
    user has set in ``XLA_FLAGS`` keep their value.

    Args:
        flags: `SHORT_COMPILATION` or `SHORTEST_COMPILATION`.

    Returns:
        Whether this release of JAX is known to accept the flags; if not, nothing changes.
    """
    if not jax.__version__.startswith(KNOWN_VERSIONS):
        return False
    given = os.environ.get("XLA_FLAGS", "")
    names = [word.partition("=")[0] for word in given.split()]
    new = [flag for flag in flags if flag.partition("=")[0] not in names]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *new])
    return True
