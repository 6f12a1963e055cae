"""The run directory: everything a search leaves behind, valid at any moment.

    config.toml      the resolved configuration; `--config` reads it
    manifest.json    versions, device, seed, database, times, status
    models.jsonl     the best models, one per line, best first
    models.dict      the same as protomodels dictionaries, written at the end
    history.jsonl    one line per block of steps: best K, r_max, acceptance
    state            checkpoint of the walkers
    log.jsonl        key events
    walk.jsonl       one line per block of steps: where all walkers are
    summary.json     the document `jaxlik/run/1`, written at the end
    report.html      all of this as a page, written at the end
    figures/         pictures, written at the end

Whole files are written aside and moved into place; line files only grow, and a
reader skips a line that a killed process left unfinished.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxlik.errors import CheckpointError, ConfigError
from jaxlik.fit.config import FitConfig, config_text, read_config

SCHEMA = "jaxlik/manifest/1"

CONFIG = "config.toml"
MANIFEST = "manifest.json"
MODELS = "models.jsonl"
HISTORY = "history.jsonl"
STATE = "state"
LOG = "log.jsonl"
SUMMARY = "summary.json"
FIGURES = "figures"

_INGREDIENTS = {
    "sha256": ("database", "(unknown)"),
    "networks": ("networks", "(none, exact)"),
    "combinability": ("table of combinable pairs", "(the package's)"),
}
"""What a resumed run must find again: its name in words, and what stands for the default."""

RUNNING, DONE, INTERRUPTED, FAILED = "running", "done", "interrupted", "failed"


class RunDirectory:
    """One run on disk; make it with `create_run` or `open_run`.

    Attributes:
        path: The folder.
        manifest: What `manifest.json` says.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.path / FIGURES

    @property
    def state(self) -> Path:
        """File of the checkpoint."""
        return self.path / STATE

    def update(self, **entries: Any) -> None:
        """Change entries of the manifest."""
        self.manifest = {**self.manifest, **entries}
        write_atomically(self.path / MANIFEST, _json_text(self.manifest))

    def write_summary(self, document: dict[str, Any]) -> None:
        """Write the document of the run."""
        write_atomically(self.path / SUMMARY, _json_text(document))

    def write_models(self, models: Iterable[dict[str, Any]]) -> None:
        """Replace the list of best models."""
        lines = [json.dumps(model, allow_nan=False) + "\n" for model in models]
        write_atomically(self.path / MODELS, "".join(lines))

    def append_history(self, entry: dict[str, Any]) -> None:
        """Add one line to the history."""
        append_line(self.path / HISTORY, entry)

    def history(self) -> list[dict[str, Any]]:
        """All lines of the history so far."""
        return read_lines(self.path / HISTORY)

    def resume(self, config: FitConfig, step: int) -> None:
        """Go on after a step; what the history knows beyond it is forgotten."""
        kept = [entry for entry in self.history() if entry["step"] <= step]
        lines = [json.dumps(entry) + "\n" for entry in kept]
        write_atomically(self.path / HISTORY, "".join(lines))
        write_atomically(self.path / CONFIG, config_text(config))
        resumed = [*self.manifest.get("resumed", []), {"time": now(), "step": step}]
        self.update(status=RUNNING, ended=None, resumed=resumed)

    def finish(self, status: str, **entries: Any) -> None:
        """Note how and when the run ended."""
        self.update(status=status, ended=now(), **entries)


def create_run(config: FitConfig, manifest: dict[str, Any]) -> RunDirectory:
    """Make a new run directory.

    Args:
        config: Resolved configuration; its `output` or a name of date, time and seed.
        manifest: Versions, device, database; times and status are added.

    Raises:
        ConfigError: the directory exists and is not empty, or cannot be written.
    """
    path = config.output or _default_path(config.seed)
    check_output(path)
    try:
        (path / FIGURES).mkdir(parents=True, exist_ok=True)
        run = RunDirectory(path, {"schema": SCHEMA, **manifest})
        write_atomically(path / CONFIG, config_text(config))
        run.update(seed=config.seed, mode=config.mode, started=now(), ended=None, status=RUNNING)
    except OSError as error:
        raise ConfigError(f"output {path} cannot be written: {error}") from None
    return run


def check_output(path: Path) -> None:
    """Raise unless a new run may go to this place.

    Raises:
        ConfigError: the directory exists and is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(
            f"output {path} exists and is not an empty folder; choose another --output, or "
            "continue the run in it with --resume"
        )


def open_run(path: str | Path) -> tuple[RunDirectory, FitConfig]:
    """Open the directory of an earlier run in order to continue it.

    Raises:
        CheckpointError: nothing there, not a run directory, or a damaged one.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory; start a run with --output {path}")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: has no {MANIFEST}, so it is no run directory of jaxlik"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {MANIFEST} is damaged ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise CheckpointError(f"{path}: {MANIFEST} has schema {found!r}, wanted {SCHEMA!r}")
    try:
        config = read_config(path / CONFIG)
    except ConfigError as error:
        raise CheckpointError(f"{path}: the configuration is damaged: {error}") from None
    if not (path / STATE).is_file():
        raise CheckpointError(f"{path}: has no checkpoint yet; start the run anew")
    return RunDirectory(path, manifest), config


def check_ingredients(run: RunDirectory, found: Mapping[str, str]) -> None:
    """Raise unless a run was made with the database and the tables at hand.

    Args:
        run: To be resumed.
        found: What is at hand (`jaxlik.fit.engines.ingredients`).

    Raises:
        CheckpointError: digests differ.
    """
    made_with = run.manifest.get("database", {})
    for name, (what, default) in _INGREDIENTS.items():
        wanted, given = ((one.get(name) or "")[:12] or default for one in (made_with, found))
        if wanted != given:
            raise CheckpointError(
                f"{run.path}: was made with {what} {wanted}, now it is {given}; resume with the "
                "same one, or start a new run"
            )


def _default_path(seed: int) -> Path:
    """runs/<date-time>-<seed>, numbered where that exists."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{seed}"
    candidates = [Path("runs") / name, *(Path("runs") / f"{name}-{i}" for i in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def now() -> str:
    """The time, to the second, with its zone."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line in a single write."""
    line = (json.dumps(entry, allow_nan=False) + "\n").encode()
    with path.open("ab+", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        if end > 0:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete JSON lines of a file; a missing file has none."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def _json_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


class LineHandler(logging.Handler):
    """Log records as JSON lines in the run directory."""

    def __init__(self, path: Path, level: int = logging.INFO):
        super().__init__(level)
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record."""
        try:
            append_line(
                self.path,
                {
                    "time": now(),
                    "level": record.levelname.lower(),
                    "logger": record.name,
                    "message": record.getMessage(),
                },
            )
        except OSError:
            self.handleError(record)
