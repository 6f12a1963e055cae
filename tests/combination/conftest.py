"""Graphs to combine on: the embedded table, the reference database."""

import re
import tarfile

import pytest

from jaxlik.combination.overlap import Candidate, overlap_of, read_combinability

EIGHT_TEV = re.compile(r"ATLAS-\w+-201[234]-|CMS-(PAS-)?\w+-1[234]-")


@pytest.fixture(scope="session")
def real_overlap():
    """Every analysis of the embedded table twice: upper limit and efficiency map."""
    table = read_combinability()
    return overlap_of(
        [
            Candidate(name, name.split("-")[0], 8.0 if EIGHT_TEV.match(name) else 13.0, kind)
            for name in sorted(table.partners)
            for kind in ("efficiency_map", "upper_limit")
        ],
        table,
    )


@pytest.fixture(scope="session")
def database_results(reference):
    """Folder, id, experiment, sqrts and kind of every result of database release 3.0.0."""
    texts, kinds = {}, {}
    with tarfile.open(reference / "data" / "smodels-database-3.0.0.tar.xz") as archive:
        for member in archive:
            parts = member.name.split("/")
            if parts[-1] == "globalInfo.txt":
                texts[tuple(parts[-4:-1])] = archive.extractfile(member).read().decode()
            elif parts[-1] == "dataInfo.txt":
                kinds[tuple(parts[-5:-2])] = archive.extractfile(member).read().decode()
    return [
        (
            folder,
            re.search(r"^id:\s*(\S+)", text, re.MULTILINE)[1],
            Candidate(
                folder,
                experiment,
                float(re.search(r"^sqrts:\s*([\d.]+)", text, re.MULTILINE)[1]),
                "efficiency_map"
                if "efficiencyMap" in kinds[energy, experiment, folder]
                else "upper_limit",
            ),
        )
        for (energy, experiment, folder), text in sorted(texts.items())
    ]
