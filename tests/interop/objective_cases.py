"""Likelihoods small enough for other people's fitters."""

import numpy as np

from jaxlik.statmodels.poisson import PoissonCounting
from jaxlik.statmodels.simplified import simplified_likelihood

COUNTS = {
    "observed": [12.0, 7.0],
    "background": [8.5, 6.0],
    "background_error": [1.5, 1.0],
}
SIGNAL = np.array([4.0, 2.5])


def counting(**changed):
    """Two signal regions."""
    return PoissonCounting(*(np.array(v) for v in {**COUNTS, **changed}.values()))


def correlated(observed=(30.0, 14.0, 9.0)):
    """Three regions with correlated, skewed backgrounds, and a signal."""
    error = np.array([4.0, 2.5, 1.8])
    correlation = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, -0.3], [0.2, -0.3, 1.0]])
    model = simplified_likelihood(
        np.array(observed),
        np.array([24.0, 12.0, 7.0]),
        correlation * np.outer(error, error),
        0.2 * error**3,
    )
    return model, np.array([6.0, 4.0, 3.0])


def _sample(name, data, *modifiers):
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def _factor(name, kind="normfactor"):
    return {"name": name, "type": kind, "data": None}


def workspace():
    """A signal and a control region with every modifier but shapefactor; lumi is fixed."""
    signal = [6.0, 4.0]
    background = [50.0, 22.0]
    regions = [
        {
            "name": "SR",
            "samples": [
                _sample("signal", signal, _factor("mu"), _factor("lumi", "lumi")),
                _sample(
                    "background",
                    background,
                    _factor("norm"),
                    {"name": "scale", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}},
                    {
                        "name": "shape",
                        "type": "histosys",
                        "data": {"hi_data": [53.0, 21.0], "lo_data": [48.0, 22.5]},
                    },
                    {"name": "stat_SR", "type": "staterror", "data": [2.0, 1.5]},
                ),
                _sample(
                    "fakes",
                    [3.0, 2.0],
                    {"name": "fake_SR", "type": "shapesys", "data": [1.0, 0.8]},
                ),
            ],
        },
        {
            "name": "CR",
            "samples": [
                _sample(
                    "background",
                    [200.0],
                    _factor("norm"),
                    {"name": "scale", "type": "normsys", "data": {"hi": 1.05, "lo": 0.96}},
                )
            ],
        },
    ]
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.02],
        "inits": [1.0],
        "bounds": [[0.5, 1.5]],
        "fixed": True,
    }
    return {
        "channels": regions,
        "observations": [
            {"name": "SR", "data": [72.0, 34.0]},
            {"name": "CR", "data": [208.0]},
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [lumi]}}],
        "version": "1.0.0",
    }
