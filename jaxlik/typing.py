"""Axis-named array types used across the library.

Axes carry names (``docs/concepts/axes.md``): ``particle channel production
region analysis nuisance model chain draw``.
"""

from collections.abc import Callable

from jaxtyping import Array, Bool, Float, Int, Key

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Scalar", "TwiceNllFn"]

Scalar = Float[Array, ""]
"""A traced real number."""

TwiceNllFn = Callable[[Scalar], Scalar]
"""A map from mu to -2 ln L(mu), nuisances already profiled."""
