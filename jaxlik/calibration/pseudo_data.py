r"""Pseudo-databases: what experiments would have published in another universe.

Counts are drawn from the statistical models (`jaxlik.calibration.backgrounds`), with or without
an injected signal, and everything that depends on data is derived from them again:

- observed limits of regions, $\sigma_{95} \to \sigma_{95}^{exp}\, N(n)/N(b)$, N being the limit
  on events: ratios of limits are ours, their scale that of the publication;
- observed upper-limit maps, $\sigma_{95}(m) \to \sigma_{95}^{exp}(m)(1 + x/1.96)$ plus the
  predicted cross section near an injected model (arXiv:2012.12246, section 4.3). Where the
  analysis publishes counts too, x is the significance of the region that sees the topology best,
  so that both fluctuate together; else it is a standard normal number.

A database is a function of (database digest, seed, index) alone.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlik.calibration.backgrounds import Backgrounds
from jaxlik.calibration.injection import Injection
from jaxlik.calibration.limit_maps import LimitMaps
from jaxlik.calibration.significance import root_significance
from jaxlik.typing import Float

SIGMAS = 1.96
"""Of a Gaussian signal strength, at its expected 95 % limit."""

LOWEST_FACTOR = 0.05
"""Observed over expected limit; CLs keeps limits from vanishing."""


@dataclass(frozen=True)
class Recipe:
    """How pseudo-databases are drawn.

    Attributes:
        seed: Of all random numbers.
        fudge: Factor on all background errors, and on the fluctuations of upper-limit maps.
        sampled: Draw counts; else they are what is expected (Asimov data).
        strength: Factor on the injected signal.
        distance: Largest distance in masses [GeV] at which an injected signal shows in an
            upper-limit map.
        rederive: Derive observed limits of regions from the counts; else they stay those of
            the real data, the defect of arXiv:2012.12246.
    """

    seed: int = 0
    fudge: float = 1.0
    sampled: bool = True
    strength: float = 1.0
    distance: float = 400.0
    rederive: bool = True


class PseudoData(NamedTuple):
    """Data of one pseudo-database.

    Attributes:
        observed: Events.
        pulls: x of each upper-limit map.
    """

    observed: Float[np.ndarray, " region"]
    pulls: Float[np.ndarray, " limit"]


def generator_of(digest: str, seed: int, index: int) -> np.random.Generator:
    """Random numbers of one pseudo-database."""
    text = f"{digest}/{seed}/{index}".encode()
    key = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))


def draw(
    backgrounds: Backgrounds,
    maps: LimitMaps,
    digest: str,
    index: int,
    recipe: Recipe,
    injection: Injection | None = None,
) -> PseudoData:
    """Data of one pseudo-database.

    Args:
        backgrounds: What is expected without a signal.
        maps: Upper-limit maps, and the region that speaks for each.
        digest: SHA-256 of the database.
        index: Number of the pseudo-database.
        recipe: How to draw.
        injection: Signal events of each region.
    """
    generator = generator_of(digest, recipe.seed, index)
    signal = np.zeros_like(backgrounds.background)
    if injection is not None:
        signal = recipe.strength * injection.events
    if not recipe.sampled:
        return PseudoData(backgrounds.background + signal, np.zeros(len(maps.region)))
    rates = backgrounds.rates(generator, recipe.fudge)
    free = recipe.fudge * generator.standard_normal(len(maps.region))
    background = generator.poisson(rates).astype(float)
    z = root_significance(background, backgrounds.background, backgrounds.error)
    pulls = np.where(maps.region >= 0, z[maps.region], free)
    # The signal comes last: databases with and without it share their backgrounds.
    return PseudoData(background + generator.poisson(signal), pulls)


def limit_factors(pulls: Float[np.ndarray, " limit"]) -> Float[np.ndarray, " limit"]:
    """Observed over expected limit of each upper-limit map, without an injected signal."""
    return np.maximum(1 + pulls / SIGMAS, LOWEST_FACTOR)
