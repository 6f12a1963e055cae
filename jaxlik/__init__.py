"""Differentiable likelihoods of LHC searches.

Importing this package costs next to nothing: it loads neither JAX nor anything else, touches no
device and changes no configuration.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlik.precision import enable_x64 as enable_x64
    from jaxlik.precision import require_x64 as require_x64

try:
    __version__ = version("jaxlik")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "enable_x64", "require_x64"]


def __getattr__(name: str) -> Any:
    """Public functions, loaded when asked for."""
    if name in ("enable_x64", "require_x64"):
        from jaxlik import precision

        return getattr(precision, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
