"""The objective of the protomodel builder: significance against complexity."""

import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from jaxlik.typing import Scalar


def significance(q0: Scalar) -> Scalar:
    """Z = sqrt(q0), in standard deviations; derivative zero where there is no excess.

    Examples:
        >>> print(significance(jnp.asarray(9.0)), significance(jnp.asarray(-1.0)))
        3.0 0.0
    """
    positive = q0 > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, q0, 1.0)), 0.0)


def discovery_p_value(q0: Scalar) -> Scalar:
    """Chance of an excess at least as large without signal, 1 - Phi(Z)."""
    return jnp.exp(log_ndtr(-significance(q0), 10))


def score(significance: Scalar, log_prior: Scalar) -> Scalar:
    """K = Z^2 + 2 ln pi: twice the log-likelihood gain, less the price of complexity.

    A number to maximise, no probability.

    Args:
        significance: Z [standard deviations].
        log_prior: ln of the (unnormalised) prior of the model.

    Examples:
        >>> print(score(jnp.asarray(3.0), jnp.asarray(-2.0)))
        5.0

    References:
        W. Waltenberger, A. Lessa, S. Kraml, JHEP 03 (2021) 207, arXiv:2012.12246.
    """
    return significance**2 + 2 * log_prior
