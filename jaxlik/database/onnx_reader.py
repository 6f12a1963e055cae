"""Read learned likelihoods: ONNX files to records, without running them.

The graph must be a feed-forward network on one input of shape (batch, region): its
nodes become operations with NumPy weights, shapes and axes become attributes, and
nodes that do nothing in inference disappear. The only module that imports onnx.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlik.database.network_metadata import NetworkMetadata, read_metadata
from jaxlik.database.network_program import Program, transform, undo
from jaxlik.database.records import YIELDS, NetworkRecord, NeuralRecord
from jaxlik.errors import DatabaseError

OLDEST_OPERATORS = 9
"""Operator set from which attributes mean what they mean today."""


class Signature(NamedTuple):
    """How an operator is written.

    Attributes:
        attributes: Those it may have, with their defaults.
        constants: Inputs, by position, that must be constants and become attributes.
    """

    attributes: dict[str, Any] = {}  # noqa: RUF012
    constants: dict[int, str] = {}  # noqa: RUF012


_AXES = Signature({"axes": None}, {1: "axes"})
_REDUCTION = Signature({"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}, {1: "axes"})

OPERATORS = {
    **dict.fromkeys(
        "Add Sub Mul Div Pow Min Max MatMul Neg Abs Exp Log Sqrt Erf Sinh Asinh Relu Sigmoid Tanh "
        "Softplus".split(),
        Signature(),
    ),
    "Gemm": Signature({"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}),
    "LeakyRelu": Signature({"alpha": 0.01}),
    "Elu": Signature({"alpha": 1.0}),
    "Selu": Signature({"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "Gelu": Signature({"approximate": "none"}),
    "Clip": Signature({"min": None, "max": None}, {1: "min", 2: "max"}),
    "BatchNormalization": Signature({"epsilon": 1e-5}),
    "Concat": Signature({"axis": 1}),
    "Gather": Signature({"axis": 0}, {1: "indices"}),
    "Slice": Signature(
        {"axes": None, "steps": None}, {1: "starts", 2: "ends", 3: "axes", 4: "steps"}
    ),
    "Flatten": Signature({"axis": 1}),
    "Reshape": Signature({"allowzero": 0}, {1: "shape"}),
    "Squeeze": _AXES,
    "Unsqueeze": _AXES,
    "ReduceSum": _REDUCTION,
    "ReduceMean": _REDUCTION,
}
"""Operators of feed-forward networks; see the ONNX operator reference for each."""

PASSED_THROUGH = ("Identity", "Dropout", "Cast")

_FLOATS = (1, 10, 11, 16)  # float32, float16, float64, bfloat16
_IRRELEVANT = {"BatchNormalization": ("momentum", "training_mode", "spatial")}


def read_neural(path: Path) -> NeuralRecord:
    """The learned likelihood in a file of its own.

    Raises:
        DatabaseError: the file is missing, damaged, or outside what is supported.
    """
    if not path.is_file():
        raise DatabaseError(f"{path}: no such file; wanted a network in ONNX format")
    return neural_record(NetworkRecord(path.stem, path.name, path.read_bytes()))


def neural_record(network: NetworkRecord) -> NeuralRecord:
    """The learned likelihood in the file of a result.

    Control regions are those of the database, or those of the file where the database
    lists no regions. Their background is what was observed, as in SModelS.

    Raises:
        DatabaseError: as `read_neural`, or the regions do not fit the network.
    """
    name = f"{network.analysis_id}: {network.name}"
    try:
        return _translate(name, network)
    except DatabaseError:
        raise
    # What libraries raise on a file that parses, with names or sizes garbled.
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(name, network.content, error) from error


def _translate(name: str, network: NetworkRecord) -> NeuralRecord:
    model = _load(name, network.content)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = read_metadata(name, properties)
    region_ids, control = _regions(name, metadata, network.regions)
    program = Program()
    outputs = _outputs(program, metadata, _Graph(name, model, program, metadata).run())
    program.add("Concat", *outputs, axis=1)
    return NeuralRecord(
        network.analysis_id,
        region_ids,
        metadata.observed,
        np.where(control, metadata.observed, metadata.expected),
        metadata.nll_background,
        metadata.domain,
        tuple(program.operations),
        program.weights,
    )


def _load(name: str, content: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnx
            from google.protobuf.message import DecodeError
    except ImportError as error:
        raise DatabaseError(
            f"{name}: reading a network needs the package onnx, which is missing: install it"
        ) from error
    try:
        model = onnx.load_model_from_string(content)
        # Weights in further files would be read from wherever the file says.
        if any(tensor.data_location for tensor in model.graph.initializer):
            raise DatabaseError(
                f"{name}: keeps weights in other files, wanted all in one: save it without "
                "external data"
            )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise _damaged(name, content, error) from error
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if versions.get("ai.onnx", 0) < OLDEST_OPERATORS:
        raise DatabaseError(
            f"{name}: uses operator sets {versions}, wanted ai.onnx from {OLDEST_OPERATORS}: "
            "export the network again"
        )
    return model


def _damaged(name: str, content: bytes, error: Exception) -> DatabaseError:
    return DatabaseError(
        f"{name}: {len(content)} bytes are no ONNX network ({str(error).strip()[:120]}): "
        "download or export the file again"
    )


def _regions(
    name: str, metadata: NetworkMetadata, regions: tuple[dict[str, Any], ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Signal region behind each input, and which inputs are control regions.

    The database names an input as the file does, as ``channel[bin]``, or, where a
    channel has a single bin, as ``channel``.
    """
    index_of: dict[str, int] = {}
    for index, (key, channel) in enumerate(zip(metadata.inputs, metadata.channels, strict=True)):
        aliases = [key, f"{channel}[{key.removeprefix(channel).removeprefix('-')}]"]
        if metadata.channels.count(channel) == 1:
            aliases.append(channel)
        index_of |= dict.fromkeys(aliases, index)
    region_ids, control = list(metadata.inputs), metadata.control.copy()
    taken: set[int] = set()
    for region in regions:
        index = index_of.get(region["onnx"])
        if index in taken or (index is None and region["smodels"]):
            raise DatabaseError(
                f"{name}: regionMappings sends {region['smodels']!r} to input {region['onnx']!r}, "
                f"wanted one region for each of {list(metadata.inputs)}: correct its entry 'onnx'"
            )
        if index is not None:
            taken.add(index)
            region_ids[index] = region["smodels"] or metadata.inputs[index]
            control[index] = region["type"] == "CR"
    return tuple(region_ids), control


def _outputs(program: Program, metadata: NetworkMetadata, tensor: str) -> list[str]:
    """Change of each -ln L; further outputs, their uncertainties, are left aside."""
    return [
        undo(program, program.columns(tensor, index, index + 1), chain)
        for index, chain in enumerate(metadata.outputs)
    ]


class _Graph:
    """The nodes of one file, translated in order."""

    def __init__(self, name: str, model: Any, program: Program, metadata: NetworkMetadata):
        from onnx import numpy_helper

        self.name, self.graph, self.program = name, model.graph, program
        self.to_array = numpy_helper.to_array
        self.constants = {entry.name: self.to_array(entry) for entry in self.graph.initializer}
        features = transform(program, YIELDS, metadata.features)
        self.steps = {self._input(metadata): features}

    def run(self) -> str:
        """Translate all nodes; the step that is the output."""
        for node in self.graph.node:
            self._translate(node)
        if len(self.graph.output) != 1 or self.graph.output[0].name not in self.steps:
            found = [entry.name for entry in self.graph.output]
            raise DatabaseError(
                f"{self.name}: has outputs {found}, wanted one that depends on the input: "
                "export the network with its outputs in one array"
            )
        return self.steps[self.graph.output[0].name]

    def _input(self, metadata: NetworkMetadata) -> str:
        inputs = [entry for entry in self.graph.input if entry.name not in self.constants]
        if len(inputs) != 1:
            raise DatabaseError(
                f"{self.name}: has inputs {[entry.name for entry in inputs]}, wanted one: "
                "export the network as a function of the yields alone"
            )
        shape = [size.dim_value for size in inputs[0].type.tensor_type.shape.dim]
        if len(shape) != 2 or shape[1] not in (0, len(metadata.inputs)):
            raise DatabaseError(
                f"{self.name}: input {inputs[0].name!r} has shape {shape} (0: any), the metadata "
                f"want (0, {len(metadata.inputs)}): correct bkg_yields or remove_channels"
            )
        return inputs[0].name

    def _translate(self, node: Any) -> None:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        given = {entry.name: self._attribute(entry) for entry in node.attribute}
        if kind == "Constant":
            self.constants[node.output[0]] = self._constant(node, given)
        elif kind in PASSED_THROUGH:
            self._pass_through(node, kind, given)
        elif kind in OPERATORS:
            self.steps[node.output[0]] = self._operation(node, OPERATORS[kind], given)
        else:
            raise self._wrong(
                node,
                f"operator {kind!r}",
                f"one of {sorted([*OPERATORS, *PASSED_THROUGH, 'Constant'])}",
            )

    def _operation(self, node: Any, signature: Signature, given: dict[str, Any]) -> str:
        for key in _IRRELEVANT.get(node.op_type, ()):
            if key == "training_mode" and given.get(key):
                raise self._wrong(node, "in training", "a network exported for inference")
            given.pop(key, None)
        known = {*signature.attributes, *signature.constants.values()}
        if not known >= set(given):
            raise self._wrong(node, f"attributes {sorted(given)}", f"only {sorted(known)}")
        attributes = {**signature.attributes, **given}
        inputs = []
        for position, key in enumerate(node.input):
            if position in signature.constants:
                if key:
                    attributes[signature.constants[position]] = self._static(node, key)
            else:
                inputs.append(self._tensor(node, key))
        missing = set(signature.constants.values()) - set(attributes)
        if missing:
            raise self._wrong(node, f"without {sorted(missing)}", "them given")
        return self.program.add(node.op_type, *inputs, **attributes)

    def _pass_through(self, node: Any, kind: str, given: dict[str, Any]) -> None:
        if kind == "Cast" and given["to"] not in _FLOATS:
            raise self._wrong(node, f"a cast to type {given['to']}", "floating-point numbers")
        if kind == "Dropout" and len(node.input) > 2 and self._static(node, node.input[2]):
            raise self._wrong(node, "in training", "a network exported for inference")
        source = node.input[0]
        if source in self.constants:
            self.constants[node.output[0]] = self.constants[source]
        else:
            self.steps[node.output[0]] = self._tensor(node, source)

    def _tensor(self, node: Any, key: str) -> str:
        """The step or weight behind an input."""
        if key in self.constants and key not in self.steps:
            value = np.asarray(self.constants[key], np.float64)
            if not np.isfinite(value).all():
                raise self._wrong(node, f"weights {key!r} not all finite", "finite numbers")
            self.steps[key] = self.program.constant(value)
        if key not in self.steps:
            raise self._wrong(node, f"input {key!r}", "one computed before")
        return self.steps[key]

    def _static(self, node: Any, key: str) -> Any:
        """A constant as a number or a tuple of numbers."""
        if key not in self.constants:
            raise self._wrong(node, f"input {key!r} that is computed", "a constant")
        value = np.asarray(self.constants[key])
        if value.ndim > 1:
            raise self._wrong(node, f"constant {key!r} of shape {value.shape}", "at most one axis")
        return tuple(value.tolist()) if value.ndim else value.item()

    def _attribute(self, entry: Any) -> Any:
        from onnx import helper

        value = helper.get_attribute_value(entry)
        if isinstance(value, bytes):
            return value.decode()
        return tuple(value) if isinstance(value, list) else value

    def _constant(self, node: Any, given: dict[str, Any]) -> np.ndarray:
        kinds = ("value", "value_float", "value_floats", "value_int", "value_ints")
        if len(given) != 1 or not set(given) <= set(kinds):
            raise self._wrong(node, f"a constant by {sorted(given)}", f"one of {kinds}")
        value = next(iter(given.values()))
        return self.to_array(value) if "value" in given else np.asarray(value)

    def _wrong(self, node: Any, found: str, wanted: str) -> DatabaseError:
        label = node.name or ", ".join(node.output)
        return DatabaseError(
            f"{self.name}: node {label!r} ({node.op_type}) is {found}, wanted {wanted}: "
            "export a plain feed-forward network"
        )
