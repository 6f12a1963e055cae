"""The channel table as arrays; `jaxlik.database.topologies` makes it."""

from dataclasses import dataclass

import numpy as np

MAX_COORDINATES = 6
NODE_SLOTS = 6
PROMPT_SLOT = 6
"""Coordinate code of the width of a promptly decaying particle."""
STABLE_SLOT = 7
"""Coordinate code of the width of a stable particle."""


@dataclass(frozen=True)
class ChannelTable:
    """Arrays of the channel table; see `jaxlik.yields.channels` for their use.

    Axes: ``branch row pair feed class match target entry``. Padding points one
    past the end of the axis it indexes (channels, particles).
    """

    branch_channels: np.ndarray  # branch 2
    branch_daughters: np.ndarray  # branch 2, particle index
    branch_nodes: np.ndarray  # branch 3, particle index
    branch_share: np.ndarray  # branch
    branch_direct: np.ndarray  # branch, bool
    branch_invisible: np.ndarray  # branch, bool
    branch_compressed: np.ndarray  # branch 4: branch left when some steps are removed, or -1
    pair_production: np.ndarray  # pair: production of exactly this pair, or num_productions
    feed_pair: np.ndarray  # feed
    feed_production: np.ndarray  # feed
    feed_from: np.ndarray  # feed 2, particle index of what is produced
    feed_to: np.ndarray  # feed 2, particle index of what is visible
    row_pair: np.ndarray  # row
    row_branches: np.ndarray  # row 2
    row_site: np.ndarray  # row
    site_class: np.ndarray  # site
    site_nodes: np.ndarray  # site 6, particle index
    class_start: np.ndarray  # class + 1: first match
    match_target: np.ndarray  # match
    match_coordinates: np.ndarray  # match coordinate
    match_swapped: np.ndarray  # match coordinate
    target_factor: np.ndarray  # target
    target_grid: np.ndarray  # target
    target_map: np.ndarray  # entry: index of the map record
    target_start: np.ndarray  # target + 1
    soft_channels: np.ndarray
    invisible_channels: np.ndarray
    num_channels: int
    num_particles: int
    num_productions: int
