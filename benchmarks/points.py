"""`point` on a hundred SLHA files, beside SModelS 3.1 in the same run.

    python -m benchmarks.points DATABASE --text FOLDER --peer PYTHON [--points 100] [--json FILE]

FOLDER is the text database of the same release and PYTHON an interpreter with smodels 3.1.1. A
first process of SModelS makes its pickle and one of jaxlik compiles; neither is timed. jaxlik
does more: workspaces are combined too, and every r-value is differentiated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from benchmarks.example_models import model_point
from jaxlik.fit.runtime import prepare

FAMILIES = {
    "gluino": {1000021: (1000, 2200)},
    "squark": {1000001: (600, 1600), 1000002: (600, 1600)},
    "stop": {1000006: (400, 1300)},
    "electroweak": {1000023: (150, 700), 1000024: (150, 700)},
    "stop, chargino": {1000006: (500, 1200), 1000024: (200, 450)},
    "gluino, chargino": {1000021: (1200, 2200), 1000024: (400, 1000)},
    "sleptons": {1000011: (120, 500), 1000013: (120, 500)},
    "squark, stop, electroweak": {
        1000001: (700, 1500),
        1000006: (500, 1200),
        1000023: (200, 450),
        1000024: (200, 450),
    },
}
"""Particles above the lightest, and ranges of their masses [GeV]."""

LIGHTEST = (1, 100)

BATCH = 16
"""Models whose maps are read together, as the command does."""


def write_points(folder: Path, count: int) -> None:
    """Random models of all families in turn, with reference cross sections."""
    from jaxlik.physics.cross_sections import reference_cross_sections
    from jaxlik.physics.model import protomodel_space
    from jaxlik.physics.slha import write_slha

    space = protomodel_space()
    table = reference_cross_sections(space)
    generator = np.random.default_rng(0)
    names = list(FAMILIES)
    for number in range(count):
        ranges = FAMILIES[names[number % len(names)]]
        masses = {pid: generator.uniform(*limits) for pid, limits in ranges.items()}
        masses[1000022] = generator.uniform(*LIGHTEST)
        point = model_point(space, {pid: round(mass, 1) for pid, mass in masses.items()})
        values = np.asarray(table(point.masses))
        write_slha(folder / f"{number:03d}.slha", space, point, values)


def time_smodels(python: str, text: Path, models: Path, target: Path) -> dict[str, Any]:
    """One whole process of SModelS; its pickle exists."""
    script = Path(__file__).with_name("points_smodels.py")
    subprocess.run([python, str(script), str(text), str(models), str(target)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return json.loads(target.read_text())


def time_process(database: str, models: Path, target: Path) -> float:
    """One whole process of `point`, in seconds."""
    command = [sys.executable, "-m", "jaxlik.fit", "point", str(models), "--database", database]
    start = time.perf_counter()
    subprocess.run([*command, "--json", str(target), "--quiet"], check=False,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - start


def time_warm(database: str, models: Path) -> tuple[float, list[float], list[list[float]]]:
    """Start-up, seconds per model on a second pass, and r-values."""
    start = time.perf_counter()
    from jaxlik.database.compile import load_database
    from jaxlik.physics.spectrum_file import read_spectrum
    from jaxlik.topologies.decompose import Rules
    from jaxlik.verdict.atlas import Atlas
    from jaxlik.verdict.likelihoods import Likelihoods
    from jaxlik.verdict.point import Verdict, judge

    atlas = Atlas(load_database(database, quiet=True))
    likelihoods = Likelihoods(atlas)
    ready = time.perf_counter() - start
    seconds: list[float] = []
    ratios: list[list[float]] = []
    paths = sorted(models.glob("*.slha"))
    for warm in (False, True):
        for start in range(0, len(paths), BATCH):
            begun = time.perf_counter()
            spectra = [read_spectrum(path) for path in paths[start : start + BATCH]]
            for verdict in judge(atlas, likelihoods, spectra, Rules()):
                if not isinstance(verdict, Verdict):
                    raise SystemExit(str(verdict))
                if warm:
                    # The first of a batch bears what is done for all.
                    seconds.append(time.perf_counter() - begun)
                    ratios.append(sorted(line.prediction.r for line in verdict.lines))
                begun = time.perf_counter()
    return ready, seconds, ratios


def quartiles(values: list[float] | np.ndarray) -> str:
    """Median with quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} .. {high:.3g})"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("database")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare(quiet=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models, one = folder / "models", folder / "one"
        models.mkdir()
        one.mkdir()
        write_points(models, options.points)
        first = models / "000.slha"
        (one / first.name).write_text(first.read_text())
        time_smodels(options.peer, options.text, one, folder / "none.json")
        peer = time_smodels(options.peer, options.text, models, folder / "peer.json")
        time_process(options.database, models, folder / "mine.json")
        whole = time_process(options.database, models, folder / "mine.json")
        ready, seconds, ratios = time_warm(options.database, models)
    theirs = [row["seconds"] for row in peer["rows"]]
    gain = np.array(theirs) / np.array(seconds)
    largest = [
        abs(max(mine, default=0) / max(row["r"], default=np.nan) - 1)
        for mine, row in zip(ratios, peer["rows"], strict=True)
        if row["r"]
    ]
    print(f"{options.points} models, {os.cpu_count()} cores\n")
    print("| | SModelS 3.1.1 | jaxlik | ratio |\n|---|---|---|---|")
    print(f"| one model, warm [s] | {quartiles(theirs)} | {quartiles(seconds)} | "
          f"{quartiles(gain)} |")  # fmt: skip
    total = sum(theirs) / sum(seconds)
    print(f"| all models, warm [s] | {sum(theirs):.0f} | {sum(seconds):.1f} | {total:.0f} |")
    print(f"| ready [s] | {peer['ready']:.1f} | {ready:.1f} | {peer['ready'] / ready:.1f} |")
    print(f"| whole process [s] | {peer['whole']:.0f} | {whole:.1f} | "
          f"{peer['whole'] / whole:.0f} |")  # fmt: skip
    print(f"\nlargest r: equal to 1e-4 in {np.mean(np.array(largest) < 1e-4):.0%}, to 1 % in "
          f"{np.mean(np.array(largest) < 0.01):.0%}")  # fmt: skip
    if options.json:
        document = {"peer": peer, "ready": ready, "whole": whole, "seconds": seconds}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
