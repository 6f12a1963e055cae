"""`snapshot`: compile a database once, check it, and list what is in it.

The JSON document `jaxlik/snapshot/1` holds ``path``, ``version``, ``sha256``,
``jaxlik_version``, ``verified``, ``num_results``, ``num_analyses``, ``num_regions``,
``num_maps``, ``groups`` (one entry per experiment, energy and kind of result) and
``analyses`` (identifier, folder, energy, luminosity, references).
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.console import Console, terminal_width
from jaxlik.fit.report import duration, table

if TYPE_CHECKING:
    from jaxlik.database.snapshot import Snapshot

SCHEMA = "jaxlik/snapshot/1"

KINDS = {"efficiency_map": "efficiency maps", "upper_limit": "upper limits"}


@dataclass(frozen=True)
class Arguments:
    """Compile a database into a snapshot, which opens in a second, and list its content.

    A text database is compiled once and kept in a cache; SModelS pickles are not read.

    Attributes:
        database: SModelS text database (folder or tar archive), snapshot, or `embedded`.
        output: Write the snapshot to this place as well: a new folder, or a file if the
            snapshot is one.
        verify: Compare all arrays with the digests in the manifest.
        json: Write the list as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
    """

    database: Annotated[str, tyro.conf.Positional]
    output: Path | None = None
    verify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


OPTIONS = Arguments


def parse(given: Sequence[str]) -> Arguments:
    """Resolve the command line."""
    return resolve(Arguments, "snapshot", given)


def run(arguments: Arguments) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        DatabaseError: no database, or a damaged one.
        ConfigError: the output exists or cannot be written.
    """
    from jaxlik.database.compile import load_database
    from jaxlik.fit.runtime import prepare

    console = Console(arguments.json, arguments.quiet)
    if arguments.output is not None:
        _check_free(arguments.output)
    prepare(quiet=arguments.quiet, verbose=arguments.verbose)
    started = time.perf_counter()
    snapshot = load_database(arguments.database, quiet=arguments.quiet)
    if arguments.verify:
        console.note("comparing arrays with their digests")
        snapshot.verify()
    if arguments.output is not None:
        snapshot = copy_snapshot(snapshot, arguments.output)
    document = snapshot_document(snapshot, verified=arguments.verify)
    console.show(snapshot_report(document, terminal_width()))
    console.note(f"done in {duration(time.perf_counter() - started)}")
    console.document(document)
    return 0


def _check_free(path: Path) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ConfigError(f"output {path} exists; choose another --output")


def copy_snapshot(snapshot: "Snapshot", output: Path) -> "Snapshot":
    """Copy a snapshot to a new place; a file stays a file, a folder a folder.

    Raises:
        ConfigError: the place cannot be written.
    """
    from jaxlik.database.snapshot import open_snapshot

    source = snapshot.path
    target = output / source.name if source.is_file() and output.suffix != ".npz" else output
    aside = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copyfile(source, aside)
        else:
            shutil.copytree(source, aside, dirs_exist_ok=True)
        if target.is_dir():
            target.rmdir()
        aside.rename(target)
    except OSError as error:
        raise ConfigError(f"output {output} cannot be written: {error}") from None
    return open_snapshot(target)


def snapshot_document(snapshot: "Snapshot", *, verified: bool = False) -> dict[str, Any]:
    """What a snapshot holds.

    Args:
        snapshot: The snapshot.
        verified: Whether its arrays were compared with their digests.
    """
    maps_of: dict[str, int] = {}
    for header in snapshot.maps:
        maps_of[header.folder] = maps_of.get(header.folder, 0) + 1
    spaces: dict[str, int] = {}
    for workspace in snapshot.workspaces:
        spaces[workspace.analysis_id] = spaces.get(workspace.analysis_id, 0) + 1
    groups: dict[tuple[str, float, str], dict[str, Any]] = {}
    for result in snapshot.results:
        source = result.provenance
        key = (source.experiment, source.sqrts, result.kind)
        entry = groups.setdefault(
            key,
            {
                "experiment": source.experiment,
                "sqrts": source.sqrts,
                "kind": result.kind,
                "results": 0,
                "analyses": set(),
                "regions": 0,
                "maps": 0,
                "covariances": 0,
                "workspaces": 0,
            },
        )
        entry["results"] += 1
        entry["analyses"].add(source.analysis)
        entry["regions"] += len(result.counting.region_ids) if result.counting else 0
        entry["maps"] += maps_of.get(source.folder, 0)
        entry["covariances"] += result.covariance is not None
        entry["workspaces"] += spaces.get(source.folder, 0)
    ordered = [groups[key] for key in sorted(groups)]
    return {
        "schema": SCHEMA,
        "path": str(snapshot.path),
        "version": snapshot.version,
        "sha256": snapshot.sha256,
        "jaxlik_version": snapshot.manifest.get("jaxlik_version"),
        "verified": verified,
        "num_results": len(snapshot.results),
        "num_analyses": len({result.provenance.analysis for result in snapshot.results}),
        "num_regions": sum(entry["regions"] for entry in ordered),
        "num_maps": len(snapshot.maps),
        "groups": [{**entry, "analyses": len(entry["analyses"])} for entry in ordered],
        "analyses": snapshot.manifest["analyses"],
    }


def snapshot_report(document: dict[str, Any], width: int) -> str:
    """The content of a snapshot as a table."""
    columns = ("analyses", "results", "regions", "maps", "covariances", "workspaces")
    rows = [
        [
            group["experiment"],
            f"{group['sqrts']:g}",
            KINDS.get(group["kind"], group["kind"]),
            *(str(group[name]) if group[name] else "-" for name in columns),
        ]
        for group in document["groups"]
    ]
    sums = [sum(group[name] for group in document["groups"]) for name in columns]
    # An analysis may publish both kinds of results and counts once.
    sums[0] = document["num_analyses"]
    rows.append(["all", "", "", *map(str, sums)])
    header = ["experiment", "TeV", "kind", *columns]
    head = f"database {document['version']}, SHA-256 {document['sha256'][:16]}"
    if document["verified"]:
        head += ", verified"
    return f"{head}\n{document['path']}\n\n" + table(
        header, rows, "<><" + ">" * len(columns), width
    )
