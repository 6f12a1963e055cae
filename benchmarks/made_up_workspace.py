"""Workspaces of any size with the modifiers that published ones have, and no other source."""

from typing import NamedTuple

import numpy as np


class WorkspaceSize(NamedTuple):
    """How large a made-up workspace is.

    Attributes:
        channels: Signal regions, each with a control region beside it.
        bins: Of every channel.
        backgrounds: Samples besides the signal.
        pulls: Systematic uncertainties, each of normsys and, for every second one, histosys.
    """

    channels: int
    bins: int
    backgrounds: int
    pulls: int


SMALL = WorkspaceSize(1, 3, 2, 6)
MEDIUM = WorkspaceSize(3, 5, 3, 40)


def made_up_workspace(size: WorkspaceSize, seed: int = 0) -> dict:
    """A workspace with signal, free normalisation, normsys, histosys, staterror and luminosity.

    Args:
        size: Of the workspace.
        seed: Of its numbers.
    """
    rng = np.random.default_rng([seed, *size])
    channels, observations = [], []
    for number in range(size.channels):
        for kind in ("SR", "CR"):
            name = f"{kind}{number}"
            samples = [_background(rng, size, name, s, kind) for s in range(size.backgrounds)]
            total = np.sum([sample["data"] for sample in samples], axis=0)
            if kind == "SR":
                samples.append(_signal(0.2 * total))
            channels.append({"name": name, "samples": samples})
            observed = rng.poisson(total).astype(float).tolist()
            observations.append({"name": name, "data": observed})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.02],
        "inits": [1.0],
        "bounds": [[0.5, 1.5]],
    }
    strength = {"name": "mu_SIG", "inits": [1.0], "bounds": [[0, 1000]]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [
            {"name": "made up", "config": {"poi": "mu_SIG", "parameters": [lumi, strength]}}
        ],
        "version": "1.0.0",
    }


def _signal(events: np.ndarray) -> dict:
    return {
        "name": "signal",
        "data": events.tolist(),
        "modifiers": [
            {"name": "mu_SIG", "type": "normfactor", "data": None},
            {"name": "lumi", "type": "lumi", "data": None},
        ],
    }


def _background(
    rng: np.random.Generator, size: WorkspaceSize, channel: str, sample: int, kind: str
) -> dict:
    """One background of one channel; the first is normalised by control regions."""
    scale = 10 if kind == "CR" else 1
    nominal = scale * rng.uniform(2.0, 30.0, size.bins)
    modifiers: list[dict] = []
    for pull in range(size.pulls):
        up, down = 1 + rng.uniform(0.005, 0.1), 1 - rng.uniform(0.005, 0.1)
        modifiers.append({"name": f"pull{pull}", "type": "normsys", "data": {"hi": up, "lo": down}})
        if pull % 2 == 0:
            shifts = [(nominal * rng.uniform(0.95, 1.05, size.bins)).tolist() for _ in range(2)]
            data = dict(zip(("hi_data", "lo_data"), shifts, strict=True))
            modifiers.append({"name": f"pull{pull}", "type": "histosys", "data": data})
    errors = (nominal * rng.uniform(0.02, 0.08, size.bins)).tolist()
    modifiers.append({"name": f"stat_{channel}", "type": "staterror", "data": errors})
    free = {"name": "norm0", "type": "normfactor", "data": None}
    modifiers.append(free if sample == 0 else {"name": "lumi", "type": "lumi", "data": None})
    return {"name": f"background{sample}", "data": nominal.tolist(), "modifiers": modifiers}
