"""Optional penalties on ln(pi) that later protomodels codes multiply the prior with.

None of them is part of arXiv:2012.12246. Each function returns the logarithm of one
factor, at most zero; add the ones wanted to `prior.log_prior`.
"""

import jax.numpy as jnp
import numpy as np

from jaxlik.physics.kinematics import existing_productions, on_shell_twin
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.prior import MIN_BRANCHING_RATIO
from jaxlik.typing import Array, Bool, Scalar

ONE_EXPERIMENT = 0.1
"""Factor when all predictions come from the same experiment."""

NO_EXPERIMENT = 0.01
"""Factor when there is no prediction at all."""

EXTREME = (0.01, 100.0)
"""Signal strengths within this interval are free of charge."""

LEAST_FACTOR = 1e-10
"""Lower end of the factor for one extreme signal strength."""


def missing_experiment(has_atlas: Bool[Array, ""], has_cms: Bool[Array, ""]) -> Scalar:
    """Ln of the penalty for predictions of one experiment only, or of none."""
    number = has_atlas.astype(int) + has_cms.astype(int)
    factors = jnp.log(jnp.asarray([NO_EXPERIMENT, ONE_EXPERIMENT, 1.0]))
    return factors[number]


def extreme_signal_strengths(space: ModelSpace, point: ModelPoint) -> Scalar:
    """Ln of the penalty for signal strengths far from one.

    Modes of absent particles are ignored; the public code counts them, too.
    """
    strengths = point.signal_strengths
    low, high = EXTREME
    extreme = (strengths > 0) & ((strengths <= low) | (strengths >= high))
    safe = jnp.where(extreme, strengths, 1.0)
    factors = jnp.maximum(LEAST_FACTOR, 1 - jnp.abs(jnp.log10(safe)) / 20)
    counted = extreme & existing_productions(space, point)
    return jnp.sum(jnp.where(counted, jnp.log(factors), 0.0))


def undemocratic_leptons(space: ModelSpace, point: ModelPoint) -> Scalar:
    """Ln of the penalty for X_Z^2 and X_W^1 decays that prefer one lepton flavour.

    Factor (1 - |BR_e - BR_mu| / 5) (1 - |BR_e - BR_tau| / 20) for each particle.
    """
    total = jnp.zeros((), dtype=point.branching_ratios.dtype)
    for mother in (1000023, 1000024):
        rows = _lepton_channels(space, mother)
        if len(rows) < 3:
            continue
        electron, muon, tau = point.branching_ratios[jnp.asarray(rows)]
        factor = (1 - jnp.abs(electron - muon) / 5) * (1 - jnp.abs(electron - tau) / 20)
        exists = point.active[space.particle_index(mother)]
        total = total + jnp.where(exists, jnp.log(factor), 0.0)
    return total


def mixed_shells(space: ModelSpace, point: ModelPoint) -> Scalar:
    """-inf where a particle decays both to an on-shell boson and through its tail."""
    twin = on_shell_twin(space)
    rows = np.flatnonzero(twin >= 0)
    used = point.branching_ratios > MIN_BRANCHING_RATIO
    mothers = point.active[space.channel_parent[rows]]
    mixed = jnp.any(used[rows] & used[twin[rows]] & mothers)
    return jnp.where(mixed, -jnp.inf, 0.0)


def _lepton_channels(space: ModelSpace, mother: int) -> list[int]:
    """Positions of the off-shell channels to e, mu and tau, in this order."""
    leptons: dict[tuple[int, ...], int] = {
        **dict.fromkeys(((11, 11), (11, 12)), 0),
        **dict.fromkeys(((13, 13), (13, 14)), 1),
        **dict.fromkeys(((15, 15), (15, 16)), 2),
    }
    found = [
        (leptons[sm], number)
        for number, (parent, _, sm) in enumerate(space.channels)
        if parent == mother and sm in leptons
    ]
    return [number for _, number in sorted(found)]
