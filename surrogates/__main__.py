"""`python -m surrogates COMMAND`: networks for maps, fits and tables."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from jaxlik.errors import ConfigError, JaxlikError
from jaxlik.fit.console import Console, terminal_width
from surrogates.cross_section_command import CrossSections, learn_cross_sections
from surrogates.likelihood_recipe import LikelihoodRecipe
from surrogates.recipe import Recipe

PROGRAM = "python -m surrogates"
OK, FAILED, USAGE = 0, 1, 2


@dataclass(frozen=True)
class Train:
    """Fit networks to all efficiency maps of a database; a stopped run goes on.

    Attributes:
        database: SModelS text database (folder or tar archive), snapshot, or `embedded`.
        run: Folder of the run; made if it is not there.
        only: Results, or RESULT:TOPOLOGY, to fit; all by default.
        recipe: How networks are fitted.
        quiet: Print only the result.
    """

    database: str
    run: Path
    only: tuple[str, ...] = ()
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Validate:
    """Compare networks with nodes they never saw; writes closure.json and closure.md.

    Attributes:
        database: The database the run was made with.
        run: Folder of the run.
        only: Results, or RESULT:TOPOLOGY; all by default.
        quiet: Print only the result.
    """

    database: str
    run: Path
    only: tuple[str, ...] = ()
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Export:
    """Write all networks of a validated run to the file that yields are computed from.

    Attributes:
        database: The database the run was made with.
        run: Folder of the run.
        target: File to write (.npz).
        only: Results, or RESULT:TOPOLOGY; all by default.
        quiet: Print only the result.
    """

    database: str
    run: Path
    target: Path
    only: tuple[str, ...] = ()
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Likelihood:
    """Learn the profile likelihood of a workspace; a stopped run goes on, labels are kept.

    Attributes:
        workspace: Workspace without signal (pyhf JSON).
        run: Folder of the run; made if it is not there.
        target: File to write (.npz).
        prefix: Every bin of channels whose names begin so is a signal region.
        recipe: How the likelihood is learned.
        quiet: Print only the result.
    """

    workspace: Annotated[Path, tyro.conf.Positional]
    run: Path
    target: Path
    prefix: str = "SR"
    recipe: Annotated[LikelihoodRecipe, tyro.conf.arg(name="")] = field(
        default_factory=LikelihoodRecipe
    )
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


COMMANDS = {
    "train": Train,
    "validate": Validate,
    "export": Export,
    "likelihood": Likelihood,
    "cross-sections": CrossSections,
}


def main(given: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if given is None else given)
    console = Console()
    if not words or words[0] in ("-h", "--help"):
        lines = [f"usage: {PROGRAM} COMMAND [options]", "", "commands:"]
        lines += [f"  {name:<14} {c.__doc__.splitlines()[0]}" for name, c in COMMANDS.items()]  # type: ignore[union-attr]
        console.show("\n".join(lines))
        return OK if words else USAGE
    name = words.pop(0)
    if name not in COMMANDS:
        console.error(f"there is no command {name!r}; there are {', '.join(COMMANDS)}")
        return USAGE
    try:
        arguments = tyro.cli(COMMANDS[name], prog=f"{PROGRAM} {name}", args=words)
        return run(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else USAGE
    except JaxlikError as error:
        console.error(str(error))
        return FAILED
    except KeyboardInterrupt:
        console.error("interrupted; what is finished is kept, the same command goes on")
        return FAILED


def run(arguments: Train | Validate | Export | Likelihood | CrossSections) -> int:
    """Carry out a command; returns the exit code.

    Raises:
        JaxlikError: bad input.
    """
    if isinstance(arguments, Likelihood):
        from surrogates.likelihood_command import run_likelihood

        run_likelihood(
            arguments.workspace,
            arguments.run,
            arguments.target,
            arguments.prefix,
            arguments.recipe,
            quiet=arguments.quiet,
        )
        return OK
    from jaxlik.database.compile import load_database
    from jaxlik.database.snapshot import HULLS_ONLY
    from jaxlik.fit.runtime import prepare, terminable
    from surrogates.maps import read_map_sets
    from surrogates.run import Run

    console = Console(quiet=arguments.quiet)
    if isinstance(arguments, CrossSections):
        learn_cross_sections(arguments, console)
        return OK
    if not isinstance(arguments, Train):
        Run.existing(arguments.run)  # before anything slow
    prepare(quiet=arguments.quiet)
    with terminable():
        snapshot = load_database(arguments.database, quiet=arguments.quiet)
        if snapshot.manifest.get(HULLS_ONLY):
            raise ConfigError(
                f"{arguments.database}: holds efficiency maps only as hulls, nothing to learn; "
                "give a SModelS database"
            )
        sets = read_map_sets(snapshot, arguments.only)
        if not sets:
            raise ConfigError(
                f"{arguments.database}: no efficiency maps "
                f"{'of ' + ', '.join(arguments.only) if arguments.only else 'at all'}; results "
                "are named like CMS-SUS-19-006-agg, topologies like CMS-SUS-19-006-agg:T2"
            )
        names = {name for maps in sets for name in (maps.name, maps.folder)}
        missing = [one for one in arguments.only if one not in names]
        if missing:
            raise ConfigError(f"{arguments.database}: no efficiency maps of {', '.join(missing)}")
        match arguments:
            case Train():
                _train(arguments, console, snapshot, sets)
            case Validate():
                _validate(arguments, console, snapshot, sets)
            case Export():
                _export(arguments, console, snapshot, sets)
    return OK


def _train(arguments: Train, console: Console, snapshot, sets) -> None:
    import time

    from surrogates.run import Run, train

    recipe = arguments.recipe
    recipe.check()
    folder = Run.open(arguments.run, snapshot, recipe)
    began = time.perf_counter()
    train(sets, folder, recipe, quiet=arguments.quiet)
    seconds = time.perf_counter() - began
    console.show(f"{len(sets)} networks in {arguments.run}, {seconds:.0f} s in this session")


def _validate(arguments: Validate, console: Console, snapshot, sets) -> None:
    from tqdm import tqdm

    from surrogates.run import Run
    from surrogates.tables import markdown, summary, write_closures
    from surrogates.validation import closure

    folder = Run.existing(arguments.run)
    folder.check_database(snapshot)
    bar = tqdm(sets, desc="validating", disable=arguments.quiet)
    closures = [closure(maps, folder.load(maps)) for maps in bar]
    write_closures(closures, folder.folder / "closure.json")
    (folder.folder / "closure.md").write_text(markdown(closures))
    console.show(summary_text(summary(closures), terminal_width()))
    console.show(f"tables of all networks: {folder.folder / 'closure.md'}")


def summary_text(found: dict, width: int) -> str:
    """The closure in a few lines."""
    from jaxlik.fit.report import table

    well = found["met_well_tested"]
    rows = [
        [name, f"{100 * share:.0f} %", f"{100 * well[name]:.0f} %" if name in well else "-"]
        for name, share in found["met"].items()
    ]
    if found["held_out_values"]:
        rows.append(["A6 coverage of 90 % bands", f"{100 * found['coverage']:.1f} %", ""])
    header = [
        f"target ({found['sets']} networks)",
        f"met by ({found['tested']} tested)",
        f"with 10 held-out nodes ({found['well_tested']})",
    ]
    return table(header, rows, "<>>", width)


def _export(arguments: Export, console: Console, snapshot, sets) -> None:
    from surrogates.export import export
    from surrogates.run import Run
    from surrogates.tables import read_closures

    if arguments.target.suffix != ".npz":
        raise ConfigError(f"--target {arguments.target}: wanted a name that ends in .npz")
    folder = Run.existing(arguments.run)
    folder.check_database(snapshot)
    closures = read_closures(folder.folder / "closure.json")
    export(snapshot, sets, folder, arguments.target, closures, quiet=arguments.quiet)
    size = arguments.target.stat().st_size / 1e6
    console.show(f"{arguments.target}: {len(sets)} networks, {size:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
