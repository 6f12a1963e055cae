"""Learned likelihoods of a few kilobytes, as ONNX files, and their evaluation elsewhere."""

import itertools
import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(3)

OUTPUTS = ("nLL_exp", "nLL_obs", "nLLA_exp", "nLLA_obs")
EXPECTED = {"SRa-0": 6.0, "SRa-1": 2.5, "CRb-0": 40.0}
OBSERVED = {"SRa-0": 9.0, "SRa-1": 2.0, "CRb-0": 37.0}
MU0 = {"nLL_exp": 211.0, "nLL_obs": 213.5, "nLLA_exp": 210.5, "nLLA_obs": 210.9}


def metadata(**changes):
    """Metadata of three inputs, none of them transformed."""
    fields = {
        "olll_schema_version": "0.1",
        "input_type": "total_yields",
        "channels": {"SRa": "SR", "CRb": "CR", "VRc": "VR"},
        "bkg_yields": [["VRc-0", 7.0], *map(list, EXPECTED.items())],
        "obs_yields": [["VRc-0", 8], *map(list, OBSERVED.items())],
        "remove_channels": ["VRc"],
        "preprocessing": {"features_pipeline": [], "nLLs_pipeline": []},
        **{f"{key}_mu0": value for key, value in MU0.items()},
        **changes,
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in fields.items()
        if value is not None
    }


def onnx_bytes(nodes, weights, fields=None, *, inputs=3, opset=20, output="nLLs", domains=()):
    """A file with these nodes from ``features`` to ``nLLs``."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(_stored(value), key) for key, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata() if fields is None else fields)
    return model.SerializeToString()


def _stored(value):
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype == np.float64 else value


def layers(weights, biases, activation="Tanh"):
    """Nodes and weights of a plain network."""
    nodes, constants, source = [], {}, "features"
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = index == len(weights) - 1
        constants |= {f"w{index}": weight, f"b{index}": bias}
        target = "nLLs" if last else f"z{index}"
        nodes.append(
            helper.make_node("Gemm", [source, f"w{index}", f"b{index}"], [target], transB=1)
        )
        if not last:
            source = f"a{index}"
            nodes.append(helper.make_node(activation, [target], [source]))
    return nodes, constants


def random_layers(seed, sizes=(3, 8, 8, 8), activation="Tanh"):
    """A plain network with random weights."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, m**-0.5, (n, m)) for m, n in itertools.pairwise(sizes)]
    return layers(weights, [rng.normal(0, 0.1, n) for n in sizes[1:]], activation)


def run(content, features):
    """What onnxruntime answers, ``batch output``."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (answer,) = session.run(None, {name: np.atleast_2d(features).astype(np.float32)})
    return answer.astype(np.float64)


def poisson_changes(yields):
    """Exact changes of -ln L of independent counts, ``batch output``.

    Observed data are those of `OBSERVED`; no nuisances, so that the Asimov data of all
    are the background: expected in signal regions, observed in the control region.
    """
    observed = np.array(list(OBSERVED.values()))
    background = np.array([6.0, 2.5, 37.0])

    def change(data):
        return np.sum(yields - background - data * np.log(yields / background), axis=-1)

    return np.stack([change(background if i != 1 else observed) for i in range(4)], axis=-1)


def learned_poisson():
    """A network that learned `poisson_changes`: random features, then least squares."""
    rng = np.random.default_rng(5)
    background = np.array([6.0, 2.5, 37.0])
    yields = background + rng.uniform(0, 1, (4000, 3)) * np.array([20.0, 12.0, 4.0])
    yields[0] = background
    features, mean, std = standardised(np.log(yields))
    changes, nll_mean, nll_std = standardised(np.arcsinh(poisson_changes(yields) / 2))
    weight, bias = rng.normal(0, 0.5, (200, 3)), rng.uniform(-2, 2, 200)
    hidden = np.tanh(features @ weight.T + bias)
    design = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    design[0] *= 100  # no signal, no change
    target = changes * np.where(np.arange(len(changes)) == 0, 100, 1)[:, None]
    ridge = 1e-4 * np.eye(design.shape[1])
    readout = np.linalg.solve(design.T @ design + ridge, design.T @ target).T
    readout = np.concatenate([readout, np.zeros((4, 201))])  # uncertainties follow
    nodes, weights = layers([weight, readout[:, :-1]], [bias, readout[:, -1]])
    fields = metadata(
        preprocessing={
            "features_pipeline": ["log", "standardization"],
            "nLLs_pipeline": {
                "per_output": [["asinh", "standardization"]] * 4,
                "asinh_scale": 2.0,
            },
        },
        standardization={
            "features_mean": [mean.tolist()],
            "features_std": [std.tolist()],
            "nLLs_mean": [nll_mean.tolist()],
            "nLLs_std": [nll_std.tolist()],
        },
        x_min=yields.min(0).tolist(),
        x_max=yields.max(0).tolist(),
    )

    def changes_fn(yields):
        """The same network by onnxruntime."""
        answer = run(content, (np.log(np.atleast_2d(yields)) - mean) / std)[:, :4]
        return 2 * np.sinh(answer * nll_std + nll_mean)

    content = onnx_bytes(nodes, weights, fields)
    return content, changes_fn


def standardised(values):
    """Values, mean and standard deviation by column."""
    mean, std = values.mean(axis=0), values.std(axis=0)
    return (values - mean) / std, mean, std


def load(content):
    """The file as a message that can be changed."""
    return onnx.load_model_from_string(content)
