"""HistFactory workspaces (pyhf JSON): checked, and flattened to arrays.

Every error names the place in the document, the value found and the one wanted.
"""

import json
from typing import Any

import numpy as np

from jaxlik.database.json_checks import JsonChecks, shown
from jaxlik.database.records import HistFactoryRecord
from jaxlik.database.workspace_parameters import PULLS, Parameters, relative_errors
from jaxlik.errors import WorkspaceError

KINDS = ("normfactor", "normsys", "histosys", "shapesys", "shapefactor", "staterror", "lumi")


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
                f"{name}: /{key} is {shown(document.get(key))}, wanted a list that is not empty"
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

    Examples:
        >>> from jaxlik.database.counting_workspace import counting_workspace
        >>> record = flatten_workspace(counting_workspace(9.0, 6.5, 1.3, 4.0))
        >>> record.parameters[record.poi], record.observed
        ('mu', array([9.]))
    """
    document = read_workspace(document, name=name)
    return _Flattener(document, measurement, poi, name).record()


class _Flattener:
    """Walks through a document once, collecting cells (sample and bin) and parameters."""

    def __init__(self, document: dict, measurement: str | int, poi: str | None, name: str):
        self.checks = JsonChecks(name)
        self.document = document
        self.measurement = self._measurement(measurement)
        config = self.checks.object(self.measurement, "config", "/measurements")
        self.poi = poi if poi is not None else config.get("poi", "")
        self.parameters = Parameters(self.checks, self._settings(config))
        self.nominal: list[float] = []
        self.cell_bin: list[int] = []
        self.cell_block: list[int] = []
        self.blocks: list[tuple[str, str]] = []
        self.channels: list[str] = []
        self.bins: list[range] = []
        self.additive: list[tuple[int, int, float, float]] = []
        self.normsys: list[tuple[int, int, float, float]] = []
        self.factors: list[list[int]] = []

    def record(self) -> HistFactoryRecord:
        """The flattened workspace."""
        channels = self.document["channels"]
        for c, channel in enumerate(channels):
            self._channel(channel, f"/channels/{c}")
        observed = self._observed()
        p = self.parameters
        size = len(p.names)
        poi = self._poi()
        self.parameters.apply_settings()
        # Parameters of normsys and histosys stand first, those of normsys before the others.
        pulled = {i for modifier, span in p.sets.values() if modifier in PULLS for i in span}
        scaling = {int(entry[1]) for entry in self.normsys}
        order = sorted(range(size), key=lambda i: (i not in pulled, i not in scaling, i))
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
            name=self.checks.name,
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
            normalisations=np.array(
                [place[i] for kind, span in p.sets.values() if kind == "normfactor" for i in span],
                dtype=np.int32,
            ),
            poi=place[poi] if poi >= 0 else -1,
        )

    def _measurement(self, wanted: str | int) -> dict:
        found = self.document["measurements"]
        names = [m.get("name") if isinstance(m, dict) else None for m in found]
        if isinstance(wanted, str):
            if wanted not in names:
                raise self.checks.error("/measurements", names, f"one named {wanted!r}")
            return found[names.index(wanted)]
        if not 0 <= wanted < len(found) or not isinstance(found[wanted], dict):
            raise self.checks.error("/measurements", names, f"an object at position {wanted}")
        return found[wanted]

    def _settings(self, config: dict) -> dict[str, dict]:
        entries = config.get("parameters", [])
        if not isinstance(entries, list):
            raise self.checks.error("/measurements/config/parameters", entries, "a list")
        found = {}
        for i, entry in enumerate(entries):
            self.checks.named(entry, f"/measurements/config/parameters/{i}")
            if entry["name"] in found:
                raise self.checks.error(
                    f"/measurements/config/parameters/{i}/name", entry["name"], "a name once"
                )
            found[entry["name"]] = entry
        return found

    def _channel(self, channel: Any, place: str) -> None:
        self.checks.named(channel, place)
        if channel["name"] in self.channels:
            raise self.checks.error(f"{place}/name", channel["name"], "a name no other channel has")
        samples = channel.get("samples")
        if not isinstance(samples, list) or not samples:
            raise self.checks.error(f"{place}/samples", samples, "a list that is not empty")
        data = [
            self.checks.numbers(s, "data", f"{place}/samples/{i}") for i, s in enumerate(samples)
        ]
        size = len(data[0])
        first_bin = self.bins[-1].stop if self.bins else 0
        self.channels.append(channel["name"])
        self.bins.append(range(first_bin, first_bin + size))
        staterror: dict[str, list[tuple[int, list[float], list[float]]]] = {}
        for s, (sample, values) in enumerate(zip(samples, data, strict=True)):
            here = f"{place}/samples/{s}"
            if len(values) != size:
                raise self.checks.error(
                    f"{here}/data", f"{len(values)} numbers", f"{size}, as the others"
                )
            self.checks.text(sample, "name", here)
            first = len(self.nominal)
            self.nominal += values
            self.cell_bin += range(first_bin, first_bin + size)
            self.cell_block += [len(self.blocks)] * size
            self.blocks.append((channel["name"], sample["name"]))
            self.factors += [[] for _ in values]
            modifiers = sample.get("modifiers", [])
            if not isinstance(modifiers, list):
                raise self.checks.error(f"{here}/modifiers", modifiers, "a list")
            for m, modifier in enumerate(modifiers):
                spot = f"{here}/modifiers/{m}"
                if not isinstance(modifier, dict) or modifier.get("type") not in KINDS:
                    kind = modifier.get("type") if isinstance(modifier, dict) else modifier
                    raise self.checks.error(f"{spot}/type", kind, f"one of {', '.join(KINDS)}")
                self.checks.text(modifier, "name", spot)
                if modifier["type"] == "staterror":
                    errors = self.checks.errors(modifier, "data", spot, size)
                    staterror.setdefault(modifier["name"], []).append((first, values, errors))
                else:
                    self._modifier(modifier, spot, first, values)
        for name, members in staterror.items():
            self._staterror(name, members, place)

    def _modifier(self, modifier: dict, place: str, first: int, values: list[float]) -> None:
        kind, name, size = modifier["type"], modifier["name"], len(values)
        cells = range(first, first + size)
        if kind == "histosys":
            data = self.checks.object(modifier, "data", place)
            high = self.checks.numbers(data, "hi_data", f"{place}/data", size)
            low = self.checks.numbers(data, "lo_data", f"{place}/data", size)
            (p,) = self.parameters.single(name, kind, place)
            for cell, nominal, up, down in zip(cells, values, high, low, strict=True):
                self.additive.append((cell, p, up - nominal, nominal - down))
        elif kind == "normsys":
            data = self.checks.object(modifier, "data", place)
            high, low = (self.checks.number(data, key, f"{place}/data") for key in ("hi", "lo"))
            for key, value in (("hi", high), ("lo", low)):
                if value <= 0:
                    raise self.checks.error(f"{place}/data/{key}", value, "a positive number")
            (p,) = self.parameters.single(name, kind, place)
            self.normsys.append((self.cell_block[first], p, high, low))
        elif kind in ("normfactor", "lumi"):
            (p,) = self.parameters.single(name, kind, place)
            for cell in cells:
                self.factors[cell].append(p)
        else:
            if kind == "shapesys":
                errors = self.checks.errors(modifier, "data", place, size)
                span = self.parameters.shapesys(name, values, errors, place)
            else:
                span = self.parameters.shapefactor(name, size, place)
            for cell, p in zip(cells, span, strict=True):
                self.factors[cell].append(p)

    def _staterror(self, name: str, members: list, place: str) -> None:
        nominal, errors = ([member[i] for member in members] for i in (1, 2))
        relative = relative_errors(nominal, errors)
        span = self.parameters.staterror(name, relative, place)
        for first, _, _ in members:
            for i, p in enumerate(span):
                self.factors[first + i].append(p)

    def _observed(self) -> np.ndarray:
        found: dict[str, list[float]] = {}
        for i, entry in enumerate(self.document["observations"]):
            place = f"/observations/{i}"
            self.checks.named(entry, place)
            found[entry["name"]] = self.checks.numbers(entry, "data", place)
        values: list[float] = []
        for channel, span in zip(self.channels, self.bins, strict=True):
            if channel not in found:
                raise self.checks.error(
                    "/observations", sorted(found), f"one for channel {channel!r}"
                )
            if len(found[channel]) != len(span):
                raise self.checks.error(
                    f"/observations ({channel})", f"{len(found[channel])} numbers", f"{len(span)}"
                )
            values += found[channel]
        observed = np.array(values)
        if (observed < 0).any():
            raise self.checks.error("/observations", observed.min(), "counts that are not negative")
        return observed

    def _poi(self) -> int:
        if not self.poi:
            return -1
        if not isinstance(self.poi, str):
            raise self.checks.error("/measurements/config/poi", self.poi, "a name")
        if self.poi not in self.parameters.sets:
            return -1  # background-only workspaces name a signal that is patched in later
        span = self.parameters.sets[self.poi][1]
        if len(span) != 1:
            raise self.checks.error("/measurements/config/poi", self.poi, "a single parameter")
        return span.start
