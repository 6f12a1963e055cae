"""The page of all benchmarks: files of results to tables in Markdown and two figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_goals import GOALS, reached
from benchmarks.harness import FAILED, MISSING, Row, Spread
from benchmarks.results_file import FOLDER, completed, read, rows_of
from benchmarks.suites import SUITES
from jaxlik.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks-all.md"
FIGURES = {"kernels": "benchmarks-kernels.png", "scaling": "benchmarks-scaling.png"}

GPU_COMMAND = "python -m benchmarks run --device gpu"

COLUMNS = ("case", "size", "unit", "jaxlik", "compile [s]", "of floor", "peer", "its value",
           "ratio", "GPU", "remarks")  # fmt: skip

BUSY = 0.5
"""Cores that others may want, as a part of all, before a run counts as disturbed."""

MOST_LINES = 24
"""Of a figure."""

MARKERS = "osv^Dp*X"


def find_results(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The files of a folder by device: the full one, what it lacks from the quick one.

    Raises:
        ConfigError: there are none.
    """
    found = {}
    for device in ("cpu", "gpu"):
        paths = [folder / f"{name}.json" for name in (device, f"{device}-quick")]
        documents = [read(path) for path in paths if path.is_file()]
        if documents:
            found[device] = completed(*documents) if len(documents) > 1 else documents[0]
    if not found:
        raise ConfigError(f"{folder}: holds no results; measure first: python -m benchmarks run")
    return found


def write_page(documents: Mapping[str, dict[str, Any]], page: Path = PAGE) -> list[Path]:
    """Write the page and its figures.

    Args:
        documents: Results by device.
        page: The file; figures lie beside it, in ``figures``.

    Returns:
        What was written.
    """
    shown = documents.get("cpu") or documents["gpu"]
    rows = rows_of(shown)
    figures = page.parent / "figures"
    drawn = {}
    for suite, name in FIGURES.items():
        curves = curves_of([row for row in rows if row.suite == suite])
        if curves:
            figures.mkdir(parents=True, exist_ok=True)
            draw(curves, figures / name)
            drawn[suite] = name
    page.write_text(page_text(documents, drawn), encoding="utf-8")
    return [page, *(figures / name for name in drawn.values())]


def page_text(documents: Mapping[str, dict[str, Any]], figures: Mapping[str, str]) -> str:
    """The page."""
    shown = documents.get("cpu") or documents["gpu"]
    gpu = documents.get("gpu")
    lines = ["# All benchmarks, one command", "", *introduction(shown), ""]
    if gpu is None:
        lines += [f"The column *GPU* is empty: no GPU was at hand. `{GPU_COMMAND}` on a machine "
                  "that has one, then `python -m benchmarks report`, fills it.", ""]  # fmt: skip
    elif gpu is not shown:
        lines += ["The column *GPU*, measured apart from the others:", "", *made_with(gpu), ""]
    lines += ["Read the columns so:", "", *legend(), ""]
    on_gpu = _by_key(rows_of(gpu)) if gpu is not None and gpu is not shown else {}
    suites = shown["suites"]
    for name, entry in sorted(suites.items(), key=lambda item: _place(item[0])):
        title = SUITES[name].title if name in SUITES else name
        lines += [f"## {title}", "", suite_line(name, entry), ""]
        if name in figures:
            lines += [f"![{title}](figures/{figures[name]})", ""]
        rows = [row for row in rows_of(shown) if row.suite == name]
        lines += [*table(rows, on_gpu), ""]
    for name in SUITES:
        if name not in suites:
            command = f"python -m benchmarks run --suite {name}"
            lines += [f"## {SUITES[name].title}", "", f"Not measured: `{command}` does it.", ""]
    lines += ["## Goals on a GPU", "", *goals(rows_of(gpu) if gpu is not None else None)]
    return "\n".join(lines).rstrip() + "\n"


def introduction(document: Mapping[str, Any]) -> list[str]:
    """How the page was made."""
    quick = " --quick" if document["quick"] else ""
    gpu = " --device gpu" if document["device"] == "gpu" else ""
    return [
        f"Made by `python -m benchmarks run{quick}{gpu}`, all programs in the same run and in "
        "turn, on",
        "",
        *made_with(document),
        *_from_quick(document),
    ]


def _from_quick(document: Mapping[str, Any]) -> list[str]:
    """What suites of another, quick run are told apart by."""
    databases = [entry["quick"] for entry in document["suites"].values() if "quick" in entry]
    if not databases:
        return []
    return [f"- suites marked `--quick`: from a quick run here, database {databases[0]}"]


def made_with(document: Mapping[str, Any]) -> list[str]:
    """Hardware, versions, dates."""
    environment = document["environment"]
    hardware, versions = environment["hardware"], environment["versions"]
    dates = sorted({entry["date"] for entry in document["suites"].values()})
    period = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else "-"
    installed = {name: v for name, v in versions.items() if v != "missing"}
    absent = [name for name, v in versions.items() if v == "missing"]
    memory = hardware.get("memory_gib")
    lines = [
        f"- {hardware['processor']}, {hardware['cores']} core(s)"
        + (f", {memory:g} GiB" if memory else "")
        + f", {hardware['system']}; JAX on {', '.join(hardware['devices'])}",
        "- " + ", ".join(f"{name} {v}" for name, v in installed.items()),
        f"- {period}; database {document['database']}; double precision",
    ]
    if absent:
        lines.append(f"- not installed: {', '.join(absent)} (`pip install 'jaxlik[bench]'`)")
    busy = environment.get("load")
    if busy and busy > BUSY * hardware["cores"]:
        lines.append(
            f"- **disturbed**: other processes wanted {busy:.1f} cores when the run began; "
            "ratios suffer less than times"
        )
    cache = environment.get("compilation")
    if cache:
        lines.append(f"- {cache}")
    if hardware.get("xla_flags"):
        lines.append(f"- XLA flags: `{hardware['xla_flags']}`")
    return lines


def legend() -> list[str]:
    """What columns mean."""
    return [
        "- *jaxlik*, *its value*: median and quartiles over rounds, after the first call. "
        "`s` is per unit of work (one likelihood, one model, ...), `per s` its inverse.",
        "- *compile*: what the first call took longer than later ones.",
        "- *ratio*: above one, jaxlik is ahead; median and quartiles of the ratios of rounds.",
        "- *of floor*: part of what the machine can do at best: bytes that have to move over the "
        "measured rate of copying, or operations that have to happen over the measured rate of "
        "matrix products, whichever takes longer; logarithms and roots count as one operation "
        "(`benchmarks/ceilings.py`, floors beside each kernel).",
    ]


def suite_line(name: str, entry: Mapping[str, Any]) -> str:
    """When a suite was measured, and what it took."""
    budget = f", budget of a quick run {SUITES[name].budget:g} s" if name in SUITES else ""
    quick = "--quick " if entry.get("quick") else ""
    return (
        f"`{quick}--suite {name}`, {entry['date']}: {entry['seconds']:.0f} s{budget}; largest "
        f"memory of the process so far {entry['peak_memory_mib']} MiB."
    )


def _place(name: str) -> int:
    """Of a suite on the page."""
    return list(SUITES).index(name) if name in SUITES else len(SUITES)


def table(rows: Sequence[Row], on_gpu: Mapping[tuple, Row]) -> list[str]:
    """Rows in Markdown, those of a case together; what has no number comes below, in sentences."""
    order = {case: number for number, case in enumerate(dict.fromkeys(row.case for row in rows))}
    numbers = [row for row in rows if row.unit not in (FAILED, MISSING)]
    numbers.sort(key=lambda row: order[row.case])
    silent = [row for row in rows if row.unit in (FAILED, MISSING)]
    lines = []
    if numbers:
        lines += [_line(COLUMNS), "|---" * len(COLUMNS) + "|"]
        lines += [_line(_cells(row, on_gpu.get(_key(row)))) for row in numbers]
    if silent:
        lines += ["", "Without a number:", ""]
        sentences: dict[str, list[str]] = {}
        for row in silent:
            sentences.setdefault(row.note, []).append(_named(row))
        lines += [f"- {note} ({'; '.join(dict.fromkeys(names))})"
                  for note, names in sentences.items()]  # fmt: skip
    return lines


def goals(rows: Sequence[Row] | None) -> list[str]:
    """What an H200-class GPU should reach, and what was found."""
    lines = ["| goal | at least | found |", "|---|---|---|"]
    for goal in GOALS:
        row = reached(goal, rows or [])
        found = "" if row is None else f"{number(row.value.median)} per s"
        lines.append(f"| {goal.title} | {number(goal.least)} per s | {found} |")
    return lines


def number(value: float) -> str:
    """Three digits."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def spread_text(found: Spread | None) -> str:
    """Median and quartiles, the latter where they differ from it."""
    if found is None or math.isnan(found.median):
        return ""
    ends = number(found.low), number(found.high)
    middle = number(found.median)
    return middle if ends == (middle, middle) else f"{middle} ({ends[0]} to {ends[1]})"


def curves_of(rows: Iterable[Row]) -> dict[str, tuple[str, list[tuple[int, Spread]]]]:
    """Curves over sizes: by case, its unit and its points; cases with one size are none."""
    found: dict[str, tuple[str, dict[int, Spread]]] = {}
    for row in rows:
        if row.size is None or row.unit not in ("s", "per s") or math.isnan(row.value.median):
            continue
        found.setdefault(row.case, (row.unit, {}))[1].setdefault(row.size, row.value)
    return {
        case: (unit, sorted(points.items()))
        for case, (unit, points) in found.items()
        if len(points) > 1
    }


def draw(curves: Mapping[str, tuple[str, list[tuple[int, Spread]]]], path: Path) -> None:
    """Curves in doubly logarithmic axes, rates and times apart."""
    from jaxlik.plotting import new_figure, save

    titles = {"per s": "units of work per second", "s": "seconds per unit of work"}
    units = [unit for unit in titles if any(curve[0] == unit for curve in curves.values())]
    figure = new_figure(7.6, 5.2 * len(units))
    panels = figure.subplots(len(units), 1, squeeze=False)[:, 0]
    for unit, axes in zip(units, panels, strict=True):
        chosen = {case: points for case, (u, points) in curves.items() if u == unit}
        _draw_panel(axes, dict(list(chosen.items())[:MOST_LINES]))
        axes.set_ylabel(titles[unit])
    save(figure, path)


def _draw_panel(axes: "Axes", curves: Mapping[str, list[tuple[int, Spread]]]) -> None:
    for number_, (case, points) in enumerate(curves.items()):
        sizes = [size for size, _ in points]
        middles = [found.median for _, found in points]
        colour, marker = f"C{number_ % 10}", MARKERS[number_ // 10 % len(MARKERS)]
        axes.plot(
            sizes, middles, marker=marker, color=colour, markersize=4, linewidth=1, label=case
        )
        lows, highs = zip(*((found.low, found.high) for _, found in points), strict=True)
        axes.fill_between(sizes, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size")
    axes.legend(fontsize=5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _key(row: Row) -> tuple:
    return row.suite, row.case, row.size, row.unit


def _by_key(rows: Iterable[Row]) -> dict[tuple, Row]:
    return {_key(row): row for row in rows}


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(row: Row, gpu: Row | None) -> list[str]:
    share = "" if row.share is None else f"{row.share:.2g}"
    compiled = "" if row.compile_seconds is None else f"{row.compile_seconds:.1f}"
    return [
        row.case,
        "" if row.size is None else f"{row.size}",
        row.unit,
        spread_text(row.value),
        compiled,
        share,
        row.peer or "",
        spread_text(row.peer_value),
        spread_text(row.ratio),
        "" if gpu is None else spread_text(gpu.value),
        row.note,
    ]


def _named(row: Row) -> str:
    size = "" if row.size is None else f", size {row.size}"
    return f"{row.case}{size}"
