"""Signal samples in workspaces of SModelS results."""

import json

import numpy as np
import pytest

from jaxlik.database.records import WorkspaceRecord
from jaxlik.database.workspace_signal import flatten_with_signal
from jaxlik.errors import WorkspaceError

LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.017], "bounds": [[0.9, 1.1]]}


def record_of(*, sizes=None, regions=None, parameters=(LUMI,), **settings):
    """Channels of three backgrounds per bin, under the mapping of `regions`."""
    sizes = {"SR": 2, "CR": 1, "VR": 1, "other": 1} if sizes is None else sizes
    channels = [
        {"name": name, "samples": [{"name": "b", "data": [3.0] * size, "modifiers": []}]}
        for name, size in sizes.items()
    ]
    document = {
        "channels": channels,
        "observations": [{"name": name, "data": [3.0] * size} for name, size in sizes.items()],
        "measurements": [
            {"name": "m", "config": {"poi": "mu_SIG", "parameters": list(parameters)}}
        ],
    }
    given = REGIONS if regions is None else regions
    return WorkspaceRecord("analysis", "w.json", json.dumps(document), "", given, **settings)


def region(smodels, channel, position=None, kind="SR"):
    return {"smodels": smodels, "pyhf": channel, "bin": position, "type": kind}


REGIONS = (
    region("high", "SR", 1),
    region("low", "SR", 0),
    region("control", "CR", kind="CR"),
    region(None, "VR", kind="VR"),
)


def test_regions_stay_or_leave_as_in_smodels():
    record, where = flatten_with_signal(record_of())
    assert record.channels == ("SR", "other")
    assert where.region_ids == ("high", "low")
    np.testing.assert_array_equal(record.nominal, [1, 1, 3, 3, 3])
    np.testing.assert_array_equal(where.cells, [1, 0])
    np.testing.assert_array_equal(where.region, [0, 1])
    assert record.parameters[record.poi] == "mu_SIG"
    assert where.pull == -1


def test_control_regions_carry_signal_where_they_stay():
    record, where = flatten_with_signal(record_of(include_control_regions=True))
    assert record.channels == ("SR", "CR", "other")
    assert where.region_ids == ("high", "low", "control")
    np.testing.assert_array_equal(where.cells, [1, 0, 4])


def test_an_uncertainty_of_the_signal_is_one_pull():
    record, where = flatten_with_signal(
        record_of(include_control_regions=True, signal_uncertainty=0.2)
    )
    assert record.parameters[where.pull] == "signalUncertainty"
    np.testing.assert_allclose(record.up[where.cells, where.pull], 0.2)
    np.testing.assert_array_equal(record.up, record.down)
    assert np.count_nonzero(record.up) == 3


def test_one_region_may_fill_several_cells():
    sizes = {"SR": 2, "SRtwo": 1}
    regions = (region("a", "SR", 0), region("b", "SR", 1), region("a", "SRtwo"))
    _, where = flatten_with_signal(record_of(sizes=sizes, regions=regions))
    assert where.region_ids == ("a", "b")
    np.testing.assert_array_equal(where.cells, [0, 1, 4])
    np.testing.assert_array_equal(where.region, [0, 1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": (region("a", "SR", 0),)}, r"'SR' has 2 bins.*\(0, 'a'\).*one for each bin"),
        ({"regions": (region("a", "SR"), region("b", "SR"))}, "'SR' has 2 bins"),
        ({"regions": (region("a", "SRx"),)}, "name channel 'SRx', the fit keeps"),
        ({"regions": (region("a", "VR"), region(None, "VR", kind="VR"))}, "name channel 'VR'"),
        ({"regions": (region("a", "CR", kind="CR"),)}, "none of its 1 regions carries a signal"),
        ({"parameters": ()}, '"auxdata" for the luminosity'),
    ],
    ids=["missing", "twice", "unknown", "removed", "none", "lumi"],
)
def test_mappings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(WorkspaceError, match=message):
        flatten_with_signal(record_of(**changes))


def test_damaged_channels_are_refused():
    damaged = record_of().document.replace('"samples"', '"sample"')
    record = WorkspaceRecord("analysis", "w.json", damaged, "", REGIONS)
    with pytest.raises(WorkspaceError, match="/channels is damaged"):
        flatten_with_signal(record)
