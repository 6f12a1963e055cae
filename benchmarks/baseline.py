"""Ratios that must not fall: how far ahead of each peer we are, never absolute times.

A ratio of times that were taken in turn changes little with the machine, but it does change:
with the number of cores, the size of caches, the release of a library. A ratio counts as fallen
if even its upper quartile is below the stored median divided by its tolerance. Stored are ratios
whose quartiles were close together when the baseline was made.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import FAILED, MISSING, Row
from benchmarks.results_file import FOLDER
from jaxlik.errors import ConfigError

SCHEMA = "jaxlik/benchmarks-baseline/1"

PATH = FOLDER / "baseline.json"

TIGHT = 1.4
"""Largest quotient of the quartiles of a ratio that is stored."""

TOLERANCE = 2.0
"""By which a ratio may fall: between machines with two and with sixteen cores it does so, where a
batch uses all cores and the peer one."""

WIDENING = 2.0
"""Wide quartiles widen the tolerance: it is at least their quotient to this power."""

Key = tuple[str, str, int | None, str, str]
"""Suite, case, size, unit and peer."""


class Verdict(StrEnum):
    """What became of a stored ratio."""

    fine = "fine"
    fallen = "fallen"
    vanished = "vanished"
    missing = "peer missing"
    failed = "peer failed"
    unmeasured = "suite not measured"


@dataclass(frozen=True)
class Stored:
    """A ratio of the baseline.

    Attributes:
        suite: That measures it.
        case: What is asked.
        size: Of the case.
        unit: What is compared.
        peer: Who is compared.
        ratio: Median when the baseline was made.
        tolerance: Factor by which it may fall.
    """

    suite: str
    case: str
    size: int | None
    unit: str
    peer: str
    ratio: float
    tolerance: float

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.suite, self.case, self.size, self.unit, self.peer

    @property
    def least(self) -> float:
        """What the upper quartile must reach."""
        return self.ratio / self.tolerance


class Checked(NamedTuple):
    """A stored ratio beside the measured one."""

    stored: Stored
    verdict: Verdict
    row: Row | None

    @property
    def is_regression(self) -> bool:
        """Whether somebody has to look."""
        return self.verdict in (Verdict.fallen, Verdict.vanished)


def chosen(rows: Iterable[Row]) -> list[Stored]:
    """The rows whose ratio is well enough known to be watched."""
    found: dict[Key, Stored] = {}
    for row in rows:
        if not is_watched(row) or row.ratio is None or not row.ratio.low > 0:
            continue
        width = row.ratio.high / row.ratio.low
        if width <= TIGHT:
            tolerance = float(f"{max(TOLERANCE, width**WIDENING):.3g}")
            ratio = float(f"{row.ratio.median:.3g}")
            found[_key(row)] = Stored(*_key(row), ratio, tolerance)
    return list(found.values())


def is_watched(row: Row) -> bool:
    """Whether a row compares with a peer, in something else than memory."""
    return row.peer is not None and row.unit not in (MISSING, FAILED, "MiB")


def _key(row: Row) -> Key:
    return row.suite, row.case, row.size, row.unit, str(row.peer)


def chosen_in_all(runs: Sequence[Sequence[Row]]) -> list[Stored]:
    """Ratios that are tight in every one of several runs and agree within their tolerance.

    Args:
        runs: Rows of each; the smallest median of a ratio is stored.
    """
    tables = [{one.key: one for one in chosen(rows)} for rows in runs]
    found = []
    for key, first in tables[0].items():
        same = [table[key] for table in tables if key in table]
        smallest = min(one.ratio for one in same)
        tolerance = max(one.tolerance for one in same)
        if len(same) == len(tables) and max(one.ratio for one in same) <= tolerance * smallest:
            found.append(replace(first, ratio=smallest, tolerance=tolerance))
    return found


def check(stored: Sequence[Stored], rows: Sequence[Row], suites: Iterable[str]) -> list[Checked]:
    """Compare a run with the baseline.

    Args:
        stored: The baseline.
        rows: Of the run.
        suites: That were measured.
    """
    measured, silent = set(suites), {}
    by_key: dict[Key, Row] = {}
    for row in rows:
        if row.unit in (MISSING, FAILED):
            silent[row.suite, row.case, row.peer] = row
        elif is_watched(row):
            by_key[_key(row)] = row
    return [_checked(one, by_key.get(one.key), silent, measured) for one in stored]


def _checked(one: Stored, row: Row | None, silent: dict, measured: set[str]) -> Checked:
    if one.suite not in measured:
        return Checked(one, Verdict.unmeasured, None)
    if row is not None and row.ratio is not None:
        fallen = row.ratio.high < one.least
        return Checked(one, Verdict.fallen if fallen else Verdict.fine, row)
    said = silent.get((one.suite, one.case, one.peer))
    if said is not None:
        verdict = Verdict.missing if said.unit == MISSING else Verdict.failed
        return Checked(one, verdict, said)
    return Checked(one, Verdict.vanished, None)


def report(checked: Sequence[Checked]) -> str:
    """What regressed, as a table, and how many did not."""
    counts = {
        verdict: sum(one.verdict == verdict for one in checked)
        for verdict in Verdict
        if any(one.verdict == verdict for one in checked)
    }
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines = [f"baseline of {len(checked)} ratios: {summary or 'empty'}"]
    shown = [one for one in checked if one.verdict not in (Verdict.fine, Verdict.unmeasured)]
    if shown:
        lines += ["", "| verdict | suite | case | size | unit | peer | stored | least | measured |",
                  "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for one in shown:
        ratio = one.row.ratio if one.row is not None else None
        measured = "-" if ratio is None else f"{ratio.median:.3g} (to {ratio.high:.3g})"
        size = "" if one.stored.size is None else f"{one.stored.size}"
        stored = one.stored
        cells = [one.verdict, stored.suite, stored.case, size, stored.unit, stored.peer,
                 f"{stored.ratio:.3g}", f"{stored.least:.3g}", measured]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(stored: Sequence[Stored], made: dict[str, Any], path: Path = PATH) -> None:
    """Write a baseline.

    Args:
        stored: Its ratios.
        made: Hardware, versions and date.
        path: The file.
    """
    ratios = [{**vars(one)} for one in stored]
    document = {"schema": SCHEMA, "made": made, "ratios": ratios}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(path: Path = PATH) -> list[Stored]:
    """Read a baseline.

    Raises:
        ConfigError: there is none, or it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ConfigError(
                f"{path}: schema is {document['schema']!r}, wanted {SCHEMA!r}; make it again: "
                "python -m benchmarks baseline"
            )
        return [Stored(**entry) for entry in document["ratios"]]
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; make it: python -m benchmarks baseline"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is no baseline ({error!r}); make it again") from None
