"""What users of spey hand to a backend, checked and turned into arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlik.errors import ConfigError, WorkspaceError
from jaxlik.interop.spey_likelihood import Morphing
from jaxlik.typing import Float

MODIFIERS = ("normalization", "shape")
"""One nuisance for all bins, or one for each."""


class Yields(NamedTuple):
    """Events in all bins.

    Attributes:
        signal: At mu = 1.
        background: Expected.
        observed: Counted.
    """

    signal: Float[np.ndarray, " region"]
    background: Float[np.ndarray, " region"]
    observed: Float[np.ndarray, " region"]


def yields(signal: Any, background: Any, data: Any) -> Yields:
    """Signal, background and data of one length.

    Raises:
        ConfigError: the signal is a function.
        WorkspaceError: sizes differ, or a number is impossible.
    """
    if callable(signal):
        raise ConfigError(
            "signal_yields is a function, wanted numbers: functions of further parameters "
            "are the business of spey's default backends"
        )
    observed = np.atleast_1d(numbers("data", data))
    size = observed.size
    return Yields(
        vector("signal_yields", signal, size, signed=True),
        vector("background_yields", background, size),
        vector("data", data, size),
    )


def numbers(name: str, values: Any) -> np.ndarray:
    """An array of numbers.

    Raises:
        WorkspaceError: they are none, or rows differ in length.
    """
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise WorkspaceError(f"{name}: {error}; wanted numbers in rows of one length") from None


def vector(name: str, values: Any, size: int, *, signed: bool = False) -> np.ndarray:
    """One finite number for each bin.

    Raises:
        WorkspaceError: else.
    """
    found = np.atleast_1d(numbers(name, values))
    if found.shape != (size,):
        raise WorkspaceError(f"{name}: shape {found.shape}, wanted ({size},), one for each bin")
    if not np.all(np.isfinite(found)) or (not signed and np.any(found < 0)):
        wanted = "finite numbers" if signed else "finite numbers from zero up"
        raise WorkspaceError(f"{name}: found {found.tolist()}, wanted {wanted}")
    return found


def matrix(name: str, values: Any, size: int) -> np.ndarray:
    """A finite square matrix.

    Raises:
        WorkspaceError: else.
    """
    found = numbers(name, values)
    if found.shape != (size, size):
        raise WorkspaceError(f"{name}: shape {found.shape}, wanted ({size}, {size})")
    if not np.all(np.isfinite(found)):
        raise WorkspaceError(f"{name}: has entries that are not finite; wanted finite numbers")
    return found


def spread(name: str, covariance: np.ndarray) -> np.ndarray:
    """Standard deviations, all positive.

    Raises:
        WorkspaceError: else.
    """
    variance = np.diagonal(covariance)
    if np.any(variance <= 0):
        first = int(np.argmax(variance <= 0))
        raise WorkspaceError(
            f"{name}: variance {variance[first]:g} of bin {first}, wanted above zero; merge the "
            "bin or give it a small uncertainty"
        )
    return np.sqrt(variance)


def pairs(name: str, values: Any, size: int) -> np.ndarray:
    """Upper and lower number of each bin.

    Raises:
        WorkspaceError: else.
    """
    found = numbers(name, values)
    if found.shape != (size, 2) or not np.all(np.isfinite(found)):
        raise WorkspaceError(
            f"{name}: shape {found.shape}, wanted ({size}, 2), upper and lower of each bin"
        )
    return found


def refuse_parameters(number: int, bounds: object) -> None:
    """Raise `ConfigError` where the signal is to depend on further parameters."""
    if number or bounds is not None:
        raise ConfigError(
            f"n_signal_parameters is {number}, wanted 0 without bounds: signals that depend on "
            "further parameters are the business of spey's default backends"
        )


def morphing(
    signal: np.ndarray, modifiers: Sequence[dict] | None
) -> tuple[Morphing | None, list[str]]:
    """Signal uncertainties, and the names of their nuisances.

    A factor is (1 + uncertainty/signal)^nuisance, one uncertainty for each sign of the nuisance;
    it is one in bins without signal and where spey clamps it, below one.

    Args:
        signal: Events at mu = 1.
        modifiers: Dictionaries with ``type``, ``uncertainties`` and perhaps ``name``.

    Raises:
        ConfigError: a type or a shape that spey does not know.
    """
    if not modifiers:
        return None, []
    size, names = len(signal), []
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    safe = np.where(signal == 0, 1.0, signal)
    for number, modifier in enumerate(modifiers):
        name, kind = modifier.get("name", f"mod{number}"), modifier.get("type")
        values = np.asarray(modifier.get("uncertainties"), float)
        if kind not in MODIFIERS:
            raise ConfigError(f"modifier {name!r}: type {kind!r}, wanted one of {MODIFIERS}")
        if values.shape not in ((size,), (size, 2)):
            raise ConfigError(
                f"modifier {name!r}: uncertainties of shape {values.shape}, wanted ({size},) or "
                f"({size}, 2), up and down"
            )
        both = np.stack([values, values], axis=1) if values.ndim == 1 else values
        relative = np.where(signal[:, None] == 0, 0.0, both / safe[:, None])
        logs = np.log(np.maximum(np.nan_to_num(1 + relative, nan=1.0), 1.0))
        if kind == "normalization":
            names.append(f"theta_sig_{name}")
            columns.append((logs[:, :1], logs[:, 1:]))
        else:
            names += [f"theta_sig_{name}_{i}" for i in range(size)]
            columns.append((np.diag(logs[:, 0]), np.diag(logs[:, 1])))
    up, down = (np.concatenate([pair[side] for pair in columns], axis=1) for side in (0, 1))
    return Morphing(up, down), names
