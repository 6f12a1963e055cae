"""Learn the profile likelihood of a workspace: buy labels, train, validate, write a file.

Labels cost fits of the exact engine. They are bought in rounds: first those of a space-filling
design, then the next ones, or those about which the committee disagrees most, out of the same
design. Independent held-out signals give the errors, and a 90 % band by split conformal
prediction.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.database.learned_file import DATA_SETS, LearnedFile, write_learned
from jaxlik.fit.runtime import versions
from jaxlik.statmodels.learned import Member, relative_weight
from jaxlik.typing import Float
from surrogates.committee import (
    initial_members,
    most_disputed,
    predictions,
    train,
    training_data,
)
from surrogates.design import RADIUS, random_signals, sobol_signals
from surrogates.labels import Labels, Oracle
from surrogates.likelihood_recipe import LikelihoodRecipe
from surrogates.likelihood_run import HELD_OUT, Book, LikelihoodRun

COVERAGE = 0.9
"""Of the bands."""

NEAR = 10.0
"""Signals that Asimov data reject by less (-2 ln L) are where errors matter most."""


class Learned(NamedTuple):
    """What a run ends with.

    Attributes:
        members: The committee.
        book: All labels.
        scale: Unit of each region's signal [events].
        training_seconds: Of all rounds.
    """

    members: Member
    book: Book
    scale: Float[np.ndarray, " region"]
    training_seconds: float


def learn(
    oracle: Oracle, run: LikelihoodRun, recipe: LikelihoodRecipe, *, quiet: bool = False
) -> Learned:
    """Buy all labels and train the committee; what the folder holds already is not made again.

    Args:
        oracle: The exact engine.
        run: Folder of the run.
        recipe: How.
        quiet: No progress bar.
    """
    size = oracle.num_regions
    scale = run.scale(oracle)
    design = sobol_signals(size, recipe.pool * recipe.num_fitted, recipe.seed)
    book = run.read_book(size)
    if not len(book.point):
        # A sequence of its own: independent of the design.
        held = random_signals(size, recipe.num_held_out, recipe.seed + 2**32)
        book = book.with_signals(np.full(len(held), HELD_OUT), held)
        run.write_book(book)
    members, spent = initial_members(size, recipe), 0.0
    done = int(book.asked.sum())
    bar = tqdm(total=recipe.labels, initial=done, desc="labels", unit="label", disable=quiet)
    for number in range(recipe.rounds):
        missing = recipe.fitted_after(number) - book.num_fitted
        if missing > 0:
            chosen = choose(members, design, book, missing, number, recipe)
            book = book.with_signals(chosen, design[chosen])
            run.write_book(book)
        if not book.asked.all():
            book = run.fill(book, oracle, scale, bar.update)
        bar.set_postfix_str(f"round {number + 1} of {recipe.rounds}: training")
        kept = run.read_members(number)
        if kept is None:
            kept = _train(members, book, recipe, number)
            run.write_members(number, *kept)
        members, spent = kept[0], spent + kept[1]
    bar.close()
    return Learned(members, book, scale, spent)


def choose(
    members: Member,
    design: Float[np.ndarray, "point region"],
    book: Book,
    count: int,
    round_number: int,
    recipe: LikelihoodRecipe,
) -> np.ndarray:
    """Numbers of the design points to ask about next."""
    unused = np.setdiff1d(np.arange(len(design)), book.point)
    if round_number == 0 or recipe.acquisition == "design":
        return unused[:count]
    return most_disputed(members, design, unused, count)


def _train(
    members: Member, book: Book, recipe: LikelihoodRecipe, number: int
) -> tuple[Member, float]:
    """A round of training, on as many labels as there are up to this round."""
    began = time.perf_counter()
    labels = book.fitted()
    data = training_data(labels, recipe.num_fitted)
    steps = recipe.steps if number == recipe.rounds - 1 else recipe.steps // 4
    key = jax.random.fold_in(jax.random.key(recipe.seed), number)
    members = jax.block_until_ready(train(members, data, recipe, steps, key))
    return members, time.perf_counter() - began


def conformal_band(scores: Float[np.ndarray, " point"]) -> float:
    """The smallest number that a further score exceeds with a chance of at most 10 %."""
    rank = int(np.ceil((len(scores) + 1) * COVERAGE))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def validate(members: Member, held_out: Labels) -> tuple[np.ndarray, dict[str, Any]]:
    """Bands of both data sets, and what errors are.

    Bands come from the first half of the held-out signals; errors and coverage from the second.

    Args:
        members: The committee.
        held_out: Labels that no network saw.

    Returns:
        Half-widths of the bands of -2 ln L over its relative weight, and a document: for each
        data set, absolute errors of ln L.
    """
    mean = predictions(members, held_out.signal).mean(axis=0)
    error = np.abs(mean - held_out.change)
    scores = error * np.asarray(relative_weight(jnp.asarray(mean)))
    half = len(scores) // 2
    band = np.array([conformal_band(scores[:half, k]) for k in range(len(DATA_SETS))])
    near = held_out.change[half:, DATA_SETS.index("asimov")] < NEAR
    document: dict[str, Any] = {"signals": len(scores) - half, "near": int(near.sum())}
    for k, name in enumerate(DATA_SETS):
        errors = 0.5 * error[half:, k]
        document[name] = {
            "delta_log_likelihood": _quantiles(errors),
            "delta_log_likelihood_near": _quantiles(errors[near]),
            "coverage": round(float(np.mean(scores[half:, k] <= band[k])), 4),
            "band": round(float(band[k]), 5),
        }
    return band, document


def _quantiles(values: np.ndarray) -> dict[str, float]:
    shares = {"median": 0.5, "q95": 0.95, "worst": 1.0}
    if not len(values):
        return dict.fromkeys(shares, float("nan"))
    return {name: round(float(np.quantile(values, share)), 5) for name, share in shares.items()}


def export(
    oracle: Oracle,
    run: LikelihoodRun,
    learned: Learned,
    recipe: LikelihoodRecipe,
    target: Path,
) -> LearnedFile:
    """Validate what a run ended with, and write it to a file.

    Raises:
        DatabaseError: the file cannot be written.
    """
    book = learned.book
    band, validation = validate(learned.members, book.held_out())
    scale_labels, scale_seconds = run.scale_cost()
    arrays = {
        **{f"member.{k}": np.asarray(v) for k, v in learned.members._asdict().items()},
        "scale": learned.scale,
        "radius": np.array(RADIUS),
        "counts": np.stack([np.asarray(oracle.likelihood.observed), oracle.fitted]),
        "nominal": np.asarray(oracle.likelihood.nominal),
        "twice_nll_background": oracle.twice_nll_background,
        "band": band,
    }
    manifest = {
        "workspace": {"name": oracle.name, "sha256": oracle.sha256},
        "regions": list(oracle.region_ids),
        "recipe": dataclasses.asdict(recipe),
        "labels": {
            "fitted": len(book.fitted().signal),
            "held_out": len(book.held_out().signal),
            "failed": int(book.asked.sum()) - len(book.labels.usable().signal),
            "for_scale": scale_labels,
            "seconds": round(book.seconds + scale_seconds, 3),
        },
        "training_seconds": round(learned.training_seconds, 3),
        "validation": validation,
        "versions": versions(),
    }
    return write_learned(target, arrays, manifest)
