"""A made-up search of 90 bins and 94 nuisances, of the size of the toy of arXiv:1911.03305.

Three categories of 30 bins with falling background; 90 factors for limited simulation, three
pulls common to all bins, and the luminosity. Data are drawn from the background. The numbers
are this file's own.
"""

import json

import numpy as np

from jaxlik.database.records import WorkspaceRecord
from jaxlik.database.workspace_signal import region_per_bin

BINS, SEED = 30, 5
CATEGORIES = {"SRlow": (400.0, 0.16), "SRmid": (180.0, 0.12), "SRhigh": (60.0, 0.09)}
"""Events in the first bin, and the rate of their fall."""

PULLS = {"scale": (0.03, 0.20), "theory": (0.08, 0.05), "shape": (-0.05, 0.12)}
"""Relative changes in the first and in the last bin at one standard deviation."""


def toy_search() -> WorkspaceRecord:
    """The workspace, with every bin a signal region."""
    rng = np.random.default_rng(SEED)
    along = np.linspace(0.0, 1.0, BINS)
    channels, observations = [], []
    for name, (events, fall) in CATEGORIES.items():
        background = events * np.exp(-fall * np.arange(BINS))
        modifiers: list[dict] = []
        for pull, (first, last) in PULLS.items():
            shift = first + (last - first) * along
            high, low = background * (1 + shift), background / (1 + shift)
            data = {"hi_data": high.tolist(), "lo_data": low.tolist()}
            modifiers.append({"name": pull, "type": "histosys", "data": data})
        error = background * np.sqrt(0.02**2 + 0.02 / background)
        stat = {"name": f"stat_{name}", "type": "staterror", "data": error.tolist()}
        sample = {"name": "background", "data": background.tolist()}
        channels.append({"name": name, "samples": [{**sample, "modifiers": [*modifiers, stat]}]})
        observations.append({"name": name, "data": rng.poisson(background).tolist()})
    lumi = {"auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.5, 1.5]]}
    config = {"poi": "mu_SIG", "parameters": [{"name": "lumi", **lumi}]}
    document = {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "toy", "config": config}],
        "version": "1.0.0",
    }
    return region_per_bin(json.dumps(document), name="toy search")


def toy_signal() -> np.ndarray:
    """Events of a signal that peaks in the middle of every category; to be scaled."""
    peak = np.exp(-0.5 * ((np.arange(BINS) - 14.0) / 5.0) ** 2)
    return np.concatenate([share * peak for share in (0.2, 0.6, 1.0)])
