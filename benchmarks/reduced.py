"""A snapshot with some of its results: the smaller databases that scaling is measured on."""

import copy
import dataclasses
from collections.abc import Iterable

import numpy as np

from jaxlik.database.snapshot import Snapshot
from jaxlik.database.table import ChannelTable
from jaxlik.yields.build import load_table


def some_folders(snapshot: Snapshot, count: int, seed: int) -> tuple[str, ...]:
    """Results, drawn so that those of a smaller number are among those of a larger one."""
    folders = [result.provenance.folder for result in snapshot.results]
    order = np.random.default_rng(seed).permutation(len(folders))
    return tuple(folders[place] for place in sorted(order[:count]))


def reduced(snapshot: Snapshot, folders: Iterable[str]) -> Snapshot:
    """The snapshot with some results only.

    Topologies of models stay all there are: what a model is does not depend on who looks for it.

    Args:
        snapshot: Any.
        folders: Of the results that stay.

    Returns:
        A snapshot in memory, with the maps of these results and the matches with them; arrays
        that both share are stored once.
    """
    wanted = set(folders)
    kept = np.array([header.folder in wanted for header in snapshot.maps], dtype=bool)
    table = _with_maps(load_table(snapshot), kept)
    found = copy.copy(snapshot)
    # Arrays that were read, and properties that were computed, come first in a snapshot.
    found._arrays = dict(snapshot._arrays) | {
        f"channels.{item.name}": getattr(table, item.name)
        for item in dataclasses.fields(table)
        if isinstance(getattr(table, item.name), np.ndarray)
    }
    found.__dict__["results"] = tuple(
        result for result in snapshot.results if result.provenance.folder in wanted
    )
    found.__dict__["maps"] = tuple(
        header for header, stays in zip(snapshot.maps, kept, strict=True) if stays
    )
    return found


def _with_maps(table: ChannelTable, kept: np.ndarray) -> ChannelTable:
    """The channel table for the maps that stay; a target is a result and a topology."""
    sizes = np.diff(table.target_start)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    target = kept[table.target_map[table.target_start[:-1]]]
    map_number, target_number = np.cumsum(kept) - 1, np.cumsum(target) - 1
    match = target[table.match_target]
    labels = len(table.class_start) - 1
    label = np.repeat(np.arange(labels), np.diff(table.class_start))
    numbers = np.bincount(label[match], minlength=labels)

    def starts(counts: np.ndarray, like: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(counts)]).astype(like.dtype)

    return dataclasses.replace(
        table,
        class_start=starts(numbers, table.class_start),
        match_target=target_number[table.match_target[match]].astype(table.match_target.dtype),
        match_coordinates=table.match_coordinates[match],
        match_swapped=table.match_swapped[match],
        target_factor=table.target_factor[target],
        target_grid=table.target_grid[target],
        target_map=map_number[table.target_map[target[owner]]].astype(table.target_map.dtype),
        target_start=starts(sizes[target], table.target_start),
    )
