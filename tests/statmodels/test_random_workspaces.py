"""Small random workspaces with every modifier: against pyhf, and damaged ones."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import WorkspaceError
from jaxlik.statmodels.packing import Shape, pack_workspace

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

SHAPE = Shape(bins=8, cells=32, parameters=64, pulls=4, entries=24, factors=8)


def random_workspace(seed):
    """Up to three channels of up to three bins and samples."""
    rng = np.random.default_rng(seed)
    names = [f"pull{i}" for i in range(3)]
    channels, observations = [], []
    for c in range(rng.integers(1, 4)):
        size = int(rng.integers(1, 4))
        samples = []
        total = np.zeros(size)
        with_staterror = rng.random() < 0.5
        for s in range(rng.integers(1, 4)):
            nominal = rng.uniform(1.0, 40.0, size) * (rng.random(size) > 0.1)
            total += nominal
            modifiers = []
            if rng.random() < 0.7:
                modifiers.append({"name": f"norm{s}", "type": "normfactor", "data": None})
            if rng.random() < 0.3:
                modifiers.append({"name": "lumi", "type": "lumi", "data": None})
            for name in names:
                if rng.random() < 0.4:
                    data = {"hi": rng.uniform(0.7, 1.5), "lo": rng.uniform(0.6, 1.3)}
                    modifiers.append({"name": name, "type": "normsys", "data": data})
                if rng.random() < 0.4:
                    shifts = [(nominal * rng.uniform(0.7, 1.3, size)).tolist() for _ in "ud"]
                    data = dict(zip(("hi_data", "lo_data"), shifts, strict=True))
                    modifiers.append({"name": name, "type": "histosys", "data": data})
            if rng.random() < 0.3:
                errors = (nominal * rng.uniform(0.05, 0.4, size)).tolist()
                modifiers.append({"name": f"shape_{c}_{s}", "type": "shapesys", "data": errors})
            if rng.random() < 0.2:
                modifiers.append({"name": f"free_{c}", "type": "shapefactor", "data": None})
            if with_staterror and rng.random() < 0.7:
                errors = (nominal * rng.uniform(0.02, 0.2, size)).tolist()
                modifiers.append({"name": f"stat_{c}", "type": "staterror", "data": errors})
            samples.append({"name": f"sample{s}", "data": nominal.tolist(), "modifiers": modifiers})
        samples[0]["modifiers"].append({"name": "mu", "type": "normfactor", "data": None})
        channels.append({"name": f"channel{c}", "samples": samples})
        observations.append({"name": f"channel{c}", "data": rng.poisson(total + 1).tolist()})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.03],
        "inits": [1.0],
        "bounds": [[0.5, 1.5]],
    }
    config = {"poi": "mu", "parameters": [lumi]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "m", "config": config}],
        "version": "1.0.0",
    }


@jax.jit
def evaluate(model, parameters):
    return (
        model.log_density(parameters),
        model.expand(parameters),
        jax.grad(model.log_density)(parameters),
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_random_workspaces_agree_with_pyhf(seed):
    document = random_workspace(seed)
    workspace = pyhf.Workspace(document)
    peer = workspace.model()
    record = flatten_workspace(document)
    model = pack_workspace(record, SHAPE)
    order = []
    for name in peer.config.par_order:
        span = peer.config.par_slice(name)
        size = span.stop - span.start
        scalar = name in record.parameters
        order += [record.parameters.index(name if scalar else f"{name}[{i}]") for i in range(size)]
    assert sorted(order) == list(range(len(record.parameters)))
    np.testing.assert_allclose(record.init[order], peer.config.suggested_init())
    np.testing.assert_array_equal(record.fixed[order], peer.config.suggested_fixed())
    np.testing.assert_allclose(
        np.stack([record.lower, record.upper], 1)[order], peer.config.suggested_bounds()
    )
    rng = np.random.default_rng(seed)
    parameters = np.array(model.init)
    moved = rng.uniform(-1.5, 1.5, len(order))
    positive = record.lower[order] >= 0
    parameters[order] = np.where(positive, 1 + 0.2 * moved, moved)
    density, expansion, gradient = evaluate(model, jnp.asarray(parameters))
    wanted = float(peer.logpdf(parameters[order], workspace.data(peer))[0])
    if np.isfinite(wanted):
        assert float(density) == pytest.approx(wanted, rel=1e-10)
        np.testing.assert_allclose(expansion.gradient, -gradient, rtol=1e-9, atol=1e-9)
        assert np.isfinite(np.asarray(expansion.hessian)).all()


def places(node, path=()):
    """Paths of all values in a document."""
    yield path
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, key))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 20),
    choice=st.integers(0, 10**6),
    value=st.one_of(
        st.none(), st.text(max_size=3), st.integers(-3, 3), st.floats(), st.just([]), st.just({})
    ),
)
def test_damaged_workspaces_flatten_or_raise_the_typed_error(seed, choice, value):
    document = copy.deepcopy(random_workspace(seed))
    every = [path for path in places(document) if path]
    path = every[choice % len(every)]
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    try:
        record = flatten_workspace(document)
    except WorkspaceError as error:
        message = str(error)
    else:
        message = "wanted nothing else"
        for array in (record.nominal, record.up, record.down, record.observed, record.width):
            assert np.isfinite(array).all()
    assert "wanted" in message


def test_truncated_json_is_named():
    text = json.dumps(random_workspace(1))
    with pytest.raises(WorkspaceError, match="not JSON"):
        flatten_workspace(text[: len(text) // 2])
