"""What a learned likelihood says about itself: the metadata of its ONNX file.

The fields are those of the Open Library of Learned Likelihoods, schema 0.1, which
SModelS 3.2 reads: names and background-only yields of the inputs, -ln L without signal,
and the transformations before and after the network. Values are JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlik.database.network_program import TRANSFORMATIONS, Transformation
from jaxlik.database.records import LEARNED_OUTPUTS
from jaxlik.errors import DatabaseError

_LONGEST = 4_000_000
"""Characters of a field; more is no metadata."""


@dataclass(frozen=True)
class NetworkMetadata:
    """Metadata with their numbers checked; axis ``region`` is the inputs of the network.

    Attributes:
        inputs: Names, ``channel-bin``.
        channels: Channel of each input.
        control: Whether the file calls its channel a control region.
        expected: Background events in each input.
        observed: Observed events in each input.
        nll_background: -ln L without signal, axis ``output``.
        domain: Smallest and largest events in training, ``2 region``.
        features: From yields to what the network takes.
        outputs: From the change of each -ln L to what the network answers.
    """

    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    control: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    nll_background: np.ndarray
    domain: np.ndarray
    features: Transformation
    outputs: tuple[Transformation, ...]


def read_metadata(name: str, properties: Mapping[str, str]) -> NetworkMetadata:
    """Decode and check the metadata of one file.

    Args:
        name: File, for messages.
        properties: Field by field, as written.

    Raises:
        DatabaseError: a field is missing, malformed, or contradicts another.
    """
    fields = _Fields(name, properties)
    kind = properties.get("input_type", "total_yields")
    if kind != "total_yields":
        raise DatabaseError(
            f"{name}: input_type is {kind!r}, wanted 'total_yields': export the network "
            "as a function of signal and background together"
        )
    removed = fields.decode("remove_channels", list, [])
    types = _channel_types(fields.decode("channels", object, {}))
    expected, observed = fields.yields("bkg_yields"), fields.yields("obs_yields")
    channel_of = {key: _channel(key, types) for key in expected}
    inputs = tuple(key for key, channel in channel_of.items() if not {key, channel} & set(removed))
    unknown = [key for key in inputs if key not in observed]
    if unknown or not inputs:
        raise DatabaseError(
            f"{name}: bkg_yields has inputs {list(inputs)}, of which obs_yields lacks {unknown}; "
            "wanted the same names in both, at least one: correct the metadata"
        )
    channels = tuple(channel_of[key] for key in inputs)
    domain = [
        fields.vector(fields.decode(key, list), key, len(inputs))
        if key in properties
        else np.full(len(inputs), unlimited)
        for key, unlimited in (("x_min", -np.inf), ("x_max", np.inf))
    ]
    keys = [f"{output}_mu0" for output in LEARNED_OUTPUTS]
    nll = [fields.number(fields.decode(key, object), key) for key in keys]
    return NetworkMetadata(
        inputs,
        channels,
        np.array([types.get(channel) == "CR" for channel in channels]),
        np.array([expected[key] for key in inputs]),
        np.array([observed[key] for key in inputs]),
        np.array(nll),
        np.array(domain),
        *_transformations(fields, len(inputs)),
    )


class _Fields:
    """Fields of one file, decoded with messages that name it."""

    def __init__(self, name: str, properties: Mapping[str, str]):
        self.name = name
        self.properties = properties

    def decode(self, key: str, kind: type, default: Any = None) -> Any:
        """The JSON value of a field, required unless there is a default."""
        if key not in self.properties:
            if default is None:
                raise DatabaseError(
                    f"{self.name}: has no metadata field {key!r}, only "
                    f"{sorted(self.properties)}; export the network with the metadata of the "
                    "Open Library of Learned Likelihoods 0.1"
                )
            return default
        text = self.properties[key]
        if len(text) > _LONGEST:
            raise self.wrong(key, f"{len(text)} characters", f"at most {_LONGEST}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(key, repr(text[:60]), "JSON") from error
        if not isinstance(value, kind):
            raise self.wrong(key, f"a {type(value).__name__}", f"a {kind.__name__}")
        return value

    def wrong(self, key: str, found: str, wanted: str) -> DatabaseError:
        """The error for a field."""
        return DatabaseError(
            f"{self.name}: metadata field {key!r} is {found}, wanted {wanted}: "
            "correct the metadata of the file"
        )

    def number(self, value: Any, key: str) -> float:
        """A finite number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.wrong(key, f"{value!r:.60}", "a finite number")
        return float(value)

    def vector(self, value: Any, key: str, size: int) -> np.ndarray:
        """A list of numbers, perhaps inside a list of one."""
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if not isinstance(value, list) or len(value) != size:
            found = f"{len(value)} entries" if isinstance(value, list) else f"{value!r:.60}"
            raise self.wrong(key, found, f"{size} numbers")
        return np.array([self.number(entry, key) for entry in value])

    def yields(self, key: str) -> dict[str, float]:
        """A list of (name, events)."""
        entries = self.decode(key, list)
        found: dict[str, float] = {}
        for entry in entries:
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
                raise self.wrong(key, f"an entry {entry!r:.60}", "entries [name, events]")
            found[entry[0]] = self.number(entry[1], key)
            if found[entry[0]] < 0:
                raise self.wrong(key, f"{entry[1]:g} for {entry[0]!r}", "at least zero events")
        if len(found) != len(entries):
            raise self.wrong(key, "a list with a name twice", "each name once")
        return found

    def pipeline(self, value: Any, key: str) -> tuple[str, ...]:
        """A list of transformations."""
        if not isinstance(value, list) or not all(step in TRANSFORMATIONS for step in value):
            raise self.wrong(
                f"preprocessing.{key}", f"{value!r:.80}", f"a list of {TRANSFORMATIONS}"
            )
        return tuple(value)

    def standardization(
        self, value: dict, kind: str, size: int, pipelines: tuple[tuple[str, ...], ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation; 0 and 1 where no pipeline asks for them."""
        if not any("standardization" in steps for steps in pipelines):
            return np.zeros(size), np.ones(size)
        mean, std = (
            self.vector(value.get(f"{kind}_{part}"), f"standardization.{kind}_{part}", size)
            for part in ("mean", "std")
        )
        if (std <= 0).any():
            raise self.wrong(
                f"standardization.{kind}_std", f"{std.min():g} at the least", "positive numbers"
            )
        return mean, std


def _channel_types(channels: Any) -> dict[str, str]:
    """Type of each channel; a list holds one mapping per published model."""
    entries = channels if isinstance(channels, list) else [channels]
    mappings = [entry for entry in entries if isinstance(entry, dict)]
    return {channel: kind for mapping in mappings for channel, kind in mapping.items()}


def _channel(key: str, types: dict[str, str]) -> str:
    """Channel of an input, named like the channel or ``channel-bin``."""
    return key if key in types else key.rpartition("-")[0] or key


def _transformations(
    fields: _Fields, num_inputs: int
) -> tuple[Transformation, tuple[Transformation, ...]]:
    """What is done to the yields, and to each change of -ln L."""
    steps = fields.decode("preprocessing", dict)
    standard = fields.decode("standardization", dict, {})
    features = fields.pipeline(steps.get("features_pipeline"), "features_pipeline")
    outputs, scale = _output_pipelines(fields, steps.get("nLLs_pipeline"))
    means, stds = fields.standardization(standard, "nLLs", len(LEARNED_OUTPUTS), outputs)
    return (
        Transformation(
            features, *fields.standardization(standard, "features", num_inputs, (features,)), scale
        ),
        tuple(
            Transformation(names, mean, std, scale)
            for names, mean, std in zip(outputs, means, stds, strict=True)
        ),
    )


def _output_pipelines(fields: _Fields, value: Any) -> tuple[tuple[tuple[str, ...], ...], float]:
    """Transformations of each output, from one list for all or ``per_output``."""
    if not isinstance(value, dict):
        return (fields.pipeline(value, "nLLs_pipeline"),) * len(LEARNED_OUTPUTS), 1.0
    each = value.get("per_output")
    if isinstance(each, dict) and set(each) == set(LEARNED_OUTPUTS):
        each = [each[key] for key in LEARNED_OUTPUTS]
    if not isinstance(each, list) or len(each) != len(LEARNED_OUTPUTS):
        raise fields.wrong(
            "preprocessing.nLLs_pipeline", f"{value!r:.80}", f"per_output with {LEARNED_OUTPUTS}"
        )
    scale = fields.number(value.get("asinh_scale", 1.0), "preprocessing.asinh_scale")
    if scale <= 0:
        raise fields.wrong("preprocessing.asinh_scale", f"{scale:g}", "a positive number")
    return tuple(fields.pipeline(steps, "nLLs_pipeline") for steps in each), scale
