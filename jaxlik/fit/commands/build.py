"""`build`: search for the model that describes all results of a database best.

Ctrl-C ends a search early: the best models so far are scored exactly and printed, and
`--resume DIR` continues the run. A second Ctrl-C skips the scoring. The exit code is 0
if there is at least one model, else 1.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxlik.fit.commands import runs
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.config import EngineConfig, FitConfig, Mode, SearchConfig
from jaxlik.fit.console import Console, terminal_width

if TYPE_CHECKING:
    from jaxlik.database.snapshot import Snapshot
    from jaxlik.engine import Engine
    from jaxlik.fit.labels import Labels
    from jaxlik.fit.store import RunDirectory
    from jaxlik.fit.warmup import Warmup

logger = logging.getLogger(__name__)

LOGGERS = ("jaxlik", "walkers")
"""Packages whose messages go to the log of the run."""

CHANGEABLE = ("steps", "block")
"""Entries of a search that may differ when it is resumed."""


@dataclass(frozen=True)
class Arguments:
    """Search for the model that describes all results of a database best.

    Walkers add and remove particles and change masses, branching ratios and signal
    strengths, guided by the test statistic K. Everything found goes to a run directory.

    Attributes:
        database: SModelS text database (folder or tar archive), snapshot, or `embedded`.
        mode: `default`, or `protomodels` for the rules of arXiv:2012.12246.
        output: Run directory to create; by default runs/<date-time>-<seed>.
        resume: Continue the run in this directory; its configuration counts, only
            steps may be raised.
        config: TOML file with the same entries; flags override it.
        json: Write the summary as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
        search: The walk through model space.
        engine: How models are scored.
    """

    database: str = "embedded"
    mode: Mode = "default"
    output: Path | None = None
    resume: Path | None = None
    config: Path | None = None
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    search: Annotated[SearchConfig, tyro.conf.arg(name="")] = field(default_factory=SearchConfig)
    engine: Annotated[EngineConfig, tyro.conf.arg(name="")] = field(default_factory=EngineConfig)

    def fit_config(self) -> FitConfig:
        """The part that decides what is computed; a database by its absolute path."""
        database = runs.located(self.database)
        return FitConfig(database, self.mode, self.output, self.search, self.engine)


OPTIONS = Arguments


def parse(given: Sequence[str]) -> runs.Parsed[Arguments]:
    """Resolve the command line: defaults, then the file or the resumed run, then flags.

    Raises:
        ConfigError: the configuration file is no good, or flags contradict each other.
        CheckpointError: the directory to resume is no run directory.
    """
    stored, base = runs.defaults(given, "build")
    default = Arguments()
    if base is not None:
        default = Arguments(
            database=base.database,
            mode=base.mode,
            output=base.output,
            search=base.search,
            engine=base.engine,
        )
    return runs.Parsed(resolve(Arguments, "build", given, default=default), list(given), stored)


def run(parsed: runs.Parsed[Arguments]) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        JaxlikError: bad input.
    """
    arguments = parsed.arguments
    console = Console(arguments.json, arguments.quiet)
    config = arguments.fit_config()
    runs.check_run(config, parsed.stored, arguments.resume, "search", CHANGEABLE)
    from jaxlik.fit.runtime import prepare, terminable

    prepare(quiet=arguments.quiet, verbose=arguments.verbose)
    with terminable():
        snapshot, engine, labels = runs.load(config, console)
        return build(parsed, config, console, snapshot, engine, labels)


def build(
    parsed: runs.Parsed[Arguments],
    config: FitConfig,
    console: Console,
    snapshot: "Snapshot",
    engine: "Engine",
    labels: "Labels",
) -> int:
    """Search, simplify, score, write, print; returns the exit code."""
    # The one place above which walkers live: the program, not the library, needs them.
    from jaxlik.fit import store
    from jaxlik.fit.engines import ingredients
    from jaxlik.fit.html import film
    from jaxlik.fit.progress import Recorder
    from jaxlik.fit.runtime import environment
    from walkers import run as walk
    from walkers.state import load_state, save_state

    database = ingredients(config, snapshot, engine)
    state = None
    if parsed.stored is None:
        made = {"program": "build", **environment(parsed.given)}
        run = store.create_run(config, {**made, "database": database})
    else:
        run, _ = store.open_run(str(parsed.arguments.resume))
        store.check_ingredients(run, database)
        state = load_state(run.state, walk.initial_state(engine, config.search))
        run.resume(config, int(state.step))
    handler = store.LineHandler(run.path / store.LOG)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    console.note(f"run directory {run.path}")
    console.note(
        f"searching with {config.search.walkers} walkers; the first steps wait for the compiler, "
        "two minutes without its cache"
    )
    status = store.DONE
    warmup = _warmup(config, engine, labels)
    done = 0 if state is None else int(state.step)
    recorder = Recorder(
        run, engine.space, save_state, steps=config.search.steps, done=done, quiet=console.quiet
    )
    recorder.state = state

    def on_block(state: Any, progress: Any) -> None:
        recorder(state, progress)
        film.record(run.path, engine.space, state)
        # The ascent of the next block is what the first task compiles.
        warmup.wait(0)

    try:
        if state is None and config.search.leads:
            recorder.state = state = _grown(config, engine, run, console, warmup)
            film.record(run.path, engine.space, state)
        recorder.start()
        recorder.state = walk.search(engine, config.search, state=state, on_block=on_block)
    except KeyboardInterrupt:
        status = store.INTERRUPTED
        logger.info("interrupted")
    except BaseException as error:
        run.finish(store.FAILED, reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        recorder.close()
    try:
        document = _conclude(
            run, config, console, snapshot, engine, labels, recorder, warmup, status
        )
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
    console.document(document)
    if status == store.INTERRUPTED:
        console.note(f"interrupted; continue with --resume {run.path}")
    return 0 if document["best"] else 1


def _grown(
    config: FitConfig, engine: "Engine", run: "RunDirectory", console: Console, warmup: "Warmup"
) -> Any:
    """The state of a walk that starts from models built up from simple ones."""
    from jaxlik.fit.progress import stage_bar
    from walkers.grow import grown_state
    from walkers.state import save_state

    with stage_bar("building up", quiet=console.quiet) as report:
        state = grown_state(engine, config.search, report=report, ready=lambda: warmup.wait(0))
    logger.info("built up: best K = %.4f", float(state.hiscores.score[0]))
    save_state(run.state, state)
    return state


def _warmup(config: FitConfig, engine: "Engine", labels: "Labels") -> "Warmup":
    """Compile ascents and exact scores in the background of the first evaluations."""
    from jaxlik.fit.warmup import Warmup, compile_inspection
    from walkers.builder import compile_ascent

    search = config.search
    # An ascent within the first block of a walk from nothing would be compiled in both threads.
    later = search.block < search.gradient_every <= search.steps
    worthwhile = search.gradient_steps > 0 and (search.leads > 0 or later)
    first = (lambda: compile_ascent(engine, search)) if worthwhile else _nothing
    return Warmup([first, lambda: compile_inspection(engine, labels)])


def _nothing() -> None:
    """The task of a search without ascents to compile for."""


def _conclude(
    run: "RunDirectory",
    config: FitConfig,
    console: Console,
    snapshot: "Snapshot",
    engine: "Engine",
    labels: "Labels",
    recorder: Any,
    warmup: "Warmup",
    status: str,
) -> dict[str, Any]:
    """Score, write and print what was found; a Ctrl-C leaves it as the search saw it."""
    from jaxlik.fit import finish, progress
    from jaxlik.fit.engines import make_engine, networks_digest
    from jaxlik.fit.exact import score_exactly
    from jaxlik.fit.html.references import named_analyses, reference_entries
    from jaxlik.fit.html.write import try_report
    from jaxlik.fit.inspection import TopologyNames
    from jaxlik.fit.report import run_report
    from jaxlik.fit.store import INTERRUPTED
    from jaxlik.fit.summary import run_document
    from walkers.trim import contributions, trim

    found: list[finish.Found] = []
    models: list[dict[str, Any]] = []
    yields = "exact" if networks_digest(engine) is None else "networks"
    state = recorder.state
    try:
        if state is not None:
            console.note("scoring the best models exactly (Ctrl-C to skip)")
            warmup.wait(1)
            found = finish.settle(
                engine, labels, state.hiscores, trim_fn=None if status == INTERRUPTED else trim
            )
            scored = score_exactly(
                engine, labels, found, snapshot, lambda: make_engine(config, snapshot, None)[0]
            )
            engine, found = scored.engine, scored.found
            models = finish.documents(
                engine,
                labels,
                found,
                contributions_fn=None if status == INTERRUPTED else contributions,
                topologies_fn=TopologyNames(snapshot),
            )
            models = scored.add_to(models)
            if found:
                models[0]["likelihood_scan"] = finish.scanned(engine, labels, found[0])
            finish.write_dictionaries(run.path / "models.dict", engine.space, found, config.mode)
        best = found[0] if found else None
        finish.write_figures(
            run.figures, engine, labels, best, models[0] if models else None, run.history()
        )
    except KeyboardInterrupt:
        status = INTERRUPTED
        if not models and state is not None:
            models = progress.provisional_models(engine.space, state.hiscores)
    steps = 0 if state is None else int(state.step)
    seconds = recorder.seconds
    document = run_document(
        models,
        status=status,
        mode=config.mode,
        seed=config.seed,
        walkers=config.search.walkers,
        steps=steps,
        seconds=seconds,
        steps_per_second=recorder.rate or (steps / seconds if seconds > 0 else 0.0),
        database={"version": snapshot.version, "sha256": snapshot.sha256},
        yields=yields,
        directory=str(run.path),
        references=reference_entries(labels.provenance, named_analyses(models)),
    )
    run.write_models(models)
    run.write_summary(document)
    run.finish(status, seconds=seconds, steps=steps)
    try_report(run.path)
    console.show(run_report(document, terminal_width()))
    return document
