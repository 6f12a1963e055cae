"""Continuous quantities of a content, and their draws chain by chain."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.fit.posterior_draws import Contents, PosteriorDraws, channel_label, production_label
from jaxlik.physics.particles import particle
from jaxlik.typing import Bool, Float

MASS, BRANCHING_RATIO, SIGNAL_STRENGTH = "mass", "branching_ratio", "signal_strength"
LOG_LIKELIHOOD, LOG_POSTERIOR = "log_likelihood", "log_posterior"

UNITS = {MASS: "GeV"}
"""Units of the kinds of quantities; all others are pure numbers."""

MIN_FRACTION = 0.01
"""Channels in use, and signal strengths free, in fewer draws of a content are left out."""

MIN_DRAWS = 8
"""Draws of a chain below which nothing is said about its convergence."""


class Quantity(NamedTuple):
    """What a number is; equal for equal quantities of different contents.

    Attributes:
        kind: One of the constants above.
        key: PDG number in a tuple, channel, or pair of a production mode; else empty.
    """

    kind: str
    key: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """Plain text, such as `m(X_t^1)`."""
        if self.kind == MASS:
            return f"m({particle(self.key[0]).name})"
        if self.kind == BRANCHING_RATIO:
            mother, daughter, sm = self.key
            return f"BR({channel_label((mother, daughter, sm))})"
        if self.kind == SIGNAL_STRENGTH:
            first, second = self.key
            return f"κ({production_label((first, second))})"
        return {LOG_LIKELIHOOD: "ln L", LOG_POSTERIOR: "ln(L x prior)"}[self.kind]

    @property
    def unit(self) -> str:
        """GeV or 1."""
        return UNITS.get(self.kind, "1")


class Sample(NamedTuple):
    """Draws of one quantity in one content.

    Attributes:
        quantity: What it is.
        values: On all draws, of other contents too.
        mask: Draws of the content in which the quantity is a parameter.
        fraction: Of the draws of the content.
    """

    quantity: Quantity
    values: Float[np.ndarray, "chain draw"]
    mask: Bool[np.ndarray, "chain draw"]
    fraction: float

    @property
    def pooled(self) -> Float[np.ndarray, " draw"]:
        """All draws of all chains."""
        return self.values[self.mask]

    @property
    def series(self) -> list[Float[np.ndarray, " draw"]]:
        """The draws of each chain that has any, in order."""
        chains = [row[on] for row, on in zip(self.values, self.mask, strict=True)]
        return [chain for chain in chains if len(chain)]


def content_samples(draws: PosteriorDraws, contents: Contents, number: int) -> list[Sample]:
    """All quantities of a content: masses, used channels, free strengths, ln L, ln(L x prior).

    Args:
        draws: Of all contents.
        contents: Of these draws.
        number: Position of the content.
    """
    mask = contents.index == number
    samples = [
        Sample(Quantity(MASS, (draws.pdg_ids[place],)), draws.masses[..., place], mask, 1.0)
        for place in np.flatnonzero(contents.active[number])
    ]
    used = draws.branching_ratios > 0
    free = draws.free_strength & np.isfinite(draws.signal_strengths)
    for kind, keys, values, on in (
        (BRANCHING_RATIO, draws.channels, draws.branching_ratios, used),
        (SIGNAL_STRENGTH, draws.productions, draws.signal_strengths, free),
    ):
        fractions = on[mask].mean(axis=0)
        samples += [
            Sample(
                Quantity(kind, tuple(keys[place])),
                values[..., place],
                mask & on[..., place],
                float(fractions[place]),
            )
            for place in np.flatnonzero(fractions > MIN_FRACTION)
        ]
    samples.append(Sample(Quantity(LOG_LIKELIHOOD), draws.log_likelihood, mask, 1.0))
    samples.append(Sample(Quantity(LOG_POSTERIOR), draws.log_posterior, mask, 1.0))
    return samples


def parameters(samples: Sequence[Sample]) -> list[Sample]:
    """Those that are parameters of the model and vary."""
    kinds = (MASS, BRANCHING_RATIO, SIGNAL_STRENGTH)
    return [s for s in samples if s.quantity.kind in kinds and np.ptp(s.pooled) > 0]


def correlation_matrix(samples: Sequence[Sample]) -> Float[np.ndarray, "quantity quantity"]:
    """Correlations of quantities over the draws in which both are parameters.

    Returns:
        Ones on the diagonal; `nan` for a pair with fewer than three common draws, or one
        that does not vary on them.
    """
    matrix = np.eye(len(samples))
    for i, one in enumerate(samples):
        for j, other in enumerate(samples[:i]):
            both = one.mask & other.mask
            x, y = one.values[both], other.values[both]
            value = np.nan
            if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
                value = float(np.corrcoef(x, y)[0, 1])
            matrix[i, j] = matrix[j, i] = value
    return matrix


def balanced(
    series: Sequence[Float[np.ndarray, " draw"]],
) -> Float[np.ndarray, "chain draw"] | None:
    """Chains of one length that keep as many draws as possible; `None` if there are too few.

    Chains visit a content unequally often. Those with fewer draws than the common length,
    at most half of them, are left out; of the others evenly spaced draws are taken, so that
    early and late ones count alike. Effective numbers of draws come out too small by this,
    never too large.

    Args:
        series: Draws of each chain.
    """
    if not series:
        return None
    lengths = np.sort([len(chain) for chain in series])[::-1]
    kept = lengths * np.arange(1, len(lengths) + 1)
    fewest = (len(lengths) - 1) // 2
    length = int(lengths[fewest + np.argmax(kept[fewest:])])
    if length < MIN_DRAWS:
        return None
    chosen = [chain for chain in series if len(chain) >= length]
    return np.stack([chain[np.arange(length) * len(chain) // length] for chain in chosen])
