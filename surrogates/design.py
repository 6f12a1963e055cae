"""Signals to ask the exact engine about: directions and sizes that fill a ball evenly.

In units of each region's sensitivity, a direction is drawn from Dirichlet distributions between
sparse (one region) and broad (all of them), a length uniformly up to `RADIUS`. A Sobol sequence
spreads the points; held-out points are independent, as conformal bands want them.
"""

import numpy as np
from scipy import special
from scipy.stats import qmc

from jaxlik.typing import Float

RADIUS = 5.0
"""Largest length of a signal in units of the regions' sensitivities, near its significance."""

SPARSE, BROAD = 0.05, 3.0
"""Concentrations of the Dirichlet distributions."""

_INSIDE = 1e-9
"""Quantiles stay away from 0 and 1 by this."""


def sobol_signals(num_regions: int, count: int, seed: int) -> Float[np.ndarray, "point region"]:
    """Points of a scrambled Sobol sequence; a longer one begins with the shorter.

    Args:
        num_regions: Dimension.
        count: Number of points.
        seed: Of the scrambling.
    """
    power = max(count - 1, 0).bit_length()
    sampler = qmc.Sobol(num_regions + 2, scramble=True, rng=np.random.default_rng(seed))
    return _signals(sampler.random_base2(power)[:count])


def random_signals(num_regions: int, count: int, seed: int) -> Float[np.ndarray, "point region"]:
    """Independent points of the same distribution.

    Args:
        num_regions: Dimension.
        count: Number of points.
        seed: Of the random numbers.
    """
    return _signals(np.random.default_rng(seed).random((count, num_regions + 2)))


def _signals(quantiles: np.ndarray) -> np.ndarray:
    quantiles = np.clip(quantiles, _INSIDE, 1 - _INSIDE)
    size, breadth, parts = quantiles[:, 0], quantiles[:, 1], quantiles[:, 2:]
    concentration = SPARSE * (BROAD / SPARSE) ** breadth
    # Gamma variates of small concentration underflow; one region of a point never does.
    gamma = special.gammaincinv(concentration[:, None], parts)
    first = parts == parts.max(axis=1, keepdims=True)
    gamma = np.where(first, np.maximum(gamma, np.finfo(float).tiny), gamma)
    # Normalise by the largest first: squares of tiny numbers vanish.
    direction = gamma / gamma.max(axis=1, keepdims=True)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return RADIUS * size[:, None] * direction
