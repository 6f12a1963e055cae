"""Command lines of programs with a run directory: a file or an earlier run, then flags."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from jaxlik.errors import ConfigError
from jaxlik.fit.commands.options import option
from jaxlik.fit.config import FitConfig, check_config, read_config
from jaxlik.fit.console import Console

if TYPE_CHECKING:
    from jaxlik.database.snapshot import Snapshot
    from jaxlik.engine import Engine
    from jaxlik.fit.labels import Labels

Options = TypeVar("Options")


@dataclass(frozen=True)
class Parsed(Generic[Options]):
    """Arguments and what they were.

    Attributes:
        arguments: The resolved ones.
        given: The words of the command line.
        stored: Configuration of the run to resume, if any.
    """

    arguments: Options
    given: list[str]
    stored: FitConfig | None = None


def defaults(given: Sequence[str], program: str) -> tuple[FitConfig | None, FitConfig | None]:
    """What flags start from.

    Args:
        given: Words of the command line.
        program: Whose run may be resumed, ``build`` or ``sample``.

    Returns:
        The configuration of the run to resume, and that of this run or of the file; `None`
        where neither is named.

    Raises:
        ConfigError: the configuration file is no good, both are named, or the run is another
            program's.
        CheckpointError: the directory to resume is no run directory.
    """
    config, resume = option(given, "config"), option(given, "resume")
    if config and resume:
        raise ConfigError("--resume takes the configuration of its run; leave out --config")
    if resume:
        from jaxlik.fit.store import open_run

        run, stored = open_run(resume)
        made_by = run.manifest.get("program", program)
        if made_by != program:
            raise ConfigError(
                f"--resume {resume}: is a run of `{made_by}`, wanted one of `{program}`; continue "
                f"it with: python -m jaxlik.fit {made_by} --resume {resume}"
            )
        return stored, stored
    return None, read_config(config) if config else None


def located(database: str) -> str:
    """A database by its absolute path; `embedded` and names that are no file as they are."""
    if database != "embedded" and Path(database).exists():
        return str(Path(database).resolve())
    return database


def check_run(
    config: FitConfig,
    stored: FitConfig | None,
    resume: Path | None,
    part: str,
    changeable: Sequence[str],
) -> None:
    """Raise unless a new run may write where it wants, or a resumed one is the same.

    Args:
        config: What is asked.
        stored: Configuration of the run to resume; `None` for a new run.
        resume: Its directory.
        part: Attribute of the configuration in which entries may differ.
        changeable: Those entries.

    Raises:
        ConfigError: a value is no good, or a resumed run would be another one.
    """
    check_config(config)
    if stored is None:
        if config.output is not None:
            from jaxlik.fit.store import check_output

            check_output(config.output)
        return
    if config.output is not None:
        raise ConfigError("--resume writes to the directory of its run; leave out --output")
    neutral = {name: getattr(getattr(stored, part), name) for name in changeable}
    if replace(config, **{part: replace(getattr(config, part), **neutral)}) != stored:
        raise ConfigError(
            f"--resume {resume}: its configuration cannot change but for "
            f"{', '.join(changeable)}; leave out the other options, or start a new run"
        )


def load(config: FitConfig, console: Console) -> "tuple[Snapshot, Engine, Labels]":
    """Open the database and assemble the engine."""
    from jaxlik.database.compile import load_database
    from jaxlik.fit.engines import choose_networks, make_engine

    snapshot = load_database(config.database, quiet=console.quiet)
    console.note(
        f"database {snapshot.version}: {len(snapshot.results)} results, {len(snapshot.maps)} maps"
    )
    surrogate = choose_networks(config.engine, snapshot)
    if surrogate is not None:
        console.note(f"yields from {len(surrogate.manifest['networks'])} networks")
    engine, labels = make_engine(config, snapshot, surrogate)
    return snapshot, engine, labels
