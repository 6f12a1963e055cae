"""Workspaces of SModelS results with a place for the signal in every region that sees it.

The sample, its modifiers and the channels that leave the fit are those of SModelS's patch
(`smodels.statistics.pyhfInterface`, `patchMaker`). How many events the signal has is not
decided here: a workspace is flattened once, and each signal is data for it.
"""

from typing import Any

import numpy as np

from jaxlik.database.records import HistFactoryRecord, SignalCells, WorkspaceRecord
from jaxlik.database.workspace import flatten_workspace, read_workspace
from jaxlik.errors import WorkspaceError

POI, SAMPLE, PULL = "mu_SIG", "bsm", "signalUncertainty"
"""Names of the signal strength, the signal sample and its common nuisance in SModelS."""


def flatten_with_signal(workspace: WorkspaceRecord) -> tuple[HistFactoryRecord, SignalCells]:
    """The workspace with one event of signal in every region, and where these events are.

    Validation regions leave the fit, and control regions unless the result keeps them;
    channels that no region names stay, without signal.

    Args:
        workspace: The workspace and the mapping of its regions.

    Returns:
        The flattened workspace, and the cells that a signal fills.

    Raises:
        WorkspaceError: the mapping does not fit the workspace, no region is left for a
            signal, or the measurement declares no luminosity (all of database 3.0.0 do;
            pyhf cannot build a model without it either).
    """
    name, delta = workspace.name, workspace.signal_uncertainty
    document = read_workspace(workspace.document, name=name)
    removed = {r["pyhf"] for r in workspace.regions if not _stays(workspace, r)}
    sizes = {c: size for c, size in _sizes(document, name).items() if c not in removed}
    regions = _signal_regions(workspace)
    _check_bins(name, regions, sizes)
    channels = [c for c in document["channels"] if c["name"] in sizes]
    for place, channel in enumerate(channels):
        if channel["name"] in regions:
            signal = _sample(sizes[channel["name"]], delta)
            channels[place] = {**channel, "samples": [signal, *channel["samples"]]}
    record = flatten_workspace({**document, "channels": channels}, poi=POI, name=name)
    return record, _cells(record, regions, delta)


def region_per_bin(content: str, *, name: str, prefix: str = "SR") -> WorkspaceRecord:
    """A workspace without a mapping: one signal region in each bin of some channels.

    Args:
        content: The workspace as JSON text.
        name: File name, for messages.
        prefix: Channels whose names begin with it carry signal; the others stay without.
    """
    sizes = _sizes(read_workspace(content, name=name), name)
    regions = tuple(
        {"smodels": f"{channel}[{i}]", "pyhf": channel, "bin": i, "type": "SR"}
        for channel, size in sizes.items()
        if channel.startswith(prefix)
        for i in range(size)
    )
    return WorkspaceRecord("", name, content, "", regions, include_control_regions=True)


def _sizes(document: dict, name: str) -> dict[str, int]:
    """Number of bins of each channel."""
    try:
        return {c["name"]: len(c["samples"][0]["data"]) for c in document["channels"]}
    except (KeyError, IndexError, TypeError) as error:
        raise WorkspaceError(
            f"{name}: /channels is damaged ({error!r}); wanted a name and samples with data in each"
        ) from error


def _stays(workspace: WorkspaceRecord, region: dict) -> bool:
    """Whether the channel of a region stays in the fit."""
    if region["type"] == "CR":
        return workspace.include_control_regions
    return region["type"] != "VR"


def _signal_regions(workspace: WorkspaceRecord) -> dict[str, list[tuple[int, str]]]:
    """Bins and their signal regions, by channel."""
    found: dict[str, list[tuple[int, str]]] = {}
    for region in workspace.regions:
        if region["smodels"] is not None and _stays(workspace, region):
            found.setdefault(region["pyhf"], []).append((region["bin"] or 0, region["smodels"]))
    if not found:
        raise WorkspaceError(
            f"{workspace.name}: none of its {len(workspace.regions)} regions carries a signal; "
            "wanted at least one that has a name and stays in the fit"
        )
    return found


def _check_bins(
    name: str, regions: dict[str, list[tuple[int, str]]], sizes: dict[str, int]
) -> None:
    """Every bin of a channel with signal must be one signal region."""
    for channel, bins in regions.items():
        if channel not in sizes:
            raise WorkspaceError(
                f"{name}: regions name channel {channel!r}, the fit keeps {list(sizes)}; "
                "correct the mapping of the result"
            )
        if sorted(position for position, _ in bins) != list(range(sizes[channel])):
            raise WorkspaceError(
                f"{name}: channel {channel!r} has {sizes[channel]} bins, its signal regions are "
                f"{bins}; wanted one for each bin: correct the mapping of the result"
            )


def _sample(size: int, delta: float) -> dict[str, Any]:
    """A sample of one event in every bin."""
    modifiers: list[dict[str, Any]] = [
        {"name": POI, "type": "normfactor", "data": None},
        {"name": "lumi", "type": "lumi", "data": None},
    ]
    if delta:
        shifted = {"hi_data": [1 + delta] * size, "lo_data": [1 - delta] * size}
        modifiers.append({"name": PULL, "type": "histosys", "data": shifted})
    return {"name": SAMPLE, "data": [1.0] * size, "modifiers": modifiers}


def _cells(
    record: HistFactoryRecord, regions: dict[str, list[tuple[int, str]]], delta: float
) -> SignalCells:
    """Where the signal samples are; they stand first in their channels."""
    ids = tuple(dict.fromkeys(name for bins in regions.values() for _, name in bins))
    cells, index = [], []
    for channel, bins in regions.items():
        first = int(np.argmax(record.cell_block == record.samples.index((channel, SAMPLE))))
        cells += [first + position for position, _ in bins]
        index += [ids.index(name) for _, name in bins]
    return SignalCells(
        ids,
        np.array(cells, dtype=np.int32),
        np.array(index, dtype=np.int32),
        delta,
        record.parameters.index(PULL) if delta else -1,
    )
