"""Importance sampling that learns where the posterior is, for a few dimensions.

Round 0 draws from the prior. Each later round draws from Student-t kernels at places chosen by
the weights so far. All draws of all rounds are weighted by the mixture of all proposals
(deterministic mixture), so that no round has to be thrown away.

References:
    O. Cappe et al., J. Comput. Graph. Stat. 13 (2004) 907: population Monte Carlo.
    A. Owen, Y. Zhou, J. Am. Stat. Assoc. 95 (2000) 135: deterministic mixtures.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special, stats

KERNELS = 128
"""Kernels of a round."""

FREEDOM = 5
"""Degrees of freedom of a kernel: tails heavier than those of posteriors."""

LEAST = 40
"""Effective draws that weights must have before kernels are placed; else they are tempered."""


class Weighted(NamedTuple):
    """Draws of a posterior.

    Attributes:
        places: Of the draws.
        weights: Sum to one.
        log_evidence: ln of the mean likelihood over the prior.
        effective: 1/sum of squared weights.
    """

    places: np.ndarray
    weights: np.ndarray
    log_evidence: float
    effective: float


def importance(
    log_likelihood_fn: Callable[[np.ndarray], np.ndarray],
    dimension: int,
    rng: np.random.Generator,
    *,
    first: int,
    later: int,
    rounds: int,
) -> Weighted:
    """Posterior of a likelihood with a standard normal prior.

    Args:
        log_likelihood_fn: Of rows of coordinates; `-inf` outside its support.
        dimension: Coordinates per row.
        rng: For all draws.
        first: Draws from the prior.
        later: Draws of each later round.
        rounds: Later rounds.
    """
    prior = stats.multivariate_normal(np.zeros(dimension))
    places = rng.normal(size=(first, dimension))
    heights = log_likelihood_fn(places)
    proposals: list[Callable[[np.ndarray], np.ndarray]] = [prior.logpdf]
    counts = [first]
    for _ in range(rounds):
        weights = _weights(places, heights, proposals, counts, prior.logpdf)[0]
        draw_fn, density_fn = _kernels(places, _tempered(weights), rng)
        new = draw_fn(later)
        places = np.concatenate([places, new])
        heights = np.concatenate([heights, log_likelihood_fn(new)])
        proposals.append(density_fn)
        counts.append(later)
    weights, log_evidence = _weights(places, heights, proposals, counts, prior.logpdf)
    return Weighted(places, weights, log_evidence, float(1 / np.sum(weights**2)))


def quantiles(values: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Weighted quantiles, linear between draws."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(at, share, values[order])


def _weights(
    places: np.ndarray,
    heights: np.ndarray,
    proposals: list,
    counts: list[int],
    log_prior_fn: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, float]:
    """Normalised weights of all draws, and the logarithm of their mean."""
    shares = np.log(counts) - np.log(sum(counts))
    mixture = special.logsumexp(
        [f(places) + s for f, s in zip(proposals, shares, strict=True)], axis=0
    )
    logs = heights + log_prior_fn(places) - mixture
    total = special.logsumexp(logs)
    if not np.isfinite(total):
        raise ValueError(f"none of {len(places)} draws has a likelihood; wanted at least one")
    return np.exp(logs - total), float(total - np.log(len(places)))


def _tempered(weights: np.ndarray) -> np.ndarray:
    """The weights, or the largest power of them that leaves enough effective draws."""
    alive = np.count_nonzero(weights)
    wanted = min(LEAST, 0.9 * alive)
    power = 1.0
    while True:
        now = np.where(weights > 0, weights, 0.0) ** power * (weights > 0)
        now = now / now.sum()
        if 1 / np.sum(now**2) >= wanted or power < 1e-3:
            return now
        power *= 0.8


def _kernels(places: np.ndarray, weights: np.ndarray, rng: np.random.Generator):
    """Draws and log density of equal Student-t kernels at places chosen by weight."""
    dimension = places.shape[1]
    centres = places[rng.choice(len(places), KERNELS, p=weights)]
    mean = weights @ places
    spread = (places - mean).T @ ((places - mean) * weights[:, None]) + 1e-6 * np.eye(dimension)
    # Silverman's rule; at least half the spread, as few kernels leave gaps.
    width = max((4 / ((dimension + 2) * KERNELS)) ** (1 / (dimension + 4)), 0.5)
    factor = width * np.linalg.cholesky(spread)
    log_volume = np.sum(np.log(np.diag(factor)))
    kernel = stats.multivariate_t(np.zeros(dimension), np.eye(dimension), df=FREEDOM)

    def draw(number: int) -> np.ndarray:
        steps = kernel.rvs(size=number, random_state=rng).reshape(number, dimension)
        return centres[rng.integers(KERNELS, size=number)] + steps @ factor.T

    def log_density(rows: np.ndarray) -> np.ndarray:
        whitened = np.linalg.solve(factor, (rows[:, None] - centres).reshape(-1, dimension).T).T
        each = kernel.logpdf(whitened).reshape(len(rows), KERNELS)
        return special.logsumexp(each, axis=1) - np.log(KERNELS) - log_volume

    return draw, log_density
