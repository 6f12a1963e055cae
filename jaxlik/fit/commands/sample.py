"""`sample`: the posterior over models, contents and numbers together.

Ctrl-C ends a run early: what was drawn is summarised, and `--resume DIR` goes on. The
exit code is 0 if there are draws, else 1.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands import runs
from jaxlik.fit.commands.options import resolve
from jaxlik.fit.config import (
    EngineConfig,
    FitConfig,
    SampleConfig,
    SearchConfig,
    check_sample,
)
from jaxlik.fit.console import Console, terminal_width

if TYPE_CHECKING:
    from jaxlik.engine import Engine
    from jaxlik.fit.commands.sample_best import Built
    from jaxlik.fit.labels import Labels
    from jaxlik.fit.posterior_best import BestModel
    from jaxlik.fit.sample_recorder import DrawsRecorder
    from jaxlik.fit.store import RunDirectory

logger = logging.getLogger(__name__)

CHANGEABLE = ("draws", "particles")
"""Entries of the configuration that may differ when a run is resumed."""


@dataclass(frozen=True)
class Arguments:
    """Sample the posterior over models.

    Chains change the particle content by reversible jumps and everything else along gradients.
    The likelihood is that of the combination with the largest expected sensitivity,
    relative to the Standard Model. Everything goes to a run directory.

    Attributes:
        database: SModelS text database (folder or tar archive), snapshot, or `embedded`.
        output: Run directory to create; by default runs/<date-time>-<seed>.
        resume: Continue the run in this directory; its configuration counts, only draws
            may be raised, and particles changed.
        config: TOML file with the same entries; flags override it.
        json: Write the summary as JSON to this file, or to standard output for `-`.
        quiet: Print only the result.
        verbose: Print more about what happens.
        sample: Chains and prior.
        engine: How models are scored.
    """

    database: str = "embedded"
    output: Path | None = None
    resume: Path | None = None
    config: Path | None = None
    json: str | None = None
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    sample: Annotated[SampleConfig, tyro.conf.arg(name="")] = field(default_factory=SampleConfig)
    engine: Annotated[EngineConfig, tyro.conf.arg(name="")] = field(default_factory=EngineConfig)

    def fit_config(self) -> FitConfig:
        """The part that decides what is computed; a database by its absolute path."""
        database = runs.located(self.database)
        return FitConfig(database, "default", self.output, SearchConfig(), self.engine, self.sample)


OPTIONS = Arguments


def parse(given: Sequence[str]) -> runs.Parsed[Arguments]:
    """Resolve the command line: defaults, then the file or the resumed run, then flags.

    Raises:
        ConfigError: the configuration file is no good, or flags contradict each other.
        CheckpointError: the directory to resume is no run directory.
    """
    stored, base = runs.defaults(given, "sample")
    default = Arguments()
    if base is not None:
        if base.mode != "default":
            raise ConfigError(
                f"mode is {base.mode!r}; a posterior needs mode 'default', which chooses regions "
                "and combinations without looking at the data"
            )
        default = Arguments(
            database=base.database, output=base.output, sample=base.sample, engine=base.engine
        )
    return runs.Parsed(resolve(Arguments, "sample", given, default=default), list(given), stored)


def run(parsed: runs.Parsed[Arguments]) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        JaxlikError: bad input.
    """
    arguments = parsed.arguments
    console = Console(arguments.json, arguments.quiet)
    config = arguments.fit_config()
    check_sample(config.sample)
    runs.check_run(config, parsed.stored, arguments.resume, "sample", CHANGEABLE)
    from jaxlik.fit.runtime import prepare, terminable

    prepare(quiet=arguments.quiet, verbose=arguments.verbose)
    with terminable():
        snapshot, engine, labels = runs.load(config, console)
        return sample(parsed, config, console, snapshot, engine, labels)


def sample(
    parsed: runs.Parsed[Arguments],
    config: FitConfig,
    console: Console,
    snapshot: Any,
    engine: "Engine",
    labels: "Labels",
) -> int:
    """Warm up, draw, summarise, write, print; returns the exit code."""
    # The one place above which samplers live: the program, not the library, needs them.
    from jaxlik.fit import store
    from jaxlik.fit.commands.drawn import drawn_models
    from jaxlik.fit.commands.sample_best import Built, best_model
    from jaxlik.fit.engines import ingredients, networks_digest
    from jaxlik.fit.runtime import environment
    from jaxlik.fit.sample_recorder import DrawsRecorder
    from walkers.posterior import sampler

    del labels
    networks = networks_digest(engine)
    database = ingredients(config, snapshot, engine)
    maps = _exact_engine(config, snapshot, engine) if config.sample.delayed_acceptance else None
    target = sampler.model_target(engine, config.sample, maps)
    if parsed.stored is None:
        made = {"program": "sample", **environment(parsed.given)}
        run = store.create_run(config, {**made, "database": database})
    else:
        run, _ = store.open_run(str(parsed.arguments.resume))
        store.check_ingredients(run, database)
    console.note(f"run directory {run.path}")
    console.note(
        f"{config.sample.chains} chains; the first block waits for the compiler, minutes "
        "without its cache"
    )
    recorder = DrawsRecorder(
        run,
        config.sample,
        partial(drawn_models, target),
        sampler.save_sampler,
        quiet=console.quiet,
    )
    status = store.DONE
    built = Built()
    best: BestModel | None = None
    try:
        state = _start(parsed, config, console, engine, target, run, built)
        recorder.begin(state)
        sampler.sample(state, config.sample, on_block=recorder)
        recorder.close()
        if config.sample.particles and built.best is not None:
            best = best_model(built.best, target, config.sample, console)
    except KeyboardInterrupt:
        status = store.INTERRUPTED
        logger.info("interrupted")
    except BaseException as error:
        run.finish(store.FAILED, reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        recorder.close()
    return _conclude(
        config, console, snapshot, run, target, recorder, status, networks, built.scores, best
    )


def _exact_engine(config: FitConfig, snapshot: Any, engine: "Engine") -> "Engine":
    """The engine with the published maps, beside one with networks.

    Raises:
        ConfigError: there are no networks that it could correct.
        DatabaseError: the database holds no efficiencies.
    """
    from jaxlik.fit.engines import make_engine, networks_digest

    if networks_digest(engine) is None:
        raise ConfigError(
            "--delayed-acceptance lets the maps correct networks, but yields are exact already; "
            "add --yields networks, or leave it out"
        )
    return make_engine(config, snapshot, None)[0]


def _start(
    parsed: runs.Parsed[Arguments],
    config: FitConfig,
    console: Console,
    engine: "Engine",
    target: Any,
    run: "RunDirectory",
    built: "Built",
) -> Any:
    """Chains where they begin, or where a checkpoint left them; what was built on the way."""
    from jaxlik.fit.progress import stage_bar
    from walkers.grow import grow_from, simple_models
    from walkers.posterior import sampler
    from walkers.target import EngineTarget

    numbers = config.sample
    search = SearchConfig(
        seed=numbers.seed,
        leads=numbers.leads,
        max_particles=numbers.max_particles,
        gradient_steps=0,
    )
    simple = good = None
    score = EngineTarget(engine)  # type: ignore[reportCallIssue]
    if numbers.leads:
        # Scored again on resuming: cheaper than to store, and the same to the bit.
        with stage_bar("scoring simple models", quiet=console.quiet) as report:
            simple = simple_models(score, engine.yields, search)
            report(len(simple.score), float(np.max(simple.score, initial=-np.inf)))
            grown = grow_from(score, simple, search, report=report)
        good = grown.points
        built.take(engine.space.pdg_ids, good, grown.score)
    kernel = sampler.model_kernel(target, simple, numbers)
    state = sampler.first_state(target, kernel, good, numbers)
    if parsed.stored is not None:
        state = sampler.load_sampler(run.state, state)
        run.resume(config, state.blocks)
    else:
        sampler.save_sampler(run.state, state)
    return state


def _yields(networks: str | None, config: SampleConfig) -> str:
    """Where the events of every model came from."""
    from jaxlik.fit.posterior_report import MAPS_LAST

    if networks is None:
        return "exact"
    return MAPS_LAST if config.delayed_acceptance else "networks"


def _conclude(
    config: FitConfig,
    console: Console,
    snapshot: Any,
    run: "RunDirectory",
    target: Any,
    recorder: "DrawsRecorder",
    status: str,
    networks: str | None,
    scores: dict[tuple[int, ...], float],
    best: "BestModel | None",
) -> int:
    """Summarise, write and print what was drawn."""
    from jaxlik.fit.commands.sample_evidence import evidence_document
    from jaxlik.fit.html.write import try_report
    from jaxlik.fit.posterior_figures import write_posterior_figures
    from jaxlik.fit.posterior_report import posterior_report
    from jaxlik.fit.posterior_summary import posterior_document
    from jaxlik.fit.store import INTERRUPTED

    draws = recorder.draws
    if draws is None:
        run.finish(status, seconds=recorder.seconds)
        console.show("No draws: the run ended during warm-up.")
        if status == INTERRUPTED:
            console.note(f"interrupted; continue with --resume {run.path}")
        return 1
    facts = {
        "status": status,
        "seed": config.sample.seed,
        "mode": config.mode,
        "prior": config.sample.prior,
        "seconds": recorder.seconds,
        "database": {"version": snapshot.version, "sha256": snapshot.sha256},
        "yields": _yields(networks, config.sample),
        "acceptance": recorder.acceptance,
        "directory": str(run.path),
    }
    document = posterior_document(draws, facts=facts, best=best)
    document["evidence"] = evidence_document(config.sample, target, draws, document, scores)
    run.write_summary(document)
    write_posterior_figures(run.figures, draws, document)
    run.finish(status, seconds=recorder.seconds, draws=draws.num_draws)
    try_report(run.path)
    console.show(posterior_report(document, terminal_width()))
    console.document(document)
    if status == INTERRUPTED:
        console.note(f"interrupted; continue with --resume {run.path}")
    return 0
