"""How networks are fitted."""

from dataclasses import dataclass

from jaxlik.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """How networks are fitted.

    Attributes:
        width: Units per layer.
        steps: Steps of AdamW at most.
        batch: Nodes per step.
        rate: Largest learning rate; it falls to a hundredth along a cosine.
        decay: Weight decay of AdamW.
        every: Steps between two looks at the nodes kept for early stopping.
        patience: Looks without any better network after which a group is done.
        seed: Of the first weights and of the batches.
    """

    width: int = 48
    steps: int = 8000
    batch: int = 256
    rate: float = 3e-3
    decay: float = 0.03
    every: int = 250
    patience: int = 10
    seed: int = 1

    def check(self) -> None:
        """Refuse numbers that cannot be.

        Raises:
            ConfigError: a number is zero or negative, or there are fewer steps than one look.
        """
        for name in ("width", "steps", "batch", "rate", "every", "patience"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"--{name} is {value}, wanted a positive number")
        if self.decay < 0:
            raise ConfigError(f"--decay is {self.decay}, wanted 0 or more")
        if self.steps < self.every:
            raise ConfigError(f"--steps is {self.steps}, wanted at least --every ({self.every})")
