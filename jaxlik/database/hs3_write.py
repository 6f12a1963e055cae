"""pyhf workspaces written as HS3 documents."""

from dataclasses import dataclass, field

from jaxlik import __version__
from jaxlik.database.json_checks import JsonChecks
from jaxlik.database.records import HistFactoryRecord
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_parameters import PULLS

HS3_VERSION = "0.2"

BINS = ("shapesys", "shapefactor", "staterror")


def to_hs3(document: dict, *, measurement: str | int = 0, name: str = "workspace") -> dict:
    """The HS3 document of one measurement of a pyhf workspace.

    One analysis and one likelihood carry the name of the measurement. Parameters keep their
    names; those of bins are ``gamma_NAME_bin_0`` and so on. The luminosity is a normfactor
    whose Gaussian constraint is named in the modifier and among the auxiliary distributions.

    Args:
        document: The workspace, patches already applied.
        measurement: Name or position.
        name: For messages.

    Raises:
        WorkspaceError: an invalid workspace, or something that HS3 does not hold.
    """
    record = flatten_workspace(document, measurement=measurement, name=name)
    measurements = document["measurements"]
    if isinstance(measurement, str):
        measurement = [m["name"] for m in measurements].index(measurement)
    chosen = measurements[measurement]
    title = JsonChecks(name).text(chosen, "name", f"/measurements/{measurement}")
    return _Writer(document, record, chosen["config"]).document(title)


@dataclass
class _Writer:
    """Writes channels, and the distributions and functions that their modifiers need."""

    workspace: dict
    record: HistFactoryRecord
    config: dict
    distributions: list[dict] = field(default_factory=list)
    functions: list[dict] = field(default_factory=list)
    auxiliary: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.checks = JsonChecks(self.record.name)
        self.position = {name: i for i, name in enumerate(self.record.parameters)}
        renamed = _names_of_bins(self.workspace)
        self.names = [renamed.get(name, name) for name in self.record.parameters]
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise self.checks.error("/channels", twice, "parameters with names of their own")
        entries = self.config.get("parameters", [])
        self.overridden = {e["name"] for e in entries if "auxdata" in e or "sigmas" in e}

    def document(self, title: str) -> dict:
        """The HS3 document."""
        record = self.record
        channels = [
            self._channel(channel, f"/channels/{c}")
            for c, channel in enumerate(self.workspace["channels"])
        ]
        data = [
            {
                "name": f"observed_{channel['name']}",
                "type": "binned",
                "axes": channel["axes"],
                "contents": record.observed[slice(*span)].tolist(),
            }
            for channel, span in zip(channels, record.channel_bins, strict=True)
        ]
        likelihood = {
            "name": title,
            "distributions": [channel["name"] for channel in channels],
            "data": [entry["name"] for entry in data],
        }
        if self.auxiliary:
            likelihood["aux_distributions"] = list(self.auxiliary.values())
        bounds = zip(self.names, record.lower.tolist(), record.upper.tolist(), strict=True)
        values = zip(self.names, record.init.tolist(), record.fixed.tolist(), strict=True)
        return {
            "metadata": {
                "hs3_version": HS3_VERSION,
                "packages": [{"name": "jaxlik", "version": __version__}],
            },
            "distributions": [*channels, *self.distributions],
            "functions": self.functions,
            "data": data,
            "likelihoods": [likelihood],
            "domains": [
                {
                    "name": "default_domain",
                    "type": "product_domain",
                    "axes": [{"name": n, "min": low, "max": high} for n, low, high in bounds],
                }
            ],
            "parameter_points": [
                {
                    "name": "default_values",
                    "parameters": [{"name": n, "value": v, "const": c} for n, v, c in values],
                }
            ],
            "analyses": [
                {
                    "name": title,
                    "likelihood": title,
                    "parameters_of_interest": [self.names[record.poi]] if record.poi >= 0 else [],
                    "domains": ["default_domain"],
                    "init": "default_values",
                }
            ],
        }

    def _channel(self, channel: dict, place: str) -> dict:
        samples, statistical = [], set()
        for s, sample in enumerate(channel["samples"]):
            entry = {"name": sample["name"], "data": {"contents": sample["data"]}, "modifiers": []}
            for m, modifier in enumerate(sample.get("modifiers", [])):
                here = f"{place}/samples/{s}/modifiers/{m}"
                entry["modifiers"].append(self._modifier(modifier, sample["data"], here))
                if modifier["type"] == "staterror":
                    if "errors" in entry["data"] or statistical - {modifier["name"]}:
                        raise self.checks.error(
                            f"{here}/name", modifier["name"], "one staterror in a channel"
                        )
                    statistical.add(modifier["name"])
                    entry["data"]["errors"] = modifier["data"]
            samples.append(entry)
        size = len(samples[0]["data"]["contents"])
        axis = {"name": f"obs_x_{channel['name']}", "min": 0.0, "max": float(size), "nbins": size}
        written = {
            "name": channel["name"],
            "type": "histfactory_dist",
            "axes": [axis],
            "samples": samples,
        }
        if statistical:
            # ROOT asks the channel for the type of constraint, pyhs3 the modifier.
            written["staterror"] = {"constraint_type": "Gauss", "relThreshold": 0.0}
        return written

    def _modifier(self, modifier: dict, nominal: list[float], place: str) -> dict:
        kind, name, data = modifier["type"], modifier["name"], modifier.get("data") or {}
        written: dict = {"name": name, "type": kind}
        if kind in BINS:
            return written | self._bins(modifier, nominal, place)
        p = self.position[name]
        written["parameter"] = self.names[p]
        if kind == "lumi":
            self.auxiliary[name] = self._gaussian(p)
            return written | {"type": "normfactor", "constraint_name": self.auxiliary[name]}
        if kind == "normsys":
            written["data"] = {key: data[key] for key in ("hi", "lo")}
        elif kind == "histosys":
            written["data"] = {key: {"contents": data[f"{key}_data"]} for key in ("hi", "lo")}
        if kind in PULLS and self.record.centre[p] == 0 and self.record.width[p] == 1:
            written["constraint"] = "Gauss"
        elif kind in PULLS:
            written["constraint_name"] = self._gaussian(p)
        return written

    def _bins(self, modifier: dict, nominal: list[float], place: str) -> dict:
        """Parameters and constraints of a modifier that scales bins."""
        name, data = modifier["name"], modifier["data"]
        positions = [self.position[f"{name}[{i}]"] for i in range(len(nominal))]
        written: dict = {"parameters": [self.names[p] for p in positions]}
        if modifier["type"] == "staterror":
            written["constraint"] = "Gauss"
            if name in self.overridden:
                written["constraints"] = [self._gaussian(p) for p in positions]
        elif modifier["type"] == "shapesys":
            if name in self.overridden:
                raise self.checks.error(f"{place}/name", name, "no sigmas in the measurement")
            # pyhs3 reads the values, in events; ROOT the distributions.
            written |= {"constraint": "Poisson", "data": {"vals": data}}
            written["constraints"] = [
                self._poisson(p) if events > 0 and error > 0 else None
                for p, events, error in zip(positions, nominal, data, strict=True)
            ]
        return written

    def _gaussian(self, p: int) -> str:
        """Name of the Gaussian constraint of a parameter, which is written once."""
        centre, sigma = float(self.record.centre[p]), float(self.record.width[p])
        entry = {"type": "gaussian_dist", "x": self.names[p], "mean": centre, "sigma": sigma}
        return self._distribution(self.names[p], entry)

    def _poisson(self, p: int) -> str:
        """Name of the Poisson constraint of a parameter."""
        rate = float(self.record.width[p])
        mean = f"{self.names[p]}_rate"
        self.functions.append({"name": mean, "type": "product", "factors": [self.names[p], rate]})
        return self._distribution(self.names[p], {"type": "poisson_dist", "x": rate, "mean": mean})

    def _distribution(self, parameter: str, entry: dict) -> str:
        if parameter not in self.constraints:
            name = f"{parameter}_constraint"
            while name in self.record.channels:
                name += "_"
            self.constraints[parameter] = name
            self.distributions.append({"name": name} | entry)
        return self.constraints[parameter]


def _names_of_bins(workspace: dict) -> dict[str, str]:
    """HS3 names, as ROOT would choose them, of the numbered parameters of bins."""
    return {
        f"{modifier['name']}[{i}]": f"gamma_{modifier['name']}_bin_{i}"
        for channel in workspace["channels"]
        for sample in channel["samples"]
        for modifier in sample.get("modifiers", [])
        if modifier["type"] in BINS
        for i in range(len(sample["data"]))
    }
