import numpy as np
import pytest

from jaxlik.database.grids import triangulate
from jaxlik.database.records import MapRecord
from jaxlik.database.table import PROMPT_SLOT, STABLE_SLOT
from jaxlik.database.topologies import build_channel_table, make_targets
from jaxlik.physics.model import make_space

N1, N2, C1, SQUARK = 1000022, 1000023, 1000024, 1000001
PLANE = np.array([[m, x, m, x] for m, x in ((100.0, 0.0), (900.0, 0.0), (900.0, 800.0))])
AXES = ((1, "mass"), (3, "mass"), (2, "mass"), (5, "mass"))


@pytest.fixture(scope="module")
def grid():
    return triangulate(PLANE, "plane")


@pytest.fixture(scope="module")
def space():
    return make_space(
        (N1, N2, C1, SQUARK),
        [(C1, N1, (24,)), (N2, N1, (23,)), (SQUARK, N1, (1,)), (SQUARK, C1, (2,))],
        [(-C1, C1), (C1, N2), (-C1, N2), (-SQUARK, SQUARK)],
    )


def record(
    txname, constraint, *, region="SR", quantity="efficiency", values=None, axes=AXES, grid=0
):
    values = np.ones(3) if values is None else values
    return MapRecord("F", region, txname, quantity, constraint, axes, grid, values)


def test_maps_on_one_grid_share_a_target(grid):
    maps = [
        record("T2", "[[[jet]],[[jet]]]", region="A"),
        record("T2", "[[[jet]],[[jet]]]", region="B"),
        record("T2bb", "[[[b]],[[b]]]", region="A"),
    ]
    targets = make_targets(maps, [grid])
    assert [t.maps for t in targets] == [(0, 1), (2,)]


def test_empty_and_expected_maps_are_no_targets(grid):
    maps = [
        record("T2", "[[[jet]],[[jet]]]", values=np.zeros(3)),
        record("T2", "[[[jet]],[[jet]]]", quantity="upper_limit_expected", region=None),
        record("T2", "[[[jet]],[[jet]]]", quantity="upper_limit", region=None),
    ]
    (target,) = make_targets(maps, [grid])
    assert target.record.quantity == "upper_limit"
    assert target.maps == (2,)


def test_maps_of_long_lived_particles_alone_are_no_targets():
    widths = np.array([[m, w, m, w] for m, w in ((100.0, 30.0), (900.0, 30.0), (900.0, 40.0))])
    grid = triangulate(widths, "widths")
    axes = ((1, "mass"), (1, "totalwidth"), (2, "mass"), (2, "totalwidth"))
    assert make_targets([record("T", "[[[jet]],[[jet]]]", axes=axes)], [grid]) == []


def rows_of(table, space):
    """(pair production or None, target names) of every row, from the arrays."""
    found = []
    for row in range(len(table.row_pair)):
        production = int(table.pair_production[table.row_pair[row]])
        label = table.site_class[table.row_site[row]]
        targets = table.match_target[table.class_start[label] : table.class_start[label + 1]]
        found.append((production, tuple(targets.tolist())))
    return found


def test_rows_pair_productions_with_the_maps_they_fill(grid, space):
    maps = [
        record("T2", "[[[jet]],[[jet]]]"),
        record("TChiWZ", "[[[W]],[[Z]]]"),
        record("TChiWW", "[[[W+]],[[W-]]]"),
    ]
    table = build_channel_table(space, maps, [grid])
    names = {production: set() for production in range(space.num_productions)}
    for production, targets in rows_of(table, space):
        if production < space.num_productions:
            names[production] |= {maps[t].txname for t in targets}
    wanted = {(-C1, C1): {"TChiWW"}, (C1, N2): {"TChiWZ"}, (-C1, N2): {"TChiWZ"},
              (-SQUARK, SQUARK): {"T2"}}  # fmt: skip
    assert names == {space.production_index(*pair): tx for pair, tx in wanted.items()}


def test_coordinates_point_at_the_right_nodes(grid, space):
    table = build_channel_table(space, [record("TChiWZ", "[[[W]],[[Z]]]")], [grid])
    index = {pid: i for i, pid in enumerate(space.pdg_ids)}
    for site in range(len(table.site_class)):
        nodes = table.site_nodes[site]
        match = table.class_start[table.site_class[site]]
        codes = table.match_coordinates[match]
        found = [int(nodes[code]) for code in codes[:4]]
        assert found == [index[C1], index[N1], index[N2], index[N1]]
        assert (codes[4:] == STABLE_SLOT).all()


def test_widths_of_prompt_and_stable_particles_get_constant_slots(space):
    prompt = 184.2  # rescaled width of a promptly decaying particle
    widths = np.array(
        [
            [m, x, m, x, w, w]
            for m, x in ((100.0, 0.0), (900.0, 0.0), (900.0, 800.0))
            for w in (30.0, prompt)
        ]
    )
    grid = triangulate(widths, "widths")
    axes = (*AXES, (1, "totalwidth"), (2, "totalwidth"))
    maps = [record("T2", "[[[jet]],[[jet]]]", axes=axes, values=np.ones(6))]
    table = build_channel_table(space, maps, [grid])
    assert (table.match_coordinates[:, 4:6] == PROMPT_SLOT).all()


def test_unmatched_maps_leave_an_empty_table(grid, space):
    table = build_channel_table(space, [record("Tx", "[[[t]],[[higgs]]]")], [grid])
    assert table.row_pair.shape == (0,)
    assert table.site_nodes.shape == (0, 6)


def test_progress_is_reported_once_per_pair(grid, space):
    calls = []
    build_channel_table(
        space, [record("T2", "[[[jet]],[[jet]]]")], [grid], on_progress=lambda *a: calls.append(a)
    )
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert len({total for _, total in calls}) == 1
