"""Packages that jaxlik can serve but does not need."""

import importlib
from types import ModuleType

from jaxlik.errors import MissingPackageError


def require(package: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        package: Name of the module, dotted or not.
        extra: Extra of jaxlik that installs it.

    Raises:
        MissingPackageError: The package, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = error.name or package
        why = "" if missing.split(".")[0] == package.split(".")[0] else f" (it needs {missing})"
        raise MissingPackageError(
            f"{package} cannot be imported{why}; install it with pip install 'jaxlik[{extra}]'"
        ) from error
