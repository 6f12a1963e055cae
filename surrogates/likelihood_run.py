"""The folder in which a likelihood is learned: labels are kept as they come.

``likelihood.json`` says of what and how, ``scale.npz`` and ``labels.npz`` hold what the exact
engine said, ``members-N.npz`` the committee after round N. A stopped run goes on where it was.
"""

import dataclasses
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlik.errors import ConfigError
from jaxlik.statmodels.learned import Member
from jaxlik.typing import Bool, Float, Int
from surrogates.labels import Labels, Oracle
from surrogates.likelihood_recipe import LikelihoodRecipe

SCHEMA = "jaxlik/likelihood-run/1"
HELD_OUT = -1
"""Number of the design point of held-out signals, which are none."""


class Book(NamedTuple):
    """All signals of a run, with their labels where they are known.

    Attributes:
        point: Number in the design, or `HELD_OUT`.
        labels: Not a number where not yet asked, and where the fit was not certified.
        asked: Whether the exact engine was asked.
        seconds: Spent on asking.
    """

    point: Int[np.ndarray, " point"]
    labels: Labels
    asked: Bool[np.ndarray, " point"]
    seconds: float

    @property
    def num_fitted(self) -> int:
        """Signals that are not held out."""
        return int(np.sum(self.point != HELD_OUT))

    def fitted(self) -> Labels:
        """Labels to fit to, those of certified fits."""
        return self._part(self.point != HELD_OUT)

    def held_out(self) -> Labels:
        """Labels of held-out signals."""
        return self._part(self.point == HELD_OUT)

    def _part(self, where: Bool[np.ndarray, " point"]) -> Labels:
        return Labels(*(part[where & self.asked] for part in self.labels)).usable()

    def with_signals(
        self, point: Int[np.ndarray, " new"], signal: Float[np.ndarray, "new region"]
    ) -> "Book":
        """The book with further signals that are not yet asked about."""
        change = np.full((len(signal), 2), np.nan)
        slope = np.full((len(signal), 2, signal.shape[1]), np.nan)
        new = Labels(signal, change, slope)
        return Book(
            np.concatenate([self.point, point]),
            Labels(*(np.concatenate(parts) for parts in zip(self.labels, new, strict=True))),
            np.concatenate([self.asked, np.zeros(len(signal), bool)]),
            self.seconds,
        )


def empty_book(num_regions: int) -> Book:
    """A book without signals."""
    nothing = np.zeros((0, 2, num_regions))
    labels = Labels(nothing[:, 0], nothing[:, :, 0], nothing)
    return Book(np.zeros(0, int), labels, np.zeros(0, bool), 0.0)


class LikelihoodRun:
    """The folder of a run.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, oracle: Oracle, recipe: LikelihoodRecipe) -> "LikelihoodRun":
        """Make a run folder, or go on with one of the same workspace and recipe.

        Raises:
            ConfigError: the folder holds another run or something else, or cannot be made.
        """
        wanted = {
            "schema": SCHEMA,
            "workspace": oracle.name,
            "workspace_sha256": oracle.sha256,
            "regions": list(oracle.region_ids),
            "recipe": dataclasses.asdict(recipe),
        }
        description = folder / "likelihood.json"
        if description.is_file():
            try:
                found = dict(json.loads(description.read_text()))
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f"{description}: damaged ({error}), wanted the description of a run; delete "
                    "the folder, or give another"
                ) from None
            for key, value in wanted.items():
                if found.get(key) != value:
                    raise ConfigError(
                        f"{folder}: holds a run with {key} = {found.get(key)!r}, wanted {value!r}; "
                        "give the same settings, or another folder"
                    )
            return cls(folder)
        try:
            if folder.exists() and any(folder.iterdir()):
                raise ConfigError(f"{folder}: not empty and no such run; give another folder")
            folder.mkdir(parents=True, exist_ok=True)
            description.write_text(json.dumps(wanted, indent=1))
        except OSError as error:
            raise ConfigError(f"--run {folder} cannot be used: {error}") from None
        return cls(folder)

    def scale(self, oracle: Oracle) -> Float[np.ndarray, " region"]:
        """Unit of each region's signal [events]; asked for once."""
        path = self.folder / "scale.npz"
        if not path.is_file():
            before, began = oracle.asked, time.perf_counter()
            scale = oracle.scale()
            spent = time.perf_counter() - began
            _write(path, scale=scale, labels=np.array(oracle.asked - before), seconds=spent)
        return _read(path)["scale"]

    def scale_cost(self) -> tuple[int, float]:
        """Labels and seconds that the scales took."""
        found = _read(self.folder / "scale.npz")
        return int(found["labels"]), float(found["seconds"])

    def read_book(self, num_regions: int) -> Book:
        """What was asked and answered so far."""
        path = self.folder / "labels.npz"
        if not path.is_file():
            return empty_book(num_regions)
        found = _read(path)
        labels = Labels(found["signal"], found["change"], found["slope"])
        return Book(found["point"], labels, found["asked"], float(found["seconds"]))

    def write_book(self, book: Book) -> None:
        """Keep labels."""
        part = book.labels._asdict()
        numbers = {"point": book.point, "asked": book.asked, "seconds": np.array(book.seconds)}
        _write(self.folder / "labels.npz", **part, **numbers)

    def fill(
        self,
        book: Book,
        oracle: Oracle,
        scale: Float[np.ndarray, " region"],
        on_labels: Callable[[int], Any],
    ) -> Book:
        """Ask about all signals that have no label yet; every answer is kept at once.

        Args:
            book: With signals.
            oracle: The exact engine.
            scale: Unit of each region's signal [events].
            on_labels: Told how many labels came.
        """
        missing = np.flatnonzero(~book.asked)
        labels, asked = Labels(*(part.copy() for part in book.labels)), book.asked.copy()
        began = time.perf_counter()

        def keep(first: int, some: Labels) -> None:
            rows = missing[first : first + len(some.signal)]
            labels.change[rows], labels.slope[rows], asked[rows] = some.change, some.slope, True
            spent = book.seconds + time.perf_counter() - began
            self.write_book(Book(book.point, labels, asked, spent))
            on_labels(len(rows))

        oracle.label(book.labels.signal[missing], scale, keep)
        return Book(book.point, labels, asked, book.seconds + time.perf_counter() - began)

    def read_members(self, round_number: int) -> tuple[Member, float] | None:
        """The committee after a round and the seconds of its training, if it is there."""
        path = self.folder / f"members-{round_number}.npz"
        if not path.is_file():
            return None
        found = _read(path)
        members = Member(*(jnp.asarray(found[name]) for name in Member._fields))
        return members, float(found["seconds"])

    def write_members(self, round_number: int, members: Member, seconds: float) -> None:
        """Keep the committee after a round."""
        arrays = {name: np.asarray(value) for name, value in members._asdict().items()}
        path = self.folder / f"members-{round_number}.npz"
        _write(path, **arrays, seconds=np.array(seconds))


def _write(path: Path, **arrays: Any) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(stream, **arrays)
    part.replace(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path}: damaged ({error}), wanted arrays; delete it, what it held is made again"
        ) from None
