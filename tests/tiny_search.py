"""A small search as a pyhf workspace: three signal regions, a control region, few nuisances."""

import json


def tiny_search():
    """Signal regions SR0 (two bins) and SR1 (one), a control region, no signal."""

    def sample(name, data, *modifiers):
        return {"name": name, "data": data, "modifiers": [*modifiers]}

    def pull(name, high, low):
        return {"name": name, "type": "normsys", "data": {"hi": high, "lo": low}}

    free = {"name": "norm", "type": "normfactor", "data": None}
    error = {"name": "mc0", "type": "staterror", "data": [0.6, 0.3]}
    channels = [
        {
            "name": "SR0",
            "samples": [
                sample("top", [6.0, 1.5], free, pull("jes", 1.2, 0.85), error),
                sample("other", [2.0, 0.5], pull("theory", 1.3, 0.75)),
            ],
        },
        {"name": "SR1", "samples": [sample("other", [12.0], pull("jes", 1.1, 0.92))]},
        {"name": "CR", "samples": [sample("top", [80.0], free, pull("jes", 1.05, 0.95))]},
    ]
    observed = {"SR0": [9.0, 1.0], "SR1": [15.0], "CR": [76.0]}
    lumi = {"auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.5, 1.5]]}
    config = {"poi": "mu_SIG", "parameters": [{"name": "lumi", **lumi}]}
    return {
        "channels": channels,
        "observations": [{"name": k, "data": v} for k, v in observed.items()],
        "measurements": [{"name": "search", "config": config}],
        "version": "1.0.0",
    }


def write_tiny_search(folder):
    """The same as a file."""
    path = folder / "tiny.json"
    path.write_text(json.dumps(tiny_search()))
    return path
