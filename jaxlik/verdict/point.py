"""The verdict on a model: all predictions, the critic, the most sensitive combination."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlik.combination.overlap import Candidate, overlap_of
from jaxlik.combination.selection import best_combination
from jaxlik.critic import SENSITIVE_R
from jaxlik.errors import ConvergenceError, JaxlikError, ModelPointError
from jaxlik.inference.curves import EXPECTED, OBSERVED, fit_curves
from jaxlik.physics.spectrum import Spectrum
from jaxlik.topologies.decompose import Rules
from jaxlik.verdict.atlas import Atlas, Sight
from jaxlik.verdict.gradients import Differentiator, Gradient
from jaxlik.verdict.likelihoods import REGION, Likelihoods, Voice, nll_at
from jaxlik.verdict.predictions import UPPER_LIMIT, Prediction, joined, predict

MIN_SENSITIVITY = 0.25
"""Expected -2 ln[L(1)/L(0)] that a result needs to enter a combination."""


@dataclass(frozen=True)
class Line:
    """One prediction of the verdict.

    Attributes:
        prediction: Cross section, limits, r-values.
        voice: Its likelihood; none for upper limits.
        gradient: Derivatives of r; empty if not asked for.
    """

    prediction: Prediction
    voice: Voice | None = None
    gradient: Gradient | None = None


@dataclass(frozen=True)
class Combination:
    """The most sensitive combination of analyses.

    Attributes:
        members: Positions of its lines.
        mu_hat: Best signal strength, not below zero.
        mu_max: Signal strength excluded at 95 % CL.
        mu_max_expected: The same expected.
        significance: Z = sqrt(2 ln[L(mu_hat)/L(0)]).
        nll: -ln L at mu = 0, at 1 and at mu_hat, with all constants.
        gradient: Derivatives of r = 1/mu_max; ``None`` if not asked for.
    """

    members: tuple[int, ...]
    mu_hat: float
    mu_max: float
    mu_max_expected: float
    significance: float
    nll: tuple[float, float, float]
    gradient: Gradient | None = None

    @property
    def r(self) -> float:
        """Predicted over allowed signal strength."""
        return 1.0 / self.mu_max

    @property
    def r_expected(self) -> float:
        """The same expected."""
        return 1.0 / self.mu_max_expected


@dataclass(frozen=True)
class Verdict:
    """What the experiments say about a model.

    Attributes:
        sight: The model, its topologies and places.
        lines: All predictions, the largest observed r first.
        combination: The most sensitive combination, if any result has a likelihood.
    """

    sight: Sight
    lines: tuple[Line, ...]
    combination: Combination | None = None

    @property
    def r_max(self) -> float:
        """Largest observed r; 0 where no result sees the model."""
        return max((line.prediction.r for line in self.lines), default=0.0)

    @property
    def excluded(self) -> bool:
        """Whether some result excludes the model at 95 % CL (SModelS: r above one)."""
        return self.r_max > 1

    @property
    def excluded_by_critic(self) -> bool:
        """Whether a sensitive result or the most sensitive combination excludes the model."""
        sensitive = [
            line.prediction.r for line in self.lines if not line.prediction.r_expected < SENSITIVE_R
        ]
        combined = self.combination.r if self.combination else 0.0
        return max([*sensitive, combined], default=0.0) > 1


class Options(NamedTuple):
    """What a verdict comprises.

    Attributes:
        combine: Use joint likelihoods of several regions where published.
        gradients: Differentiate all r-values.
        all_regions: List every signal region, not only the best or the joint result.
    """

    combine: bool = True
    gradients: bool = True
    all_regions: bool = False


def judge(
    atlas: Atlas,
    likelihoods: Likelihoods,
    spectra: Sequence[Spectrum],
    rules: Rules,
    options: Options | None = None,
) -> Iterator[Verdict | JaxlikError]:
    """Verdicts on some models, whose maps are read together; one that fails is its error.

    Args:
        atlas: Maps of a database.
        likelihoods: Its statistical models.
        spectra: The models.
        rules: Of the decomposition.
        options: What to compute.
    """
    try:
        sights = atlas.look(spectra, rules)
    except ModelPointError as error:
        if len(spectra) == 1:
            yield error
            return
        for spectrum in spectra:
            yield from judge(atlas, likelihoods, [spectrum], rules, options)
        return
    for sight, predictions in zip(sights, predict(atlas, sights), strict=True):
        try:
            yield verdict_on(atlas, likelihoods, sight, predictions, options or Options())
        except ConvergenceError as error:
            yield error


def verdict_on(
    atlas: Atlas,
    likelihoods: Likelihoods,
    sight: Sight,
    predictions: list[Prediction],
    options: Options,
) -> Verdict:
    """The verdict, given what the maps say.

    Raises:
        ConvergenceError: a fit is not certified.
    """
    voices = likelihoods.voices(predictions, combine=options.combine)
    differentiator = Differentiator(sight) if options.gradients else None
    lines = [Line(p) for p in predictions if p.kind == UPPER_LIMIT and p.upper_limit > 0]
    lines += [Line(voice.prediction, voice) for voice in voices]
    if options.all_regions:
        spoken = {(v.prediction.folder, v.prediction.region) for v in voices}
        lines += [
            Line(p)
            for p in predictions
            if p.kind != UPPER_LIMIT and p.upper_limit > 0 and (p.folder, p.region) not in spoken
        ]
    lines.sort(key=lambda line: -np.nan_to_num(line.prediction.r))
    if differentiator:
        lines = [
            Line(line.prediction, line.voice, _gradient(atlas, differentiator, line))
            for line in lines
        ]
    combination = _combination(atlas, likelihoods, lines, differentiator)
    return Verdict(sight, tuple(lines), combination)


def _gradient(atlas: Atlas, differentiator: Differentiator, line: Line) -> Gradient:
    """Derivatives of the r-value of one line."""
    voice = line.voice
    if voice is None or voice.kind == REGION:
        return differentiator.r(line.prediction)
    limit = float(voice.fit.limit[OBSERVED])
    if not np.isfinite(limit):
        return differentiator.gradient(differentiator.nothing)
    moved = _limit_slope(atlas, differentiator, voice, voice.fit.limit_gradient[OBSERVED])
    return differentiator.gradient(-moved / limit**2)


def _limit_slope(
    atlas: Atlas, differentiator: Differentiator, voice: Voice, by_signal: np.ndarray
) -> np.ndarray:
    """Derivatives of a limit on mu, given those with respect to the signal of each region."""
    luminosity = atlas.results[voice.prediction.folder].provenance.luminosity
    seen = [
        (member.terms, slope * luminosity)
        for member, slope in zip(voice.members, by_signal, strict=True)
        if member is not None and slope != 0
    ]
    if not seen:
        return differentiator.nothing
    weights = np.concatenate([np.full(len(terms.place), slope) for terms, slope in seen])
    return differentiator.cross_section(weights, joined([terms for terms, _ in seen]))


def _combination(
    atlas: Atlas, likelihoods: Likelihoods, lines: list[Line], differentiator: Differentiator | None
) -> Combination | None:
    """The combination with the largest sum of expected sensitivities."""
    speakers: list[tuple[int, Voice, float]] = []
    for position, line in enumerate(lines):
        if line.voice is None:
            continue
        gain = line.voice.sensitivity
        if gain >= MIN_SENSITIVITY:
            speakers.append((position, line.voice, gain))
    if not speakers:
        return None
    candidates = []
    for _, voice, _ in speakers:
        p = atlas.results[voice.prediction.folder].provenance
        candidates.append(Candidate(p.analysis, p.experiment, p.sqrts))
    gains = np.array([gain for _, _, gain in speakers])
    overlap = overlap_of(candidates, atlas.combinability)
    chosen = np.flatnonzero(best_combination(overlap, gains, min_members=1))
    voices = [speakers[k][1] for k in chosen]
    curves = likelihoods.joint(voices)
    fit = fit_curves(curves)
    lowest = 0.5 * float(fit.lowest[OBSERVED]) + float(curves.constants[OBSERVED])
    nll = (nll_at(curves, 0.0), nll_at(curves, 1.0), lowest)
    gradient = None
    limit = float(fit.limit[OBSERVED])
    if differentiator and np.isfinite(limit):
        total, start = differentiator.nothing, 0
        for voice in voices:
            stop = start + voice.curves.num_regions
            by_signal = fit.limit_gradient[OBSERVED, start:stop]
            total = total + _limit_slope(atlas, differentiator, voice, by_signal)
            start = stop
        gradient = differentiator.gradient(-total / limit**2)
    return Combination(
        members=tuple(speakers[k][0] for k in chosen),
        mu_hat=float(fit.mu_hat[OBSERVED]),
        mu_max=limit,
        mu_max_expected=float(fit.limit[EXPECTED]),
        significance=float(np.sqrt(max(2 * (nll[0] - lowest), 0.0))),
        nll=nll,
        gradient=gradient,
    )
