"""Matching against SModelS's own, on shapes of random cascades."""

import itertools

import pytest
from smodels.base.particle import Particle
from smodels.base.particleNode import ParticleNode
from smodels.decomposition.theorySMS import TheorySMS
from smodels.experiment.defaultFinalStates import finalStates
from smodels.experiment.expSMS import ExpSMS
from smodels.share.models import SMparticles

from jaxlik.topologies.forest import Shapes
from jaxlik.topologies.kinds import Look
from jaxlik.topologies.matching import Matcher
from jaxlik.topologies.published import published_topologies

NAMES = {
    **{"q": SMparticles.q, "c": SMparticles.c, "b": SMparticles.b, "t+": SMparticles.t},
    **{"t-": SMparticles.tC, "e-": SMparticles.e, "e+": SMparticles.eC, "nu": SMparticles.nu},
    **{"W+": SMparticles.W, "W-": SMparticles.WC, "Z": SMparticles.Z, "g": SMparticles.g},
    "higgs": SMparticles.higgs,
}
NEW = {"N": (0, 1, 1), "C": (3, 1, 1), "G": (0, 8, 1), "S": (2, 3, 0), "L": (-3, 1, 0)}

TERMS = (
    "[[[jet,jet]],[[jet,jet]]]",
    "[[[b],[W]],[[b],[W]]]",
    "[[[W]],[[Z]]]",
    "[[[l]],[[l]]]",
    "[[[jet]],[]]",
    "[[*],[[jet]]]",
    "[[[*anySM]],[[*anySM]]]",
    "[[[jet,jet],[W+]],[[jet,jet],[W-]]]",
    "[[[t+]],[[t-]]]",
    "[[[q],[e-,nu]],[[jet]]]",
)

BRANCHES = (
    ("N", ()),
    ("L", ()),
    ("G", (("q", "q"), ("N", ()))),
    ("G", (("b", "b"), ("N", ()))),
    ("S", (("q",), ("N", ()))),
    ("C", (("W+",), ("N", ()))),
    ("N", (("Z",), ("N", ()))),
    ("L", (("e-",), ("N", ()))),
    ("S", (("b",), ("C", (("W+",), ("N", ()))))),
    ("G", (("q", "q"), ("C", (("W+",), ("N", ()))))),
    ("S", (("q",), ("C", (("e-", "nu"), ("N", ()))))),
    ("S", (("t+",), ("N", ()))),
)


def shape_of(shapes, branch):
    name, rest = branch
    charge, colour, spin = NEW[name]
    children = []
    if rest:
        particles, daughter = rest
        children = [shapes.add(Look(p), ()) for p in particles] + [shape_of(shapes, daughter)]
    return shapes.add(Look("", charge, colour, spin), tuple(sorted(children)))


def attach(sms, parent, branch):
    name, rest = branch
    charge, colour, spin = NEW[name]
    particle = Particle(isSM=False, label=name, eCharge=charge / 3, colordim=colour, spin=spin / 2)
    node = sms.add_node(ParticleNode(particle))
    sms.add_edge(parent, node)
    if rest:
        particles, daughter = rest
        attach(sms, node, daughter)
        for text in particles:
            leaf = sms.add_node(ParticleNode(NAMES[text]))
            sms.add_edge(node, leaf)


@pytest.mark.parametrize("term", TERMS)
def test_the_same_topologies_match_as_in_smodels(term):
    peer = ExpSMS.from_string(term, model=finalStates, finalState=["MET", "MET"])
    shapes = Shapes()
    matcher = Matcher(shapes, list(published_topologies(term, ("MET", "MET"), "")))
    agreed = 0
    for first, second in itertools.combinations_with_replacement(BRANCHES, 2):
        children = tuple(sorted(shape_of(shapes, branch) for branch in (first, second)))
        found = matcher.matches(shapes.add(Look("PV"), children))
        theory = TheorySMS()
        root = theory.add_node(ParticleNode(SMparticles.pv))
        attach(theory, root, first)
        attach(theory, root, second)
        assert bool(found) == (peer.matchesTo(theory) is not None), (first, second)
        agreed += bool(found)
    assert agreed or term in ("[[[t+]],[[t-]]]", "[[[jet,jet],[W+]],[[jet,jet],[W-]]]")


def test_both_orders_of_two_branches_are_found():
    shapes = Shapes()
    (term,) = published_topologies("[[[jet]],[[jet]]]", ("MET", "MET"), "")
    branch = shape_of(shapes, ("S", (("q",), ("N", ()))))
    root = shapes.add(Look("PV"), (branch, branch))
    ((number, matches),) = Matcher(shapes, [term]).matches(root)
    assert number == 0
    assert len(matches) == 2
    assert {dict(match)[1] for match in matches} == {1, 4}
