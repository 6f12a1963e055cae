"""Moves of the walk: how a model may change in one step.

`MOVES` names them; a new move is a class in a module of this package and one entry.
"""

from walkers.moves.base import AbstractMove
from walkers.moves.birth_death import Birth, Death, Replace
from walkers.moves.channels import CloseChannel, OpenChannel
from walkers.moves.continuous import (
    BranchingRatios,
    Mass,
    ParticleStrengths,
    ProductionStrength,
    Spectrum,
)
from walkers.moves.merge import Merge
from walkers.moves.settle import Draft, Proposal, ReferenceFn, is_valid, settle

MOVES: dict[str, type[AbstractMove]] = {
    "birth": Birth,
    "death": Death,
    "replace": Replace,
    "merge": Merge,
    "open_channel": OpenChannel,
    "close_channel": CloseChannel,
    "mass": Mass,
    "spectrum": Spectrum,
    "branching_ratios": BranchingRatios,
    "particle_strengths": ParticleStrengths,
    "production_strength": ProductionStrength,
}
"""All moves by name, in the order of the axis `move`."""

__all__ = [
    "MOVES",
    "AbstractMove",
    "Draft",
    "Proposal",
    "ReferenceFn",
    "is_valid",
    "settle",
]
