"""`sample`: the posterior over models, contents and numbers together.

Ctrl-C ends a run early: what was drawn is summarised, and `--resume DIR` goes on. The
exit code is 0 if there are draws, else 1.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import option, resolve
from jaxlik.fit.config import (
    EngineConfig,
    FitConfig,
    SampleConfig,
    SearchConfig,
    check_config,
    check_sample,
)
from jaxlik.fit.console import Console, terminal_width

if TYPE_CHECKING:
    from jaxlik.engine import Engine
    from jaxlik.fit.commands.sample_best import Built
    from jaxlik.fit.labels import Labels
    from jaxlik.fit.posterior_best import BestModel
    from jaxlik.fit.posterior_draws import PosteriorDraws
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
        database = self.database
        if database != "embedded" and Path(database).exists():
            database = str(Path(database).resolve())
        return FitConfig(database, "default", self.output, SearchConfig(), self.engine, self.sample)


@dataclass(frozen=True)
class Parsed:
    """Arguments and what they were.

    Attributes:
        arguments: The resolved ones.
        given: The words of the command line.
        stored: Configuration of the run to resume, if any.
    """

    arguments: Arguments
    given: list[str]
    stored: FitConfig | None = None


OPTIONS = Arguments


def parse(given: Sequence[str]) -> Parsed:
    """Resolve the command line: defaults, then the file or the resumed run, then flags.

    Raises:
        ConfigError: the configuration file is no good, or flags contradict each other.
        CheckpointError: the directory to resume is no run directory.
    """
    from jaxlik.fit.config import read_config

    given = list(given)
    config, resume = option(given, "config"), option(given, "resume")
    if config and resume:
        raise ConfigError("--resume takes the configuration of its run; leave out --config")
    stored = None
    default = Arguments()
    if resume:
        from jaxlik.fit.store import open_run

        stored = open_run(resume)[1]
    base = stored or (read_config(config) if config else None)
    if base is not None:
        if base.mode != "default":
            raise ConfigError(
                f"mode is {base.mode!r}; a posterior needs mode 'default', which chooses regions "
                "and combinations without looking at the data"
            )
        default = Arguments(
            database=base.database, output=base.output, sample=base.sample, engine=base.engine
        )
    return Parsed(resolve(Arguments, "sample", given, default=default), given, stored)


def run(parsed: Parsed) -> int:
    """Carry out the command; returns the exit code.

    Raises:
        JaxlikError: bad input.
    """
    arguments = parsed.arguments
    console = Console(arguments.json, arguments.quiet)
    config = arguments.fit_config()
    check_config(config)
    check_sample(config.sample)
    if parsed.stored is not None:
        _check_resumable(parsed.stored, config, arguments)
    elif config.output is not None:
        from jaxlik.fit.store import check_output

        check_output(config.output)
    from jaxlik.fit.commands.build import load
    from jaxlik.fit.runtime import prepare, terminable

    prepare(quiet=arguments.quiet, verbose=arguments.verbose)
    with terminable():
        snapshot, engine, labels = load(config, console)
        return sample(parsed, config, console, snapshot, engine, labels)


def _check_resumable(stored: FitConfig, config: FitConfig, arguments: Arguments) -> None:
    """Raise unless the configuration is that of the run, draws apart."""
    if config.output is not None:
        raise ConfigError("--resume writes to the directory of its run; leave out --output")
    neutral = {name: getattr(stored.sample, name) for name in CHANGEABLE}
    if replace(config, sample=replace(config.sample, **neutral)) != stored:
        raise ConfigError(
            f"--resume {arguments.resume}: its configuration cannot change but for "
            f"{', '.join(CHANGEABLE)}; leave out the other options, or start a new run"
        )


def sample(
    parsed: Parsed,
    config: FitConfig,
    console: Console,
    snapshot: Any,
    engine: "Engine",
    labels: "Labels",
) -> int:
    """Warm up, draw, summarise, write, print; returns the exit code."""
    # The one place above which samplers live: the program, not the library, needs them.
    from jaxlik.fit import store
    from jaxlik.fit.commands.sample_best import Built, best_model
    from jaxlik.fit.engines import ingredients, networks_digest
    from jaxlik.fit.runtime import environment
    from walkers.posterior import sampler

    del labels
    networks = networks_digest(engine)
    database = ingredients(config, snapshot, engine)
    maps = _exact_engine(config, snapshot, engine) if config.sample.delayed_acceptance else None
    target = sampler.model_target(engine, config.sample, maps)
    if parsed.stored is None:
        run = store.create_run(config, {**environment(parsed.given), "database": database})
    else:
        run, _ = store.open_run(str(parsed.arguments.resume))
        store.check_ingredients(run, database)
    console.note(f"run directory {run.path}")
    console.note(
        f"{config.sample.chains} chains; the first block waits for the compiler, minutes "
        "without its cache"
    )
    recorder = _Recorder(run, target, config.sample, console)
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
        parsed, config, console, snapshot, run, recorder, status, networks, built.scores, best
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
    parsed: Parsed,
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


class _Recorder:
    """Keeps draws, checkpoint, history and the user up to date."""

    def __init__(self, run: "RunDirectory", target: Any, config: SampleConfig, console: Console):
        from time import perf_counter

        self.run, self.target, self.config, self.console = run, target, config, console
        self.clock, self.started = perf_counter, perf_counter()
        self.seconds = 0.0
        self.parts: list[PosteriorDraws] = []
        self.acceptance: dict[str, float] = {}
        self.bar: Any = None

    def begin(self, state: Any) -> None:
        """Take up the draws that a checkpoint belongs to, and show the bar."""
        from tqdm import tqdm

        from jaxlik.fit.chain_files import read_chains
        from jaxlik.fit.progress import BAR_FORMAT

        earlier = self.run.history()
        if earlier:
            self.seconds, self.acceptance = earlier[-1]["seconds"], earlier[-1]["acceptance"]
        drawn = max(state.blocks - self.config.warmup, 0) * self.config.block
        if drawn:
            self.parts = [read_chains(self.run.path).head(drawn)]
        total = self.config.warmup * self.config.block + self.config.draws
        self.bar = tqdm(
            total=total,
            initial=min(state.blocks * self.config.block, total),
            desc="sampling",
            disable=self.console.quiet,
            bar_format=BAR_FORMAT,
        )

    def __call__(self, state: Any, block: Any) -> None:
        """Record a block."""
        from jaxlik.fit.diagnostics import mean_ess, r_hat
        from walkers.posterior.sampler import save_sampler

        now = self.clock()
        self.seconds += now - self.started
        self.started, self.acceptance = now, block.acceptance
        entry: dict[str, Any] = {"step": state.blocks, "seconds": self.seconds}
        entry["acceptance"] = block.acceptance
        text = "warming up"
        if block.done:
            from jaxlik.fit.commands.drawn import drawn_models
            from jaxlik.fit.posterior_draws import concatenate_draws

            new = drawn_models(self.target, block.draws)
            self.parts = [concatenate_draws([*self.parts, new])]
            size = self.parts[0].active.sum(axis=2).astype(float)
            # Chains that all stand still have no R-hat yet.
            moving = size.shape[1] > 3 and np.ptp(size) > 0
            judged = (r_hat(size), mean_ess(size)) if moving else (np.nan, np.nan)
            entry |= {"draws": block.done, "r_hat": _finite(judged[0]), "ess": _finite(judged[1])}
            text = f"particles: R-hat {judged[0]:.3f}, ESS {judged[1]:.0f}"
        births = block.acceptance.get("birth or death", 0.0)
        text += f"; accepted: births {births:.1%}"
        text += f", prior {block.acceptance.get('draw from the prior', 0.0):.0%}"
        text += f", trajectories {block.acceptance['trajectory']:.0%}"
        # Draws before checkpoint: a resumed run drops what is newer than its checkpoint.
        self._write()
        self.run.append_history(entry)
        save_sampler(self.run.state, state)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(min(self.config.block, self.bar.total - self.bar.n))

    def _write(self) -> None:
        from jaxlik.fit.chain_files import chain_path, write_chain

        if not self.parts:
            return
        draws = self.parts[0]
        for number in range(draws.num_chains):
            facts = {"seed": self.config.seed}
            write_chain(chain_path(self.run.path, number), draws.chain(number), number, facts)

    @property
    def draws(self) -> "PosteriorDraws | None":
        """What counts so far."""
        return self.parts[0].head(self.config.draws) if self.parts else None

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if self.bar is not None:
            self.bar.close()


def _yields(networks: str | None, config: SampleConfig) -> str:
    """Where the events of every model came from."""
    from jaxlik.fit.posterior_report import MAPS_LAST

    if networks is None:
        return "exact"
    return MAPS_LAST if config.delayed_acceptance else "networks"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _conclude(
    parsed: Parsed,
    config: FitConfig,
    console: Console,
    snapshot: Any,
    run: "RunDirectory",
    recorder: _Recorder,
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
    document["evidence"] = evidence_document(
        config.sample, recorder.target, draws, document, scores
    )
    run.write_summary(document)
    write_posterior_figures(run.figures, draws, document)
    run.finish(status, seconds=recorder.seconds, draws=draws.num_draws)
    try_report(run.path)
    console.show(posterior_report(document, terminal_width()))
    console.document(document)
    if status == INTERRUPTED:
        console.note(f"interrupted; continue with --resume {run.path}")
    return 0
