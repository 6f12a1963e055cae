"""ONNX files to records: what is read, and what is refused with object and remedy."""

import base64
import json
import sys

import numpy as np
import pytest
from network_files import (
    EXPECTED,
    MU0,
    OBSERVED,
    OUTPUTS,
    load,
    metadata,
    onnx_bytes,
    random_layers,
)
from onnx import TensorProto, helper
from tiny_database import write_tiny_database

from jaxlik.database import smodels_reader, snapshot
from jaxlik.database.compile import compile_database
from jaxlik.database.onnx_reader import neural_record, read_neural
from jaxlik.database.records import NetworkRecord
from jaxlik.errors import DatabaseError

NODES, WEIGHTS = random_layers(1)
CONTENT = onnx_bytes(NODES, WEIGHTS)
REGIONS = (
    {"smodels": "low", "onnx": "SRa[0]", "type": "SR"},
    {"smodels": "high", "onnx": "SRa-1", "type": "SR"},
    {"smodels": None, "onnx": "CRb", "type": "CR"},
    {"smodels": None, "onnx": "VRc", "type": "VR"},
    {"smodels": None, "onnx": None, "type": "CR"},
)


def record_of(content, regions=()):
    return neural_record(NetworkRecord("ATLAS-SUSY-0000-02", "net.onnx", content, regions))


def changed(change):
    """The file after `change(model)`."""
    model = load(CONTENT)
    change(model)
    return model.SerializeToString()


def with_metadata(**changes):
    return onnx_bytes(NODES, WEIGHTS, metadata(**changes))


def test_names_yields_and_likelihoods_are_read(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(CONTENT)
    record = read_neural(path)
    assert record.region_ids == tuple(EXPECTED)
    np.testing.assert_array_equal(record.observed, list(OBSERVED.values()))
    # The control region as observed.
    np.testing.assert_array_equal(record.background, [6.0, 2.5, 37.0])
    np.testing.assert_array_equal(record.nll_background, [MU0[key] for key in OUTPUTS])
    np.testing.assert_array_equal(record.domain, np.array([[-np.inf], [np.inf]]).repeat(3, 1))
    assert [step.kind for step in record.operations[:3]] == ["Gemm", "Tanh", "Gemm"]
    assert {value.dtype for value in record.weights.values()} == {np.dtype(np.float64)}
    with pytest.raises(DatabaseError, match="no such file"):
        read_neural(tmp_path / "other.onnx")


def test_regions_of_the_database_name_the_inputs():
    record = record_of(CONTENT, REGIONS)
    assert record.region_ids == ("low", "high", "CRb-0")
    np.testing.assert_array_equal(record.background, [6.0, 2.5, 37.0])
    signal = record_of(CONTENT, (*REGIONS[:2], {**REGIONS[2], "type": "SR"}))
    np.testing.assert_array_equal(signal.background, [6.0, 2.5, 40.0])


@pytest.mark.parametrize(
    "regions",
    [(*REGIONS, {"smodels": "lost", "onnx": "SRz", "type": "SR"}), (*REGIONS, REGIONS[0])],
    ids=["unknown", "twice"],
)
def test_signal_that_no_input_takes_is_an_error(regions):
    with pytest.raises(DatabaseError, match=r"regionMappings sends .* wanted one region"):
        record_of(CONTENT, regions)


def test_channels_of_several_models_and_training_ranges_are_read():
    content = with_metadata(
        channels=[{"SRa": "CR", "CRb": "SR"}], x_min=[1.0, 0.0, 20.0], x_max=[[30.0, 9.0, 60.0]]
    )
    record = record_of(content)
    np.testing.assert_array_equal(record.background, [9.0, 2.0, 40.0])
    np.testing.assert_array_equal(record.domain, [[1.0, 0.0, 20.0], [30.0, 9.0, 60.0]])


STANDARD = {"features_pipeline": ["standardization"], "nLLs_pipeline": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bkg_yields": None}, "no metadata field 'bkg_yields', only"),
        ({"nLL_obs_mu0": None}, "no metadata field 'nLL_obs_mu0'"),
        ({"nLL_obs_mu0": "NaN"}, "'nLL_obs_mu0' is nan, wanted a finite"),
        ({"obs_yields": "__import__('os')"}, "'obs_yields' is .* wanted JSON"),
        ({"obs_yields": "[" * 100_000}, "'obs_yields' is .* wanted JSON"),
        ({"obs_yields": " " * 4_000_001}, "4000001 characters"),
        ({"obs_yields": {}}, "a dict, wanted a list"),
        ({"obs_yields": [["SRa-0", 1]]}, "obs_yields lacks .*SRa-1"),
        ({"bkg_yields": [["SRa-0", -1]]}, "-1 for 'SRa-0'"),
        ({"bkg_yields": [["SRa-0", True]]}, "True, wanted a finite number"),
        ({"bkg_yields": [["a", 1], ["a", 2]]}, "wanted each name once"),
        ({"bkg_yields": ["SRa-0"]}, r"wanted entries \[name, events\]"),
        ({"remove_channels": []}, r"shape \[0, 3\] .* the metadata want \(0, 4\)"),
        ({"input_type": "signal_yields"}, "input_type is 'signal_yields'"),
        ({"preprocessing": {"features_pipeline": ["boxcox"]}}, "boxcox.* a list of"),
        ({"preprocessing": {"features_pipeline": []}}, "nLLs_pipeline' is None"),
        (
            {"preprocessing": {"features_pipeline": [], "nLLs_pipeline": {"per_output": [[]]}}},
            "per_output with",
        ),
        (
            {
                "preprocessing": {
                    "features_pipeline": [],
                    "nLLs_pipeline": {"per_output": [[]] * 4, "asinh_scale": 0},
                }
            },
            "asinh_scale' is 0",
        ),
        ({"preprocessing": STANDARD}, "standardization.features_mean' is None"),
        (
            {
                "preprocessing": STANDARD,
                "standardization": {"features_mean": [0, 0, 0], "features_std": [1, 0, 1]},
            },
            "features_std' is 0 at the least",
        ),
        ({"x_min": [0.0]}, "'x_min' is 1 entries, wanted 3 numbers"),
    ],
)
def test_metadata_that_cannot_be_used_are_named(changes, message):
    with pytest.raises(DatabaseError, match=f"ATLAS-SUSY-0000-02: net.onnx: .*{message}"):
        record_of(with_metadata(**changes))


def node(kind, inputs=("features",), **attributes):
    """A file of one node, its name `the node`."""
    made = helper.make_node(kind, inputs, ["nLLs"], name="the node", **attributes)
    constants = {"c": np.ones(3), "i": np.ones((2, 2), np.int64), "true": np.array(True)}
    used = {key: value for key, value in constants.items() if key in inputs}
    return onnx_bytes([made], used, domains=[made.domain] if made.domain else ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (node("Softmax"), "'the node' .* operator 'Softmax', wanted one of .*Gemm.*: export"),
        (node("Own", domain="org.own"), "operator 'org.own.Own'"),
        (node("Cast", to=TensorProto.INT64), "a cast to type 7"),
        (node("Dropout", ("features", "", "true")), "in training"),
        (node("Gather", ("features", "i")), r"constant 'i' of shape \(2, 2\)"),
        (node("Add", ("features", "c")), None),
    ],
)
def test_graphs_outside_of_the_supported_set_are_named(content, message):
    if message is None:
        assert record_of(content).operations[0].kind == "Add"
    else:
        with pytest.raises(DatabaseError, match=message):
            record_of(content)


def test_shapes_that_depend_on_the_input_are_refused():
    nodes = [
        helper.make_node("Cast", ["features"], ["d"], to=1),
        helper.make_node("Clip", ["features", "m"], ["nLLs"], name="clamp"),
    ]
    nodes.insert(1, helper.make_node("ReduceMean", ["d"], ["m"], keepdims=0))
    with pytest.raises(DatabaseError, match=r"'clamp' .* input 'm' that is computed"):
        record_of(onnx_bytes(nodes, {}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are no ONNX network"),
        (b"not a network at all", "no ONNX network .* export the file again"),
        (CONTENT[: len(CONTENT) // 2], "no ONNX network|no metadata field"),
        (onnx_bytes(NODES, WEIGHTS, opset=8), "operator sets .*8.* wanted ai.onnx from 9"),
        (onnx_bytes(NODES, WEIGHTS, output="z0"), None),
        (onnx_bytes(NODES, {**WEIGHTS, "w0": np.full((8, 3), np.nan)}), "'w0' not all finite"),
        (onnx_bytes(NODES, WEIGHTS, inputs=4), r"shape \[0, 4\] .* want \(0, 3\)"),
    ],
    ids=["empty", "text", "half", "old", "inner output", "nan", "inputs"],
)
def test_damaged_files_are_refused(content, message):
    if message is None:
        assert record_of(content).operations[-1].kind == "Concat"
    else:
        with pytest.raises(DatabaseError, match=message):
            record_of(content)


def test_garbled_files_raise_nothing_else():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = np.frombuffer(CONTENT, np.uint8).copy()
        content[rng.integers(len(content), size=2)] = rng.integers(256, size=2)
        try:
            record_of(content.tobytes())
        except DatabaseError:
            refused += 1
    assert refused > 100


def second_input(model):
    extra = helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch", 1])
    model.graph.input.append(extra)


def second_output(model):
    extra = helper.make_tensor_value_info("z0", TensorProto.FLOAT, ["batch", 8])
    model.graph.output.append(extra)


def two_values(model):
    model.metadata_props.add(key="input_type", value="signal_yields")


def external_weights(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../elsewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (second_input, r"inputs \['features', 'more'\], wanted one"),
        (second_output, r"outputs \['nLLs', 'z0'\], wanted one"),
        (two_values, "duplicate keys in metadata_props"),
        (external_weights, "keeps weights in other files"),
    ],
)
def test_files_of_another_form_are_refused(change, message):
    with pytest.raises(DatabaseError, match=message):
        record_of(changed(change))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DatabaseError, match="needs the package onnx"):
        record_of(CONTENT)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The tiny database with a network beside its covariance."""
    root = write_tiny_database(tmp_path_factory.mktemp("networks"))
    folder = root / "13TeV/CMS/CMS-TINY-04-agg"
    text = (folder / "globalInfo.txt").read_text()
    models = 'statModels: {"all": [("sl", "covariance.txt")]}'
    mappings = 'regionMappings: {"one": "A", "two": {"smodels": "B"}}'
    assert models in text
    assert mappings in text
    text = text.replace(models, models[:-2] + ', ("onnx", "net.onnx")]}')
    new = '{"one": {"smodels": "A", "onnx": "SRa[1]"}, "two": {"smodels": "B", "pyhf": "SRa-0"}}'
    (folder / "globalInfo.txt").write_text(text.replace(mappings, f"regionMappings: {new}"))
    (folder / "net.onnx").write_bytes(CONTENT)
    return root


def test_results_carry_their_networks(root, caplog):
    folder = root / "13TeV/CMS/CMS-TINY-04-agg"
    result = smodels_reader.read_result(folder).result
    (network,) = result.networks
    assert network.content == CONTENT
    assert neural_record(network).region_ids == ("B", "A", "CRb-0")
    assert result.covariance is not None
    digest = smodels_reader.content_digest(root)
    (folder / "net.onnx").write_bytes(b"")
    assert smodels_reader.content_digest(root) != digest
    (folder / "net.onnx").unlink()
    assert smodels_reader.read_result(folder).result.networks == ()
    assert "network net.onnx is missing" in caplog.text
    (folder / "net.onnx").write_bytes(CONTENT)


@pytest.mark.parametrize("name", ["folder", "file.npz"])
def test_snapshots_keep_networks(root, squark_space, tmp_path, name):
    compiled = compile_database(root, tmp_path / name, space=squark_space, quiet=True, processes=0)
    (network,) = snapshot.open_snapshot(compiled.path).networks
    assert network.content == CONTENT
    assert neural_record(network).region_ids == ("B", "A", "CRb-0")


def test_snapshots_without_networks_have_none(tiny_snapshot):
    assert tiny_snapshot.networks == ()
    assert not (tiny_snapshot.path / snapshot.NETWORKS).exists()
    older = {key: value for key, value in tiny_snapshot.manifest.items() if "networks" not in key}
    assert snapshot.Snapshot(tiny_snapshot.path, older, None).networks == ()


def test_damaged_networks_of_a_snapshot_are_named(root, squark_space, tmp_path):
    compile_database(root, tmp_path / "one", space=squark_space, quiet=True, processes=0)
    path = tmp_path / "one" / snapshot.NETWORKS
    (entry,) = json.loads(path.read_text())
    assert base64.b64decode(entry["content"]) == CONTENT
    for broken in ({**entry, "content": "not base64!"}, {"name": "net.onnx"}):
        path.write_text(json.dumps([broken]))
        with pytest.raises(DatabaseError, match=r"networks\.json is damaged"):
            _ = snapshot.open_snapshot(tmp_path / "one").networks
