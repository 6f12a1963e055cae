"""``.. modules:: jaxlik.inference``: the reference of every public module of a package.

The list is that of the package itself, so that a new module cannot be forgotten. A module whose
name begins with an underscore, and ``__main__``, are not part of it.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList


def modules_of(package: str) -> Iterator[str]:
    """The package, if it has anything public of its own, and its public modules, by name."""
    found = import_module(package)
    yield package
    for info in pkgutil.iter_modules(getattr(found, "__path__", [])):
        if not info.name.startswith("_") and not info.ispkg:
            yield f"{package}.{info.name}"


def chosen_modules(package: str, only: str = "", without: str = "") -> list[str]:
    """Modules of a package; `only` and `without` list names below it, separated by spaces."""
    found = list(modules_of(package))
    if only.split():
        found = [name for name in found if name.removeprefix(f"{package}.") in only.split()]
    return [name for name in found if name.removeprefix(f"{package}.") not in without.split()]


class Modules(Directive):
    """Sections with ``automodule``, one per module."""

    required_arguments = 1
    final_argument_whitespace = False
    option_spec = {"only": directives.unchanged, "except": directives.unchanged}  # noqa: RUF012
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Parse the sections as if they were written out."""
        package = self.arguments[0]
        names = chosen_modules(package, *(self.options.get(o, "") for o in ("only", "except")))
        lines: list[str] = []
        for name in names:
            title = f"``{name}``"
            lines += [title, "-" * len(title), "", f".. automodule:: {name}", ""]
        source = StringList(lines, source=f"modules of {package}")
        section = nodes.section()
        section.document = self.state.document
        self.state.nested_parse(source, 0, section, match_titles=1)
        return section.children


def setup(app) -> dict:
    """Register."""
    app.add_directive("modules", Modules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
