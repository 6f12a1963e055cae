"""Double precision: asked for once, checked where likelihoods are made."""

import jax

from jaxlik.errors import PrecisionError


def enable_x64() -> None:
    """Switch JAX to 64-bit floats for the whole process.

    Importing jaxlik changes no configuration; programs call this first.
    """
    jax.config.update("jax_enable_x64", True)


def require_x64() -> None:
    """Raise unless JAX uses 64-bit floats.

    Raises:
        PrecisionError: arrays would be 32-bit, in which a difference of -2 ln L
            can come out with the wrong sign.
    """
    if not jax.config.read("jax_enable_x64"):
        raise PrecisionError(
            "statistical models need 64-bit floats, JAX is set to 32-bit: "
            "call jaxlik.enable_x64() before creating arrays"
        )
