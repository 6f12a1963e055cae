"""dr/dm against differences of SModelS itself, on twenty models away from kinks.

SModelS rounds masses to 0.1 GeV and interpolated values to six digits, so that it is asked one
GeV to either side; where its one-sided slopes differ, a face of a grid lies between and the
derivative has a jump.
"""

import math
import tarfile

import pytest

from jaxlik.physics.spectrum_file import read_spectrum
from jaxlik.topologies.decompose import Rules
from jaxlik.verdict.atlas import Atlas
from jaxlik.verdict.gradients import Differentiator
from jaxlik.verdict.predictions import predict

pytestmark = [pytest.mark.reference, pytest.mark.slow]

FOLDERS = (
    *("CMS-SUS-16-039-agg", "ATLAS-SUSY-2018-31", "CMS-SUS-19-006", "ATLAS-SUSY-2018-41-eff"),
    *("CMS-SUS-16-033-eff", "CMS-SUS-20-001", "ATLAS-SUSY-2017-03-eff"),
)

POINTS = {
    "T1_1500_200": (1000021, 1000022),
    "T1mix_1600_300": (1000021, 1000022),
    "T2_1000_300": (1000022,),
    "T2bb_900_300": (1000005, 1000022),
    "TChiWZ_400_100": (1000022, 1000023),
    "TChiWZWH_450_150": (1000022, 1000023, 1000024),
    "proto_00": (1000022, 1000024),
    "proto_01": (1000022,),
    "proto_02": (1000022, 1000005, 1000006),
    "proto_07": (1000022, 1000021),
    "proto_09": (1000022,),
}
"""Twenty masses that are moved, each in a model shifted off the nodes of the grids."""

SHIFT = 3.3
"""GeV; nodes lie at multiples of 5 or 12.5 GeV, mostly."""

STEP, TOLERANCE, ROUNDING = 1.0, 0.01, 1.2e-5


@pytest.fixture(scope="module")
def peer(reference, tmp_path_factory):
    """SModelS with a few results of the database."""
    from jaxlik.database.smodels_oracle import oracle_database

    root = tmp_path_factory.mktemp("text")
    with tarfile.open(reference / "data" / "smodels-database-3.0.0.tar.xz") as archive:
        for member in archive:
            parts = member.name.split("/")
            if parts[-1] == "version" or set(parts) & set(FOLDERS):
                archive.extract(member, root, filter="data")
    (database,) = [path.parent for path in root.rglob("version")]
    return oracle_database(database, FOLDERS, tmp_path_factory.mktemp("smodels"))


def moved_text(text, changes):
    """An SLHA file with some masses moved by so many GeV."""
    lines, inside = [], False
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].upper() in ("BLOCK", "DECAY", "XSECTION"):
            inside = words[:2] == ["BLOCK", "MASS"]
        elif inside and words and int(words[0]) in changes:
            pid = int(words[0])
            line = f" {pid} {float(words[1]) + changes[pid]:.6f}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def ratios_of(peer, path):
    from jaxlik.database.smodels_oracle import decompose_file, predictions

    found = {}
    for p in predictions(peer, decompose_file(path)):
        found.setdefault((p.folder, p.region, p.txnames), []).append(p.ratio)
    return {key: values[0] for key, values in found.items() if len(values) == 1}


@pytest.mark.parametrize("name", POINTS)
def test_slopes(name, peer, reference, snapshot, tmp_path):
    source = (reference / "golden" / "smodels" / "points" / f"{name}.slha").read_text()
    shift = {pid: SHIFT * (1 + 0.3 * k) for k, pid in enumerate(POINTS[name])}
    path = tmp_path / "here.slha"
    path.write_text(moved_text(source, shift))
    atlas = Atlas(snapshot)
    (sight,) = atlas.look([read_spectrum(path)], Rules())
    differentiator = Differentiator(sight)
    mine = {(p.folder, p.region, p.txnames): p for p in predict(atlas, [sight])[0]}
    here = ratios_of(peer, path)
    compared = 0
    for pid in POINTS[name]:
        sides = []
        for sign in (1, -1):
            other = tmp_path / f"side{sign}.slha"
            other.write_text(moved_text(source, {**shift, pid: shift[pid] + sign * STEP}))
            sides.append(ratios_of(peer, other))
        for key, r in here.items():
            if key not in mine or any(key not in side for side in sides) or math.isnan(r):
                continue
            up, down = (side[key] for side in sides)
            noise = ROUNDING * r / STEP
            if abs((up - r) - (r - down)) > 0.5 * TOLERANCE * abs(up - down) + 2 * noise:
                continue
            found = differentiator.r(mine[key]).masses.get(pid, 0.0)
            slope = (up - down) / (2 * STEP)
            assert abs(found - slope) <= TOLERANCE * abs(slope) + noise, (key, pid)
            compared += abs(slope) > 20 * noise
    assert compared >= 1
