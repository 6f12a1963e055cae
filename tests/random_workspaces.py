"""Small random workspaces with every modifier, and damaged documents."""

import copy

import numpy as np
from hypothesis import strategies as st

from jaxlik.errors import WorkspaceError
from jaxlik.statmodels.packing import Shape

SHAPE = Shape(
    bins=9, cells=32, parameters=64, pulls=4, normsys=4, entries=24, factors=8, normalisations=8
)

DAMAGES = st.one_of(
    st.none(), st.text(max_size=3), st.integers(-3, 3), st.floats(), st.just([]), st.just({})
)


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


def places(node, path=()):
    """Paths of all values in a document."""
    yield path
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, key))


def damaged(document, choice, value):
    """A copy of a document with one of its values replaced."""
    document = copy.deepcopy(document)
    every = [path for path in places(document) if path]
    path = every[choice % len(every)]
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def assert_finite_or_refused(flatten):
    """A call that flattens a damaged document gives finite arrays, or the typed error."""
    try:
        record = flatten()
    except WorkspaceError as error:
        assert "wanted" in str(error)  # noqa: PT017
        return
    for array in (record.nominal, record.up, record.down, record.observed, record.width):
        assert np.isfinite(array).all()
