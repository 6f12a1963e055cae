"""What networks are fitted to: nodes, values, their shares, points in gaps."""

import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import ConvexHull

from jaxlik.database.thinning import principal_coordinates
from surrogates.maps import CALIBRATE, STOP, TEST, TRAIN, read_map_sets


def test_values_are_those_of_the_snapshot(thinned, map_sets):
    names = {maps.name for maps in map_sets}
    assert "CMS-SUS-20-004-eff:TChiHH" in names
    assert "ATLAS-SUSY-2018-41-eff:TChiWZ" in names
    for maps in map_sets:
        assert maps.values.shape == (len(maps.nodes), len(maps.regions))
        for column, number in enumerate(maps.numbers):
            header = thinned.maps[number]
            assert (header.folder, header.txname, header.region) == (
                maps.folder,
                maps.txname,
                maps.regions[column],
            )
            own = thinned.array("values")[header.start : header.start + header.size]
            found = maps.values[np.isfinite(maps.values[:, column]), column]
            np.testing.assert_array_equal(np.sort(found), np.sort(own))


def test_nodes_are_dealt_out_once_and_the_hull_is_fitted(map_sets, thinned):
    (maps,) = [m for m in map_sets if m.txname == "TChiHH" and m.folder.startswith("CMS")]
    shares = [np.mean(maps.use == kind) for kind in (TRAIN, STOP, CALIBRATE, TEST)]
    np.testing.assert_allclose(shares, [0.72, 0.08, 0.1, 0.1], atol=0.01)
    corners = ConvexHull(principal_coordinates(maps.nodes)).vertices
    assert (maps.use[corners] == TRAIN).all()
    (again,) = read_map_sets(thinned, (maps.name,))
    np.testing.assert_array_equal(again.use, maps.use)


def test_small_topologies_are_fitted_whole(thinned):
    (maps,) = read_map_sets(thinned, ("ATLAS-SUSY-2019-02-eff:TChiWW",))
    assert len(maps.nodes) == 22
    assert (maps.use == TRAIN).all()


def test_gaps_are_filled_with_what_interpolation_gives(thinned):
    (maps,) = read_map_sets(thinned, ("ATLAS-SUSY-2016-07-eff:T2",))
    assert 0 < len(maps.between) <= len(maps.nodes)
    # Barycentric coordinates do not depend on the frame, only on the triangle.
    frame = principal_coordinates(np.concatenate([maps.nodes, maps.between]))
    nodes, between = frame[: len(maps.nodes)], frame[len(maps.nodes) :]
    fitted = maps.use == TRAIN
    found = LinearNDInterpolator(nodes[fitted], maps.values[fitted])(between)
    inside = np.isfinite(found).all(axis=1)
    agree = np.isclose(found, maps.between_values, atol=1e-9).all(axis=1)
    # Delaunay triangulations differ where four nodes lie on a circle, and where
    # nodes are left out.
    assert agree[inside].mean() > 0.5
    low, high = maps.values.min(axis=0), maps.values.max(axis=0)
    assert (maps.between_values >= low - 1e-12).all()
    assert (maps.between_values <= high + 1e-12).all()


def test_only_what_is_asked_for_is_read(thinned):
    assert read_map_sets(thinned, ("NO-SUCH-RESULT",)) == []
    every = read_map_sets(thinned)
    efficiencies = [h for h in thinned.maps if h.quantity == "efficiency"]
    assert sum(len(maps.regions) for maps in every) == len(efficiencies)


@pytest.mark.reference
@pytest.mark.slow
def test_the_whole_database_is_covered(snapshot):
    sets = read_map_sets(snapshot)
    assert len(sets) == 219
    assert sum(len(maps.regions) for maps in sets) == 3624
