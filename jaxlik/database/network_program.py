"""Steps of a network, collected one by one, and the transformations around it.

A network is trained on transformed yields and answers with transformed changes of
-ln L. Both transformations become steps like those of the network itself, so that one
program leads from events to -ln L.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxlik.database.records import Operation

TRANSFORMATIONS = ("log_w_negatives", "log", "asinh", "standardization")
"""Elementwise transformations of the published metadata: sign(x) ln(1+|x|), ln x,
asinh(x/scale), (x - mean)/std."""


class Program:
    """Operations and weights under names that never clash."""

    def __init__(self):
        self.operations: list[Operation] = []
        self.weights: dict[str, np.ndarray] = {}

    def constant(self, value: np.ndarray | float) -> str:
        """Name of a new weight."""
        name = f"weight{len(self.weights)}"
        self.weights[name] = np.asarray(value, np.float64)
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Name of the result of a new step."""
        name = f"step{len(self.operations)}"
        self.operations.append(Operation(kind, inputs, name, tuple(sorted(attributes.items()))))
        return name

    def columns(self, tensor: str, first: int, last: int) -> str:
        """Columns `first` to `last`, exclusive, of a matrix."""
        return self.add("Slice", tensor, starts=(first,), ends=(last,), axes=(1,))


class Transformation(NamedTuple):
    """Elementwise transformations in the order they were applied.

    Attributes:
        names: Of `TRANSFORMATIONS`.
        mean: For ``standardization``, one number per column.
        std: Likewise.
        scale: For ``asinh``.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    scale: float


def transform(program: Program, tensor: str, chain: Transformation) -> str:
    """Apply transformations to a step, or to the yields."""
    for name in chain.names:
        if name == "standardization":
            centred = program.add("Sub", tensor, program.constant(chain.mean))
            tensor = program.add("Div", centred, program.constant(chain.std))
        elif name == "asinh":
            scaled = program.add("Div", tensor, program.constant(chain.scale))
            tensor = program.add("Asinh", scaled)
        else:
            tensor = program.add({"log": "Log", "log_w_negatives": "SignedLog"}[name], tensor)
    return tensor


def undo(program: Program, tensor: str, chain: Transformation) -> str:
    """The inverse of `transform`."""
    for name in reversed(chain.names):
        if name == "standardization":
            scaled = program.add("Mul", tensor, program.constant(chain.std))
            tensor = program.add("Add", scaled, program.constant(chain.mean))
        elif name == "asinh":
            tensor = program.add("Mul", program.add("Sinh", tensor), program.constant(chain.scale))
        else:
            tensor = program.add({"log": "Exp", "log_w_negatives": "SignedExp"}[name], tensor)
    return tensor
