"""`workspace`: fit, CLs and limits of a HistFactory workspace (pyhf JSON or HS3).

The JSON document `jaxlik/workspace/1` holds ``poi``, ``mu``, ``fit`` (``twice_nll`` with all
constants, as pyhf's -2 logpdf; ``parameters`` with ``value``, ``error``, ``pull``, ``at_bound``;
``mu_hat``, ``mu_error``, ``status``, ``gradient_norm``), ``fixed`` (``twice_nll`` at mu), ``cls``
and ``upper_limit`` (``observed``, ``expected`` at -2, -1, 0, 1, 2 sigma) and ``discovery`` (``q0``,
``significance``, ``p_value``), and ``toys``, null unless asked for (``number`` of each hypothesis,
``seed``, ``cls`` at mu, null where no background toy reaches the data, ``cls_error``, ``p_signal``,
``p_background``, ``expected``, and ``failed``, toys of both hypotheses left out for want of a
certified fit), and ``impacts``, null unless asked for (list of ``parameter``, ``up``, ``down``: by
how much mu_hat moves with it held at +1 and -1 sigma; ``linear``: the same from the covariance).
Without a parameter of interest everything but ``fit`` is null.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.console import Console, terminal_width, write_json
from jaxlik.fit.report import duration

if TYPE_CHECKING:
    from jaxlik.fit.workspace_summary import WorkspaceResult


@dataclass(frozen=True)
class Arguments:
    """Fit a workspace, pyhf or HS3: best parameters, CLs, limits, discovery significance.

    Attributes:
        file: Workspace (pyhf JSON or HS3).
        patch: JSON patches or patch sets that add the signal, applied in order.
        patch_name: Which patch of a patch set.
        measurement: Name of the measurement, or HS3 analysis; the first one by default.
        poi: Parameter of interest; that of the measurement by default.
        mu: Signal strength to test.
        level: Confidence level of limits.
        toys: Pseudo-experiments of each hypothesis for CLs at mu beside the asymptotic one.
        seed: Of the pseudo-experiments.
        impacts: Refit with each parameter held one standard deviation off: its impact on mu.
        write_hs3: Write the workspace, patches applied, as HS3 to this file.
        output: Folder for the report, workspace.json and figures: pulls, correlations, scan.
        json: Write the results as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
    """

    file: Annotated[Path, tyro.conf.Positional]
    patch: tuple[Path, ...] = field(default=())
    patch_name: str | None = None
    measurement: str | None = None
    poi: str | None = None
    mu: float = 1.0
    level: float = 0.95
    toys: int = 0
    seed: int = 0
    impacts: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    write_hs3: Path | None = None
    output: Path | None = None
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


OPTIONS = Arguments


def parse(given: Sequence[str]) -> Arguments:
    """Resolve the command line."""
    return resolve(Arguments, "workspace", given)


def run(arguments: Arguments) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        WorkspaceError: an invalid workspace or patch.
        ConfigError: numbers out of range, no such parameter of interest, or a file that cannot
            be written.
        ConvergenceError: a fit that did not converge.
    """
    from jaxlik.database.hs3 import from_hs3, is_hs3, to_hs3
    from jaxlik.database.workspace import flatten_workspace, read_workspace
    from jaxlik.database.workspace_patch import apply_patch, read_json
    from jaxlik.fit.runtime import prepare
    from jaxlik.fit.workspace_report import workspace_report

    if not 0 < arguments.level < 1:
        raise ConfigError(f"--level is {arguments.level:g}, wanted a number between 0 and 1")
    if not arguments.mu >= 0:
        raise ConfigError(f"--mu is {arguments.mu:g}, wanted a number that is not negative")
    if arguments.toys < 0:
        raise ConfigError(f"--toys is {arguments.toys}, wanted a number that is not negative")
    if not 0 <= arguments.seed < 2**63:
        raise ConfigError(f"--seed is {arguments.seed}, wanted a number from 0 to 2^63 - 1")
    console = Console(arguments.json, arguments.quiet)
    started = time.perf_counter()
    name = str(arguments.file)
    document = read_json(arguments.file)
    if not is_hs3(document):
        document = read_workspace(document, name=name)
    for patch in arguments.patch:
        content = read_json(patch)
        document = apply_patch(document, content, name=str(patch), member=arguments.patch_name)
    which = 0 if arguments.measurement is None else arguments.measurement
    if is_hs3(document):
        document, which = from_hs3(document, analysis=arguments.measurement, name=name), 0
    record = flatten_workspace(document, measurement=which, poi=arguments.poi, name=name)
    if arguments.poi is not None and record.poi < 0:
        raise ConfigError(
            f"--poi is {arguments.poi!r}, wanted a parameter of the workspace, such as "
            + ", ".join(record.parameters[:5])
        )
    if record.poi < 0 and (arguments.toys > 0 or arguments.impacts):
        option = f"--toys is {arguments.toys}" if arguments.toys > 0 else "--impacts is given"
        raise ConfigError(f"{option}, but {name} has no parameter of interest; name one by --poi")
    console.note(
        f"{name}: {len(record.channels)} channels, {len(record.observed)} bins, "
        f"{len(record.parameters)} parameters"
    )
    if arguments.write_hs3 is not None:
        written = to_hs3(document, measurement=which, name=name)
        write_json(written, arguments.write_hs3, "--write-hs3")
        console.note(f"HS3 {arguments.write_hs3}")
    prepare(quiet=arguments.quiet, verbose=arguments.verbose)
    from jaxlik.fit.workspace_summary import analyse, draw, impacts_document, toys_document

    result = analyse(record, mu=arguments.mu, level=arguments.level, console=console)
    if result.analysis is not None and arguments.toys > 0:
        result.document["toys"] = toys_document(
            result.analysis, arguments.mu, arguments.toys, arguments.seed, console
        )
    if result.analysis is not None and arguments.impacts:
        result.document["impacts"] = impacts_document(record, result.analysis, console)
    console.show(workspace_report(result.document, terminal_width()))
    if arguments.output is not None:
        for path in draw(result, arguments.output):
            console.note(f"figure {path}")
        _write_page(result, arguments.output, console)
    console.note(f"done in {duration(time.perf_counter() - started)}")
    console.document(result.document)
    return 0


def _write_page(result: "WorkspaceResult", folder: Path, console: Console) -> None:
    """Write the document with a scan of CLs, and its page."""
    from jaxlik.fit.html.curves import workspace_scan
    from jaxlik.fit.html.write import try_report

    document = result.document
    if result.analysis is not None:
        console.note("scanning CLs for the report")
        document["scan"] = workspace_scan(result.analysis, document["upper_limit"])
    write_json(document, folder / "workspace.json", "--output")
    page = try_report(folder)
    if page is not None:
        console.note(f"report {page}")
