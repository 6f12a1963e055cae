"""`calibrate`: the whole search on pseudo-databases, and the global p-value.

A folder holds one chunk file per few pseudo-databases; the same command goes on where it was
stopped, and a larger number of pseudo-databases adds to those that are there.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.config import EngineConfig, Mode, SearchConfig
from jaxlik.fit.console import Console, terminal_width, write_json

if TYPE_CHECKING:
    from walkers.pseudo_search import Campaign

SUMMARY, FIGURE, CHUNKS = "summary.json", "kvalues.png", "chunks"

STEPS = 40
"""Steps of each walk after models are built up."""


@dataclass(frozen=True)
class CalibrateConfig:
    """Search pseudo-databases of the Standard Model, or with a signal; global p-value of the data.

    Attributes:
        databases: Pseudo-databases.
        database: SModelS text database (folder or .tar.xz), snapshot, or `embedded`.
        mode: `default`, or `protomodels` for the rules of arXiv:2012.12246.
        output: Folder of results; what is there already is not done again.
        real: Searches of the real data, each with its own seed; the first one counts.
        injected: File of a protomodel that every pseudo-database contains.
        strength: Factor on the injected signal.
        distance: Largest distance in masses [GeV] at which the injected signal shows in
            upper-limit maps.
        sampled: Draw counts; else they are what is expected.
        fudge: Factor on all background errors.
        rederive: Derive observed limits from the pseudo-data. Without it they stay those of
            the real data, as in arXiv:2012.12246.
        hypotheses: Simple models of each kind in the Bayes factor, 0 for none.
        workers: Processes of this machine.
        scheduler: Address of a Dask scheduler whose workers do the searches.
        cluster: Batch system whose jobs do the searches.
        jobs: Jobs of the batch system.
        walltime: Longest time of a job.
        memory: Of a job.
        each: Pseudo-databases per task.
        published: Archive with the published runs of arXiv:2012.12246: reproduce their p-value
            instead of searching.
        search: Budget of each search.
        engine: How models are scored.
        json: Write everything as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
    """

    databases: int = 200
    database: str = "embedded"
    mode: Mode = "default"
    output: Path | None = None
    real: int = 3
    injected: Path | None = None
    strength: float = 1.0
    distance: float = 400.0
    sampled: bool = True
    fudge: float = 1.0
    rederive: bool = True
    hypotheses: int = 1
    workers: int = 1
    scheduler: str | None = None
    cluster: Literal["slurm", "htcondor"] | None = None
    jobs: int = 1
    walltime: str = "04:00:00"
    memory: str = "4GB"
    each: int = 4
    published: Path | None = None
    search: SearchConfig = field(default_factory=lambda: SearchConfig(steps=STEPS))
    engine: EngineConfig = field(default_factory=EngineConfig)
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


OPTIONS = CalibrateConfig


def parse(given: Sequence[str]) -> CalibrateConfig:
    """Resolve the command line."""
    return resolve(CalibrateConfig, "calibrate", given)


def check(config: CalibrateConfig) -> None:
    """Raise where a number is out of range.

    Raises:
        ConfigError: with the option, the value found and the values wanted.
    """
    from jaxlik.fit.config import FitConfig, check_config

    for name, least in (("databases", 1), ("real", 0), ("each", 1), ("hypotheses", 0)):
        value = getattr(config, name)
        if value < least:
            raise ConfigError(f"--{name} is {value}, wanted at least {least}")
    for name in ("strength", "distance", "fudge"):
        value = getattr(config, name)
        if not 0 <= value < float("inf"):
            raise ConfigError(f"--{name} is {value:g}, wanted a finite number of at least 0")
    if config.injected is not None and not config.injected.is_file():
        raise ConfigError(f"--injected {config.injected}: no such file; wanted a protomodel")
    if config.published is None and config.output is None:
        raise ConfigError("calibrate needs --output, a folder that keeps what has been searched")
    check_config(FitConfig(config.database, config.mode, search=config.search,
                           engine=config.engine))  # fmt: skip


def run(config: CalibrateConfig) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        JaxlikError: bad input, or workers that failed; what was finished is kept.
    """
    check(config)
    from jaxlik.fit.runtime import prepare, terminable

    prepare(quiet=config.quiet, verbose=config.verbose)
    console = Console(config.json, config.quiet)
    if config.published is not None:
        return _published(config, console)
    with terminable():
        return _calibrate(config, console)


def _published(config: CalibrateConfig, console: Console) -> int:
    from jaxlik.calibration.published import published_p, published_summaries, read_published
    from jaxlik.fit.calibration_report import published_report
    from jaxlik.fit.html.write import try_report
    from jaxlik.plotting import save
    from jaxlik.plotting_calibration import k_values

    runs = read_published(str(config.published))
    result = published_p(runs)
    text, document = published_report(published_summaries(runs), result, terminal_width())
    console.show(text)
    if config.output is not None:
        config.output.mkdir(parents=True, exist_ok=True)
        found = {name: [run.K for run in some] for name, some in runs.items()}
        signals = {"injected signal (Fig. 10)": found.get("narrowfudged", [])}
        save(k_values(found["fake"], found["real"], result, signals), config.output / FIGURE)
        write_json(document, config.output / SUMMARY, "--output")
        try_report(config.output)
    console.document(document)
    return 0


def _calibrate(config: CalibrateConfig, console: Console) -> int:
    from functools import partial

    from tqdm import tqdm

    from jaxlik.database.compile import load_database
    from walkers.executors import Workers, check_workers, open_executor, tasks_in_flight
    from walkers.farm import run_chunks
    from walkers.pseudo_search import injected_content, search_pseudo_databases

    workers = Workers(
        config.workers,
        config.scheduler,
        config.cluster,
        config.jobs,
        config.walltime,
        config.memory,
    )
    check_workers(workers)
    content = None if config.injected is None else injected_content(str(config.injected))
    # Compiled and stored before workers need it, so that they do not do it all at once.
    snapshot = load_database(config.database, quiet=console.quiet)
    from jaxlik.calibration.workspace_correlations import workspace_correlations

    workspace_correlations(snapshot, quiet=console.quiet)
    campaign = campaign_of(config, snapshot.sha256)
    payloads = payloads_of(config, asdict(campaign))
    assert config.output is not None
    done: dict[int, dict[str, Any]] = {}
    started, fresh = time.perf_counter(), 0
    total = config.databases + (0 if config.injected else config.real)

    with tqdm(total=total, desc="pseudo-databases", unit="db", disable=console.quiet) as bar:

        def on_done(chunk: int, document: dict[str, Any]) -> None:
            del chunk
            for one in document["results"]:
                done[one["index"]] = one
            bar.update(len(document["results"]))
            bar.set_postfix_str(_state(done), refresh=False)

        try:
            for _ in run_chunks(
                search_pseudo_databases,
                payloads,
                config.output / CHUNKS,
                executor_fn=partial(open_executor, workers),
                on_done=on_done,
                in_flight=tasks_in_flight(workers),
            ):
                fresh += 1
        except KeyboardInterrupt:
            console.note(f"interrupted; the same command goes on from {config.output}")
    seconds = time.perf_counter() - started
    console.note(f"{len(done)} searches in {seconds:.0f} s")
    database = {"version": snapshot.version, "sha256": snapshot.sha256}
    return _conclude(config, console, campaign, content, database, done, len(done) == total)


def campaign_of(config: CalibrateConfig, database_sha256: str) -> "Campaign":
    """What all workers have to know."""
    from jaxlik.calibration.pseudo_data import Recipe
    from walkers.pseudo_search import Campaign

    recipe = Recipe(config.search.seed, config.fudge, config.sampled, config.strength,
                    config.distance, config.rederive)  # fmt: skip
    files = (config.injected, config.engine.networks, config.engine.combinability)
    contents = [database_sha256.encode(), *(b"" if f is None else f.read_bytes() for f in files)]
    fingerprint = sha256(b"".join(contents)).hexdigest()
    injected = None if config.injected is None else str(config.injected.resolve())
    place = config.database
    if place != "embedded":
        place = str(Path(place).resolve())
    return Campaign(place, config.mode, config.engine, config.search, recipe, injected,
                    config.hypotheses, fingerprint)  # fmt: skip


def payloads_of(config: CalibrateConfig, campaign: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One payload per task: real data one by one, then pseudo-databases a few at a time."""
    shared = json.loads(json.dumps(campaign, default=str))
    real = [] if config.injected else [[-number - 1] for number in range(config.real)]
    groups = [
        list(range(start, min(start + config.each, config.databases)))
        for start in range(0, config.databases, config.each)
    ]
    return [{"campaign": shared, "indices": indices} for indices in (*real, *groups)]


def _state(done: Mapping[int, Mapping[str, Any]]) -> str:
    first = done.get(-1, {}).get("K")
    fake = [one["K"] for index, one in done.items() if index >= 0 and one["K"] is not None]
    parts = [] if first is None else [f"data K = {first:.2f}"]
    return ", ".join([*parts, f"pseudo K up to {max(fake):.2f}"] if fake else parts)


def _conclude(
    config: CalibrateConfig,
    console: Console,
    campaign: "Campaign",
    content: list[int] | None,
    database: dict[str, Any],
    done: Mapping[int, Mapping[str, Any]],
    complete: bool,
) -> int:
    """Write and print what the finished searches say."""
    from jaxlik.fit.calibration_report import calibration_document, calibration_report, statistic
    from jaxlik.fit.html.write import try_report
    from jaxlik.plotting import save
    from jaxlik.plotting_calibration import k_values

    real = [done[index] for index in sorted(done, reverse=True) if index < 0]
    fake = [done[index] for index in sorted(done) if index >= 0]
    shared = json.loads(json.dumps(asdict(campaign), default=str))
    document = calibration_document(shared, database, real, fake, content)
    assert config.output is not None
    write_json(document, config.output / SUMMARY, "--output")
    console.show(calibration_report(document, terminal_width()))
    if fake:
        from jaxlik.fit.calibration_report import p_value

        values = statistic(fake, "K")
        result = p_value(document)
        signals = {"with the injected signal": values} if content else None
        axes = k_values([] if content else values, statistic(real, "K"), result, signals)
        save(axes, config.output / FIGURE)
    try_report(config.output)
    console.note(f"summary, figure and report in {config.output}")
    console.document(document)
    return 0 if complete else 1
