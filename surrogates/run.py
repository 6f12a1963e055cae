"""A training run: a folder that holds what is finished, so that a stopped run goes on."""

import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.database.snapshot import Snapshot
from jaxlik.errors import ConfigError
from surrogates.maps import MapSet
from surrogates.recipe import Recipe
from surrogates.training import Networks, State, advance, prepare, start

SCHEMA = "jaxlik/surrogate-run/1"
GROUP = 8
"""Networks fitted side by side."""


def groups_of(sets: list[MapSet]) -> Iterator[tuple[list[MapSet], int, int]]:
    """Sets of like size together, with the sizes they are padded to."""
    by_size: dict[tuple[int, int], list[MapSet]] = defaultdict(list)
    for maps in sets:
        nodes, regions = len(maps.nodes) + len(maps.between), len(maps.regions)
        by_size[next_power(nodes, 64), next_power(regions, 1)].append(maps)
    for (nodes, regions), members in sorted(by_size.items()):
        for first in range(0, len(members), GROUP):
            yield members[first : first + GROUP], nodes, regions


def next_power(count: int, least: int) -> int:
    """The least size times a power of two that holds a count."""
    size = least
    while size < count:
        size *= 2
    return size


class Run:
    """The folder of a training run.

    Attributes:
        folder: Where it lies: ``run.json``, ``log.jsonl``, one ``.npz`` per topology.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, snapshot: Snapshot, recipe: Recipe) -> "Run":
        """Make a run folder, or go on with one of the same recipe and database.

        Raises:
            ConfigError: the folder holds a run of other settings, or something else.
        """
        wanted = {
            "schema": SCHEMA,
            "database_version": snapshot.version,
            "database_sha256": snapshot.sha256,
            "recipe": dataclasses.asdict(recipe),
        }
        description = folder / "run.json"
        if description.is_file():
            found = json.loads(description.read_text())
            differences = [k for k in wanted if found.get(k) != wanted[k]]
            if differences:
                key = differences[0]
                raise ConfigError(
                    f"{folder}: holds a run with {key} = {found.get(key)!r}, wanted "
                    f"{wanted[key]!r}; give the same settings, or another folder"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: not empty and no training run; give another folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            description.write_text(json.dumps(wanted, indent=1))
        return cls(folder)

    @classmethod
    def existing(cls, folder: Path) -> "Run":
        """A run folder that is there.

        Raises:
            ConfigError: there is none.
        """
        if not (folder / "run.json").is_file():
            raise ConfigError(f"{folder}: holds no run.json; give the folder of `surrogates train`")
        return cls(folder)

    @property
    def description(self) -> dict[str, Any]:
        """Recipe and database."""
        return json.loads((self.folder / "run.json").read_text())

    def check_database(self, snapshot: Snapshot) -> None:
        """Make sure that a database is the one the run was made with.

        Raises:
            ConfigError: it is another one.
        """
        wanted = self.description["database_sha256"]
        if snapshot.sha256 != wanted:
            raise ConfigError(
                f"{self.folder}: trained on database {self.description['database_version']} "
                f"({wanted[:12]}), given is {snapshot.version} ({snapshot.sha256[:12]})"
            )

    def file_of(self, maps: MapSet) -> Path:
        """Where the network of a topology is kept."""
        return self.folder / f"{maps.folder}.{maps.txname}.npz"

    def load(self, maps: MapSet) -> Networks:
        """The network of a topology.

        Raises:
            ConfigError: it is not trained, or its file is damaged.
        """
        path = self.file_of(maps)
        if not path.is_file():
            raise ConfigError(f"{self.folder}: {maps.name} is not trained; run `train` to its end")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                leaves = [jnp.asarray(arrays[f"leaf{i}"]) for i in range(len(arrays.files))]
        except (ValueError, OSError, KeyError) as error:
            raise ConfigError(f"{path}: damaged ({error}); delete it and train again") from error
        return jax.tree.unflatten(_structure(), leaves)

    def save(self, maps: MapSet, network: Networks) -> None:
        """Keep the network of a topology."""
        leaves = {f"leaf{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(network))}
        part = self.file_of(maps).with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, **leaves)  # type: ignore[reportArgumentType]
        part.replace(self.file_of(maps))

    def log(self, **entry: Any) -> None:
        """Add a line to the log."""
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def _structure() -> Any:
    from jaxlik.yields.networks import Weights
    from surrogates.training import Heads
    from surrogates.trunk import Features, Trunk

    empty = Networks(
        Trunk(Features(*range(4)), Weights(*range(6))),  # type: ignore[arg-type]
        Heads(*range(2)),  # type: ignore[arg-type]
    )
    return jax.tree.structure(empty)


def train(sets: list[MapSet], run: Run, recipe: Recipe, *, quiet: bool = False) -> None:
    """Fit all networks that the run does not hold yet."""
    missing = [maps for maps in sets if not run.file_of(maps).is_file()]
    looks = recipe.steps // recipe.every
    bar = tqdm(total=len(sets), initial=len(sets) - len(missing), desc="training", disable=quiet)
    for group, nodes, regions in groups_of(missing):
        began = time.perf_counter()
        state = _fit(group, nodes, regions, recipe, looks)
        seconds = time.perf_counter() - began
        for i, maps in enumerate(group):
            network = jax.tree.map(lambda leaf, i=i: leaf[i], state.best)
            heads = jax.tree.map(lambda leaf, m=maps: leaf[: len(m.regions)], network.heads)
            run.save(maps, network._replace(heads=heads))
            run.log(
                name=maps.name,
                nodes=len(maps.nodes),
                regions=len(maps.regions),
                steps=int(state.step),
                stop_loss=float(state.best_loss[i]),
                group_seconds=seconds,
                group=len(group),
            )
        bar.update(len(group))
        bar.set_postfix_str(f"{group[-1].name}, {int(state.step)} steps in {seconds:.0f} s")
    bar.close()


def _fit(group: list[MapSet], nodes: int, regions: int, recipe: Recipe, looks: int) -> State:
    data = prepare(group, nodes, regions)
    scale = np.zeros((len(group), regions), np.float32)
    for i, maps in enumerate(group):
        scale[i, : len(maps.scale)] = maps.scale / maps.scale.max()
    state = start(group, recipe, regions)
    for _ in range(looks):
        state = advance(state, data, jnp.asarray(scale), recipe)
        if int(state.stale) >= recipe.patience:
            break
    return state
