"""The parts of an HS3 document: named objects, the analysis, initial values, bounds."""

import re
from typing import Any, NamedTuple

import numpy as np

from jaxlik.database.json_checks import JsonChecks, is_number, shown
from jaxlik.errors import WorkspaceError

RELATIVE_SINCE = (6, 30)
"""ROOT wrote Poisson rates as `vals` of a shapesys before this version."""


class Value(NamedTuple):
    """A parameter in a parameter point; `const` is None where the point does not say."""

    value: float
    const: bool | None


class Axis(NamedTuple):
    """A parameter in a domain."""

    lower: float | None
    upper: float | None
    const: bool
    place: str


class Hs3Document:
    """Look-ups in one HS3 document and one of its analyses.

    Attributes:
        checks: For messages.
        analysis: The chosen analysis; an empty one where the document has none.
        likelihood: Its likelihood, and the place of that.
        values: Initial values and constants, by name.
        axes: Domains of parameters, by name.

    Raises:
        WorkspaceError: with the place in the document.
    """

    def __init__(self, document: Any, analysis: str | None, name: str):
        self.checks = JsonChecks(name)
        if not isinstance(document, dict) or not isinstance(document.get("distributions"), list):
            raise WorkspaceError(
                f"{name}: found {shown(document)}, wanted an HS3 document: "
                'a JSON object with a list of "distributions"'
            )
        self.document = document
        self._sections: dict[str, dict[str, tuple[dict, str]]] = {}
        self.analysis, place = self._analysis(analysis)
        self.likelihood = self._likelihood(place)
        self.values = self._values(place)
        self.axes = self._axes(place)

    def section(self, key: str) -> dict[str, tuple[dict, str]]:
        """Named objects of a top-level list, with their places."""
        if key not in self._sections:
            self._sections[key] = self._named(self.document.get(key), f"/{key}")
        return self._sections[key]

    def find(self, key: str, name: Any, place: str) -> tuple[dict, str]:
        """An object of a top-level list, by name."""
        found = self.section(key)
        if not isinstance(name, str) or name not in found:
            some = ", ".join(list(found)[:5]) + (", ..." if len(found) > 5 else "")
            raise self.checks.error(place, name, f"a name in /{key}: {some or 'it is empty'}")
        return found[name]

    def objects(self, value: Any, place: str) -> list[tuple[dict, str]]:
        """The objects of a list, with their places."""
        objects = [(entry, f"{place}/{i}") for i, entry in enumerate(self.items(value, place))]
        for entry, here in objects:
            if not isinstance(entry, dict):
                raise self.checks.error(here, entry, "an object")
        return objects

    def items(self, value: Any, place: str) -> list:
        """A list, or nothing."""
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.checks.error(place, value, "a list")
        return value

    def constant(self, value: Any, place: str) -> float:
        """A number, or the value of a constant parameter."""
        if is_number(value):
            return float(value)
        entry = self.values.get(value) if isinstance(value, str) else None
        if entry is None or not entry.const:
            raise self.checks.error(
                place, value, 'a number, or a parameter with "const": true in /parameter_points'
            )
        return entry.value

    def edges(self, axes: Any, place: str) -> list[np.ndarray | int]:
        """Bin edges of each axis, or the number of bins where the range is not given."""
        edges: list[np.ndarray | int] = []
        for axis, here in self.objects(axes, place):
            # Earlier versions of ROOT call the edges "bounds".
            key = next((key for key in ("edges", "bounds") if key in axis), None)
            count = axis.get("nbins")
            if key is not None:
                edges.append(np.array(self.checks.numbers(axis, key, here)))
            elif not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise self.checks.error(f"{here}/nbins", count, 'a number of bins, or "edges"')
            elif "min" in axis and "max" in axis:
                low, high = (self.checks.number(axis, key, here) for key in ("min", "max"))
                edges.append(np.linspace(low, high, count + 1))
            else:
                edges.append(count)
        return edges

    def root(self) -> bool:
        """Whether the document says that ROOT wrote it."""
        return "ROOT" in self._packages()

    def relative_vals(self, place: str) -> bool:
        """Whether `vals` of a shapesys are relative to the events, as ROOT writes them.

        pyhs3 takes them as events, and nothing but the writer tells which are meant.
        """
        packages = self._packages()
        relative, events = "ROOT" in packages, not packages.keys().isdisjoint(("jaxlik", "pyhs3"))
        if relative == events:
            raise self.checks.error(
                "/metadata/packages",
                list(packages),
                "either ROOT (relative to the events) or pyhs3 (in events), which tells what "
                f"{place}/data/vals are; or Poisson distributions in {place}/constraints",
            )
        if events:
            return False
        package, at = packages["ROOT"]
        version = tuple(map(int, re.findall(r"\d+", str(package.get("version")))[:2]))
        if version < RELATIVE_SINCE:
            raise self.checks.error(
                f"{at}/version", package.get("version"), "6.30 or later; write it again with that"
            )
        return True

    def _packages(self) -> dict[str, tuple[dict, str]]:
        """What the document says it was written by."""
        metadata = self.document.get("metadata")
        packages = metadata.get("packages") if isinstance(metadata, dict) else None
        return self._named(packages, "/metadata/packages")

    def _named(self, value: Any, place: str) -> dict[str, tuple[dict, str]]:
        found = {}
        for entry, here in self.objects(value, place):
            name = self.checks.named(entry, here)["name"]
            if name in found:
                raise self.checks.error(f"{here}/name", name, "a name once")
            found[name] = entry, here
        return found

    def _analysis(self, wanted: str | None) -> tuple[dict, str]:
        analyses = self.section("analyses")
        if wanted is None:
            return next(iter(analyses.values()), ({}, ""))
        if wanted not in analyses:
            raise self.checks.error("/analyses", list(analyses), f"one named {wanted!r}")
        return analyses[wanted]

    def _likelihood(self, place: str) -> tuple[dict, str]:
        if place:
            return self.find("likelihoods", self.analysis.get("likelihood"), f"{place}/likelihood")
        likelihoods = self.section("likelihoods")
        if len(likelihoods) != 1:
            raise self.checks.error(
                "/likelihoods", list(likelihoods), "exactly one, or an analysis that chooses one"
            )
        return next(iter(likelihoods.values()))

    def _values(self, place: str) -> dict[str, Value]:
        """The point ``default_values``, and on top of it the one that the analysis names."""
        points = self.section("parameter_points")
        chosen = ["default_values"] if "default_values" in points else []
        if self.analysis.get("init") is not None:
            self.find("parameter_points", self.analysis["init"], f"{place}/init")
            chosen.append(self.analysis["init"])
        if not chosen and len(points) > 1:
            raise self.checks.error(
                f"{place}/init", None, f"the name of a parameter point: {', '.join(points)}"
            )
        values = {}
        for name in chosen or points:
            point, at = points[name]
            parameters = self._named(point.get("parameters"), f"{at}/parameters")
            for parameter, (entry, here) in parameters.items():
                const = entry.get("const")
                if const is not None and not isinstance(const, bool):
                    raise self.checks.error(f"{here}/const", const, "true or false")
                values[parameter] = Value(self.checks.number(entry, "value", here), const)
        return values

    def _axes(self, place: str) -> dict[str, Axis]:
        """Axes of ``default_domain``, and on top of them those that the analysis names."""
        domains = self.section("domains")
        chosen = ["default_domain"] if "default_domain" in domains else []
        for i, name in enumerate(self.items(self.analysis.get("domains"), f"{place}/domains")):
            self.find("domains", name, f"{place}/domains/{i}")
            chosen.append(name)
        found = {}
        for name in chosen:
            domain, at = domains[name]
            if domain.get("type") != "product_domain":
                raise self.checks.error(f"{at}/type", domain.get("type"), "product_domain")
            for parameter, (axis, here) in self._named(domain.get("axes"), f"{at}/axes").items():
                lower, upper = (
                    self.checks.number(axis, key, here) if axis.get(key) is not None else None
                    for key in ("min", "max")
                )
                found[parameter] = Axis(lower, upper, axis.get("const") is True, here)
        return found
