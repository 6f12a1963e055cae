"""A text database of a few kilobytes with the tags of SModelS 3.2, and a model that it sees."""

import json
from pathlib import Path

MASSES = [
    (300.0, 50.0),
    (300.0, 200.0),
    (600.0, 50.0),
    (600.0, 300.0),
    (900.0, 50.0),
    (900.0, 600.0),
]

MODEL = """BLOCK MASS
 1000001 6.1e+02
 1000022 1.3e+02
DECAY 1000001 1.0
   1.0 2 1 1000022
DECAY 1000022 0.0
XSECTION  1.30E+04  2212 2212 2 -1000001 1000001
  0  2  0  0  0  0    {cross_section:.8E} test
"""
"""Squark pairs; cross section in pb."""


def tags(**values):
    return "\n".join(f"{name}: {value}" for name, value in values.items()) + "\n"


def global_info(identifier, **more):
    return tags(
        id=identifier,
        sqrts="13*TeV",
        lumi="35.9/fb",
        arxiv="https://arxiv.org/abs/0000.00000",
        publicationDOI="https://doi.org/10.0/none",
        **more,
    )


def region(name, observed, background, error, share, **more):
    """The two files of a signal region; its efficiency is linear in both masses."""
    points = ",\n".join(
        f"[[[{m:.5E}*GeV,{x:.5E}*GeV],[{m:.5E}*GeV,{x:.5E}*GeV]],{share * 1e-4 * (m - 0.5 * x)!r}]"
        for m, x in MASSES
    )
    data = tags(
        dataId=name,
        dataType="efficiencyMap",
        observedN=observed,
        expectedBG=background,
        bgError=error,
        upperLimit="0.25*fb",
        expectedUpperLimit="0.2*fb",
        **more,
    )
    head = tags(
        txName="T2", constraint="[[['jet']],[['jet']]]", finalState="['MET','MET']", validated=True
    )
    return {
        f"{name}/dataInfo.txt": data,
        f"{name}/T2.txt": f"{head}efficiencyMap: [{points}]\n",
    }


def workspace():
    """Two signal channels, one with two bins, and a control region that fixes a normalisation."""

    def sample(data, *modifiers):
        norm = {"name": "mu_bkg", "type": "normfactor", "data": None}
        return {"name": "bkg", "data": data, "modifiers": [norm, *modifiers]}

    shape = {
        "name": "shape",
        "type": "histosys",
        "data": {"hi_data": [14.0, 6.5], "lo_data": [10.5, 5.8]},
    }
    tilt = {"name": "tilt", "type": "normsys", "data": {"hi": 1.2, "lo": 0.85}}
    parameters = [
        {
            "name": "lumi",
            "auxdata": [1.0],
            "bounds": [[0.915, 1.085]],
            "inits": [1.0],
            "sigmas": [0.017],
        }
    ]
    return {
        "channels": [
            {"name": "SR_binned", "samples": [sample([12.0, 6.0], shape)]},
            {"name": "SR_one", "samples": [sample([4.0], tilt)]},
            {"name": "CR", "samples": [sample([90.0])]},
        ],
        "observations": [
            {"name": "SR_binned", "data": [15.0, 5.0]},
            {"name": "SR_one", "data": [4.0]},
            {"name": "CR", "data": [97.0]},
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu_SIG", "parameters": parameters}}],
        "version": "1.0.0",
    }


def limits():
    def block(value):
        rows = ",\n".join(
            f"[[[{m:.5E}*GeV,{x:.5E}*GeV],[{m:.5E}*GeV,{x:.5E}*GeV]],{value(m)!r}*fb]"
            for m, x in MASSES
        )
        return f"[{rows}]"

    head = tags(
        txName="T2", constraint="[[['jet']],[['jet']]]", finalState="['MET','MET']", validated=True
    )
    upper, expected = block(lambda m: 40 - 0.02 * m), block(lambda m: 30 - 0.02 * m)
    return f"{head}upperLimits: {upper}\nexpectedUpperLimits: {expected}\n"


def binned_results():
    """Upper limits, plain regions and two covariances."""
    return {
        "CMS/CMS-LIMITS": {
            "globalInfo.txt": global_info("CMS-LIMITS"),
            "data/dataInfo.txt": tags(dataType="upperLimit", dataId="None"),
            "data/T2.txt": limits(),
        },
        "CMS/CMS-PLAIN-eff": {
            "globalInfo.txt": global_info("CMS-PLAIN"),
            **region("SR1", 9, 4.5, 1.25, 1.0),
            **region("SR2", 2, 3.5, 0.5, 0.2),
        },
        "CMS/CMS-LINEAR-eff": {
            "globalInfo.txt": global_info(
                "CMS-LINEAR",
                regionMappings='{"A": "A", "B": "B", "C": {"smodels": "C"}}',
                regionSets='{"all": ["B", "A", "C"]}',
                statModels='{"all": [("sl", "covariance.txt")]}',
            ),
            "covariance.txt": "[[9.0, 2.0, 0.5], [2.0, 4.0, 0.7], [0.5, 0.7, 2.0]]",
            **region("A", 8, 6.5, 2, 0.8),
            **region("B", 14, 16.5, 3, 0.5),
            **region("C", 3, 2.4, 1.4, 0.3),
        },
        "CMS/CMS-SKEWED-eff": {
            "globalInfo.txt": global_info(
                "CMS-SKEWED",
                regionMappings='{"D": "D", "E": "E"}',
                regionSets='{"both": ["D", "E"]}',
                statModels='{"both": [("sl", "covariance.txt")]}',
            ),
            "covariance.txt": "[[9.0, 2.0], [2.0, 4.0]]",
            **region("D", 14, 16.5, 3, 0.8, thirdMoment=6.0),
            **region("E", 8, 6.5, 2, 0.4, thirdMoment=2.5),
        },
    }


def workspace_results():
    """A HistFactory workspace."""
    return {
        "ATLAS/ATLAS-SPACE-eff": {
            "globalInfo.txt": global_info(
                "ATLAS-SPACE",
                regionMappings=(
                    '{"low": {"smodels": "low", "pyhf": "SR_binned[0]"}, '
                    '"high": {"smodels": "high", "pyhf": "SR_binned[1]"}, '
                    '"one": {"smodels": "one", "pyhf": "SR_one"}}'
                ),
                regionSets='{"space": ["low", "high", "one"]}',
                statModels='{"space": [("pyhf", "space.json")]}',
                includeCRs="True",
            ),
            "space.json": json.dumps(workspace()),
            **region("low", 15, 12, 2, 0.2),
            **region("high", 5, 6, 2, 0.5),
            **region("one", 4, 4, 1, 0.3),
        },
    }


def write_database(root: Path, results: dict) -> Path:
    """The text files of some results."""
    files = {
        f"13TeV/{folder}/{name}": text
        for folder, part in results.items()
        for name, text in part.items()
    }
    for name, text in {"version": "0.0.1\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
