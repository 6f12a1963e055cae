"""Events and the signal regions they pass: the input of overlaps, from arrays and files."""

import csv
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxlik.errors import DatabaseError
from jaxlik.typing import Bool, Float

WEIGHT = "weight"
"""Column of a CSV file that holds the weights of events."""


@dataclass(frozen=True)
class EventTable:
    """Events and the regions they pass; made and checked by `event_table`.

    Attributes:
        events: Whether an event passes a region.
        weights: Of the events, at least zero.
        names: Of the regions, ``ANALYSIS:REGION``.
    """

    events: Bool[np.ndarray, "event region"]
    weights: Float[np.ndarray, " event"]
    names: tuple[str, ...]


def event_table(
    events: np.ndarray, names: tuple[str, ...] | list[str], weights: np.ndarray | None = None
) -> EventTable:
    """A table of events, checked.

    Args:
        events: 0 or 1, or booleans, of shape (event, region).
        names: Of the regions, ``ANALYSIS:REGION``, each once.
        weights: Of the events, at least zero; 1 by default. Their squares enter, as in a
            bootstrap of counts of weighted events. Give square roots of weights for the
            correlation of data that weighted events stand for.

    Raises:
        DatabaseError: If the table is empty, shapes do not fit, a name is malformed or twice
            there, an entry is neither 0 nor 1, or a weight is negative or no number.
    """
    events = np.asarray(events)
    if events.ndim != 2 or 0 in events.shape or events.dtype.kind not in "biuf":
        raise DatabaseError(
            f"event table: entries of type {events.dtype} and shape {events.shape}, wanted 0 or "
            "1 of shape (event, region) with at least one of both; one row per event."
        )
    wrong = np.argwhere((events != 0) & (events != 1))
    if wrong.size:
        row, column = wrong[0]
        raise DatabaseError(
            f"event table: entry of event {row} in region {column} is {events[row, column]}, "
            "wanted 0 or 1; weights of events belong in a column of their own."
        )
    return EventTable(
        events.astype(bool),
        _checked_weights(weights, len(events)),
        _checked_names(names, events.shape[1]),
    )


def read_event_table(path: str | Path) -> EventTable:
    """Read a table of events.

    Args:
        path: ``.csv``: a header with the names of regions, one row of 0 and 1 per event, and
            a column ``weight`` if events have weights. ``.npz``: arrays ``events`` of shape
            (event, region), ``names``, and ``weights`` if there are any.

    Raises:
        DatabaseError: If the file is missing, damaged or of another kind, or as
            `event_table`; names the file.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise DatabaseError(
            f"{path}: ending {path.suffix!r}, wanted one of {', '.join(readers)}; convert the file."
        )
    try:
        return event_table(*readers[path.suffix](path))
    except DatabaseError as error:
        raise DatabaseError(f"{path}: {error}") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatabaseError(
            f"{path}: cannot be read ({error}); wanted "
            + (
                "a header of names and rows of numbers, separated by commas."
                if path.suffix == ".csv"
                else "arrays 'events' and 'names' as `numpy.savez` writes them."
            )
        ) from error


def _read_csv(path: Path) -> tuple[np.ndarray, list[str], np.ndarray | None]:
    with path.open(encoding="utf-8", newline="") as stream:
        # Not `next(csv.reader(stream))`: it would forbid reading on from the stream.
        header = [name.strip() for name in next(csv.reader([stream.readline()]), [])]
        if not header:
            raise ValueError("no header")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            values = np.loadtxt(stream, delimiter=",", ndmin=2)
    if values.size and values.shape[1] != len(header):
        raise ValueError(f"{values.shape[1]} columns below {len(header)} names")
    values = values.reshape(-1, len(header))
    if WEIGHT not in header:
        return values, header, None
    at = header.index(WEIGHT)
    return np.delete(values, at, axis=1), header[:at] + header[at + 1 :], values[:, at]


def _read_npz(path: Path) -> tuple[np.ndarray, list[str], np.ndarray | None]:
    # A stream of our own: numpy leaves one open where an archive is damaged.
    with path.open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        names = [str(name) for name in np.atleast_1d(content["names"])]
        return content["events"], names, content.get("weights")


def _checked_weights(weights: np.ndarray | None, count: int) -> Float[np.ndarray, " event"]:
    if weights is None:
        return np.ones(count)
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (count,):
        raise DatabaseError(
            f"event table: weights have shape {weights.shape}, wanted ({count},): one per event."
        )
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise DatabaseError(
            f"event table: weight of event {wrong[0]} is {weights[wrong[0]]}, wanted a number of "
            "at least zero; resample events so that weights are positive."
        )
    if not weights.any():
        raise DatabaseError(
            "event table: all weights are 0, wanted at least one positive; leave them out."
        )
    return weights


def _checked_names(names: tuple[str, ...] | list[str], count: int) -> tuple[str, ...]:
    names = tuple(str(name) for name in names)
    if len(names) != count:
        raise DatabaseError(
            f"event table: {len(names)} names for {count} regions; wanted one name per column."
        )
    for name in names:
        analysis, _, region = name.partition(":")
        if not analysis or not region:
            raise DatabaseError(
                f"event table: region is called {name!r}, wanted ANALYSIS:REGION; rename it."
            )
        if names.count(name) > 1:
            raise DatabaseError(
                f"event table: region {name} is there {names.count(name)} times, wanted once; "
                "rename or remove columns."
            )
    return names
