"""Configuration of a run: frozen dataclasses, one definition for API, file and flags."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchConfig:
    """The search over model space.

    Attributes:
        walkers: Walkers that move side by side in one compiled step.
        steps: Steps of each walker.
        seed: Seed of all random numbers.
        keep: Length of the list of best models.
        block: Steps between progress reports and checkpoints.
        gradient_every: Steps between gradient ascents of all walkers; 0 for none.
        gradient_steps: Steps of one gradient ascent.
        max_particles: Particles a model may have, the lightest one included.
    """

    walkers: int = 50
    steps: int = 1000
    seed: int = 0
    keep: int = 10
    block: int = 20
    gradient_every: int = 25
    gradient_steps: int = 3
    max_particles: int = 8
