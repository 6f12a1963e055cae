"""`python -m jaxlik.fit [COMMAND] [options]`: the command line.

Without a command it runs `build` on the embedded snapshot. Exit codes: 0 done; 1 the
answer is an error, such as bad input or a search that found nothing; 2 wrong usage.
"""

import sys
from difflib import get_close_matches
from importlib import import_module

from jaxlik.errors import JaxlikError
from jaxlik.fit.console import Console
from jaxlik.fit.examples import EXAMPLES

PROGRAM = "python -m jaxlik.fit"

COMMANDS = {
    "build": "search for the model that describes all results best (the default)",
    "point": "judge given models: r-values, likelihoods, derivatives",
    "sample": "sample the posterior over models",
    "workspace": "fit a HistFactory workspace (pyhf JSON): parameters, CLs, limits",
    "census": "significance of every signal region of a database",
    "calibrate": "search pseudo-databases: global p-value, closure with injected signals",
    "snapshot": "compile a database and list what is in it",
    "report": "write the page of a run directory again, as HTML",
    "completion": "tab completion for bash, zsh or fish",
}
"""Modules of `jaxlik.fit.commands`; each has `OPTIONS`, `parse(arguments)` and `run(parsed)`."""

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Of the command line, without the program; those of the process by
            default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    if given[:1] in (["-h"], ["--help"]):
        console.show(overview())
        return OK
    if given[:1] == ["--version"]:
        console.show(version_text())
        return OK
    name = given.pop(0) if given and not given[0].startswith("-") else "build"
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        console.error(f"there is no command {name!r}; {hint}")
        return USAGE
    try:
        # Lazily: a command imports what it needs, and --help stays fast.
        command = import_module(f"jaxlik.fit.commands.{name.replace('-', '_')}")
        return command.run(command.parse(given))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else USAGE
    except JaxlikError as error:
        console.error(str(error))
        return FAILED
    except KeyboardInterrupt:
        console.error("interrupted")
        return FAILED
    except BrokenPipeError:
        return FAILED


def overview() -> str:
    """The commands in one line each, and where to begin."""
    lines = [f"usage: {PROGRAM} [COMMAND] [options]", "", "commands:"]
    lines += [f"  {name:<11} {text}" for name, text in COMMANDS.items()]
    lines += ["", "to begin with:"]
    for name in ("build", "point", "workspace"):
        given, what = EXAMPLES[name][0]
        lines.append(f"  {PROGRAM} {name} {given}".rstrip() + f"\n      {what}")
    lines += [
        "",
        f"'{PROGRAM} COMMAND --help' lists the options of a command, '--version' the versions.",
        "--json FILE writes results as JSON, '-' to standard output; --quiet and --verbose say how",
        "much is told on standard error. Exit codes: 0 done, 1 an error, 2 wrong usage.",
    ]
    return "\n".join(lines)


def version_text() -> str:
    """Versions of everything that numbers depend on, of optional packages, and the devices."""
    from jaxlik.database.compile import cache_folder
    from jaxlik.fit.runtime import devices, optional_versions, versions

    rows = [*versions().items(), *optional_versions().items()]
    rows += [("device", text) for text in devices()]
    rows.append(("cache", str(cache_folder())))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}} {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
