"""Profile likelihood ratios: what a data set says about one value of mu.

All take -2 ln L(mu) as a function and its minimum from `jaxlik.inference.mle.fit_mu`,
whose lower bound says whether negative signals count. Definitions: G. Cowan,
K. Cranmer, E. Gross, O. Vitells, Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727.
"""

import jax.numpy as jnp

from jaxlik.inference.mle import MaximumLikelihood
from jaxlik.typing import Scalar, TwiceNllFn


def t_mu(mu: Scalar, twice_nll_fn: TwiceNllFn, best: MaximumLikelihood) -> Scalar:
    """-2 ln of the likelihood ratio to the best mu; at least zero (eq. 8)."""
    return jnp.maximum(twice_nll_fn(mu) - best.twice_nll, 0.0)


def q_mu(mu: Scalar, twice_nll_fn: TwiceNllFn, best: MaximumLikelihood) -> Scalar:
    """For upper limits: `t_mu`, and zero where the best mu lies above (eq. 14).

    `best` must come from a fit that allows negative mu.
    """
    return jnp.where(best.mu_hat > mu, 0.0, t_mu(mu, twice_nll_fn, best))


def q_mu_tilde(mu: Scalar, twice_nll_fn: TwiceNllFn, best: MaximumLikelihood) -> Scalar:
    """For upper limits on signals that only add events (eq. 16).

    The same expression as `q_mu`, with `best` from a fit bounded at zero.

    Examples:
        >>> from jaxlik.inference.mle import fit_mu
        >>> parabola = lambda mu: (mu - 1.5) ** 2 / 0.5**2
        >>> best = fit_mu(parabola)
        >>> print(f"{q_mu_tilde(jnp.asarray(2.5), parabola, best):.6f}")
        4.000000
        >>> print(f"{q_mu_tilde(jnp.asarray(1.0), parabola, best):.6f}")
        0.000000
    """
    return q_mu(mu, twice_nll_fn, best)


def q0(twice_nll_fn: TwiceNllFn, best: MaximumLikelihood) -> Scalar:
    """For discovery: `t_mu` at zero, and zero where the best mu is not positive (eq. 12).

    Examples:
        >>> from jaxlik.inference.mle import fit_mu
        >>> parabola = lambda mu: (mu - 1.5) ** 2 / 0.5**2
        >>> print(f"{q0(parabola, fit_mu(parabola)):.6f}")
        9.000000
    """
    none = jnp.zeros_like(best.mu_hat)
    return jnp.where(best.mu_hat > 0, t_mu(none, twice_nll_fn, best), 0.0)
