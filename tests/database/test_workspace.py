"""Workspaces: what they flatten to, and what is wrong with the others."""

import copy
import json

import numpy as np
import pytest

from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import WorkspaceError

GOOD = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "background",
                    "data": [5.0, 7.0],
                    "modifiers": [
                        {"name": "k", "type": "normfactor", "data": None},
                        {
                            "name": "tilt",
                            "type": "histosys",
                            "data": {"hi_data": [6.0, 6.5], "lo_data": [4.5, 7.5]},
                        },
                        {"name": "stat", "type": "staterror", "data": [0.5, 0.0]},
                    ],
                },
                {
                    "name": "other",
                    "data": [1.0, 2.0],
                    "modifiers": [
                        {"name": "size", "type": "normsys", "data": {"hi": 1.2, "lo": 0.9}},
                        {"name": "shape", "type": "shapesys", "data": [0.2, 0.0]},
                        {"name": "stat", "type": "staterror", "data": [0.5, 0.0]},
                        {"name": "lumi", "type": "lumi", "data": None},
                    ],
                },
            ],
        }
    ],
    "observations": [{"name": "SR", "data": [6.0, 9.0]}],
    "measurements": [
        {
            "name": "m",
            "config": {
                "poi": "k",
                "parameters": [
                    {
                        "name": "lumi",
                        "auxdata": [1.0],
                        "sigmas": [0.02],
                        "bounds": [[0.5, 1.5]],
                        "inits": [1.0],
                        "fixed": True,
                    },
                    {"name": "unused", "fixed": True},
                ],
            },
        }
    ],
    "version": "1.0.0",
}


def changed(*path, to):
    """A copy of the good workspace with one entry replaced."""
    document = copy.deepcopy(GOOD)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return document


def test_a_workspace_flattens_to_cells_and_parameters():
    record = flatten_workspace(json.dumps(GOOD))
    assert record.parameters == (
        "size",
        "tilt",
        "k",
        "shape[0]",
        "shape[1]",
        "lumi",
        "stat[0]",
        "stat[1]",
    )
    assert record.poi == 2
    assert record.kinds == ("normal",) * 2 + ("free",) + ("poisson",) * 2 + ("normal",) * 3
    np.testing.assert_array_equal(record.nominal, [5, 7, 1, 2])
    np.testing.assert_array_equal(record.cell_bin, [0, 1, 0, 1])
    np.testing.assert_allclose(record.up[:2, 1], [1.0, -0.5])
    np.testing.assert_allclose(record.down[:2, 1], [0.5, -0.5])
    # Statistical errors of all samples add in quadrature; bins without one are fixed.
    np.testing.assert_allclose(record.width[6], np.hypot(0.5, 0.5) / 6.0)
    assert record.fixed.tolist() == [False, False, False, False, True, True, False, True]
    np.testing.assert_allclose(record.centre[3:5], [25.0, 1.0])
    assert (record.lower[5], record.upper[5], record.width[5]) == (0.5, 1.5, 0.02)


SAMPLE = ("channels", 0, "samples", 0)
MODIFIERS = (*SAMPLE, "modifiers")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not JSON"),
        ([], "found list"),
        (changed("channels", to=[]), "/channels is \\[\\]"),
        (changed("channels", 0, "name", to=3), "/channels/0"),
        (changed(*SAMPLE, "data", to=[1.0]), "samples/0/modifiers/1/data/hi_data is '2 numbers'"),
        (
            changed("channels", 0, "samples", 1, "data", to=[1.0]),
            "/channels/0/samples/1/data is '1 numbers', wanted 2",
        ),
        (changed(*SAMPLE, "data", 1, to=float("nan")), "samples/0/data/1 is nan"),
        (changed(*SAMPLE, "data", 1, to="x"), "samples/0/data/1 is 'x'"),
        (changed(*MODIFIERS, 0, "type", to="magic"), "modifiers/0/type is 'magic', wanted one of"),
        (changed(*MODIFIERS, 1, "data", to=None), "modifiers/1/data is None"),
        (changed(*MODIFIERS, 1, "data", "hi_data", to=[1.0]), "hi_data is '1 numbers', wanted 2"),
        (changed(*MODIFIERS, 0, "name", to="tilt"), "modifiers/1/name is 'tilt'"),
        (
            changed("channels", 0, "samples", 1, "modifiers", 0, "data", to={"hi": 1.0, "lo": 0.0}),
            "data/lo is 0.0, wanted a positive number",
        ),
        (changed("observations", 0, "name", to="CR"), "for channel 'SR'"),
        (changed("observations", 0, "data", to=[1.0]), "observations \\(SR\\)"),
        (changed("observations", 0, "data", 0, to=-1.0), "not negative"),
        (changed("measurements", 0, "config", to=None), "/measurements/config is None"),
        (changed("measurements", 0, "config", "parameters", to=None), "parameters is None"),
        (changed("measurements", 0, "config", "poi", to=["k"]), "poi is \\['k'\\], wanted a name"),
        (
            changed("measurements", 0, "config", "parameters", 0, to={"name": "lumi"}),
            '"auxdata" for the luminosity',
        ),
        (
            changed("measurements", 0, "config", "parameters", 0, "bounds", to=[[2.0, 1.0]]),
            "the lower bound first",
        ),
        (
            changed("measurements", 0, "config", "parameters", 0, "sigmas", to=[0.0]),
            "sigmas is 0.0, wanted positive",
        ),
        (
            changed("measurements", 0, "config", "parameters", 0, "fixed", to="no"),
            "fixed is 'no', wanted true or false",
        ),
        (changed(*MODIFIERS, 2, "data", to=[-0.5, 0.1]), "modifiers/2/data is -0.5"),
    ],
)
def test_invalid_workspaces_name_the_place(document, message):
    with pytest.raises(WorkspaceError, match=message):
        flatten_workspace(document)


def test_measurements_are_found_by_name():
    assert flatten_workspace(GOOD, measurement="m").poi == 2
    with pytest.raises(WorkspaceError, match="one named 'other'"):
        flatten_workspace(GOOD, measurement="other")
    with pytest.raises(WorkspaceError, match="position 3"):
        flatten_workspace(GOOD, measurement=3)
