"""The pictures of a posterior, from its draws and its document."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlik import plotting_posterior as plots
from jaxlik.fit.posterior_draws import Contents, PosteriorDraws, contents_of, particles_of
from jaxlik.fit.posterior_quantities import (
    BRANCHING_RATIO,
    MASS,
    SIGNAL_STRENGTH,
    Quantity,
    Sample,
    content_samples,
    correlation_matrix,
    parameters,
)
from jaxlik.physics.particles import LBP
from jaxlik.plotting import latex, write

MIN_INCLUSION = 0.01
"""Particles of a smaller probability are not drawn."""

MAX_TRACED = 6
"""Contents with a line of their own in the traces."""


def write_posterior_figures(
    folder: Path, draws: PosteriorDraws, document: Mapping[str, Any]
) -> list[Path]:
    """Draw all pictures of a posterior; returns the files.

    Args:
        folder: Where they go; made if it is not there.
        draws: Those the document was made from.
        document: From `posterior_document`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = contents_of(draws)
    samples = _leading_parameters(draws, contents)
    figures = {
        "contents": lambda: _contents(document),
        "masses": lambda: _masses(draws),
        "traces": lambda: _traces(draws, contents),
    }
    if document["particles"]:
        figures["inclusion"] = lambda: _inclusion(document)
    if document["convergence"]["quantities"]:
        figures["effective_draws"] = lambda: _effective_draws(document)
    if len(samples) > 1:
        labels = [quantity_text(sample.quantity) for sample in samples]
        matrix = correlation_matrix(samples)
        figures["correlations"] = lambda: plots.correlation_map(labels, matrix)
    chosen = _corner_samples(samples)
    if chosen:
        figures["corner"] = lambda: _corner(chosen)
    return [write(draw_fn, folder / f"{name}.png") for name, draw_fn in figures.items()]


def symbol(quantity: Quantity) -> str:
    """A parameter for matplotlib's mathematics mode."""
    if quantity.kind == MASS:
        return f"$m$({latex(quantity.key[0])})"
    if quantity.kind == BRANCHING_RATIO:
        mother, daughter, sm = quantity.key
        return f"BR({plots.channel_text((mother, daughter, sm))})"
    first, second = quantity.key
    return rf"$\kappa$({plots.production_text((first, second))})"


def quantity_text(quantity: Quantity) -> str:
    """The same with its unit."""
    return symbol(quantity) + ("" if quantity.unit == "1" else f" [{quantity.unit}]")


def _leading_parameters(draws: PosteriorDraws, contents: Contents) -> list[Sample]:
    """Parameters of the most probable content that has particles above the lightest one."""
    beyond = np.flatnonzero(contents.active.sum(axis=1) > 1)
    number = int(beyond[0]) if len(beyond) else 0
    return parameters(content_samples(draws, contents, number))


def _corner_samples(samples: list[Sample]) -> list[Sample]:
    """Parameters in all draws, without branching ratios that others determine."""
    chosen: list[Sample] = []
    for sample in samples:
        if sample.fraction < 1:
            continue
        same = [
            other
            for other in chosen
            if sample.quantity.kind == other.quantity.kind == BRANCHING_RATIO
            and abs(correlation_matrix([sample, other])[0, 1]) > 1 - 1e-9
        ]
        if not same:
            chosen.append(sample)
    return chosen[: plots.MAX_CORNER]


def _contents(document: Mapping[str, Any]):
    entries = document["contents"]
    names = [
        plots.content_text([int(pid) for pid in entry["particles"]])
        + (" (SM)" if len(entry["particles"]) == 1 else "")
        for entry in entries
    ]
    return plots.bars(
        names,
        [entry["probability"] for entry in entries],
        [entry["error"] for entry in entries],
        label="posterior probability of the content",
    )


def _inclusion(document: Mapping[str, Any]):
    shown = {
        int(pid): entry
        for pid, entry in document["particles"].items()
        if entry["probability"] >= MIN_INCLUSION
    } or {int(pid): entry for pid, entry in list(document["particles"].items())[:1]}
    return plots.inclusion(
        {pid: entry["probability"] for pid, entry in shown.items()},
        {pid: entry["error"] for pid, entry in shown.items()},
    )


def _masses(draws: PosteriorDraws):
    masses, probabilities = {}, {}
    for place, pid in enumerate(draws.pdg_ids):
        active = draws.active[..., place]
        if active.mean() >= MIN_INCLUSION or pid == LBP:
            masses[pid] = draws.masses[..., place][active]
            probabilities[pid] = float(active.mean())
    return plots.mass_spectrum(masses, probabilities)


def _traces(draws: PosteriorDraws, contents: Contents):
    names = [
        plots.content_text(particles_of(draws.pdg_ids, active))
        for active in contents.active[:MAX_TRACED]
    ]
    return plots.traces(draws.log_likelihood, contents.index, names)


def _corner(samples: list[Sample]):
    together = np.logical_and.reduce([sample.mask for sample in samples])
    values = np.stack([sample.values[together] for sample in samples])
    return plots.corner([quantity_text(sample.quantity) for sample in samples], values)


def _effective_draws(document: Mapping[str, Any]):
    rows = []
    for content in document["contents"]:
        name = plots.content_text([int(pid) for pid in content["particles"]])
        rows.append((f"$p$({name})", content))
        pairs = _parameter_entries(content["details"]) if content["details"] else []
        rows += [(f"{symbol(quantity)} in {name}", entry) for quantity, entry in pairs]
    known = [row for row in rows if row[1]["ess_bulk"] is not None]
    known.sort(key=lambda row: row[1]["ess_bulk"])
    return plots.effective_draws(
        [name for name, _ in known],
        [entry["ess_bulk"] for _, entry in known],
        [np.nan if entry["ess_tail"] is None else entry["ess_tail"] for _, entry in known],
        target=document["convergence"]["targets"]["ess"],
    )


def _parameter_entries(details: Mapping[str, Any]) -> list[tuple[Quantity, Mapping[str, Any]]]:
    """Parameters of a content and what its document says about them."""
    pairs = [(Quantity(MASS, (int(pid),)), entry) for pid, entry in details["masses"].items()]
    for mother, decays in details["branching_ratios"].items():
        for text, entry in decays.items():
            daughter, *sm = ast.literal_eval(text)
            pairs.append((Quantity(BRANCHING_RATIO, (int(mother), daughter, tuple(sm))), entry))
    for text, entry in details["signal_strengths"].items():
        pairs.append((Quantity(SIGNAL_STRENGTH, ast.literal_eval(text)), entry))
    return pairs
