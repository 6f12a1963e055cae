"""spey with its own backends and with jaxlik's: exclusion levels and upper limits.

    python -m benchmarks.spey_plugin [--rounds 5] [--output FILE]

Both solve the same random models in the same process, in turn; every answer comes from a new
statistical model, since spey keeps answers. The first answer of jaxlik, with compilation or reading
compiled programs from the cache, is timed apart. Ratios are theirs over ours, median and quartiles
over rounds; `lower` is by how much -ln L at mu = 1 is lower than spey's.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

import jaxlik


@dataclass(frozen=True)
class Case:
    """One kind of model at one size.

    Attributes:
        backend: Name without its family.
        bins: How many.
    """

    backend: str
    bins: int


CASES = (
    Case("uncorrelated_background", 1),
    Case("uncorrelated_background", 20),
    Case("correlated_background", 20),
    Case("correlated_background", 80),
    Case("third_moment_expansion", 20),
    Case("third_moment_expansion", 80),
)


@dataclass(frozen=True)
class Row:
    """What one case costs, in seconds.

    Attributes:
        backend: Name without its family.
        bins: How many.
        question: ``exclusion`` or ``limit``.
        first: First answer of jaxlik in the process.
        ours: Median over rounds.
        theirs: The same of spey's own backend.
        ratio: Median of theirs over ours in the same round.
        ratio_low: First quartile.
        ratio_high: Third quartile.
        difference: Largest difference of answers, relative for limits.
        lower: How much lower -ln L at mu = 1 is than spey's, largest of all rounds.
    """

    backend: str
    bins: int
    question: str
    first: float
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    difference: float
    lower: float


def arguments(case: Case, seed: int) -> dict:
    """A random model: a common and private uncertainties, a signal of a few tenths of a sigma."""
    generator = np.random.default_rng(seed)
    size = case.bins
    background = generator.uniform(3.0, 60.0, size)
    private, common = 0.15 * background + 0.5, 0.1 * background
    covariance = np.outer(common, common) + np.diag(private**2)
    spread = np.sqrt(np.diagonal(covariance) + background)
    found = {
        "signal_yields": generator.uniform(0.2, 1.5, size) * spread / np.sqrt(size),
        "background_yields": background,
        "data": generator.poisson(background),
    }
    if case.backend == "uncorrelated_background":
        return {**found, "absolute_uncertainties": np.sqrt(np.diagonal(covariance))}
    found["covariance_matrix"] = covariance
    if case.backend == "third_moment_expansion":
        skewness = generator.uniform(0.2, 0.8, size)
        found["third_moment"] = skewness * np.diagonal(covariance) ** 1.5
    return found


def exclusion(model) -> float:
    """1 - CLs at mu = 1."""
    return float(model.exclusion_confidence_level()[0])


def limit(model) -> float:
    """Upper limit on mu."""
    return float(model.poi_upper_limit())


QUESTIONS: dict[str, Callable] = {"exclusion": exclusion, "limit": limit}


def timed(task: Callable, model) -> tuple[float, float]:
    """Seconds and the answer."""
    begin = time.perf_counter()
    answer = task(model)
    return time.perf_counter() - begin, answer


def measure(case: Case, rounds: int) -> list[Row]:
    """Both questions, the order of the contenders changing from round to round."""
    import spey

    make = {
        family: spey.get_backend(f"{family}.{case.backend}") for family in ("default", "jaxlik")
    }
    rows = []
    for question, task in QUESTIONS.items():
        first, _ = timed(task, make["jaxlik"](**arguments(case, 0)))
        seconds = {family: [] for family in make}
        answers = {family: [] for family in make}
        lower = []
        for number in range(rounds):
            given = arguments(case, 1 + number)
            models = {family: build(**given) for family, build in make.items()}
            for family in sorted(models, reverse=bool(number % 2)):
                spent, answer = timed(task, models[family])
                seconds[family].append(spent)
                answers[family].append(answer)
            values = {family: float(model.likelihood(1.0)) for family, model in models.items()}
            lower.append(values["default"] - values["jaxlik"])
        ratios = np.array(seconds["default"]) / np.array(seconds["jaxlik"])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        here, there = (np.array(answers[family]) for family in ("jaxlik", "default"))
        unit = np.abs(here) if question == "limit" else 1.0
        rows.append(
            Row(
                case.backend,
                case.bins,
                question,
                first,
                float(np.median(seconds["jaxlik"])),
                float(np.median(seconds["default"])),
                float(middle),
                float(low),
                float(high),
                float(np.max(np.abs(here - there) / unit)),
                float(np.max(lower)),
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = (
        "| backend | bins | question | first s | jaxlik ms | spey ms | ratio (quartiles) "
        "| difference | lower -ln L |\n|---|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {r.backend} | {r.bins} | {r.question} | {r.first:.2f} | {1e3 * r.ours:.1f} | "
        f"{1e3 * r.theirs:.0f} | {r.ratio:.0f} ({r.ratio_low:.0f} to {r.ratio_high:.0f}) | "
        f"{r.difference:.1e} | {r.lower:.1e} |"
        for r in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    jaxlik.enable_x64()
    import scipy
    import spey

    print(f"{platform.machine()}, {jax.device_count()} {jax.default_backend()} device(s), ", end="")
    print(f"jax {jax.__version__}, scipy {scipy.__version__}, spey {spey.__version__}\n")
    rows = [row for case in CASES for row in measure(case, options.rounds)]
    print(table(rows))
    if options.output:
        options.output.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
