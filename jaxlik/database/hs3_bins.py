"""HS3 modifiers that scale bins one by one, translated to those of pyhf."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxlik.database.hs3_constraints import (
    Constraint,
    bin_constraints,
    constraint_type,
    implied,
)
from jaxlik.database.hs3_document import Hs3Document
from jaxlik.database.workspace_parameters import (
    NORMAL,
    POISSON,
    poisson_rates,
    relative_errors,
)

SAME = 1e-9
"""Relative difference up to which numbers given twice are the same."""

GAMMAS = re.compile(r"gamma_(.+)_bin_(\d+)")


class BinSet(NamedTuple):
    """Parameters of bins under one pyhf name.

    Attributes:
        modifier: Type in pyhf.
        parameters: HS3 names, one for each bin.
        inert: Bins without events or uncertainty, whose parameters do nothing.
        settings: Auxiliary data and widths that differ from those pyhf derives.
    """

    modifier: str
    parameters: tuple[str, ...]
    inert: tuple[bool, ...]
    settings: dict[str, list[float]]


class Member(NamedTuple):
    """A sample with a modifier of bins.

    Attributes:
        entry: The pyhf sample, to which modifiers are added.
        data: HS3 data of the sample, with its errors.
        modifier: HS3 modifier.
        place: Of the modifier.
    """

    entry: dict
    data: dict
    modifier: dict
    place: str

    @property
    def nominal(self) -> np.ndarray:
        """Events in each bin."""
        return np.array(self.entry["data"])


@dataclass
class BinModifiers:
    """Adds modifiers of bins to samples, and collects the sets of parameters they make.

    Attributes:
        document: For look-ups and messages.
        used: Names of parameters that are none of bins.
        sets: By the name that pyhf sees.
    """

    document: Hs3Document
    used: set[str]
    sets: dict[str, BinSet] = field(default_factory=dict)

    def shape(self, channel: str, member: Member) -> None:
        """A shapesys or shapefactor; only constraints tell them apart."""
        document, (_, _, modifier, place) = self.document, member
        nominal = member.nominal
        label = modifier.get("name", "")
        defaults = (f"gamma_{label}_bin_", f"{label}_")
        parameters = self._parameters(modifier, len(nominal), place, defaults)
        data = modifier.get("data")
        stated = constraint_type(document, [(modifier, place)])
        if any(document.items(modifier.get("constraints"), f"{place}/constraints")):
            constraints = bin_constraints(document, modifier, parameters, place)
            relative = np.array([_relative(c) for c in constraints])
            stated = _kind(constraints)
        elif stated is not None:
            relative = self._vals(document.checks.object(modifier, "data", place), nominal, place)
            constraints = self._implied(stated, parameters, relative)
        elif isinstance(data, dict) and data.get("vals"):
            raise document.checks.error(
                f"{place}/constraint", None, 'Gauss or Poisson for the "vals", or "constraints"'
            )
        else:
            self._shapefactor(channel, parameters, member)
            return
        errors = [(relative * nominal).tolist()]
        poisson = stated == POISSON
        self._constrained(channel, parameters, constraints, poisson, relative, [member], errors)

    def staterror(self, channel: dict, place: str, members: list[Member]) -> None:
        """The gammas of the statistical uncertainty, shared by samples of a channel."""
        document, checks, name = self.document, self.document.checks, channel["name"]
        statements = [(m.modifier, m.place) for m in members]
        if channel.get("staterror") is not None:
            config = checks.object(channel, "staterror", place)
            if config.get("relThreshold"):
                raise checks.error(
                    f"{place}/staterror/relThreshold",
                    config["relThreshold"],
                    'none; set "const" of the parameters below it in /parameter_points',
                )
            statements.append((config, f"{place}/staterror"))
        defaults = (f"gamma_stat_{name.removeprefix('model_')}_bin_", f"staterror_{name}_bin")
        errors, every = [], []
        for member in members:
            size, at = len(member.nominal), member.place.rpartition("/modifiers")[0]
            errors.append(checks.errors(member.data, "errors", f"{at}/data", size))
            every.append(self._parameters(member.modifier, size, member.place, defaults))
        parameters = every[0]
        if len(set(every)) > 1:
            raise checks.error(place, sorted(set(every)), "one set of staterror parameters")
        relative = relative_errors([member.entry["data"] for member in members], errors)
        first = members[0]
        lists = [member.modifier.get("constraints") for member in members]
        if any(constraints != lists[0] for constraints in lists):
            raise checks.error(place, lists, "the same constraints for every staterror")
        if len({id(member.entry) for member in members}) < len(members):
            raise checks.error(place, [m.place for m in members], "one staterror for a sample")
        if any(document.items(first.modifier.get("constraints"), f"{first.place}/constraints")):
            constraints = bin_constraints(document, first.modifier, parameters, first.place)
            stated = _kind(constraints)
            if stated == POISSON:
                relative = np.array([_relative(c) for c in constraints])
                errors[0] = (relative * first.nominal).tolist()
        else:
            # ROOT takes Poisson where none is stated, pyhs3 Gauss.
            stated = constraint_type(document, statements) or (POISSON if document.root() else None)
            if stated is None:
                raise checks.error(f"{first.place}/constraint", None, "Gauss or Poisson")
            constraints = self._implied(stated, parameters, relative)
        poisson = stated == POISSON
        self._constrained(name, parameters, constraints, poisson, relative, members, errors)

    def _vals(self, data: dict, nominal: np.ndarray, place: str) -> np.ndarray:
        """Relative uncertainties of a shapesys."""
        checks = self.document.checks
        vals = np.array(checks.errors(data, "vals", f"{place}/data", len(nominal)))
        if not self.document.relative_vals(place):
            return relative_errors([nominal.tolist()], [vals.tolist()])
        if vals.max() > 1:
            wanted = "relative uncertainties below 1, as ROOT writes"
            raise checks.error(f"{place}/data/vals", float(vals.max()), wanted)
        return vals

    def _implied(
        self, kind: str, parameters: tuple[str, ...], relative: np.ndarray
    ) -> list[Constraint | None]:
        widths = relative if kind == NORMAL else poisson_rates(relative)
        return [
            None if size == 0 else implied(self.document, kind, parameter, width)
            for parameter, size, width in zip(
                parameters, relative.tolist(), widths.tolist(), strict=True
            )
        ]

    def _shapefactor(self, channel: str, parameters: tuple[str, ...], member: Member) -> None:
        known = next((k for k, s in self.sets.items() if s.parameters == parameters), None)
        name = known or self._name(channel, parameters, member.modifier, member.place)
        found = BinSet("shapefactor", parameters, (False,) * len(parameters), {})
        if self.sets.setdefault(name, found).modifier != "shapefactor":
            raise self.document.checks.error(
                member.place, list(parameters), "parameters that no constrained modifier has"
            )
        member.entry["modifiers"].append({"name": name, "type": "shapefactor", "data": None})

    def _constrained(
        self,
        channel: str,
        parameters: tuple[str, ...],
        constraints: list[Constraint | None],
        poisson: bool,
        relative: np.ndarray,
        members: list[Member],
        errors: list[list[float]],
    ) -> None:
        """A shapesys for Poisson constraints, which pyhf has for single samples, or a staterror."""
        checks, place = self.document.checks, members[0].place
        total = np.sum([member.nominal for member in members], axis=0)
        inert = (total <= 0) | (relative == 0)
        for parameter, constraint, idle in zip(parameters, constraints, inert, strict=True):
            if constraint is not None and not 0 < constraint.width < np.inf:
                raise checks.error(place, constraint, f"a finite width or rate of {parameter!r}")
            if constraint is None and not idle:
                raise checks.error(place, parameter, "a constraint for each bin with uncertainty")
        settings: dict[str, list[float]] = {}
        if poisson:
            if len(members) > 1:
                raise checks.error(
                    place,
                    "Poisson constraint of a gamma that several samples share",
                    '"Gauss", or one sample: a pyhf workspace holds no other',
                )
            for parameter, c in zip(parameters, constraints, strict=True):
                if c is not None and abs(c.centre - c.width) > SAME * c.width:
                    raise checks.error(place, c, f"auxiliary data of {parameter!r} as its rate")
        else:
            pairs = zip(constraints, np.where(inert, 1.0, relative).tolist(), strict=True)
            centres, widths = zip(
                *[(1.0, w) if c is None else (c.centre, c.width) for c, w in pairs], strict=True
            )
            usual = np.where(inert, 1.0, relative)
            if any(centre != 1 for centre in centres):
                settings["auxdata"] = list(centres)
            if (np.abs(np.array(widths) - usual) > SAME * usual).any():
                settings["sigmas"] = list(widths)
        kind = "shapesys" if poisson else "staterror"
        name = self._name(channel, parameters, members[0].modifier, place)
        self.sets[name] = BinSet(kind, parameters, tuple(inert.tolist()), settings)
        for member, error in zip(members, errors, strict=True):
            modifier = {"name": name, "type": kind, "data": error}
            member.entry["modifiers"].append(modifier)

    def _parameters(
        self, modifier: dict, size: int, place: str, defaults: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Names of the parameters; where not given, those of ROOT or pyhs3 that have values."""
        checks = self.document.checks
        names = self.document.items(modifier.get("parameters"), f"{place}/parameters")
        if not names and size == 1 and "parameter" in modifier:
            names = [modifier["parameter"]]
        if not names:
            candidates = [[f"{prefix}{i}" for i in range(size)] for prefix in defaults]
            known = [c for c in candidates if self.document.values.keys() >= set(c)]
            names = (known or candidates)[0]
        if len(names) != size or not all(isinstance(name, str) for name in names):
            raise checks.error(f"{place}/parameters", names, f"{size} names")
        if len(set(names)) != size or not self.used.isdisjoint(names):
            raise checks.error(f"{place}/parameters", names, "names that nothing else has")
        return tuple(names)

    def _name(self, channel: str, parameters: tuple[str, ...], modifier: dict, place: str) -> str:
        """A name for the set: that in ROOT's names of gammas, or that of the modifier."""
        taken = {parameter for s in self.sets.values() for parameter in s.parameters}
        if not taken.isdisjoint(parameters):
            raise self.document.checks.error(
                f"{place}/parameters", list(parameters), "parameters that no other modifier has"
            )
        matches = [GAMMAS.fullmatch(parameter) for parameter in parameters]
        bases = {match[1] for match in matches if match}
        ordered = [match and int(match[2]) for match in matches] == list(range(len(matches)))
        label = str(modifier.get("name", modifier["type"]))
        candidates = [*(bases if len(bases) == 1 and ordered else ()), label, f"{label}_{channel}"]
        for name in candidates:
            if name not in self.sets and name not in self.used:
                return name
        raise self.document.checks.error(f"{place}/name", label, "a name that nothing else has")


def _kind(constraints: list[Constraint | None]) -> str:
    """The kind that listed constraints share."""
    return next(constraint.kind for constraint in constraints if constraint is not None)


def _relative(constraint: Constraint | None) -> float:
    if constraint is None:
        return 0.0
    return constraint.width if constraint.kind == NORMAL else constraint.width**-0.5
