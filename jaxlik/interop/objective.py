"""-ln L with derivatives as plain callables: what every bridge of this package is made of.

An `Objective` has names, starting values and bounds of its parameters, and ``value(x)``,
``value_and_gradient(x)``, ``gradient(x)``, ``hessian(x)`` and ``batch(xs)`` from NumPy to NumPy. It
is made from a statistical model, several of these, a workspace, or an engine and a model point.
"""

from jaxlik.interop.objective_base import Objective, objective_of_function
from jaxlik.interop.objective_engine import model_point, objective_of_engine
from jaxlik.interop.objective_models import (
    joint_objective,
    objective_of_model,
    profiled_objective,
)
from jaxlik.interop.objective_nll import AbstractNll
from jaxlik.interop.objective_workspace import objective_of_workspace

__all__ = [
    "AbstractNll",
    "Objective",
    "joint_objective",
    "model_point",
    "objective_of_engine",
    "objective_of_function",
    "objective_of_model",
    "objective_of_workspace",
    "profiled_objective",
]
