"""What ``python -m benchmarks run`` measures, by name.

A suite is a module with a function ``measure(options: Options) -> Iterator[Row]``. It is
imported when it runs, so that a suite whose programs are not installed disturbs no other.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple

from benchmarks.harness import Options, Row
from jaxlik.errors import ConfigError

Measure = Callable[[Options], Iterator[Row]]


class Suite(NamedTuple):
    """One suite.

    Attributes:
        title: Heading of its table.
        budget: Seconds that a quick run may take on two cores, compiled programs at hand.
    """

    title: str
    budget: float


SUITES: dict[str, Suite] = {
    "ceilings": Suite("What the machine can do", 10),
    "kernels": Suite("Likelihood kernels", 100),
    "scores": Suite("Full protomodel scores", 90),
    "search": Suite("Search", 70),
    "posterior": Suite("Posterior", 90),
    "combination": Suite("Best combination", 15),
    "pseudo_databases": Suite("Pseudo-databases", 35),
    "startup": Suite("Start-up and memory", 120),
    "scaling": Suite("Scaling", 65),
}
"""In the order of the report; the module of each is ``benchmarks.suites.<name>``."""


def load(name: str) -> Measure:
    """The function that measures a suite.

    Raises:
        ConfigError: there is no suite of this name.
    """
    if name not in SUITES:
        raise ConfigError(f"suite is {name!r}, wanted one of {', '.join(SUITES)}")
    return import_module(f"benchmarks.suites.{name}").measure
