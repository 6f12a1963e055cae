"""How likelihoods are learned."""

from dataclasses import dataclass
from typing import Literal

from jaxlik.errors import ConfigError

FEWEST_HELD_OUT = 40
"""A 90 % band from half of them, and its coverage from the other half."""


@dataclass(frozen=True)
class LikelihoodRecipe:
    """How a likelihood is learned.

    Attributes:
        labels: Signals the exact engine is asked about, held-out ones included.
        held_out: Share of them kept for the band and the validation, half each.
        acquisition: Labels after the first round: the next points of the design, or where the
            committee disagrees most.
        rounds: In which labels are bought; the first one is always the design.
        pool: Candidates for each label.
        members: Networks of the committee.
        width: Units per layer.
        steps: Steps of Adam in the last round; a quarter of them in the others.
        batch: Labels per step.
        rate: Largest learning rate; it falls to a thousandth along a cosine.
        slopes: Weight of each slope beside a value.
        block: Steps in one call of the compiled program.
        seed: Of signals, first weights and batches.
    """

    labels: int = 2000
    held_out: float = 0.2
    acquisition: Literal["committee", "design"] = "design"
    rounds: int = 4
    pool: int = 8
    members: int = 5
    width: int = 128
    steps: int = 8000
    batch: int = 64
    rate: float = 6e-3
    slopes: float = 0.3
    block: int = 100
    seed: int = 1

    def check(self) -> None:
        """Refuse numbers that cannot be.

        Raises:
            ConfigError: a number is out of range.
        """
        if not 0 < self.held_out <= 0.5:
            raise ConfigError(f"--held-out is {self.held_out}, wanted a share up to 0.5")
        if self.num_held_out < FEWEST_HELD_OUT:
            raise ConfigError(
                f"--labels is {self.labels}, {self.num_held_out} of them held out; wanted at least "
                f"{FEWEST_HELD_OUT} held out: give more, or a larger --held-out"
            )
        for name in ("rounds", "pool", "members", "width", "steps", "batch", "rate", "block"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"--{name} is {value}, wanted a positive number")
        if self.members < 2:
            raise ConfigError("--members is 1, wanted at least 2: one network has no spread")
        if self.slopes < 0:
            raise ConfigError(f"--slopes is {self.slopes}, wanted 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}, wanted a number from 0 to 2^32 - 1")

    @property
    def num_held_out(self) -> int:
        """Labels kept for the band and the validation; an even number."""
        return 2 * round(self.labels * self.held_out / 2)

    @property
    def num_fitted(self) -> int:
        """Labels that networks are fitted to."""
        return self.labels - self.num_held_out

    def fitted_after(self, round_number: int) -> int:
        """Labels fitted to after some round, counted from zero."""
        return self.num_fitted * (round_number + 1) // self.rounds
