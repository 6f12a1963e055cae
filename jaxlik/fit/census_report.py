"""A census as a JSON document (`jaxlik/census/1`), as tables, and as rows of a file."""

import math
from dataclasses import asdict, fields
from typing import Any

from jaxlik.calibration.census import LARGE, Census, Region, Spread, Whitened, spread
from jaxlik.fit.report import table

SCHEMA = "jaxlik/census/1"

COLUMNS = tuple(field.name for field in fields(Region))
"""Of the file of all regions."""

Scan = list[tuple[float, Spread]]


def census_rows(census: Census) -> list[dict[str, Any]]:
    """One row per region."""
    return [_known(asdict(region)) for region in census.regions]


def census_document(census: Census, scan: Scan) -> dict[str, Any]:
    """Everything, as JSON."""
    return {
        "schema": SCHEMA,
        "database": {"version": census.version},
        "spread": {name: asdict(found) for name, found in _spreads(census).items()},
        "whitened": [asdict(one) for one in census.whitened],
        "fudge_scan": [{"factor": factor, **asdict(found)} for factor, found in scan],
        "regions": census_rows(census),
    }


def census_report(census: Census, scan: Scan, top: int, width: int) -> str:
    """Tables: moments, covariances, fudge factors, largest excesses."""
    found = spread(census.z)
    parts = [
        f"database {census.version}: {found.number} signal regions, significances of mean "
        f"{found.mean:+.3f} and standard deviation {found.deviation:.3f}; a Kolmogorov-Smirnov "
        f"test against a standard normal gives p = {found.ks_p:.2g}",
        "",
        _spread_table(census, width),
    ]
    if census.whitened:
        parts += ["", "Results with a covariance matrix, before and after whitening:", ""]
        parts.append(_whitened_table(census.whitened, width))
    if scan:
        parts += ["", "Background errors scaled by a factor:", ""]
        rows = [[f"{f:g}", f"{s.mean:+.3f}", f"{s.deviation:.3f}", str(s.large)] for f, s in scan]
        parts.append(table(["factor", "mean", "sd", f"> {LARGE:g}"], rows, ">>>>", width))
    if top:
        parts += ["", "Largest excesses:", "", _largest_table(census, top, width)]
    return "\n".join(parts)


def _spreads(census: Census) -> dict[str, Spread]:
    """Moments of all regions, in three ways, and of each experiment and energy."""
    ways = {"all": census.z, "signed root": census.z_root, "whitened": census.decorrelated}
    found = {name: spread(values) for name, values in ways.items()}
    return found | {name: spread(census.z[mask]) for name, mask in census.groups().items()}


def _spread_table(census: Census, width: int) -> str:
    rows = [
        [
            name,
            str(s.number),
            f"{s.mean:+.3f}",
            f"{s.deviation:.3f}",
            f"{s.skewness:+.2f}",
            str(s.large),
            f"{s.large_expected:.1f}",
            f"{s.ks_p:.2g}",
        ]
        for name, s in _spreads(census).items()
    ]
    header = ["regions", "number", "mean", "sd", "skew", f"> {LARGE:g}", "normal", "KS p"]
    return table(header, rows, "<>>>>>>>", width)


def _whitened_table(whitened: tuple[Whitened, ...], width: int) -> str:
    rows = [
        [
            one.folder,
            str(one.number),
            f"{one.before[0]:+.2f} / {one.before[1]:.2f}",
            f"{one.after[0]:+.2f} / {one.after[1]:.2f}",
            f"{one.chi2:.1f}",
            "skewed" if one.skewed else f"{one.p:.2g}",
        ]
        for one in whitened
    ]
    header = ["result", "regions", "mean / sd", "whitened", "chi2", "p"]
    return table(header, rows, "<>>>>>", width)


def _largest_table(census: Census, top: int, width: int) -> str:
    rows = [
        [
            one.analysis,
            f"{one.sqrts:g}",
            one.region,
            f"{one.observed:g}",
            _with_error(one.background, one.error),
            f"{one.z:.2f}",
            "-" if math.isnan(one.z_white) else f"{one.z_white:.2f}",
        ]
        for one in census.largest(top)
    ]
    header = ["analysis", "TeV", "region", "observed", "background", "z", "whitened"]
    return table(header, rows, "<><>>>>", width)


def _with_error(value: float, error: float) -> str:
    """A number with as many decimals as two digits of its error ask for."""
    decimals = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 2
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no nan."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
