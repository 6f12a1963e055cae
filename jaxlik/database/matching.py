"""Match theory topologies to published constraints with SModelS's own algorithm."""

import re
from functools import cache
from typing import NamedTuple

from smodels.base.particle import Particle
from smodels.base.particleNode import ParticleNode
from smodels.decomposition.theorySMS import TheorySMS
from smodels.experiment.defaultFinalStates import finalStates
from smodels.experiment.expSMS import ExpSMS
from smodels.share.models import SMparticles

from jaxlik.database.records import MapRecord
from jaxlik.database.regions import bracket_terms


class BranchShape(NamedTuple):
    """What matching sees of a branch: SM particles and quantum numbers of its nodes."""

    vertices: tuple[tuple[int, ...], ...]
    nodes: tuple[tuple[int, int, int], ...]


class Topology(NamedTuple):
    """One term of a constraint, parsed by SModelS."""

    term: str
    sms: ExpSMS
    vertex_counts: frozenset[tuple[int, ...]]


class Match(NamedTuple):
    """Theory node behind each node number of the published topology.

    Nodes of branch A count 0, 1, 2, those of branch B 3, 4, 5.
    """

    position_of_node: tuple[tuple[int, int], ...]


def topologies_of(record: MapRecord) -> list[Topology]:
    """Topologies of a map that models with a stable neutral lightest particle can show.

    Inclusive topologies, resonances and charged or coloured final states give none.
    """
    if any(state != "MET" for state in record.final_state):
        return []
    intermediate = _nested(record.intermediate_state)
    found = []
    for term in bracket_terms(record.constraint):
        if "*" in term or ">" in term:
            continue
        branches = re.findall(r"\[((?:\[[^\[\]]*\],?)*)\]", term[1:-1])
        if len(branches) != 2:
            continue
        sms = ExpSMS.from_string(
            term, model=finalStates, finalState=["MET", "MET"], intermediateState=intermediate
        )
        found.append(Topology(term, sms, frozenset(_vertex_counts(branch) for branch in branches)))
    return found


def _vertex_counts(branch: str) -> tuple[int, ...]:
    return tuple(len(v.split(",")) for v in re.findall(r"\[([^\[\]]*)\]", branch))


def _nested(text: str) -> list[list[str]] | None:
    if not text:
        return None
    return [[p for p in b.split(",") if p] for b in re.findall(r"\[([^\[\]]*)\]", text[1:-1])]


def find_matches(topology: Topology, first: BranchShape, second: BranchShape) -> list[Match]:
    """Ways in which a pair of branches matches a topology: none, one, or both orders."""
    matches: list[Match] = []
    for swapped in (False, True):
        theory = _theory_sms(first, second, swapped=swapped)
        matched = topology.sms.matchesTo(theory)
        if matched is None:
            break
        positions = []
        for index in matched.nodeIndices:
            label = str(matched.indexToNode(index).particle.label)
            if label.startswith("node"):
                positions.append((int(index), int(label[4:])))
        match = Match(tuple(sorted(positions)))
        if match not in matches:
            matches.append(match)
    return matches


def standard_model_particles() -> dict[int, Particle]:
    """SModelS's Standard Model particles by signed PDG number."""
    names = {1: "d", 2: "u", 3: "s", 4: "c", 5: "b", 6: "t", -6: "tC"}
    names |= {11: "e", -11: "eC", 13: "mu", -13: "muC", 15: "ta", -15: "taC"}
    names |= {12: "nue", 14: "numu", 16: "nuta", 21: "g", 22: "photon"}
    names |= {23: "Z", 24: "W", -24: "WC", 25: "higgs"}
    return {pid: getattr(SMparticles, name) for pid, name in names.items()}


_STANDARD_MODEL = standard_model_particles()


@cache
def _new_particle(node: int, three_charge: int, colour: int, two_spin: int) -> Particle:
    """Made once each: SModelS compares a new particle with all it has."""
    return Particle(
        isSM=False,
        label=f"node{node}",
        eCharge=three_charge / 3.0,
        colordim=colour,
        spin=two_spin / 2.0,
    )


def _theory_sms(first: BranchShape, second: BranchShape, *, swapped: bool) -> TheorySMS:
    sms = TheorySMS()
    root = sms.add_node(ParticleNode(SMparticles.pv))
    branches = [(first, 0), (second, 3)]
    for shape, offset in reversed(branches) if swapped else branches:
        parent = root
        for position, (charge, colour, spin) in enumerate(shape.nodes):
            new = _new_particle(offset + position, charge, colour, spin)
            node = sms.add_node(ParticleNode(new))
            sms.add_edge(parent, node)
            if position > 0:
                for pid in shape.vertices[position - 1]:
                    leaf = sms.add_node(ParticleNode(_STANDARD_MODEL[pid]))
                    sms.add_edge(parent, leaf)
            parent = node
    return sms
