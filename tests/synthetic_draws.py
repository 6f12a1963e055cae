"""Draws whose posterior is known in closed form."""

import numpy as np

from jaxlik.fit.posterior_draws import PosteriorDraws
from jaxlik.physics.model import protomodel_space

LBP, SQUARK, STOP, CHARGINO = 1000022, 1000001, 1000006, 1000024
STOP_TO_TOP, STOP_TO_CHARGINO = (STOP, LBP, (6,)), (STOP, CHARGINO, (5,))
STOP_PAIR = (-STOP, STOP)

SPACE = protomodel_space()

CENTRE, WIDTH = {LBP: 150.0, SQUARK: 700.0, STOP: 1100.0}, {LBP: 20.0, SQUARK: 35.0, STOP: 60.0}
"""GeV; masses are independent and Gaussian."""


def independent_draws(probabilities, shape=(4, 1000), seed=0):
    """Independent draws of contents, with Gaussian masses.

    A stop decays to a top with a branching ratio of one and has ln of its free signal
    strength distributed as N(0, 0.3); a squark has the same decay and a tied strength of one.

    Args:
        probabilities: Of contents, tuples of PDG numbers besides the lightest particle.
        shape: Chains and draws.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    contents = list(probabilities)
    index = rng.choice(len(contents), size=shape, p=list(probabilities.values()))
    return draws_with_contents(contents, index, rng)


def draws_with_contents(contents, index, rng):
    """Draws with the given sequence of contents; masses are independent."""
    shape = index.shape
    active = np.zeros((*shape, SPACE.num_particles), bool)
    active[..., SPACE.lbp] = True
    for number, content in enumerate(contents):
        for pid in content:
            active[index == number, SPACE.particle_index(pid)] = True
    masses = np.full(active.shape, np.nan)
    for pid, centre in CENTRE.items():
        place = SPACE.particle_index(pid)
        drawn = rng.normal(centre, WIDTH[pid], shape)
        masses[..., place] = np.where(active[..., place], drawn, np.nan)
    branching = np.zeros((*shape, SPACE.num_channels))
    strengths = np.full((*shape, SPACE.num_productions), np.nan)
    free = np.zeros(strengths.shape, bool)
    for pid, sm in ((STOP, 6), (SQUARK, 1)):
        on = active[..., SPACE.particle_index(pid)]
        branching[on, SPACE.channel_index(pid, LBP, (sm,))] = 1.0
        mode = SPACE.production_index(-pid, pid)
        strengths[on, mode] = rng.lognormal(0.0, 0.3, on.sum()) if pid == STOP else 1.0
        free[on, mode] = pid == STOP
    pulls = [(masses[..., SPACE.particle_index(p)] - CENTRE[p]) / WIDTH[p] for p in CENTRE]
    chi_squared = np.nansum(np.square(pulls), axis=0)
    return PosteriorDraws(
        SPACE.pdg_ids,
        SPACE.channels,
        SPACE.productions,
        active,
        masses,
        branching,
        strengths,
        free,
        log_likelihood=2.0 - 0.5 * chi_squared,
        log_prior=-1.0 * active.sum(axis=-1),
    )


def two_decays(draws, seed=1):
    """The same draws, in which stops share their decays with a chargino: BR uniform."""
    rng = np.random.default_rng(seed)
    branching = draws.branching_ratios.copy()
    on = draws.active[..., SPACE.particle_index(STOP)]
    fraction = rng.uniform(size=on.sum())
    branching[on, SPACE.channel_index(*STOP_TO_TOP)] = fraction
    branching[on, SPACE.channel_index(*STOP_TO_CHARGINO)] = 1 - fraction
    arrays = {**vars(draws), "branching_ratios": branching}
    return PosteriorDraws(**arrays)
