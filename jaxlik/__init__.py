"""Differentiable likelihoods of LHC searches."""

from importlib.metadata import PackageNotFoundError, version

from jaxlik.precision import enable_x64 as enable_x64
from jaxlik.precision import require_x64 as require_x64

try:
    __version__ = version("jaxlik")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "enable_x64", "require_x64"]
