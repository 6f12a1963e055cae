import pytest

from jaxlik.database.matching import BranchShape, Match, find_matches, topologies_of
from jaxlik.database.records import MapRecord
from jaxlik.database.regions import coefficient_of
from jaxlik.errors import DatabaseError

LSP, CHARGINO, GLUINO = (0, 1, 1), (3, 1, 1), (0, 8, 1)
SQUARK, ANTISQUARK = (-1, 3, 0), (1, 3, 0)


def record(constraint, *, final_state=("MET", "MET"), intermediate_state=""):
    return MapRecord(
        "folder", None, "T", "efficiency", constraint, ((1, "mass"),), 0, None,
        final_state, intermediate_state,
    )  # fmt: skip


def matches(constraint, first, second, **states):
    (topology,) = topologies_of(record(constraint, **states))
    return find_matches(topology, first, second)


@pytest.mark.parametrize(
    ("constraint", "factor"),
    [
        ("[[[jet]],[[jet]]]", 1.0),
        ("2.25*([[[e]],[[jet]]]+[[[mu]],[[jet]]])", 2.25),
        ("9./4.*[[[jet]],[[jet]]]", 2.25),
        ("81./4.*([[[b]],[[b]]])", 20.25),
        ("2*(([[[a]],[[b]]]+[[[c]],[[d]]])+([[[e]],[[f]]]))", 2.0),
        ("{(PV(0)>x(1),y(2))}+{(PV(0)>y(1))}", 1.0),
    ],
)
def test_the_common_factor_of_a_constraint(constraint, factor):
    assert coefficient_of(constraint) == pytest.approx(factor, rel=1e-15)


def test_different_factors_are_refused():
    with pytest.raises(DatabaseError, match="not a factor times a sum"):
        coefficient_of("2*[[[a]],[[b]]]+3*[[[c]],[[d]]]")


def test_terms_become_topologies():
    found = topologies_of(record("[[[W]],[[Z]]]+[[[jet,jet]],[[Z]]]"))
    assert [t.term for t in found] == ["[[[W]],[[Z]]]", "[[[jet,jet]],[[Z]]]"]
    assert found[1].vertex_counts == {(2,), (1,)}


@pytest.mark.parametrize(
    ("constraint", "states"),
    [
        ("[[[*anySM]],[[*anySM]]]", {}),
        ("{(PV(0)>x(1),y(2))}", {}),
        ("[[],[]]", {"final_state": ("HSCP", "HSCP")}),
        ("[[[jet]],[[jet]]]", {"final_state": ("RHadronG", "MET")}),
    ],
    ids=["inclusive", "resonance", "charged", "coloured"],
)
def test_what_the_pool_cannot_show_gives_no_topology(constraint, states):
    assert topologies_of(record(constraint, **states)) == []


def test_squark_pairs_match_jets_but_not_tops():
    first = BranchShape(((1,),), (SQUARK, LSP))
    second = BranchShape(((1,),), (ANTISQUARK, LSP))
    assert matches("[[[jet]],[[jet]]]", first, second)
    assert not matches("[[[t]],[[t]]]", first, second)
    assert not matches("[[[jet]],[[jet,jet]]]", first, second)


def test_symmetric_topologies_match_in_both_orders():
    branch = BranchShape(((1,),), (SQUARK, LSP))
    found = matches("[[[jet]],[[jet]]]", branch, branch)
    assert found == [
        Match(((1, 0), (2, 3), (3, 1), (5, 4))),
        Match(((1, 3), (2, 0), (3, 4), (5, 1))),
    ]


def test_different_branches_match_in_one_order():
    w, z = BranchShape(((24,),), (CHARGINO, LSP)), BranchShape(((23,),), (LSP, LSP))
    (found,) = matches("[[[W]],[[Z]]]", w, z)
    (swapped,) = matches("[[[W]],[[Z]]]", z, w)
    assert dict(found.position_of_node)[1] == 0
    assert dict(swapped.position_of_node)[1] == 3


def test_charges_are_told_apart():
    plus = BranchShape(((-11,),), (CHARGINO, LSP))
    minus = BranchShape(((11,),), ((-3, 1, 1), LSP))
    assert matches("[[[e+]],[[e-]]]", plus, minus)
    assert not matches("[[[e+]],[[e-]]]", plus, plus)
    assert matches("[[[L]],[[L]]]", plus, plus)


def test_intermediate_states_restrict_the_mothers():
    first = BranchShape(((1, 1),), (GLUINO, LSP))
    other = BranchShape(((1, 1),), (LSP, LSP))
    states = {"intermediate_state": "[[gluino],[gluino]]"}
    assert matches("[[[jet,jet]],[[jet,jet]]]", first, first, **states)
    assert not matches("[[[jet,jet]],[[jet,jet]]]", other, other, **states)


def test_long_cascades_keep_the_order_of_their_steps():
    chain = BranchShape(((1, 2), (24,)), (GLUINO, CHARGINO, LSP))
    reverse = BranchShape(((24,), (1, 2)), (GLUINO, CHARGINO, LSP))
    assert matches("[[[jet,jet],[W]],[[jet,jet],[W]]]", chain, chain)
    assert not matches("[[[jet,jet],[W]],[[jet,jet],[W]]]", reverse, reverse)
