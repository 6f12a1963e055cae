"""Every published topology against SModelS's own decomposition and matching.

A database is made that has one region per published constraint, with an efficiency
of one for all masses. What SModelS predicts for it is the plain sum of weights of
all topologies that match the constraint, each counted once. A second one has regions
that see many constraints, where a cascade and its compressed copy exclude each other.
"""

import re
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from smodels.decomposition.topologyDict import TopologyDict

from jaxlik.database import smodels_oracle as oracle
from jaxlik.database.compile import compile_database
from jaxlik.database.matching import topologies_of
from jaxlik.database.regions import bracket_terms
from jaxlik.errors import Status
from jaxlik.physics.model import ModelPoint, fill_masses, make_space, protomodel_space
from jaxlik.yields.buckets import Buckets
from jaxlik.yields.build import build_yields, region_axis
from jaxlik.yields.compression import Gaps

pytestmark = [pytest.mark.reference, pytest.mark.slow]

N1, N2, N3, C1, SLEPTON, SNEUTRINO = 1000022, 1000023, 1000025, 1000024, 1000011, 1000012
SQUARK, SBOTTOM, STOP, GLUINO = 1000001, 1000005, 1000006, 1000021
PARTICLES = (N1, N2, N3, C1, SLEPTON, SNEUTRINO, SQUARK, SBOTTOM, STOP, GLUINO)
MINIMUM_WEIGHT = 1e-3
NUM_MIXED = 12
BUCKETS = Buckets(
    branches=256,
    feeds=512,
    levels=16,
    rows=4096,
    sites=2048,
    places=4096,
    entries=8192,
    off_plane=4096,
    families=64,
    limits=8,
)
SPECTRA = {
    "electroweak": {N1: 100, N2: 330, N3: 480, C1: 340},
    "soft charginos": {N1: 200, N2: 204, C1: 203, STOP: 600, SBOTTOM: 620},
    "soft cascade": {N1: 150, N2: 157, C1: 153.5, SQUARK: 900, GLUINO: 1300},
    "sleptons": {N1: 120, N2: 400, C1: 395, SLEPTON: 250, SNEUTRINO: 240},
    "coloured": {N1: 100, N2: 420, C1: 400, SQUARK: 1200, GLUINO: 1500},
    "third generation": {N1: 100, C1: 250, STOP: 500, SBOTTOM: 750, GLUINO: 1400},
    "light stop": {N1: 300, STOP: 450, C1: 380, GLUINO: 1100},
    "gluino near": {N1: 300, GLUINO: 304.5, SBOTTOM: 700, SQUARK: 650},
    "squark near": {N1: 100, N2: 400, C1: 380, SQUARK: 404, GLUINO: 900},
    "squark nearest": {N1: 200, SQUARK: 203, GLUINO: 207, C1: 500},
    "third generation near": {N1: 250, C1: 253, N2: 450, SBOTTOM: 454.9, STOP: 600},
    "invisible": {N1: 100, SNEUTRINO: 180, SLEPTON: 310, C1: 260},
    "all": dict(zip(PARTICLES, (90, 250, 390, 260, 310, 300, 1010, 700, 610, 1350), strict=True)),
}


@pytest.fixture(scope="module")
def space():
    """The part of the pool with these particles."""
    pool = protomodel_space()
    return make_space(
        PARTICLES,
        [c for c in pool.channels if c[0] in PARTICLES and c[1] in PARTICLES],
        [p for p in pool.productions if abs(p[0]) in PARTICLES and abs(p[1]) in PARTICLES],
    )


def box(lengths):
    """Corner masses of both branches, of 2, 3 or more dimensions; a hull without limits."""
    low, high = -5000.0, 10000.0
    first, second = lengths
    if first == second == 1:
        return [[[low], [low]], [[high], [high]]]
    corners = []
    for a in (low, high):
        for b in (low, high):
            for c in (low, high):
                chain = {1: [c], 2: [a, c], 3: [a, b, c], 4: [a, b, (b + c) / 2, c]}
                other = {1: [c], 2: [b, c], 3: [b, (b + c) / 2, c], 4: [b, b, (b + c) / 2, c]}
                second_chain = chain[second] if first == second else other[second]
                corners.append([chain[first], second_chain])
    return [list(point) for point in {repr(corner): corner for corner in corners}.values()]


def written(points, efficiency):
    rows = []
    for branches in points:
        text = ",".join(
            "[" + ",".join(f"{mass:.3E}*GeV" for mass in branch) + "]" for branch in branches
        )
        rows.append(f"[[{text}],{efficiency}]")
    return "[" + ",\n".join(rows) + "]"


def quoted(states):
    """Names in quotes, as the text format has them."""
    return re.sub(r"(\w+)", r"'\1'", states)


def axes(lengths):
    """Any names of the right shape; SModelS needs them, nothing uses them."""
    names = ("x", "y", "z", "w")
    return "[" + ", ".join("[" + ", ".join(names[:size]) + "]" for size in lengths) + "]"


def write_database(root, regions) -> Path:
    """A text database; every region lists (header, efficiency)."""
    folder = root / "13TeV" / "CMS" / "CMS-ALL-01-eff"
    for name, members in regions.items():
        region = folder / name
        region.mkdir(parents=True)
        (region / "dataInfo.txt").write_text(
            f"dataId: {name}\ndataType: efficiencyMap\nobservedN: 3\nexpectedBG: 3\n"
            "bgError: 1\nupperLimit: 1.0*fb\nexpectedUpperLimit: 1.0*fb\n"
        )
        for number, (header, efficiency) in enumerate(members):
            term = bracket_terms(header.constraint)[0]
            branches = re.findall(r"\[((?:\[[^\[\]]*\],?)*)\]", term[1:-1])
            lengths = [1 + len(re.findall(r"\[", branch)) for branch in branches]
            state = (
                f"intermediateState: {quoted(header.intermediate_state)}\n"
                if header.intermediate_state
                else ""
            )
            (region / f"T{number}.txt").write_text(
                f"txName: T{number}\nconstraint: {header.constraint}\n"
                "condition: None\nconditionDescription: None\nsource: test\nvalidated: True\n"
                f"axes: {axes(lengths)}\nfinalState: ['MET','MET']\n{state}"
                f"efficiencyMap: {written(box(lengths), efficiency)}\n"
            )
    (folder / "globalInfo.txt").write_text(
        "id: CMS-ALL-01\nsqrts: 13*TeV\nlumi: 1.0/fb\nlastUpdate: 2024/1/1\n"
    )
    (root / "version").write_text("1.0.0\n")
    return root


@pytest.fixture(scope="module")
def headers(snapshot):
    """One map of every published constraint the pool can show."""
    seen = {}
    for header in snapshot.maps:
        seen.setdefault((header.constraint, header.intermediate_state), header)
    found = [header for header in seen.values() if topologies_of(header)]
    assert len(found) > 80
    return found


class Both:
    """One made-up database, read by us and by SModelS."""

    def __init__(self, folder, space, regions):
        self.database = write_database(folder / "text", regions)
        self.compiled = compile_database(
            self.database, folder / "snapshot", space=space, quiet=True, processes=0
        )
        axis = region_axis(self.compiled)
        self.yields = build_yields(self.compiled, space, axis)
        self.regions = [name for _, name in axis.regions]
        self.smodels = oracle.oracle_database(self.database, ["CMS-ALL-01-eff"], folder / "copy")


@pytest.fixture(scope="module")
def apart(headers, space, tmp_path_factory):
    """One region for every constraint."""
    regions = {f"SR{n}": [(header, 1.0)] for n, header in enumerate(headers)}
    return Both(tmp_path_factory.mktemp("apart"), space, regions)


@pytest.fixture(scope="module")
def together(headers, space, tmp_path_factory):
    """Regions that see many constraints, none of which overlap (SModelS demands it)."""
    shapes = [[topology.sms for topology in topologies_of(header)] for header in headers]
    rng = np.random.default_rng(3)
    regions = {}
    for number in range(NUM_MIXED):
        chosen: list[int] = []
        for candidate in rng.permutation(len(headers))[: len(headers) * 2 // 3].tolist():
            if not any(overlap(shapes[candidate], shapes[other]) for other in chosen):
                chosen.append(candidate)
        regions[f"MIX{number}"] = [(headers[c], 0.5) for c in chosen]
    return Both(tmp_path_factory.mktemp("together"), space, regions)


def overlap(one, other) -> bool:
    """Whether SModelS takes two constraints for overlapping."""
    return any(a == b or a.matchesTo(b) or b.matchesTo(a) for a in one for b in other)


def model_of(space, spectrum, seed):
    """Random branching ratios of at most three open channels per particle."""
    from jaxlik.physics.particles import STANDARD_MODEL

    rng = np.random.default_rng(seed)
    active = np.array([pid in spectrum for pid in space.pdg_ids])
    masses = np.array([float(spectrum.get(pid, 0.0)) for pid in space.pdg_ids])
    fractions = np.zeros(space.num_channels)
    for mother in spectrum:
        opened = [
            i
            for i, (parent, daughter, sm) in enumerate(space.channels)
            if parent == mother
            and daughter in spectrum
            and spectrum[mother] - spectrum[daughter] > sum(STANDARD_MODEL[p].mass for p in sm)
        ]
        if opened:
            kept = rng.permutation(opened)[:3]
            fractions[kept] = 0.1 + rng.dirichlet(np.ones(len(kept)))
            fractions[kept] /= fractions[kept].sum()
    strengths = np.ones(space.num_productions)
    return ModelPoint(fill_masses(space, masses, active), active, fractions, strengths)


def compare(both, space, name):
    """Cross sections of all regions: (ours, SModelS's)."""
    point = model_of(space, SPECTRA[name], seed=len(name))
    rng = np.random.default_rng(7)
    production = rng.uniform(500, 2000, (space.num_productions, 2))
    production *= np.asarray(point.active)[np.asarray(space.production_pair)].all(axis=1)[:, None]
    settings = oracle.OracleSettings(minimum_weight=MINIMUM_WEIGHT, mass_gap=5.0)
    decomposition = oracle.decompose_point(space, point, production, settings)
    found = oracle.predictions(both.smodels, decomposition, settings=settings)
    theirs = {p.region: p.cross_section for p in found}
    gaps = Gaps(jnp.asarray(settings.mass_gap), jnp.asarray(settings.mass_gap_isr))
    signals = evaluate(both.yields, point, jnp.asarray(production), gaps)
    assert bool(signals.status == Status.success), signals.demand
    ours = dict(zip(both.regions, np.asarray(signals.cross_section), strict=True))
    assert any(theirs.values())
    return ours, theirs


@eqx.filter_jit
def evaluate(yields, point, production, gaps):
    return yields(
        point.masses,
        point.branching_ratios,
        production,
        gaps=gaps,
        minimum_weight=jnp.asarray(MINIMUM_WEIGHT),
        buckets=BUCKETS,
    )


def differing(ours, theirs, slack):
    """Regions whose cross sections differ; near the cut one side may keep a topology."""
    return {
        region: (value, theirs.get(region, 0.0))
        for region, value in ours.items()
        if value != pytest.approx(theirs.get(region, 0.0), rel=1e-5, abs=slack)
    }


@pytest.mark.parametrize("name", SPECTRA)
def test_weights_of_all_topologies_are_those_of_smodels(name, space, apart):
    ours, theirs = compare(apart, space, name)
    assert not differing(ours, theirs, 20 * MINIMUM_WEIGHT)


@pytest.fixture
def remembered_originals(monkeypatch):
    """SModelS with the relation between topologies as it is meant.

    A topology that two production modes share is a sum; SModelS 3.2.1 forgets that it is
    its own ancestor, and then counts it beside its compressed copy.
    """
    before = TopologyDict.setSMSAncestors

    def with_itself(self):
        before(self)
        for sms in self.getSMSList():
            sms._allAncestors = [*sms._allAncestors, sms]

    monkeypatch.setattr(TopologyDict, "setSMSAncestors", with_itself)


@pytest.mark.usefixtures("remembered_originals")
@pytest.mark.parametrize("name", SPECTRA)
def test_cascades_and_their_compressed_copies_count_once(name, space, together):
    ours, theirs = compare(together, space, name)
    assert len(ours) == NUM_MIXED
    assert not differing(ours, theirs, 20 * MINIMUM_WEIGHT)
