"""JSON Schemas of the documents that commands write (draft 2020-12)."""

import json
from importlib import resources
from typing import Any

from jaxlik.errors import ConfigError

NAMES = ("run", "posterior", "point", "workspace", "census", "calibration", "snapshot")
"""Documents with a schema; `jaxlik/<name>/1` is what their key ``schema`` says."""


def load_schema(name: str) -> dict[str, Any]:
    """The schema of a document.

    Args:
        name: Such as `run`, or what a document says under ``schema``: `jaxlik/run/1`.

    Raises:
        ConfigError: there is no such schema.
    """
    short = name.removeprefix("jaxlik/").removesuffix("/1")
    if short not in NAMES:
        raise ConfigError(
            f"there is no schema {name!r}; there are {', '.join(f'jaxlik/{n}/1' for n in NAMES)}"
        )
    path = resources.files("jaxlik").joinpath("data", "schemas", f"{short}.json")
    return json.loads(path.read_text(encoding="utf-8"))
