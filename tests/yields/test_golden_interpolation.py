"""All map evaluations of SModelS that are stored (spec/golden.md 3.6)."""

import json
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy_interpolation import TiedMap

from jaxlik.yields.interpolation import locate

pytestmark = pytest.mark.reference

RELATIVE = 2e-6
"""Agreement asked for, besides half a unit of the sixth digit."""

MAX_TIES = 120
"""Evaluations in which several simplices hold the point; 87 when this was written."""
QUANTITIES = {"obs": "upper_limit", "exp": "upper_limit_expected"}


class Golden(NamedTuple):
    """Stored evaluations, in fb or dimensionless; ``nan`` for none."""

    header: list  # map of each point
    unit: np.ndarray  # of the stored values
    flag: np.ndarray
    flat: np.ndarray
    value: np.ndarray


@pytest.fixture(scope="module")
def golden(reference, snapshot):
    folder = reference / "golden" / "smodels" / "interp"
    document = json.loads((folder / "maps.json").read_text())
    stored = np.load(folder / "interp.npz")
    headers = {(h.folder, h.region or "UL", h.txname, h.quantity): h for h in snapshot.maps}
    values = snapshot.array("values")
    found, units = [], []
    largest = document["columns"].index("ymax")
    for row in document["maps"]:
        quantity = "efficiency" if row[1] != "UL" else QUANTITIES[row[3]]
        header = headers[row[0], row[1], row[2], quantity]
        ours = values[header.start : header.start + header.size].max()
        units.append(1000.0 if ours > 100 * row[largest] else 1.0)
        assert ours / units[-1] == pytest.approx(row[largest], rel=1e-5)
        found.append(header)
    index = stored["map_index"]
    return Golden(
        [found[i] for i in index],
        np.array(units)[index],
        stored["flag"],
        np.nan_to_num(stored["x"]),
        stored["value"],
    )


BUCKET = 2048
"""Points evaluated side by side; all of them at once take twelve gigabytes."""


def in_groups(function, reader, *columns):
    """Apply a compiled function to groups of equal size; maps are an argument, no constants."""
    number = len(columns[0])
    groups = (np.arange(-(-number // BUCKET) * BUCKET) % number).reshape(-1, BUCKET)
    parts = [
        jax.tree.map(np.asarray, function(reader, *(jnp.asarray(c[group]) for c in columns)))
        for group in groups
    ]
    return [np.concatenate(some)[:number] for some in zip(*parts, strict=True)]


@pytest.fixture(scope="module")
def ours(golden, yields):
    """Value, projected value and whether the point is off the plane."""
    grid = np.array([h.grid for h in golden.header])
    offset = np.array([h.start for h in golden.header])
    reader = yields.reader

    @jax.jit
    def evaluate(reader, grid, offset, flat):
        grids = reader.grids
        rotated = jax.vmap(grids.rotate)(grid, flat)
        point = jax.vmap(grids.in_plane)(grid, rotated)
        off_plane = jax.vmap(grids.is_off_plane)(grid, rotated)
        simplex, inside = locate(grids, grid, point, jnp.ones(len(grid), bool), stragglers=BUCKET)
        vertices, weights = reader.vertices_at(grid, simplex, point)
        return reader.values_of(offset, vertices, weights), inside, off_plane, rotated, simplex

    @jax.jit
    def keep(reader, value, offset, grid, rotated, simplex):
        every = jnp.arange(BUCKET)
        doubtful = jnp.ones(BUCKET, bool)
        return reader.drop_unreliable(
            value, offset, every, doubtful, grid, rotated, simplex, BUCKET
        )[:1]

    value, inside, off_plane, rotated, simplex = in_groups(
        evaluate, reader, grid, offset, golden.flat
    )
    kept = value.copy()
    rows = np.flatnonzero(off_plane & inside)
    (kept[rows],) = in_groups(
        keep, reader, *(c[rows] for c in (value, offset, grid, rotated, simplex))
    )
    # A projected value of zero stays zero, whether it is reliable or not.
    reliable = ~off_plane | (kept != 0) | (value == 0)
    answer = np.where(inside & reliable, value, np.nan)
    return answer, off_plane & inside & (value == 0), off_plane, rotated


def tidy(values):
    """Below machine precision is zero (SModelS)."""
    return np.where(np.abs(values) < 100 * np.finfo(float).eps, 0.0, values)


def agree(ours, theirs):
    """None with none; else equal up to SModelS's rounding to six digits."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    safe = np.where((theirs == 0) | ~np.isfinite(theirs), 1.0, np.abs(theirs))
    digit = 10.0 ** (np.floor(np.log10(safe)) - 5)
    close = np.abs(ours - theirs) <= RELATIVE * np.abs(theirs) + 0.5 * digit
    return np.where(np.isnan(theirs), np.isnan(ours), close)


@pytest.mark.slow
def test_every_stored_evaluation_is_reproduced(golden, ours, snapshot, capsys):
    answer, free_zero, off_plane, rotated = ours
    answer = tidy(answer / golden.unit)
    fine = agree(answer, golden.value)
    # Zero efficiency off the plane: none or zero, the same to every user.
    fine |= free_zero & (np.isnan(golden.value) | (golden.value == 0))
    ties, wrong = 0, []
    maps: dict[int, TiedMap] = {}
    for i in np.flatnonzero(~fine):
        header = golden.header[i]
        if header.start not in maps:
            maps[header.start] = tied_map(snapshot, header, golden.unit[i])
        oracle = maps[header.start]
        size = len(header.coordinates)
        possible = (
            oracle.projected_answers(rotated[i, :size])
            if off_plane[i]
            else oracle.answers(rotated[i, : oracle.dimension])
        )
        allowed = tidy(np.array(list(possible)))
        mine = any(agree(answer[i], allowed)) or (free_zero[i] and np.isnan(allowed).any())
        theirs = any(agree(allowed, golden.value[i]))
        if mine and theirs:
            ties += 1
        else:
            wrong.append((header.folder, header.region, header.txname, golden.value[i], answer[i]))
    with capsys.disabled():
        print(f"\n{len(fine)} evaluations, {ties} ties, {len(wrong)} wrong")  # noqa: T201
    assert len(fine) == 27560
    assert not wrong
    assert ties <= MAX_TIES


def tied_map(snapshot, header, unit):
    start, stop = snapshot.array("grids.point_start")[header.grid : header.grid + 2]
    dimension = int(snapshot.array("grids.dimension")[header.grid])
    points = np.array(snapshot.array("grids.points")[start : stop - (3 - dimension), :dimension])
    values = np.array(snapshot.array("values")[header.start : header.start + header.size])
    return TiedMap(points, values / unit)


@pytest.mark.slow
def test_the_oracle_of_ties_agrees_away_from_faces(golden, ours, snapshot):
    """Of random points inside simplices nearly all have one possible answer: the stored one."""
    _, _, off_plane, rotated = ours
    rng = np.random.default_rng(5)
    inside = np.flatnonzero((golden.flag == 0) & ~off_plane)
    single = 0
    for i in rng.choice(inside, 150, replace=False):
        oracle = tied_map(snapshot, golden.header[i], golden.unit[i])
        possible = oracle.answers(rotated[i, : oracle.dimension])
        allowed = tidy(np.array(list(possible)))
        assert any(agree(allowed, golden.value[i]))
        single += len(possible) == 1 and not math.isnan(next(iter(possible)))
    assert single >= 140
