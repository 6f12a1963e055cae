"""Asymptotic CLs and limits beside toys, from no events to a full workspace.

    python -m benchmarks.coverage --text DATABASE [--output docs/coverage.md]

Writes the page, and its figure into the folder `figures` beside it. CLs of toys are compared
with asymptotic ones at and around the asymptotic limit; then data are drawn at four values of
mu, and every data set gets an asymptotic limit.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

from jaxlik.compilation import compile_short

compile_short()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from tqdm import tqdm  # noqa: E402

from jaxlik import plotting  # noqa: E402
from jaxlik.database.counting_workspace import counting_workspace  # noqa: E402
from jaxlik.database.workspace import flatten_workspace  # noqa: E402
from jaxlik.database.workspace_patch import with_synthetic_signal  # noqa: E402
from jaxlik.errors import Status  # noqa: E402
from jaxlik.inference.toys import BLOCK, ToyTest, draw, toy_cls  # noqa: E402
from jaxlik.inference.workspace_fits import MuTest, WorkspaceAnalysis  # noqa: E402
from jaxlik.inference.workspace_limits import find_limits, reference_fits  # noqa: E402
from jaxlik.statmodels.packing import pack_workspace  # noqa: E402

REGIONS = {
    "0 events, 0.5 ± 0.15 expected": (0.0, 0.5, 0.15, 1.0),
    "3 events, 3.0 ± 0.9 expected": (3.0, 3.0, 0.9, 1.0),
    "52 events, 50 ± 5 expected": (52.0, 50.0, 5.0, 1.0),
}
"""Observed events, background, its error, and signal at mu = 1."""

WORKSPACES = {
    "simplified workspace": "ATLAS-SUSY-2018-31-eff/simplifiedA",
    "full workspace": "ATLAS-SUSY-2018-31-eff/BkgOnlyB",
}
SCAN = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Tested mu over the asymptotic observed limit."""

TRUE = (0.0, 0.5, 1.0, 2.0)
"""mu of data sets over the median expected limit."""

LEVEL = 0.95


class Case(NamedTuple):
    """What one model gave.

    Attributes:
        name: In words.
        parameters: All of them, without padding.
        limit: Asymptotic observed limit.
        band: Asymptotic expected limits.
        asymptotic: Tests at the scanned mu.
        toys: The same by toys.
        limits: Asymptotic limits of data sets, a row for each true mu; not a number where a
            fit is not certified.
        seconds: Of toys, and of limits.
    """

    name: str
    parameters: int
    limit: float
    band: np.ndarray
    asymptotic: list[MuTest]
    toys: list[ToyTest]
    limits: np.ndarray
    seconds: tuple[float, float]


@eqx.filter_jit
def drawn_limits(keys, model, poi, parameters):
    """Asymptotic limits of data sets drawn at some parameters, and their status."""

    def one(key):
        data = draw(key, model, parameters)
        found, _ = find_limits(model, poi, data, reference_fits(model, poi, data), LEVEL)
        return found.observed, found.status == Status.success

    return jax.lax.map(one, keys)


def study(name: str, document: dict, num_toys: int, num_sets: int, seed: int) -> Case:
    """Everything about one model."""
    record = flatten_workspace(document, name=name)
    analysis = WorkspaceAnalysis(pack_workspace(record), record.poi)
    limit, band = analysis.upper_limits(LEVEL)
    of_toys, of_data = jax.random.split(jax.random.key(seed))
    start = time.perf_counter()
    scan = [share * limit for share in SCAN]
    toys = [
        toy_cls(key, analysis, mu, num_toys, quiet=False)
        for key, mu in zip(jax.random.split(of_toys, len(SCAN)), scan, strict=True)
    ]
    middle = time.perf_counter()
    limits = np.full((len(TRUE), num_sets), np.nan)
    for row, (key, share) in enumerate(
        zip(jax.random.split(of_data, len(TRUE)), TRUE, strict=True)
    ):
        parameters = analysis.fit_at(share * band[2]).parameters
        keys = jax.random.split(key, num_sets)
        for first in tqdm(range(0, num_sets, BLOCK), desc="limits", leave=False):
            block = keys[(first + jnp.arange(BLOCK)) % num_sets]
            found, good = drawn_limits(block, analysis.model, jnp.asarray(record.poi), parameters)
            kept = min(BLOCK, num_sets - first)
            limits[row, first : first + kept] = np.where(good, found, np.nan)[:kept]
    seconds = (middle - start, time.perf_counter() - middle)
    tests = [analysis.test(mu) for mu in scan]
    return Case(name, len(record.parameters), limit, band, tests, toys, limits, seconds)


def toy_limit(case: Case) -> tuple[float, float] | None:
    """Where CLs of toys crosses 1 - level, linear in ln CLs between scanned mu, and its error."""
    mu = np.array([test.mu for test in case.asymptotic])
    with np.errstate(divide="ignore"):
        cls = np.array([float(test.cls) for test in case.toys])
    for k in np.flatnonzero((cls[:-1] > 1 - LEVEL) & (cls[1:] <= 1 - LEVEL) & (cls[1:] > 0)):
        low, high = np.log(cls[k]), np.log(cls[k + 1])
        slope = (high - low) / (mu[k + 1] - mu[k])
        share = (np.log(1 - LEVEL) - low) / (high - low)
        errors = [float(case.toys[j].cls_error) / cls[j] for j in (k, k + 1)]
        error = np.hypot((1 - share) * errors[0], share * errors[1]) / abs(slope)
        return float(mu[k] + share * (mu[k + 1] - mu[k])), float(error)
    return None


def coverage(case: Case) -> list[tuple[float, float, int]]:
    """Share of limits not below the true mu, its error, and data sets without limit."""
    found = []
    for share, limits in zip(TRUE, case.limits, strict=True):
        good = limits[np.isfinite(limits)]
        covered, number = np.sum(good >= share * case.band[2]), len(good)
        p = (covered + 1) / (number + 2)
        error = np.sqrt(p * (1 - p) / (number + 3))
        found.append((covered / number, float(error), len(limits) - number))
    return found


def cls_table(cases: list[Case]) -> list[str]:
    """CLs at and around the limit, asymptotic / toys."""
    head = [f"{share:g} x limit" for share in SCAN]
    lines = [
        "| case | asymptotic limit | limit from toys | " + " | ".join(head) + " | failed |",
        "|---" * (len(SCAN) + 4) + "|",
    ]
    for case in cases:
        found = toy_limit(case)
        cells = [
            f"{np.exp(test.log_cls):.3f} / {float(toys.cls):.3f} ± {float(toys.cls_error):.3f}"
            for test, toys in zip(case.asymptotic, case.toys, strict=True)
        ]
        text = "-" if found is None else f"{found[0]:.3g} ± {found[1]:.1g}"
        failed = sum(int(toys.failed) for toys in case.toys)
        total = sum(2 * int(toys.number) for toys in case.toys)
        cells = [case.name, f"{case.limit:.3g}", text, *cells, f"{failed} of {total}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def band_table(cases: list[Case]) -> list[str]:
    """Expected CLs at the limit, and expected limits: formula / toys."""
    place = SCAN.index(1.0)
    lines = [
        "| case | expected CLs at the limit, -1 σ | median | +1 σ "
        "| expected limit, -1 σ | median | +1 σ |",
        "|---" * 7 + "|",
    ]
    for case in cases:
        bands = np.exp(case.asymptotic[place].log_band), np.asarray(case.toys[place].expected)
        cells = [f"{bands[0][k]:.3f} / {bands[1][k]:.3f}" for k in (1, 2, 3)]
        drawn = np.nanquantile(case.limits[0], [0.1587, 0.5, 0.8413])
        cells += [f"{case.band[k]:.3g} / {drawn[k - 1]:.3g}" for k in (1, 2, 3)]
        lines.append("| " + " | ".join([case.name, *cells]) + " |")
    return lines


def coverage_table(cases: list[Case]) -> list[str]:
    """Coverage of asymptotic limits."""
    lines = [
        "| case | "
        + " | ".join(f"mu = {share:g} x median" for share in TRUE[1:])
        + " | no limit |",
        "|---" * (len(TRUE) + 1) + "|",
    ]
    for case in cases:
        rows = coverage(case)
        cells = [f"{100 * share:.1f} ± {100 * error:.1f} %" for share, error, _ in rows[1:]]
        failed = f"{sum(row[2] for row in rows)} of {case.limits.size}"
        lines.append("| " + " | ".join([case.name, *cells, failed]) + " |")
    return lines


def draw_figure(cases: list[Case], path: Path) -> None:
    """CLs of each case against mu, and the coverage of all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    axes: Any = figure.subplots(2, 3).ravel()
    for panel, case in zip(axes, cases, strict=False):
        cls = np.exp([test.log_cls for test in case.asymptotic])
        panel.plot(SCAN, cls, color=plotting.OBSERVED, marker="o", ms=3, label="asymptotic")
        panel.errorbar(
            SCAN,
            [float(toys.cls) for toys in case.toys],
            yerr=[float(toys.cls_error) for toys in case.toys],
            **{"fmt": "s", "ms": 4, "color": "black", "capsize": 2, "label": "toys"},
        )
        panel.axhline(1 - LEVEL, color=plotting.LIMIT, lw=1, ls="--")
        panel.set_ylim(bottom=0.0)
        panel.set_title(case.name, fontsize=9)
        panel.set_xlabel("mu / asymptotic limit")
        panel.set_ylabel("CLs")
    axes[0].legend(frameon=False)
    last = axes[-1]
    for place, case in enumerate(cases):
        for shift, (share, error, _), mark in zip(
            (-0.2, 0.0, 0.2), coverage(case)[1:], "osD", strict=True
        ):
            last.errorbar(place + shift, share, yerr=error, fmt=mark, ms=4, color=f"C{place}")
    for mark, share in zip("osD", TRUE[1:], strict=True):
        last.plot([], [], mark, color="0.3", ms=4, label=f"{share:g} x median limit")
    last.axhline(LEVEL, color=plotting.LIMIT, lw=1, ls="--")
    last.set_xticks(
        range(len(cases)),
        [case.name.split(",")[0] for case in cases],
        rotation=20,
        fontsize=7,
    )
    last.set_title("limits above the true mu", fontsize=9)
    last.set_ylabel("share of data sets")
    last.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def page(cases: list[Case], num_toys: int, num_sets: int, seed: int, seconds: float) -> str:
    """The page of this study."""
    times = "; ".join(f"{c.name}: {c.seconds[0]:.0f} and {c.seconds[1]:.0f}" for c in cases)
    parts = [
        "# Asymptotics beside toys",
        INTRODUCTION.format(num_toys=num_toys, num_sets=num_sets, seed=seed),
        "![CLs against mu, and coverage](figures/coverage.png)",
        "## CLs around the limit",
        CLS_TEXT,
        "\n".join(cls_table(cases)),
        "## Expected values",
        BAND_TEXT,
        "\n".join(band_table(cases)),
        "## Coverage of asymptotic limits",
        COVERAGE_TEXT,
        "\n".join(coverage_table(cases)),
        "## What it says",
        CONCLUSION,
        "## Time",
        f"{seconds:.0f} s on {platform.machine()}, Python {platform.python_version()}, jax "
        f"{jax.__version__}, {time.strftime('%Y-%m-%d')}, compilation included. Seconds for "
        f"{2 * len(SCAN) * num_toys} toys (two fits each) and for the limits of "
        f"{len(TRUE) * num_sets} data sets (six limits each): {times}.",
    ]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """Made by `python -m benchmarks.coverage`: {num_toys} toys of each hypothesis at \
every tested mu, and {num_sets} data sets at every true mu, seed {seed}. Asymptotic p-values hold \
for many events (arXiv:1007.1727); toys (events and auxiliary data drawn at the nuisance \
parameters fitted to the data) need no such assumption; their errors here are those of their \
number. In single regions mu counts signal events. Workspaces have a made-up signal, a tenth of \
the background in the three fullest bins of every signal channel. Both are of \
ATLAS-SUSY-2018-31: the simplified one has one nuisance parameter and signal bins with 12, 3 and \
2 events; the full one has 60 parameters, control and validation bins with 42 and 93 events, and \
one signal bin with 3 events, 3.2 expected."""

CLS_TEXT = """Asymptotic / toys, at and around the asymptotic observed 95 % limit. The limit from \
toys is interpolated linearly in ln CLs between these mu; errors are those of the number of toys. \
`failed`: toys without certified fits, left out."""

BAND_TEXT = """Formula / toys. Expected CLs are quantiles over background-only toys; expected \
limits are quantiles of the asymptotic limits of background-only data sets."""

COVERAGE_TEXT = """Share of data sets whose asymptotic observed 95 % CLs limit is not below the \
true mu (in units of the median expected limit), with its binomial error. CLs divides by \
CL_b, which is at most one, so that exact limits cover in *more* than 95 % of data sets by \
construction, the more so the less the data can tell the signal from nothing. Less than 95 % is \
a failure."""

CONCLUSION = """\
- Tens of events, or a few in each of several bins: asymptotic limits agree with toys to 4 per \
cent, CLs above 0.05 and the bands within the errors shown.
- Three events in one bin: the limit of the single region still agrees. In the full workspace \
asymptotic CLs around the limit is a fifth to two fifths too low and the limit a tenth. Far in \
the tail (CLs below 0.02) both are off, to either side: counts are discrete.
- No events: asymptotic CLs at the limit is less than half of what toys say, and the limit a \
quarter too low. Here CLs is known exactly, exp(-mu) whatever the background, with a limit of \
3.00 at 95 % CL. Fewer than no events do not occur, so that toys expect the same CLs at -2, -1 \
and 0 sigma.
- Asymptotic limits still cover at mu around the expected limit, where CLs has room to spare. At \
twice that mu, where it has none, coverage is 95 % without events and below in the full workspace.
- Toys are drawn at the nuisance parameters fitted to the data, as LHC experiments do; where data \
do not determine these, other values may give other p-values.

Below about five events in the bins that carry the signal, use toys: \
`python -m jaxlik.fit workspace FILE --mu MU --toys 10000`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="SModelS text database")
    parser.add_argument("--toys", type=int, default=4000, help="of each hypothesis at every mu")
    parser.add_argument("--sets", type=int, default=1000, help="data sets at every true mu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=None, help="parts of names of cases")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    documents = {name: counting_workspace(*numbers) for name, numbers in REGIONS.items()}
    for name, file in WORKSPACES.items():
        path = given.text / "13TeV" / "ATLAS" / f"{file}.json"
        documents[name] = with_synthetic_signal(json.loads(path.read_text()))
    start = time.perf_counter()
    cases = []
    for name, document in documents.items():
        if given.only and not any(part in name for part in given.only):
            continue
        cases.append(study(name, document, given.toys, given.sets, given.seed))
        print(f"{name}: {cases[-1].seconds[0]:.0f} s toys, {cases[-1].seconds[1]:.0f} s limits")
    text = page(cases, given.toys, given.sets, given.seed, time.perf_counter() - start)
    if given.output:
        given.output.write_text(text)
        draw_figure(cases, given.output.parent / "figures" / "coverage.png")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
