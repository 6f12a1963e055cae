import pytest

from jaxlik.errors import DatabaseError
from jaxlik.topologies.published import published_topologies

MET = ("MET", "MET")


def numbers(node):
    return [
        (node.number, node.label),
        *[pair for child in node.children for pair in numbers(child)],
    ]


def test_brackets_are_numbered_branch_by_branch():
    (root,) = published_topologies("2.*([[['b'],['W']],[['jet']]])".replace("'", ""), MET, "")
    assert numbers(root) == [
        *((0, "PV"), (1, "anyBSM"), (3, "anyBSM"), (5, "MET"), (6, "W"), (4, "b")),
        *((2, "anyBSM"), (7, "MET"), (8, "jet")),
    ]


def test_processes_and_inclusive_parts():
    text = "{(PV > C1(1),MET(3)), (C1(1) > *anySM,MET(2))}"
    (root,) = published_topologies(text, MET, "")
    first, second = root.children
    assert (first.number, second.number) == (1, 3)
    assert {child.label: child.any_number for child in first.children} == {
        "anySM": True,
        "MET": False,
    }
    assert root.shape == 0


def test_an_inclusive_branch_stands_for_any_cascade():
    (root,) = published_topologies("[[*],[[*]]]", ("MET", "HSCP"), "")
    assert root.children[0].anything
    assert [child.label for child in root.children[0].children] == ["MET", "anySM"]
    assert not root.children[1].anything


def test_unknown_labels_are_errors():
    with pytest.raises(DatabaseError, match="unknown particle 'squirrel'"):
        published_topologies("[[[squirrel]],[[jet]]]", MET, "")
