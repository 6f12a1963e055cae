"""Values of JSON documents, or the error that names their place."""

from dataclasses import dataclass
from typing import Any

from jaxlik.errors import WorkspaceError

LARGEST = 1e150
"""Numbers up to here have finite squares and differences."""


@dataclass(frozen=True)
class JsonChecks:
    """Readers of one document; `name` is what errors call it."""

    name: str

    def error(self, place: str, found: Any, wanted: str) -> WorkspaceError:
        """The error for one place of the document."""
        return WorkspaceError(f"{self.name}: {place} is {shown(found)}, wanted {wanted}")

    def object(self, parent: dict, key: str, place: str) -> dict:
        """An entry that is an object."""
        value = parent.get(key)
        if not isinstance(value, dict):
            raise self.error(f"{place}/{key}", value, "an object")
        return value

    def named(self, value: Any, place: str) -> dict:
        """An object that has a name."""
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise self.error(place, value, 'an object with a "name"')
        return value

    def text(self, parent: dict, key: str, place: str) -> str:
        """An entry that is a text."""
        if not isinstance(parent.get(key), str):
            raise self.error(f"{place}/{key}", parent.get(key), "a text")
        return parent[key]

    def number(self, parent: dict, key: str, place: str) -> float:
        """An entry that is a finite number."""
        if not is_number(parent.get(key)):
            raise self.error(f"{place}/{key}", parent.get(key), "a finite number")
        return float(parent[key])

    def numbers(self, parent: Any, key: str, place: str, size: int | None = None) -> list[float]:
        """An entry that is a list of finite numbers, of that size."""
        value = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(value, list) or not value:
            raise self.error(f"{place}/{key}", value, "a list of numbers")
        if size is not None and len(value) != size:
            raise self.error(f"{place}/{key}", f"{len(value)} numbers", f"{size}")
        for i, number in enumerate(value):
            if not is_number(number):
                raise self.error(f"{place}/{key}/{i}", number, "a finite number")
        return [float(number) for number in value]

    def errors(self, parent: dict, key: str, place: str, size: int) -> list[float]:
        """An entry that is a list of uncertainties."""
        errors = self.numbers(parent, key, place, size)
        if min(errors) < 0:
            raise self.error(f"{place}/{key}", min(errors), "uncertainties that are not negative")
        return errors


def is_number(value: Any) -> bool:
    """Whether a value of a document is a number that can be counted with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def shown(value: Any) -> str:
    """A value as messages show it: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
