"""Suites one after the other, each with its time, its memory and its failures."""

import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import baseline, results_file
from benchmarks.environment import environment, peak_memory_mib
from benchmarks.harness import FAILED, Options, Row, failed_row
from benchmarks.page import find_results, write_page
from benchmarks.suites import SUITES, load


def run_suites(
    options: Options,
    names: Sequence[str] | None = None,
    *,
    output: Path | None = None,
    report: bool = True,
    check: bool = True,
    compilation: str = "",
) -> int:
    """Measure suites, write results and page, compare with the baseline.

    Results are written after every suite, so that an interrupted run leaves what it has.

    Args:
        options: How much, and on which device.
        names: Suites, all by default.
        output: File of results; the device's by default, whose other suites stay.
        report: Whether the page in docs is written.
        check: Whether the baseline is looked at; it is one of quick runs on a CPU.
        compilation: What a reader has to know about it.

    Returns:
        0, or 1 where a suite failed or a ratio has fallen.
    """
    path = output or results_file.default_path(options)
    found = {**environment(), "compilation": compilation}
    document = results_file.continued(path, results_file.empty(options, found))
    failures = []
    for name in names or list(SUITES):
        entry, failed = _measured(name, options, found["date"])
        document["suites"][name] = entry
        document["suites"] = {one: document["suites"][one]
                              for one in SUITES if one in document["suites"]}  # fmt: skip
        results_file.write(path, document)
        failures += [name] if failed else []
    print(f"wrote {path}")
    print(budgets(document["suites"], names or list(SUITES), options))
    if report and output is None:
        for written in write_page(find_results()):
            print(f"wrote {written}")
    code = int(bool(failures))
    if failures:
        print(f"suites that failed: {', '.join(failures)}")
    if check and options.quick and options.device == "cpu" and baseline.PATH.is_file():
        checked = baseline.check(
            baseline.read(), results_file.rows_of(document), names or list(SUITES)
        )
        print(baseline.report(checked))
        code |= int(any(one.is_regression for one in checked))
    return code


def _measured(name: str, options: Options, date: str) -> tuple[dict[str, Any], bool]:
    """The entry of one suite, and whether it broke off."""
    rows: list[Row] = []
    begin, failed = time.perf_counter(), False
    try:
        _collect(name, load(name)(options), rows)
    except Exception as error:  # noqa: BLE001 - the other suites shall run
        traceback.print_exc()
        failed = True
        reason = f"the suite broke off: {type(error).__name__}: {str(error)[:200]}"
        rows.append(failed_row(name, "all that follows", "jaxlik", reason))
    seconds = time.perf_counter() - begin
    return results_file.suite_entry(rows, seconds, peak_memory_mib(), date), failed


def _collect(name: str, rows: Iterable[Row], found: list[Row]) -> None:
    """Append rows as they come, so that those before a failure are kept."""
    with tqdm(rows, desc=name, unit="row", dynamic_ncols=True) as bar:
        for row in bar:
            bar.set_postfix_str(row.case[:50], refresh=False)
            found.append(row)
            if row.unit == FAILED:
                tqdm.write(f"{name}: {row.case}: {row.note}")


def budgets(suites: dict[str, Any], names: Sequence[str], options: Options) -> str:
    """Seconds of each suite beside its budget, which is one of quick runs."""
    lines = []
    for name in names:
        seconds = suites[name]["seconds"]
        line = f"{name}: {seconds:.0f} s"
        if options.quick:
            line += f" (budget {SUITES[name].budget:g} s)"
        lines.append(line)
    total = sum(suites[name]["seconds"] for name in names)
    lines.append(f"together {total:.0f} s")
    return "\n".join(lines)
