"""HS3 documents read as the dictionary of a pyhf workspace."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxlik.database.hs3_bins import BinModifiers, Member
from jaxlik.database.hs3_constraints import (
    Constraint,
    constrained_parameter,
    modifier_constraint,
    named,
)
from jaxlik.database.hs3_document import Hs3Document
from jaxlik.database.workspace_parameters import LARGEST_FACTOR, NORMAL, SMALLEST_GAMMA

SINGLE = ("normfactor", "normsys", "histosys")
BINS = ("shapesys", "shapefactor", "staterror")

INTERPOLATIONS: dict[str, tuple[Any, ...]] = {
    "normsys": ("code4", 4, {"type": "mult", "in": "poly6", "out": "exp"}),
    "histosys": ("code4p", 4, "poly6", {"type": "add", "in": "poly6", "out": "poly1"}),
}
"""Names of the interpolations that a pyhf workspace stands for, in pyhs3, ROOT and HS3."""


def from_hs3(document: dict, *, analysis: str | None = None, name: str = "workspace") -> dict:
    """The pyhf workspace that an HS3 document stands for.

    Channels and parameters keep their names; the parameters of bins become one numbered set.
    With several parameters of interest the measurement has none, so that none is chosen here.
    Parameters of bins without events or uncertainty are fixed unless the document says not.

    Args:
        document: What the JSON text stands for.
        analysis: Name; the first one by default.
        name: For messages.

    Returns:
        One measurement, named as the analysis, for `flatten_workspace`.

    Raises:
        WorkspaceError: not HS3, or something that a pyhf workspace cannot hold, with its place.
    """
    return _Reader(Hs3Document(document, analysis, name)).workspace()


class _Reader:
    """Walks through the channels of a likelihood: constraints first, modifiers then."""

    def __init__(self, document: Hs3Document):
        self.document, self.checks = document, document.checks
        self.channels = self._channels()
        self.kinds: dict[str, str] = {}
        self.constraints: dict[str, Constraint | None] = {}
        for channel, place in self.channels:
            for sample, at in self._samples(channel, place):
                for modifier, here in self._modifiers(sample, at):
                    if modifier["type"] in SINGLE:
                        self._constrain(modifier, here)
        self._auxiliary()
        self.bins = BinModifiers(document, set(self.constraints))

    def workspace(self) -> dict:
        """The pyhf workspace."""
        channels = [self._channel(channel, place) for channel, place in self.channels]
        config = {"poi": self._poi(), "parameters": list(self._settings())}
        measurement = self.document.analysis.get("name", self.document.likelihood[0]["name"])
        return {
            "channels": channels,
            "observations": self._observations(),
            "measurements": [{"name": measurement, "config": config}],
            "version": "1.0.0",
        }

    def _channels(self) -> list[tuple[dict, str]]:
        likelihood, place = self.document.likelihood
        names = self.document.items(likelihood.get("distributions"), f"{place}/distributions")
        if not names:
            raise self.checks.error(f"{place}/distributions", names, "a list that is not empty")
        channels = []
        for i, name in enumerate(names):
            channel, at = self.document.find("distributions", name, f"{place}/distributions/{i}")
            if channel.get("type") != "histfactory_dist":
                raise self.checks.error(
                    f"{at}/type", channel.get("type"), "histfactory_dist; other models are not read"
                )
            method = channel.get("barlow_beeston_method", "lite")
            if method != "lite":
                raise self.checks.error(f"{at}/barlow_beeston_method", method, "lite")
            channels.append((channel, at))
        return channels

    def _samples(self, channel: dict, place: str) -> list[tuple[dict, str]]:
        samples = self.document.objects(channel.get("samples"), f"{place}/samples")
        if not samples:
            raise self.checks.error(f"{place}/samples", samples, "a list that is not empty")
        return samples

    def _modifiers(self, sample: dict, place: str) -> list[tuple[dict, str]]:
        modifiers = self.document.objects(sample.get("modifiers"), f"{place}/modifiers")
        for modifier, here in modifiers:
            if modifier.get("type") not in (*SINGLE, *BINS):
                known = ", ".join((*SINGLE, *BINS))
                raise self.checks.error(f"{here}/type", modifier.get("type"), f"one of {known}")
        return modifiers

    def _parameter(self, modifier: dict, place: str) -> str:
        """The parameter of a modifier that has one; ROOT's name where it is not given."""
        names = self.document.items(modifier.get("parameters"), f"{place}/parameters")
        if not names and "parameter" not in modifier:
            prefix = "" if modifier["type"] == "normfactor" else "alpha_"
            return prefix + self.checks.text(modifier, "name", place)
        names = names or [modifier["parameter"]]
        if len(names) != 1 or not isinstance(names[0], str):
            raise self.checks.error(f"{place}/parameter", names, "one name")
        return names[0]

    def _constrain(self, modifier: dict, place: str) -> None:
        """Note the constraint of a modifier with one parameter."""
        parameter = self._parameter(modifier, place)
        kind = "normfactor" if modifier["type"] == "normfactor" else "normsys or histosys"
        if self.kinds.setdefault(parameter, kind) != kind:
            wanted = f"a parameter that no {self.kinds[parameter]} has"
            raise self.checks.error(f"{place}/parameter", parameter, wanted)
        found = modifier_constraint(self.document, modifier, parameter, place)
        known = self.constraints.setdefault(parameter, found)
        if found is None:
            return
        if found.kind != NORMAL:
            raise self.checks.error(place, found, "a Gaussian constraint")
        if known is not None and known[:3] != found[:3]:
            wanted = f"the constraint that {parameter!r} has elsewhere, {known}"
            raise self.checks.error(place, found, wanted)
        if known is None or not known.distribution:
            self.constraints[parameter] = found

    def _auxiliary(self) -> None:
        """Auxiliary distributions of the likelihood; one that a modifier names counts once."""
        likelihood, place = self.document.likelihood
        place = f"{place}/aux_distributions"
        for i, name in enumerate(self.document.items(likelihood.get("aux_distributions"), place)):
            here = f"{place}/{i}"
            parameter = constrained_parameter(self.document, name, self.constraints, here)
            known = self.constraints[parameter]
            if known is not None and known.distribution != name:
                wanted = f"no second constraint of {parameter!r}; name this one in its modifiers"
                raise self.checks.error(here, name, wanted)
            self.constraints[parameter] = named(self.document, name, parameter, here)

    def _channel(self, channel: dict, place: str) -> dict:
        size: int | None = None
        samples: list[dict] = []
        members: list[Member] = []
        for i, (sample, at) in enumerate(self._samples(channel, place)):
            data = self.checks.object(sample, "data", at)
            contents = self.checks.numbers(data, "contents", f"{at}/data", size)
            size = len(contents)
            entry = {"name": sample.get("name", f"sample{i}"), "data": contents, "modifiers": []}
            samples.append(entry)
            for modifier, here in self._modifiers(sample, at):
                member = Member(entry, data, modifier, here)
                if modifier["type"] in SINGLE:
                    entry["modifiers"].append(self._single(channel, place, member))
                elif modifier["type"] == "staterror":
                    members.append(member)
                else:
                    self.bins.shape(channel["name"], member)
        if members:
            self.bins.staterror(channel, place, members)
        return {"name": channel["name"], "samples": samples}

    def _single(self, channel: dict, place: str, member: Member) -> dict:
        """A modifier with one parameter, in pyhf."""
        modifier, here, size = member.modifier, member.place, len(member.entry["data"])
        kind, name = modifier["type"], self._parameter(modifier, here)
        if kind == "normfactor":
            kind = "normfactor" if self.constraints[name] is None else "lumi"
            return {"name": name, "type": kind, "data": None}
        data = self.checks.object(modifier, "data", here)
        stated = [
            (holder["interpolation"], f"{at}/interpolation")
            for holder, at in ((modifier, here), (data, f"{here}/data"))
            if "interpolation" in holder
        ]
        if not stated and "default_interpolation" in channel:
            stated = [(channel["default_interpolation"], f"{place}/default_interpolation")]
        for code, at in stated:
            if isinstance(code, bool) or code not in INTERPOLATIONS[kind]:
                wanted = " or ".join(map(str, INTERPOLATIONS[kind])) + f" for the {kind} {here}"
                raise self.checks.error(at, code, wanted)
        if kind == "normsys":
            factors = {key: self.checks.number(data, key, f"{here}/data") for key in ("hi", "lo")}
            return {"name": name, "type": kind, "data": factors}
        shifted = {}
        for key in ("hi", "lo"):
            template, at = self.checks.object(data, key, f"{here}/data"), f"{here}/data/{key}"
            shifted[f"{key}_data"] = self.checks.numbers(template, "contents", at, size)
        return {"name": name, "type": kind, "data": shifted}

    def _observations(self) -> list[dict]:
        likelihood, place = self.document.likelihood
        names = self.document.items(likelihood.get("data"), f"{place}/data")
        if len(names) != len(self.channels):
            wanted = f"{len(self.channels)}, one for each distribution"
            raise self.checks.error(f"{place}/data", f"{len(names)} names", wanted)
        observations = []
        for i, (name, (channel, at)) in enumerate(zip(names, self.channels, strict=True)):
            data, here = self.document.find("data", name, f"{place}/data/{i}")
            if data.get("type") != "binned":
                raise self.checks.error(f"{here}/type", data.get("type"), "binned")
            if data.get("uncertainty") is not None:
                raise self.checks.error(f"{here}/uncertainty", data["uncertainty"], "none")
            contents = self.checks.numbers(data, "contents", here)
            self._compare_axes(channel, at, data, here, len(contents))
            observations.append({"name": channel["name"], "data": contents})
        return observations

    def _compare_axes(self, channel: dict, at: str, data: dict, here: str, size: int) -> None:
        """The bins of a channel are those of its data, as far as the document gives them."""
        binnings = []
        for holder, place in ((channel, f"{at}/axes"), (data, f"{here}/axes")):
            edges = self.document.edges(holder.get("axes"), place)
            bins = [axis if isinstance(axis, int) else len(axis) - 1 for axis in edges]
            if bins and int(np.prod(bins)) != size:
                raise self.checks.error(place, f"{bins} bins", f"{size} as in {here}/contents")
            binnings.append(edges)
        for ours, theirs in zip(*binnings, strict=False):
            known = isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray)
            if known and (ours.shape != theirs.shape or not np.allclose(ours, theirs)):
                raise self.checks.error(f"{here}/axes", theirs.tolist(), f"those of {at}/axes")

    def _poi(self) -> str:
        place = "/analyses/parameters_of_interest"
        interest = self.document.items(self.document.analysis.get("parameters_of_interest"), place)
        for i, name in enumerate(interest):
            if not isinstance(name, str):
                raise self.checks.error(f"{place}/{i}", name, "a name")
        if len(interest) != 1:
            return ""
        sets = self.bins.sets.items()
        return next((key for key, s in sets if s.parameters == (interest[0],)), interest[0])

    def _settings(self) -> Iterator[dict]:
        """Entries of the measurement, for all parameters."""
        for name, constraint in self.constraints.items():
            free = self.kinds[name] == "normfactor"
            bounds = (0.0, LARGEST_FACTOR) if free else (-5.0, 5.0)
            entry = self._entry(name, (name,), 1.0 if free else 0.0, bounds, (False,))
            if constraint is not None:
                entry |= {"auxdata": [constraint.centre], "sigmas": [constraint.width]}
            yield entry
        for name, found in self.bins.sets.items():
            lower = 0.0 if found.modifier == "shapefactor" else SMALLEST_GAMMA
            bounds = (lower, LARGEST_FACTOR)
            yield self._entry(name, found.parameters, 1.0, bounds, found.inert) | found.settings

    def _entry(
        self,
        name: str,
        parameters: tuple[str, ...],
        init: float,
        bounds: tuple[float, float],
        inert: tuple[bool, ...],
    ) -> dict:
        """Initial values, bounds and fixed flags, those of pyhf where the document has none."""
        values, axes = self.document.values, self.document.axes
        inits, pairs, fixed = [], [], []
        for parameter, idle in zip(parameters, inert, strict=True):
            value, axis = values.get(parameter), axes.get(parameter)
            stated = value.const if value is not None else None
            const = (axis is not None and axis.const) or (idle if stated is None else stated)
            inits.append(init if value is None else value.value)
            fixed.append(const)
            if axis is None or axis.const:
                pairs.append(list(bounds))
                continue
            if axis.lower is None or axis.upper is None:
                wanted = f"min and max for {parameter!r}: bounds must be finite"
                raise self.checks.error(axis.place, [axis.lower, axis.upper], wanted)
            if axis.lower > axis.upper:
                raise self.checks.error(axis.place, [axis.lower, axis.upper], "min below max")
            pairs.append([axis.lower, axis.upper])
        flags = fixed[0] if len(set(fixed)) == 1 else fixed
        return {"name": name, "inits": inits, "bounds": pairs, "fixed": flags}
