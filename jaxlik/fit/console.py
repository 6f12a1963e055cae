"""Where the command line writes: results to standard output, all else to standard error."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlik.errors import ConfigError

_PLAIN = str.maketrans({"±": "+-", "μ": "mu", "σ": "s", "√": "sqrt", "→": "->", "²": "^2"})


@dataclass(frozen=True)
class Console:
    """The user's side of a command.

    Attributes:
        json: Where the JSON document goes: a file, `-` for standard output, or nowhere.
        quiet: Only results and errors, no notes and no progress bars.
    """

    json: str | None = None
    quiet: bool = False

    def note(self, text: str) -> None:
        """Tell how things go."""
        if not self.quiet:
            _write(sys.stderr, text)

    def show(self, text: str) -> None:
        """Print a result; on standard error where the document takes standard output."""
        if self.json != "-":
            _write(sys.stdout, text)
        elif not self.quiet:
            _write(sys.stderr, text)

    def error(self, text: str) -> None:
        """Tell why the command fails."""
        _write(sys.stderr, f"error: {text}")

    def document(self, document: dict[str, Any]) -> None:
        """Write the JSON document to where the user asked for it.

        Raises:
            ConfigError: the file cannot be written.
        """
        if self.json is None:
            return
        if self.json == "-":
            _write(sys.stdout, _json_text(document))
        else:
            write_json(document, Path(self.json), "--json")


def write_json(document: dict[str, Any], path: Path, option: str) -> None:
    """Write a JSON document to the file that an option names.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.write_text(_json_text(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written: {error}") from None


def terminal_width() -> int:
    """Columns of the terminal, within what tables can use."""
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 140))


def _json_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False)


def _write(stream: Any, text: str) -> None:
    """Write a line, in plain letters where the stream knows no others."""
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        plain = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
        stream.write(plain + "\n")
    stream.flush()
