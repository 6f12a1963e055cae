"""Simple models to start from: one production, as few decays as a published map needs.

Every row of the channel table that efficiency maps see is the smallest model of its
kind: a production mode and one decay of each particle. Their masses are drawn evenly
over the grids of the maps, so that no evaluation is spent where nobody looked.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import qmc

from jaxlik.physics.kinematics import canonical_pairs
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.pool import SQUARKS
from jaxlik.typing import Bool, Float, Int
from jaxlik.yields.efficiency import EfficiencyYields
from jaxlik.yields.interpolation import Grids
from jaxlik.yields.neural import NeuralYields
from jaxlik.yields.signals import Maps
from walkers.moves.settle import Draft, Proposal, ReferenceFn, settle

MAX_PARTICLES = 4
"""Largest content of a simple model, the LBP included."""


LIGHT = {2: 1, 3: 1, 4: 1, 13: 11, 14: 12}
"""Standard Model particles that few searches tell from another one."""


class Leads(NamedTuple):
    """Kinds of simple models, one per row of the axis `lead`.

    Attributes:
        active: Particles, the LBP among them.
        branching: Weights of decay channels, to be normalised per mother.
        production: The production mode that is on.
        nodes: Particle behind each slot of a topology, `num_particles` for none.
        label: Class of look-alike topologies.
    """

    active: Bool[np.ndarray, "lead particle"]
    branching: Float[np.ndarray, "lead channel"]
    production: Int[np.ndarray, " lead"]
    nodes: Int[np.ndarray, "lead 6"]
    label: Int[np.ndarray, " lead"]


def find_leads(space: ModelSpace, yields: EfficiencyYields | NeuralYields) -> Leads:
    """All kinds of simple models that efficiency maps see.

    Of models that differ only by the flavour of a light squark one is kept, and of
    interchangeable particles the first ones.

    Args:
        space: Layout of the models.
        yields: Channel table and maps, exact or learned.
    """
    channels, maps = yields.channels, yields.maps
    branches = _row_branches(np.asarray(channels.row_of))
    production = np.asarray(channels.pair_production)[np.asarray(channels.row_pair)]
    label = np.asarray(channels.site_class)[np.asarray(channels.row_site)]
    seen = np.array([len(_efficiency_matches(maps, c)) > 0 for c in range(label.max() + 1)])
    direct = np.asarray(channels.branch_direct)[branches].all(axis=1)
    rows = np.flatnonzero(direct & (production < space.num_productions) & seen[label])
    light, heavy = canonical_pairs(space).T
    steps = np.asarray(channels.branch_channels)
    nodes = np.asarray(channels.branch_nodes)
    found: dict[tuple, tuple] = {}
    for row in rows:
        pair = branches[row]
        content = sorted({int(n) for n in nodes[pair].ravel() if n < space.num_particles})
        active = np.isin(np.arange(space.num_particles), content)
        active[space.lbp] = True
        if active.sum() > MAX_PARTICLES or (active[heavy] & ~active[light]).any():
            continue
        used = sorted({int(c) for c in steps[pair].ravel() if c < space.num_channels})
        weights = np.isin(np.arange(space.num_channels), used).astype(float)
        decaying = np.zeros_like(active)
        decaying[np.asarray(space.channel_parent)[used]] = True
        if (active & ~decaying).sum() > 1:
            continue
        key = (_flavourless(space, active, used), label[row])
        site = np.asarray(channels.site_nodes)[np.asarray(channels.row_site)[row]]
        found.setdefault(key, (active, weights, production[row], site, label[row]))
    return Leads(*(np.stack(column) for column in zip(*found.values(), strict=True)))


def _row_branches(row_of: Int[np.ndarray, "branch branch"]) -> Int[np.ndarray, "row 2"]:
    """Branches of every row, from the row of every pair of branches."""
    pairs = np.argwhere(row_of >= 0)
    table = np.zeros((row_of.max() + 1, 2), dtype=int)
    table[row_of[pairs[:, 0], pairs[:, 1]]] = pairs
    return table


def _flavourless(
    space: ModelSpace, active: Bool[np.ndarray, " particle"], decays: Sequence[int]
) -> tuple:
    """Content and decays with light squarks, light quarks and light leptons renamed."""

    def renamed(pid: int) -> int:
        return SQUARKS[0] if pid in SQUARKS else pid

    content = tuple(
        sorted(renamed(pid) for pid, on in zip(space.pdg_ids, active, strict=True) if on)
    )
    channels = []
    for number in decays:
        mother, daughter, sm = space.channels[number]
        alike = tuple(LIGHT.get(f, f) for f in sm)
        channels.append((renamed(mother), renamed(daughter), alike))
    return content, tuple(sorted(channels))


def _efficiency_matches(maps: Maps, label: int) -> Int[np.ndarray, " match"]:
    """Matches of a class whose targets are efficiency maps."""
    start, stop = np.asarray(maps.class_start)[[label, label + 1]]
    target = np.asarray(maps.match_target)[start:stop]
    region = np.asarray(maps.entry_region)[np.asarray(maps.target_start)[target]]
    return np.arange(start, stop)[region < maps.luminosity.shape[0]]


def sample_masses(
    leads: Leads,
    yields: EfficiencyYields | NeuralYields,
    count: int,
    seed: int,
) -> Float[np.ndarray, "lead model particle"]:
    """Masses evenly spread over the published grids of each kind.

    A Sobol sequence chooses the map, a simplex of its grid by volume, and a place in it.

    Args:
        leads: Kinds of models.
        yields: Maps and their grids.
        count: Models of each kind.
        seed: Of the scrambling.

    Returns:
        GeV; `nan` where a map leaves a mass open.
    """
    exact = yields.exact if isinstance(yields, NeuralYields) else yields
    maps, grids = yields.maps, exact.grids
    corners = _Corners(grids, np.asarray(maps.grid_size))
    num_particles = leads.active.shape[1]
    masses = np.full((len(leads.label), count, num_particles), np.nan)
    for number, label in enumerate(leads.label):
        matches = _efficiency_matches(maps, int(label))
        draws = qmc.Sobol(6, rng=np.random.default_rng([seed, number])).random(count)
        for row, draw in enumerate(draws):
            match = matches[int(draw[0] * len(matches))]
            target = int(np.asarray(maps.match_target)[match])
            flat = corners.place(int(np.asarray(maps.target_grid)[target]), draw[1:])
            codes = np.asarray(maps.match_coordinates)[match]
            for code, value in zip(codes, flat, strict=True):
                if code < 6 and leads.nodes[number, code] < num_particles:
                    masses[number, row, leads.nodes[number, code]] = value
    return masses


class _Corners:
    """Even draws from the hulls of grids."""

    def __init__(self, grids: Grids, sizes: Int[np.ndarray, " grid"]):
        self.points, self.centre, self.rotation, self.dimension = (
            np.asarray(a) for a in (grids.points, grids.centre, grids.rotation, grids.dimension)
        )
        ends = np.cumsum(sizes + 3 - self.dimension)
        self.first = ends - (sizes + 3 - self.dimension)
        simplices = np.asarray(grids.simplices)
        owner = np.searchsorted(ends, simplices[:, 0], side="right")
        order = np.argsort(owner, kind="stable")
        self.simplices, bounds = simplices[order], np.arange(len(ends) + 1)
        self.start = np.searchsorted(owner[order], bounds)
        self.sizes = sizes
        self.volumes: dict[int, Float[np.ndarray, " simplex"]] = {}

    def place(self, grid: int, draw: Float[np.ndarray, " 4"]) -> Float[np.ndarray, " 6"]:
        """Flat coordinates [GeV] of a point inside a grid."""
        size = int(self.dimension[grid])
        if grid not in self.volumes:
            mine = self.simplices[self.start[grid] : self.start[grid + 1]]
            corners = self.points[mine]
            # Apexes stand off the extra axes at fixed height: their factor is common.
            self.volumes[grid] = np.cumsum(np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])))
        total = self.volumes[grid]
        number = int(np.searchsorted(total, draw[0] * total[-1]))
        vertices = self.simplices[self.start[grid] + min(number, len(total) - 1)]
        real = vertices[vertices - self.first[grid] < self.sizes[grid]]
        cuts = np.sort(draw[1 : len(real)])
        weights = np.diff(np.concatenate([[0.0], cuts, [1.0]]))
        rotated = weights @ self.points[real]
        return self.centre[grid] + self.rotation[grid][:, :size] @ rotated[:size]


def lead_models(
    space: ModelSpace,
    leads: Leads,
    masses: Float[np.ndarray, "lead model particle"],
    reference_fn: ReferenceFn,
    max_particles: int,
) -> ModelPoint:
    """Valid models of all kinds, each with its one production at full strength.

    Args:
        space: Layout of the models.
        leads: Kinds.
        masses: From `sample_masses`.
        reference_fn: Relative cross sections.
        max_particles: Particles a model may have.

    Returns:
        Models, stacked.
    """
    known = np.where(leads.active[:, None], masses, 0.0)
    number, row = np.nonzero(np.isfinite(known).all(axis=2))
    points = ModelPoint(
        jnp.asarray(np.nan_to_num(masses[number, row])),
        jnp.asarray(leads.active[number]),
        jnp.asarray(leads.branching[number]),
        jnp.asarray(_one_hot(leads.production[number], space.num_productions)),
    )
    found = settled_all(space, reference_fn, points, max_particles)
    valid = np.asarray(found.valid)
    return jax.tree.map(lambda leaf: leaf[valid], found.point)


def _one_hot(numbers: Int[np.ndarray, " row"], size: int) -> Float[np.ndarray, "row size"]:
    return (numbers[:, None] == np.arange(size)).astype(float)


@partial(jax.jit, static_argnums=3)
def settled_all(
    space: ModelSpace, reference_fn: ReferenceFn, points: ModelPoint, max_particles: int
) -> Proposal:
    """Models with consistent decays; nothing is random as long as every mother has some."""
    none = jnp.zeros(space.num_productions, dtype=bool)

    def one(point: ModelPoint) -> Proposal:
        draft = Draft(point, none, jnp.asarray(True))
        return settle(jax.random.key(0), space, draft, reference_fn, max_particles)

    return jax.vmap(one)(points)
