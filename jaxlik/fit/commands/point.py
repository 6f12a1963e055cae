"""`point`: what the experiments say about given models.

One model gives the document `jaxlik/point/1`, several a list of them, `jaxlik/points/1`; see
`jaxlik.fit.point_document`. A model that cannot be read or judged is one error row and does not
stop the others; the exit code is then 1.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlik.errors import JaxlikError
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.console import Console, terminal_width
from jaxlik.fit.point_config import PointConfig, check
from jaxlik.fit.report import duration

if TYPE_CHECKING:
    from jaxlik.fit.point_inputs import Entry
    from jaxlik.verdict.atlas import Atlas
    from jaxlik.verdict.likelihoods import Likelihoods
    from jaxlik.verdict.point import Verdict


OPTIONS = PointConfig


def parse(given: Sequence[str]) -> PointConfig:
    """Resolve the command line."""
    return resolve(PointConfig, "point", given)


def run(config: PointConfig) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        ConfigError: numbers out of range, or a table without a template.
        DatabaseError: the database is no good.
    """
    from jaxlik.fit.runtime import prepare

    check(config)
    console = Console(config.json, config.quiet)
    prepare(quiet=config.quiet, verbose=config.verbose)
    from tqdm import tqdm

    from jaxlik.fit.point_document import (
        MANY_SCHEMA,
        document,
        error_document,
        error_row,
        row,
    )
    from jaxlik.fit.point_inputs import entries
    from jaxlik.fit.point_report import point_report, points_report
    from jaxlik.fit.tables import write_table
    from jaxlik.verdict.likelihoods import Likelihoods

    started = time.perf_counter()
    waiting = list(entries(config.models, config.template, config.particles))
    atlas = _atlas(config, console)
    likelihoods = Likelihoods(atlas, compat=config.compat == "smodels")
    console.note(f"ready in {duration(time.perf_counter() - started)}")
    documents: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    text = ""
    with tqdm(total=len(waiting), desc="models", disable=config.quiet or len(waiting) < 2) as bar:
        for entry, outcome, seconds in _judged(waiting, atlas, likelihoods, config):
            if isinstance(outcome, str):
                documents.append(error_document(entry.name, outcome))
                rows.append(error_row(entry.name, outcome))
            else:
                documents.append(document(outcome, atlas, entry.name))
                rows.append(row(outcome, atlas, entry.name, seconds))
                if len(waiting) == 1:
                    text = point_report(outcome, atlas, entry.name, terminal_width())
            bar.update()
    failed = [one for one in rows if one["status"] == "error"]
    if len(waiting) == 1 and not failed:
        console.show(text)
    elif len(waiting) == 1:
        console.error(failed[0]["message"])
    else:
        console.show(points_report(rows, terminal_width()))
    if config.output is not None:
        write_table(config.output, rows)
        console.note(f"table {config.output}")
    whole = documents[0] if len(waiting) == 1 else {"schema": MANY_SCHEMA, "points": documents}
    if config.report is not None:
        _write_page(whole, atlas, config.report, console)
    console.document(whole)
    console.note(f"done in {duration(time.perf_counter() - started)}")
    return 1 if failed else 0


def _write_page(document: dict[str, Any], atlas: "Atlas", path: Path, console: Console) -> None:
    """Write the page of the verdicts, with links to the publications."""
    from jaxlik.fit.html.references import reference_entries
    from jaxlik.fit.html.write import write_page

    sources = {folder: result.provenance for folder, result in atlas.results.items()}
    names = {source.analysis for source in sources.values()}
    write_page({**document, "references": reference_entries(sources, names)}, path)
    console.note(f"report {path}")


def _atlas(config: PointConfig, console: Console) -> "Atlas":
    """The database, with networks where it has no maps or they are asked for."""
    from jaxlik.combination.overlap import read_combinability
    from jaxlik.database.compile import load_database
    from jaxlik.database.snapshot import HULLS_ONLY
    from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
    from jaxlik.verdict.atlas import Atlas

    table = read_combinability(config.combinability)
    snapshot = load_database(config.database, quiet=config.quiet)
    hulls = bool(snapshot.manifest.get(HULLS_ONLY))
    if config.yields == "networks" or (config.yields == "auto" and hulls):
        atlas = Atlas(snapshot, open_surrogate(shipped_surrogate()), table)
        console.note(
            "efficiencies from networks (docs/surrogates.md); maps with lifetimes are left out; "
            "a full database has them all"
        )
        return atlas
    return Atlas(snapshot, combinability=table)


def _judged(
    waiting: Sequence["Entry"], atlas: "Atlas", likelihoods: "Likelihoods", config: PointConfig
) -> Iterator[tuple["Entry", "Verdict | str", float]]:
    """Verdicts, or messages, in order, with the seconds each took."""
    from jaxlik.verdict.point import Options, judge

    options = Options(config.combine, config.gradients, config.all_regions)
    for start in range(0, len(waiting), config.batch):
        group = waiting[start : start + config.batch]
        good = [entry.spectrum for entry in group if entry.spectrum is not None]
        begun = time.perf_counter()
        outcomes = judge(atlas, likelihoods, good, config.rules, options) if good else iter(())
        for entry in group:
            if entry.spectrum is None:
                yield entry, entry.error, 0.0
                continue
            outcome = next(outcomes)
            seconds, begun = time.perf_counter() - begun, time.perf_counter()
            yield entry, str(outcome) if isinstance(outcome, JaxlikError) else outcome, seconds
