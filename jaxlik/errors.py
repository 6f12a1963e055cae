"""What can go wrong: exceptions at the border, a `Status` inside compiled code.

A message names the object, the value found, the value wanted and the remedy.
"""

import equinox as eqx


class JaxlikError(Exception):
    """Base of every error raised by jaxlik."""


class ModelPointError(JaxlikError, ValueError):
    """A model point contradicts itself or its model space."""


class DatabaseError(JaxlikError, ValueError):
    """A database or snapshot is damaged, foreign, or lacks what was asked for."""


class WorkspaceError(JaxlikError, ValueError):
    """A statistical workspace is malformed."""


class ConfigError(JaxlikError, ValueError):
    """A configuration value is unknown or out of range."""


class PrecisionError(JaxlikError, RuntimeError):
    """The process runs with 32-bit floats where 64-bit ones are needed."""


class ConvergenceError(JaxlikError, RuntimeError):
    """A numerical solver did not reach its tolerance."""


class MissingPackageError(JaxlikError, ImportError):
    """An optional package is not installed."""


class CheckpointError(JaxlikError, RuntimeError):
    """A run directory cannot be resumed."""


class Status(eqx.Enumeration):
    """Outcome of compiled code, carried in result tuples and merged by `merge_status`."""

    success = ""
    max_steps = "the solver reached its maximum number of steps before its tolerance"
    not_finite = "a value became infinite or undefined; check rates and inputs"
    no_bracket = "no sign change was found: the limit lies outside the search interval"
    overflow = "more live table rows than the compiled bucket holds; use a larger bucket"


def merge_status(first: Status, second: Status) -> Status:  # type: ignore[reportInvalidTypeForm]
    """The first outcome, or the second where the first is a success."""
    return Status.where(first == Status.success, second, first)  # type: ignore[reportAttributeAccessIssue]
