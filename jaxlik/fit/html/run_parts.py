"""What all reports of runs share: state of the run, versions, configuration, files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlik.fit.html.elements import Html, details, element, facts, join, note
from jaxlik.fit.html.numbers import moment
from jaxlik.fit.report import duration
from jaxlik.fit.store import CONFIG, DONE, FAILED, INTERRUPTED, MANIFEST, RUNNING, read_lines

STATES = {
    RUNNING: "This run has not ended: the page shows what it had found when the page was written.",
    INTERRUPTED: "This run was stopped before its end: the page shows what it had found.",
    FAILED: "This run failed: the page shows what it had found.",
}


def read_document(path: Path) -> dict[str, Any] | None:
    """A JSON object of a file; nothing where it is absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_text(path: Path) -> str | None:
    """Content of a text file; nothing where it is absent or damaged."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def state_note(manifest: Mapping[str, Any], status: str | None) -> Html | None:
    """A warning unless the run is done."""
    state = status or manifest.get("status")
    if state in (None, DONE):
        return None
    parts: list[Any] = [STATES.get(str(state), f"The state of this run is {state!r}.")]
    if manifest.get("reason"):
        parts.append(f" Reason: {manifest['reason']}.")
    parts += [" Continue it with ", element("code", "--resume"), "."]
    return note(*parts, kind="warning")


def database_text(document: Mapping[str, Any]) -> str | None:
    """Version of the database and where yields come from."""
    database = document.get("database") or {}
    if not database.get("version"):
        return None
    yields = document.get("yields")
    return f"{database['version']}" + (f", yields {yields}" if yields else "")


def time_text(seconds: float | None) -> str | None:
    """A time span."""
    return None if seconds is None else duration(seconds)


def run_part(folder: Path | None, manifest: Mapping[str, Any], document: Mapping[str, Any]):
    """How the numbers came about: command, versions, digests, configuration, log."""
    database = {**(manifest.get("database") or {}), **(document.get("database") or {})}
    versions = manifest.get("versions") or {}
    parts: list[Html | None] = [
        facts(
            [
                ("database", database.get("version")),
                ("SHA-256 of the database", _short(database.get("sha256"))),
                ("networks", database.get("networks")),
                ("mode", document.get("mode") or manifest.get("mode")),
                ("seed", document.get("seed", manifest.get("seed"))),
                ("started", moment(manifest.get("started"))),
                ("ended", moment(manifest.get("ended"))),
                ("device", manifest.get("device")),
                ("machine", manifest.get("machine")),
                *((name, value) for name, value in versions.items()),
            ]
        )
    ]
    command = manifest.get("command")
    if command:
        parts.append(element("h3", "Command"))
        parts.append(element("pre", element("code", " ".join(map(str, command))), tabindex="0"))
    config = read_text(folder / CONFIG) if folder else None
    if config:
        code = element("pre", element("code", config), tabindex="0")
        parts.append(details("Configuration (config.toml)", code))
    log = _log(folder)
    if log:
        code = element("pre", element("code", log), tabindex="0")
        parts.append(details("Key events (log.jsonl)", code))
    resumed = manifest.get("resumed")
    if resumed:
        steps = ", ".join(f"step {one['step']} ({moment(one['time'])})" for one in resumed)
        parts.append(element("p", f"Resumed at {steps}.", class_="quiet"))
    return parts


def _log(folder: Path | None) -> str | None:
    if folder is None:
        return None
    lines = [
        f"{moment(entry.get('time'))}  {entry.get('level')}  {entry.get('message')}"
        for entry in read_lines(folder / "log.jsonl")
    ]
    return "\n".join(lines[-200:])


def _short(digest: str | None) -> Html | None:
    if not digest:
        return None
    return element("span", f"{digest[:12]}…", title=digest, class_="id")


def load_manifest(folder: Path | None) -> dict[str, Any]:
    """The manifest of a run directory; empty where there is none."""
    return (read_document(folder / MANIFEST) if folder else None) or {}


def missing(*what: Any) -> list[Html | None]:
    """A part that has nothing to show says why."""
    return [note(join(what))]
