"""HistFactory workspaces (pyhf JSON): checked, and flattened to arrays.

Conventions (initial values, bounds, auxiliary data, fixed parameters) are those of pyhf
0.7. Every error names the place in the document, the value found and the one wanted.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlik.database.records import HistFactoryRecord
from jaxlik.errors import WorkspaceError

SMALLEST_GAMMA, LARGEST_FACTOR = 1e-10, 10.0
"""Bounds of bin-by-bin factors; the upper one is also that of free normalisations."""

KINDS = ("normfactor", "normsys", "histosys", "shapesys", "shapefactor", "staterror", "lumi")

PULLS = ("normsys", "histosys")

NORMAL, POISSON, FREE = "normal", "poisson", "free"


def read_workspace(document: str | dict, *, name: str = "workspace") -> dict:
    """A workspace as nested dictionaries.

    Raises:
        WorkspaceError: not a JSON object, or without channels.
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except json.JSONDecodeError as error:
            raise WorkspaceError(f"{name}: not JSON ({error}); wanted a pyhf workspace") from error
    if not isinstance(document, dict):
        raise WorkspaceError(
            f"{name}: found {type(document).__name__}, wanted a JSON object with "
            '"channels", "observations" and "measurements"'
        )
    for key in ("channels", "observations", "measurements"):
        if not isinstance(document.get(key), list) or not document[key]:
            raise WorkspaceError(
                f"{name}: /{key} is {_shown(document.get(key))}, wanted a list that is not empty"
            )
    return document


def flatten_workspace(
    document: str | dict,
    *,
    measurement: str | int = 0,
    poi: str | None = None,
    name: str = "workspace",
) -> HistFactoryRecord:
    """All arrays of one measurement of a workspace.

    Args:
        document: JSON text, or what it stands for; patches already applied.
        measurement: Name or position.
        poi: Parameter of interest in place of the one of the measurement.
        name: For messages.

    Raises:
        WorkspaceError: with the place in the document.
    """
    document = read_workspace(document, name=name)
    return _Flattener(document, measurement, poi, name).record()


@dataclass
class _Parameters:
    """Parameters in order of appearance."""

    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    init: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    centre: list[float] = field(default_factory=list)
    width: list[float] = field(default_factory=list)
    sets: dict[str, tuple[str, range]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        modifier: str,
        kind: str,
        size: int,
        *,
        init: float,
        bounds: tuple[float, float],
        centre: Sequence[float],
        width: Sequence[float],
        fixed: Sequence[bool] | None = None,
        scalar: bool = False,
    ) -> range:
        """A set of parameters; numbered names unless it is a single one by nature."""
        first = len(self.names)
        self.names += [name] if scalar else [f"{name}[{i}]" for i in range(size)]
        self.kinds += [kind] * size
        self.init += [init] * size
        self.lower += [bounds[0]] * size
        self.upper += [bounds[1]] * size
        self.fixed += list(fixed) if fixed is not None else [False] * size
        self.centre += list(centre)
        self.width += list(width)
        self.sets[name] = (modifier, range(first, first + size))
        return self.sets[name][1]


class _Flattener:
    """Walks through a document once, collecting cells (sample and bin) and parameters."""

    def __init__(self, document: dict, measurement: str | int, poi: str | None, name: str):
        self.name = name
        self.document = document
        self.measurement = self._measurement(measurement)
        config = self._object(self.measurement, "config", "/measurements")
        self.settings = self._settings(config)
        self.poi = poi if poi is not None else config.get("poi", "")
        self.parameters = _Parameters()
        self.nominal: list[float] = []
        self.cell_bin: list[int] = []
        self.cell_block: list[int] = []
        self.blocks: list[tuple[str, str]] = []
        self.channels: list[str] = []
        self.bins: list[range] = []
        self.additive: list[tuple[int, int, float, float]] = []
        self.normsys: list[tuple[int, int, float, float]] = []
        self.factors: list[list[int]] = []

    def fail(self, place: str, found: Any, wanted: str) -> WorkspaceError:
        """The error for one place of the document."""
        return WorkspaceError(f"{self.name}: {place} is {_shown(found)}, wanted {wanted}")

    def record(self) -> HistFactoryRecord:
        """The flattened workspace."""
        channels = self.document["channels"]
        for c, channel in enumerate(channels):
            self._channel(channel, f"/channels/{c}")
        observed = self._observed()
        p = self.parameters
        size = len(p.names)
        poi = self._poi()
        self._apply_settings()
        # Parameters of normsys and histosys stand first.
        pulled = {i for modifier, span in p.sets.values() if modifier in PULLS for i in span}
        order = sorted(range(size), key=lambda i: (i not in pulled, i))
        place = [*np.argsort(order).tolist(), size]
        up, down = (np.zeros((len(self.nominal), len(pulled))) for _ in "ud")
        for cell, parameter, high, low in self.additive:
            up[cell, place[parameter]] += high
            down[cell, place[parameter]] += low
        width = max((len(f) for f in self.factors), default=0) or 1
        factors = [[*map(place.__getitem__, f), *[size] * (width - len(f))] for f in self.factors]
        entries = np.array(self.normsys, dtype=float).reshape(-1, 4)

        def ordered(values: list) -> list:
            return [values[i] for i in order]

        return HistFactoryRecord(
            name=self.name,
            channels=tuple(self.channels),
            channel_bins=tuple((r.start, r.stop) for r in self.bins),
            samples=tuple(self.blocks),
            parameters=tuple(ordered(p.names)),
            kinds=tuple(ordered(p.kinds)),
            init=np.array(ordered(p.init), dtype=float),
            lower=np.array(ordered(p.lower), dtype=float),
            upper=np.array(ordered(p.upper), dtype=float),
            fixed=np.array(ordered(p.fixed), dtype=bool),
            centre=np.array(ordered(p.centre), dtype=float),
            width=np.array(ordered(p.width), dtype=float),
            nominal=np.array(self.nominal, dtype=float),
            cell_bin=np.array(self.cell_bin, dtype=np.int32),
            cell_block=np.array(self.cell_block, dtype=np.int32),
            up=up,
            down=down,
            entry_block=entries[:, 0].astype(np.int32),
            entry_parameter=np.array([place[int(i)] for i in entries[:, 1]], dtype=np.int32),
            entry_high=entries[:, 2],
            entry_low=entries[:, 3],
            factors=np.array(factors, dtype=np.int32).reshape(-1, width),
            observed=observed,
            poi=place[poi] if poi >= 0 else -1,
        )

    def _measurement(self, wanted: str | int) -> dict:
        found = self.document["measurements"]
        names = [m.get("name") if isinstance(m, dict) else None for m in found]
        if isinstance(wanted, str):
            if wanted not in names:
                raise self.fail("/measurements", names, f"one named {wanted!r}")
            return found[names.index(wanted)]
        if not 0 <= wanted < len(found) or not isinstance(found[wanted], dict):
            raise self.fail("/measurements", names, f"an object at position {wanted}")
        return found[wanted]

    def _object(self, parent: dict, key: str, place: str) -> dict:
        value = parent.get(key)
        if not isinstance(value, dict):
            raise self.fail(f"{place}/{key}", value, "an object")
        return value

    def _settings(self, config: dict) -> dict[str, dict]:
        entries = config.get("parameters", [])
        found = {}
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise self.fail(
                    f"/measurements/config/parameters/{i}", entry, 'an object with a "name"'
                )
            if entry["name"] in found:
                raise self.fail(
                    f"/measurements/config/parameters/{i}/name", entry["name"], "a name once"
                )
            found[entry["name"]] = entry
        return found

    def _channel(self, channel: Any, place: str) -> None:
        if not isinstance(channel, dict) or not isinstance(channel.get("name"), str):
            raise self.fail(place, channel, 'an object with a "name"')
        if channel["name"] in self.channels:
            raise self.fail(f"{place}/name", channel["name"], "a name no other channel has")
        samples = channel.get("samples")
        if not isinstance(samples, list) or not samples:
            raise self.fail(f"{place}/samples", samples, "a list that is not empty")
        data = [self._numbers(s, "data", f"{place}/samples/{i}") for i, s in enumerate(samples)]
        size = len(data[0])
        first_bin = self.bins[-1].stop if self.bins else 0
        self.channels.append(channel["name"])
        self.bins.append(range(first_bin, first_bin + size))
        staterror: dict[str, list[tuple[int, list[float], list[float]]]] = {}
        for s, (sample, values) in enumerate(zip(samples, data, strict=True)):
            here = f"{place}/samples/{s}"
            if len(values) != size:
                raise self.fail(f"{here}/data", f"{len(values)} numbers", f"{size}, as the others")
            if not isinstance(sample.get("name"), str):
                raise self.fail(f"{here}/name", sample.get("name"), "a text")
            first = len(self.nominal)
            self.nominal += values
            self.cell_bin += range(first_bin, first_bin + size)
            self.cell_block += [len(self.blocks)] * size
            self.blocks.append((channel["name"], sample["name"]))
            self.factors += [[] for _ in values]
            modifiers = sample.get("modifiers", [])
            if not isinstance(modifiers, list):
                raise self.fail(f"{here}/modifiers", modifiers, "a list")
            for m, modifier in enumerate(modifiers):
                spot = f"{here}/modifiers/{m}"
                if not isinstance(modifier, dict) or modifier.get("type") not in KINDS:
                    kind = modifier.get("type") if isinstance(modifier, dict) else modifier
                    raise self.fail(f"{spot}/type", kind, f"one of {', '.join(KINDS)}")
                if not isinstance(modifier.get("name"), str):
                    raise self.fail(f"{spot}/name", modifier.get("name"), "a text")
                if modifier["type"] == "staterror":
                    errors = self._errors(modifier, spot, size)
                    staterror.setdefault(modifier["name"], []).append((first, values, errors))
                else:
                    self._modifier(modifier, spot, first, values)
        for name, members in staterror.items():
            self._staterror(name, members, size, place)

    def _modifier(self, modifier: dict, place: str, first: int, values: list[float]) -> None:
        kind, name, size = modifier["type"], modifier["name"], len(values)
        cells = range(first, first + size)
        if kind == "histosys":
            data = self._object(modifier, "data", place)
            high = self._numbers(data, "hi_data", f"{place}/data", size)
            low = self._numbers(data, "lo_data", f"{place}/data", size)
            (p,) = self._pull(name, kind, place)
            for cell, nominal, up, down in zip(cells, values, high, low, strict=True):
                self.additive.append((cell, p, up - nominal, nominal - down))
        elif kind == "normsys":
            data = self._object(modifier, "data", place)
            high, low = (self._number(data, key, f"{place}/data") for key in ("hi", "lo"))
            for key, value in (("hi", high), ("lo", low)):
                if value <= 0:
                    raise self.fail(f"{place}/data/{key}", value, "a positive number")
            (p,) = self._pull(name, kind, place)
            self.normsys.append((self.cell_block[first], p, high, low))
        elif kind in ("normfactor", "lumi"):
            (p,) = self._scale(name, kind, place)
            for cell in cells:
                self.factors[cell].append(p)
        else:
            if kind == "shapesys":
                errors = self._errors(modifier, place, size)
                span = self._shapesys(name, values, errors, place)
            else:
                span = self._shapefactor(name, size, place)
            for cell, p in zip(cells, span, strict=True):
                self.factors[cell].append(p)

    def _known(self, name: str, kinds: tuple[str, ...], size: int, place: str) -> range | None:
        """Parameters of that name, if there are any yet."""
        if name not in self.parameters.sets:
            return None
        modifier, span = self.parameters.sets[name]
        if modifier not in kinds or len(span) != size:
            raise self.fail(
                f"{place}/name", name, f"a name not used by a {modifier} of {len(span)} parameters"
            )
        return span

    def _pull(self, name: str, kind: str, place: str) -> range:
        known = self._known(name, PULLS, 1, place)
        if known is not None:
            return known
        return self.parameters.add(
            name,
            kind,
            NORMAL,
            1,
            init=0.0,
            bounds=(-5.0, 5.0),
            centre=[0.0],
            width=[1.0],
            scalar=True,
        )

    def _scale(self, name: str, kind: str, place: str) -> range:
        known = self._known(name, (kind,), 1, place)
        if known is not None:
            return known
        if kind == "normfactor":
            return self.parameters.add(
                name,
                kind,
                FREE,
                1,
                init=1.0,
                bounds=(0.0, LARGEST_FACTOR),
                centre=[0.0],
                width=[1.0],
                scalar=True,
            )
        entry = self.settings.get(name, {})
        for key in ("auxdata", "sigmas"):
            if key not in entry:
                raise self.fail(
                    f"/measurements/config/parameters ({name})",
                    sorted(entry),
                    f'"{key}" for the luminosity',
                )
        return self.parameters.add(
            name,
            kind,
            NORMAL,
            1,
            init=1.0,
            bounds=(0.0, LARGEST_FACTOR),
            centre=[1.0],
            width=[1.0],
            scalar=True,
        )

    def _shapesys(self, name: str, values: list[float], errors: list[float], place: str) -> range:
        if name in self.parameters.sets:
            raise self.fail(f"{place}/name", name, "a name that no other modifier has")
        valid = [n > 0 and e > 0 for n, e in zip(values, errors, strict=True)]
        rates = [
            (n / e) ** 2 if ok else 1.0 for n, e, ok in zip(values, errors, valid, strict=True)
        ]
        return self.parameters.add(
            name,
            "shapesys",
            POISSON,
            len(values),
            init=1.0,
            bounds=(SMALLEST_GAMMA, LARGEST_FACTOR),
            centre=rates,
            width=rates,
            fixed=[not ok for ok in valid],
        )

    def _shapefactor(self, name: str, size: int, place: str) -> range:
        known = self._known(name, ("shapefactor",), size, place)
        if known is not None:
            return known
        return self.parameters.add(
            name,
            "shapefactor",
            FREE,
            size,
            init=1.0,
            bounds=(0.0, LARGEST_FACTOR),
            centre=[0.0] * size,
            width=[1.0] * size,
        )

    def _staterror(self, name: str, members: list, size: int, place: str) -> None:
        if name in self.parameters.sets:
            raise self.fail(f"{place} staterror", name, "a name that no other modifier has")
        total = np.sum([values for _, values, _ in members], axis=0)
        square = np.sum([np.square(errors) for _, _, errors in members], axis=0)
        relative = np.sqrt(np.divide(square, total**2, out=np.zeros(size), where=total > 0))
        fixed = relative == 0
        span = self.parameters.add(
            name,
            "staterror",
            NORMAL,
            size,
            init=1.0,
            bounds=(SMALLEST_GAMMA, LARGEST_FACTOR),
            centre=[1.0] * size,
            width=np.where(fixed, 1.0, relative).tolist(),
            fixed=fixed.tolist(),
        )
        for first, _, _ in members:
            for i, p in enumerate(span):
                self.factors[first + i].append(p)

    def _observed(self) -> np.ndarray:
        found: dict[str, list[float]] = {}
        for i, entry in enumerate(self.document["observations"]):
            place = f"/observations/{i}"
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise self.fail(place, entry, 'an object with a "name"')
            found[entry["name"]] = self._numbers(entry, "data", place)
        values: list[float] = []
        for channel, span in zip(self.channels, self.bins, strict=True):
            if channel not in found:
                raise self.fail("/observations", sorted(found), f"one for channel {channel!r}")
            if len(found[channel]) != len(span):
                raise self.fail(
                    f"/observations ({channel})", f"{len(found[channel])} numbers", f"{len(span)}"
                )
            values += found[channel]
        observed = np.array(values)
        if (observed < 0).any():
            raise self.fail("/observations", observed.min(), "counts that are not negative")
        return observed

    def _poi(self) -> int:
        if not self.poi:
            return -1
        if self.poi not in self.parameters.sets:
            return -1  # background-only workspaces name a signal that is patched in later
        span = self.parameters.sets[self.poi][1]
        if len(span) != 1:
            raise self.fail("/measurements/config/poi", self.poi, "a single parameter")
        return span.start

    def _apply_settings(self) -> None:
        """Initial values, bounds, auxiliary data of the measurement; unused entries are none."""
        p = self.parameters
        for name, entry in self.settings.items():
            if name not in p.sets:
                continue
            modifier, span = p.sets[name]
            place = f"/measurements/config/parameters ({name})"
            for key, target in (("inits", p.init), ("auxdata", p.centre), ("sigmas", p.width)):
                if key in entry:
                    values = self._numbers(entry, key, place, len(span))
                    if key == "sigmas" and min(values) <= 0:
                        raise self.fail(f"{place}/sigmas", min(values), "positive numbers")
                    target[span.start : span.stop] = values
            if "bounds" in entry:
                bounds = entry["bounds"]
                if not isinstance(bounds, list) or len(bounds) != len(span):
                    raise self.fail(f"{place}/bounds", bounds, f"{len(span)} pairs")
                for i, pair in zip(span, bounds, strict=True):
                    low, high = self._numbers({"pair": pair}, "pair", f"{place}/bounds", 2)
                    if not low <= high:
                        raise self.fail(f"{place}/bounds", pair, "the lower bound first")
                    p.lower[i], p.upper[i] = low, high
            if "fixed" in entry:
                fixed = entry["fixed"]
                flags = fixed if isinstance(fixed, list) else [fixed]
                if len(flags) not in (1, len(span)) or not all(isinstance(f, bool) for f in flags):
                    raise self.fail(f"{place}/fixed", fixed, "true or false")
                p.fixed[span.start : span.stop] = (
                    flags if len(flags) == len(span) else flags * len(span)
                )
            if modifier == "shapesys" and "auxdata" in entry:
                raise self.fail(f"{place}/auxdata", entry["auxdata"], "none for a shapesys")

    def _numbers(self, parent: Any, key: str, place: str, size: int | None = None) -> list[float]:
        value = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(value, list) or not value:
            raise self.fail(f"{place}/{key}", value, "a list of numbers")
        if size is not None and len(value) != size:
            raise self.fail(f"{place}/{key}", f"{len(value)} numbers", f"{size}")
        for i, number in enumerate(value):
            if not _is_number(number):
                raise self.fail(f"{place}/{key}/{i}", number, "a finite number")
        return [float(number) for number in value]

    def _errors(self, modifier: dict, place: str, size: int) -> list[float]:
        errors = self._numbers(modifier, "data", place, size)
        if min(errors) < 0:
            raise self.fail(f"{place}/data", min(errors), "uncertainties that are not negative")
        return errors

    def _number(self, parent: dict, key: str, place: str) -> float:
        if not _is_number(parent.get(key)):
            raise self.fail(f"{place}/{key}", parent.get(key), "a finite number")
        return float(parent[key])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
