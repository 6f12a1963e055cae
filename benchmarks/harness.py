"""How things are timed: compilation apart, peers in turn with us, ratios with their spread.

A *case* is one question at one size. It is timed as rounds: in each round every contender works
once, in an order that changes, so that a machine that slows down does so for all. The ratio of
a round is time of the peer per unit of work over ours; medians and quartiles are over rounds.
"""

import itertools
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlik.errors import MissingPackageError

Task = Callable[[], Any]

OURS = "jaxlik"
MISSING, FAILED = "missing", "failed"
"""Units of rows without a number: the peer is not installed, or has no answer."""

FEWEST_ROUNDS = 3
"""Also of slow cases: quartiles need so many."""

PATIENCE, QUICK_PATIENCE = 30.0, 12.0
"""Seconds that a peer may take to prepare and answer once."""

FULL_SECONDS, QUICK_SECONDS = 20.0, 1.0
"""Rounds of one case, together, where `FEWEST_ROUNDS` take no longer."""


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Spread":
        """All three times a factor."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)


SPREADS = ("value", "peer_value", "ratio")
"""Attributes of a row."""

NOTHING = Spread(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        device: ``cpu`` or ``gpu``.
        quick: Small sizes, few rounds: ten minutes for all suites on two cores.
        rounds: Of every case.
        seed: Of random input.
        database: As `jaxlik.database.compile.load_database` takes it.
    """

    device: str = "cpu"
    quick: bool = False
    rounds: int = 7
    seed: int = 0
    database: str = "embedded"


@dataclass(frozen=True)
class Floor:
    """What has to happen whoever does it.

    Attributes:
        bytes: Read and written at least once, per unit of work.
        operations: Floating-point operations, per unit of work.
    """

    bytes: float
    operations: float


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        suite: That measured it.
        case: What was asked.
        size: Batch size, number of nodes, or whatever the case varies; `None` for nothing.
        unit: What a value is: ``s`` per unit of work, ``per s``, ``MiB``, ``exponent``, ...
        value: Ours.
        compile_seconds: First call less a later one; `None` where nothing compiles.
        peer: With whom we compare; `None` for nobody.
        peer_value: Of the peer, in the same unit.
        ratio: Peer over ours where smaller is better, ours over peer where larger is: above one
            means that jaxlik is ahead.
        share: Of the floor that is reached (1 is the machine's ceiling); `None` where there is
            no floor.
        note: What a reader has to know.
    """

    suite: str
    case: str
    size: int | None
    unit: str
    value: Spread
    compile_seconds: float | None = None
    peer: str | None = None
    peer_value: Spread | None = None
    ratio: Spread | None = None
    share: float | None = None
    note: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON, which knows no NaN: a spread without numbers is `None`."""
        found = asdict(self)
        for name in SPREADS:
            spread = getattr(self, name)
            found[name] = None
            if spread is not None and not math.isnan(spread.median):
                found[name] = spread._asdict()
        for name in ("compile_seconds", "share"):
            if found[name] is not None and not math.isfinite(found[name]):
                found[name] = None
        return found


def row_from(document: dict[str, Any]) -> Row:
    """The row that `Row.document` described."""
    spreads = {
        name: None if document[name] is None else Spread(**document[name]) for name in SPREADS
    }
    spreads["value"] = spreads["value"] or NOTHING
    return Row(**{**document, **spreads})


@dataclass(frozen=True)
class Contender:
    """Someone who does the work of a case.

    Attributes:
        task_fn: Does it once; what it returns is waited for.
        units: Units of work done by one call.
        compiles: Whether the first call may take much longer than the others.
    """

    task_fn: Task
    units: float = 1.0
    compiles: bool = True


Maker = Callable[[], Contender]
"""Prepares a contender; untimed."""


@dataclass
class Timing:
    """Seconds per unit of work.

    Attributes:
        first: Seconds of the first call.
        rounds: Seconds per unit, one for each round.
        units: Units of work of a call.
    """

    first: float
    rounds: list[float] = field(default_factory=list)
    units: float = 1.0

    @property
    def compile_seconds(self) -> float:
        """What the first call took longer than the median of the later ones."""
        if not self.rounds:
            return math.nan
        return max(0.0, self.first - self.units * float(np.median(self.rounds)))


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of some numbers."""
    low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high))


def side_by_side(
    contenders: dict[str, Contender], rounds: int, *, least_seconds: float = 0.02
) -> dict[str, Timing]:
    """Time contenders in turn, fewer rounds of what is slow.

    Args:
        contenders: By name; ours first.
        rounds: How often each works, as far as `FULL_SECONDS` allow.
        least_seconds: A round repeats short tasks until they take so long together.
    """
    timings = {name: first_call(one) for name, one in contenders.items()}
    return in_turn(contenders, timings, rounds, least_seconds=least_seconds)


def first_call(one: Contender) -> Timing:
    """A contender's first call, which compiles what there is to compile."""
    return Timing(_seconds(one.task_fn), units=one.units)


def in_turn(
    contenders: dict[str, Contender],
    timings: dict[str, Timing],
    rounds: int,
    *,
    least_seconds: float = 0.02,
    most_seconds: float = FULL_SECONDS,
) -> dict[str, Timing]:
    """Rounds of contenders whose first calls are done.

    Args:
        contenders: By name; ours first.
        timings: Of the same, from `first_call`; rounds are added.
        rounds: How often each works.
        least_seconds: A round repeats short tasks until they take so long together.
        most_seconds: Of all rounds, as far as `FEWEST_ROUNDS` allow.
    """
    repeats, total = {}, 0.0
    for name, one in contenders.items():
        once = max(_seconds(one.task_fn) if one.compiles else timings[name].first, 1e-7)
        repeats[name] = max(1, math.ceil(least_seconds / once))
        total += repeats[name] * once
    rounds = max(min(rounds, FEWEST_ROUNDS), int(min(rounds, most_seconds / total)))
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names)
        for name in itertools.chain(names[turn:], names[:turn]):
            one = contenders[name]
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                jax.block_until_ready(one.task_fn())
            seconds = (time.perf_counter() - begin) / repeats[name]
            timings[name].rounds.append(seconds / one.units)
    return timings


def measured_rows(
    suite: str,
    case: str,
    ours: Contender,
    peers: Mapping[str, Maker],
    options: Options,
    *,
    size: int | None = None,
    unit: str = "s",
    share_fn: Callable[[float], float] | None = None,
    note: str = "",
    most_seconds: float | None = None,
) -> list[Row]:
    """Time us beside peers, of which each may be missing, slow or broken.

    Args:
        suite: That measures.
        case: What is asked.
        ours: Us.
        peers: By name, functions that prepare a contender; what they raise becomes a row.
        options: Rounds.
        size: What the case varies.
        unit: ``s`` or ``per s``, see `rows_of`.
        share_fn: Share of the floor, from our seconds per unit of work.
        note: For the reader.
        most_seconds: Of all rounds; by default `QUICK_SECONDS` or `FULL_SECONDS`.
    """
    from benchmarks.workspace_peers import TooSlow, patience  # imports pyhf

    if most_seconds is None:
        most_seconds = QUICK_SECONDS if options.quick else FULL_SECONDS
    limit = QUICK_PATIENCE if options.quick else PATIENCE
    rows: list[Row] = []
    contenders, timings = {OURS: ours}, {OURS: first_call(ours)}
    for name, maker in peers.items():
        try:
            with patience(limit):
                one = maker()
                timings[name] = first_call(one)
            contenders[name] = one
        except MissingPackageError as error:
            rows.append(failed_row(suite, case, name, str(error), size=size, unit=MISSING))
        except TooSlow:
            why = f"{name} takes longer than {limit:g} s"
            rows.append(failed_row(suite, case, name, why, size=size))
        except Exception as error:  # noqa: BLE001 - whatever another program raises is its result
            why = f"{name} fails: {_in_words(error)}"
            rows.append(failed_row(suite, case, name, why, size=size))
    try:
        in_turn(contenders, timings, options.rounds, most_seconds=most_seconds)
    except Exception as error:
        if len(contenders) == 1:
            raise
        names = [name for name in contenders if name != OURS]
        why = f"one of {'; '.join(names)} fails in a later call: {_in_words(error)}"
        rows += [failed_row(suite, case, name, why, size=size) for name in names]
        timings = in_turn({OURS: ours}, {OURS: first_call(ours)}, options.rounds)
    share = None if share_fn is None else share_fn(float(np.median(timings[OURS].rounds)))
    found = {name: timings[name] for name in timings if timings[name].rounds}
    measured = rows_of(suite, case, found, size=size, unit=unit, share=share, note=note)
    if not ours.compiles:
        measured = [replace(row, compile_seconds=None) for row in measured]
    return measured + rows


def rows_of(
    suite: str,
    case: str,
    timings: dict[str, Timing],
    *,
    size: int | None = None,
    unit: str = "s",
    share: float | None = None,
    note: str = "",
) -> list[Row]:
    """One row per peer, or one without a peer.

    Args:
        suite: That measured.
        case: What was asked.
        timings: Ours first.
        size: What the case varies.
        unit: ``s`` for seconds per unit of work, ``per s`` for its inverse.
        share: Of the floor that we reach.
        note: For the reader.
    """
    (_, ours), *peers = timings.items()
    invert = unit == "per s"

    def value(timing: Timing) -> Spread:
        return spread([1 / t for t in timing.rounds] if invert else timing.rounds)

    shared = {"suite": suite, "case": case, "size": size, "unit": unit, "value": value(ours),
              "compile_seconds": ours.compile_seconds, "share": share, "note": note}  # fmt: skip
    if not peers:
        return [Row(**shared)]
    return [
        Row(**shared, peer=name, peer_value=value(timing),
            ratio=spread([p / o for p, o in zip(timing.rounds, ours.rounds, strict=True)]))
        for name, timing in peers
    ]  # fmt: skip


def missing_row(suite: str, case: str, peer: str, extra: str) -> Row:
    """Says that a peer is not installed, and how to install it."""
    note = f"{peer} is not installed: pip install 'jaxlik[{extra}]'"
    return failed_row(suite, case, peer, note, unit=MISSING)


def failed_row(
    suite: str, case: str, peer: str, note: str, *, size: int | None = None, unit: str = FAILED
) -> Row:
    """Says that a peer has no number here, and why."""
    return Row(suite, case, size, unit, NOTHING, peer=peer, note=note)


def _in_words(error: Exception) -> str:
    """Kind and beginning of an error, on one line and without folders."""
    text = " ".join(re.sub(r"(/[\w.+-]+){2,}", "...", str(error)).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


def _seconds(task_fn: Task) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(task_fn())
    return time.perf_counter() - begin
