"""A signal region as a workspace, for tools that take workspaces only."""

_SMALLEST_SHARE = 1e-6
"""Of the background that is left at its lower bound: the likelihood needs positive rates."""


def counting_workspace(
    observed: float, background: float, background_error: float, signal: float
) -> dict:
    """One bin whose background has an additive Gaussian uncertainty, as a pyhf workspace.

    The likelihood of `jaxlik.statmodels.poisson`, with the background kept positive and within
    five of its standard deviations; `mu` scales the signal.

    Args:
        observed: Observed events.
        background: Expected background events.
        background_error: Its standard deviation [events]; none at zero.
        signal: Events at mu = 1.

    Examples:
        >>> from jaxlik.database.workspace import flatten_workspace
        >>> document = counting_workspace(9.0, 6.5, 1.3, 4.0)
        >>> flatten_workspace(document).parameters
        ('background_error', 'mu')
    """
    low, high = background - background_error, background + background_error
    shift = {"hi_data": [high], "lo_data": [low]}
    uncertainty = {"name": "background_error", "type": "histosys", "data": shift}
    strength = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [signal], "modifiers": [strength]},
        {
            "name": "background",
            "data": [background],
            "modifiers": [uncertainty] if background_error > 0 else [],
        },
    ]
    parameters: list[dict] = [{"name": "mu", "bounds": [[0, 1000]]}]
    if background_error > 0:
        lowest = max(-5.0, -(1 - _SMALLEST_SHARE) * background / background_error)
        parameters.append({"name": "background_error", "bounds": [[lowest, 5.0]]})
    config = {"poi": "mu", "parameters": parameters}
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": [observed]}],
        "measurements": [{"name": "counting", "config": config}],
        "version": "1.0.0",
    }
