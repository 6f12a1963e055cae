"""New processes: seconds and memory to import, to load the database, to the first result.

Every measurement is a process of its own, started in turn. The first result is taken twice:
with an empty compilation cache, and with the one that this left behind. Memory is the largest
resident size of the process.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import (
    FEWEST_ROUNDS,
    OURS,
    Options,
    Row,
    Spread,
    failed_row,
    missing_row,
    spread,
)
from benchmarks.kernel_peers import EXTRA

SUITE = "startup"

ROOT = Path(__file__).resolve().parents[2]

NOT_INHERITED = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
"""Variables of the measuring process that its children do not get."""

QUICK_ROUNDS = 2
"""Of first results in a quick run."""

PATIENCE = 900.0
"""Seconds that a process may take."""

MARKER = "peak-memory"

MEASURED = """
import pathlib, resource, sys
{work}
status = pathlib.Path("/proc/self/status")
if status.is_file():
    (line,) = [one for one in status.read_text().splitlines() if one.startswith("VmHWM")]
    print("{marker}", float(line.split()[1]) / 2**10)
else:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("{marker}", used / (2**20 if sys.platform == "darwin" else 2**10))
"""
"""Work, then the largest resident size [MiB]; on Linux `ru_maxrss` would be that of the parent."""

IMPORTS = {
    OURS: "import jaxlik, jaxlik.inference.limits, jaxlik.statmodels.poisson",
    "pyhf": "import pyhf",
    "spey": "import spey",
    "SModelS": "import smodels.matching.theoryPrediction",
    "evermore": "import evermore",
}
"""What a limit of a counting experiment needs; `import jaxlik` alone imports nothing."""

PACKAGES = {"SModelS": "smodels"}
"""Names of packages that differ."""

SHORT = """
from jaxlik.compilation import compile_short
compile_short()
"""

ENGINE = """
import jaxlik
jaxlik.enable_x64()
from jaxlik.database.compile import load_database
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.fit.assemble import build_engine
snapshot = load_database("embedded", quiet=True)
engine, labels = build_engine(snapshot, surrogate=open_surrogate(shipped_surrogate()))
"""

SCORE = """
import jax
from jaxlik.physics.model import point_from_dict
masses = {1000022: 163.0, 1000001: 735.0, 1000006: 1166.0}
decays = {1000001: {(1000022, 1): 1.0}, 1000006: {(1000022, 6): 1.0}}
point = point_from_dict(engine.space, {"masses": masses, "branching_ratios": decays})
float(jax.jit(lambda e, p: e.evaluate(p).score)(engine, point))
"""

LIMITS = {
    OURS: SHORT
    + """
import jaxlik
jaxlik.enable_x64()
import jax, jax.numpy as jnp
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.poisson import PoissonCounting
model = PoissonCounting([3.0], [4.1], [1.2])
limit = jax.jit(lambda model, s: find_upper_limit(*likelihood_pair(model, s)).mu)
float(limit(model, jnp.asarray([2.5])))
""",
    "pyhf": """
import pyhf
from scipy.optimize import toms748
model = pyhf.simplemodels.uncorrelated_background([2.5], [4.1], [1.2])
data = [3.0] + model.config.auxdata
cls = lambda mu: float(pyhf.infer.hypotest(mu, data, model, test_stat="qtilde")) - 0.05
toms748(cls, 0.1, 9.9, rtol=1e-4)
""",
    "spey": """
import spey
backend = spey.get_backend("default.uncorrelated_background")
backend(signal_yields=[2.5], background_yields=[4.1], data=[3.0],
        absolute_uncertainties=[1.2], analysis="benchmark").poi_upper_limit()
""",
    "SModelS": """
from smodels.statistics.basicStats import observed
from smodels.statistics.simplifiedLikelihoods import SLData, SLUpperLimitComputer
data = SLData([3.0], [4.1], [[1.44]], nsignal=[2.5], deltas_rel=0.0)
SLUpperLimitComputer(data).getUpperLimitOnMu(observed)
""",
}
"""The observed limit of one region, as a user would write it; pyhf's own model of it has a Poisson
constraint instead of a normal one."""


class Child(NamedTuple):
    """What a process said.

    Attributes:
        seconds: From its start to its end.
        memory: Largest resident size [MiB].
    """

    seconds: float
    memory: float


class ChildError(RuntimeError):
    """A measured process failed."""


def measure(options: Options) -> Iterator[Row]:
    """Imports, loading, first results."""
    rounds = FEWEST_ROUNDS if options.quick else options.rounds
    yield from beside("import", IMPORTS, rounds, platform_of(options), warm=not options.quick)
    yield from first_results(options)


def platform_of(options: Options) -> dict[str, str]:
    """Variables that keep a process off a GPU that is not asked for."""
    return {"JAX_PLATFORMS": "cpu"} if options.device == "cpu" else {}


def first_results(options: Options) -> Iterator[Row]:
    """K of one model, and the limit of one region, with and without compiled programs at hand."""
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    with tempfile.TemporaryDirectory(prefix="jaxlik-") as folder:
        cache = {
            **platform_of(options),
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        score = SHORT + ENGINE + SCORE
        name = "first K of a model, networks"
        yield from rows(f"{name}, nothing compiled", {OURS: [run(score, cache)]})
        loaded = [run(SHORT + ENGINE, cache) for _ in range(1 if options.quick else rounds)]
        yield from rows("embedded database to an engine, compiled before", {OURS: loaded})
        cached = [run(score, cache) for _ in range(1 if options.quick else rounds)]
        yield from rows(f"{name}, compiled before", {OURS: cached})
        name = "first limit of a region"
        yield from rows(f"{name}, nothing compiled", {OURS: [run(LIMITS[OURS], cache)]})
        yield from beside(f"{name}, compiled before", LIMITS, rounds, cache, warm=not options.quick)


def run(work: str, extra: Mapping[str, str] | None = None) -> Child:
    """Do some work in a new process.

    Args:
        work: Python.
        extra: Variables of its environment.

    Raises:
        ChildError: it ends with an error, or takes too long.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment = {**inherited, **(extra or {})}
    command = [sys.executable, "-c", MEASURED.format(work=work, marker=MARKER)]
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"takes longer than {PATIENCE:g} s") from error
    seconds = time.perf_counter() - begin
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ChildError(f"ends with {last[:120]}")
    # Some programs say goodbye after that line.
    (line,) = [one for one in done.stdout.splitlines() if one.startswith(MARKER)]
    return Child(seconds, float(line.split()[1]))


def beside(
    case: str,
    scripts: Mapping[str, str],
    rounds: int,
    extra: Mapping[str, str] | None = None,
    *,
    warm: bool = True,
) -> Iterator[Row]:
    """The same work by several programs, in turn.

    Args:
        case: For tables.
        scripts: Work of each program.
        rounds: Processes of each.
        extra: Variables of their environment.
        warm: Whether a first process of each is not counted: it brings files into the memory of
            the system, and tells whether the program works.
    """
    able, reasons = {}, []
    for name, script in scripts.items():
        if find_spec(PACKAGES.get(name, name)) is None:
            reasons.append(missing_row(SUITE, case, name, EXTRA))
            continue
        able[name] = script
    found: dict[str, list[Child]] = {name: [] for name in able}
    for number in range(-1 if warm else 0, rounds):
        names = list(able)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            try:
                child = run(able[name], extra)
            except ChildError as error:
                if name == OURS:
                    raise
                reasons.append(failed_row(SUITE, case, name, f"{name} {error}"))
                del able[name]
            else:
                found[name] += [child] if number >= 0 else []
    yield from rows(case, {name: found[name] for name in able})
    yield from reasons


def rows(case: str, found: Mapping[str, list[Child]]) -> Iterator[Row]:
    """Seconds of the whole process and its memory; ours first."""
    kinds = {"s": lambda child: child.seconds, "MiB": lambda child: child.memory}
    for unit, number in kinds.items():
        numbers = {name: [number(child) for child in children] for name, children in found.items()}
        ours = numbers.pop(OURS)
        value: Spread = spread(ours)
        note = "one process" if len(ours) == 1 else ""
        if not numbers:
            yield Row(SUITE, case, None, unit, value, note=note)
        for name, theirs in numbers.items():
            ratio = spread([peer / own for peer, own in zip(theirs, ours, strict=True)])
            yield Row(SUITE, case, None, unit, value, peer=name, peer_value=spread(theirs),
                      ratio=ratio, note=note)  # fmt: skip
