"""A SModelS text database of a few kilobytes with every kind of record."""

import json
from collections.abc import Iterable
from pathlib import Path

MASSES = [
    (300.0, 50.0),
    (300.0, 200.0),
    (600.0, 50.0),
    (600.0, 300.0),
    (900.0, 50.0),
    (900.0, 600.0),
]


def efficiency(mother: float, lightest: float) -> float:
    """Efficiency the maps of the tiny database hold; linear in both masses."""
    return 1e-4 * (mother - 0.5 * lightest)


def data_block(points: Iterable[tuple[float, float]], value, unit: str = "") -> str:
    """Nested data of a symmetric topology with one intermediate mass gap."""
    rows = [
        f"[[[{m:.5E}*GeV,{x:.5E}*GeV],[{m:.5E}*GeV,{x:.5E}*GeV]],{value(m, x)!r}{unit}]"
        for m, x in points
    ]
    return "[" + ",\n".join(rows) + "]"


def map_file(txname: str, constraint: str, blocks: dict[str, str], **tags: str) -> str:
    """One topology file."""
    head = {"txName": txname, "constraint": constraint, "finalState": "['MET','MET']", **tags}
    return "\n".join(f"{name}: {value}" for name, value in {**head, **blocks}.items()) + "\n"


def info_file(**tags: str) -> str:
    """A file of plain tags."""
    return "\n".join(f"{name}: {value}" for name, value in tags.items()) + "\n"


def global_info(identifier: str, **tags: str) -> str:
    """The globalInfo.txt of one result."""
    return info_file(
        id=identifier,
        sqrts="13*TeV",
        lumi="35.9/fb",
        arxiv="https://arxiv.org/abs/0000.00000",
        publicationDOI="https://doi.org/10.0/none",
        **tags,
    )


def region_info(name: str, observed: float, background: float, error: float, **tags: str) -> str:
    """The dataInfo.txt of one signal region."""
    return info_file(
        dataId=name,
        dataType="efficiencyMap",
        observedN=repr(observed),
        expectedBG=repr(background),
        bgError=repr(error),
        upperLimit="0.25*fb",
        expectedUpperLimit="0.125*fb",
        **tags,
    )


def workspace(**channels: int) -> dict:
    """A workspace with the given channels and numbers of bins, no modifiers."""
    return {
        "channels": [
            {"name": name, "samples": [{"name": "bkg", "data": [5.0] * bins, "modifiers": []}]}
            for name, bins in channels.items()
        ],
        "observations": [{"name": name, "data": [4.0] * bins} for name, bins in channels.items()],
        "measurements": [{"name": "m", "config": {"poi": "mu_SIG", "parameters": []}}],
        "version": "1.0.0",
    }


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files given by relative path."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def write_tiny_database(root: Path) -> Path:
    """Limits, plain regions, a covariance (old and new tags) and a workspace."""
    constraint = "[[['jet']],[['jet']]]"
    squark = map_file("T2", constraint, {"efficiencyMap": data_block(MASSES, efficiency)})
    limits = map_file(
        "T2",
        constraint,
        {
            "upperLimits": data_block(MASSES, lambda m, x: m / 1e5, "*pb"),
            "expectedUpperLimits": data_block(MASSES, lambda m, x: m / 2e5, "*pb"),
        },
    )
    prefix = "13TeV/CMS"
    files = {
        "version": "0.0.1\n",
        f"{prefix}/CMS-TINY-01/globalInfo.txt": global_info("CMS-TINY-01"),
        f"{prefix}/CMS-TINY-01/data/dataInfo.txt": info_file(dataType="upperLimit", dataId="None"),
        f"{prefix}/CMS-TINY-01/data/T2.txt": limits,
        f"{prefix}/CMS-TINY-02-eff/globalInfo.txt": global_info("CMS-TINY-02"),
        f"{prefix}/CMS-TINY-02-eff/SR1/dataInfo.txt": region_info("SR1", 9, 4.5, 1.25),
        f"{prefix}/CMS-TINY-02-eff/SR1/T2.txt": squark,
        f"{prefix}/CMS-TINY-02-eff/SR2/dataInfo.txt": region_info("SR2", 0, 1.5, 0.5),
        f"{prefix}/CMS-TINY-02-eff/SR2/T2.txt": squark,
        f"{prefix}/CMS-TINY-03-agg/globalInfo.txt": global_info(
            "CMS-TINY-03", datasetOrder='"B","A"', covariance="[[4.0, 1.0],\n [1.0, 9.0]]"
        ),
        f"{prefix}/CMS-TINY-03-agg/A/dataInfo.txt": region_info("A", 3, 3.5, 3, thirdMoment="0.5"),
        f"{prefix}/CMS-TINY-03-agg/A/T2.txt": squark,
        f"{prefix}/CMS-TINY-03-agg/B/dataInfo.txt": region_info("B", 5, 6.5, 2, thirdMoment="0.25"),
        f"{prefix}/CMS-TINY-03-agg/B/T2.txt": squark,
        f"{prefix}/CMS-TINY-03-agg/C/dataInfo.txt": region_info("C", 5, 6.5, 2),
        f"{prefix}/CMS-TINY-04-agg/globalInfo.txt": global_info(
            "CMS-TINY-04",
            regionMappings='{"one": "A", "two": {"smodels": "B"}}',
            regionSets='{"all": ["two", "one"]}',
            statModels='{"all": [("sl", "covariance.txt")]}',
        ),
        f"{prefix}/CMS-TINY-04-agg/covariance.txt": "[[4.0, 1.0], [1.0, 9.0]]",
        f"{prefix}/CMS-TINY-04-agg/A/dataInfo.txt": region_info("A", 3, 3.5, 3),
        f"{prefix}/CMS-TINY-04-agg/A/T2.txt": squark,
        f"{prefix}/CMS-TINY-04-agg/B/dataInfo.txt": region_info("B", 5, 6.5, 2),
        f"{prefix}/CMS-TINY-04-agg/B/T2.txt": squark,
        "8TeV/ATLAS/ATLAS-TINY-05-eff/globalInfo.txt": info_file(
            id="ATLAS-TINY-05",
            sqrts="8*TeV",
            lumi="20.3/fb",
            jsonFiles="{'bkg.json': ['SRa', 'SRb', 'SRc']}",
            includeCRs="False",
            signalUncertainty="0.22",
        ),
        "8TeV/ATLAS/ATLAS-TINY-05-eff/bkg.json": json.dumps(
            workspace(CR1=1, SR_x=2, VR1=1, SR_y=1)
        ),
    }
    for name in ("SRa", "SRb", "SRc"):
        files[f"8TeV/ATLAS/ATLAS-TINY-05-eff/{name}/dataInfo.txt"] = region_info(name, 4, 5, 1)
        files[f"8TeV/ATLAS/ATLAS-TINY-05-eff/{name}/T2.txt"] = squark
    return write_files(root, files)
