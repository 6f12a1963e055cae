import json

import pytest
from tiny_database import workspace

from jaxlik.database import regions
from jaxlik.errors import DatabaseError, WorkspaceError


def mapped(listed, channels, tmp_path, *, control=False):
    return regions.map_regions(listed, json.dumps(workspace(**channels)), control, tmp_path)


def row(smodels, channel, bin_number, kind):
    return {"smodels": smodels, "pyhf": channel, "bin": bin_number, "type": kind}


def test_plain_names_are_dealt_to_bins_in_the_order_of_observations(tmp_path):
    found = mapped(["a", "b", "c"], {"CR1": 1, "SR_x": 2, "VR1": 1, "SR_y": 1}, tmp_path)
    assert found == (
        row(None, "CR1", None, "CR"),
        row("a", "SR_x", 0, "SR"),
        row("b", "SR_x", 1, "SR"),
        row(None, "VR1", None, "VR"),
        row("c", "SR_y", None, "SR"),
    )


def test_validation_regions_are_dropped_even_with_control_regions(tmp_path):
    found = mapped(["cr", "sr"], {"CR1": 1, "VR1": 2, "SR1": 1}, tmp_path, control=True)
    assert found == (
        row("cr", "CR1", None, "CR"),
        row(None, "VR1", None, "VR"),
        row("sr", "SR1", None, "SR"),
    )


def test_control_regions_get_no_name_when_the_signal_channels_use_them_up(tmp_path):
    found = mapped(["a", "b"], {"CR1": 1, "SR1": 1, "SR2": 1}, tmp_path, control=True)
    assert [entry["smodels"] for entry in found] == [None, "a", "b"]


def test_types_are_guessed_from_anywhere_in_the_name(tmp_path):
    found = mapped(["a"], {"wCR_0J": 1, "ewk_bin": 1, "VRx": 1}, tmp_path)
    assert [entry["type"] for entry in found] == ["CR", "SR", "VR"]


def test_bins_without_a_name_are_left_out(tmp_path):
    assert mapped(["a"], {"SR1": 3}, tmp_path) == (row("a", "SR1", 0, "SR"),)


def test_explicit_entries_are_taken_as_they_are(tmp_path):
    listed = [
        {"smodels": "a", "pyhf": "SR_x[1]"},
        {"smodels": None, "pyhf": "CR1", "type": "CR"},
        {"smodels": "b"},
    ]
    assert mapped(listed, {"SR_x": 2, "CR1": 1}, tmp_path) == (
        row("a", "SR_x", 1, "SR"),
        row(None, "CR1", None, "CR"),
        row("b", "b", None, "SR"),
    )


@pytest.mark.parametrize("document", ["{", "[1]", '{"observations": [{}]}'])
def test_foreign_json_is_a_workspace_error(tmp_path, document):
    with pytest.raises(WorkspaceError, match="not a HistFactory workspace"):
        regions.map_regions(["a"], document, False, tmp_path)


def test_new_region_mappings_are_filled_with_their_defaults(tmp_path):
    tags = {
        "regionMappings": "{'x': 'SRx', 'y': {'pyhf': 'ch[2]'}, 'z': {'type': 'CR', 'pyhf': 'CRz'}}"
    }
    found = regions.region_mappings(tags, tmp_path)
    assert found["x"] == {
        "smodels": "SRx",
        "type": "SR",
        "pyhf": "SRx",
        "sl": "SRx",
        "onnx": "SRx",
    }
    assert found["y"]["smodels"] == "y"
    assert found["y"]["onnx"] == "ch[2]"
    assert found["z"]["smodels"] is None


def test_both_tag_generations_name_the_same_workspaces(tmp_path):
    old = {"jsonFiles": "{'f.json': [{'smodels': 'A', 'pyhf': 'SR[0]'}]}"}
    new = {
        "regionMappings": "{'A': {'pyhf': 'SR[0]'}}",
        "regionSets": "{'all': ['A']}",
        "statModels": "{'all': [('pyhf', 'f.json')]}",
    }
    document = json.dumps(workspace(SR=1))
    (old_list,) = regions.workspace_files(old, tmp_path).values()
    (new_list,) = regions.workspace_files(new, tmp_path).values()
    assert regions.map_regions(old_list, document, False, tmp_path) == regions.map_regions(
        new_list, document, False, tmp_path
    )


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"statModels": "{'x': []}", "regionSets": "{'y': []}"}, "not in regionSets"),
        ({"statModels": "{'x': [('root', 'f')]}", "regionSets": "{'x': []}"}, "kind 'root'"),
    ],
)
def test_inconsistent_new_tags_are_refused(tmp_path, tags, message):
    with pytest.raises(DatabaseError, match=message):
        regions.stat_models(tags, tmp_path)


def test_job_files_that_are_no_dictionary_are_refused(tmp_path):
    with pytest.raises(DatabaseError, match="wanted a dictionary"):
        regions.workspace_files({"jsonFiles": "['f.json']"}, tmp_path)


def test_a_missing_covariance_file_is_named(tmp_path):
    tags = {"statModels": "{'x': [('sl', 'cov.txt')]}", "regionSets": "{'x': ['A']}"}
    with pytest.raises(DatabaseError, match=r"cov\.txt: named by statModels 'x' but missing"):
        regions.covariance_of(tags, tmp_path / "globalInfo.txt")


def test_data_maps_name_nodes_and_attributes(tmp_path):
    tags = {"dataMap": "{0: (1, 'mass', GeV), 1: (2, 'totalwidth', GeV)}"}
    assert regions.data_map_of(tags, tmp_path) == ((1, "mass"), (2, "totalwidth"))
    assert regions.data_map_of({}, tmp_path) is None
    with pytest.raises(DatabaseError, match="wanted mass or totalwidth"):
        regions.data_map_of({"dataMap": "{0: (1, 'spin', GeV)}"}, tmp_path)


def test_bracket_coordinates_get_the_node_numbers_of_smodels(tmp_path):
    from smodels.experiment.defaultFinalStates import finalStates
    from smodels.experiment.expSMS import ExpSMS

    constraint = "[[['jet','jet'],['W']],[['jet']]]"
    layout = ((0, 0, False), (0, 1, False), (0, 2, False), (1, 0, False), (1, 1, False))
    found = regions.processes_of({"constraint": constraint}, tmp_path, layout, None)
    assert found.constraint == "[[[jet,jet],[W]],[[jet]]]"
    sms = ExpSMS.from_string(constraint, model=finalStates, finalState=["MET", "MET"])
    nodes = [node for node, attribute in found.coordinates if attribute == "mass"]
    assert [sms.indexToNode(node).isSM for node in nodes] == [False] * 5
    branches = [sms.daughterIndices(0)[b] for b in (0, 1)]
    assert [nodes[0], nodes[3]] == branches
    chain = [n for n in sms.daughterIndices(nodes[0]) if not sms.indexToNode(n).isSM]
    assert chain == [nodes[1]]


def test_flat_data_without_a_data_map_are_refused(tmp_path):
    with pytest.raises(DatabaseError, match="dataMap"):
        regions.processes_of({"constraint": "[[[jet]],[[jet]]]"}, tmp_path, None, None)


def test_terms_of_a_constraint():
    assert regions.bracket_terms("2*([[[a]],[[b]]]+[[[c]],[[d]]])") == [
        "[[[a]],[[b]]]",
        "[[[c]],[[d]]]",
    ]
    assert regions.bracket_terms("{(PV(0)>x(1))}+{(PV(0)>y(1))}") == [
        "(PV(0)>x(1))",
        "(PV(0)>y(1))",
    ]


@pytest.mark.reference
def test_regions_of_real_workspaces_agree_with_smodels(snapshot, reference):
    """Mapping of SModelS 3.0.3, stored with the golden statistics (spec 12.2)."""
    records = {(w.analysis_id, w.name): w for w in snapshot.workspaces}
    checked = 0
    for file in sorted((reference / "golden" / "smodels" / "stats_pyhf").glob("*.json")):
        golden = json.loads(file.read_text())
        (wanted,) = {
            json.dumps(vector["comb"].get("regions")) for vector in golden["vectors"].values()
        }
        for name, entries in (json.loads(wanted) or {}).items():
            expected = [regions._explicit(entry) for entry in entries]
            found = records[golden["folder"], name].regions
            key = repr
            assert sorted(found, key=key) == sorted(map(dict, expected), key=key), (file.stem, name)
            checked += 1
    assert checked == 16
