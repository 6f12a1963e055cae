"""Options that have to be known before the others are read."""

from collections.abc import Sequence


def option(given: Sequence[str], name: str) -> str | None:
    """Value of an option on a command line; `None` where it is absent.

    Args:
        given: Words of the command line.
        name: Of the option, without dashes.
    """
    for position, word in enumerate(given):
        if word == f"--{name}" and position + 1 < len(given):
            return given[position + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None
